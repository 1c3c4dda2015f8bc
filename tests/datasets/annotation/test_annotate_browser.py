"""The workbench in Chromium, as a new user and as two people use it."""

from __future__ import annotations

import io
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
from browser import chromium
from PIL import Image
from workbench import Stage, call, change, frame_folders, saved, served_here, watched

import rvos
from rvos.cli import main
from rvos.datasets.masks import decode_rle, encode_rle

SIZE = (96, 160)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return frame_folders(tmp_path_factory.mktemp("frames"), 2, *SIZE)


@pytest.fixture(scope="module")
def project(frames: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the first of the two folders."""
    folder = tmp_path_factory.mktemp("project")
    first = min(frames.iterdir())
    shutil.copytree(first, folder / "videos" / first.name)
    with pytest.raises(SystemExit) as ended:
        main(["annotate", "init", str(folder / "set"), "--videos", str(folder / "videos")])
    assert ended.value.code == 0
    return folder / "set"


@pytest.fixture(scope="module")
def server(project: Path) -> Iterator[str]:
    with served_here(project) as link:
        yield link


@pytest.fixture
def expected() -> list[str]:
    """Words of the errors that a test provokes; every other makes it fail."""
    return []


@pytest.fixture
def tab(browser: Any, server: str, expected: list[str]) -> Iterator[Any]:
    """The owner's page; its test fails on errors and on requests that leave the server."""
    profile = browser.new_context(viewport={"width": 1366, "height": 650})
    page = profile.new_page()
    seen = watched(page, server)
    page.goto(server)
    page.locator("table.clips").wait_for()
    yield page
    profile.close()
    assert [words for words in seen if not any(e in words for e in expected)] == []


def _write(page: Any, text: str) -> None:
    page.keyboard.press("t")
    page.get_by_label("Sentence", exact=True).fill(text)
    page.keyboard.press("Control+Enter")
    page.locator(".sentence", has_text=text).get_by_text("ready").wait_for()


@pytest.fixture
def empty(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """The owner's page of a project without a clip."""
    with pytest.raises(SystemExit):
        main(["annotate", "init", str(tmp_path / "set")])
    with served_here(tmp_path / "set") as link:
        profile = browser.new_context(viewport={"width": 1366, "height": 650})
        page = profile.new_page()
        seen = watched(page, link)
        page.goto(link)
        yield page
        profile.close()
    assert seen == []


def test_from_a_folder_of_frames_to_a_checked_dataset(empty: Any, frames: Path, tmp_path: Path) -> None:
    tab, start, folder = empty, time.monotonic(), max(frames.iterdir())
    tab.get_by_role("heading", name="Add the first videos").wait_for()
    tab.get_by_label("Add a folder of frames").set_input_files(folder)
    about = tab.get_by_role("dialog", name="Add 1 clip")
    about.get_by_label("Licence", exact=True).fill("CC BY 4.0")
    about.get_by_label("Consent").fill("generated: nobody is seen")
    about.get_by_label("Frames may be passed on").select_option("true")
    about.get_by_role("button", name="Add 1 clip").click()
    tab.get_by_role("link", name=folder.name).click()
    stage = Stage(tab, *SIZE)
    tab.locator("canvas.stage[data-tool=brush]").wait_for()

    tab.keyboard.press("n")
    tab.get_by_label("Name of the object").wait_for()
    tab.keyboard.press("p")
    stage.click((20, 20), (60, 20), (60, 50), (20, 50))
    tab.keyboard.press("Enter")
    saved(tab)
    tab.keyboard.press("n")
    tab.locator(".objects li").nth(1).wait_for()
    tab.keyboard.press("b")
    stage.drag((100, 60), (130, 60), (130, 75))
    saved(tab)
    for row, key in enumerate("12"):
        tab.keyboard.press(key)
        tab.keyboard.press("f")
        tab.locator(".objects li").nth(row).get_by_text("10/10").wait_for()
        tab.keyboard.press("ArrowRight")
        tab.locator(".origin-shown", has_text="propagated by").wait_for()
        tab.keyboard.press("k")
        tab.locator(".origin-shown", has_text="looked at").wait_for()
        tab.keyboard.press("ArrowLeft")

    tab.keyboard.press("1")
    _write(tab, "Which thing would be hit first by something that falls from the left?")
    _write(tab, "The one that is nearer to where reading starts")
    tab.keyboard.press("2")
    _write(tab, "Which one would a right-handed person reach first?")
    _write(tab, "What rests lowest in the scene at the beginning?")
    assert tab.locator(".panel-sentences .count").text_content() == "4, 4 ready"

    tab.get_by_role("link", name="Export").click()
    tab.get_by_text("source and licence are stated").wait_for()
    tab.get_by_role("radio", name=re.compile("ReasonVOS")).check()
    tab.get_by_role("button", name="Export and check").click()
    done = tab.locator("[data-export=reasonvos]")
    done.wait_for()
    assert "Read back and checked: no problems." in (done.text_content() or "")
    assert done.get_attribute("data-samples") == "4"
    with tab.expect_download() as download:
        done.get_by_role("link", name="Download the zip").click()
    download.value.save_as(tmp_path / "export.zip")
    assert time.monotonic() - start < 300  # a person's five minutes

    with ZipFile(tmp_path / "export.zip") as archive:
        archive.extractall(tmp_path / "export")
    (path,) = (tmp_path / "export").rglob("JPEGImages")
    written = rvos.load("reasonvos", root=path.parent)
    assert len(written) == 4 and {s.expression.object_ids for s in written} == {("1",), ("2",)}
    mask = written.ground_truth(written.samples_of(folder.name)[0])
    assert mask is not None and mask.mask(0) is not None
    drawn = np.zeros(SIZE, bool)
    drawn[20:50, 20:60] = True
    assert (np.logical_xor(drawn, mask.mask(0))).sum() < 80  # the mouse moves in pixels of the screen


def _rectangle(left: int, top: int, right: int, bottom: int) -> str:
    mask = np.zeros(SIZE, bool)
    mask[top:bottom, left:right] = True
    return str(encode_rle(mask)["counts"])


def _two_objects(page: Any, clip: int = 1) -> list[str]:
    """Objects drawn in every frame, by their ids."""
    made = change(page, clip, *({"op": "object.new", "temp": f"${n}", "name": n} for n in "ab"))["ids"]
    boxes = {made["$a"]: _rectangle(20, 20, 60, 50), made["$b"]: _rectangle(100, 40, 130, 80)}
    ops = [{"op": "mask", "object": o, "frame": f, "counts": boxes[o], "base": 0} for o in boxes for f in range(10)]
    change(page, clip, *ops)
    return list(boxes)


def _pixel(page: Any, x: float, y: float) -> list[int]:
    """The colour on the stage at (x, y) of the video."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    left, top = Stage(page, *SIZE).at(x, y)
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    return list(shot.getpixel((round(left), round(top))))


def _open(page: Any, clip: int, frame: int) -> Stage:
    page.goto(f"{page.url.split('#')[0]}#/clip/{clip}/{frame}")
    page.locator(f"canvas.stage[data-frame='{frame - 1}']").wait_for()
    return Stage(page, *SIZE)


def test_undo_goes_back_over_frames(tab: Any) -> None:
    drawn, _ = _two_objects(tab)
    stage = _open(tab, 1, 3)
    tab.locator(".object-row").nth(-2).click()
    inside = _pixel(tab, 30, 40)
    tab.keyboard.press("e")
    stage.drag((22, 40), (58, 40))
    saved(tab)
    assert _pixel(tab, 30, 40) != inside
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("o")
    saved(tab)
    assert tab.locator(".origin-shown").text_content() == "absent"
    tab.keyboard.press("Control+z")
    tab.get_by_text("Undone: absent").wait_for()
    assert tab.locator(".origin-shown").text_content() == "drawn by a person"
    tab.keyboard.press("Control+z")
    tab.get_by_text("Undone: eraser (frame 3)").wait_for()
    tab.locator("canvas.stage[data-frame='2']").wait_for()
    assert _pixel(tab, 30, 40) == inside
    _, answer = call(tab, "/api/clips/1/masks?first=2&last=3")
    assert {answer["frames"][f][drawn]["counts"] for f in "23"} == {_rectangle(20, 20, 60, 50)}


def test_a_server_that_is_gone_loses_no_stroke(tab: Any, expected: list[str]) -> None:
    expected.append("ERR_FAILED")
    drawn = change(tab, 1, {"op": "object.new", "temp": "$n", "name": "late"})["ids"]["$n"]
    stage = _open(tab, 1, 1)
    tab.locator(".object-row").last.click()
    tab.route("**/changes", lambda route: route.abort())
    stage.drag((70, 30), (80, 40))
    tab.locator(".saving[data-state=failing]").wait_for()
    assert tab.locator(".saving").text_content() == "Not saved (1): trying again"
    tab.unroute("**/changes")
    saved(tab)
    _, answer = call(tab, "/api/clips/1/masks?first=0&last=0")
    assert answer["frames"]["0"][drawn]["counts"]


def test_a_sentence_is_text_and_never_code(tab: Any) -> None:
    _two_objects(tab)
    _open(tab, 1, 1)
    attack = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
    _write(tab, attack)
    assert tab.locator(".sentence-text", has_text="onerror").text_content() == attack
    assert tab.locator("main img").count() == 0 and "taken" not in tab.title()
    tab.keyboard.press("?")
    assert tab.locator("dialog kbd").count() > 40
    tab.keyboard.press("Escape")
    tab.keyboard.press("t")
    tab.get_by_label("Sentence", exact=True).fill("typed and left at once")
    tab.get_by_role("link", name="Report").click()
    tab.get_by_role("heading", name="Report").wait_for()
    _, clip = call(tab, "/api/clips/1")
    assert {attack, "typed and left at once"} <= {e["text"] for e in clip["expressions"]}


def test_tracks_are_split_merged_deleted_and_brought_back(tab: Any) -> None:
    first, _ = _two_objects(tab)
    _open(tab, 1, 5)
    rows = tab.locator(".object-row")
    count = rows.count()
    rows.nth(count - 2).click()
    tab.get_by_role("button", name="Split", exact=True).click()
    rows.get_by_text("a (from 5)").wait_for()
    assert rows.count() == count + 1
    rows.get_by_text("4/10").wait_for()
    rows.get_by_text("6/10").wait_for()
    tab.keyboard.press("Control+Delete")
    tab.get_by_role("dialog").get_by_role("button", name="Delete").click()
    saved(tab)
    assert rows.count() == count
    tab.keyboard.press("Control+z")
    tab.get_by_text("Undone: delete").wait_for()
    assert rows.count() == count + 1
    rows.nth(count - 2).click()
    tab.get_by_role("button", name="Merge…").click()
    tab.get_by_label("Object that is merged in").select_option(label="a (from 5)")
    tab.get_by_role("button", name="Merge", exact=True).click()
    saved(tab)
    rows.nth(count - 2).get_by_text("10/10").wait_for()
    _, answer = call(tab, "/api/clips/1/masks?first=0&last=9")
    assert {frame[first]["counts"] for frame in answer["frames"].values()} == {_rectangle(20, 20, 60, 50)}


def test_a_paraphrase_counts_once_accepted_and_a_reviewer_judges(tab: Any) -> None:
    first, _ = _two_objects(tab)
    said = {"text": "What is nearer to the left?", "object_ids": [first], "state": "ready"}
    made = change(tab, 1, {"op": "expression.new", "temp": "$e", **said})["ids"]["$e"]
    tab.goto(f"{tab.url.split('#')[0]}#/clip/1/1/s/{made}")
    tab.get_by_role("button", name="Paraphrases…").click()
    tab.get_by_role("textbox", name="Paraphrases").fill("Which one is more to the left?\nThe right one")
    tab.get_by_role("button", name="Add these").click()
    waiting = tab.locator(".paraphrases li")
    waiting.nth(1).get_by_role("button", name="Decline").click()
    tab.get_by_text("waiting for you (1)").wait_for()
    tab.keyboard.press("a")
    tab.locator(".sentence", has_text="Which one is more to the left?").wait_for()
    saved(tab)
    _, clip = call(tab, "/api/clips/1")
    group = [e for e in clip["expressions"] if e["group"] and e["object_ids"] == [first]]
    assert [(e["origin"], e["accepted_by"]) for e in group] == [("human", ""), ("machine", "owner")]

    tab.goto(f"{tab.url.split('#')[0]}#/review/1/{made}")
    tab.locator(".review-head", has_text=said["text"]).wait_for()
    tab.keyboard.press("x")
    tab.keyboard.type("Two things are on the left.")
    tab.keyboard.press("Control+Enter")
    tab.get_by_text("Rejected; the author sees why.").wait_for()
    _, clip = call(tab, "/api/clips/1")
    assert [(v["decision"], v["comment"]) for v in clip["verdicts"]] == [("rejected", "Two things are on the left.")]


@pytest.mark.parametrize("keep", ["mine", "theirs"])
def test_two_tabs_do_not_overwrite_each_other(tab: Any, expected: list[str], keep: str) -> None:
    expected += ["409", "ERR_FAILED"]
    drawn, _ = _two_objects(tab)
    tab.route("**/api/events*", lambda route: route.abort())  # the first tab does not hear of the second
    stage = _open(tab, 1, 5)
    tab.locator(".object-row").nth(-2).click()
    other = tab.context.new_page()
    other.goto(tab.url)
    there = {"op": "mask", "object": drawn, "frame": 4, "counts": _rectangle(0, 0, 9, 9)}
    _, answer = call(other, "/api/clips/1/masks?first=4&last=4")
    change(other, 1, {**there, "base": answer["frames"]["4"][drawn]["revision"]})
    other.close()
    stage.drag((70, 30), (80, 40))
    tab.get_by_role("dialog", name="Changed in the meantime").wait_for()
    tab.get_by_role("button", name=f"Keep {keep}").click()
    saved(tab)
    _, answer = call(tab, "/api/clips/1/masks?first=4&last=4")
    stored = answer["frames"]["4"][drawn]["counts"]
    assert (stored == there["counts"]) == (keep == "theirs")
    mask = decode_rle({"size": list(SIZE), "counts": stored})
    assert mask[30, 70] == (keep == "mine") and mask[4, 4] == (keep == "theirs")


def test_the_blind_role_never_gets_the_answer(browser: Any, tab: Any, server: str) -> None:
    first, _ = _two_objects(tab)
    text = "What would be read first?"
    said = {"text": text, "object_ids": [first], "state": "ready", "rationale": "it is the secret"}
    change(tab, 1, {"op": "expression.new", **said})
    _, invited = call(tab, "/api/people", {"name": "Bo", "role": "blind"})
    profile = browser.new_context(viewport={"width": 1366, "height": 650})
    page = profile.new_page()
    seen = watched(page, server)
    bodies: list[str] = []
    page.on("response", lambda r: bodies.append(r.text()) if "json" in r.headers.get("content-type", "") else None)
    page.goto(f"{server.split('#')[0]}#token={invited['token']}")
    page.get_by_text("1 From one frame").wait_for()
    assert page.locator("nav a").count() == 0
    for step in ("1 From one frame", "2 From the video"):
        page.locator(".step .now", has_text=step).wait_for()
        page.keyboard.press("1")
        page.locator(".choice[aria-pressed=true]").wait_for()
        page.keyboard.press("Enter")
    page.get_by_text(re.compile("^1 of [0-9]+ answered")).wait_for()
    assert seen == []
    everything = "\n".join(bodies)
    assert "the secret" not in everything and "object_ids" not in everything
    routes = [
        "clips",
        "clips/1",
        "clips/1/masks?first=0&last=1",
        "clips/1/checks",
        "clips/1/history",
        "clips/1/frames/0",
    ]
    for route in [*routes, "events?since=0&wait=0", "review", "report", "people", "assignments", "jobs", "exports"]:
        status, answer = call(page, f"/api/{route}")
        assert (status, answer["error"]["code"]) == (403, "role"), route
    for route in ["clips/1/changes", "clips/1/undo", "clips/1/verdicts", "exports", "people", "imports"]:
        assert call(page, f"/api/{route}", {})[0] in (400, 403, 415), route
    profile.close()
    _, report = call(tab, "/api/report")
    assert report["agreement"]["video"]["n_people"] == 1
