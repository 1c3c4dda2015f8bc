"""The front end's modules, run in Chromium against numpy, pycocotools and zipfile. About 5 s."""

from __future__ import annotations

import base64
import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import chromium
from numpy.typing import NDArray
from pycocotools import mask as coco

import rvos.datasets
from rvos.datasets.masks import decode_rle

WEB = Path(rvos.datasets.__file__).parent / "annotation" / "web"


ORIGIN = "http://127.0.0.1:1"  # nothing listens there: every request is answered by ``_answer``
KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


def _answer(route: Any) -> None:
    path = WEB / route.request.url.removeprefix(f"{ORIGIN}/web/")
    if path.suffix in KINDS and path.is_file():
        route.fulfill(body=path.read_bytes(), content_type=KINDS[path.suffix])
    else:
        route.fulfill(body="<!doctype html><title>modules</title>", content_type="text/html")


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    with chromium() as browser:
        tab = browser.new_page()
        tab.route("**/*", _answer)
        tab.goto(f"{ORIGIN}/")
        yield tab


def _masks() -> list[NDArray[np.uint8]]:
    random = np.random.default_rng(3)
    plain = [np.zeros((5, 7)), np.ones((5, 7)), np.eye(6), np.zeros((1, 1)), np.ones((1, 1))]
    noise = [
        random.random((int(h), int(w))) < p for h, w, p in zip([3, 40, 64], [50, 31, 64], [0.5, 0.1, 0.9], strict=True)
    ]
    blob = np.zeros((480, 854))
    blob[100:400, 200:700] = 1
    blob[150:200, 300:500] = 0
    return [np.asfortranarray(m, dtype=np.uint8) for m in [*plain, *noise, blob]]


def test_the_codec_writes_and_reads_what_pycocotools_does(page: Any) -> None:
    cases = []
    for mask in _masks():
        encoded = coco.encode(mask)
        y, x = np.nonzero(mask)
        top = [int(x[0]), int(y[0])] if len(x) else None
        column_major = base64.b64encode(mask.tobytes(order="F")).decode()
        cases.append(
            {"pixels": column_major, "counts": encoded["counts"].decode(), "height": mask.shape[0], "top": top}
        )
    problems = page.evaluate(
        """async (cases) => {
          const rle = await import("/web/rle.js");
          const problems = [];
          for (const [i, { pixels, counts, height, top }] of cases.entries()) {
            const mask = Uint8Array.from(atob(pixels), (c) => c.charCodeAt(0));
            if (rle.encode(mask) !== counts) problems.push(`${i}: encoded as ${rle.encode(mask)}, not ${counts}`);
            const read = rle.decode(counts, mask.length);
            if (read.some((v, k) => v !== mask[k])) problems.push(`${i}: decoded to another mask`);
            const runs = rle.runsOfCounts(counts, mask.length);
            if (rle.areaOfRuns(runs) !== mask.reduce((a, b) => a + b, 0)) problems.push(`${i}: area`);
            const found = rle.topOfRuns(runs, height);
            if (JSON.stringify(found) !== JSON.stringify(top)) problems.push(`${i}: top ${found}`);
            const at = [...mask.keys()].filter((k) => k % 97 === 0);
            const inside = (k) => rle.runsContain(runs, height, Math.floor(k / height), k % height);
            if (at.some((k) => inside(k) !== (mask[k] === 1))) problems.push(`${i}: contains`);
          }
          return problems;
        }""",
        cases,
    )
    assert problems == []


@pytest.mark.parametrize("counts", ["\x01\x02", "04", "é", "oooooooo1", "5"])
def test_what_is_no_mask_is_refused(page: Any, counts: str) -> None:
    said = page.evaluate(
        """async (counts) => { const rle = await import("/web/rle.js");
        try { rle.decode(counts, 35); return "read"; } catch (error) { return error.message; } }""",
        counts,
    )
    assert "not a COCO mask" in said


def _drawn(page: Any, calls: str, height: int = 40, width: int = 50) -> NDArray[np.uint8]:
    """The mask after ``calls``, JavaScript that draws into ``mask``; (height, width)."""
    values = page.evaluate(
        """async ([calls, height, width]) => {
          const draw = await import("/web/mask.js");
          const mask = new Uint8Array(height * width);
          new Function("draw", "mask", "height", "width", calls)(draw, mask, height, width);
          return [...mask];
        }""",
        [calls, height, width],
    )
    return np.array(values, np.uint8).reshape(width, height).T


def test_a_stroke_is_a_swept_disc(page: Any) -> None:
    drawn = _drawn(page, "draw.stroke(mask, height, width, [10, 12], [30, 20], 6, 1)")
    y, x = np.mgrid[:40, :50] + 0.5
    t = np.clip(((x - 10) * 20 + (y - 12) * 8) / (20**2 + 8**2), 0, 1)
    expected = (x - 10 - t * 20) ** 2 + (y - 12 - t * 8) ** 2 <= 36
    assert (drawn == expected).all()
    dot = _drawn(page, "draw.stroke(mask, height, width, [10.2, 12.7], [10.2, 12.7], 0.5, 1)")
    assert dot.sum() == 1 and dot[12, 10] == 1
    outside = _drawn(page, "draw.stroke(mask, height, width, [-90, 5], [-80, 5], 4, 1)")
    assert outside.sum() == 0


def test_polygon_box_and_fill(page: Any) -> None:
    box = _drawn(page, "draw.box(mask, height, width, [30, 8], [10, 20], 1)")
    assert box[8:20, 10:30].all() and box.sum() == 12 * 20
    clipped = _drawn(page, "draw.polygon(mask, height, width, [[-20, -20], [200, -20], [200, 200], [-20, 200]], 1)")
    assert clipped.all()
    star = _drawn(page, "draw.polygon(mask, height, width, [[5, 5], [45, 5], [5, 35], [45, 35]], 1)")
    assert star[6, 25] and not star[20, 6] and not star[20, 44]
    ring = "draw.box(mask, height, width, [5, 5], [30, 30], 1); draw.box(mask, height, width, [10, 10], [20, 20], 0);"
    filled = _drawn(page, f"{ring} draw.fill(mask, height, width, 15, 15, 1)")
    assert filled[5:30, 5:30].all() and filled.sum() == 25 * 25
    emptied = _drawn(page, f"{ring} draw.fill(mask, height, width, 6, 6, 0)")
    assert emptied.sum() == 0
    tooth = "draw.box(mask, height, width, [x, x % 4 ? 0 : 1], [x + 1, x % 4 ? 39 : 40], 1);"
    comb = f"for (let x = 0; x < 50; x += 2) {tooth}"
    assert _drawn(page, f"{comb} draw.fill(mask, height, width, 1, 20, 1)").all()  # one winding region


def test_rings_inside_rings_are_holes(page: Any) -> None:
    counts = page.evaluate(
        """async () => {
          const { runsOfRings } = await import("/web/mask.js");
          const { countsOfRuns } = await import("/web/rle.js");
          return countsOfRuns(runsOfRings([[2, 2, 12, 2, 12, 12, 2, 12], [4, 4, 8, 4, 8, 8, 4, 8]], 20, 20));
        }"""
    )
    mask = decode_rle({"size": [20, 20], "counts": counts})
    expected = np.zeros((20, 20), np.uint8)
    expected[2:12, 2:12] = 1
    expected[4:8, 4:8] = 0
    assert (mask == expected.astype(bool)).all()


def test_a_folder_is_packed_as_a_zip_that_python_opens(page: Any) -> None:
    packed = page.evaluate(
        """async () => {
          const { zip } = await import("/web/zip.js");
          const big = new Blob([new Uint8Array(70000)]);
          const blob = await zip([{ name: "00000.jpg", file: new Blob(["frame"]) }, { name: "ä/1.png", file: big }]);
          let text = ""; for (const byte of new Uint8Array(await blob.arrayBuffer())) text += String.fromCharCode(byte);
          return btoa(text);
        }"""
    )
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(packed))) as archive:
        assert archive.testzip() is None and archive.namelist() == ["00000.jpg", "ä/1.png"]
        assert archive.read("00000.jpg") == b"frame" and archive.read("ä/1.png") == bytes(70000)


def test_decoded_frames_stay_within_a_budget_and_come_early(page: Any) -> None:
    seen = page.evaluate(
        """async () => {
          const { FrameCache } = await import("/web/frames.js");
          const canvas = new OffscreenCanvas(854, 480);
          canvas.getContext("2d").fillRect(0, 0, 1, 1);
          const blob = await canvas.convertToBlob({ type: "image/jpeg" });
          const asked = [];
          const cache = new FrameCache(400, async (i) => { asked.push(i); return blob; });
          await cache.get(100);
          cache.prefetch(100, 1);
          while (cache.pending.size) await new Promise((r) => setTimeout(r, 5));
          const ahead = asked.slice(1, 4);
          const has = [101, 124, 99, 92].map((i) => cache.has(i));
          for (let i = 0; i < 300; i++) await cache.get(i);
          const most = cache.bytes;
          const start = performance.now();
          for (let i = 299; i > 199; i--) cache.peek(i).width;
          const spent = performance.now() - start;
          cache.close();
          return { ahead, has, most, spent };
        }"""
    )
    assert seen["ahead"] == [101, 102, 103] and all(seen["has"])
    assert seen["most"] <= 320 * 2**20 and seen["spent"] < 50


# Rules for the sources ------------------------------------------------------------------------------------------------


def test_text_is_never_parsed_as_html_and_nothing_comes_from_elsewhere() -> None:
    sources = {path.name: path.read_text(encoding="utf-8") for path in WEB.iterdir()}
    assert "index.html" in sources and "style.css" in sources
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\(|new Function|srcdoc"
    )
    for name, text in sources.items():
        assert not forbidden.search(text), name
        addresses = set(re.findall(r"https?://[^\s\"'`)]+", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}, (name, addresses)
    assert not re.search(r"<script(?![^>]*src=)|style=|\son\w+=", sources["index.html"])


def test_what_a_module_imports_another_exports() -> None:
    sources = {path.name: path.read_text(encoding="utf-8") for path in WEB.glob("*.js")}
    exports = {
        name: set(re.findall(r"^export (?:async )?(?:function|const|class) (\w+)", text, re.M))
        for name, text in sources.items()
    }
    for name, text in sources.items():
        for names, other in re.findall(r'import \{([^}]+)\} from "\./([^"]+)"', text):
            missing = {n.strip() for n in names.split(",")} - exports[other]
            assert not missing, (name, other, missing)
            unused = [n.strip() for n in names.split(",") if len(re.findall(rf"\b{n.strip()}\b", text)) < 2]
            assert not unused, (name, unused)


ANSWERED = """async ([answers, code]) => {
  const real = window.fetch;
  window.fetch = async () => {
    const answer = answers.shift();
    const broken = () => new ReadableStream({ start: (stream) => stream.error(new TypeError("gone")) });
    return new Response(answer === null ? broken() : JSON.stringify(answer));
  };
  const [api, { Clip }] = await Promise.all([import("/web/api.js"), import("/web/clip.js")]);
  try {
    return await new Function("api", "clip", `return (async () => { ${code} })()`)(api, new Clip(1));
  } finally {
    window.fetch = real;
  }
}"""


def _clip_answer(seq: int, *sentences: dict[str, Any]) -> dict[str, Any]:
    size = {"height": 4, "width": 5, "n_frames": 2}
    return {"seq": seq, "clip": size, "objects": [], "expressions": list(sentences)}


def test_a_clip_that_was_read_before_a_change_was_written_is_read_again(page: Any) -> None:
    """Else the page would lose its own sentence: no event tells a page of what it did itself."""
    answers = [_clip_answer(4), _clip_answer(5, {"id": "1", "text": "said"})]
    code = "clip.did({ seq: 5 }); await clip.reload(); return [...clip.expressions.keys()];"
    assert page.evaluate(ANSWERED, [answers, code]) == ["1"]


def test_what_is_on_its_way_shows_after_the_clip_is_read(page: Any) -> None:
    code = """
      clip.queue.push({ ops: [{ op: "expression.set", expression: "1", state: "ready" }] });
      await clip.reload();
      return clip.expressions.get("1").state;
    """
    answers = [_clip_answer(4, {"id": "1", "state": "draft"})]
    assert page.evaluate(ANSWERED, [answers, code]) == "ready"


def test_a_change_whose_answer_breaks_off_is_sent_again(page: Any) -> None:
    code = """
      await clip.reload();
      const answer = await clip.change("new sentence", [{ op: "expression.new", temp: "$new", text: "said" }]);
      return [answer.seq, clip.queue.length, clip.failures];
    """
    answers = [_clip_answer(4), None, {"seq": 5, "ids": {"$new": "1"}, "masks": {}}]
    assert page.evaluate(ANSWERED, [answers, code]) == [5, 0, 0]
