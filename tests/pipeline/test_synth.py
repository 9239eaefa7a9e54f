from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from gaitreid.cli import app
from gaitreid.pipeline import store
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.session import Session
from gaitreid.pipeline.synth import SynthConfig, synth
from gaitreid.pose.errors import UsageError
from gaitreid.pose.records import Track2D, Track3D

QUIET = Console(level=-1)
SMALL = SynthConfig(subjects=2, views=(0, 90), conditions=("nm",), numbers=1, seconds=0.4)


def test_names_are_casias_and_truth_lies_beside(tmp_path: Path) -> None:
    paths = synth(tmp_path, SMALL, QUIET)
    assert [p.name for p in paths] == ["001-nm-01-000.avi", "001-nm-01-090.avi", "002-nm-01-000.avi", "002-nm-01-090.avi"]
    for path in paths:
        capture = cv2.VideoCapture(str(path))
        assert capture.get(cv2.CAP_PROP_FPS) == 25
        count = 0
        while capture.read()[0]:
            count += 1
        truth = tmp_path / "truth" / f"{path.stem}.h5"
        flat = store.read(truth, "truth", Track2D, "/tracks/000001")
        solid = store.read(truth, "truth", Track3D, "/tracks3d/000001")
        assert count == len(flat.frame) == len(solid.frame) == 10
        np.testing.assert_allclose(solid.xyz[:, 0], 0)


def test_who_is_behind_the_camera_is_missing_in_2d(tmp_path: Path) -> None:
    path = synth(tmp_path, SynthConfig(subjects=14, people_per_scene=14, views=(90,), seconds=0.2), QUIET)[0]
    tracks = list(store.read_all(tmp_path / "truth" / f"{path.stem}.h5", "truth", Track2D).values())
    assert [bool(np.isfinite(track.xy).all() and track.score.all()) for track in tracks] == [True] * 12 + [False] * 2
    assert not tracks[-1].score.any()
    assert np.isfinite(tracks[-1].world).all()


def test_only_what_is_missing_is_rendered_and_it_comes_out_the_same(tmp_path: Path) -> None:
    paths = synth(tmp_path, SMALL, QUIET)
    before = [p.read_bytes() for p in paths]
    stamps = [p.stat().st_mtime_ns for p in paths]
    paths[1].unlink()
    synth(tmp_path, SMALL, QUIET)
    assert [p.read_bytes() for p in paths] == before
    assert [p.stat().st_mtime_ns == s for p, s in zip(paths, stamps, strict=True)] == [True, False, True, True]


def test_another_seed_gives_other_people(tmp_path: Path) -> None:
    one = synth(tmp_path / "a", SMALL, QUIET, seed=0)
    two = synth(tmp_path / "b", SMALL, QUIET, seed=1)
    assert one[0].read_bytes() != two[0].read_bytes()


def test_several_people_a_scene(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = SynthConfig(subjects=5, views=(90,), conditions=("nm", "bg"), numbers=3, people_per_scene=2, seconds=0.4)
    paths = synth(tmp_path, config, Console())
    told = "synth: scenes of 2 people have no room for 1 subjects, the conditions bg, 2 numbers: left out"
    assert told in capsys.readouterr().out
    assert not SynthConfig(subjects=4, people_per_scene=2).left_out
    assert [p.name for p in paths] == ["scene-01-090.avi", "scene-02-090.avi"]
    truth = tmp_path / "truth/scene-02-090.h5"
    assert store.attributes(truth, "truth")["subjects"] == "003,004"
    assert len(store.read_all(truth, "truth", Track2D)) == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"conditions": ("xx",)}, "'xx' is not one of nm"),
        ({"subjects": 0}, "must be 1 or more"),
        ({"numbers": 0}, "must be 1 or more"),
        ({"conditions": ()}, "must be 1 or more"),
        ({"views": ()}, ".views: name one"),
        ({"views": (-18,)}, ".views: .* 0 to 359"),  # CASIA-B's names have three digits for it
        ({"views": (0, 90, 0)}, ".views: one is named twice"),
        ({"conditions": ("nm", "nm")}, ".conditions: one is named twice"),
        ({"people_per_scene": 3, "subjects": 2}, "3 people a scene need as many subjects, there are 2"),
    ],
)
def test_settings_that_make_no_sense_are_named(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=f"synth.*{message}"):
        SynthConfig(**wrong)  # type: ignore[arg-type]


def test_what_is_rendered_unless_it_is_said() -> None:
    assert SynthConfig().recordings == (("nm", "bg", "cl"), 2)
    assert SynthConfig(people_per_scene=2).recordings == (("nm",), 1)
    assert SynthConfig(people_per_scene=2, conditions=("bg",)).recordings == (("bg",), 1)


@pytest.mark.parametrize("options", [["--seed", "-1"], ["--views", ""], ["--conditions", ""]])
def test_options_that_make_no_sense_render_nothing(tmp_path: Path, options: list[str]) -> None:
    small = ["--subjects", "1", "--numbers", "1", "--seconds", "0.2", "--jobs", "1"]
    result = CliRunner().invoke(app, ["synth", str(tmp_path / "videos"), *small, *options])
    assert result.exit_code == 2 or isinstance(result.exception, UsageError), result.output
    assert not (tmp_path / "videos").exists()


def test_demo_and_synth_take_a_work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places: list[tuple[Path, Path]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GAITREID_WORK", "real")  # made-up people do not belong there
    for name in ("demo", "synth"):
        monkeypatch.setattr(Session, name, lambda self, folder: places.append((self.work.root, folder)))
    for words in (["demo"], ["demo", "d"], ["demo", "--work", "w"], ["demo", "--work", "work"], ["synth", "d", "--work", "w"]):
        assert CliRunner().invoke(app, words).exit_code == 0
    assert [work for work, _ in places] == [Path(p) for p in ("demo/work", "d/work", "w", "work", "w")]
    assert [folder for _, folder in places] == [Path(p) for p in ("demo/videos", "d/videos", "demo/videos", "demo/videos", "d")]
