import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from galleries import embeddings, euclidean

from gaitreid.pipeline import store
from gaitreid.pipeline.console import Console
from gaitreid.pipeline.match import by_protocol
from gaitreid.pipeline.searches import Search, headline, searches, submission
from gaitreid.pipeline.work import Work
from gaitreid.pose.errors import EmptyError, UsageError
from gaitreid.reid.match import Matches, rank
from gaitreid.reid.records import Embeddings

# Four people, numbers 75 to 78, two views, worked out on paper: everybody is a point on a line, by sequence and view.
#
#   gallery nm-01    view 000: 75 at 0, 76 at 10, 77 at 20, 78 is not there    view 090: 75 at 1, 76 at 11, 77 at 21, 78 at 31
#   probes  nm-05    view 000: 75 at 7 (nearer to 76 in both views), 76 at 10, 77 at 20, 78 at 30
#                    view 090: 75 at 1, 76 at 11, 77 at 15 (nearer to 76 in view 090, in view 000 a tie: 76 comes first), 78 at 31
#
# Rank-1, probe view in rows, gallery view in columns:
#   000: [2 of 4 (75 -> 76, 78 not there), 3 of 4 (75 -> 76)]
#   090: [2 of 4 (77 -> 76, 78 not there), 3 of 4 (77 -> 76)]
# Identical view excluded: probe 000 has 3/4, probe 090 has 2/4; mean 62.5 %. Without probes that cannot be right: 3/4 and 2/3.
GALLERY: dict[str, dict[str, float]] = {
    "000": {"075": 0.0, "076": 10, "077": 20},
    "090": {"075": 1, "076": 11, "077": 21, "078": 31},
}
PROBES: dict[str, dict[str, float]] = {
    "000": {"075": 7.0, "076": 10, "077": 20, "078": 30},
    "090": {"075": 1, "076": 11, "077": 15, "078": 31},
}


def by_hand() -> Embeddings:
    walks, vectors = [], []
    for number, places in (("01", GALLERY), ("05", PROBES)):
        for view, people in places.items():
            for subject, place in people.items():
                walks.append((subject, "nm", number, view))
                vectors.append([float(place)])
    return embeddings(walks, np.array(vectors))


def searched(of: Embeddings, protocol: str, training: int = 74, probe: str = "") -> list[tuple[Search, Matches, dict[str, Any]]]:
    result = []
    for search in searches(protocol, of, training, probe, ""):
        matches = rank(of, search.probes, search.items, euclidean(exclude=search.exclude))
        result.append((search, matches, headline(search, matches, 0)))
    return result


def test_lt_by_hand() -> None:
    [(search, _, found)] = searched(by_hand(), "lt")
    assert (search.probe, search.gallery) == ("nm", "nm")
    assert found["by_view"] == {"000": {"000": 0.5, "090": 0.75}, "090": {"000": 0.5, "090": 0.75}}
    assert found["rank1"] == pytest.approx((0.75 + 0.5) / 2)
    assert found["rank1_dropped"] == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert found["by_view_probes"]["090"] == {"000": [4, 3], "090": [4, 4]}
    assert found["rank5"] == pytest.approx((1 + 3 / 4) / 2)  # 78 is nowhere to be found in view 000
    assert found["holes"] == 8 + 25  # no nm-06; of 32 in the gallery 7 are there
    json.dumps(found, allow_nan=False)


def test_lt_tests_those_who_were_not_trained_on() -> None:
    of = by_hand()
    assert len(searches("lt", of, 76, "", "")[0].probes) == 4  # 77 and 78, two views
    everybody = searches("lt", of, 100, "", "")[0]
    assert len(everybody.probes) == 8
    assert "everybody is tested" in everybody.notes[0]
    with pytest.raises(UsageError, match="no probe is there of cl"):
        searches("lt", of, 74, "cl", "")
    assert len(searches("lt", of, 74, "nm", "nm")) == 1
    with pytest.raises(UsageError, match="for the gallery cl"):
        searches("lt", of, 74, "", "cl")


def slow_lt(of: Embeddings, condition: str, numbers: tuple[int, ...], *, dropped: bool) -> float:
    """By loops from OpenGait's rule."""
    rows = []
    views = sorted(set(of.view.tolist()))
    mine = [k for k in range(len(of.video)) if of.condition[k] == condition and int(of.number[k]) in numbers]
    for p in sorted({of.view[k] for k in mine}):
        cells = []
        for g in views:
            items = [k for k in range(len(of.video)) if of.condition[k] == "nm" and int(of.number[k]) <= 4 and of.view[k] == g]
            probes = [k for k in mine if of.view[k] == p]
            if dropped:
                probes = [k for k in probes if any(of.subject[i] == of.subject[k] for i in items)]
            if g == p or not probes or not items:
                continue
            right = 0
            for k in probes:
                nearest = min(items, key=lambda i: (float(np.float32(np.linalg.norm(of.vector[k] - of.vector[i]))), i))
                right += of.subject[nearest] == of.subject[k]
            cells.append(right / len(probes))
        rows.append(np.mean(cells))
    return float(np.mean(rows))


@pytest.mark.parametrize("dropped", [False, True])
def test_lt_like_loops(dropped: bool) -> None:
    rng = np.random.default_rng(0)
    recordings = [("nm", n) for n in range(1, 7)] + [("bg", 1), ("bg", 2), ("cl", 1), ("cl", 2)]
    views = ("000", "018", "036")
    walks = [(f"{s:03}", c, f"{n:02}", v) for s in range(75, 83) for c, n in recordings for v in views if rng.random() < 0.9]
    who = rng.normal(size=(90, 4))
    of = embeddings(walks, np.array([who[int(w[0])] for w in walks]) + rng.normal(size=(len(walks), 4)))
    for search, _, found in searched(of, "lt"):
        numbers = (5, 6) if search.probe == "nm" else (1, 2)
        expected = slow_lt(of, search.probe, numbers, dropped=dropped)
        assert found["rank1_dropped" if dropped else "rank1"] == pytest.approx(expected)
        low, high = found["ci95"]["rank1"]
        assert low <= found["rank1"] <= high


@pytest.mark.parametrize(
    ("protocol", "walks"),
    [
        ("lt", [(s, "nm", f"{n:02}", "090") for s in ("075", "076", "077") for n in range(1, 7)]),  # one view
        ("ou-mvlp", [(s, "", n, "000") for s in ("00002", "00004") for n in ("00", "01")]),
        ("cross-view", [(s, "nm", n, "090") for s in ("075", "076", "077") for n in ("01", "02")]),
        ("lt", [("075", "nm", "05", "000"), ("076", "nm", "01", "000"), ("077", "nm", "02", "090")]),  # nobody in both
    ],
)
def test_figures_that_there_are_none_of_are_none(protocol: str, walks: list[Any], tmp_path: Path) -> None:
    of = embeddings(walks, np.random.default_rng(0).normal(size=(len(walks), 3)))
    source = store.write(tmp_path / "embeddings/made-up.h5", "embeddings", {"/embeddings": of}, {"config": "", "made_from": ""})
    report = by_protocol(Work(tmp_path), euclidean(), source, protocol, Console(), seed=0, training=74)
    metrics = json.loads((report.parent / "metrics.json").read_text())
    assert metrics["rank1"] in (None, 0.0)  # OpenGait's reading counts those who are not there as wrong
    assert metrics["ci95"]["rank1"] is None or metrics["ci95"]["rank1"] == [0.0, 0.0]
    assert report.exists()


def test_holes_are_counted() -> None:
    whole = [(f"{s:03}", "nm", f"{n:02}", v) for s in (75, 76) for n in range(1, 7) for v in ("000", "090")]
    of = embeddings(whole, np.random.default_rng(0).normal(size=(24, 3)))
    assert searches("lt", of, 74, "", "")[0].holes == 0
    of = embeddings([w for w in whole if w not in {("075", "nm", "02", "000"), ("076", "nm", "06", "090")}], np.eye(22))
    assert searches("lt", of, 74, "", "")[0].holes == 2


def test_cross_view_leaves_the_same_person_in_the_same_view_out() -> None:
    walks = [(s, c, n, v) for s in ("075", "076") for c in ("nm", "bg", "cl") for n in ("01", "02") for v in ("000", "090")]
    of = embeddings(walks, np.random.default_rng(1).normal(size=(len(walks), 3)))
    found = searched(of, "cross-view")
    assert [search.probe for search, _, _ in found] == ["nm", "bg", "cl"]
    for _, matches, figures in found:
        assert matches.ranking.excluded.tolist() == [3] * 4  # nm, bg and cl of the person in the probe's view
        for probe, order in zip(matches.ranking.probe, matches.ranking.order, strict=True):
            shown = order[order >= 0]
            assert not ((of.subject[shown] == of.subject[probe]) & (of.view[shown] == of.view[probe])).any()
        per_view = figures["by_probe_view"]
        assert figures["map"] == pytest.approx(np.mean([row["map"] for row in per_view.values()]))
        assert figures["rank1"] == pytest.approx(np.mean([row["rank1"] for row in per_view.values()]))


@pytest.mark.parametrize("protocol", ["lt", "cross-view"])
def test_every_interval_is_of_the_figure_of_its_name(protocol: str, tmp_path: Path) -> None:
    """Views move the vectors more than people do: what holds across views does not hold in one search of all views."""
    rng = np.random.default_rng(0)
    who, by_view = rng.normal(size=(30, 16)), 3 * rng.normal(size=(30, 4, 16))
    numbers = ("01", "02", "05", "06")
    walks = [(f"{s + 75:03}", "nm", n, f"{v:03}") for s in range(30) for n in numbers for v in range(4)]
    places = [who[int(s) - 75] + by_view[int(s) - 75, int(v)] + rng.normal(size=16) for s, _, _, v in walks]
    of = embeddings(walks, np.array(places))
    source = store.write(tmp_path / "embeddings/made-up.h5", "embeddings", {"/embeddings": of}, {"config": "", "made_from": ""})
    report = by_protocol(Work(tmp_path), euclidean(), source, protocol, Console(-1), seed=0, training=74)
    metrics = json.loads((report.parent / "metrics.json").read_text())
    pooled = metrics["pooled"]
    assert set(pooled["ci95"]) == set(pooled) - {"ci95"} >= {"rank1", "rank5", "rank10"}
    for of_these in (metrics, pooled):
        for name, (low, high) in of_these["ci95"].items():
            assert low <= of_these[name] <= high, name
    if protocol == "lt":  # not the intervals of the one search
        assert all(pooled[name] > metrics["ci95"][name][1] for name in ("rank1", "rank5", "rank10"))


def test_whoever_is_always_right_is_so_in_every_draw() -> None:
    walks = [(f"{s:03}", "nm", n, v) for s in range(75, 85) for n in ("01", "02") for v in ("000", "090", "180")]
    walks = [w for w in walks if w[2] == "02" or w[3] == "000" or int(w[0]) % 3 == 0]  # unequally many probes of the views
    of = embeddings(walks, np.array([[float(int(w[0]))] for w in walks]))
    [(_, _, found)] = searched(of, "cross-view")
    assert {name: found[name] for name in found["ci95"]} == dict.fromkeys(("rank1", "rank5", "rank10", "map"), 1)
    assert set(map(tuple, found["ci95"].values())) == {(1, 1)}


def test_ou_mvlp() -> None:
    walks = [(f"{s:05}", "", n, v) for s in (1, 2, 4, 10307) for n in ("00", "01") for v in ("000", "015")]
    walks.remove(("00004", "", "01", "000"))
    of = embeddings(walks, np.array([[float(int(w[0])), float(w[3])] for w in walks]))
    [(search, _, found)] = searched(of, "ou-mvlp")
    assert set(of.subject[search.probes]) == {"00002", "00004", "10307"}
    assert found["by_view"]["015"]["000"] == pytest.approx(2 / 3)  # 4 is not there
    assert found["rank1"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["rank1_dropped"] == 1
    assert found["holes"] == 1


@pytest.mark.parametrize("json_list", [False, True])
def test_gait3d(tmp_path: Path, json_list: bool) -> None:
    walks = [(f"{s:04}", "", f"seq{n}", f"camid{n}") for s in range(3) for n in range(3)]
    of = embeddings(walks, np.array([[float(int(w[0]))] for w in walks]))
    listed = ["0000-camid0-seq0", "0001-camid1-seq1", "0009-camid1-seq1"]
    path = tmp_path / ("Gait3D.json" if json_list else "probes.txt")
    text = json.dumps({"PROBE_SET": listed, "TEST_SET": ["0000", "0001"]}) if json_list else "\r\n".join(listed)
    path.write_text(text, encoding="utf-8-sig")  # as editors on Windows save it
    [(search, matches, found)] = searched(of, "gait3d", probe=str(path))
    assert search.probes.tolist() == [0, 4]
    assert len(search.items) == (4 if json_list else 7)
    assert search.holes == found["holes"] == 1
    assert (matches.hit_rank[:2] == [1, 2]).all()
    with pytest.raises(UsageError, match="list of probes"):
        searches("gait3d", of, 74, str(tmp_path / "nothing.json"), "")
    (tmp_path / "other.txt").write_text("0009-camid1-seq1\n")
    with pytest.raises(UsageError, match="gait3d: no probe is there of "):
        searches("gait3d", of, 74, str(tmp_path / "other.txt"), "")
    with pytest.raises(UsageError, match="--probe FILE"):
        searches("gait3d", of, 74, "", "")


def test_grew_writes_what_its_server_takes(tmp_path: Path) -> None:
    walks = [(f"{s:05}", "", f"{n:02}", "") for s in range(15) for n in (1, 2)] + [("", "", "", "")] * 3
    places = [[float(int(w[0]) * 10)] for w in walks[:30]] + [[1.0], [72.0], [139.0]]
    of = embeddings(walks, np.array(places))
    [(search, matches, _)] = searched(of, "grew")
    assert len(search.probes) == 3
    matches = rank(of, search.probes, search.items, euclidean(exclude="same-window", top=20))
    with submission(tmp_path / "submission.csv", matches, of).open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["videoId", *(f"rank{k}" for k in range(1, 21))]
    assert [row[0] for row in rows[1:]] == of.video[30:].tolist()
    assert rows[1][1:5] == ["00000", "00000", "00001", "00001"]
    assert rows[2][1:3] == ["00007", "00007"]
    assert all(len(row) == 21 for row in rows)
    labelled = embeddings(walks[:30], np.array(places[:30]))
    [(search, _, _)] = searched(labelled, "grew")
    assert (len(search.probes), len(search.items)) == (15, 15)


def test_a_gallery_that_is_not_there() -> None:
    of = embeddings([("075", "cl", "01", "000"), ("076", "cl", "01", "000")], np.eye(2))
    with pytest.raises(EmptyError, match="gallery nm is empty"):
        searches("lt", of, 74, "", "")
    with pytest.raises(UsageError, match="no probe is there"):
        searches("ou-mvlp", of, 74, "", "")


def test_folders_and_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = Work(tmp_path)
    source = store.write(
        tmp_path / "embeddings/made-up.h5", "embeddings", {"/embeddings": by_hand()}, {"config": "", "made_from": ""}
    )
    report = by_protocol(work, euclidean(), source, "lt", Console(), seed=0, training=74)
    assert report == tmp_path / "matches/lt-nm-nm/report.html"
    metrics = json.loads((report.parent / "metrics.json").read_text())
    assert (metrics["protocol"], metrics["probe"], metrics["gallery"]) == ("lt", "nm", "nm")
    assert (metrics["rank1"], metrics["pooled"]["rank1"]) == (0.625, 0.75)
    assert metrics["ci95"]["rank1"][0] <= 0.625 <= metrics["ci95"]["rank1"][1]
    said = capsys.readouterr().out
    assert "lt: Rank-1 by probes: nm 62.5%" in said
    assert "33 recordings that the protocol has are not there" in said
    page = report.read_text()
    assert "Across views Rank-1 is 62.5\N{NO-BREAK SPACE}%" in page
    assert "for 6 of 8 probe tracks (75.0\N{NO-BREAK SPACE}%)" in " ".join(page.split(" "))
    assert "33 recordings that the protocol has are not there" in page


def test_grew_in_its_folder(tmp_path: Path) -> None:
    walks = [(f"{s:05}", "", "01", "") for s in range(3)] + [("", "", "", "")]
    of = embeddings(walks, np.array([[0.0], [1], [2], [1.2]]))
    source = store.write(tmp_path / "embeddings/made-up.h5", "embeddings", {"/embeddings": of}, {"config": "", "made_from": ""})
    report = by_protocol(Work(tmp_path), euclidean(top=2), source, "grew", Console(-1), seed=0, training=74)
    rows = (report.parent / "submission.csv").read_text().splitlines()
    assert rows[1].split(",")[1:] == ["00001", "00002", "00000"]
    assert json.loads((report.parent / "metrics.json").read_text())["rank1"] is None
