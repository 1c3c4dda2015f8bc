"""The nano models' data, stages and sizes. About 15 seconds."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("accelerate")

from rvos.datasets.errors import UnknownNameError
from rvos.datasets.frames import ArrayFrames
from rvos.datasets.reasonshapes.benchmark import make_videos
from rvos.datasets.types import Video
from rvos.videolisa.losses import IGNORE_INDEX
from rvos.videolisa.nano.language import (
    EVERYTHING,
    GAZE,
    GAZE_HEADS,
    GAZE_LAYERS,
    TRACK_LAYERS,
    LanguageStage,
    VideoLessons,
    draw_sentences,
    packed_mask,
    video_questions,
)
from rvos.videolisa.nano.mirror import mirrored
from rvos.videolisa.nano.models import nano_tokenizer, new_language, new_videolisa
from rvos.videolisa.nano.recipe import SHORT, WHOLE, learn, nano_recipe, save_half, texts
from rvos.videolisa.nano.scenes import EVENTS, MOTIONS, NEVER, SceneVideo, make_scenes, scene_video
from rvos.videolisa.nano.tracks import ASKED, tracks_of
from rvos.videolisa.nano.vision import ClipStage, SamStage, ThingCodes, clip_batch, decode_each, sam_batch
from rvos.videolisa.predictor import VideoLisaPredictor
from rvos.videolisa.prefix import VideoPrefix
from rvos.videolisa.prompts import ANSWER, question, template_for
from rvos.videolisa.sampling import STRATEGIES
from rvos.videolisa.train.engine import Options, Stopped
from rvos.videolisa.train.recipes import train
from rvos.videolisa.train.record import read_log

#: The whole course on two videos.
TINY = replace(WHOLE, videos=2, exams=1)


@pytest.fixture(scope="module")
def scenes() -> list[SceneVideo]:
    return [scene_video("train", video, 6) for video in make_videos("train", 5)]


@pytest.fixture(scope="module")
def nano(scenes: list[SceneVideo], tmp_path_factory: pytest.TempPathFactory) -> Any:
    videolisa = new_videolisa(nano_tokenizer(tmp_path_factory.mktemp("tokenizer"), texts(scenes)), 0)
    videolisa.model.eval()
    return videolisa


def as_video(scene: SceneVideo) -> Video:
    names = tuple(f"{t:05d}" for t in range(len(scene.frames)))
    return Video(scene.id, names, ArrayFrames(names, scene.frames))


# Scenes ---------------------------------------------------------------------------------------------------------------


def test_scenes_keep_to_the_rules_of_train(scenes: list[SceneVideo]) -> None:
    own = [len(v.samples) for v in make_videos("train", 5)]
    assert all(len(scene.sentences) > n for scene, n in zip(scenes, own, strict=True))
    words = " ".join(s.expression.text for scene in scenes for s in scene.sentences)
    for held_out in ("set going only after", "whose motion ends", "retraces", "knocked away", "Could you outline"):
        assert held_out not in words


def test_facts_of_a_scene(scenes: list[SceneVideo]) -> None:
    scene = scenes[0]
    pushed = scene.moments[:, EVENTS.index("struck")] < NEVER
    assert pushed.sum() == 1
    frame = int(scene.moments[pushed, EVENTS.index("struck")][0])
    thing = int(np.flatnonzero(pushed)[0])
    assert scene.motion[thing, frame] == 0 and scene.motion[thing, frame + 1] != 0
    x, y = scene.places[thing, 0]
    inside = scene.labels[0] == thing + 1
    assert np.allclose([np.nonzero(inside)[1].mean() + 0.5, np.nonzero(inside)[0].mean() + 0.5], [128 * x, 96 * y])
    assert set(np.unique(scene.cells(0, 6, 6))) <= set(range(len(scene.looks) + 1))


def test_tracks_are_what_a_thing_has_done_so_far(scenes: list[SceneVideo]) -> None:
    scene, last = scenes[0], len(scenes[0].frames) - 1
    tracks = tracks_of(scene, [0, last], 6)
    shown = scene.cells(last, 6, 6).ravel() > 0
    assert (tracks.motion[:36] == IGNORE_INDEX).all() and (
        tracks.motion[36:] != IGNORE_INDEX
    ).tolist() == shown.tolist()
    struck, now, first = EVENTS.index("struck"), ASKED.index("happened"), ASKED.index("first")
    assert (tracks.events[:36, struck, now] <= 0).all() and (tracks.events[:36, :, first] == IGNORE_INDEX).all()
    assert (tracks.events[36:, struck, first] == 1).any()
    for row in np.flatnonzero(shown):
        thing = int(scene.cells(last, 6, 6).ravel()[row]) - 1
        seen = scene.places[thing][~np.isnan(scene.places[thing, :, 0])]
        way = np.linalg.norm(np.diff(seen, axis=0), axis=1).sum()
        assert np.allclose(tracks.places[36 + row, 2:4], seen[0]) and tracks.places[36 + row, 4] <= way + 1e-6
    assert tracks.places[36:][~torch.from_numpy(shown)].isnan().all()


def test_lower_layers_follow_things_with_and_without_sentences(scenes: list[SceneVideo], nano: Any) -> None:
    lessons = VideoLessons(nano.model, nano.processor, scenes)
    stage, rng = LanguageStage(nano.model, ThingCodes(64)), np.random.default_rng(0)
    blind = lessons.draw(rng, 1, 2, 0, EVERYTHING, shown=False)
    followed = lessons.draw_tracks(rng, 2, blind)
    lesson = lessons.lesson(0, scenes[0].sentences, rng, 0)
    with torch.no_grad():
        assert stage(followed).keys() | {"gaze"} == stage([lesson]).keys()
        rows = torch.cat(
            [nano.model.language_model.model.embed_tokens(lesson.questions.before), stage.video_rows(lesson)]
        )
        whole = nano.model.language_model.model(inputs_embeds=rows[None], output_hidden_states=True)
        asked = stage.ask(stage.video_rows(lesson)[None], [lesson.questions])
    behind = len(lesson.questions.before)
    assert torch.allclose(asked.states[0], whole.hidden_states[TRACK_LAYERS][0, behind:], atol=1e-5)


def test_gaze_is_what_the_layers_attend_to(scenes: list[SceneVideo], nano: Any) -> None:
    lessons = VideoLessons(nano.model, nano.processor, scenes)
    lesson = lessons.lesson(0, scenes[0].sentences[:1], np.random.default_rng(0), 0)
    stage, language = LanguageStage(nano.model, ThingCodes(64)), nano.model.language_model
    before, at = len(lesson.questions.before), int(lesson.questions.prompt_rows[0])
    rows = stage.video_rows(lesson)
    embedded = [language.model.embed_tokens(ids) for ids in (lesson.questions.before, lesson.questions.ids)]
    language.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            whole = language.model(
                inputs_embeds=torch.cat([embedded[0], rows, embedded[1]])[None], output_attentions=True
            )
            found = stage([lesson])["gaze"]
    finally:
        language.set_attn_implementation("sdpa")
    assert lesson.shown is not None
    expected = []
    for attention in whole.attentions[-GAZE_LAYERS:]:
        cells = attention[0, :GAZE_HEADS, before + len(rows) + at, before + len(rows) - len(lesson.shown) :][
            :, : len(lesson.shown)
        ]
        meant = lesson.members[0][(lesson.shown - 1).clamp(min=0)].bool() & (lesson.shown > 0)
        expected.append(-(cells[:, meant].sum(1) / cells.sum(1)).log())
    assert torch.allclose(found, GAZE * torch.stack(expected).mean(), rtol=1e-4)


def test_scenes_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("RVOS_CACHE", str(tmp_path))
    first, second = make_scenes("valid", 1, 2), make_scenes("valid", 1, 2)
    assert capsys.readouterr().err.count("Making 1 scenes") == 1
    for a, b in zip(first, second, strict=True):
        assert a.sentences == b.sentences and np.array_equal(a.frames, b.frames)
        assert np.array_equal(a.places, b.places, equal_nan=True) and np.array_equal(a.moments, b.moments)


def test_a_mirrored_video_is_what_the_generator_would_say_of_it(scenes: list[SceneVideo]) -> None:
    scene = scenes[0]
    other, again = mirrored(scene), mirrored(mirrored(scene))
    assert np.array_equal(again.frames, scene.frames) and np.array_equal(again.motion, scene.motion)
    thing = int(np.flatnonzero(~np.isnan(other.places[:, 3, 0]))[0])
    columns = np.nonzero(other.labels[3] == thing + 1)[1]
    assert np.isclose(columns.mean() + 0.5, 128 * other.places[thing, 3, 0], atol=1e-3)
    kept = []
    for video in map(mirrored, scenes):
        steps = np.diff(video.places[..., 0], axis=1)
        kept += (steps[video.motion[:, 1:] == MOTIONS.index("right")] >= 0).tolist()
        kept += (steps[video.motion[:, 1:] == MOTIONS.index("left")] <= 0).tolist()
    assert len(kept) > 20 and np.mean(kept) > 0.8
    words = " ".join(s.expression.text for v in scenes for s in mirrored(v).sentences)
    assert words and "left" not in words and "right" not in words


# Vision ---------------------------------------------------------------------------------------------------------------


def test_codes_tell_things_and_sets_apart() -> None:
    codes = ThingCodes(64)
    looks = torch.tensor([[0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 3, 0], [0, 0, 1]])
    places = torch.tensor([[0.2, 0.2], [0.7, 0.2], [0.2, 0.2], [0.2, 0.2], [0.2, 0.2]])
    members = torch.cat([torch.eye(5), torch.zeros(1, 5), torch.tensor([[1.0, 0, 1, 0, 0]])])
    found = codes(looks, places, members)
    distances = torch.cdist(found, found) + 100 * torch.eye(7)
    assert found.shape == (7, 64) and distances.min() > 0.5
    assert torch.equal(found, ThingCodes(64)(looks, places, members))


def test_prompts_of_their_own_for_every_frame(nano: Any) -> None:
    features, prompts = torch.randn(2, 64, 16, 16), torch.randn(2, 3, 64)
    with torch.no_grad():
        together = decode_each(nano.model, features, prompts)
        alone = [nano.model.decode_masks(f[None], p)[0] for f, p in zip(features, prompts, strict=True)]
    assert torch.allclose(together, torch.stack(alone), atol=1e-5)


@pytest.mark.parametrize("part", ["sam", "clip"])
def test_a_vision_stage_learns_its_part_alone(part: str, scenes: list[SceneVideo], nano: Any) -> None:
    rng = np.random.default_rng(0)
    if part == "sam":
        stage: Any = SamStage(nano.model, ThingCodes(64))
        learn(stage, "model.sam.", "cells.")
        stage(sam_batch(scenes, nano.processor, 8, rng, 2, 4))["loss"].backward()
    else:
        stage = ClipStage(nano.model)
        learn(stage, "model.vision_tower.", "cells.", "places.")
        stage(clip_batch(scenes, nano.processor, 6, rng, 2))["loss"].backward()
    moved = {n.split(".")[1] for n, p in stage.model.named_parameters(prefix="m") if p.grad is not None}
    nano.model.zero_grad(set_to_none=True)
    assert moved == {"sam" if part == "sam" else "vision_tower"}


# Language -------------------------------------------------------------------------------------------------------------


def test_training_asks_as_the_predictor_does(scenes: list[SceneVideo], nano: Any) -> None:
    scene, rng = scenes[0], np.random.default_rng(0)
    lessons = VideoLessons(nano.model, nano.processor, scenes)
    lesson = lessons.lesson(0, scene.sentences, rng, 0)
    stage = LanguageStage(nano.model, ThingCodes(64))
    sentences = list(scene.sentences)
    with torch.no_grad():
        lesson.questions = _inference_questions(sentences, nano)
        (hidden,) = stage.ask(stage.video_rows(lesson)[None], [lesson.questions]).hidden
        trained = nano.model.prompt_vector(hidden[lesson.questions.prompt_rows])
        asked = [question(s.expression.text, template_for(s.expression)) for s in sentences]
        engine = VideoPrefix(nano, as_video(scene)).prompt_vectors(asked)
    # CLIP's features are kept in half precision while training.
    assert torch.allclose(trained, engine, atol=5e-3)


def _inference_questions(sentences: list[Any], nano: Any) -> Any:
    class Always:
        """Draws the answer of inference every time."""

        def random(self) -> float:
            return 0.0

    packed = video_questions(sentences, nano.processor, nano.model.config.seg_token_id, Always())  # type: ignore[arg-type]
    assert ANSWER == "Sure, [SEG]."
    return packed


def test_a_question_sees_the_video_and_itself() -> None:
    mask = packed_mask(2, torch.tensor([[0, 0, 1]]), torch.tensor([[0, 1, 0]]), torch.float32)[0, 0] == 0
    assert mask.int().tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 1]]


def test_kinds_are_drawn_in_their_shares(scenes: list[SceneVideo]) -> None:
    rng = np.random.default_rng(0)
    drawn = Counter(draw_sentences(scenes[4], 1, EVERYTHING, rng)[0].kind for _ in range(400))
    kinds = {s.kind for s in scenes[4].sentences}
    assert set(drawn) == kinds
    expected = {kind: 400 * EVERYTHING[kind] / sum(EVERYTHING[k] for k in kinds) for kind in kinds}
    assert all(abs(drawn[kind] - expected[kind]) < 5 * expected[kind] ** 0.5 for kind in kinds)
    assert len(draw_sentences(scenes[4], 1000, EVERYTHING, rng)) == len(scenes[4].sentences)
    assert {s.kind for s in draw_sentences(scenes[4], 1000, {"spatial": 1.0}, rng)} == {"spatial"}


def test_words_alone_say_nothing_of_the_video(scenes: list[SceneVideo], nano: Any) -> None:
    lessons = VideoLessons(nano.model, nano.processor, scenes)
    (shown,) = lessons.draw(np.random.default_rng(0), 1, 3, 0, EVERYTHING)
    (blind,) = lessons.draw(np.random.default_rng(0), 1, 3, 0, EVERYTHING, shown=False)
    assert torch.equal(shown.questions.ids, blind.questions.ids) and blind.features is None
    stage = LanguageStage(nano.model, ThingCodes(64))
    assert stage.video_rows(blind).abs().sum() == 0 and stage([blind]).keys() == {"loss", "ce", "selection", "right"}


def test_masks_are_of_the_frames_that_are_decoded(scenes: list[SceneVideo], nano: Any) -> None:
    lessons = VideoLessons(nano.model, nano.processor, scenes)
    (lesson,) = lessons.draw(np.random.default_rng(0), 1, 3, 2, EVERYTHING)
    assert lesson.masks is not None and lesson.masks.shape[:2] == (3, 2)
    losses = LanguageStage(nano.model, ThingCodes(64))([lesson])
    assert {
        "loss",
        "ce",
        "selection",
        "bce",
        "dice",
        "right",
        "gaze",
    } == losses.keys()
    assert all(torch.isfinite(value) for value in losses.values())


# The whole recipe -----------------------------------------------------------------------------------------------------


def test_a_few_steps_lower_the_loss_and_ship_weights(tmp_path: Path) -> None:
    recipe = nano_recipe(tmp_path, course=TINY.scaled(0.01), only=["clip"])
    weights = train(recipe, tmp_path, Options(log_every=1))
    losses = [line["loss"] for line in read_log(tmp_path)]
    assert len(losses) == 15 and np.mean(losses[-3:]) < 0.8 * losses[0]
    shipped = VideoLisaPredictor.from_pretrained(str(weights))
    assert shipped.videolisa.processor.pixels.clip_fit == "stretch"
    card = json.loads((weights / "training-card.json").read_text())
    assert card["preset"] == "nano" and card["data"]["videos"] == 2 and card["stages"]["clip"]["steps"] == 15
    assert (weights / "model.safetensors").stat().st_size < 6e6


def test_the_short_course_asks_for_looks_and_words_alone(tmp_path: Path) -> None:
    recipe = nano_recipe(tmp_path, course=replace(SHORT, videos=2, exams=1))
    assert [stage.name for stage in recipe.stages] == ["sam", "clip", "words", "language", "masks"]
    sam, language = recipe.stages[0], recipe.stages[3]
    assert sam.batch(np.random.default_rng(0)).masks.shape[:2] == (SHORT.frames, SHORT.prompts)
    losses = language.module(language.batch(np.random.default_rng(0)))
    assert losses.keys() == {"loss", "ce", "selection", "right", "gaze"}


@pytest.mark.long
def test_minutes_raise_j_and_f_from_chance(tmp_path: Path) -> None:
    """A quarter of the short course, one to three minutes."""
    train(nano_recipe(tmp_path, course=replace(SHORT.scaled(0.25), videos=60)), tmp_path, Options())
    lines = read_log(tmp_path)
    for stage in ("sam", "clip", "words", "language"):
        losses = [line["loss"] for line in lines if line["stage"] == stage and line["event"] == "step"]
        assert losses[-1] < 0.8 * losses[0], stage
    scores = [line for line in lines if line["event"] == "validation"]
    assert scores[0]["stage"] == "sam" and scores[0]["step"] == 0
    assert scores[-1]["J&F"] > 2 * scores[0]["J&F"]


def test_a_stage_under_all_strategies_is_run_on_request_and_leaves_sparse_dense(tmp_path: Path) -> None:
    names = [stage.name for stage in nano_recipe(tmp_path, course=TINY).stages]
    assert names == ["sam", "clip", "tracks", "words", "language", "masks"]
    stage = nano_recipe(tmp_path, course=TINY.scaled(0.001), only=["strategies"]).stages[0]
    rng, drawn = np.random.default_rng(0), set()
    for _ in range(8):
        assert all(torch.isfinite(value) for value in stage.module(stage.batch(rng)).values())
        drawn.add(stage.module.model.config.temporal_strategy)
    assert len(drawn) > 2 and stage.validate().keys() == set(STRATEGIES)
    assert stage.module.model.config.temporal_strategy == "sparse-dense"
    with pytest.raises(UnknownNameError, match="n-frame"):
        nano_recipe(tmp_path, strategy="n-frames")


def test_a_new_language_model_sees_through_the_images_of_its_base(nano: Any) -> None:
    made = new_language(nano, 1).model.state_dict()
    for key, value in nano.model.state_dict().items():
        taken = key.startswith(("vision_tower.", "sam."))
        assert taken <= torch.equal(made[key], value), key
    drawn = "language_model.model.layers.0.mlp.gate_up_proj.weight"
    assert not torch.equal(made[drawn], nano.model.state_dict()[drawn])
    assert torch.equal(made[drawn], new_language(nano, 1).model.state_dict()[drawn])
    assert not torch.equal(made[drawn], new_language(nano, 2).model.state_dict()[drawn])


@pytest.mark.parametrize("strategy", ["sparse-dense", "slow-fast-pooling"])
def test_a_new_language_model_keeps_the_strategy_and_skips_the_image_stages(
    nano: Any, strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nano.model.config, "temporal_strategy", strategy)
    recipe = nano_recipe(tmp_path, course=TINY, base=new_language(nano, 1), skip=("sam", "clip", "strategies"))
    names = ["words", "language", "masks"]
    assert [stage.name for stage in recipe.stages] == (["tracks", *names] if strategy == "sparse-dense" else names)


def test_half_precision_is_what_was_trained_to_three_digits(nano: Any, tmp_path: Path) -> None:
    save_half(nano, tmp_path)
    again = VideoLisaPredictor.from_pretrained(str(tmp_path)).videolisa.model
    for (name, a), (_, b) in zip(nano.model.named_parameters(), again.named_parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-6), name


@pytest.mark.long
def test_a_recipe_stops_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rvos.videolisa.nano.recipe.VALID_VIDEOS", 1)
    course = replace(TINY, clip=replace(TINY.clip, steps=2), language=replace(TINY.language, steps=2))
    states = []
    for name, limits in (("whole", [None]), ("pieces", [1, 2, None])):
        for limit in limits:
            recipe = nano_recipe(tmp_path / name, course=course, only=["clip", "language"])
            with nullcontext() if limit is None else pytest.raises(Stopped):
                train(recipe, tmp_path / name, Options(limit_steps=limit))
        states.append(recipe.stages[-1].module.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
