"""The whole chain on rendered walkers, as a user runs it."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import output as here

from gaitreid.pipeline import store
from gaitreid.pose.errors import UsageError
from gaitreid.pose.records import Silhouettes, Track2D
from gaitreid.pose.skeleton import BLAZEPOSE33, H36M17, remap

SMALL = ["--set", "train.epochs=2", "--set", "train.batch=32", "--jobs", "1"]


TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def gaitreid(*arguments: object, cwd: Path, code: int = 0, by: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *by, "-m", "gaitreid.cli", *map(str, arguments)]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert result.returncode == code, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return result


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rendered videos of two people, extracted."""
    folder = tmp_path_factory.mktemp("project")
    gaitreid(
        "synth", "videos", "--subjects", 2, "--views", "90", "--conditions", "nm,cl", "--numbers", 1, "--jobs", 1, cwd=folder
    )
    result = gaitreid("extract", "videos", "--silhouettes", "--jobs", 2, cwd=folder)
    assert "W0000" not in result.stderr
    return folder


def test_joints_are_where_the_truth_is(project: Path) -> None:
    for path in sorted((project / "work/pose2d").glob("*.h5")):
        (found,) = store.read_all(path, "pose2d", Track2D).values()
        truth = store.read(project / "videos/truth" / path.name, "truth", Track2D, "/tracks/000001")
        xy, _ = remap(found.xy, found.score, BLAZEPOSE33, H36M17)
        legs = H36M17.indices("left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle")
        error = np.linalg.norm(xy[:, legs] - truth.xy[found.frame][:, legs], axis=-1)
        assert len(found.frame) > 60
        assert np.median(error) < 6


def test_labels_provenance_and_silhouettes(project: Path) -> None:
    facts = store.attributes(project / "work/pose2d/001-nm-01-090.h5", "pose2d")
    assert (facts["subject"], facts["condition"], facts["number"], facts["view"]) == ("001", "nm", "01", "090")
    assert len(str(facts["made_from"])) == 64
    (masks,) = store.read_all(project / "work/silhouettes/001-nm-01-090.h5", "silhouettes", Silhouettes).values()
    assert len(masks.frame) > 60
    assert (masks.mask[:, :3] > 0).any(axis=(1, 2)).all()  # heads touch the top
    assert 0.1 < (masks.mask > 127).mean() < 0.6


def test_match_brings_everything_before_it_up_to_date(project: Path) -> None:
    result = gaitreid("match", "--probe", "nm", "--gallery", "cl", *SMALL, cwd=project)
    for stage in ("lift:", "split:", "encode:", "match:"):
        assert stage in result.stdout
    assert "by 'shipped'" in result.stdout
    assert "never seen" not in result.stdout  # its own subject 001 is nobody's here
    folder = project / "work/matches/nm-cl"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["protocol"], metrics["probe"], metrics["gallery"], metrics["unit"]) == ("plain", "nm", "cl", "track")
    assert (metrics["probes"], metrics["gallery_items"]) == (2, 2)
    assert (metrics["model"], metrics["metric"]) == ("shipped+gei-parts", "alike")  # there are silhouettes, too
    assert "silhouettes count, too" in result.stdout
    for asked in (["--metric", "cosine"], ["--set", "match.metric=cosine"]):  # also where that is the default
        gaitreid("match", "--probe", "nm", "--gallery", "cl", *asked, cwd=project)
        assert json.loads((folder / "metrics.json").read_text())["metric"] == "cosine"
        (folder / "metrics.json").unlink()
    with (folder / "ranking.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert {row["probe_video"] for row in rows} == {"001-nm-01-090", "002-nm-01-090"}
    report = (folder / "report.html").read_text()
    assert "Rank-1" in report
    assert "http://" not in report.replace("http://www.w3.org", "")
    again = gaitreid("match", "--probe", "nm", "--gallery", "cl", *SMALL, cwd=project)
    for stage in ("lift:", "split:", "train:", "encode:"):
        assert stage not in again.stdout


def test_run_ranks_everybody_against_other_recordings(project: Path) -> None:
    result = gaitreid("run", "videos", *SMALL, cwd=project)
    metrics = json.loads((project / "work/matches/all-all/metrics.json").read_text())
    assert (metrics["probes"], metrics["gallery_items"], metrics["excluded"]) == (4, 4, 4)  # each but its own recording
    assert "matches/all-all/report.html" in result.stdout


@pytest.fixture
def known(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's folder, with a gallery of both people."""
    monkeypatch.chdir(project)
    for subject in ("001", "002"):
        here("gallery", "add", f"p{subject}", f"videos/{subject}-nm-01-090.avi", "--jobs", 1)
    return project


def test_a_gallery_names_people(known: Path) -> None:
    listed = here("gallery", "list")
    assert "p001  1 track, 1 video" in listed
    assert "calibration: a stranger is taken for somebody in 5% of the searches" in listed
    said = here("identify", "videos/001-cl-01-090.avi", "--far", 0.99, "--overlay", "--jobs", 1)
    with Path("work/identified/identities.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["answer"] for row in rows} <= {"p001", "p002"}
    assert [row["rank"] for row in rows] == ["1", "2"]
    assert "1 video, 1 track, 1 named" in said
    [drawn] = Path("work/identified").glob("*.mp4")
    capture, original = cv2.VideoCapture(str(drawn)), cv2.VideoCapture("videos/001-cl-01-090.avi")
    frames = 0
    while capture.read()[0]:
        assert original.read()[0]
        frames += 1
    assert frames > 20
    assert not original.read()[0]
    with pytest.raises(SystemExit):  # the limits in force, not the usual ones, say what is drawn into
        here("identify", "videos/001-cl-01-090.avi", "--overlay", "--jobs", 1, "--set", "limits.megapixels=0.001")
    with pytest.raises(UsageError, match="there is no model 'nowhere'"):
        here("gallery", "add", "p003", "videos/001-cl-01-090.avi", "--name", "nowhere")


def test_watching_a_folder_and_a_video_that_plays(known: Path, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    arrival = threading.Timer(1.5, shutil.copy, (known / "videos/002-cl-01-090.avi", inbox / "new.avi"))
    arrival.start()
    out = here("identify", "--watch", inbox, "--stop-after", 4, "--jobs", 1, "--out", tmp_path / "out")
    arrival.join()
    assert "new.avi  track 1" in out
    assert "new.avi" in (tmp_path / "out/identities.csv").read_text()
    live = here("identify", "--live", "videos/001-cl-01-090.avi", "--far", 0.99)
    assert re.search(r"live: \d\.\d s seen, \d+\.\d s behind at the end, \d+ of \d+ frames left out", live)
    with pytest.raises(UsageError, match=r"--live nothing\.avi"):
        here("identify", "--live", "nothing.avi")


def test_training_goes_on_where_it_was_cut_off(project: Path) -> None:
    one, two = project / "work/models/one", project / "work/models/two"
    gaitreid("train", "--name", "one", *SMALL, cwd=project)
    gaitreid("train", "--name", "two", *SMALL, "--epochs", 1, cwd=project)
    result = gaitreid("train", "--name", "two", *SMALL, "--resume", cwd=project)
    assert "going on after epoch 1" in result.stdout
    assert (one / "encoder.safetensors").read_bytes() == (two / "encoder.safetensors").read_bytes()
    assert "up to date" in gaitreid("train", "--name", "one", *SMALL, cwd=project).stdout


def test_two_processes_train_by_the_command_and_end_in_peace(project: Path) -> None:
    assert "'both' done" in gaitreid("train", "--name", "both", *SMALL, cwd=project, by=TORCHRUN).stdout
    assert "up to date" in gaitreid("train", "--name", "both", *SMALL, cwd=project, by=TORCHRUN).stdout
    assert "up to date" in gaitreid("train", "--name", "both", *SMALL, cwd=project).stdout


def test_second_extraction_does_nothing_and_new_labels_need_no_new_poses(project: Path) -> None:
    path = project / "work/pose2d/001-nm-01-090.h5"
    before = path.read_bytes()
    assert "4 were up to date" in gaitreid("extract", "videos", cwd=project).stdout
    assert path.read_bytes() == before
    gaitreid("extract", "videos", "--pattern", r"(?P<subject>\d+)-(?P<condition>\w+)", cwd=project)
    assert store.attributes(path, "pose2d")["view"] == ""
    gaitreid("extract", "videos", cwd=project)
    assert store.attributes(path, "pose2d")["view"] == "090"


def test_several_people_in_a_frame_are_each_their_own_track(tmp_path: Path) -> None:
    people = ["--subjects", 3, "--people-per-scene", 3]
    gaitreid("synth", "videos", *people, "--views", "54", "--conditions", "nm", "--jobs", 1, cwd=tmp_path)
    gaitreid("extract", "videos", cwd=tmp_path)
    truth = store.read_all(tmp_path / "videos/truth/scene-01-054.h5", "truth", Track2D).values()
    found = store.read_all(tmp_path / "work/pose2d/scene-01-054.h5", "pose2d", Track2D).values()
    hips = BLAZEPOSE33.indices("left_hip", "right_hip")
    whose = []
    for track in found:
        pelvis = track.xy[:, hips].mean(axis=1)
        nearest = np.argmin([np.linalg.norm(pelvis - person.xy[track.frame, 0], axis=-1) for person in truth], axis=0)
        counts = np.bincount(nearest, minlength=3)
        assert counts.max() > 0.8 * counts.sum()  # but for the moment in which they cross
        whose.append(int(counts.argmax()))
    assert set(whose) == {0, 1, 2}


def test_killed_at_any_moment_and_run_again_gives_the_same_files(project: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gaitreid.cli", "extract", str(project / "videos"), "--jobs", "2"]
    done = tmp_path / "work/pose2d"
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        while not list(done.glob("*.h5")) and process.poll() is None:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    assert 0 < len(list(done.glob("*.h5"))) < 4
    (done / f".002-cl-01-090.h5.{process.pid}.tmp").write_bytes(b"half a file")
    gaitreid("extract", project / "videos", "--jobs", 2, cwd=tmp_path)
    names = {path.name for path in done.iterdir()}
    assert names == {path.name for path in (project / "work/pose2d").iterdir()}
    for name in names:  # the other's labels may have been written anew meanwhile, which moves bytes about
        ours, theirs = (store.read_all(folder / name, "pose2d", Track2D) for folder in (done, project / "work/pose2d"))
        assert ours.keys() == theirs.keys()
        for number, track in ours.items():
            for field in ("frame", "time", "box", "xy", "score", "world"):
                np.testing.assert_array_equal(getattr(track, field), getattr(theirs[number], field))


def test_every_bad_video_has_its_reason_and_the_good_one_is_done(project: Path, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    shutil.copy(project / "videos/001-nm-01-090.avi", videos / "good.avi")
    (videos / "empty.mp4").touch()
    (videos / "text.avi").write_text("this is no video\n" * 99)
    whole = (project / "videos/001-nm-01-090.avi").read_bytes()
    (videos / "head.avi").write_bytes(whole[:300])
    cv2.imwrite(str(tmp_path / "picture.png"), np.zeros((90, 90, 3), np.uint8))
    (tmp_path / "picture.png").rename(videos / "picture.avi")
    writer = cv2.VideoWriter(str(videos / "nobody.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25, (160, 120))
    for _ in range(30):
        writer.write(np.full((120, 160, 3), 90, np.uint8))
    writer.release()
    result = gaitreid("extract", "videos", "--jobs", 1, cwd=tmp_path, code=1)
    reasons = {
        line.split()[0]: line.split()[1].rstrip(":") for line in result.stdout.splitlines() if not line.startswith("extract")
    }
    assert reasons == {
        "empty": "unreadable",
        "good": "1",
        "head": "unreadable",
        "nobody": "no-person",
        "picture": "not-a-video",
        "text": "unreadable",
    }
    assert store.read_all(tmp_path / "work/pose2d/nobody.h5", "pose2d", Track2D) == {}
    assert str(store.attributes(tmp_path / "work/pose2d/nobody.h5", "pose2d")["reason"]).startswith("no-person")
    again = gaitreid("extract", "videos", "--jobs", 1, cwd=tmp_path, code=1)
    assert "6 were up to date" in again.stdout
    assert "no-person" in again.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["extract", "nowhere"], 2, "no such file or folder"),
        (["extract", "."], 3, "no videos in"),
        (["lift"], 3, "run `gaitreid extract VIDEOS...` first"),
        (["train", "--model", "cagee"], 2, "did you mean 'cage'"),
        (["split", "--set", "split.lenght=3"], 2, "did you mean 'split.length'"),
        (["inspect", "nothing.h5"], 3, "no such file"),
        (["match", "--device", "cuda:77"], 3, "extract"),
        (["frobnicate"], 2, "No such command"),
    ],
)
def test_errors_are_one_line_and_a_code(tmp_path: Path, arguments: list[str], code: int, message: str) -> None:
    result = gaitreid(*arguments, cwd=tmp_path, code=code)
    assert message in result.stderr


def test_selectors_that_mean_nothing_say_what_there_is(project: Path) -> None:
    result = gaitreid("match", "--probe", "zz", "--gallery", "cl", *SMALL, cwd=project, code=2)
    assert "nm" in result.stderr


def test_inspect_and_plugins(project: Path) -> None:
    out = gaitreid("inspect", "work/pose2d/001-nm-01-090.h5", cwd=project).stdout
    assert "/tracks/000001/xy  (T,J,2)" in out
    assert "schema: pose2d" in out
    assert "cage" in gaitreid("plugins", cwd=project).stdout
