"""A server that is killed again and again while two people work in two browsers. 50 kills take about 3 minutes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import annotationclient
import pytest
from browser import chromium
from workbench import saved

annotationclient.require()

import sqlalchemy as sa  # noqa: E402
from test_annotation_store import assert_replayed  # noqa: E402

from rvos.datasets.annotation import database as db  # noqa: E402
from rvos.datasets.annotation import journal, people  # noqa: E402
from rvos.datasets.annotation.server import listen  # noqa: E402
from rvos.datasets.annotation.store import Store  # noqa: E402

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9 on Windows"),
]

KILLS, SEED = 50, 9
NAMES = ("Ana", "Ben")
FRAMES = 6

#: Notes what the server acknowledged to the page's own code: a change whose answer was read to its end.
NOTED = """
window.acknowledged = [];
const real = window.fetch;
window.fetch = async (path, options) => {
  const answer = await real(path, options);
  if (options?.method === "POST" && String(path).endsWith("/changes") && answer.ok) {
    const { seq, ids } = await answer.clone().json();
    window.acknowledged.push({ seq, ids, ops: JSON.parse(options.body).ops });
  }
  return answer;
};
"""

#: Somebody who draws strokes and writes sentences without pause, by pointer and keys; waits where the page cannot save.
WORK = """([name, own, seed]) => {
  let state = seed;
  const random = (below) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const rest = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
  const until = async (holds) => {
    work.waits = String(holds);
    while (!holds()) await rest(5);
    return holds();
  };
  const canvas = document.querySelector("canvas.stage");
  canvas.setPointerCapture = () => {};
  const key = (pressed, node = document, more = {}) =>
    node.dispatchEvent(new KeyboardEvent("keydown", { key: pressed, bubbles: true, cancelable: true, ...more }));
  const free = () => !document.querySelector("dialog[open]"); // else keys are for the dialogue
  const connected = () => document.querySelector(".saving").dataset.state !== "failing";
  const work = { going: true, strokes: 0, sentences: [], conflicts: 0 };
  window.work = work;

  const stroke = async () => {
    const number = document.querySelector(".frame-number");
    const frame = 1 + random(6);
    number.value = frame;
    number.dispatchEvent(new Event("change"));
    await until(() => canvas.dataset.frame === String(frame - 1));
    await until(free);
    key(String(random(4) ? own : 3)); // one object is drawn by both
    const box = canvas.getBoundingClientRect();
    const at = () => ({ pointerId: 1, bubbles: true, button: 0, buttons: 1,
      clientX: box.left + box.width * (0.3 + random(1000) / 2500),
      clientY: box.top + box.height * (0.2 + random(1000) / 1700) });
    key("be"[random(2)]);
    canvas.dispatchEvent(new PointerEvent("pointerdown", at()));
    for (let i = 0; i < 4; i++) canvas.dispatchEvent(new PointerEvent("pointermove", at()));
    canvas.dispatchEvent(new PointerEvent("pointerup", at()));
    work.strokes += 1;
  };

  const sentence = async () => {
    await until(free);
    key("t");
    const input = await until(() => free() && document.querySelector("[data-id='~'] .sentence-input"));
    const text = `${name} asks for thing ${work.sentences.length + 1}.`;
    work.sentences.push(text);
    input.value = text;
    input.dispatchEvent(new Event("input"));
    key("Enter", input, { ctrlKey: true });
    const cards = () => [...document.querySelectorAll("button.sentence[data-state=ready] .sentence-text")];
    await until(() => cards().some((shown) => shown.textContent === text));
  };

  const decide = () => {
    const mine = [...document.querySelectorAll("dialog button")].find((b) => b.textContent === "Keep mine");
    if (!mine) return;
    work.conflicts += 1;
    mine.click();
  };

  (async () => {
    setInterval(decide, 20);
    while (work.going) {
      await until(() => connected() || !work.going);
      if (!work.going) break;
      await (random(6) ? stroke() : sentence());
      await rest(random(30));
    }
    work.ended = true;
  })();
}"""


@pytest.fixture
def project(tmp_path: Path) -> tuple[Path, list[str]]:
    """A clip with three objects, and the tokens of two authors."""
    with (
        annotationclient.make_project(tmp_path, clips=("one",), n=FRAMES) as store,
        annotationclient.served(store) as app,
    ):
        annotationclient.page(app).change(*[{"op": "object.new"}] * 3)
    with Store.open(tmp_path / "project") as store:
        return store.folder, [people.invite(store, name, "author")[1] for name in NAMES]


def _free_port() -> int:
    with listen("127.0.0.1", 0) as socket:
        return int(socket.getsockname()[1])


def _at_work(browser: Any, origin: str, token: str, who: int, errors: list[str]) -> Any:
    """The page of somebody in a profile of their own, drawing and writing from now on."""
    page = browser.new_context(viewport={"width": 1366, "height": 650}).new_page()
    page.set_default_timeout(120_000)
    page.add_init_script(NOTED)
    page.on("pageerror", lambda error: errors.append(f"{NAMES[who]}: {error} {error.stack}"))
    page.said = []
    page.on("console", lambda message: page.said.append(message.text))  # shown where the page stops working
    page.goto(f"{origin}/#token={token}")
    page.get_by_role("link", name="one").click()
    for frame in range(FRAMES):  # all of the small video is in the page before the first kill
        page.locator("canvas.stage").wait_for()
        page.locator(".frame-number").fill(str(frame + 1))
        page.locator(".frame-number").blur()
        page.locator(f"canvas.stage[data-frame='{frame}']").wait_for()
    page.evaluate(WORK, [NAMES[who], who + 1, SEED + who])
    return page


def _wait(holds: Any, seconds: float, words: Any) -> None:
    """``words`` is called for what to say when it took too long."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, words()
        time.sleep(0.1)


#: What a page shows and waits for.
STATE = """() => ({
  work: window.work,
  acknowledged: window.acknowledged.length,
  saving: document.querySelector(".saving")?.textContent,
  frame: [document.querySelector("canvas.stage")?.dataset.frame, document.querySelector(".frame-number")?.value],
  open: document.querySelector(".sentence.open textarea")?.value ?? null,
  cards: [...document.querySelectorAll("button.sentence")].map((card) => `${card.dataset.state} ${card.textContent}`),
  dialogues: [...document.querySelectorAll("dialog")].map((dialogue) => dialogue.textContent),
  messages: [...document.querySelectorAll("#messages .message")].map((message) => message.textContent),
})"""


def _state(page: Any) -> str:
    return f"the page no longer works: {json.dumps(page.evaluate(STATE), indent=1)}\n" + "\n".join(page.said[-20:])


def _count(page: Any) -> int:
    return int(page.evaluate("window.acknowledged.length"))


#: Forks a server for every line it reads: the program is imported once, not fifty times.
SERVERS = """
import os, signal, sys
import fastapi, sqlalchemy, uvicorn
from rvos.datasets.annotation.server import create_app, listen, serve
from rvos.datasets.annotation.store import Store
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for _ in sys.stdin:
    with listen("127.0.0.1", int(sys.argv[2])) as listening:
        process = os.fork()
        if not process:
            serve(create_app(Store.open(sys.argv[1])), listening)
            os._exit(0)
    print(process, flush=True)
"""


class Servers:
    """Servers of one project on one port, one after the other, each a process of its own."""

    def __init__(self, folder: Path, port: int) -> None:
        command = [sys.executable, "-c", SERVERS, str(folder), str(port)]
        self.forking = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.address = f"http://127.0.0.1:{port}"
        self.running = 0

    def __enter__(self) -> Servers:
        return self

    def start(self) -> None:
        assert self.forking.stdin is not None and self.forking.stdout is not None
        print(file=self.forking.stdin, flush=True)
        self.running = int(self.forking.stdout.readline())

    def kill(self) -> None:
        os.kill(self.running, signal.SIGKILL)
        _wait(self._is_gone, 20, lambda: "the killed server is still there")
        self.running = 0

    def _is_gone(self) -> bool:
        try:
            os.kill(self.running, 0)
        except ProcessLookupError:
            return True
        return False

    def __exit__(self, *_: object) -> None:
        if self.running:
            self.kill()
        self.forking.kill()
        self.forking.communicate()


def _work_and_be_killed(servers: Servers, pages: list[Any], moment: float) -> None:
    """Both pages are at work with the running server when it is killed."""
    for page in pages:
        before = _count(page)
        _wait(lambda page=page, before=before: _count(page) > before, 60, lambda page=page: _state(page))
    time.sleep(moment)
    servers.kill()


def _expect_journaled(store: Store, acknowledged: list[dict[str, Any]]) -> None:
    """Every acknowledged operation is in the record whose number was acknowledged, as it was sent."""
    wanted = {change["seq"] for change in acknowledged}
    columns = db.journal.c
    with store.reading() as connection:
        query = sa.select(columns.seq, columns.content).where(columns.seq >= min(wanted, default=0))
        records = dict(connection.execute(query).all())
    for change in acknowledged:
        written = {(table, key): after for table, key, _, after in journal.entries_of(records[change["seq"]])}
        for op in change["ops"]:
            _expect_written(written, op, change["ids"])


def _expect_written(written: dict[Any, Any], op: dict[str, Any], ids: dict[str, str]) -> None:
    if op["op"] == "mask":
        after = written["mask", (1, op["frame"], op["object"])]
        assert (after and after["counts"]) == op["counts"]
        return
    assert op["op"] in ("expression.new", "expression.set"), op
    after = written["expression", (1, ids[op["temp"]] if "temp" in op else op["expression"])]
    sent = {name: value for name, value in op.items() if name not in ("op", "temp", "expression", "base")}
    assert {name: after[name] for name in sent} == sent


def test_two_browsers_lose_nothing_when_the_server_is_killed_fifty_times(
    project: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, tokens = project
    moments, errors, checked = random.Random(SEED), [], [0, 0]
    began = time.monotonic()
    with chromium() as browser, Store.open(folder) as store, Servers(folder, _free_port()) as servers:
        servers.start()
        pages = [_at_work(browser, servers.address, token, who, errors) for who, token in enumerate(tokens)]
        for _ in range(KILLS):
            _work_and_be_killed(servers, pages, moments.uniform(0, 1.2))
            servers.start()
            for who, page in enumerate(pages):  # what the killed server had acknowledged, now that one runs again
                news = page.evaluate("(from) => window.acknowledged.slice(from)", checked[who])
                _expect_journaled(store, news)
                checked[who] += len(news)
            assert store.integrity_problems() == []
        for page in pages:
            page.evaluate("window.work.going = false")
            _wait(lambda page=page: page.evaluate("Boolean(window.work.ended)"), 60, lambda page=page: _state(page))
            saved(page)
        done = [page.evaluate("window.work") for page in pages]
        acknowledged = [change for page in pages for change in page.evaluate("window.acknowledged")]
    assert errors == [], "\n".join(errors[:3])
    with Store.open(folder) as store:
        assert store.integrity_problems() == []
        _expect_journaled(store, acknowledged)
        assert_replayed(store, tmp_path / "replayed")
        stored = Counter(e["text"] for e in store.expressions(1))
    assert stored == Counter(text for own in done for text in own["sentences"])  # each once, none lost
    strokes = sum(op["op"] == "mask" for change in acknowledged for op in change["ops"])
    conflicts = sum(own["conflicts"] for own in done)
    with capsys.disabled():
        print(f"\n{KILLS} kills, {len(acknowledged)} acknowledged changes: {strokes} masks, {len(stored)} sentences;")
        print(f"{conflicts} conflicts between the two were shown and answered; {time.monotonic() - began:.0f} s")
