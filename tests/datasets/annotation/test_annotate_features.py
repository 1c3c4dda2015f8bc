"""What the page does with videos, imports, models and jobs, in Chromium. About a minute."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import annotationclient
import pytest
from browser import chromium
from workbench import Stage, call, change, frame_folders, saved, served_here, watched

annotationclient.require()

from rvos.datasets.annotation import models  # noqa: E402
from rvos.datasets.annotation.journal import Author  # noqa: E402
from rvos.datasets.annotation.store import OWNER, Store  # noqa: E402
from rvos.datasets.annotation.videos import add_video, find_videos  # noqa: E402

pytestmark = pytest.mark.long

SIZE, FRAMES = (96, 160), 30


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return frame_folders(tmp_path_factory.mktemp("frames"), 1, *SIZE, n_frames=FRAMES)


@pytest.fixture
def project(frames: Path, tmp_path: Path) -> Path:
    """A project of one clip."""
    with Store.create(tmp_path / "set") as store:
        for found in find_videos(frames):
            add_video(store, found, Author(OWNER))
    return tmp_path / "set"


@contextmanager
def opened(browser: Any, project: Path, expected: tuple[str, ...] = (), **options: Any) -> Iterator[Any]:
    """The owner's page of a server with these options; errors that are not expected fail the test."""
    with served_here(project, **options) as link:
        profile = browser.new_context(viewport={"width": 1366, "height": 650})
        page = profile.new_page()
        page.set_default_timeout(120_000)
        seen = watched(page, link)
        page.goto(link)
        page.get_by_role("heading", name="Clips").or_(
            page.get_by_role("heading", name="Add the first videos")
        ).wait_for()
        yield page
        profile.close()
    assert [words for words in seen if not any(e in words for e in expected)] == []


def _drawn(page: Any, frame: int) -> Stage:
    """An object that is a box in the frame, which is shown."""
    made = change(page, 1, {"op": "object.new", "temp": "$n", "name": "box"})["ids"]["$n"]
    page.goto(f"{page.url.split('#')[0]}#/clip/1/{frame}")
    page.locator(f"canvas.stage[data-frame='{frame - 1}']").wait_for()
    stage = Stage(page, *SIZE)
    page.keyboard.press("r")
    stage.drag((40, 30), (90, 70))
    saved(page)
    assert _masks(page, frame - 1)[made]["origin"] == "human"
    return stage


def _masks(page: Any, frame: int) -> Any:
    _, answer = call(page, f"/api/clips/1/masks?first={frame}&last={frame}")
    return answer["frames"].get(str(frame), {})


def test_an_object_is_followed_backward(browser: Any, project: Path) -> None:
    with opened(browser, project) as page:
        _drawn(page, 8)
        page.keyboard.press("d")
        page.get_by_text("Propagated 7 frames.").wait_for()
        page.locator(".objects li").get_by_text(f"8/{FRAMES}").wait_for()
        assert {next(iter(_masks(page, f).values()))["origin"] for f in range(7)} == {"propagated"}
        assert _masks(page, 8) == {}
        page.keyboard.press("Control+z")  # all of it is one step
        page.locator(".objects li").get_by_text(f"1/{FRAMES}").wait_for()


def test_a_running_propagation_is_cancelled(browser: Any, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    follow = models.FlowPropagator.follow

    def slow(*arguments: Any) -> Iterator[Any]:
        for step in follow(*arguments):
            time.sleep(0.4)
            yield step

    monkeypatch.setattr(models.FlowPropagator, "follow", slow)
    with opened(browser, project) as page:
        _drawn(page, 1)
        page.keyboard.press("f")
        page.locator(".job").get_by_text(f"of {FRAMES - 1}").wait_for()
        page.locator(".objects li").get_by_text(f"3/{FRAMES}").wait_for()
        page.locator(".job").get_by_role("button", name="Cancel").click()
        page.get_by_text("Stopped after").wait_for()
        page.locator(".job").wait_for(state="hidden")
        _, jobs = call(page, "/api/jobs")
        assert [job["state"] for job in jobs["jobs"]] == ["cancelled"]
        written = [f for f in range(FRAMES) if _masks(page, f)]
        assert written == list(range(len(written))) and 3 <= len(written) < FRAMES
        page.keyboard.press("Control+z")
        page.get_by_text("Undone: propagate").wait_for()
        assert [f for f in range(FRAMES) if _masks(page, f)] == [0]


def test_sam_answers_clicks_and_boxes(browser: Any, project: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="SAM needs torch (pip install 'rvos[models]')")
    pytest.importorskip("transformers", reason="SAM needs transformers (pip install 'rvos[models]')")
    from tinymodels import tiny_sam_folder

    weights = tiny_sam_folder(tmp_path / "tiny-sam")
    with opened(browser, project, models=models.Models(sam=str(weights))) as page:
        stage = _drawn(page, 1)
        page.keyboard.press("s")
        asked: list[Any] = []
        page.on("request", lambda r: asked.append(r.post_data_json) if r.url.endswith("/segment") else None)

        def answered(prompt: Any) -> str:
            with page.expect_response(lambda r: r.url.endswith("/segment")) as answer:
                prompt()
            assert answer.value.ok
            saved(page)
            return str(answer.value.json()["counts"])

        answered(lambda: stage.click((60, 50)))
        answered(lambda: page.mouse.click(*stage.at(10, 10), button="right"))
        counts = answered(lambda: stage.drag((20, 20), (90, 70)))
        points = [[(round(p["x"]), round(p["y"]), p["positive"]) for p in one["points"]] for one in asked]
        assert points == [[(60, 50, True)], [(60, 50, True), (10, 10, False)], []]
        assert [round(v) for v in asked[2]["box"]] == [20, 20, 90, 70]
        (mask,) = _masks(page, 0).values() if counts else ({"counts": "", "model": "sam:tiny-sam"},)
        assert (mask["counts"], mask["model"]) == (counts, "sam:tiny-sam")


class _Language(BaseHTTPRequestHandler):
    """An OpenAI-compatible endpoint that rewords."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        assert self.path == "/v1/chat/completions" and "nearest" in asked["messages"][-1]["content"]
        content = "1. Which box is closest?\n2. <b>The</b> closest one"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"choices": [{"message": {"content": content}}]}).encode())

    def log_message(self, *values: Any) -> None:
        """Quiet."""


@contextmanager
def _language_model() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Language) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


def test_paraphrases_of_a_model_wait_for_a_person(browser: Any, project: Path) -> None:
    from rvos.datasets.annotation.paraphrases import Paraphraser

    with _language_model() as address, opened(browser, project, paraphrase=Paraphraser(address, "toy-lm")) as page:
        _drawn(page, 1)
        page.keyboard.press("t")
        page.get_by_label("Sentence", exact=True).fill("What is nearest to the camera?")
        page.keyboard.press("Control+Enter")
        page.locator(".sentence").click()
        page.get_by_role("button", name="Paraphrases…").click()
        page.get_by_label("How many").fill("2")
        page.get_by_role("button", name="Ask the model").click()
        waiting = page.locator(".paraphrases li")
        waiting.nth(1).wait_for()
        assert [text.strip() for text in waiting.all_text_contents()] == [
            "Which box is closest?",
            "<b>The</b> closest one",
        ]
        made = [e for e in call(page, "/api/clips/1")[1]["expressions"] if e["origin"] == "machine"]
        assert [(e["model"], e["accepted_by"]) for e in made] == [("toy-lm", "")] * 2
        page.keyboard.press("Escape")
        page.keyboard.press("a")
        page.get_by_text("waiting for you (1)").wait_for()
        waiting.get_by_role("button", name="Decline").click()
        page.locator(".paraphrases").wait_for(state="detached")
        saved(page)
        made = [e for e in call(page, "/api/clips/1")[1]["expressions"] if e["origin"] == "machine"]
        assert [(e["text"], e["accepted_by"]) for e in made] == [("Which box is closest?", OWNER)]


def test_videos_are_added_and_what_fails_says_why(browser: Any, tmp_path: Path) -> None:
    pytest.importorskip("av", reason="video files need PyAV (pip install av)")
    import numpy as np

    from rvos.datasets.video_files import Mp4Writer

    with Mp4Writer(tmp_path / "a walk.mp4", 10.0) as writer:
        for i in range(5):
            writer.write(np.full((*SIZE, 3), 50 * i, np.uint8))
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    (tmp_path / "notes.txt").write_text("nothing")
    Store.create(tmp_path / "set").close()
    with opened(browser, tmp_path / "set") as page:
        files = page.get_by_label("Add videos or zips")
        files.set_input_files(tmp_path / "notes.txt")
        page.get_by_role("dialog", name="Nothing to add").get_by_role("button", name="Close").click()
        files.set_input_files([tmp_path / "a walk.mp4", tmp_path / "broken.mp4", tmp_path / "notes.txt"])
        dialog = page.get_by_role("dialog", name="Add 2 clips")
        assert [box.input_value() for box in dialog.get_by_label("Name of the clip").all()] == ["a-walk", "broken"]
        dialog.get_by_text("1 other file left out.").wait_for()
        dialog.get_by_label("Licence", exact=True).fill("CC0")
        dialog.get_by_label("Consent").fill("nobody is seen")
        dialog.get_by_role("button", name="Add 2 clips").click()
        failed = page.locator(".uploads li[data-state=failed]")
        failed.wait_for()
        assert "broken" in (failed.text_content() or "") and page.locator(".uploads li[data-state=done]").count() == 1
        page.get_by_role("link", name="a-walk").wait_for()
        page.get_by_role("button", name="CC0").wait_for()
        (clip,) = call(page, "/api/clips")[1]["clips"]
        assert (clip["n_frames"], clip["fps"], clip["source"]["consent"]) == (5, 10.0, "nobody is seen")
        _drop(page, tmp_path / "a walk.mp4")
        page.get_by_role("dialog", name="Add 1 clip").get_by_role("button", name="Add 1 clip").click()
        page.get_by_role("link", name="a-walk-2").wait_for()


def _drop(page: Any, file: Path) -> None:
    """Drop a file on the page, as a file manager does."""
    page.evaluate(
        """([name, bytes]) => {
          const carried = new DataTransfer();
          carried.items.add(new File([Uint8Array.from(bytes)], name));
          const node = document.querySelector(".clips-page");
          const options = { bubbles: true, cancelable: true, dataTransfer: carried };
          for (const type of ["dragover", "drop"]) node.dispatchEvent(new DragEvent(type, options));
        }""",
        [file.name, list(file.read_bytes())],
    )


def test_a_dataset_is_imported(browser: Any, frames: Path, tmp_path: Path) -> None:
    root = frames.parent
    with ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in sorted(root.rglob("*")):
            archive.write(path, path.relative_to(root))
    Store.create(tmp_path / "set").close()
    with opened(browser, tmp_path / "set") as page:
        page.get_by_role("button", name="Import a dataset…").click()
        dialog = page.get_by_role("dialog", name="Import a dataset")
        dialog.get_by_label("Layout").select_option("reasonvos")
        dialog.get_by_label("Zip of the dataset").set_input_files(tmp_path / "set.zip")
        dialog.get_by_role("button", name="Import", exact=True).click()
        page.get_by_text("The clip is there.").wait_for()
        page.locator("table.clips th a").click()
        page.locator(".objects li").first.wait_for()
        page.locator(".origin-shown", has_text="imported").wait_for()
        _, clip = call(page, "/api/clips/1")
        assert clip["clip"]["n_frames"] == FRAMES and clip["expressions"] and clip["objects"]
        assert {span[2] for one in clip["objects"] for span in one["spans"]} == {"imported"}
