from pathlib import Path

import cv2
import numpy as np
import pytest
from galleries import embeddings, euclidean, rows

from gaitreid.pipeline import store
from gaitreid.pipeline.picture import GAP, RIGHT, WRONG, ranking_picture
from gaitreid.pipeline.work import Work
from gaitreid.pose.records import Track2D
from gaitreid.pose.skeleton import H36M17
from gaitreid.reid.match import rank
from gaitreid.reid.records import Embeddings


@pytest.fixture
def work(tmp_path: Path) -> tuple[Work, Embeddings]:
    """Two people, nm and cl; the nearest of the first is right, that of the second wrong. Videos that are gone."""
    of = embeddings([("1", "nm", "1", "090"), ("2", "nm", "1", "090"), ("1", "cl", "1", "090"), ("2", "cl", "1", "090")],
                    np.array([[0.0], [3.0], [1.0], [9.0]]))  # fmt: skip
    work = Work(tmp_path / "work")
    steps = np.linspace(0, 60, 17)
    xy = np.tile(np.stack([steps, 2 * steps], axis=-1), (5, 1, 1)).astype(np.float32)
    track = Track2D(
        frame=np.arange(5),
        time=np.arange(5) / 25,
        box=np.tile(np.array([0, 0, 60, 120], np.float32), (5, 1)),
        xy=xy,
        score=np.ones((5, 17), np.float32),
        world=np.zeros((5, 17, 3), np.float32),
        skeleton=H36M17,
    )
    for video, number in zip(of.video.tolist(), of.track.tolist(), strict=True):
        facts = {"config": "{}", "made_from": "", "video_path": str(tmp_path / "gone.avi")}
        store.write(work.pose2d(video), "pose2d", {f"/tracks/{number:06d}": track}, facts)
    return work, of


def test_borders_say_who_is_who(work: tuple[Work, Embeddings], tmp_path: Path) -> None:
    folder, of = work
    ranking = rank(of, rows(of, condition="nm"), rows(of, condition="cl"), euclidean()).ranking
    picture = cv2.imread(str(ranking_picture(tmp_path / "p.png", folder, of, ranking, ranks=1)))
    assert picture is not None
    upper, lower = picture[: len(picture) // 2], picture[len(picture) // 2 :]
    for half, present, absent in ((upper, RIGHT, WRONG), (lower, WRONG, RIGHT)):
        assert (half == present).all(axis=-1).sum() > 500
        assert not (half == absent).all(axis=-1).any()
    assert (picture[:GAP] == 255).all()
