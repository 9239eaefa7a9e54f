import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from galleries import casia, embeddings, euclidean, rows

from gaitreid.pipeline.report import render
from gaitreid.reid.config import MatchConfig
from gaitreid.reid.match import Matches, rank
from gaitreid.reid.metrics import evaluate
from gaitreid.reid.records import Embeddings

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """Reads a page strictly: every tag closed in order, each id used once."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str | None]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in {"style", "script"}:
            self.text += data

    def values(self, name: str) -> list[str]:
        return [value or "" for _, key, value in self.attributes if key == name]


def figures(matches: Matches, **names: str) -> dict[str, Any]:
    return {"protocol": "plain", "probe": "nm", "gallery": "cl", "model": "cage", **names, **evaluate(matches, draws=50)}


def matched(of: Embeddings, config: MatchConfig | None = None) -> tuple[Matches, dict[str, Any]]:
    matches = rank(of, rows(of, condition="nm"), rows(of, condition="cl"), config or euclidean())
    return matches, figures(matches)


@pytest.fixture(scope="module")
def report() -> tuple[str, dict[str, Any]]:
    of = casia(subjects=12, noise=1.3)
    matches, found = matched(of)
    return render(found, matches, of, notes=["trained on the same people"], provenance={"seed": "7"}), found


def percent(value: float) -> str:
    return f"{100 * value:.1f}\N{NO-BREAK SPACE}%"


def test_well_formed(report: tuple[str, dict[str, Any]]) -> None:
    page = Page(report[0])
    assert page.open == []
    assert report[0].startswith("<!DOCTYPE html>")
    assert ("html", "lang", "en") in page.attributes
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {name for value in page.values("aria-labelledby") for name in value.split()} <= set(ids)
    assert page.tags["h1"] == page.tags["main"] == page.tags["title"] - page.tags["circle"] - page.tags["svg"] == 1


def test_self_contained(report: tuple[str, dict[str, Any]]) -> None:
    page = Page(report[0])
    assert not re.search(r"https?:|//|@import|url\(", report[0])
    assert not page.tags["script"]
    assert not page.tags["link"]
    assert not [value for name in ("src", "href") for value in page.values(name)]


def test_every_figure_is_there(report: tuple[str, dict[str, Any]]) -> None:
    text, found = Page(report[0]).text, report[1]
    for name in ("rank1", "rank5", "rank10", "map", "minp", "nauc_cmc", "nauc_micro_roc", "eer"):
        assert percent(found[name]) in text, name
    for low, high in found["ci95"].values():
        assert f"{percent(low)} to {percent(high)}" in text
    for value in (*found["tar_at_far"].values(), *found["dir_at_far"].values()):
        assert percent(value) in text
    for row in found["by_view"].values():
        assert all(percent(value) in text for value in row.values())
    for words in ("72 tracks: nm", "36 tracks: cl", "12 known", "trained on the same people", "seed"):
        assert words in text


def test_table_of_ranks(report: tuple[str, dict[str, Any]]) -> None:
    of = casia(subjects=12, noise=1.3)
    matches, _ = matched(of)
    hits = matches.hit_rank <= 10
    assert report[0].count('class="long hit"') == report[0].count("same person: ") == hits.sum()
    assert Page(report[0]).tags["details"] == 2  # the curve's numbers, and probes 51 to 72
    assert "Probes 51 to 72" in report[0]
    for video in of.video[matches.ranking.probe]:
        assert f"{video} #1" in report[0]


def test_confusions_by_hand() -> None:
    walks = [(s, "nm", n, "") for s, n in (("a", "1"), ("a", "2"), ("b", "1"))] + [(s, "cl", "1", "") for s in "abc"]
    of = embeddings(walks, np.array([[2.1], [2.2], [1.1], [1.0], [2.0], [3.0]]))  # a looks like b, b like a
    matches, found = matched(of)
    text = re.sub(r"\s+", "", Page(render(found, matches, of)).text)
    table = text[text.index("Hardestconfusions") : text.index("Everyprobe")]
    first = "ab2of2a-nm-1-_0#1nearest:b-cl-1-_4#1,firstmatchatrank3"
    second = "ba1of1b-nm-1-_2#1nearest:a-cl-1-_3#1,firstmatchatrank2"
    assert table.endswith("Example" + first + second)


def test_nobody_confused() -> None:
    of = casia(subjects=3, noise=0)
    of.vector[:] = np.repeat(np.eye(3, 16, dtype=np.float32), 12, axis=0)
    matches, found = matched(of)
    assert "Nobody was taken for somebody else" in render(found, matches, of)


@pytest.mark.parametrize("evil", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "'}}{{7*7}}&amp;"])
def test_names_are_text(evil: str) -> None:
    of = embeddings(
        [(s, c, "1", evil) for c in ("nm", "cl") for s in (evil, "b", "c")], np.random.default_rng(0).normal(size=(6, 3))
    )
    of = Embeddings(**{**vars(of), "video": np.array([f"{evil}{k}" for k in range(6)])})
    matches, _ = matched(of)
    found = figures(matches, probe=evil, gallery=evil, model=evil)
    page = Page(render(found, matches, of, notes=[evil], provenance={evil: evil}))
    assert page.open == []
    assert not page.tags["script"]
    assert not page.tags["img"]
    assert not page.values("onerror")
    assert page.text.count(evil) > 10


def test_without_labels() -> None:
    of = embeddings([("", "", "", "")] * 6, np.random.default_rng(0).normal(size=(6, 3)))
    matches = rank(of, np.arange(6), np.arange(6), euclidean())
    page = Page(render(figures(matches, probe="", gallery=""), matches, of))
    assert page.open == []
    assert "No figure is defined" in page.text
    assert "every track against every track" in page.text
    assert "The subject of 6 of 6 probe tracks is not known" in page.text
    assert "None" not in page.text
    assert "nan" not in page.text
    assert not page.tags["svg"]


def test_one_candidate() -> None:
    of = embeddings([("a", "nm", "1", ""), ("a", "cl", "1", "")], np.eye(2))
    matches, found = matched(of)
    page = Page(render(found, matches, of))
    assert page.open == []
    assert "For 1 of 1 probe tracks" in page.text
    assert not page.tags["svg"]


def test_says_what_weakens_the_figures() -> None:
    of = embeddings([(s, "nm", "1", "") for s in ("a", "b", "")] + [("a", "cl", "1", "")], np.eye(4))
    matches, found = matched(of, euclidean(exclude="nothing"))
    text = Page(render(found, matches, of)).text
    assert "The subject of 1 of 3 probe tracks is not known" in text
    assert "1 of 3 probe tracks have no track of their subject to find" in text
    assert "--exclude nothing" in text


def test_windows_and_many_probes() -> None:
    of = embeddings(
        [(f"{k}", c, "1", "") for c in ("nm", "cl") for k in range(6)], np.random.default_rng(0).normal(size=(12, 4)), 200
    )
    matches, found = matched(of, euclidean(unit="window", top=3))
    text = render(found, matches, of)
    assert Page(text).open == []
    assert "1200 windows: nm" in text
    assert "200 more probes are in ranking.csv" in text


def test_same_input_same_page() -> None:
    of = casia(subjects=4)
    matches, found = matched(of)
    assert render(found, matches, of) == render(found, matches, of)


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser(report: tuple[str, dict[str, Any]], tmp_path: Path, scheme: Any) -> None:
    from playwright.sync_api import sync_playwright

    file = tmp_path / "report.html"
    file.write_text(report[0], encoding="utf-8")
    said: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme=scheme)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url) if not request.url.startswith("file:") else None)
        page.goto(file.as_uri())
        width = page.evaluate("document.documentElement.scrollWidth")
        paper = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        browser.close()
    assert said == []
    assert width <= 390
    assert (sum(int(c) for c in re.findall(r"\d+", paper)[:3]) < 384) == (scheme == "dark")
