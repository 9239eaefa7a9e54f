import base64
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from galleries import casia, embeddings, euclidean, rows

from gaitreid.pipeline.evidence import Figure, Pair, Stage
from gaitreid.pipeline.report import PAGE, PAGES, ROC_POINTS, Item, render
from gaitreid.reid.config import MatchConfig
from gaitreid.reid.match import Matches, Verification, rank
from gaitreid.reid.metrics import evaluate, roc
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
        self.scripts = ""
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
        elif self.open and self.open[-1] == "script":
            self.scripts += data

    def values(self, name: str) -> list[str]:
        return [value or "" for _, key, value in self.attributes if key == name]


def figures(matches: Matches, **names: str) -> dict[str, Any]:
    return {"protocol": "plain", "probe": "nm", "gallery": "cl", "model": "cage", **names, **evaluate(matches, draws=50)}


def matched(of: Embeddings, config: MatchConfig | None = None) -> tuple[Matches, dict[str, Any]]:
    matches = rank(of, rows(of, condition="nm"), rows(of, condition="cl"), config or euclidean())
    return matches, figures(matches)


def walking(kinds: str = "mmmhh", names: tuple[str, str] = ("a", "b"), frames: int = 30, still: str = "") -> list[Pair]:
    """Made-up pairs of chains of joints that sway: m a miss, h a hit, p a plain pair."""
    rng = np.random.default_rng(0)
    stage = Stage(joints=5, edges=[(0, 1, 0), (1, 2, -1), (1, 3, 1)], head=[4], fps=25.0, ahead=True)

    def figure(role: Any, name: str, place: int, hit: bool) -> Figure:
        sway = 200 * np.sin(np.arange(frames)[:, None, None] / 4 + rng.uniform(0, 6, size=(5, 3)))
        xyz = base64.b64encode((rng.uniform(-500, 500, size=(5, 3)) + sway).astype("<i2").tobytes()).decode()
        return Figure(role, Item(f"video {name}", 1, name, 0.25 * place, hit), place, 10, 9 + frames, frames, xyz, still)

    made: dict[str, Any] = {
        "m": lambda: ("miss", (names[0], "probe", 0, False), (names[1], "nearest", 1, False), (names[0], "right", 3, True)),
        "h": lambda: ("hit", (names[0], "probe", 0, False), (names[0], "nearest", 1, True)),
        "p": lambda: ("pair", ("", "probe", 0, False), ("", "nearest", 1, False)),
    }
    pairs = []
    for kind in kinds:
        word, *who = made[kind]()
        first = {"miss": 3, "hit": 1, "pair": 0}[word]
        pairs.append(Pair(word, tuple(figure(role, name, place, hit) for name, role, place, hit in who), first, stage))
    return pairs


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
    assert not re.findall(r"[a-z][.:;][A-Z]\w*", text)  # sentences that run together


def test_figures_across_views_and_the_curve_of_the_one_search(report: tuple[str, dict[str, Any]]) -> None:
    of = casia(subjects=12, noise=1.3)
    matches, found = matched(of)
    pooled = {name: found[name] for name in ("rank1", "rank5", "rank10")}
    own = {"rank1": 0.111, "rank5": 0.222, "rank10": 0.333}
    intervals = {name: [value - 0.01, value + 0.01] for name, value in own.items()}
    one_search = {**pooled, "ci95": {name: found["ci95"][name] for name in pooled}}
    across = {**found, **own, "ci95": {**found["ci95"], **intervals}, "pooled": one_search, "protocol": "lt"}
    text = render(across, matches, of)
    words = " ".join(Page(text).text.split(" ")).replace("\n", " ")
    assert "Across views Rank-1 is 11.1" in words
    assert (
        "Rank-1, Rank-5, Rank-10 are means over views (lt, docs/protocols.md), the   others means over 72 probe tracks" in words
    )
    cards = re.findall(r'<dd class="value">(.*?)</dd>\s*<dd class="soft">(.*?)</dd>', text)
    assert cards[0] == (percent(0.111), f"{percent(0.101)} to {percent(0.121)}")
    assert cards[1] == (percent(0.222), f"{percent(0.212)} to {percent(0.232)}")
    assert cards[3][1] == "{} to {}".format(*map(percent, found["ci95"]["map"]))
    # The drawing is of the one search: the same as in its own report, and told apart in words.
    drawing = re.compile(r'<line class="whisker".*?/>|<circle class="dot".*?</circle>')
    assert drawing.findall(text) == drawing.findall(report[0])
    low, high = found["ci95"]["rank1"]
    said = re.findall(r'<desc id="cmc-text">(.*?)</desc>', text, re.DOTALL)[0]
    assert f"in one search of all views: {percent(pooled['rank1'])} at rank 1 (95 % interval {percent(low)} to" in said
    assert "(CMC), with the" in words
    assert "first k candidates in one search of all views" in words
    assert "search of all views" not in report[0]
    [y2, y1] = sorted(map(float, re.findall(r'class="whisker" .*? y1="([\d.]+)" y2="([\d.]+)"', text)[0]))
    dot = float(re.findall(r'class="dot" cx="52.0" cy="([\d.]+)"', text)[0])
    assert y2 < dot < y1
    assert (252 - y1) / 240 == pytest.approx(low, abs=1e-3)
    assert (252 - y2) / 240 == pytest.approx(high, abs=1e-3)


def test_table_of_ranks(report: tuple[str, dict[str, Any]]) -> None:
    of = casia(subjects=12, noise=1.3)
    matches, _ = matched(of)
    hits = matches.hit_rank <= 10
    assert report[0].count('<td class="hit"') == report[0].count("same person: ") == hits.sum()
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
    assert page.text.count("not known") == 1 + 6  # each may well have somebody to find
    assert "none to find" not in page.text
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


def test_roc_goes_up_and_keeps_its_bends(report: tuple[str, dict[str, Any]]) -> None:
    of = casia(subjects=12, noise=1.3)
    matches, found = matched(of)
    drawing = report[0][report[0].index('aria-labelledby="roc-title') :]
    points = re.findall(r'class="cmc" points="([^"]+)"', drawing)[0].split()
    x, y = np.array([point.split(",") for point in points], dtype=float).T
    assert 50 < len(points) <= ROC_POINTS
    assert x[0] == 52
    assert x[-1] == 468
    assert y[-1] == 12
    assert (np.diff(x) >= 0).all()
    assert (np.diff(y) <= 0).all()
    far, tar = roc(matches.verification)
    for a, b in zip(x[1:-1], y[1:-1], strict=True):  # every point drawn is a point of the staircase
        apart = np.hypot(52 + 416 * (1 + np.log10(np.maximum(far, 1e-3)) / 3) - a, 252 - 240 * tar - b)
        assert apart.min() < 0.1
    assert f"EER {percent(found['eer'])}" in drawing
    assert f"{matches.verification.impostors} of two" in Page(report[0]).text


@pytest.mark.parametrize(
    ("genuine", "below", "equal"), [([1, 2], [0, 0], 0.0), ([1, 2], [8, 8], 1.0), ([1, 2], [1, 7], 0.4), ([5, 9], [0, 1], 0.1)]
)
def test_roc_of_few_pairs(genuine: list[int], below: list[int], equal: float) -> None:
    matches, found = matched(casia(subjects=3))
    few = Verification(
        threshold=np.array([0.1, 0.2]), genuine=np.array(genuine), below=np.array(below), upto=np.array(below), impostors=8
    )
    text = render({**found, "eer": equal}, replace(matches, verification=few), casia(subjects=3))
    drawn = re.findall(r"[\d.]+,[\d.]+", "".join(re.findall(r'class="cmc" points="([^"]+)"', text)[1]))
    assert all(52 <= float(x) <= 468 and 12 <= float(y) <= 252 for x, y in (point.split(",") for point in drawn))
    assert drawn[-1] == "468.0,12.0"
    assert "So few pairs say nothing of rates below 12.5 %" in text


def test_evidence_is_well_formed(report: tuple[str, dict[str, Any]]) -> None:
    of = casia(subjects=12, noise=1.3)
    matches, found = matched(of)
    text = render(found, matches, of, evidence=walking())
    page = Page(text)
    assert page.open == []
    assert page.tags["canvas"] == 3 * 3 + 2 * 2
    assert page.tags["script"] == 2
    assert page.tags["noscript"] == 1
    assert not page.tags["img"]
    assert "1 more" in page.text
    assert "a was taken for b" in page.text
    assert "The first of the same person is at rank 3." in page.text
    assert "frames 10 to 39" in page.text
    assert len(page.values("id")) == len(set(page.values("id")))
    assert not re.search(r"https?:|@import|url\(", text)
    policy = next(value for value in page.values("content") if "default-src" in (value or ""))
    assert policy.startswith("default-src 'none'")
    assert "script-src" not in report[0]


def test_evidence_without_labels() -> None:
    of = embeddings([("", "", "", "")] * 6, np.random.default_rng(0).normal(size=(6, 3)))
    matches = rank(of, np.arange(6), np.arange(6), euclidean())
    page = Page(render(figures(matches, probe="", gallery=""), matches, of, evidence=walking("pp")))
    assert page.open == []
    assert "video  #1, and whoever is nearest" in page.text
    assert "✗" not in page.text
    assert "None" not in page.text


@pytest.mark.parametrize("evil", ["</script><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "'}}{{7*7}}&amp;"])
def test_names_in_the_evidence_are_text(evil: str) -> None:
    of = casia(subjects=3)
    matches, found = matched(of)
    page = Page(render(found, matches, of, evidence=walking("mhp", names=(evil, evil))))
    assert page.open == []
    assert page.tags["script"] == 2
    assert not page.tags["img"]
    assert not page.values("onerror")
    assert page.text.count(evil) > 10
    assert evil not in page.scripts
    data = json.loads(page.scripts[: page.scripts.index('"use strict"')])
    assert set(data) == {"joints", "edges", "head", "fps", "ahead", "unit", "pairs"}
    assert re.fullmatch(r"[A-Za-z0-9+/=]+", "".join(text for pair in data["pairs"] for text in pair))


def test_stills_are_shown() -> None:
    of = casia(subjects=3)
    matches, found = matched(of)
    page = Page(render(found, matches, of, evidence=walking("mh", still="data:image/jpeg;base64,AAAA")))
    assert page.tags["img"] == 5
    assert set(page.values("src")) == {"data:image/jpeg;base64,AAAA"}
    assert all(page.values("alt"))


def many(count: int) -> tuple[str, float]:
    """A page of `count` probes and as many gallery items, and its size in MB; its figures are those of a small gallery."""
    small, found = matched(casia(subjects=12, noise=1.3))
    rng = np.random.default_rng(0)
    walks = [(f"{k % 124:03}", "nm" if k < count else "cl", "01", f"{18 * (k % 11):03}") for k in range(2 * count)]
    of = embeddings(walks, np.zeros((2 * count, 1)))
    order = np.sort(rng.integers(count, 2 * count, size=(count, 10)), axis=1)
    own = of.subject[:count]
    hit_probe, place = np.nonzero(own[:, None] == of.subject[order])
    ranking = replace(
        small.ranking,
        order=order.astype(np.int32),
        distance=np.sort(rng.random((count, 10)), axis=1).astype(np.float32),
        probe=np.arange(count),
        gallery=np.arange(count, 2 * count),
        excluded=np.zeros(count, np.int64),
    )
    big = replace(small, ranking=ranking, subject=own, compared=np.full(count, count), hit_probe=hit_probe, hit_rank=place + 1)
    text = render(found, big, of, evidence=walking("m" * 6 + "h" * 6, frames=60, still="data:image/jpeg;base64," + "A" * 25_000))
    return text, len(text.encode()) / 1e6


def test_casia_b_fits_a_page() -> None:
    text, size = many(13_640)
    page = Page(text)
    assert page.open == []
    assert size < 5
    assert page.tags["details"] == PAGES - 1 + 3  # later tables, the curve's numbers, more misses and hits
    assert f"{13_640 - PAGE * PAGES} more probes are in ranking.csv" in page.text


browsers = pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
CUT = "[...document.querySelectorAll('.ranks .place, .ranks th small')].filter(e => e.scrollWidth > e.clientWidth).length"
SCREEN = "({ x: document.documentElement.scrollWidth, paper: getComputedStyle(document.documentElement).backgroundColor })"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with evidence."""
    of = casia(subjects=12, noise=1.3)
    matches, found = matched(of)
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(render(found, matches, of, evidence=walking("mmmmhhh")), encoding="utf-8")
    return file


def visit(browser: Any, file: Path, said: list[str], **options: Any) -> Any:
    """The page, and in `said` all that it complains of and asks for."""
    page = browser.new_page(viewport={"width": 390, "height": 800}, **options)
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url) if not request.url.startswith(("file:", "data:")) else None)
    page.goto(file.as_uri())
    return page


def settled(page: Any) -> None:
    """Wait for two frames: what was asked to be drawn is drawn."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def drawings(page: Any, nth: int = 0) -> list[str]:
    """What the canvases of a pair show."""
    pair = page.locator(".pair").nth(nth)
    pair.scroll_into_view_if_needed()
    settled(page)
    found: list[str] = pair.evaluate("pair => [...pair.querySelectorAll('canvas')].map(canvas => canvas.toDataURL())")
    return found


@browsers
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser(report: tuple[str, dict[str, Any]], moving: Path, tmp_path: Path, browser: Any, scheme: Any) -> None:
    plain = tmp_path / "report.html"
    plain.write_text(report[0], encoding="utf-8")
    for file in (plain, moving):
        said: list[str] = []
        page = visit(browser, file, said, color_scheme=scheme)
        page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
        page.mouse.wheel(0, 4000)
        settled(page)
        screen = page.evaluate(SCREEN)
        page.close()
        assert said == []
        assert screen["x"] <= 390
        assert (sum(int(c) for c in re.findall(r"\d+", screen["paper"])[:3]) < 384) == (scheme == "dark")


@browsers
def test_tracks_without_names_can_be_told_apart(tmp_path: Path, browser: Any) -> None:
    of = embeddings([("", "", f"corridor_camera_of_the_north_wing_{k}", "") for k in range(6)], np.eye(6))
    matches = rank(of, np.arange(6), np.arange(6), euclidean())
    file = tmp_path / "report.html"
    file.write_text(render(figures(matches, probe="", gallery=""), matches, of), encoding="utf-8")
    page = visit(browser, file, [])
    assert page.locator(".ranks .place").count() == 6 * 5
    assert page.evaluate(CUT) == 0  # the number of the track is at the end of its name
    page.close()


@browsers
def test_sliders_move_the_skeletons(moving: Path, browser: Any) -> None:
    said: list[str] = []
    page = visit(browser, moving, said)
    still = drawings(page)
    assert len(set(still)) == 3
    pair = page.locator(".pair").first
    frame, turn = pair.locator("input.frame"), pair.locator("input.turn")
    frame.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert frame.input_value() == "2"
    assert pair.locator("output").first.text_content() == "0.08 s"
    later = drawings(page)
    assert all(a != b for a, b in zip(still, later, strict=True))
    page.keyboard.press("Home")
    assert drawings(page) == still
    turn.focus()
    page.keyboard.press("ArrowLeft")
    assert pair.locator("output").last.text_content() == "50°"
    assert all(a != b for a, b in zip(still, drawings(page), strict=True))
    page.keyboard.press("ArrowRight")
    assert drawings(page) == still
    assert drawings(page, 1) != still  # the other pair is its own
    page.close()
    assert said == []


@browsers
def test_dragging_turns(moving: Path, browser: Any) -> None:
    page = visit(browser, moving, [])
    still = drawings(page)
    box = page.locator("canvas").first.bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 70, box["y"] + 50)
    page.mouse.up()
    assert page.locator("input.turn").first.input_value() == "90"
    turned = drawings(page)
    page.mouse.move(box["x"] + 20, box["y"] + 50)
    assert drawings(page) == turned != still
    page.close()


@browsers
def test_plays_and_stops(moving: Path, browser: Any) -> None:
    page = visit(browser, moving, [], reduced_motion="reduce")
    still = drawings(page)
    pair = page.locator(".pair").first
    frame, button = pair.locator("input.frame"), pair.locator("button")
    page.wait_for_timeout(150)
    assert frame.input_value() == "0"  # not of its own
    button.focus()
    page.keyboard.press("Space")
    assert button.text_content() == "Pause"
    for _ in range(100):
        page.wait_for_timeout(50)
        if int(frame.input_value()) >= 3:
            break
    else:
        pytest.fail("it does not play")
    page.keyboard.press("Space")
    assert button.text_content() == "Play"
    stopped = frame.input_value()
    shown = drawings(page)
    page.wait_for_timeout(150)
    assert frame.input_value() == stopped
    assert drawings(page) == shown != still
    page.close()


@browsers
def test_drawn_anew_in_another_scheme(moving: Path, browser: Any) -> None:
    page = visit(browser, moving, [], color_scheme="light")
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    light = drawings(page, 6)
    page.emulate_media(color_scheme="dark")
    dark = drawings(page, 6)
    assert all(a != b for a, b in zip(light, dark, strict=True))
    page.emulate_media(media="print")
    assert drawings(page, 6) != dark
    assert not page.locator(".controls").first.is_visible()
    page.close()


@browsers
def test_same_screenshot_twice(moving: Path, browser: Any) -> None:
    shots = []
    for _ in range(2):
        page = visit(browser, moving, [])
        drawings(page)
        shots.append(page.locator(".pair").first.screenshot())
        page.close()
    assert shots[0] == shots[1]


@browsers
def test_no_dead_controls_without_scripts(moving: Path, browser: Any) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(moving.as_uri())
    assert not page.locator("input").first.is_visible()
    context.close()
