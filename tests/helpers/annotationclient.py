"""Small annotation projects, and clients of their servers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

HEIGHT, WIDTH, FRAMES = 48, 64, 6
BASE = "http://127.0.0.1:8765"


def require() -> None:
    """Skip the tests of a module where the workbench's packages are not installed."""
    for package in ("fastapi", "sqlalchemy", "uvicorn"):
        pytest.importorskip(package, reason="the workbench's packages are not installed (pip install 'rvos[annotate]')")


def box(top: int, left: int, height: int = 10, width: int = 10) -> NDArray[np.bool_]:
    """A mask with one rectangle."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top : top + height, left : left + width] = True
    return mask


def counts(mask: NDArray[np.bool_]) -> str:
    """Its RLE as pages send it."""
    from rvos.datasets.masks import encode_rle

    return str(encode_rle(mask)["counts"])


def write_frames(folder: Path, n: int = FRAMES, shift: int = 0) -> None:
    """A red box that goes right and a green one that goes left."""
    folder.mkdir(parents=True)
    for i in range(n):
        image = np.full((HEIGHT, WIDTH, 3), 40 + shift, np.uint8)
        image[box(10, 5 + 3 * i)] = (200, 30, 30)
        image[box(30, 40 - 3 * i)] = (30, 200, 30)
        Image.fromarray(image).save(folder / f"{i:05d}.png")


def make_project(folder: Path, clips: Sequence[str] = ("one", "two"), n: int = FRAMES) -> Any:
    """An open project ``folder/project`` of these clips."""
    from rvos.datasets.annotation.journal import Author
    from rvos.datasets.annotation.store import OWNER, Store
    from rvos.datasets.annotation.videos import add_video, find_videos

    for number, name in enumerate(clips):
        write_frames(folder / "videos" / name, n, number)
    store = Store.create(folder / "project", "demo")
    source = {"licence": "CC0", "consent": "nobody is seen", "may_copy_frames": True}
    for found in find_videos(folder / "videos"):
        add_video(store, found, Author(OWNER), source)
    return store


class Page:
    """One person's browser: a client with their session."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def get(self, path: str, status: int = 200, **options: Any) -> Any:
        return self._checked(self.client.get(path, **options), status)

    def post(self, path: str, body: Any = None, status: int = 200, **options: Any) -> Any:
        return self._checked(self.client.post(path, json=body if body is not None else {}, **options), status)

    def change(self, *ops: Mapping[str, Any], clip: int = 1, status: int = 200, **more: Any) -> Any:
        return self.post(f"/api/clips/{clip}/changes", {"label": "edit", "ops": list(ops), **more}, status)

    def job(self, answer: Mapping[str, Any]) -> Any:
        """The job that was started, when it has ended."""
        job = self.client.app.state.bench.jobs.get(answer["job"]["id"])
        end = time.monotonic() + 120
        while not job.ended and time.monotonic() < end:
            time.sleep(0.01)
        return job

    @staticmethod
    def _checked(answer: Any, status: int) -> Any:
        assert answer.status_code == status, answer.text
        return answer.json() if "json" in answer.headers.get("content-type", "") else answer


@contextmanager
def served(store: Any, **options: Any) -> Iterator[Any]:
    """The running application of a project."""
    from fastapi.testclient import TestClient

    from rvos.datasets.annotation.server import create_app

    app = create_app(store, **options)
    with TestClient(app, base_url=BASE):
        yield app


def endpoints(app: Any) -> Iterator[tuple[str, str, Any]]:
    """(method, path, function) of everything that the application answers to; only plain routes are expected."""

    def plain(routes: Any) -> Iterator[Any]:
        for route in routes:
            included = getattr(route, "original_router", None)  # newer releases of FastAPI keep routers apart
            if included is not None:
                yield from plain(included.routes)
            else:
                yield route

    for route in plain(app.routes):
        assert {"path", "methods", "endpoint"} <= set(dir(route)), f"{route}: a socket or a mount, which nobody decided"
        for method in sorted(route.methods - {"HEAD"}):
            yield method, route.path, route.endpoint


def page(app: Any, name: str = "", role: str = "") -> Page:
    """The browser of the owner, or of somebody who was invited; logged in."""
    from fastapi.testclient import TestClient

    from rvos.datasets.annotation import people
    from rvos.datasets.annotation.store import OWNER

    store = app.state.bench.store
    token = people.invite(store, name, role)[1] if name else people.new_link(store, OWNER)
    client = TestClient(app, base_url=BASE, headers={"X-Rvos": "1"})
    opened = Page(client)
    opened.post("/api/session", {"token": token})
    return opened


def draw_two(owner: Page, clip: int = 1) -> Any:
    """Two objects drawn in every frame and four sentences: each of them, both, none."""
    ops: list[dict[str, Any]] = [
        {"op": "object.new", "temp": "$red", "name": "red box"},
        {"op": "object.new", "temp": "$green", "name": "green box"},
    ]
    for frame in range(FRAMES):
        red, green = counts(box(10, 5 + 3 * frame)), counts(box(30, 40 - 3 * frame))
        ops.append({"op": "mask", "object": "$red", "frame": frame, "counts": red, "base": 0})
        ops.append({"op": "mask", "object": "$green", "frame": frame, "counts": green, "base": 0})
    meant = [("the box that goes right", ["$red"]), ("what moves to the left", ["$green"])]
    meant += [("both boxes", ["$red", "$green"]), ("the cat", [])]
    ops += [{"op": "expression.new", "text": text, "object_ids": ids} for text, ids in meant]
    return owner.change(*ops, clip=clip)
