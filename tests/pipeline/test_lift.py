from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tracked import tracked, video

from gaitreid.pipeline import store
from gaitreid.pipeline.config import Config
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.session import Session
from gaitreid.pipeline.work import Work
from gaitreid.pose.errors import EmptyError
from gaitreid.pose.lift import LiftConfig
from gaitreid.pose.records import Track2D


def test_nothing_that_could_be_lifted_is_no_good_end_however_often(tmp_path: Path) -> None:
    work = Work(tmp_path / "work")
    flat = tracked(work, video(tmp_path / "videos", "a"), 1)
    track = store.read(flat, "pose2d", Track2D, "/tracks/000001")
    flattened = replace(track, world=np.full_like(track.world, np.nan))
    store.write(flat, "pose2d", {"/tracks/000001": flattened}, store.attributes(flat, "pose2d"))
    tracked(work, video(tmp_path / "videos", "b"), 2, reason="no-person")
    session = Session(work, Config(lift=LiftConfig(lifter="world")), Console(-1), 1)
    for _ in range(2):
        with pytest.raises(EmptyError, match="no track of 2 videos was lifted by 'world': choose another"):
            session.lift()
    tracked(work, video(tmp_path / "videos", "c"), 2)
    assert session.lift().done == ["c"]
    assert session.lift().skipped == ["a", "b", "c"]
