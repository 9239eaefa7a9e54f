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
from gaitreid.pipeline.train import is_named
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


def test_digits_that_are_no_numbers_are_names() -> None:
    walks = [(subject, "nm", number, "000") for subject in ("075", "³") for number in ("01", "05", "²")]
    [search] = searches("lt", embeddings(walks, np.zeros((6, 1))), 74, "", "")
    assert (search.probes.tolist(), search.items.tolist()) == ([1], [0])
    assert is_named("³", "³")
    assert not is_named("³", "1-9")


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
    tested = [k for k in range(len(of.video)) if int(of.subject[k]) > 74]
    mine = [k for k in tested if of.condition[k] == condition and int(of.number[k]) in numbers]
    for p in sorted({of.view[k] for k in mine}):
        cells = []
        for g in views:
            items = [k for k in tested if of.condition[k] == "nm" and 1 <= int(of.number[k]) <= 4 and of.view[k] == g]
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
    recordings = [*(("nm", n) for n in range(8)), *((c, n) for c in ("bg", "cl") for n in range(4))]  # 0, 3 and 7 are no one's
    views = ("000", "018", "036")
    walks = [(f"{s:03}", c, f"{n:02}", v) for s in range(73, 83) for c, n in recordings for v in views if rng.random() < 0.9]
    who = rng.normal(size=(90, 4))
    of = embeddings(walks, np.array([who[int(w[0])] for w in walks]) + rng.normal(size=(len(walks), 4)))
    for search, matches, found in searched(of, "lt"):
        numbers = (5, 6) if search.probe == "nm" else (1, 2)
        expected = slow_lt(of, search.probe, numbers, dropped=dropped)
        assert found["rank1_dropped" if dropped else "rank1"] == pytest.approx(expected)
        low, high = found["ci95"]["rank1"]
        assert low <= found["rank1"] <= high
        same, other = (headline(search, matches, seed)["ci95"] for seed in (0, 1))
        assert found["ci95"] == same
        assert all(same[name] != other[name] for name in ("rank1", "rank1_dropped"))


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
    fewer = [w for w in whole if w not in {("075", "nm", "02", "000"), ("076", "nm", "06", "090")}]
    of = embeddings([*fewer, fewer[0], fewer[0]], np.eye(24))  # of one there are three tracks
    assert searches("lt", of, 74, "", "")[0].holes == 2


def test_cross_view_leaves_the_same_person_in_the_same_view_out() -> None:
    people = ("074", "075", "076")  # the first was trained on
    walks = [(s, c, n, v) for s in people for c in ("nm", "bg", "cl") for n in ("01", "02") for v in ("000", "090")]
    of = embeddings(walks, np.random.default_rng(1).normal(size=(len(walks), 3)))
    found = searched(of, "cross-view")
    assert [(search.probe, search.notes, figures["holes"]) for search, _, figures in found] == [
        (c, (), 0) for c in ("nm", "bg", "cl")
    ]
    for search, matches, figures in found:
        assert all(set(of.subject[side]) == {"075", "076"} for side in (search.probes, search.items))
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
    assert ("map" in pooled) == (protocol == "cross-view")  # where it is a headline
    if protocol == "lt":  # not the intervals of the one search
        assert all(pooled[name] > metrics["ci95"][name][1] for name in ("rank1", "rank5", "rank10"))


def test_whoever_is_always_right_is_so_in_every_draw() -> None:
    walks = [(f"{s:03}", "nm", n, v) for s in range(75, 85) for n in ("01", "02") for v in ("000", "090", "180")]
    walks = [w for w in walks if w[2] == "02" or w[3] == "000" or int(w[0]) % 3 == 0]  # unequally many probes of the views
    of = embeddings(walks, np.array([[float(int(w[0]))] for w in walks]))
    [(_, _, found)] = searched(of, "cross-view")
    assert {name: found[name] for name in found["ci95"]} == dict.fromkeys(("rank1", "rank5", "rank10", "map"), 1)
    assert set(map(tuple, found["ci95"].values())) == {(1, 1)}
    assert (found["holes"], list(found["by_probe_view"])) == (60 - len(walks) + 60, ["000", "090", "180"])  # probes; bg and cl


def test_who_is_not_there_is_wrong_in_one_reading_and_left_out_in_the_other() -> None:
    walks = [(f"{s:03}", "nm", n, v) for s in range(75, 95) for n in ("01", "05") for v in ("000", "090")]
    walks = [w for w in walks if w[2] == "05" or int(w[0]) % 3]
    of = embeddings(walks, np.array([[float(int(w[0]))] for w in walks]))
    [(_, _, found)] = searched(of, "lt")
    assert found["rank1_dropped"] == 1
    assert found["ci95"]["rank1_dropped"] == [1, 1]
    for name in ("rank1", "rank5", "rank10"):
        low, high = found["ci95"][name]
        assert low < found[name] < high < 1


def test_an_interval_of_a_mean_over_views_is_so_however_many_probes_they_have() -> None:
    walks = [
        (f"{s:03}", "nm", n, "180" if n == "02" else "000" if s < 105 else "090") for s in range(75, 111) for n in ("01", "02")
    ]
    of = embeddings(walks, np.array([[float(int(w[0])) - (w[3] == "090")] for w in walks]))  # all of 090 are taken for others
    [(_, _, found)] = searched(of, "cross-view")
    assert found["rank1"] == 0.5
    assert found["ci95"]["rank1"] == [0.5, 0.5]


def test_probes_of_no_view_are_in_no_view(tmp_path: Path) -> None:
    walks = [(s, "nm", n, v) for s in ("075", "076") for n in ("01", "02") for v in ("000", "090")]
    of = embeddings([*walks, ("077", "nm", "01", ""), ("077", "nm", "02", "000")], np.random.default_rng(0).normal(size=(10, 3)))
    [(_, _, found)] = searched(of, "cross-view")
    assert list(found["by_probe_view"]) == ["000", "090"]


def test_ou_mvlp() -> None:
    walks = [(f"{s:05}", "", n, v) for s in (1, 2, 4, 10307) for n in ("00", "01") for v in ("000", "015")]
    walks.remove(("00004", "", "01", "000"))
    of = embeddings(walks, np.array([[float(int(w[0])), float(w[3])] for w in walks]))
    [(search, _, found)] = searched(of, "ou-mvlp")
    assert set(of.subject[search.probes]) == set(of.subject[search.items]) == {"00002", "00004", "10307"}
    assert found["by_view"]["015"]["000"] == pytest.approx(2 / 3)  # 4 is not there
    assert found["rank1"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["rank1_dropped"] == 1
    assert found["holes"] == 1


@pytest.mark.parametrize("protocol", ["lt", "cross-view", "ou-mvlp"])
def test_where_nobody_of_the_test_set_is_there_everybody_known_is_tested(protocol: str) -> None:
    walks = [(s, "nm", n, "000") for s in ("001", "003", "") for n in ("00", "01", "02", "05", "x")]
    of = embeddings(walks, np.arange(15.0)[:, None])
    [search] = searches(protocol, of, 74, "", "")
    assert "everybody is tested" in search.notes[0]
    for side in (search.probes, search.items):
        assert set(of.subject[side]) == {"001", "003"}
        assert "x" not in of.number[side]


@pytest.mark.parametrize(("file", "people"), [("probes.txt", None), ("Gait3D.json", None), ("Gait3D.json", ["0000", "0001"])])
def test_gait3d(tmp_path: Path, file: str, people: list[str] | None) -> None:
    walks = [(f"{s:04}", "", f"seq{n}", f"camid{n}") for s in range(3) for n in range(3)]
    of = embeddings([*walks, ("", "", "", "")], np.array([*([float(int(w[0]))] for w in walks), [9.0]]))
    listed = ["0000-camid0-seq0", "0001-camid1-seq1", "0009-camid1-seq1", of.video[5]]
    path = tmp_path / file
    facts = {"PROBE_SET": listed} | ({"TEST_SET": people} if people else {})
    text = json.dumps(facts) if path.suffix == ".json" else "\r\n".join([*listed, "", ""])
    path.write_text(text, encoding="utf-8-sig")  # as editors on Windows save it
    [(search, matches, found)] = searched(of, "gait3d", probe=str(path))
    assert search.exclude == "same-window"  # numbers are those of a camera: the same one of another is another walk
    assert search.probes.tolist() == [0, 4, 5]
    assert len(search.items) == (3 if people else 6)
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
    more = [("00000", "", "03", ""), ("", "", "01", "")]  # no gallery has a third one, nor one without a name
    of = embeddings([*walks, *more], np.array([*places, [1.0], [1.0]]))
    [(search, matches, _)] = searched(of, "grew")
    assert len(search.probes) == 4
    matches = rank(of, search.probes, search.items, euclidean(exclude="same-window", top=25))
    with submission(tmp_path / "submission.csv", matches, of).open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["videoId", *(f"rank{k}" for k in range(1, 21))]
    assert [row[0] for row in rows[1:]] == [*of.video[30:33], of.video[34]]
    assert rows[1][1:5] == ["00000", "00000", "00001", "00001"]
    assert rows[2][1:3] == ["00007", "00007"]
    assert all(len(row) == 21 for row in rows)
    labelled = embeddings(walks[:30], np.array(places[:30]))
    [(search, _, _)] = searched(labelled, "grew")
    assert (len(search.probes), len(search.items)) == (15, 15)
    assert "a check of one's own" in search.notes[0]


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


@pytest.mark.parametrize(("top", "kept"), [(2, 20), (22, 22)])
def test_grew_in_its_folder(tmp_path: Path, top: int, kept: int) -> None:
    walks = [(f"{s:05}", "", "01", "") for s in range(24)] + [("", "", "", "")]
    of = embeddings(walks, np.array([[float(s)] for s in range(24)] + [[1.2]]))
    source = store.write(tmp_path / "embeddings/made-up.h5", "embeddings", {"/embeddings": of}, {"config": "", "made_from": ""})
    report = by_protocol(Work(tmp_path), euclidean(top=top), source, "grew", Console(-1), seed=0, training=74)
    rows = (report.parent / "submission.csv").read_text().splitlines()
    assert rows[1].split(",")[1:4] == ["00001", "00002", "00000"]
    assert len(rows[1].split(",")) == 21
    assert len((report.parent / "ranking.csv").read_text().splitlines()) == 1 + kept
    assert json.loads((report.parent / "metrics.json").read_text())["rank1"] is None
