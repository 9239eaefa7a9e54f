"""Silhouettes and skeletons of the same walks, alone and fused, as a user compares them."""

import json
from pathlib import Path

import made_walks
import numpy as np
import pytest
from commands import output as here
from galleries import casia

from gaitreid.pipeline import store
from gaitreid.pipeline.config import Config
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.session import Session
from gaitreid.pipeline.work import Work
from gaitreid.pose.errors import EmptyError, UsageError
from gaitreid.pose.records import Silhouettes, Track2D
from gaitreid.pose.skeleton import COCO17
from gaitreid.reid.records import Embeddings

FEW = ["walks.people=3", "walks.walks=2", "walks.frames=10", "walks.iterations=4", "walks.every=2", "skeleton.channels=[8]"]
SETTINGS = ["--device", "cpu", *(word for value in FEW for word in ("--set", value))]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """Three people, each twice as nm and once as cl; one walk has no keypoints."""
    work = Work(tmp_path_factory.mktemp("walks"))
    rng = np.random.default_rng(0)
    for person in range(3):
        for condition, number in (("nm", "01"), ("nm", "02"), ("cl", "01")):
            body = 5 + 2.5 * person, 6 + 3.0 * person, rng.uniform(0, 6)
            stem, frames = f"{person + 1:03d}-{condition}-{number}-090", np.arange(14)
            facts = {
                "subject": stem[:3],
                "condition": condition,
                "number": number,
                "view": "090",
                "config": "{}",
                "made_from": stem,
            }
            masks = Silhouettes(frame=frames, mask=made_walks.masks(14, *body).astype(np.uint8) * 255)
            store.write(work.silhouettes(stem), "silhouettes", {"/tracks/000001": masks}, facts)
            if stem == "003-cl-01-090":
                continue
            points = made_walks.keypoints(14, *body)
            track = Track2D(
                frame=frames,
                time=frames / 25,
                box=np.tile(np.array([30, 20, 70, 120], np.float32), (14, 1)),
                xy=points[..., :2],
                score=points[..., 2],
                world=np.full((14, 17, 3), np.nan, np.float32),
                skeleton=COCO17,
            )
            store.write(work.pose2d(stem), "pose2d", {"/tracks/000001": track}, facts)
    return work


def embeddings(work: Work, name: str) -> Embeddings:
    return store.read(work.embeddings(name), "embeddings", Embeddings, "/embeddings")


def test_energy_images_need_no_steps(work: Work) -> None:
    out = here("match", "--work", work.root, "--name", "gei", "--probe", "cl", "--gallery", "nm", *SETTINGS)
    assert "encode: 9 walks, 1 x 2816 numbers each, by 'gei'" in out
    assert "was trained on" not in out  # nothing was learnt
    assert json.loads((work.match("cl", "nm") / "metrics.json").read_text())["rank1"] == 1.0
    here("encode", "--work", work.root, "--name", "gei-lda", *SETTINGS)
    assert embeddings(work, "gei-lda").vector.shape == (9, 2)
    apart = np.linalg.norm(embeddings(work, "gei-lda").vector[:, None] - embeddings(work, "gei-lda").vector[None], axis=-1)
    same = np.equal.outer(np.arange(9) // 3, np.arange(9) // 3)
    assert apart[same].max() < apart[~same].min()  # everybody was learnt from


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_skeletons_and_silhouettes_are_fused(work: Work, metric: str) -> None:
    out = here(
        "match",
        "--work",
        work.root,
        "--name",
        "skeleton",
        "--fuse",
        "gei",
        "--probe",
        "nm",
        "--gallery",
        "nm",
        "--metric",
        metric,
        *SETTINGS,
    )
    assert "fuse: 1 track left out" in out
    assert "the encoder 'skeleton' was trained on labelled walks of 3 of the 3 probe subjects" in out
    fused = embeddings(work, "skeleton+gei")
    assert len(fused.video) == 8
    assert fused.parts == (1 if metric == "cosine" else 5)
    assert embeddings(work, "skeleton").parts == 4
    metrics = json.loads((work.match("nm", "nm") / "metrics.json").read_text())
    assert metrics["model"] == "skeleton+gei"
    assert metrics["probes"] == 6
    assert metrics["rank1"] == 1.0


def test_energy_images_need_no_labels(tmp_path: Path) -> None:
    for stem in ("a", "b"):
        masks = Silhouettes(frame=np.arange(14), mask=made_walks.masks(14, 6.0, 8.0, len(stem)).astype(np.uint8) * 255)
        store.write(
            Work(tmp_path).silhouettes(stem), "silhouettes", {"/tracks/000001": masks}, {"config": "{}", "made_from": stem}
        )
    assert "'gei' on 2 walks, in one go" in here("train", "--work", tmp_path, "--model", "gei", *SETTINGS)
    here("encode", "--work", tmp_path, "--name", "gei", *SETTINGS)
    assert embeddings(Work(tmp_path), "gei").vector.shape == (2, 64 * 44)
    with pytest.raises(EmptyError, match="give them labels"):
        here("train", "--work", tmp_path, "--model", "gei-lda", *SETTINGS)


def test_a_model_that_is_not_there_is_named(work: Work) -> None:
    with pytest.raises(UsageError, match="did you mean 'gei'"):
        here("train", "--work", work.root, "--model", "geii", *SETTINGS)


def test_silhouettes_count_where_everybody_who_walks_has_them(tmp_path: Path) -> None:
    session = Session(Work(tmp_path), Config(), Console(), 1)
    path = session.work.embeddings("shipped")
    found = casia(subjects=1)
    store.write(path, "embeddings", {"/embeddings": found}, {"config": "{}", "made_from": ""})
    for folder, stems in (("pose2d", [*found.video.tolist(), "nobody"]), ("silhouettes", found.video.tolist()[1:])):
        (tmp_path / folder).mkdir()
        for stem in stems:
            (tmp_path / folder / f"{stem}.h5").touch()
    assert not session._has_silhouettes(path)  # one walks without
    session.work.silhouettes(found.video[0]).touch()
    assert session._has_silhouettes(path)  # a video in which nobody walks has none, and does not matter
    assert not session._has_silhouettes(session.work.embeddings("cage"))
