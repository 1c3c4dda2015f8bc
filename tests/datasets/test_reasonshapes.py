"""ReasonShapes: determinism, masks, facts, programs and sentences. About 20 s."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict

import numpy as np
import pytest
from PIL import Image

from rvos.datasets.errors import UnknownNameError, UsageError
from rvos.datasets.reasonshapes import KINDS, generate
from rvos.datasets.reasonshapes.choreography import make_scene
from rvos.datasets.reasonshapes.facts import UNCLEAR, Facts, Measurements, beginnings
from rvos.datasets.reasonshapes.gallery import contact_sheet
from rvos.datasets.reasonshapes.generate import SPLITS, describe
from rvos.datasets.reasonshapes.language import say
from rvos.datasets.reasonshapes.prng import Stream
from rvos.datasets.reasonshapes.programs import (
    Beside,
    Does,
    Everything,
    Heads,
    Outermost,
    Passes,
    Ranks,
    Travels,
    Undecided,
    Usable,
    With,
    chain,
    execute,
    only,
    to_json,
)
from rvos.datasets.reasonshapes.questions import disambiguation_frame, questions
from rvos.datasets.reasonshapes.render import PATTERNS, Renderer
from rvos.datasets.reasonshapes.scene import UNIT, Background, Scene, Thing, Trajectory, Waypoint
from rvos.datasets.reasonshapes.shapes import SILHOUETTES

GOLDEN = {
    (0, 64, 64, 16, 64): "0e8eaf8751bcafded24d7402ed863f725e7fd33fce40e61e05e2825a9a170a10",
    (1, 96, 96, 16, 96): "b5893378744b6592963a10bc797c5a0cbacd5430a87507387ebf2c09b89fabd4",
    (12345, 480, 854, 4, 480): "cb2fc84e33d2dd7834c24486eca14049b3a3f432065130e77088c07035c02396",
    ((1 << 41) + 7, 64, 114, 30, 128): "b013b1b00b0dfee6fafa17c9fb3b9efe0b9a5085b38fc67c0dded774267fd91d",
}
"""SHA-256 of RGB and labels of all frames by (seed, nominal height, nominal width, frames, rendered height)."""

BACKDROP = Background("clouds", (90, 90, 90), (130, 130, 130), UNIT // 4, 1)


@pytest.fixture(scope="module")
def videos():
    return list(generate("valid", 300, kinds=KINDS))


def scene_of(*trajectories: Trajectory, n_frames: int = 16, looks=None) -> Scene:
    looks = looks or [("small", "red", "circle")] * len(trajectories)
    things = tuple(
        Thing(k, shape, colour, size, k, way)
        for k, (way, (size, colour, shape)) in enumerate(zip(trajectories, looks, strict=True), start=1)
    )
    return Scene(0, 64, 64, n_frames, BACKDROP, things)


def way(*points: tuple[int, int, int]) -> Trajectory:
    """Waypoints as (frame, x, y) in 64ths of the frame's height."""
    return Trajectory(tuple(Waypoint(t, x * UNIT // 64, y * UNIT // 64) for t, x, y in points))


def facts_of(*trajectories: Trajectory, **kwargs) -> Facts:
    return Facts(Measurements(scene_of(*trajectories, **kwargs)))


# Determinism ---------------------------------------------------------------------------------------------------------


def test_stream_is_splitmix64():
    # First outputs of the reference implementation for seed 1234567.
    stream = Stream(1234567)
    assert [stream.draw() for _ in range(3)] == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize("key", GOLDEN, ids=str)
def test_rendered_bytes_are_the_same_everywhere(key):
    seed, height, width, n_frames, rendered = key
    assert Renderer(make_scene(seed, height, width, n_frames), rendered).sha256() == GOLDEN[key]


def test_every_silhouette_and_pattern_is_the_same_everywhere():
    things = tuple(
        Thing(k, shape, "orange", "large", k, Trajectory.resting(k * UNIT // 4, UNIT // 2))
        for k, shape in enumerate(SILHOUETTES, start=1)
    )
    digests = []
    for pattern in PATTERNS:
        background = Background(pattern, (80, 90, 100), (140, 130, 120), 700, 99)
        digests.append(Renderer(Scene(0, 64, 270, 1, background, things)).sha256()[:16])
    assert digests == ["14c05a6664005ec5", "707e13db1abffeba", "2bbe8d0212c0c779", "846ddc41c7163714"]


def test_sentences_are_the_same_everywhere(videos):
    text = "\n".join(f"{v.id} {s.object_ids} {s.text} {s.tags['unambiguous_from']}" for v in videos for s in v.samples)
    assert (
        hashlib.sha256(text.encode()).hexdigest() == "773aeeaad667297b82df73fca6bf19b0ee9a930f117bfeb6278b06ba2b5679cc"
    )


def test_a_video_does_not_depend_on_how_many_are_made():
    alone = next(generate("train", 1, first=7))
    among = list(generate("train", 8))[7]
    assert alone == among


def test_splits_and_seeds_never_share_a_scene():
    seeds = [v.scene.seed for split in SPLITS for seed in (0, 1) for v in generate(split, 3, seed, n_sentences=0)]
    assert len(set(seeds)) == len(seeds)


def test_one_scene_at_every_size():
    nano, large = make_scene(5, 64, 64), make_scene(5, 480, 480)
    assert nano.things == large.things
    small, big = Renderer(nano).labels(8), Renderer(nano, 480).labels(8)
    assert Renderer(large).labels(8).tobytes() == big.tobytes()
    for thing in nano.things:
        assert abs((small == thing.id).mean() - (big == thing.id).mean()) < 0.01


def test_a_reversed_scene_has_the_same_frames_backwards():
    for seed in range(20):
        scene = make_scene(seed)
        forward = [f.rgb.tobytes() for f in Renderer(scene).frames()]
        backward = [f.rgb.tobytes() for f in Renderer(scene.reversed()).frames()]
        assert backward == forward[::-1]
        assert scene.reversed().reversed().positions.tobytes() == scene.positions.tobytes()


# Masks ---------------------------------------------------------------------------------------------------------------


def test_a_pixel_shows_the_nearest_thing_that_covers_it(videos):
    for video in videos[:25]:
        for t in (0, video.n_frames // 2, video.n_frames - 1):
            labels = np.zeros((video.height, video.width), np.uint8)
            for thing in sorted(video.things, key=lambda thing: thing.depth):
                labels[video.renderer.amodal(thing.id, t)] = thing.id
            frame = video.renderer.frame(t)
            assert np.array_equal(frame.labels, labels)
            assert np.array_equal(video.renderer.labels(t), labels)
            visible = np.stack([frame.visible(thing.id) for thing in video.things])
            assert visible.sum(axis=0).max() <= 1
            background = frame.labels == 0
            assert np.array_equal(frame.rgb[background], video.renderer.backdrop[background])


def test_a_mask_is_the_union_of_its_targets(videos):
    video, sample = next((v, s) for v in videos for s in v.samples if len(s.object_ids) > 1)
    frame = video.renderer.frame(0)
    union = np.logical_or.reduce([frame.visible(i) for i in sample.object_ids])
    assert np.array_equal(video.mask(sample, 0), union)


# Facts on scenes whose truth is plain --------------------------------------------------------------------------------


def test_histories_of_plain_ways():
    facts = facts_of(
        way((0, 10, 10)),
        way((0, 10, 20), (5, 10, 20), (15, 50, 20)),
        way((0, 10, 30), (7, 50, 30)),
        way((0, -20, 40), (4, -20, 40), (15, 40, 40)),
        way((0, 30, 50), (8, 90, 50)),
        way((0, 10, 57), (9, 50, 57), (15, 20, 57)),
        way((0, 50, 10), (6, 30, 10), (15, 30, 40)),
    )
    still, start, stop, enters, exits, reverse, turn = (facts.history(i) for i in range(1, 8))
    assert still.still is True and still.heading is None and still.travel == 0
    assert start.start == 5 and start.stop is None and start.heading == "right" and not start.moves_at_once
    assert stop.stop == 7 and stop.start is None and stop.moves_at_once
    assert enters.enter is not None and 5 <= enters.enter <= 8 and enters.start is None and enters.exit is None
    assert exits.exit is not None and 5 <= exits.exit <= 8 and exits.stop is None
    assert reverse.reverse == 9 and reverse.turn is None and reverse.heading is UNCLEAR
    assert turn.turn == 6 and turn.reverse is None


def test_what_is_too_close_to_call_is_unclear():
    facts = facts_of(
        way((0, 10, 10), (15, 13, 10)),
        way((0, 10, 30), (15, 40, 55)),
        way((0, 10, 50), (4, 20, 50), (8, 20, 50), (15, 40, 50)),
        way((0, 0, 20)),
    )
    assert facts.history(1).still is UNCLEAR
    assert facts.history(2).heading is UNCLEAR
    assert facts.history(3).stop is UNCLEAR
    assert facts.history(4).enter is UNCLEAR
    assert facts.place(4, 0, "at first") is UNCLEAR


def test_passing_behind_and_in_front():
    passer = way((0, 8, 32), (15, 56, 32))
    looks = [("small", "red", "circle"), ("large", "blue", "square"), ("small", "red", "circle")]
    facts = facts_of(passer, way((0, 32, 32)), way((0, 32, 8), (15, 32, 56)), looks=looks)
    assert facts.goes_behind(1, 2) is True and facts.passes_in_front(1, 2) is False
    assert facts.passes_in_front(3, 2) is True and facts.goes_behind(3, 2) is False


def test_order_is_undecided_within_the_gap_and_decided_beyond():
    near = facts_of(way((0, 10, 10), (6, 40, 10)), way((0, 10, 30), (7, 40, 30)))
    far = facts_of(way((0, 10, 10), (6, 40, 10)), way((0, 10, 30), (10, 40, 30)))
    program = Ranks("stop", "first", Everything())
    with pytest.raises(Undecided):
        execute(program, near)
    assert execute(program, far) == {1}
    assert execute(Ranks("stop", "last", Everything()), far) == {2}


def test_the_frame_that_settles_an_answer():
    scene = scene_of(way((0, 10, 10), (4, 40, 10)), way((0, 10, 30), (10, 40, 30)))
    watched = beginnings(Measurements(scene))
    first = disambiguation_frame(Ranks("stop", "first", Everything()), frozenset({1}), watched)
    last = disambiguation_frame(Ranks("stop", "last", Everything()), frozenset({2}), watched)
    assert 4 < first <= 8
    assert 10 < last <= 13
    assert disambiguation_frame(With("shape", "circle", Everything()), frozenset({1, 2}), watched) == 0


def test_knowledge_that_people_may_dispute_is_undecided():
    looks = [("large", "red", "apple"), ("large", "red", "fish"), ("large", "red", "cup")]
    ways = [way((0, x, 30)) for x in (10, 30, 50)]
    facts = facts_of(*ways, looks=looks)
    with pytest.raises(Undecided):
        execute(Usable("eat", Everything()), facts)
    assert execute(Usable("drink from", Everything()), facts) == {3}


# Programs, sentences, ground truth -----------------------------------------------------------------------------------


def test_every_program_gives_the_written_ground_truth(videos):
    assert sum(len(v.samples) for v in videos) > 1200
    for video in videos:
        facts = Facts(Measurements(video.scene))
        for sample in video.samples:
            assert execute(sample.program, facts) == set(sample.object_ids), sample
            assert (sample.kind == "no-target") == (not sample.object_ids)
            assert (sample.kind == "multi-object") == (len(sample.object_ids) > 1)


def test_ground_truth_by_an_independent_reading_of_positions(videos):
    """Re-derives the answer of the last step from raw positions and pixels, by other code than ``facts``."""
    checked: Counter[str] = Counter()
    for video in videos:
        facts = Facts(Measurements(video.scene))
        for sample in video.samples:
            step = chain(sample.program)[-1]
            expected = expected_by_eye(video, step, facts) if sample.object_ids else None
            if expected is not None:
                checked[type(step).__name__] += 1
                assert expected == set(sample.object_ids), (video.id, sample.text)
    assert set(checked) == {"Ranks", "Heads", "Travels", "Outermost", "Beside", "Passes", "Does", "With"}
    assert min(checked.values()) >= 5


def expected_by_eye(video, step, facts) -> set[int] | None:
    positions = video.scene.positions
    steps = np.abs(np.diff(positions, axis=1)).sum(axis=2) > 0
    if step.of is None:
        return None
    scope = sorted(execute(step.of, facts))
    if isinstance(step, With):
        return {i for i in scope if getattr(video.scene.thing(i), step.attribute) == step.value}
    if isinstance(step, Ranks):
        moments = {i: moment_by_eye(video, step.event, i, steps[i - 1]) for i in scope}
        happened = [i for i in scope if moments[i] is not None]
        return {(min if step.rank == "first" else max)(happened, key=lambda i: moments[i])}
    if isinstance(step, Does) and step.event == "still":
        return {i for i in scope if not steps[i - 1].any()}
    if isinstance(step, Does):
        return {i for i in scope if moment_by_eye(video, step.event, i, steps[i - 1]) is not None}
    if isinstance(step, Heads):
        return {i for i in scope if heading_by_eye(video, i) == step.heading}
    if isinstance(step, Travels):
        return {(max if step.rank == "most" else min)(scope, key=lambda i: way_by_eye(video, i))}
    if isinstance(step, Outermost):
        axis = 0 if step.side in ("leftmost", "rightmost") else 1
        t = -1 if step.when == "at last" else 0
        choose = min if step.side in ("leftmost", "topmost") else max
        return {choose(scope, key=lambda i: positions[i - 1, t, axis])}
    if isinstance(step, Beside):
        anchor = only(step.anchor, facts)
        axis, sign = {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)}[step.side]
        t = -1 if step.when == "at last" else 0
        offset = {i: sign * (positions[i - 1, t, axis] - positions[anchor - 1, t, axis]) for i in scope if i != anchor}
        return {i for i, v in offset.items() if v > 0}
    if isinstance(step, Passes):
        anchor = video.scene.thing(only(step.anchor, facts))
        meets = {i for i in scope if i != anchor.id and touches(video, i, anchor.id)}
        return {i for i in meets if (video.scene.thing(i).depth < anchor.depth) == (step.where == "behind")}
    return None


def shown(video, i):
    return [t for t in range(video.n_frames) if video.renderer.amodal(i, t).any()]


def moment_by_eye(video, event, i, moves):
    frames = shown(video, i)
    directions = np.diff(video.scene.positions[i - 1], axis=0)
    if event == "enter":
        return frames[0] if frames[0] > 0 else None
    if event == "exit":
        return frames[-1] + 1 if frames[-1] < video.n_frames - 1 else None
    if event == "start":
        return int(np.argmax(moves)) if moves.any() and not moves[0] and frames[0] == 0 else None
    if event == "stop":
        gone = frames[-1] < video.n_frames - 1
        return None if gone or not moves.any() or moves[-1] else int(np.flatnonzero(moves)[-1]) + 1
    bends = []
    for t in range(1, len(directions)):
        a, b = directions[t - 1], directions[t]
        norm = np.hypot(*a) * np.hypot(*b)
        if norm > 0:
            cosine = float(a @ b) / norm
            if (event == "reverse" and cosine < -0.9) or (event == "turn" and abs(cosine) < 0.3):
                bends.append(t)
    return bends[0] if bends else None


def way_by_eye(video, i):
    frames = shown(video, i)
    part = video.scene.positions[i - 1, max(frames[0] - 1, 0) : frames[-1] + 2]
    return float(np.hypot(*np.diff(part, axis=0).T).sum())


def heading_by_eye(video, i):
    frames = shown(video, i)
    dx, dy = video.scene.positions[i - 1, frames[-1]] - video.scene.positions[i - 1, frames[0]]
    if abs(dx) + abs(dy) < UNIT // 12:
        return None
    if abs(dx) > abs(dy):
        return "right" if dx > 0 else "left"
    return "down" if dy > 0 else "up"


def touches(video, i, j):
    return any((video.renderer.amodal(i, t) & video.renderer.amodal(j, t)).sum() > 3 for t in range(video.n_frames))


def test_no_sentence_of_a_video_has_two_answers(videos):
    for video in videos[:80]:
        answers = defaultdict(set)
        facts = Facts(Measurements(video.scene))
        for question in questions(facts)[::7]:
            for form in ("short", "long"):
                text = say(question.program, form, Stream(3), len(question.targets)).text
                answers[text].add(question.targets)
        assert all(len(found) == 1 for found in answers.values()), answers


def test_no_word_of_a_referring_sentence_can_be_left_out(videos):
    for video in videos[:60]:
        facts = Facts(Measurements(video.scene))
        for sample in video.samples:
            left = [int(n) for n in str(sample.tags["narrowing"]).split(">")]
            assert left[-1] == len(sample.object_ids)
            assert sample.kind == "no-target" or left[-1] < len(facts.present)


def test_tags_are_plain_and_true(videos):
    for video in videos:
        for sample in video.samples:
            tags = sample.tags
            assert all(isinstance(value, (str, int, float, bool)) for value in tags.values())
            looks = {thing.look for thing in video.things if thing.id in sample.object_ids}
            doubles = [t for t in video.things if t.look in looks and t.id not in sample.object_ids]
            assert (tags["family"] == "look-alike") == bool(doubles)
            assert 0 <= tags["unambiguous_from"] < video.n_frames
            assert 0 <= tags["occlusion"] <= 1 and 0 <= tags["area"] < 1
            assert isinstance(to_json(sample.program)["step"], str)


def test_kinds_and_families_are_all_there(videos):
    kinds = Counter(s.kind for v in videos for s in v.samples)
    assert set(kinds) == set(KINDS)


def test_targets_are_seen(videos):
    for video in videos[:60]:
        seen = Counter(i for frame in video.frames() for i in np.unique(frame.labels))
        for sample in video.samples:
            assert all(seen[i] >= video.n_frames // 8 for i in sample.object_ids)


def test_no_target_only_where_it_is_asked_for():
    assert all(s.object_ids for v in generate("test", 20) for s in v.samples)


# Sizes and lengths ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("height", "width", "n_frames", "max_things"),
    [(64, 64, 1, 6), (64, 64, 2, 2), (96, 171, 7, 6), (64, 64, 8, 6), (32, 48, 300, 4), (120, 90, 40, 12)],
)
def test_any_size_and_length(height, width, n_frames, max_things):
    video = next(generate("train", 1, height=height, width=width, n_frames=n_frames, max_things=max_things))
    frame = video.renderer.frame(n_frames - 1)
    assert frame.rgb.shape == (height, width, 3) and frame.rgb.dtype == np.uint8
    assert frame.labels.shape == (height, width)
    assert video.samples
    assert 2 <= len(video.things) <= max_things


def test_short_videos_show_nothing_that_needs_time():
    assert all(s.kind != "temporal" for v in generate("train", 10, n_frames=4) for s in v.samples)


def test_wrong_arguments_are_named():
    with pytest.raises(UnknownNameError, match="Unknown split of reasonshapes 'val'"):
        next(generate("val", 1))
    with pytest.raises(UnknownNameError, match="kind of sentence 'temporall'"):
        next(generate("train", 1, kinds=["temporall"]))
    with pytest.raises(UsageError, match="seeds 0 to 65535"):
        next(generate("train", 1, seed=-1))
    with pytest.raises(UsageError, match="found 8x8"):
        make_scene(1, 8, 8)
    with pytest.raises(UsageError, match="waypoints at frame 0"):
        Trajectory((Waypoint(3, 0, 0),))


def test_contact_sheet(tmp_path):
    video = describe("v", make_scene(3))
    contact_sheet(video, tmp_path / "sheet.png", n_frames=4)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 4 * 128 and sheet.height > len(video.samples) * 128
