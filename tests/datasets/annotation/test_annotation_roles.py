"""What each role can reach. The routes are listed by the application itself, so that a new one is tested too."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import annotationclient
import numpy as np
import pytest
from annotationclient import FRAMES, HEIGHT, WIDTH, Page, box, draw_two, page

annotationclient.require()

OPEN_TO_ALL = {("POST", "/api/session"), ("GET", "/"), ("GET", "/web/{path:path}")}


def endpoints(app: Any) -> Iterator[tuple[str, str, Any]]:
    """(method, path, function) of every route of the application, also of included routers."""
    from rvos.datasets.annotation import routes_clips, routes_jobs, routes_people

    routes = [r for r in app.routes if hasattr(r, "path") and hasattr(r, "methods")]
    for module in (routes_clips, routes_jobs, routes_people):
        routes += module.router.routes
    for route in routes:
        for method in sorted(route.methods - {"HEAD"}):
            yield method, route.path, route.endpoint


def requests_to(app: Any) -> list[tuple[str, str]]:
    """A request to every route that is not the blind's own, with parameters of things that exist."""
    values = {"clip": "1", "number": "0", "comment": "1", "job": "1", "name": "x.zip", "person": "owner"}
    query = "?first=0&last=5&since=0&name=x&kind=zip&format=annotation"
    found = []
    for method, path, endpoint in endpoints(app):
        if "blind" not in getattr(endpoint, "roles", ()) and (method, path) not in OPEN_TO_ALL:
            found.append((method, re.sub(r"\{(\w+)(:\w+)?\}", lambda m: values[m[1]], path) + query))
    return found


def test_every_route_says_who_may_call_it(app: Any) -> None:
    listed = list(endpoints(app))
    assert len(listed) > 30
    for method, path, endpoint in listed:
        assert (method, path) in OPEN_TO_ALL or getattr(endpoint, "roles", ()), f"{method} {path} has no roles"


def test_every_route_is_described(app: Any) -> None:
    page_of_docs = Path(__file__).resolve().parents[3] / "docs" / "annotate-server.md"
    described = re.sub(r"\{\w+\}", "{}", page_of_docs.read_text(encoding="utf-8"))
    for method, path, _ in endpoints(app):
        short = re.sub(r"\{\w+(:\w+)?\}", "{}", path).removeprefix("/api/clips/{}")
        assert f"{short}`" in described or f"{short}?" in described or f"{short} " in described, f"{method} {path}"


def test_routes_of_no_module_are_forgotten(app: Any) -> None:
    """What the application answers to is what the test lists: an included router is one of the three."""
    included = [r for r in app.routes if not hasattr(r, "path") or not hasattr(r, "methods")]
    assert len(included) in (0, 3)


def test_without_a_session_nothing_is_told(app: Any) -> None:
    from fastapi.testclient import TestClient

    stranger = TestClient(app, base_url=annotationclient.BASE, headers={"X-Rvos": "1"})
    for method, path in requests_to(app):
        content_type = "octet-stream" if path.startswith(("/api/clips?", "/api/imports?")) else "json"
        headers = {"content-type": f"application/{content_type}"}
        answer = stranger.request(method, path, content=b"{}" if method != "GET" else None, headers=headers)
        assert answer.status_code == 401, (method, path, answer.text)


def test_the_blind_reach_no_route_but_their_own(owner: Page, app: Any, store: Any) -> None:
    draw_two(owner)
    blind = page(app, "Bo", "blind")
    before = store.latest()
    for method, path in requests_to(app):
        content_type = "octet-stream" if path.startswith(("/api/clips?", "/api/imports?")) else "json"
        for body in (b"{}", _valid_body(path)):
            headers = {"content-type": f"application/{content_type}"}
            answer = blind.client.request(method, path, content=body if method != "GET" else None, headers=headers)
            assert answer.status_code == 403 and answer.json()["error"]["code"] == "role", (method, path, answer.text)
    assert store.latest() == before


def _valid_body(path: str) -> bytes:
    """A body that the route takes, where it takes one that could change or tell something."""
    bodies: dict[str, Any] = {
        "changes": {"label": "x", "ops": [{"op": "object.new"}]},
        "verdicts": {"about": {"kind": "expression", "id": "1"}, "decision": "accepted", "base": 1},
        "comments": {"about": {"kind": "expression", "id": "1"}, "text": "x"},
        "propagate": {"object_ids": ["1"], "frame": 0, "until": 1},
        "segment": {"frame": 0, "model": "sam", "points": []},
        "paraphrases": {"expression": "1", "texts": ["x"]},
        "people": {"name": "Eve", "role": "author"},
        "exports": {"format": "native"},
        "assignments": {"person": "bo", "clip": 1, "state": None},
    }
    return json.dumps(bodies.get(path.partition("?")[0].rsplit("/", 1)[-1], {})).encode()


def test_what_the_blind_are_given_holds_no_answer(owner: Page, app: Any, store: Any) -> None:
    draw_two(owner)
    blind = page(app, "Bo", "blind")
    assert set(blind.get("/api/session")) == {"person", "limits"}
    tasks = blind.get("/api/blind/tasks")["tasks"]
    assert len(tasks) == 4
    names = {}
    for task in tasks:
        told = blind.get(f"/api/blind/tasks/{task['id']}")
        shown = blind.get(f"/api/blind/tasks/{task['id']}/outlines?first=0&last=5")
        assert set(shown["frames"]) == {str(told["frame"])}  # one frame, whatever is asked for
        everything = json.dumps([told, shown])
        for secret in ('"object', '"1"', '"2"', "counts", "red box", "expression", "group", "owner", "one"):
            assert secret not in everything.replace('"one-frame"', ""), (secret, everything)
        choices = [c["choice"] for c in told["candidates"]]
        assert len(choices) == 2 and [c["label"] for c in told["candidates"]] == ["A", "B"]
        names[told["text"]] = choices
    flat = [choice for choices in names.values() for choice in choices]
    assert len(set(flat)) == len(flat), "candidates must not be recognised from one sentence to the next"


def test_the_blind_pick_from_one_frame_then_from_the_video(owner: Page, app: Any, store: Any) -> None:
    draw_two(owner)
    blind = page(app, "Bo", "blind")
    told = next(
        t
        for t in (blind.get(f"/api/blind/tasks/{t['id']}") for t in blind.get("/api/blind/tasks")["tasks"])
        if t["text"] == "the box that goes right"
    )
    url = f"/api/blind/tasks/{told['id']}"
    frame, hidden = told["frame"], (told["frame"] + 1) % FRAMES
    assert told["n_frames"] == 1
    blind.get(f"{url}/frames/{frame}")
    blind.get(f"{url}/frames/{hidden}", 403)
    red = _choice_at(blind, url, frame, box(10, 5 + 3 * frame))
    body = {"stage": "one-frame", "choices": [red], "none": False, "seconds": 2.5}
    blind.post(f"{url}/choice", {**body, "stage": "video"}, 409)
    blind.post(f"{url}/choice", {**body, "choices": ["1"]}, 422)
    blind.post(f"{url}/choice", {**body, "none": True}, 422)
    after = blind.post(f"{url}/choice", body)
    assert after["stage"] == "video" and after["n_frames"] == FRAMES
    blind.get(f"{url}/frames/{hidden}")
    blind.post(f"{url}/choice", body, 409)
    assert blind.post(f"{url}/choice", {**body, "stage": "video"})["stage"] == "done"
    assert [(c["stage"], c["answer"], c["candidates"]) for c in store.choices()] == [
        ("one-frame", ["1"], ["1", "2"]),
        ("video", ["1"], ["1", "2"]),
    ]
    assert blind.get("/api/blind/tasks")["done"] == 1
    # A sentence that was changed is asked again.
    revision = owner.get("/api/clips/1")["expressions"][0]["revision"]
    owner.change({"op": "expression.set", "expression": "1", "text": "the one going right", "base": revision})
    assert blind.get("/api/blind/tasks")["done"] == 0


def test_the_report_says_not_measured_until_people_measured(owner: Page, app: Any) -> None:
    draw_two(owner)
    before = owner.get("/api/report")
    assert before["status"]["clips"][0]["n_asked"] == 4 and "not measured" in json.dumps(before["agreement"])
    blind = page(app, "Bo", "blind")
    for task in blind.get("/api/blind/tasks")["tasks"]:
        told = blind.get(f"/api/blind/tasks/{task['id']}")
        for stage in ("one-frame", "video"):
            body = {"stage": stage, "choices": [told["candidates"][0]["choice"]], "none": False, "seconds": 1}
            blind.post(f"/api/blind/tasks/{task['id']}/choice", body)
    after = owner.get("/api/report")
    assert after["agreement"] != before["agreement"]
    assert next(p for p in after["status"]["people"] if p["id"] == "bo")["n_answers"] == 4


def _choice_at(blind: Page, url: str, frame: int, mask: Any) -> str:
    """The candidate whose outline, filled, is this mask."""
    from PIL import Image, ImageDraw

    outlines = blind.get(f"{url}/outlines?first={frame}&last={frame}")["frames"][str(frame)]
    for choice, polygons in outlines.items():
        image = Image.new("L", (WIDTH, HEIGHT))
        for polygon in polygons:
            corners = list(zip(polygon[::2], polygon[1::2], strict=True))
            ImageDraw.Draw(image).rectangle((*corners_min(corners), *corners_max(corners)), fill=1)
        if np.array_equal(np.asarray(image) > 0, mask):
            return str(choice)
    raise AssertionError("no candidate has this mask")


def corners_min(corners: list[tuple[int, int]]) -> tuple[int, int]:
    return min(x for x, _ in corners), min(y for _, y in corners)


def corners_max(corners: list[tuple[int, int]]) -> tuple[int, int]:
    return max(x for x, _ in corners) - 1, max(y for _, y in corners) - 1


def test_nobody_is_author_and_blind(store: Any) -> None:
    from rvos.datasets.annotation import people
    from rvos.datasets.annotation.refusals import Invalid

    people.invite(store, "Ana", "author")
    with pytest.raises(Invalid, match="cannot be blind"):
        people.invite(store, " ana ", "blind")
    with pytest.raises(Invalid, match="no role"):
        people.invite(store, "Eve", "owner")


def test_links_end_and_tokens_are_not_stored(app: Any, owner: Page, store: Any) -> None:
    ana = page(app, "Ana", "author")
    answer = owner.post("/api/people", {"name": "Ana", "role": "author"})
    assert answer["link"].startswith("http://127.0.0.1:8765/#token=")
    database = (store.folder / "project.sqlite").read_bytes() + (store.folder / "project.sqlite-wal").read_bytes()
    assert answer["token"].encode() not in database
    assert ana.client.cookies and next(iter(ana.client.cookies.values())).encode() not in database
    ana.get("/api/clips")
    bearer = {"authorization": f"Bearer {answer['token']}"}
    ana.client.cookies.clear()
    assert ana.client.get("/api/clips", headers=bearer).status_code == 200
    owner.client.delete("/api/people/ana")
    assert ana.client.get("/api/clips", headers=bearer).status_code == 401
    assert owner.client.delete("/api/people/owner").status_code == 422


@pytest.mark.parametrize("seed", range(3))
def test_outlines_filled_even_odd_give_the_mask_back(seed: int) -> None:
    from rvos.datasets.annotation.outlines import outlines

    mask = np.random.default_rng(seed).random((13, 17)) < (0.5, 0.2, 0.9)[seed]
    assert np.array_equal(_filled(outlines(mask), mask.shape), mask)


def _filled(polygons: list[list[int]], shape: tuple[int, int]) -> Any:
    """Even-odd: a pixel's centre is inside where a ray to the left crosses an odd number of edges."""
    inside = np.zeros(shape, bool)
    for polygon in polygons:
        xs, ys = polygon[::2], polygon[1::2]
        for i in range(len(xs)):
            x0, y0, x1, y1 = xs[i - 1], ys[i - 1], xs[i], ys[i]
            if x0 == x1:
                inside[min(y0, y1) : max(y0, y1), x0:] ^= True
    return inside
