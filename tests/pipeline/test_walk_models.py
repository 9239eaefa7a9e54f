"""Models of whole walks as a user runs them: train, encode, match; and what they cannot do."""

import json
from dataclasses import replace
from pathlib import Path

import made_walks
import numpy as np
import pytest
from commands import output as here

from gaitreid.pipeline import plugins, store
from gaitreid.pipeline.checkpoints import read_description
from gaitreid.pipeline.config import Config
from gaitreid.pipeline.config import load as load_config
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.status import survey
from gaitreid.pipeline.walk_models import encode, load, train
from gaitreid.pipeline.work import Work, provenance
from gaitreid.pose.arrays import FloatArray
from gaitreid.pose.errors import EmptyError, FormatError, UsageError
from gaitreid.pose.records import Silhouettes, Track2D
from gaitreid.pose.skeleton import COCO17
from gaitreid.reid.records import Embeddings

TINY = ["channels=[2,4,4,4]", "shrink=4", "partitions=4", "embed_dim=8"]
STEPS = ["people=3", "walks=2", "frames=6", "iterations=4", "every=2"]
SMALL = [
    word
    for value in [f"{model}.{v}" for model in ("gaitgl", "gaittake") for v in TINY] + [f"walks.{v}" for v in STEPS]
    for word in ("--set", value)
]


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
    """Three people with four walks each, one of them without keypoints."""
    monkeypatch.chdir(tmp_path)
    work, walks = Work(tmp_path / "work"), made_walks.walks()
    for k, stem in enumerate(walks.video.tolist()):
        rows = slice(int(walks.start[k]), int(walks.start[k] + walks.length[k]))
        count = int(walks.length[k])
        labels = {name: str(getattr(walks, name)[k]) for name in ("subject", "condition", "number", "view")}
        bits = np.unpackbits(walks.silhouette[rows], axis=1).reshape(count, 64, 44)
        masks = Silhouettes(frame=walks.frame[rows], mask=bits * np.uint8(255))
        store.write(work.silhouettes(stem), "silhouettes", {"/tracks/000001": masks}, labels)
        if k == 5:
            continue
        pose = Track2D(
            frame=walks.frame[rows],
            time=walks.frame[rows] / 25,
            box=walks.box[rows],
            xy=walks.keypoints[rows, :, :2],
            score=walks.keypoints[rows, :, 2],
            world=np.full((count, 17, 3), np.nan, np.float32),
            skeleton=COCO17,
        )
        store.write(work.pose2d(stem), "pose2d", {"/tracks/000001": pose}, labels)
    return work


def test_train_encode_and_match(work: Work) -> None:
    said = here("match", "--probe", "cl", "--gallery", "nm", "--name", "gaittake", "--metric", "euclidean", *SMALL)
    assert "pack: 12 walks, 306 frames, without keypoints: 1" in said
    assert "train: 'gaittake' on 11 walks of 3 people, 4 steps of 3 people x 2 walks, cpu" in said
    assert "encode: 11 walks, 16 x 8 numbers each, by 'gaittake', 1 left out that lack silhouettes or keypoints" in said
    assert "the encoder was trained on labelled walks of 3 of the 3 probe subjects" in said
    embeddings = store.read(work.embeddings("gaittake"), "embeddings", Embeddings, "/embeddings")
    assert (embeddings.parts, embeddings.vector.shape) == (16, (11, 128))
    np.testing.assert_array_equal(embeddings.window, embeddings.vector)
    assert embeddings.window_frame[:3].tolist() == [[0, 24], [0, 26], [0, 23]]
    metrics = json.loads((work.match("cl", "nm") / "metrics.json").read_text())
    assert (metrics["probes"], metrics["gallery_items"], metrics["model"], metrics["unit"]) == (5, 6, "gaittake", "track")
    log = [json.loads(line) for line in (work.model("gaittake") / "log.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["iteration"]) for line in log] == [(1, 2), (2, 4)]
    again = here("match", "--probe", "cl", "--gallery", "nm", "--name", "gaittake", "--metric", "euclidean", *SMALL)
    for stage in ("pack:", "train:", "encode:"):
        assert stage not in again


def test_training_goes_on_where_it_was_cut_off(work: Work) -> None:
    whole, cut = work.model("whole"), work.model("cut")
    here("train", "--model", "gaitgl", "--name", "whole", *SMALL)
    here("train", "--model", "gaitgl", "--name", "cut", *SMALL, "--iterations", 2)
    assert "going on after step 2" in here("train", "--model", "gaitgl", "--name", "cut", *SMALL, "--resume")
    assert (whole / "encoder.safetensors").read_bytes() == (cut / "encoder.safetensors").read_bytes()
    assert "up to date" in here("train", "--model", "gaitgl", "--name", "whole", *SMALL)
    assert "without silhouettes" not in here("encode", "--name", "whole", *SMALL)


def test_what_does_not_fit_is_not_resumed(work: Work) -> None:
    here("train", "--model", "gaitgl", *SMALL)
    before = {path: path.read_bytes() for path in work.model("gaitgl").iterdir()}
    assert len(before) == 4
    for other, words in (("gaitgl.embed_dim=4", "does not fit these settings"), ("walks.iterations=2", "4 steps are done")):
        with pytest.raises(UsageError, match=words) as caught:
            here("train", "--model", "gaitgl", *SMALL, "--resume", "--set", other)
        assert "\n" not in str(caught.value)
        assert {path: path.read_bytes() for path in work.model("gaitgl").iterdir()} == before
    assert "up to date" in here("train", "--model", "gaitgl", *SMALL)


def test_more_steps_of_other_rounds(work: Work) -> None:
    here("train", "--model", "gaitgl", *SMALL, "--iterations", 3)
    said = here("train", "--model", "gaitgl", *SMALL, "--set", "walks.every=1", "--iterations", 5, "--resume")
    assert "going on after step 3" in said
    log = [json.loads(line) for line in (work.model("gaitgl") / "log.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["iteration"]) for line in log] == [(1, 2), (2, 3), (3, 4), (4, 5)]


def vectors(work: Work, name: str) -> FloatArray:
    return store.read(work.embeddings(name), "embeddings", Embeddings, "/embeddings").vector


def state(work: Work, name: str) -> str:
    [item] = [item for item in survey(work, Config(), extracting=False).items if item.name == name]
    return f"{item.state} {item.reason}"


def test_a_model_without_weights_follows_the_settings(work: Work) -> None:
    here("encode", "--name", "gei")
    assert vectors(work, "gei").shape == (12, 2816)
    said = here("encode", "--name", "gei", "--set", "gei.rows=lower")
    assert 'train: \'gei\' is made again by the settings in force: rows "all" -> "lower"' in said
    assert vectors(work, "gei").shape == (12, 1408)
    assert state(work, "embeddings/gei.h5") == "done "
    said = here("encode", "--name", "gei", "--set", "gei.rows=lower")
    assert "train:" not in said
    assert "encode:" not in said
    here("train", "--model", "gei", "--name", "mine")
    assert "made again" not in here("encode", "--name", "mine", "--set", "gei.rows=lower")
    assert vectors(work, "mine").shape == (12, 2816)
    here("encode", "--name", "gei-lda")
    assert "made again" not in here("encode", "--name", "gei-lda", "--set", "gei.rows=lower")  # it has learnt: `train` would


def test_vectors_are_made_again_where_the_weights_stay_and_the_options_change(work: Work) -> None:
    here("encode", "--name", "gaittake", *SMALL)
    weights, before = work.model("gaittake") / "encoder.safetensors", vectors(work, "gaittake")
    same = weights.read_bytes()
    here("train", "--model", "gaittake", *SMALL, "--set", "gaittake.tail=keep")
    assert weights.read_bytes() == same  # clips of 6 frames have no tail
    assert state(work, "embeddings/gaittake.h5") == "stale source"
    here("encode", "--name", "gaittake", *SMALL)
    assert (vectors(work, "gaittake") != before).any()


@pytest.mark.parametrize(("learnt", "there"), [("rgb", "silhouette"), ("silhouette", "rgb")])
def test_keypoints_are_of_the_kind_that_was_learnt(tmp_path: Path, learnt: str, there: str) -> None:
    work, walks, console = Work(tmp_path), made_walks.walks(), Console(-1)
    few = ["people=2", "walks=2", "frames=6", "iterations=1"]

    def packed(source: str) -> Config:
        words = [f"pack.keypoints={source}", "skeleton.channels=[4]", "device=cpu", *(f"walks.{word}" for word in few)]
        config = load_config(overrides=words)
        made = {"/walks": replace(walks, source=source)}
        store.write(work.walks, "walks", made, provenance(config.pack, source))
        return config

    config = packed(learnt)
    for model in ("skeleton", "gei-lda"):
        train(work, replace(config, train=replace(config.train, model=model)), model, console)
    encode(work, config, "skeleton", console)
    config = packed(there)
    with pytest.raises(UsageError, match=f"was trained with pack.keypoints = {learnt}.*--set pack.keypoints={learnt}"):
        encode(work, config, "skeleton", console)
    assert encode(work, config, "gei-lda", console).exists()  # it takes no keypoints
    description = work.model("skeleton") / "config.yaml"
    description.write_text(description.read_text().replace("packed:", "parcelled:"))
    with pytest.raises(FormatError, match="does not say by which keypoints it was trained"):
        encode(work, config, "skeleton", console)


def test_a_name_of_one_s_own_is_a_model_of_the_kind_to_be_trained(work: Work) -> None:
    said = here("encode", "--name", "mine", "--set", "train.model=gaitgl", *SMALL)
    assert "train: 'mine' on 12 walks" in said
    assert "encode: 12 walks" in said
    assert read_description(work.model("mine"))["model"] == "gaitgl"


def test_some_people_and_walks_are_trained_on(work: Work) -> None:
    here("train", "--model", "gaitgl", *SMALL, "--subjects", "001,003", "--set", "train.select=nm")
    assert read_description(work.model("gaitgl"))["subjects"] == ["001", "003"]
    with pytest.raises(EmptyError, match="no walks of subjects 007"):
        here("train", "--model", "gaitgl", *SMALL, "--subjects", "007")
    with pytest.raises(UsageError, match="two or more known subjects"):
        here("train", "--model", "gaitgl", *SMALL, "--subjects", "001")


def test_what_cannot_be_learnt_from_spoils_no_model(work: Work) -> None:
    here("train", "--model", "gei-lda")
    before = {path: path.read_bytes() for path in work.model("gei-lda").iterdir()}
    with pytest.raises(UsageError, match="it needs two of somebody"):
        here("train", "--model", "gei-lda", "--set", "train.select='condition=nm,number=01'")
    assert {path: path.read_bytes() for path in work.model("gei-lda").iterdir()} == before


def test_a_model_of_another_folder_encodes_here(work: Work, tmp_path: Path) -> None:
    here("train", "--model", "gaitgl", "--name", "mine", *SMALL)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/silhouettes").symlink_to(work.root / "silhouettes")
    said = here("encode", "--encoder", work.model("mine"), "--work", tmp_path / "other", *SMALL)
    assert "encode: 12 walks, 16 x 8 numbers each, by 'mine'" in said
    with pytest.raises(EmptyError, match="needs silhouettes and keypoints of the same frames"):
        here("train", "--model", "gaittake", "--work", tmp_path / "other", *SMALL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--model", "gaitgl", "--epochs", "3"], "counts steps, not epochs"),
        (["recognise", "--name", "gaitgl", "--train", "nm", "--test", "cl"], "takes whole walks"),
        (["match", "--protocol", "cme", "--name", "gaitgl"], "takes whole walks: take lt or cross-view"),
        (["train", "--model", "gaitlg"], "did you mean 'gaitgl'"),
        (["train", "--model", "gaitgl", "--dry-run"], "models of whole walks are not foreseen"),
    ],
)
def test_what_it_cannot_do_it_says(work: Work, arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        here(*arguments, *SMALL)


def test_where_windows_are_needed_the_model_is_named(work: Work) -> None:
    here("train", "--model", "gaitgl", *SMALL)
    with pytest.raises(UsageError, match="models/gaitgl: takes whole walks"):
        here("export", "onnx", "--name", "gaitgl")


def test_what_is_no_whole_model_is_refused(work: Work) -> None:
    here("train", "--model", "gaitgl", *SMALL)
    folder = work.model("gaitgl")
    description = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(description.replace("embed_dim: 8", "embed_dim: 80000000"))
    with pytest.raises(FormatError, match="not a whole model"):
        load(folder)
    (folder / "config.yaml").write_text(description.replace("takes: walks", "takes: tea"))
    with pytest.raises(FormatError, match="holds no model of whole walks"):
        load(folder)


def test_every_model_of_walks_can_be_named() -> None:
    assert {"gaitgl", "gaittake"} <= set(plugins.names("walk"))
    for name in plugins.names("walk"):
        assert plugins.load("walk", name)(("a", "b")).parts >= 1


@pytest.mark.parametrize(
    ("name", "people", "iterations", "convolutions", "weights"),
    [
        ("gaitgl-casia-b", 8, 80_000, 3, 3_096_673),
        ("gaittake-casia-b", 8, 80_000, 3, 5_005_225),
        ("gaitgl-ou-mvlp", 32, 210_000, 6, None),
        ("gaittake-ou-mvlp", 8, 210_000, 5, None),
    ],
)
def test_presets(name: str, people: int, iterations: int, convolutions: int, weights: int | None) -> None:
    config = load_config(Path(name))
    model = plugins.load("walk", config.train.model)(tuple(map(str, range(74))), getattr(config, config.train.model))
    assert (config.walks.people, config.walks.walks, config.walks.frames, config.walks.iterations) == (people, 8, 30, iterations)
    assert sum(len(stage) for stage in model.maps.stages) == convolutions
    assert config.match.metric == "euclidean"
    if weights:
        assert sum(p.numel() for p in model.parameters()) == weights
