"""An annotation workbench for tests: a project of generated videos, served by a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rvos.datasets.reasonshapes.generate import generate
from rvos.datasets.reasonshapes.writers import write


def frame_folders(folder: Path, count: int, height: int = 96, width: int = 160, n_frames: int = 10) -> Path:
    """A folder with ``count`` sub-folders of JPEG frames."""
    write("reasonvos", folder, generate("valid", count, height=height, width=width, n_frames=n_frames))
    return folder / "JPEGImages"


def rvos(*arguments: str | Path) -> list[str]:
    """The command line as a process: arguments for subprocess."""
    return [sys.executable, "-c", "import sys; from rvos.cli import main; main(sys.argv[1:])", *map(str, arguments)]


@contextmanager
def served_here(project: Path, **options: Any) -> Iterator[str]:
    """The owner's link of a server in a thread of this process, which starts sooner than ``served``.

    ``options`` are those of ``create_app``.
    """
    import uvicorn

    from rvos.datasets.annotation.people import new_link
    from rvos.datasets.annotation.server import create_app, listen
    from rvos.datasets.annotation.store import OWNER, Store

    store = Store.open(project)
    app = create_app(store, **options)
    listening = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/#token={new_link(store, OWNER)}"
    finally:
        app.state.bench.stopping.set()
        server.should_exit = True
        thread.join(20)


@contextmanager
def served(project: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process of ``rvos annotate serve`` and the owner's link."""
    command = rvos("annotate", "serve", project, "--port", "0", *options)
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        found = re.search(r"http://\S+", server.stdout.readline())
        assert found, "the server printed no link"
        yield server, found[0]
    finally:
        server.terminate()
        server.wait(20)


def watched(page: Any, link: str) -> list[str]:
    """What the page must not do, as it happens: errors, warnings, requests that leave the server."""
    seen: list[str] = []
    origin = link.split("#")[0]
    page.on("console", lambda m: seen.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: seen.append(str(error)))
    page.on("request", lambda r: None if r.url.startswith((origin, "blob:", "data:")) else seen.append(r.url))
    return seen


class Stage:
    """The canvas of the workbench, in coordinates of the video."""

    def __init__(self, page: Any, height: int, width: int) -> None:
        self.page = page
        self.size = (height, width)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where (x, y) of the fitted video is on the screen."""
        height, width = self.size
        box = self.page.locator("canvas.stage").bounding_box()
        scale = 0.985 * min(box["width"] / width, box["height"] / height)
        left = box["x"] + (box["width"] - scale * width) / 2
        top = box["y"] + (box["height"] - scale * height) / 2
        return left + scale * x, top + scale * y

    def click(self, *points: tuple[float, float]) -> None:
        for point in points:
            self.page.mouse.click(*self.at(*point))

    def drag(self, *points: tuple[float, float]) -> None:
        self.page.mouse.move(*self.at(*points[0]))
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*self.at(*point), steps=4)
        self.page.mouse.up()


def saved(page: Any) -> None:
    """Waits until nothing is on its way to the server."""
    page.locator(".saving[data-state=saved]").wait_for()


def call(page: Any, path: str, body: Any = None, method: str = "") -> tuple[int, Any]:
    """A request that the page's session makes: (status, answer). POST where there is a body, else GET."""
    found = page.evaluate(
        """async ([path, body, method]) => {
          const headers = { "X-Rvos": "1", "Content-Type": "application/json" };
          const answer = await fetch(path, { method, headers, body: body === null ? undefined : JSON.stringify(body) });
          const text = await answer.text();
          try { return [answer.status, JSON.parse(text)]; } catch { return [answer.status, text]; }
        }""",
        [path, body, method or ("GET" if body is None else "POST")],
    )
    return int(found[0]), found[1]


def change(page: Any, clip: int, *ops: dict[str, Any]) -> Any:
    """A transaction; it must be accepted."""
    status, answer = call(page, f"/api/clips/{clip}/changes", {"label": "test", "ops": ops, "batch": None})
    assert status == 200, answer
    return answer
