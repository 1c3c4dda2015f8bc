"""What each role can reach. The routes are listed by the application itself, so that a new one is tested too."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import annotationclient
import numpy as np
import pytest
from annotationclient import FRAMES, HEIGHT, WIDTH, Page, box, draw_two, endpoints, page

annotationclient.require()

OPEN_TO_ALL = {("POST", "/api/session"), ("GET", "/"), ("GET", "/web/{path:path}")}
#: what was decided for every route there is: o(wner), a(uthor), r(eviewer), b(lind); a new one fails until it is here
DECIDED = {
    "GET /": "everybody",
    "GET /web/{path:path}": "everybody",
    "POST /api/session": "everybody",
    "GET /api/session": "oarb",
    "DELETE /api/session": "oarb",
    "GET /api/clips": "oar",
    "GET /api/clips/{clip}": "oar",
    "GET /api/clips/{clip}/frames/{number}": "oar",
    "GET /api/clips/{clip}/masks": "oar",
    "GET /api/clips/{clip}/checks": "oar",
    "GET /api/clips/{clip}/history": "oar",
    "GET /api/events": "oar",
    "POST /api/clips/{clip}/changes": "oa",
    "POST /api/clips/{clip}/undo": "oa",
    "POST /api/clips/{clip}/redo": "oa",
    "POST /api/clips/{clip}/verdicts": "or",
    "POST /api/clips/{clip}/comments": "oar",
    "PATCH /api/clips/{clip}/comments/{comment}": "oar",
    "GET /api/review": "oar",
    "GET /api/jobs": "oar",
    "DELETE /api/jobs/{job}": "oa",
    "POST /api/clips/{clip}/propagate": "oa",
    "POST /api/clips/{clip}/segment": "oa",
    "POST /api/clips/{clip}/paraphrases": "oa",
    "POST /api/clips": "o",
    "POST /api/imports": "o",
    "POST /api/exports": "o",
    "GET /api/exports": "o",
    "GET /api/exports/{name}": "o",
    "GET /api/report": "oar",
    "GET /api/people": "o",
    "POST /api/people": "o",
    "POST /api/people/{person}/token": "o",
    "DELETE /api/people/{person}": "o",
    "GET /api/assignments": "o",
    "PUT /api/assignments": "o",
    "POST /api/assignments/done": "ar",
    "GET /api/blind/tasks": "b",
    "GET /api/blind/tasks/{task}": "b",
    "GET /api/blind/tasks/{task}/outlines": "b",
    "GET /api/blind/tasks/{task}/frames/{number}": "b",
    "POST /api/blind/tasks/{task}/choice": "b",
}


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
    found = {f"{m} {path}": "".join(r[0] for r in getattr(e, "roles", ())) for m, path, e in endpoints(app)}
    wanted = {route: "" if who == "everybody" else who for route, who in DECIDED.items()}
    assert {route: sorted(who) for route, who in found.items()} == {route: sorted(who) for route, who in wanted.items()}
    assert {tuple(route.split(" ")) for route, who in DECIDED.items() if who == "everybody"} == OPEN_TO_ALL


def test_every_route_is_described(app: Any) -> None:
    page_of_docs = Path(__file__).resolve().parents[3] / "docs" / "annotate-server.md"
    described = re.sub(r"\{\w+\}", "{}", page_of_docs.read_text(encoding="utf-8"))
    for method, path, _ in endpoints(app):
        short = re.sub(r"\{\w+(:\w+)?\}", "{}", path).removeprefix("/api/clips/{}")
        assert f"{short}`" in described or f"{short}?" in described or f"{short} " in described, f"{method} {path}"


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


def test_nothing_beside_the_routes_tells_the_blind_anything(owner: Page, app: Any, store: Any) -> None:
    """Files of the project and of the page, other methods, sockets, tasks of other people."""
    from rvos.datasets.annotation.security import Door
    from rvos.datasets.annotation.server import WEB

    draw_two(owner)
    owner.post("/api/clips/1/comments", {"about": {"kind": "expression", "id": "1"}, "text": "means the red box"})
    name = owner.job(owner.post("/api/exports", {"format": "native"}, 202)).result["name"]
    owner.get("/api/clips/1/frames/0?width=80")
    bo, eve = page(app, "Bo", "blind"), page(app, "Eve", "blind")
    files = [str(p.relative_to(store.folder)) for p in store.folder.rglob("*") if p.is_file()]
    assert {"project.sqlite", f"exports/{name}", "frames/1/000000.png", "cache/1/80/000000.jpg"} <= set(files)
    for file in [*files, "api/clips/", "api/journal", "api/clips/1/overlay", "api/events/"]:
        for path in (f"/{file}", f"/web/{file}", f"/web/../{file}", f"/web/%2e%2e/{file}", f"/api/exports/{file}"):
            assert bo.client.get(path).status_code in (403, 404), path
    for method, path, _ in endpoints(app):
        if path.startswith("/api/clips"):
            exact = re.sub(r"\{\w+\}", "1", path)
            for other in {"HEAD", "GET", "PUT", "OPTIONS", "DELETE"} - {method}:
                answer = bo.client.request(other, exact, headers={"content-type": "application/json"})
                assert answer.status_code in (403, 404, 405), (other, exact)
                assert "red box" not in answer.text
    for file in (p.relative_to(WEB).as_posix() for p in WEB.rglob("*") if p.is_file()):
        assert bo.get(f"/web/{file}").status_code == 200
        assert bo.client.get(f"/web/{file}").content == (WEB / file).read_bytes()  # the same for everybody
    theirs = eve.get("/api/blind/tasks")["tasks"]
    assert not {t["id"] for t in theirs} & {t["id"] for t in bo.get("/api/blind/tasks")["tasks"]}
    for suffix in ("", "/outlines", "/frames/0"):
        bo.get(f"/api/blind/tasks/{theirs[0]['id']}{suffix}", 404)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    door = Door(None, (), True, app.state.bench.log, lambda: False)
    asyncio.run(door({"type": "websocket", "path": "/api/events"}, None, send))  # type: ignore[arg-type]
    assert sent == [{"type": "websocket.close", "code": 1008}]
    assert "no web sockets" in (store.folder / "refused.log").read_text(encoding="ascii")


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
