from pathlib import Path

import pytest

from gaitreid.pipeline.console import Console
from gaitreid.pipeline.extract import extract, in_shard
from gaitreid.pipeline.labels import Labeller, Labels
from gaitreid.pipeline.work import Work
from gaitreid.pose.errors import EmptyError, UsageError
from gaitreid.pose.extract import ExtractConfig


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("001-nm-01-090.avi", Labels("001", "nm", "01", "090")),
        ("124-cl-02-000.avi", Labels("124", "cl", "02", "000")),
        ("my holiday.mp4", Labels()),
        ("001-day-01-090.avi", Labels("001", "day", "01", "090")),
        ("001-xx-01-090.avi", Labels()),
        ("001-nm-01-0900.avi", Labels()),
        ("2001-nm-01-090.avi", Labels()),
    ],
)
def test_casia_b_names(name: str, expected: Labels) -> None:
    assert Labeller()(Path("videos") / name) == expected


def test_pattern_names_what_it_knows() -> None:
    label = Labeller(r"person(?P<subject>\d+)_walking_(?P<condition>d\d)")
    assert label(Path("person07_walking_d3_uncomp.avi")) == Labels("07", "d3")
    assert label(Path("my_person07_walking_d3.avi")) == Labels("07", "d3")
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
    table.write_text(
        "video,subject,condition\na/walk.avi,anna,indoors\nb/walk.avi, be\an ,\n001-nm-01-090,carl,x\n,nobody,\n,else,\n"
        " day/b/walk.avi ,dora,\nwalk,eve,\n/data/c/walk.avi,fay,\n"
    )
    label = Labeller(table=table)
    assert label(Path("/data/a/walk.avi")) == Labels("anna", "indoors")
    assert label(Path("/data/b/walk.avi")) == Labels("ben")
    assert label(Path("/night/b/walk.avi")) == Labels("ben")
    assert label(Path("/day/b/walk.avi")) == Labels("dora")  # the more of a path the better
    assert label(Path("/data/c/walk.avi")) == Labels("fay")
    assert label(Path("/other/walk.mp4")) == Labels("eve")
    assert label(Path("/data/c/talk.avi")) == Labels()
    assert label(Path("001-nm-01-090.avi")) == Labels("carl", "x")
    assert label(Path("002-nm-01-090.avi")) == Labels("002", "nm", "01", "090")


def test_rows_that_say_different_things_of_a_video(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("video,subject\na,anna\nb,ben\na, anna\n")
    assert Labeller(table=table)(Path("a.avi")) == Labels("anna")  # they say the same
    table.write_text("video,subject\na,anna\nb,ben\na,ben\n")
    with pytest.raises(UsageError, match="two rows are of 'a' and say different things"):
        Labeller(table=table)


@pytest.mark.parametrize("content", ["name,subject\n", "", None, "video,subject\na," + "x" * 200_000])
def test_bad_tables(tmp_path: Path, content: str | None) -> None:
    table = tmp_path / "labels.csv"
    if content is not None:
        table.write_text(content)
    with pytest.raises(UsageError, match=r"labels\.csv"):
        Labeller(table=table)


@pytest.mark.parametrize(
    ("columns", "hint"),
    [
        ("video,Subject", "is it 'subject' in place of 'Subject'"),
        ("video, subject,condition", "is it 'subject' in place of ' subject'"),
        ("video,subjcet", "is it 'subject' in place of 'subjcet'"),
        ("video,person", "view, has video, person$"),
        ("video", "view, has video$"),
    ],
)
def test_a_table_without_columns_of_labels(tmp_path: Path, columns: str, hint: str) -> None:
    table = tmp_path / "labels.csv"
    table.write_text(f"{columns}\n" + ",".join("a" * len(columns.split(","))))
    with pytest.raises(UsageError, match=f"needs columns out of subject, condition, number, .*{hint}"):
        Labeller(table=table)
    table.write_text("video,subject,camera make\na,anna,Sony\n")
    assert Labeller(table=table)(Path("a.avi")) == Labels("anna")  # columns of other things may be there


def test_videos_that_the_table_does_not_name_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("video,subject\na.avi,anna\n")
    label = Labeller(table=table)
    label.check([Path("v/a.avi")], Console())
    label.check([], Console())
    Labeller().check([Path("b.avi")], Console())  # there is no table that could name it
    assert capsys.readouterr().out == ""
    label.check([Path(f"v/{name}.avi") for name in "abcde"], Console())
    assert capsys.readouterr().out == f"labels: {table} does not name 4 of 5 videos: b, c, d, ...\n"
    with pytest.raises(UsageError, match=r"names none of the 2 videos \(b, c\): its first row is of 'a\.avi'"):
        label.check([Path("b.avi"), Path("c.avi")])
    table.write_text("video,subject\n")
    with pytest.raises(UsageError, match=r"names none of the 1 video \(a\): it has no rows"):
        Labeller(table=table).check([Path("a.avi")])


def test_a_table_of_other_videos_stops_an_extraction_before_it_begins(tmp_path: Path) -> None:
    other = next(stem for stem in "bcdefghi" if in_shard(stem, "1/2") != in_shard("a", "1/2"))
    for stem in ("a", other):
        (tmp_path / f"{stem}.avi").write_bytes(b"no video")
    table, work = tmp_path / "labels.csv", Work(tmp_path / "work")
    table.write_text("video,subject\nelsewhere,anna\n")
    with pytest.raises(UsageError, match="names none of the 2 videos"):
        extract(work, ExtractConfig(), [tmp_path], Labeller(table=table), Console())
    assert not work.root.exists()
    table.write_text("video,subject\na,anna\n")
    shard = "1/2" if in_shard(other, "1/2") else "2/2"
    with pytest.raises(EmptyError):  # the video is none, but the table is one of these videos
        extract(work, ExtractConfig(), [tmp_path], Labeller(table=table), Console(), shard=shard)


def test_a_recording_is_one_walk_over_all_its_views() -> None:
    assert Labels("1", "nm", "02", "090").recording("v") == Labels("1", "nm", "02", "000").recording("w")
    assert Labels("1", "nm", "02").recording("v") != Labels("1", "cl", "02").recording("v")
    assert Labels("1", "nm").recording("v") == "v"
    assert Labels(number="02").recording("v") == "v"
