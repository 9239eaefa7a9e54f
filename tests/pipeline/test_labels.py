from pathlib import Path

import pytest

from gaitreid.pipeline.labels import Labeller, Labels
from gaitreid.pose.errors import UsageError


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("001-nm-01-090.avi", Labels("001", "nm", "01", "090")),
        ("124-cl-02-000.avi", Labels("124", "cl", "02", "000")),
        ("my holiday.mp4", Labels()),
        ("001-xx-01-090.avi", Labels()),
    ],
)
def test_casia_b_names(name: str, expected: Labels) -> None:
    assert Labeller()(Path("videos") / name) == expected


def test_pattern_names_what_it_knows() -> None:
    label = Labeller(r"person(?P<subject>\d+)_walking_(?P<condition>d\d)")
    assert label(Path("person07_walking_d3_uncomp.avi")) == Labels("07", "d3")
    assert label(Path("other.avi")) == Labels()


def test_optional_groups_that_do_not_match_are_unknown() -> None:
    assert Labeller(r"(?P<subject>\w)(-(?P<view>\d+))?$")(Path("a.avi")) == Labels("a")


@pytest.mark.parametrize(
    ("pattern", "message"), [("(", "not a regular"), (r"\d+", "must name groups"), (r"(?P<who>x)", "must name")]
)
def test_bad_patterns(pattern: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Labeller(pattern)


def test_table_goes_before_the_pattern_and_takes_paths(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("video,subject,condition\na/walk.avi,anna,indoors\nb/walk.avi, ben ,\n001-nm-01-090,carl,x\n")
    label = Labeller(table=table)
    assert label(Path("/data/a/walk.avi")) == Labels("anna", "indoors")
    assert label(Path("/data/b/walk.avi")) == Labels("ben")
    assert label(Path("/data/c/walk.avi")) == Labels()
    assert label(Path("001-nm-01-090.avi")) == Labels("carl", "x")
    assert label(Path("002-nm-01-090.avi")) == Labels("002", "nm", "01", "090")


@pytest.mark.parametrize("content", ["name,subject\n", "", None])
def test_bad_tables(tmp_path: Path, content: str | None) -> None:
    table = tmp_path / "labels.csv"
    if content is not None:
        table.write_text(content)
    with pytest.raises(UsageError, match=r"labels\.csv"):
        Labeller(table=table)


def test_a_recording_is_one_walk_over_all_its_views() -> None:
    assert Labels("1", "nm", "02", "090").recording("v") == Labels("1", "nm", "02", "000").recording("w")
    assert Labels("1", "nm").recording("v") == "v"
    assert Labels(number="02").recording("v") == "v"
