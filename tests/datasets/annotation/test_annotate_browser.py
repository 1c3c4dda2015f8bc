"""The workbench in Chromium, as a new user and as two people use it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import chromium
from workbench import Stage, frame_folders, rvos, saved, served, watched

import rvos as rvos_package

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
    subprocess.run(rvos("annotate", "init", folder / "set", "--videos", folder / "videos"), check=True)
    return folder / "set"


@pytest.fixture(scope="module")
def server(project: Path) -> Iterator[str]:
    with served(project) as (_, link):
        yield link


@pytest.fixture
def tab(browser: Any, server: str) -> Iterator[Any]:
    """The owner's page; its test fails on errors and on requests that leave the server."""
    page = browser.new_page(viewport={"width": 1366, "height": 650})
    seen = watched(page, server)
    page.goto(server)
    yield page
    page.close()
    assert seen == []


def _write(page: Any, text: str) -> None:
    page.keyboard.press("t")
    page.get_by_label("Sentence", exact=True).fill(text)
    page.keyboard.press("Control+Enter")
    page.locator(".sentence", has_text=text).get_by_text("ready").wait_for()


def test_from_a_folder_of_frames_to_a_checked_dataset(tab: Any, frames: Path) -> None:
    second = max(frames.iterdir())
    tab.get_by_label("Add a folder of frames").set_input_files(second)
    tab.get_by_role("link", name=second.name).click()
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
    tab.get_by_role("button", name="State source and licence").click()
    tab.get_by_label("Licence", exact=True).fill("CC BY 4.0")
    tab.get_by_label("Consent").fill("generated: nobody is seen")
    tab.get_by_label("Frames may be passed on").select_option("true")
    tab.get_by_role("button", name="Save").click()
    tab.get_by_text("source and licence are stated").wait_for()
    tab.get_by_role("radio", name=re.compile("ReasonVOS")).check()
    tab.get_by_role("button", name="Export and check").click()
    done = tab.locator("[data-export=reasonvos]")
    done.wait_for()
    assert "Read back and checked: no problems." in (done.text_content() or "")
    assert done.get_attribute("data-samples") == "4"

    written = rvos_package.load("reasonvos", root=Path(done.locator("code").text_content() or ""))
    assert len(written) == 4 and {s.expression.object_ids for s in written} == {("1",), ("2",)}
    mask = written.ground_truth(written.samples_of(second.name)[0])
    assert mask is not None and mask.mask(0) is not None
    drawn = np.zeros(SIZE, bool)
    drawn[20:50, 20:60] = True
    assert (np.logical_xor(drawn, mask.mask(0))).sum() < 80  # the mouse moves in pixels of the screen
