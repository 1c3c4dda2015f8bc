"""The benchmark: twins, splits, balance, frozen hashes. About 40 s; the long tests take minutes."""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from rvos.datasets.errors import UnknownNameError, UsageError
from rvos.datasets.reasonshapes import SPLITS, VERSION, GeneratedVideo, make_videos
from rvos.datasets.reasonshapes.benchmark import FIRST_YEAR, PERIOD
from rvos.datasets.reasonshapes.facts import Facts, Measurements
from rvos.datasets.reasonshapes.frozen import frozen, large_digests, split_digests
from rvos.datasets.reasonshapes.generate import GeneratedSample
from rvos.datasets.reasonshapes.language import DOES, QUESTIONS, RANKS, REQUESTS
from rvos.datasets.reasonshapes.programs import UNSEEN_USES, Both, Undecided, chain, execute, from_json, show, to_json
from rvos.datasets.reasonshapes.render import NEW_PATTERNS, Renderer
from rvos.datasets.reasonshapes.scene import Scene
from rvos.datasets.reasonshapes.twins import FAMILIES, HELD_OUT, THEMES, make_quartet, partner

N_SAMPLES = int(os.environ.get("RVOS_REASONSHAPES_SAMPLES", "100000"))
"""How many samples the long test of programs executes."""


@pytest.fixture(scope="module")
def videos() -> list[GeneratedVideo]:
    return list(make_videos("test", 6 * PERIOD))


def ordered(videos: list[GeneratedVideo]) -> Iterator[tuple[GeneratedVideo, GeneratedSample]]:
    return ((v, s) for v in videos for s in v.samples if s.tags["about_order"])


# Twins ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("twin", ["reversed", "swapped", "minimal"])
def test_twins_share_the_sentence_or_the_video_and_differ_in_the_answer(videos, twin: str) -> None:
    pairs = defaultdict(list)
    for video, sample in ordered(videos):
        if f"twin_{twin}" in sample.tags:
            pairs[sample.tags[f"twin_{twin}"]].append((video, sample))
    assert len(pairs) > 60
    for (video, one), (other_video, other) in pairs.values():
        assert one.object_ids != other.object_ids
        if twin == "minimal":
            assert video is other_video and partner(one.program) == other.program and one.text != other.text
        else:
            assert one.text == other.text and one.program == other.program and video.id != other_video.id


def test_every_sentence_about_order_has_a_reversed_twin_and_a_minimal_pair(videos) -> None:
    found = list(ordered(videos))
    assert len(found) > 150
    assert all({"twin_reversed", "twin_minimal"} <= set(s.tags) for _, s in found)
    assert all(s.tags["about_order"] for v in videos for s in v.samples if s.kind == "temporal")


def test_reversed_twins_show_the_same_frames_backwards_and_swapped_ones_begin_and_end_alike(videos) -> None:
    by_id = {v.id: v for v in videos}
    for video in videos[:: PERIOD // 2]:
        assert video.id.endswith("a")
        stem = video.id.removesuffix("a")
        frames = {view: [f.rgb.tobytes() for f in by_id[stem + view].frames()] for view in "arst"}
        assert frames["r"] == frames["a"][::-1] and frames["t"] == frames["s"][::-1]
        assert frames["a"] != frames["s"]
        assert frames["a"][0] == frames["s"][0]
        if video.samples[0].tags["theme"] != "strike":
            assert frames["a"][-1] == frames["s"][-1]


def test_every_theme_and_family_can_be_made() -> None:
    made = Counter()
    for seed in range(30):
        family = FAMILIES[seed % 2]
        quartet = make_quartet(
            seed, family, height=96, width=128, n_frames=16, patterns=("clouds",), keep=lambda program: True
        )
        made[quartet.theme] += 1
        assert len(quartet.pairs) == 2 and quartet.family == family
    assert set(made) == set(THEMES)


def test_the_words_do_not_tell_whether_there_is_a_target(videos) -> None:
    """Every sentence without a target has a twin in its video, one word apart, that has one."""
    pairs = defaultdict(list)
    for video in videos:
        for sample in video.samples:
            if str(sample.tags.get("twin_minimal", "")).endswith("absence"):
                pairs[sample.tags["twin_minimal"]].append(sample)
    empty = [s for v in videos for s in v.samples if not s.object_ids]
    assert len(pairs) == len(empty) > 10
    for one, other in pairs.values():
        words, others = one.text.split(), other.text.split()
        assert sum(a != b for a, b in zip(words, others, strict=True)) == 1
        assert sorted(len(s.object_ids) for s in (one, other)) == [0, 1]
        assert one.tags["phrasing"] == other.tags["phrasing"]


def test_the_temporal_families_are_balanced(videos) -> None:
    families = Counter(s.tags["family"] for _, s in ordered(videos))
    assert families["appearance-unique"] == families["look-alike"]


# Ground truth --------------------------------------------------------------------------------------------------------


def check_written_truth(video: GeneratedVideo) -> int:
    """Executes every program of a video as it is written, on the scene graph as it is written; how many they are."""
    scene = Scene.from_graph(json.loads(json.dumps(video.scene.graph())))
    facts = Facts(Measurements(scene))
    for sample in video.samples:
        program = from_json(json.loads(json.dumps(to_json(sample.program))))
        assert execute(program, facts) == set(sample.object_ids), (video.id, show(program))
        assert (sample.kind == "no-target") == (not sample.object_ids)
    return len(video.samples)


def test_programs_on_scene_graphs_give_the_written_truth(videos) -> None:
    assert sum(check_written_truth(video) for video in videos) > 350


def test_masks_are_the_visible_pixels_of_the_scene_graph_at_two_sizes(videos) -> None:
    for video in videos[::9]:
        for height in (96, 240):
            renderer = Renderer(Scene.from_graph(video.scene.graph()), height)
            for t in range(0, video.n_frames, 5):
                labels = np.zeros((renderer.height, renderer.width), np.uint8)
                for thing in sorted(video.things, key=lambda thing: thing.depth):
                    labels[renderer.amodal(thing.id, t)] = thing.id
                assert np.array_equal(renderer.frame(t).labels, labels)
        for sample in video.samples:
            assert np.array_equal(video.mask(sample, 3), np.isin(video.renderer.labels(3), sample.object_ids))


def check_chunk(task: tuple[str, int, int, int]) -> int:
    split, first, count, seed = task
    return sum(check_written_truth(v) for v in make_videos(split, count, first=first, seed=seed))


@pytest.mark.long
def test_written_truth_of_a_hundred_thousand_samples() -> None:
    """All splits and the fresh set of a year, in turn, until there are ``N_SAMPLES``."""
    tasks = [
        (split, first, PERIOD, seed)
        for first in range(0, 60 * PERIOD, PERIOD)
        for seed in (0, *range(FIRST_YEAR, FIRST_YEAR + 60))
        for split in ("train", "test", "test-combinations", "test-phrasings", "test-distractors", "test-textures")
    ]
    n = 0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for begin in range(0, len(tasks), 64):
            n += sum(pool.map(check_chunk, tasks[begin : begin + 64]))
            if n >= N_SAMPLES:
                break
    assert n >= N_SAMPLES


# Splits --------------------------------------------------------------------------------------------------------------


def test_a_video_does_not_depend_on_how_many_are_made(videos) -> None:
    for number in (2, 5, 9):
        assert next(make_videos("test", 1, first=number)) == videos[number]
    assert [v.id for v in make_videos("test", 5, first=3)] == [v.id for v in videos[3:8]]


def test_splits_and_years_share_no_scene() -> None:
    seeds = [v.scene.seed for split in SPLITS for seed in (0, FIRST_YEAR) for v in make_videos(split, 1, seed=seed)]
    assert len(set(seeds)) == len(seeds)
    assert next(make_videos("test", 1, seed=FIRST_YEAR)).id == "test-2027-000000a"


def acting(video: GeneratedVideo) -> set[tuple[str, str]]:
    """(what it does, colour) of everything that acts."""
    facts = Facts(Measurements(video.scene))
    themes = {"start": "stop", "stop": "stop", "enter": "cross", "exit": "cross", "struck": "strike"}
    return {
        (themes.get(event, event), video.scene.thing(i).colour)
        for i in facts.present
        for event in ("start", "stop", "enter", "exit", "reverse", "turn", "strike", "struck")
        if getattr(facts.history(i), event) is not None
    }


def test_combinations_are_held_out(videos) -> None:
    rare = {(theme, colour) for theme, colours in HELD_OUT.items() for colour in colours}
    common = set().union(*(acting(v) for v in (*videos, *make_videos("train", 36))))
    assert common and not common & rare
    tested = [v for v in make_videos("test-combinations", 24) if "theme" in v.samples[0].tags]
    for video in tested:
        meant = {video.scene.thing(i).colour for i in video.samples[0].object_ids}
        assert meant <= set(HELD_OUT[str(video.samples[0].tags["theme"])])


def test_phrasings_are_held_out(videos) -> None:
    held_out = {f"question.{len(QUESTIONS) - 1}", f"request.{len(REQUESTS) - 1}", "ranks.2", "does.2"}
    assert len(RANKS["stop"]) == len(DOES["stop"]) == 3
    used = {p for v in videos for s in v.samples for p in str(s.tags["phrasing"]).split()}
    new = {p for v in make_videos("test-phrasings", 36) for s in v.samples for p in str(s.tags["phrasing"]).split()}
    assert held_out <= new and not used & new - {""}


def test_what_each_split_holds(videos) -> None:
    tags = [s.tags for v in videos for s in v.samples]
    assert {t["knowledge"] for t in tags if "knowledge" in t} == {"seen", "unseen"}
    train = [s.tags for v in make_videos("train", 48) for s in v.samples]
    assert {t["knowledge"] for t in train if "knowledge" in t} == {"seen"}
    assert not {t["use"] for t in train if "use" in t} & set(UNSEEN_USES)
    assert max(int(t["depth"]) for t in (*tags, *train)) <= 3
    assert min(int(s.tags["depth"]) for v in make_videos("test-depth", 5) for s in v.samples) >= 4
    assert min(len(v.things) for v in make_videos("test-distractors", 6)) >= 5
    assert {v.n_frames for v in make_videos("test-long", 5)} == {48}
    assert {v.scene.background.pattern for v in make_videos("test-textures", 8)} <= set(NEW_PATTERNS)


def test_two_clauses_are_joined_and_both_are_needed() -> None:
    texts = [
        (v, s)
        for v in (v for n in (4, 5, 10, 11, 16, 17, 22, 23) for v in make_videos("test-depth", 1, first=n))
        for s in v.samples
        if sum(step.kind in ("motion", "spatial") for step in chain(s.program)) == 2
    ]
    assert texts and all(" and " in s.text or s.text.startswith("Which") or "Which" in s.text for _, s in texts)
    for video, sample in texts:
        facts = Facts(Measurements(video.scene))
        last = chain(sample.program)[-1]
        assert not isinstance(last, Both)
        try:
            assert execute(last.of, facts) != set(sample.object_ids)
        except Undecided:
            pytest.fail("the first clause alone must be decided")


def test_the_camera_shakes_in_some_scenes_and_moves_all_pixels_alike(videos) -> None:
    shaken = [v for v in videos if v.scene.camera]
    assert 0 < len(shaken) < len(videos) / 2
    renderer = shaken[0].renderer
    offsets = np.array(shaken[0].scene.camera)
    t, u = 0, int(np.argmax(np.abs(offsets - offsets[0]).max(axis=1)))
    assert not np.array_equal(renderer.background(t), renderer.background(u))
    assert renderer.background(t).shape == (96, 128, 3)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(UnknownNameError, match="test-long"):
        next(make_videos("test-lnog", 1))
    with pytest.raises(UsageError, match="at least 10 frames"):
        next(make_videos("test", 1, n_frames=4))
    with pytest.raises(UsageError, match="seeds 0 to 65535"):
        next(make_videos("test", 1, seed=-1))
    with pytest.raises(UsageError, match="No step 'wish'"):
        from_json({"step": "wish"})


# Frozen --------------------------------------------------------------------------------------------------------------


def test_the_frozen_hashes_are_of_this_version_and_of_every_video() -> None:
    assert frozen()["version"] == VERSION
    assert {s: len(d["videos"]) for s, d in frozen()["splits"].items()} == {s: r.n_videos for s, r in SPLITS.items()}


@pytest.mark.parametrize("split", SPLITS)
def test_the_first_videos_are_as_frozen(split: str) -> None:
    n = 1 if split == "test-depth" else 5
    assert split_digests(split, n) == frozen()["splits"][split]["videos"][:n]


def test_the_large_rendering_is_as_frozen() -> None:
    assert large_digests("test") == frozen()["splits"]["test"]["at_480"]


@pytest.mark.long
@pytest.mark.parametrize("split", SPLITS)
def test_all_videos_are_as_frozen(split: str) -> None:
    assert split_digests(split) == frozen()["splits"][split]["videos"]
    assert large_digests(split) == frozen()["splits"][split]["at_480"]
