"""The static site, and a browser that uses it where there is one. About 10 s, with Chromium 20 s."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import chromium

from rvos.baselines.registry import make_predictor
from rvos.benchmarks.engine import predict
from rvos.benchmarks.evaluator import evaluate
from rvos.benchmarks.results import Result
from rvos.benchmarks.runs import PredictorRecord, Run
from rvos.cli import main
from rvos.datasets.reasonshapes.generate import generate
from rvos.datasets.reasonshapes.writers import write
from rvos.datasets.registry import load
from rvos.leaderboard.entries import check_all
from rvos.leaderboard.site import build_site
from rvos.leaderboard.site.samples import _lengths, choose

VOID = {"meta", "link", "input", "br", "img"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("site")
    write("mevis", here / "data", generate("valid", 4, height=96, width=128, n_frames=8), split="valid_u")
    dataset = load("mevis/valid_u", root=here / "data")
    for name in ("shifted", "centre-box", "first-frame-copied"):
        predictor = PredictorRecord(name=name)
        out = here / "runs" / name
        run = predict(make_predictor(name, dataset), dataset, out=out, progress=False, predictor=predictor)
        evaluate(run, dataset, workers=1)
    shutil.copytree(here / "runs" / "shifted", here / "runs" / "tampered")
    record = json.loads((here / "runs" / "tampered" / "run.json").read_text())
    record["limit"] = 1
    (here / "runs" / "tampered" / "run.json").write_text(json.dumps(record))
    return here / "runs"


@pytest.fixture(scope="module")
def site(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "site"
    return build_site(out, check_all(runs), samples=6).parent


class Page(HTMLParser):
    """Unclosed elements, addresses and ids of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.problems: list[str] = []
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.problems += [f"<{tag}> is not closed" for tag in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids += [found["id"] or ""] if "id" in found else []
        if tag == "a":
            self.links.append(found.get("href") or "")
        elif found.get("src") or (tag == "link" and found.get("href")):
            self.loaded.append(found.get("src") or found.get("href") or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element of a plot that holds nothing."""

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> closes another element")


def test_pages_are_well_formed_and_load_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.glob("*.html"))
    assert {"index.html", "tables.html", "published.html", "why.html"} < {p.name for p in pages}
    for path in pages:
        page = Page(path)
        assert page.problems == [], (path.name, page.problems[:3])
        assert len(page.ids) == len(set(page.ids)), path.name
        for address in page.loaded:
            assert address == "data:," or (site / address).is_file(), (path.name, address)
        for address in page.links:
            name, _, anchor = address.partition("#")
            if address.startswith("https://"):
                continue
            assert not name or (site / name).is_file(), (path.name, address)
            if name == "" and anchor and not path.name.startswith("board-"):
                assert anchor in page.ids, (path.name, address)


def test_a_board_names_interval_pairs_and_samples(site: Path) -> None:
    text = next(site.glob("board-*.html")).read_text(encoding="utf-8")
    assert "mevis/valid_u under mevis@1" in text and "first-frame-copied" in text and "tampered" not in text
    assert "not separable from the best" in text and "p (Holm)" in text and 'role="img"' in text
    index = (site / "index.html").read_text(encoding="utf-8")
    assert "Refused" in index and "partial" in index
    data = json.loads(re.sub(r"^window\.RVOS_SAMPLES = |;\n$", "", next(site.glob("samples-*.js")).read_text()))
    assert len(data["rows"]) == 20 and 4 <= len(data["viewable"]) <= 6
    sample = next((site / data["folder"]).glob("0.js")).read_text(encoding="utf-8")
    content = json.loads(re.sub(r"^rvosSample\(|\);\n$", "", sample))
    assert len(content["masks"]) == 4 and len(content["frames"]) == 8
    assert all((site / frame).is_file() for frame in content["frames"])
    assert sum(content["masks"][0][0]) == content["width"] * content["height"]


def test_published_numbers_stand_with_source_and_finding(site: Path) -> None:
    text = (site / "published.html").read_text(encoding="utf-8")
    row = next(r for r in re.findall(r"<tr .*?</tr>", text) if "OnlineRefer" in r and "64.65" in r)
    assert 'href="https://arxiv.org/abs/2409.19603"' in row or "README" in row
    assert text.count("<tr ") > 1100


def test_lengths_are_runs_of_equal_pixels() -> None:
    mask = np.array([[0, 1, 1], [1, 0, 1]], bool)
    assert _lengths(mask, (3, 2)) == [1, 3, 1, 1]
    assert _lengths(np.ones((2, 2), bool), (2, 2)) == [0, 4]
    assert _lengths(np.zeros((2, 2), bool), (2, 2)) == [4] and _lengths(None, (2, 2)) is None


def test_worst_best_and_disagreed_samples(runs: Path) -> None:
    results = [Result.of_run(c) for c in map(_open, ("shifted", "centre-box"), [runs] * 2)]
    chosen = choose(results, 6)
    assert list(chosen) == ["worst", "best", "disagreed"] and all(len(keys) == 2 for keys in chosen.values())
    assert list(choose(results[:1], 4)) == ["worst", "best"]


def _open(name: str, folder: Path) -> Run:
    return Run.open(folder / name)


def test_without_the_data_a_board_has_scores_and_no_samples(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "shifted", tmp_path / "runs" / "shifted")
    record = json.loads((runs / "shifted" / "run.json").read_text())
    record["dataset"]["root"] = str(tmp_path / "nowhere")
    record["predictor"]["name"] = "<img src=x onerror=alert(1)>"
    (tmp_path / "runs" / "shifted" / "run.json").write_text(json.dumps(record))
    with pytest.raises(SystemExit) as ended:
        main(["leaderboard", "site", str(tmp_path / "runs"), "--out", str(tmp_path / "site")])
    assert ended.value.code == 0
    text = next((tmp_path / "site").glob("board-*.html")).read_text(encoding="utf-8")
    assert "no samples to play" in text and "<canvas" not in text
    assert "<img" not in text and "&lt;img src=x" in text


# In a browser ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    """A tab that fails its test on any console error and on any request that leaves the disk."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    seen: list[str] = []
    page.on("console", lambda message: seen.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: seen.append(str(error)))
    page.on("request", lambda r: seen.append(r.url) if not r.url.startswith(("file:", "data:")) else None)
    yield page
    page.close()
    assert seen == []


def test_a_board_sorts_and_filters(site: Path, tab: Any) -> None:
    tab.goto(f"file://{next(site.glob('board-*.html'))}")
    table = tab.locator("table.sortable").first
    names = lambda: table.locator("tbody tr:visible th").all_text_contents()  # noqa: E731
    tab.get_by_role("button", name="model").click()
    assert names() == sorted(names()) and len(names()) == 3
    table.get_by_role("button", name="J&F").focus()
    tab.keyboard.press("Enter")
    values = [float(v) for v in table.locator("tbody tr td:nth-child(2)").all_text_contents()]
    assert values == sorted(values, reverse=True)
    assert table.locator("th[aria-sort=descending]").count() == 1
    tab.get_by_label("Filter").first.fill("centre")
    assert names() == ["centre-box"]
    assert tab.locator(".board .count").first.text_content() == "1 of 3 rows"


def test_a_sample_plays_with_masks(site: Path, tab: Any) -> None:
    tab.goto(f"file://{next(site.glob('board-*.html'))}")
    viewer = tab.locator(".viewer[data-shown]")
    viewer.wait_for()
    first = viewer.get_attribute("data-shown")
    picture = lambda: tab.locator("canvas").screenshot()  # noqa: E731
    with_masks = picture()
    for box in tab.locator("fieldset input").all():
        box.uncheck()
    assert picture() != with_masks
    tab.get_by_role("button", name="Play").click()
    tab.wait_for_function("document.querySelector('input[type=range]').value > 1")
    tab.get_by_role("button", name="Pause").click()
    assert "of 8" in (tab.locator(".state").text_content() or "")
    link = tab.locator(".viewer li a").nth(1)
    link.click()
    tab.wait_for_function(f"document.querySelector('.viewer').dataset.shown !== {json.dumps(first)}")
    tab.get_by_label("Find samples").fill("zzz")
    assert (tab.locator(".samples .count").text_content() or "").startswith("0 of 20")


def test_a_number_leads_to_its_source(site: Path, tab: Any) -> None:
    tab.goto(f"file://{site / 'published.html'}")
    tab.get_by_label("Filter").fill("VideoLISA-3.8B Post-optimization 44.4")
    row = tab.locator("tbody tr:visible")
    assert row.count() == 1 and "44.4" in (row.text_content() or "")
    assert row.get_by_role("link").get_attribute("href") == "https://arxiv.org/abs/2409.19603"
    tab.goto(f"file://{site / 'tables.html'}")
    note = tab.locator("sup a").first
    note.click()
    assert tab.locator(f"{note.get_attribute('href')}").is_visible()


def test_the_link_of_a_number_opens_its_source(site: Path, browser: Any) -> None:
    page = browser.new_page()
    page.route(re.compile("^https:"), lambda route: route.fulfill(body="the paper", content_type="text/plain"))
    page.goto(f"file://{site / 'published.html'}")
    page.get_by_label("Filter").fill("VideoLISA-3.8B Post-optimization 44.4")
    page.locator("tbody tr:visible").get_by_role("link").click()
    page.wait_for_url("https://arxiv.org/abs/2409.19603")
    page.close()


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (390, "dark")])
def test_pages_fit_wide_and_narrow_screens(site: Path, tab: Any, width: int, scheme: str) -> None:
    tab.set_viewport_size({"width": width, "height": 900})
    tab.emulate_media(color_scheme=scheme)
    for path in sorted(site.glob("*.html")):
        tab.goto(f"file://{path}")
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, path.name
    background = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 200) == (scheme == "dark")


def test_ten_thousand_samples_stay_quick(site: Path, tab: Any, tmp_path: Path) -> None:
    shutil.copytree(site, tmp_path / "site")
    script = next((tmp_path / "site").glob("samples-*.js"))
    data = json.loads(re.sub(r"^window\.RVOS_SAMPLES = |;\n$", "", script.read_text()))
    _, _, kind, *values = data["rows"][0]
    data["rows"] += [[f"v{i}/0", f"sentence {i}", kind, *values] for i in range(10_000)]
    script.write_text(f"window.RVOS_SAMPLES = {json.dumps(data)};\n")
    tab.goto(f"file://{next((tmp_path / 'site').glob('board-*.html'))}")
    took = tab.evaluate(
        """() => { const input = document.querySelector('.samples input'); const start = performance.now();
        input.value = 'sentence 777'; input.dispatchEvent(new Event('input')); return performance.now() - start; }"""
    )
    assert tab.locator(".samples tbody tr").count() == 19 and took < 500
