"""The workbench's API as a page uses it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import annotationclient
import numpy as np
import pytest
from annotationclient import FRAMES, HEIGHT, WIDTH, Page, box, counts, draw_two, page

from rvos.datasets.masks import decode_rle

annotationclient.require()


def test_from_frames_to_an_export_that_loads(owner: Page, store: Any) -> None:
    done = draw_two(owner)
    assert done["ids"] == {"$red": "1", "$green": "2"} and len(done["expressions"]) == 4
    clip = owner.get("/api/clips/1")
    assert [o["spans"] for o in clip["objects"]] == [[[0, FRAMES - 1, "human", False, True, "owner", ""]]] * 2
    assert [e["object_ids"] for e in clip["expressions"]] == [["1"], ["2"], ["1", "2"], []]
    assert (
        owner.get("/api/clips")["clips"][0] | {"n_objects": 2, "n_masks": 12, "n_expressions": 4}
        == (owner.get("/api/clips")["clips"][0])
    )
    assert owner.get("/api/clips/1/checks")["problems"] is not None
    job = owner.job(owner.post("/api/exports", {"format": "reasonvos"}, 202))
    assert job.state == "done", job.message
    assert (job.result["n_videos"], job.result["n_expressions"]) == (1, 4)
    assert not [p for p in job.result["problems"] if p["severity"] == "error"]
    import rvos

    loaded = rvos.load("reasonvos", job.result["root"])
    sample = next(s for s in loaded if s.expression.text == "the box that goes right")
    truth = loaded.ground_truth(sample)
    assert truth is not None and all(np.array_equal(truth.mask(i), box(10, 5 + 3 * i)) for i in range(FRAMES))
    names = [e["name"] for e in owner.get("/api/exports")["exports"]]
    assert owner.get(f"/api/exports/{names[0]}").content[:2] == b"PK"


def test_two_tabs_do_not_overwrite_each_other(owner: Page, app: Any) -> None:
    draw_two(owner)
    other = page(app)
    seen = owner.get("/api/clips/1/masks?first=0&last=0")["frames"]["0"]["1"]["revision"]
    stroke = {"op": "mask", "object": "1", "frame": 0, "base": seen}
    owner.change({**stroke, "counts": counts(box(0, 0))})
    refused = other.change({**stroke, "counts": counts(box(20, 20))}, status=409)["error"]
    (conflict,) = refused["conflicts"]
    assert conflict["current"]["counts"] == counts(box(0, 0)) and conflict["by"] == "owner"
    assert owner.get("/api/clips/1/masks?first=0&last=0")["frames"]["0"]["1"]["counts"] == counts(box(0, 0))
    other.change({**stroke, "counts": counts(box(20, 20)), "base": conflict["current"]["revision"]})
    # Another frame of the same object, or its name, is no conflict.
    owner.change({"op": "mask", "object": "1", "frame": 1, "counts": "", "base": seen})
    other.change({"op": "object.set", "object": "1", "name": "box", "base": seen})


def test_a_batch_is_done_whole_or_not_at_all(owner: Page, store: Any) -> None:
    before = store.latest()
    refused = owner.change(
        {"op": "object.new", "temp": "$a"},
        {"op": "mask", "object": "$a", "frame": 99, "counts": "", "base": 0},
        status=422,
    )
    assert refused["error"]["op"] == 1 and store.latest() == before and not store.objects(1)
    stale = [{"op": "clip.set", "base": 0, "title": "x"}] * 2
    assert len(owner.change(*stale, status=409)["error"]["conflicts"]) == 2


def test_undo_and_redo_go_across_frames_and_survive_a_restart(owner: Page, app: Any, store: Any) -> None:
    draw_two(owner)
    at = {"base": store.latest()}
    first = {"op": "mask", "object": "1", "frame": 2, "counts": counts(box(0, 0)), **at}
    owner.change(first)
    owner.change({"op": "mask", "object": "1", "frame": 4, "counts": None, **at})
    undone = owner.post("/api/clips/1/undo")
    assert undone["masks"]["4"]["1"]["counts"] == counts(box(10, 17)) and undone["label"] == "edit"
    again = page(app)
    assert again.post("/api/clips/1/undo")["masks"]["2"]["1"]["counts"] == counts(box(10, 11))
    assert again.post("/api/clips/1/redo")["masks"]["2"]["1"]["counts"] == counts(box(0, 0))
    assert owner.get("/api/clips/1")["may_redo"] == "edit"
    owner.change({"op": "object.new"})
    assert owner.post("/api/clips/1/redo", status=409)["error"]["code"] == "nothing-to-redo"


def test_records_of_a_batch_are_undone_together(owner: Page) -> None:
    for frame in range(3):
        ops = [{"op": "object.new"}] if frame == 0 else []
        stroke = {"op": "mask", "object": "1", "frame": frame, "counts": counts(box(frame, 0)), "base": 0}
        owner.change(*ops, stroke, batch="gesture-1")
    assert len(owner.post("/api/clips/1/undo")["undone"]) == 3
    assert owner.get("/api/clips/1")["objects"] == []
    owner.post("/api/clips/1/redo")
    assert owner.get("/api/clips/1")["objects"][0]["spans"][0][:2] == [0, 2]


def test_undo_does_not_take_back_what_others_did_since(owner: Page, app: Any) -> None:
    draw_two(owner)
    ana = page(app, "Ana", "author")
    revision = owner.get("/api/clips/1")["objects"][0]["revision"]
    mine = owner.change({"op": "object.set", "object": "1", "name": "mine", "base": revision})
    ana.change({"op": "object.set", "object": "1", "name": "hers", "base": mine["seq"]})
    assert owner.post("/api/clips/1/undo", status=409)["error"]["conflicts"][0]["by"] == "Ana"
    assert owner.get("/api/clips/1")["objects"][0]["name"] == "hers"


def test_split_merge_and_delete_tracks(owner: Page) -> None:
    draw_two(owner)
    revision = owner.get("/api/clips/1")["objects"][0]["revision"]
    split = owner.change({"op": "object.split", "object": "1", "frame": 3, "base": revision, "temp": "$b"})
    clip = owner.get("/api/clips/1")
    assert [o["spans"][0][:2] for o in clip["objects"]] == [[0, 2], [0, FRAMES - 1], [3, FRAMES - 1]]
    assert clip["expressions"][0]["object_ids"] == ["1", "3"] and split["ids"] == {"$b": "3"}
    refused = owner.change({"op": "object.delete", "object": "3", "base": split["seq"]}, status=409)["error"]
    assert refused["code"] == "in-use" and refused["expressions"] == ["1", "3"]
    merge = {"op": "object.merge", "object": "2", "base": revision, "other": "3", "other_base": split["seq"]}
    owner.change(merge)
    masks = owner.get("/api/clips/1/masks?first=0&last=5")["frames"]
    union = decode_rle({"size": [HEIGHT, WIDTH], "counts": masks["4"]["2"]["counts"]})
    assert np.array_equal(union, box(10, 17) | box(30, 28))
    assert owner.get("/api/clips/1")["expressions"][0]["object_ids"] == ["1", "2"]
    owner.post("/api/clips/1/undo")
    owner.post("/api/clips/1/undo")
    assert [o["spans"][0][:2] for o in owner.get("/api/clips/1")["objects"]] == [[0, FRAMES - 1]] * 2
    owner.change({"op": "object.delete", "object": "1", "base": owner.get("/api/clips/1")["objects"][0]["revision"],
                  "unlink": True})  # fmt: skip
    assert [e["object_ids"] for e in owner.get("/api/clips/1")["expressions"]] == [None, ["2"], ["2"], []]
    assert owner.change({"op": "object.new"})["objects"][0]["id"] not in ("1", "2", "3")


def test_not_annotated_is_not_absent(owner: Page) -> None:
    empty = counts(np.zeros((HEIGHT, WIDTH), bool))
    owner.change(
        {"op": "object.new", "temp": "$a"},
        {"op": "mask", "object": "$a", "frame": 0, "counts": empty, "base": 0},
        {"op": "mask", "object": "$a", "frame": 1, "counts": "", "base": 0},
    )
    assert owner.get("/api/clips/1")["objects"][0]["spans"] == [[0, 1, "human", True, True, "owner", ""]]
    assert set(owner.get("/api/clips/1/masks?first=0&last=5")["frames"]) == {"0", "1"}


def test_propagation_is_a_job_that_one_undo_takes_back(owner: Page) -> None:
    start = {"op": "mask", "object": "$a", "frame": 0, "counts": counts(box(10, 5)), "base": 0}
    keyframe = {"op": "mask", "object": "$a", "frame": 4, "counts": counts(box(0, 0)), "base": 0}
    owner.change({"op": "object.new", "temp": "$a"}, start, keyframe)
    body = {"object_ids": ["1"], "frame": 0, "until": 5}
    job = owner.job(owner.post("/api/clips/1/propagate", body, 202))
    assert job.state == "done" and job.result == {"written": 3, "kept": 0}
    spans = owner.get("/api/clips/1")["objects"][0]["spans"]
    assert [s[:3] for s in spans] == [[0, 0, "human"], [1, 3, "propagated"], [4, 4, "human"]]
    assert spans[1][5:] == ["owner", "colour-flow@1"]
    owner.change({"op": "mask.review", "object": "1", "first": 0, "last": 2, "reviewed": True})
    assert [s[:2] for s in owner.get("/api/clips/1")["objects"][0]["spans"]] == [[0, 0], [1, 2], [3, 3], [4, 4]]
    owner.post("/api/clips/1/undo")
    owner.post("/api/clips/1/undo")
    assert [s[:2] for s in owner.get("/api/clips/1")["objects"][0]["spans"]] == [[0, 0], [4, 4]]
    assert owner.post("/api/clips/1/propagate", {**body, "frame": 2}, 422)["error"]["code"] == "invalid"
    backwards = owner.job(owner.post("/api/clips/1/propagate", {**body, "frame": 4, "until": 0}, 202))
    assert backwards.result == {"written": 3, "kept": 0}


def test_events_tell_what_others_changed(owner: Page, app: Any) -> None:
    since = owner.get("/api/clips/1")["seq"]
    ana = page(app, "Ana", "author")
    ana.client.headers["X-Rvos-Tab"] = "tab-of-ana"
    draw_two(ana)
    found = owner.get(f"/api/events?since={since}&clip=1&wait=1")
    (change,) = found["changes"]
    assert (change["name"], change["tab"]) == ("Ana", "tab-of-ana")
    assert change["touched"]["masks"] == {"1": [0, 1, 2, 3, 4, 5], "2": [0, 1, 2, 3, 4, 5]}
    assert owner.get(f"/api/events?since={found['seq']}&clip=1")["changes"] == []
    assert owner.get("/api/events?since=10000")["reset"] is True
    records = owner.get("/api/clips/1/history")["records"]
    assert [records[0][name] for name in ("name", "kind", "label")] == ["Ana", "edit", "edit"]


def test_masks_come_in_bounded_windows(owner: Page, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from rvos.datasets.annotation import tracks

    draw_two(owner)
    monkeypatch.setattr(tracks, "BYTES_PER_WINDOW", 300)
    first = owner.get("/api/clips/1/masks?first=0&last=5")
    assert first["next"] == first["last"] + 1 == 2 and set(first["frames"]) == {"0", "1"}
    monkeypatch.setattr(tracks, "FRAMES_PER_WINDOW", 3)
    assert owner.get("/api/clips/1/masks?first=4&last=999&objects=2")["frames"].keys() == {"4", "5"}


def test_frames_are_cached_and_thumbnails_made_once(owner: Page, store: Any) -> None:
    answer = owner.get("/api/clips/1/frames/3")
    assert "immutable" in answer.headers["cache-control"] and answer.headers["content-type"] == "image/png"
    etag = {"if-none-match": answer.headers["etag"]}
    assert owner.client.get("/api/clips/1/frames/3", headers=etag).status_code == 304
    small = owner.get("/api/clips/1/frames/3?width=80")
    assert small.content[:2] == b"\xff\xd8"
    assert (store.folder / "cache" / "1" / "80" / "000003.jpg").read_bytes() == small.content
    owner.get("/api/clips/1/frames/3?width=81", 422)
    owner.get("/api/clips/1/frames/6", 404)


def test_machine_made_sentences_wait_for_a_person(owner: Page, app: Any) -> None:
    draw_two(owner)
    body = {"expression": "1", "texts": ["the one moving right", "which box goes right?"]}
    added = owner.post("/api/clips/1/paraphrases", body)["expressions"]
    one, two = (e for e in added if e["origin"] == "machine")
    assert one["accepted_by"] == "" and one["group"] == two["group"] and one["object_ids"] == ["1"]
    accepted = owner.change({"op": "expression.accept", "expression": one["id"], "base": one["revision"]})
    assert accepted["expressions"][0]["accepted_by"] == "owner"
    owner.change({"op": "expression.delete", "expression": two["id"], "base": two["revision"]})
    assert owner.get("/api/clips")["clips"][0]["n_machine"] == 0
    assert owner.post("/api/clips/1/paraphrases", {"expression": "1"}, 422)["error"]["code"] == "invalid"


def test_reviewers_judge_and_a_change_makes_the_verdict_old(owner: Page, app: Any) -> None:
    draw_two(owner)
    rita = page(app, "Rita", "reviewer")
    (item, *_) = rita.get("/api/review")["items"]
    body = {"about": {"kind": "expression", "id": item["expression"]}, "decision": "accepted", "comment": "fine"}
    rita.post("/api/clips/1/verdicts", {**body, "base": 0}, 409)
    verdict = rita.post("/api/clips/1/verdicts", {**body, "base": item["revision"]})["verdict"]
    assert verdict["current"] and verdict["name"] == "Rita"
    assert owner.get("/api/clips")["clips"][0]["n_accepted"] == 1
    owner.change({"op": "expression.set", "expression": "1", "text": "another", "base": item["revision"]})
    assert rita.get("/api/review")["items"][0]["current"] is False
    assert owner.get("/api/clips")["clips"][0]["n_accepted"] == 0
    remark = rita.post("/api/clips/1/comments", {"about": {"kind": "object", "id": "1"}, "text": "loose mask"})
    patch = {"resolved": True, "base": remark["comment"]["revision"]}
    done = owner.client.patch(f"/api/clips/1/comments/{remark['comment']['id']}", json=patch)
    assert done.json()["comment"]["resolved"] is True
    assert owner.client.patch(f"/api/clips/1/comments/{remark['comment']['id']}", json=patch).status_code == 409


def test_a_discussion_stays_with_the_sentence(owner: Page, app: Any, store: Any, tmp_path: Path) -> None:
    """Author, time and text of every remark: journaled, exported, imported, and never told to blind people."""
    from rvos.datasets.annotation import native
    from rvos.datasets.annotation.conversion import write_native
    from rvos.datasets.annotation.journal import Author
    from rvos.datasets.annotation.store import Store

    draw_two(owner)
    ana, rita = page(app, "Ana", "author"), page(app, "Rita", "reviewer")
    about = {"kind": "expression", "id": "1"}
    before = store.latest()
    for person, text in ((rita, "Which <b>box</b>?"), (ana, "the red one"), (owner, "agreed")):
        person.post("/api/clips/1/comments", {"about": about, "text": text})
    thread = owner.get("/api/clips/1")["comments"]
    assert [(c["name"], c["text"], c["about"]) for c in thread] == [
        ("Rita", "Which <b>box</b>?", about),
        ("Ana", "the red one", about),
        ("owner", "agreed", about),
    ]
    assert all(c["at"] and not c["resolved"] for c in thread)
    events = owner.get(f"/api/events?since={before}")["changes"]
    assert [(e["label"], e["name"], e["touched"]["other"]) for e in events] == [
        ("comment", name, True) for name in ("Rita", "Ana", "owner")
    ]
    rita.post("/api/clips/1/comments", {"about": {"kind": "expression", "id": "9"}, "text": "x"}, 404)
    rita.post("/api/clips/1/comments", {"about": about, "text": " "}, 400)
    blind = page(app, "Bo", "blind")
    told = [blind.get("/api/blind/tasks")]
    told += [blind.get(f"/api/blind/tasks/{task['id']}") for task in told[0]["tasks"]]
    assert "red one" not in str(told) and "agreed" not in str(told)
    write_native(store, tmp_path / "native")
    said = native.read(tmp_path / "native").clip("one").comments
    assert [(c.person, c.text, c.at) for c in said] == [(c["person"], c["text"], c["at"]) for c in thread]
    with Store.create(tmp_path / "second") as second:
        from rvos.datasets.annotation.conversion import add_imported
        from rvos.datasets.annotation.importing import import_dataset

        add_imported(second, import_dataset("annotation", tmp_path / "native", limit=1), Author("owner"))
        assert [c["text"] for c in second.comments(1)] == [c["text"] for c in thread]


def test_a_clip_without_images_and_size_holds_sentences_only(owner: Page, store: Any) -> None:
    from rvos.datasets.annotation.journal import Author
    from rvos.datasets.annotation.videos import Incoming, add_clip

    key = add_clip(store, {"id": "bare"}, [Incoming("00000", "", None)], Author("owner"))["key"]
    shown = owner.get(f"/api/clips/{key}")["clip"]
    assert shown["height"] is shown["width"] is shown["frame_width"] is None and shown["frames"] == ["00000"]
    owner.change({"op": "expression.new", "text": "a dog", "object_ids": None}, {"op": "object.new"}, clip=key)
    for drawn in ("", counts(box(0, 0))):
        stroke = {"op": "mask", "object": "1", "frame": 0, "counts": drawn, "base": 0}
        assert "no size is known" in owner.change(stroke, clip=key, status=422)["error"]["message"]
    owner.get(f"/api/clips/{key}/frames/0", 404)
    assert owner.get(f"/api/clips/{key}/masks?first=0&last=0")["frames"] == {}
    owner.get(f"/api/clips/{key}/checks")
    owner.post(f"/api/clips/{key}/segment", {"frame": 0, "model": "sam", "points": []}, 422)
    owner.post(f"/api/clips/{key}/propagate", {"object_ids": ["1"], "frame": 0, "until": 0}, 422)


def test_authors_edit_what_is_assigned_to_them(owner: Page, app: Any) -> None:
    ana = page(app, "Ana", "author")
    ana.change({"op": "object.new"}, clip=2)
    owner.client.put("/api/assignments", json={"person": "ana", "clip": 1, "state": "open"})
    ana.change({"op": "object.new"}, clip=1)
    assert ana.change({"op": "object.new"}, clip=2, status=403)["error"]["code"] == "role"
    assert [c["may_edit"] for c in ana.get("/api/clips")["clips"]] == [True, False]
    assert ana.post("/api/assignments/done", {"clip": 1})["assignments"][0]["state"] == "done"


def test_uploads_that_nobody_works_on_are_removed(owner: Page, tmp_path: Path, store: Any) -> None:
    import os
    import shutil
    import threading

    raw = {"content-type": "application/octet-stream"}
    cache = store.folder / "cache"
    for name, age in (("upload-killed", 10 * 3600), ("upload-now", 60)):
        (cache / name / "contents").mkdir(parents=True)
        os.utime(cache / name, (time.time() - age,) * 2)
    jobs, held = owner.client.app.state.bench.jobs, threading.Event()
    jobs.start("export", None, "owner", lambda progress: {"waited": held.wait(60)})
    packed = shutil.make_archive(str(tmp_path / "three"), "zip", tmp_path / "videos" / "one")
    sent = owner.client.post("/api/clips?name=three&kind=zip", content=Path(packed).read_bytes(), headers=raw).json()
    assert (cache / "upload-now").is_dir() and not (cache / "upload-killed").exists()
    assert len(list(cache.glob("upload-*"))) == 2
    assert owner.client.delete(f"/api/jobs/{sent['job']['id']}").json()["job"]["state"] == "cancelled"
    held.set()
    end = time.monotonic() + 20
    while len(list(cache.glob("upload-*"))) > 1 and time.monotonic() < end:
        time.sleep(0.01)
    assert [path.name for path in cache.glob("upload-*")] == ["upload-now"]
    assert [clip["id"] for clip in store.clips()] == ["one", "two"]


def test_clips_and_datasets_come_in_by_upload(owner: Page, tmp_path: Path, store: Any) -> None:
    import shutil

    raw = {"content-type": "application/octet-stream"}
    packed = shutil.make_archive(str(tmp_path / "three"), "zip", tmp_path / "videos" / "one")
    sent = owner.client.post("/api/clips?name=three&kind=zip", content=Path(packed).read_bytes(), headers=raw)
    assert sent.status_code == 202
    job = owner.job(sent.json())
    assert job.state == "done" and job.result["clips"] == ["three"], job.message
    terms = {"licence": "CC0", "consent": "nobody is seen"}
    revision = store.clip(job.result["keys"][0])["revision"]
    owner.change({"op": "clip.set", "base": revision, "source": terms}, clip=job.result["keys"][0])
    draw_two(owner)
    exported = owner.job(owner.post("/api/exports", {"format": "native"}, 202)).result
    name = exported["download"]
    refused = owner.client.post("/api/imports?format=annotation", content=owner.get(name).content, headers=raw)
    assert "already" in owner.job(refused.json()).message
    assert not list((store.folder / "cache").glob("upload-*"))
    with (
        annotationclient.make_project(tmp_path / "other", clips=("x",)) as other,
        annotationclient.served(other) as app,
    ):
        page_of_other = page(app)
        answer = page_of_other.client.post(
            "/api/imports?format=annotation", content=owner.get(name).content, headers=raw
        )
        job = page_of_other.job(answer.json())
        assert job.state == "done", job.message
        assert page_of_other.get(f"/api/clips/{job.result['keys'][0]}")["expressions"][2]["object_ids"] == ["1", "2"]
