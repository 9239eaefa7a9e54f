import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gaitreid.pipeline import store
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.labels import Labels
from gaitreid.pipeline.split import labels_of, split
from gaitreid.pipeline.work import Work
from gaitreid.pose.errors import EmptyError, UsageError
from gaitreid.pose.records import Track3D
from gaitreid.pose.skeleton import COCO17, H36M17, Skeleton
from gaitreid.reid.records import Sequences
from gaitreid.reid.windows import SplitConfig

WALK = Labels("001", "nm", "02", "090")
FRAMES = SplitConfig(length=4, trim=0, normalize="none", fps=None)


def track(first: int, last: int, skeleton: Skeleton = H36M17) -> Track3D:
    """Somebody seen from one frame to another."""
    frame = np.arange(first, last + 1)
    xyz = np.random.default_rng(first).normal(size=(len(frame), 17, 3)).astype(np.float32)
    return Track3D(frame=frame, time=frame / 25, xyz=xyz, score=np.ones(xyz.shape[:2]), skeleton=skeleton, lifter="x")


def lifted(work: Work, stem: str, labels: Labels, *tracks: Track3D) -> None:
    named = {f"/tracks/{number:06}": one for number, one in enumerate(tracks, 1)}
    store.write(work.pose3d(stem), "pose3d", named, {"config": "{}", "made_from": stem, **labels.as_dict()})


@pytest.mark.parametrize(
    ("spans", "named"),
    [
        ([(0, 9), (10, 40)], [1, 2]),  # one after the other
        ([(0, 10), (10, 40)], [2]),  # both in one frame: the longest
        ([(30, 50), (0, 40)], [2]),  # whichever comes first
        ([(0, 19), (10, 29)], [1]),  # as long as each other: the first
        ([(0, 40), (41, 60), (50, 65)], [1, 2]),  # the third is there with the second
        ([(0, 40), (30, 60), (45, 50)], [1, 3]),  # nobody who is named is there with the third
        ([(5, 8), (0, 40), (20, 22)], [2]),
    ],
)
def test_whose_a_label_is(spans: list[tuple[int, int]], named: list[int]) -> None:
    found = labels_of({number: track(*span) for number, span in enumerate(spans, 1)}, WALK)
    unnamed = Labels(condition="nm", view="090")  # whoever else is there is seen in the same way
    assert found == {number: WALK if number in named else unnamed for number in range(1, len(spans) + 1)}


def test_windows_know_where_they_are_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = Work(tmp_path)
    lifted(work, "a", WALK, track(0, 11), track(5, 12), track(20, 22), track(30, 32))
    lifted(work, "b", Labels(), track(7, 10))
    made = store.read(split(work, FRAMES, Console()), "sequences", Sequences, "/sequences")
    assert capsys.readouterr().out == "split: 9 windows of 4 frames from 3 tracks, left out: 2 too-short\n"
    assert json.loads(str(store.attributes(work.sequences, "sequences")["left_out"])) == {"too-short": 2}
    assert list(zip(made.video, made.track, made.subject, made.number, made.view, made.recording, strict=True)) == [
        ("a", 1, "001", "02", "090", "001/nm/02"),
        ("a", 2, "", "", "090", "001/nm/02"),  # of the same walk, whoever it is
        ("b", 1, "", "", "", "b"),
    ]
    assert made.frame[made.start].tolist() == [0, 2, 4, 6, 8, 5, 7, 9, 7]
    assert (made.length, made.fps, made.normalize) == (4, 0.0, "none")


def test_what_cannot_be_split(tmp_path: Path) -> None:
    work = Work(tmp_path)
    lifted(work, "a", WALK, track(0, 2))
    with pytest.raises(EmptyError, match=r"no window of 4 frames came out of 1 video \(1 too-short\)"):
        split(work, FRAMES, Console(-1))
    lifted(work, "a", WALK, track(0, 20))
    lifted(work, "b", WALK, track(0, 20, COCO17))
    with pytest.raises(UsageError, match="several skeletons"):
        split(work, FRAMES, Console(-1))
    assert not work.sequences.exists()


def test_windows_are_made_again_only_where_what_they_are_of_has_changed(tmp_path: Path) -> None:
    work = Work(tmp_path)
    lifted(work, "a", WALK, track(0, 20))
    before = split(work, FRAMES, Console(-1)).stat().st_mtime_ns
    assert split(work, FRAMES, Console(-1)).stat().st_mtime_ns == before
    lifted(work, "b", WALK, track(3, 20))
    made = store.read(split(work, replace(FRAMES, fps=25.0), Console(-1)), "sequences", Sequences, "/sequences")
    assert (made.video.tolist(), made.fps) == (["a", "b"], 25.0)
