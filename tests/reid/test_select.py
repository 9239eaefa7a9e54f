import numpy as np
import pytest
from galleries import embeddings

from gaitreid.pose.errors import UsageError
from gaitreid.reid import select as module
from gaitreid.reid.select import all_of, any_of, select

WALKS = [
    ("001", "nm", "05", "090"),
    ("001", "cl", "01", "000"),
    ("002", "nm", "06", "000"),
    ("002", "bg", "05", "108"),
    ("", "", "", ""),
]
TRACKS = embeddings(WALKS, np.zeros((len(WALKS), 2)))


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("", [0, 1, 2, 3, 4]),
        ("all", [0, 1, 2, 3, 4]),
        ("nm", [0, 2]),
        ("condition=nm", [0, 2]),
        ("nm|bg", [0, 2, 3]),
        ("condition=nm,view=090", [0]),
        ("nm, view=90|000", [0, 2]),
        ("number=5", [0, 3]),
        ("subject=1|2,number=05", [0, 3]),
        ("view=0", [1, 2]),
        ("subject=", [4]),
        ("recording=002/bg/05", [3]),
        ("video=002-nm-06-000_2", [2]),
        ("track=1", [0, 1, 2, 3, 4]),
    ],
)
def test_rows(selector: str, expected: list[int]) -> None:
    assert select(TRACKS, selector).tolist() == expected


ODD = ["Doe, Ann", "Doe", "a|b", "a", "x=y", "\\", "C:\\,", "C:"]


@pytest.mark.parametrize("condition", ODD)
def test_a_value_may_hold_the_marks_of_selectors(condition: str) -> None:
    tracks = embeddings([("", value, "", "") for value in ODD], np.zeros((len(ODD), 2)))
    row = ODD.index(condition)
    of_key = any_of("condition", [condition])
    bare = of_key.removeprefix("condition=")
    assert select(tracks, of_key).tolist() == select(tracks, bare).tolist() == [row]
    assert select(tracks, any_of("condition", ["a", condition])).tolist() == sorted({ODD.index("a"), row})
    assert select(tracks, f"subject=,{bare}").tolist() == [row]


def test_a_number_is_another_only_where_it_is_not_there_itself() -> None:
    tracks = embeddings([(subject, "", "", "") for subject in ("1", "01", "02")], np.zeros((3, 1)))
    assert [select(tracks, f"subject={asked}").tolist() for asked in ("1", "01", "1|01", "001", "2")] == [
        [0],
        [1],
        [0, 1],
        [0, 1],
        [2],
    ]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [("nm", "subject=1", [0]), ("condition=nm", " all ", [0, 2]), ("", "bg", [3]), ("all", "", [0, 1, 2, 3, 4])],
)
def test_all_of(one: str, other: str, expected: list[int]) -> None:
    assert select(TRACKS, all_of(one, other)).tolist() == expected
    assert select(TRACKS, all_of(other, one)).tolist() == expected


def test_says_how_values_with_marks_are_asked_for() -> None:
    tracks = embeddings([("Doe, Ann", "nm", "01", "000")], np.zeros((1, 2)))
    with pytest.raises(UsageError, match=r"no track has subject 'Doe'; there are Doe\\, Ann$"):
        select(tracks, "subject=Doe, Ann")


def test_thousands_of_names() -> None:
    tracks = embeddings([(f"{k:05}", "", "", "") for k in range(5000)], np.zeros((5000, 1)))
    assert len(select(tracks, f"subject={'|'.join(tracks.subject[:2500])}")) == 2500


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("views=090", "did you mean 'view'"),
        ("colour=red", "there are video, track, subject"),
        ("xx", "condition 'xx'; there are '' (unknown), bg, cl, nm"),
        ("nm|xx", "condition 'xx'"),
        ("view=91", "view '91'; there are '' (unknown), 000, 090, 108"),
        ("condition=NM", "condition 'NM'"),
        ("cl,view=090", "no track has all of this at once"),
    ],
)
def test_says_what_there_is(selector: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        select(TRACKS, selector)
    assert message in str(error.value)
    assert f"'{selector}'" in str(error.value)


def test_lists_only_some_of_many_values() -> None:
    walks = [(f"{k:03}", "nm", "01", "000") for k in range(100)]
    with pytest.raises(UsageError, match="and 80 more"):
        select(embeddings(walks, np.zeros((100, 2))), "subject=x")


def test_many_values_of_many_tracks_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []

    def canonical(value: str) -> str:
        looked.append(value)
        return value

    monkeypatch.setattr(module, "_canonical", canonical)
    people = [f"p{k}" for k in range(300)]
    of = embeddings([(who, "nm", "01", "000") for who in people], np.zeros((300, 2)))
    assert len(select(of, "subject=" + "|".join(people[:200]))) == 200
    assert len(looked) == 300  # those that are there: what is asked is there as it stands


def test_no_tracks_at_all() -> None:
    none = embeddings([("a", "b", "c", "d")], np.zeros((1, 2)))
    empty = type(none)(
        **{name: getattr(none, name)[:0] for name in ("video", "track", "subject", "condition", "number", "view", "recording")},
        **{name: getattr(none, name)[:0] for name in ("window", "window_track", "window_frame", "vector")},
        encoder="",
        weights="",
        form="mean",
    )
    assert select(empty, "").tolist() == []
    with pytest.raises(UsageError, match="no tracks at all"):
        select(empty, "nm")
