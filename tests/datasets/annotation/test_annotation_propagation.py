"""Propagators and click segmenters."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import annotationclient
import numpy as np
import pytest

from rvos.datasets.annotation.colourflow import ColourFlow
from rvos.datasets.frames import ArrayFrames
from rvos.datasets.types import Video


def iou(a: Any, b: Any) -> float:
    return 1.0 if not (a | b).any() else float((a & b).sum() / (a | b).sum())


def textured(n: int, step: tuple[int, int], size: tuple[int, int] = (90, 120)) -> tuple[Video, Any]:
    """A disc with a texture of its own that moves over a textured ground; (video, masks)."""
    rng = np.random.default_rng(0)
    ground = rng.integers(60, 120, (*size, 3)).astype(np.uint8)
    skin = np.stack([rng.integers(150, 250, (41, 41)), *rng.integers(40, 110, (2, 41, 41))], axis=2).astype(np.uint8)
    y, x = np.ogrid[-20:21, -20:21]
    disc = y * y + x * x <= 15 * 15
    frames, masks = np.repeat(ground[None], n, 0), np.zeros((n, *size), bool)
    for i in range(n):
        top, left = 20 + step[0] * i, 20 + step[1] * i
        masks[i, top : top + 41, left : left + 41] = disc
        frames[i, top : top + 41, left : left + 41][disc] = skin[disc]
    names = tuple(f"{i:05d}" for i in range(n))
    return Video("disc", names, ArrayFrames(names, frames), declared_size=size), masks


def test_a_textured_object_is_followed_forward_and_backward() -> None:
    video, masks = textured(6, (3, 6))
    following = ColourFlow().start(video, 0, {"disc": masks[0]})
    assert min(iou(following.step(i)["disc"], masks[i]) for i in range(1, 6)) > 0.9
    following = ColourFlow().start(video, 5, {"disc": masks[5]})
    assert min(iou(following.step(i)["disc"], masks[i]) for i in range(4, -1, -1)) > 0.9


def test_what_leaves_the_picture_is_absent() -> None:
    video, masks = textured(3, (0, 6))
    frames = video.frames().copy()
    frames[1:] = np.random.default_rng(1).integers(0, 50, frames[1:].shape)
    gone = Video("gone", video.frame_names, ArrayFrames(video.frame_names, frames), declared_size=video.size)
    following = ColourFlow().start(gone, 0, {"disc": masks[0]})
    following.step(1)
    assert following.step(2)["disc"].mean() < 0.02


def test_it_beats_leaving_the_mask_where_it_was_on_generated_videos() -> None:
    from rvos.datasets.reasonshapes.generate import generate

    found, left = [], []
    for scene in generate("valid", 3, height=96, width=128, n_frames=16):
        rendered = list(scene.frames())
        frames = np.stack([frame.rgb for frame in rendered])
        tracks = {str(thing.id): np.stack([f.labels == thing.id for f in rendered]) for thing in scene.things}
        names = tuple(f"{i:05d}" for i in range(len(frames)))
        video = Video("scene", names, ArrayFrames(names, frames), declared_size=frames.shape[1:3])
        for name, masks in list(tracks.items())[:2]:
            start = int(np.flatnonzero(masks.any(axis=(1, 2)))[0])
            following = ColourFlow().start(video, start, {name: masks[start]})
            for i in range(start + 1, len(frames)):
                found.append(iou(following.step(i)[name], masks[i]))
                left.append(iou(masks[start], masks[i]))
    assert np.mean(found) > np.mean(left) + 0.1, (np.mean(found), np.mean(left))


# In the server -------------------------------------------------------------------------------------------------------


def test_a_job_is_cancelled_and_what_it_wrote_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    annotationclient.require()
    from rvos.datasets.annotation.models import Models

    reached, go_on = threading.Event(), threading.Event()

    class Slow:
        id = name = "slow@1"

        def follow(self, video: Any, way: Any, masks: Any, wanted: Any) -> Any:
            for frame in way[1:]:
                if frame == 2:
                    reached.set()
                    assert go_on.wait(10)
                yield frame, masks

    monkeypatch.setattr(Models, "propagator", lambda self, model: Slow())
    with annotationclient.make_project(tmp_path) as store, annotationclient.served(store) as app:
        owner = annotationclient.page(app)
        drawn = annotationclient.counts(annotationclient.box(10, 5))
        owner.change(
            {"op": "object.new", "temp": "$a"}, {"op": "mask", "object": "$a", "frame": 0, "counts": drawn, "base": 0}
        )
        started = owner.post("/api/clips/1/propagate", {"object_ids": ["1"], "frame": 0, "until": 5}, 202)
        assert reached.wait(10)
        cancelled = owner.client.delete(
            f"/api/jobs/{started['job']['id']}", headers={"content-type": "application/json"}
        )
        assert cancelled.json()["job"]["state"] == "cancelled"
        go_on.set()
        following = owner.post("/api/clips/1/propagate", {"object_ids": ["1"], "frame": 0, "until": 1}, 202)
        assert owner.job(following).state == "done"
        (spans,) = (o["spans"] for o in owner.get("/api/clips/1")["objects"])
        assert spans[-1][1] == 2 and owner.job(started).state == "cancelled"
        assert owner.get("/api/jobs")["jobs"][0]["done"] == 1


def test_sam2_follows_and_takes_clicks_where_weights_are_given(tmp_path: Path) -> None:
    annotationclient.require()
    pytest.importorskip("torch", reason="SAM 2 needs torch (pip install 'rvos[models]')")
    transformers = pytest.importorskip("transformers", reason="SAM 2 needs transformers (pip install 'rvos[models]')")
    if not hasattr(transformers, "Sam2VideoModel"):
        pytest.skip("this transformers has no SAM 2")
    from tinymodels import tiny_sam2_folder

    from rvos.datasets.annotation.models import Models

    weights = tiny_sam2_folder(tmp_path / "tiny-sam2")
    with (
        annotationclient.make_project(tmp_path) as store,
        annotationclient.served(store, models=Models(sam2=str(weights))) as app,
    ):
        owner = annotationclient.page(app)
        clicks = {"frame": 0, "model": "sam2", "points": [{"x": 8, "y": 12}, {"x": 50, "y": 40, "positive": False}]}
        answer = owner.post("/api/clips/1/segment", {**clicks, "box": [2, 2, 30, 30]})
        assert answer["model"] == "sam2:tiny-sam2"
        owner.post("/api/clips/1/segment", {**clicks, "points": []}, 422)
        owner.post("/api/clips/1/segment", {**clicks, "points": [{"x": 800, "y": 12}]}, 422)
        owner.post("/api/clips/1/segment", {**clicks, "model": "sam"}, 422)
        drawn = annotationclient.counts(annotationclient.box(10, 5))
        stroke = {"op": "mask", "object": "$a", "frame": 3, "counts": drawn, "base": 0, "model": answer["model"]}
        owner.change({"op": "object.new", "temp": "$a"}, stroke)
        body = {"object_ids": ["1"], "frame": 3, "until": 1, "model": "sam2"}
        job = owner.job(owner.post("/api/clips/1/propagate", body, 202))
        assert job.state == "done" and job.result == {"written": 2, "kept": 0}, job.message
        spans = owner.get("/api/clips/1")["objects"][0]["spans"]
        assert spans[0][2] == "propagated" and spans[0][6] == "sam2:tiny-sam2" and spans[-1][6] == "sam2:tiny-sam2"


def test_sam_takes_clicks_where_weights_are_given(tmp_path: Path) -> None:
    annotationclient.require()
    pytest.importorskip("torch", reason="SAM needs torch (pip install 'rvos[models]')")
    transformers = pytest.importorskip("transformers", reason="SAM needs transformers (pip install 'rvos[models]')")
    from rvos.datasets.annotation.models import Click, Models

    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 64, "patch_size": 16}
    vision = {**small, "output_channels": 32, "mlp_dim": 32, "window_size": 2, "global_attn_indexes": [0]}
    vision["num_pos_feats"] = 16
    prompt = {"hidden_size": 32, "image_size": 64, "patch_size": 16, "mask_input_channels": 4}
    decoder = {
        "hidden_size": 32,
        "mlp_dim": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 16,
    }
    config = transformers.SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    transformers.SamModel(config).save_pretrained(tmp_path / "sam")
    video, masks = textured(2, (0, 3))
    models = Models(sam=str(tmp_path / "sam"))
    segmenter = models.segmenter("sam")
    on, off = Click(40.0, 40.0), Click(2.0, 2.0, False)
    for clicks, box in (([on, off], None), ([], (20.0, 20.0, 61.0, 61.0)), ([on], (20.0, 20.0, 61.0, 61.0))):
        mask = segmenter.segment(video, 0, clicks, box)
        assert mask.shape == masks[0].shape and mask.dtype == bool
    assert segmenter.id == "sam:sam"
    propagator = models.propagator("sam")
    found = list(propagator.follow(video, [1, 0], {"disc": masks[1]}, lambda: {"disc"}))
    assert [frame for frame, _ in found] == [0] and found[0][1]["disc"].shape == masks[0].shape
    assert propagator.id == "sam-features:sam"


def test_a_language_model_suggests_and_the_job_says_when_it_is_not_there(tmp_path: Path) -> None:
    annotationclient.require()
    import json
    from http.server import BaseHTTPRequestHandler, HTTPServer

    from rvos.datasets.annotation.paraphrases import Paraphraser

    class Model(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            text = asked["messages"][0]["content"]
            lines = '1. The right-going box\n2) "The right-going box"\n- which box <b>goes</b> right?\n'
            content = lines if "the box that goes right" in text else ""
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"choices": [{"message": {"content": content}}]}).encode())

        def log_message(self, *values: Any) -> None:
            """Quiet."""

    with HTTPServer(("127.0.0.1", 0), Model) as model:
        threading.Thread(target=model.serve_forever, daemon=True).start()
        asked = Paraphraser(f"http://127.0.0.1:{model.server_port}/v1", "toy")
        with annotationclient.make_project(tmp_path) as store, annotationclient.served(store, paraphrase=asked) as app:
            owner = annotationclient.page(app)
            annotationclient.draw_two(owner)
            job = owner.job(owner.post("/api/clips/1/paraphrases", {"expression": "1", "count": 3}, 202))
            assert job.result == {"expressions": ["5", "6"]}, job.message
            made = owner.get("/api/clips/1")["expressions"][4:]
            assert [e["text"] for e in made] == ["The right-going box", "which box <b>goes</b> right?"]
            assert {(e["origin"], e["model"], e["accepted_by"]) for e in made} == {("machine", "toy", "")}
            model.shutdown()
            model.server_close()
            job = owner.job(owner.post("/api/clips/1/paraphrases", {"expression": "1"}, 202))
            assert job.state == "failed" and "is the language model running" in job.message
