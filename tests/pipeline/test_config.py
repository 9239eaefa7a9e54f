from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from gaitreid.cli import Common, _session
from gaitreid.pipeline import yaml_file
from gaitreid.pipeline.config import Config, as_dict, load, named, shipped
from gaitreid.pose.errors import UsageError
from gaitreid.reid.windows import SplitConfig


@pytest.mark.parametrize("name", sorted(shipped()))
def test_every_shipped_file_loads(name: str) -> None:
    load(Path(name))


def test_a_folder_of_the_same_name_is_not_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "demo").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load(Path("demo")) == load(shipped()["demo"])


def test_default_file_is_the_defaults() -> None:
    assert yaml.safe_load(shipped()["default"].read_text()) == as_dict(Config())
    assert load(Path("default")) == Config()


def test_set_goes_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("split: {length: 30, trim: 5}\nseed: 3\n")
    config = load(file, ["split.length=40", "cage.window=6"])
    assert config.split == SplitConfig(length=40, trim=5)
    assert (config.seed, config.cage.window) == (3, 6)


def test_a_file_builds_on_another(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("split: {length: 30, trim: 5}")
    (tmp_path / "mine.yaml").write_text("_base_: base.yaml\nsplit: {trim: 2}")
    assert load(tmp_path / "mine.yaml").split == SplitConfig(length=30, trim=2)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["split.lenght=3"], "unknown key 'split.lenght': did you mean 'split.length'"),
        (["lenght=3"], "unknown key 'lenght': did you mean 'split.length'"),
        (["nonsense=1"], "unknown key 'nonsense'"),
        (["split.length=abc"], "split.length is 'abc', expected a whole number"),
        (["split.length=true"], "expected a whole number"),
        (["split.normalize=sideways"], "expected one of none, root, gait"),
        (["split=3"], "split must hold keys and values"),
        (["split.length"], "expected key=value"),
        (["split.length=1"], "split.length must be 2 or more"),
        (["seed=-1"], "seed is -1, expected 0 or more"),
        (["device=banana"], "device is 'banana', expected auto, cpu, cuda or cuda:N"),
        (["extract.detector=eyes"], "expected auto, hog, motion, whole"),
    ],
)
def test_mistakes_are_named(overrides: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(None, overrides)


@pytest.mark.parametrize(("text", "value"), [("1e-4", 1e-4), ("2E-3", 2e-3), ("+1.5e2", 150.0), ("1.e-3", 1e-3), ("0.5", 0.5)])
def test_numbers_with_an_exponent(text: str, value: float) -> None:
    assert load(None, [f"train.learning_rate={text}"]).train.learning_rate == value


def test_what_reads_as_a_number_is_written_as_the_text_that_it_is() -> None:
    values = {"subjects": ["1e5", "2E-3", "001", "anna"], "rate": 1e-5, "epochs": 3}
    assert yaml_file.parse(yaml_file.text(values), "here") == values
    assert yaml_file.parse("[e5, 1e5x, 1e, 1-e5]", "here") == ["e5", "1e5x", "1e", "1-e5"]


@pytest.mark.parametrize("folder", ["tcn:\N{FOOTPRINTS}/walks", "tcn:\U00020bb7\u91ce\u5bb6", "tcn:\udcff", "tcn:1e5", "null"])
def test_options_of_commands_come_as_they_are_and_go_over_set(folder: str) -> None:
    common = Common(set_=["lift.lifter=world", "lift.skeleton=casia14"], seed=7)
    config = _session(common, {"lift.lifter": folder, "synth.views": [0, 90], "split.length": None}).config
    assert (config.lift.lifter, config.lift.skeleton) == (folder, "casia14")
    assert (config.synth.views, config.seed, config.split) == ((0, 90), 7, SplitConfig())


@pytest.mark.parametrize("content", ["- a\n", "{", "!!python/object/apply:os.system ['true']\n", "_base_: me.yaml\n"])
def test_bad_files(tmp_path: Path, content: str) -> None:
    file = tmp_path / "me.yaml"
    file.write_text(content)
    with pytest.raises(UsageError, match=r"me\.yaml"):
        load(file)


def test_python_is_never_run(tmp_path: Path) -> None:
    file = tmp_path / "me.py"
    file.write_text("raise SystemExit(9)")
    with pytest.raises(UsageError, match="must be a YAML file"):
        load(file)
    (tmp_path / "mine.yaml").write_text("_base_: me.py\n")
    with pytest.raises(UsageError, match="must be a YAML file"):
        load(tmp_path / "mine.yaml")


def test_replace_keeps_the_checks() -> None:
    with pytest.raises(UsageError):
        replace(SplitConfig(), length=0)


@pytest.mark.parametrize("model", ["age", "cage", "cage-plus"])
def test_presets_of_the_paper_and_of_its_code(model: str) -> None:
    paper, official = (load(Path(f"{model}-{kind}")) for kind in ("paper", "official"))
    assert paper.train.model == official.train.model == model
    assert (paper.cage.aux, official.cage.aux) == ("teacher", "zero")
    assert (paper.cage.encode_aux, official.cage.encode_aux) == ("free", "same")
    assert (paper.cage.score, official.cage.score) == ("dot", "general")
    assert (paper.cage.squash, official.cage.squash) == (True, False)
    assert (paper.cage.pairs, official.cage.pairs) == ("within", "batch")
    assert official.recognise.select == "oracle-test"
    assert paper.train.epochs == official.train.epochs == 400
    assert official.train.drop_last


def test_settings_are_named_with_dots() -> None:
    assert named(["match.top=3", "match={exclude: overlap, unit: window}", "seed=1"]) == [
        "match.top",
        "match.exclude",
        "match.unit",
        "seed",
    ]
