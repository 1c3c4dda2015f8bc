"""Ref-DAVIS-17 protocols on label maps of three small videos: matching, names, void, stops, deletion. About 6 s."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rvos.benchmarks.metrics import decay, j_and_f
from rvos.benchmarks.predictions.merged import MergedFromExpressions
from rvos.benchmarks.protocols import default_protocols, get_protocol, protocols_for
from rvos.benchmarks.protocols.assignment import lowest_scores, optimal_scores
from rvos.benchmarks.protocols.base import Summary, UnitScore
from rvos.benchmarks.protocols.bounds import bounds
from rvos.datasets.errors import PredictionInvalid, PredictionMissing, ProtocolError
from rvos.datasets.images import davis_palette, write_png
from rvos.datasets.ref_davis17 import RefDAVIS17
from rvos.datasets.types import BoolMask, Sample, Video

HEIGHT, WIDTH = 24, 40
STRICT, SCRIPT = "davis17-hungarian-4ann@1", "davis17-hungarian-4ann@referformer"
IDENTITY, SEMI = "davis17-identity-4ann@1", "davis17-semi-supervised@official"
LabelMap = NDArray[np.uint8]


def truth(video: str, frame: int) -> LabelMap:
    """Two or three boxes that move; a void block; in video "b" an object that comes late and one that leaves."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[2:10, 2 + frame : 10 + frame] = 1
    if video != "b" or frame < 3:
        labels[12:20, 4 + frame : 16 + frame] = 2
    if video == "c":
        labels[2:22, 30:37] = 3
    if video == "b" and frame >= 1:
        labels[14:20, 28:34] = 3  # not there in the first frame
    if frame % 2:
        labels[:6, :6] = 255
    return labels


N_OBJECTS = {"a": 2, "b": 2, "c": 3}
N_FRAMES = {"a": 4, "b": 6, "c": 5}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> RefDAVIS17:
    return make_dataset(tmp_path_factory.mktemp("davis"), N_FRAMES, truth)


def make_dataset(root: Path, n_frames: dict[str, int], draw: Callable[[str, int], LabelMap]) -> RefDAVIS17:
    videos = {}
    for video, n in n_frames.items():
        frames = [f"{i:05d}" for i in range(n)]
        objects = range(1, N_OBJECTS.get(video, 1) + 1)
        ids = {4 * (o - 1) + k: str(o) for o in objects for k in range(4)}
        expressions = {str(i): {"exp": f"box {o}", "obj_id": o} for i, o in ids.items()}
        videos[video] = {"frames": frames, "expressions": expressions}
        for i, frame in enumerate(frames):
            for folder in ("Annotations_unsupervised", "Annotations"):
                path = root / "DAVIS" / folder / "480p" / video / f"{frame}.png"
                write_png(path, draw(video, i), davis_palette())
    (root / "meta_expressions/valid").mkdir(parents=True)
    (root / "meta_expressions/valid/meta_expressions.json").write_text(json.dumps({"videos": videos}))
    return RefDAVIS17(root, "valid")


@dataclass
class Maps:
    """Label maps: the ground truth, moved, renumbered, deleted or replaced."""

    draw: Callable[[str, int], LabelMap] = truth
    shift: int = 0
    rename: dict[int, int] = field(default_factory=dict)
    deleted: set[tuple[str, int, int]] = field(default_factory=set)  # (video, annotator, frame)
    replaced: dict[tuple[str, int, int], LabelMap] = field(default_factory=dict)
    layout: str = "memory"
    path: Path = Path("maps")
    merge_rule: str = "none"

    def labels(self, video: Video, annotator: int, frame_index: int) -> LabelMap:
        spot = (video.id, annotator, frame_index)
        if spot in self.deleted:
            raise PredictionMissing(f"maps/anno_{annotator}/{video.id}/{frame_index:05d}.png: no such file.")
        if spot in self.replaced:
            return self.replaced[spot]
        labels = np.roll(self.draw(video.id, frame_index), self.shift + annotator * bool(self.shift), axis=1)
        labels = np.where(labels > N_OBJECTS.get(video.id, 1), 0, labels)
        return np.choose(labels, [self.rename.get(i, i) for i in range(4)]).astype(np.uint8)


def run(
    protocol_id: str, dataset: RefDAVIS17, predictions: Any, **options: bool
) -> tuple[dict[str, UnitScore], Summary]:
    protocol = get_protocol(protocol_id)
    scores = [s for v in dataset.videos for s in protocol.score_video(dataset, v.id, predictions, **options)]
    assert [s.unit.key for s in scores] == [u.key for u in protocol.units(dataset)]
    return {s.unit.key: s for s in scores}, protocol.aggregate(scores)


# Against an independent reading ---------------------------------------------------------------------------------------


def pair_scores(maps: Maps, dataset: RefDAVIS17, video: str, annotator: int, label: int, g: int) -> tuple[Any, Any]:
    """Per-frame J and F of a label against an object, by the plain function for arrays."""
    n = N_FRAMES[video]
    gt = np.stack([truth(video, t) for t in range(n)])
    source = dataset.samples_of(video)[0].video
    pred = np.stack([maps.labels(source, annotator, t) for t in range(n)])
    scores = j_and_f(gt == g, pred == label, gt == 255)
    return scores.J, scores.F


def by_hand(maps: Maps, dataset: RefDAVIS17, video: str, annotator: int) -> list[tuple[Any, Any]]:
    """The objects' scores under the best of all assignments of the labels 1 to 3."""
    objects = range(1, N_OBJECTS[video] + 1)
    table = {(p, g): pair_scores(maps, dataset, video, annotator, p, g) for p in (1, 2, 3) for g in objects}
    value = {pair: (J.mean() + F.mean()) / 2 for pair, (J, F) in table.items()}
    best = max(
        permutations((1, 2, 3), len(objects)),
        key=lambda labels: sum(value[p, g] for p, g in zip(labels, objects, strict=True)),
    )
    return [table[p, g] for p, g in zip(best, objects, strict=True)]


@pytest.mark.parametrize("rename", [{}, {1: 2, 2: 1}, {1: 3, 2: 1, 3: 2}])
def test_hungarian_is_the_best_assignment(rename: dict[int, int], dataset: RefDAVIS17) -> None:
    maps = Maps(shift=2, rename=rename)
    scores, summary = run(STRICT, dataset, maps, per_frame=True)
    official, summary_official = run(SCRIPT, dataset, maps)
    annotator_means = []
    for k in range(4):
        values = []
        for video in N_FRAMES:
            wanted = by_hand(maps, dataset, video, k)
            for g, (J, F) in enumerate(wanted, start=1):
                score = scores[f"{video}/annot{k}/{g}"]
                assert np.array_equal(score.frame_J, J) and np.array_equal(score.frame_F, F)
                assert score.extras["J-recall"] == np.mean(J > 0.5)
                assert score.extras["F-decay"] == pytest.approx(decay(F), abs=1e-15)
                values.append(J.mean())
            ours = sorted(official[f"{video}/annot{k}/{g}"].J for g in range(1, len(wanted) + 1))
            assert ours == sorted(J.mean() for J, _ in wanted)
        annotator_means.append(np.mean(values))
        assert summary.extras[f"anno_{k}/J"] == pytest.approx(annotator_means[-1], abs=1e-15)
    assert np.isclose(summary.J, np.mean(annotator_means), rtol=0, atol=1e-15)
    for name in ("J", "F", "J_and_F"):
        assert getattr(summary, name) == pytest.approx(getattr(summary_official, name), abs=1e-15)
    assert summary.n_counted == 4 * (2 + 2 + 3)


def test_script_names_follow_predictions(dataset: RefDAVIS17) -> None:
    swapped = Maps(rename={1: 2, 2: 1})
    swapped.replaced = {("a", k, 0): np.zeros((HEIGHT, WIDTH), np.uint8) for k in range(4)}
    wrong = {("a", k, t): np.where(truth("a", t) == 1, 2, 0).astype(np.uint8) for k in range(4) for t in range(4)}
    swapped.replaced |= wrong  # object 1 is found, under the number 2; object 2 is not
    scores, _ = run(STRICT, dataset, swapped)
    assert (scores["a/annot0/1"].J, scores["a/annot0/2"].J) == (1, 0)
    assert (scores["a/annot0/1"].extras["proposal"], scores["a/annot0/1"].extras["object"]) == (2, 1)
    official, _ = run(SCRIPT, dataset, swapped)
    assert (official["a/annot0/1"].J, official["a/annot0/2"].J) == (0, 1)  # i-th matched prediction
    assert official["a/annot0/2"].extras["object"] == 1


def test_identity_punishes_swapped_sentences(dataset: RefDAVIS17) -> None:
    assert run(IDENTITY, dataset, Maps())[1].J == 1
    swapped, summary = run(IDENTITY, dataset, Maps(rename={1: 2, 2: 1}))
    assert run(STRICT, dataset, Maps(rename={1: 2, 2: 1}))[1].J == 1
    assert swapped["a/annot2/1"].J == 0 and swapped["c/annot0/3"].J == 1
    assert summary.J is not None and summary.J < 0.5


def test_objects_are_those_of_the_first_frame(dataset: RefDAVIS17) -> None:
    keys = [u.key for u in get_protocol(STRICT).units(dataset) if u.annotator == 3]
    assert keys == ["a/annot3/1", "a/annot3/2", "b/annot3/1", "b/annot3/2", "c/annot3/1", "c/annot3/2", "c/annot3/3"]


def test_void_pixels_do_not_count_in_the_unsupervised_masks(dataset: RefDAVIS17) -> None:
    maps = Maps()
    for k in range(4):
        for t in range(1, 4, 2):
            filled = np.where(truth("a", t) == 255, 1, truth("a", t)).astype(np.uint8)
            maps.replaced["a", k, t] = filled
    assert run(STRICT, dataset, maps)[0]["a/annot0/1"].J == 1
    assert run(SEMI, dataset, maps)[0]["a/annot0/1"].J < 1  # background there
    per_expression = get_protocol("davis17-per-expression-unsup@1")
    sample = dataset.sample("a/1-annot1-first")
    masklet = per_expression.ground_truth(dataset, sample)  # type: ignore[attr-defined]
    assert masklet.void(1) is None and np.array_equal(masklet.mask(1), truth("a", 1) == 1)


def test_semi_supervised_drops_first_and_last_frame(dataset: RefDAVIS17) -> None:
    maps = Maps()
    blank = np.zeros((HEIGHT, WIDTH), np.uint8)
    maps.replaced = {(v, k, t): blank for v, n in N_FRAMES.items() for k in range(4) for t in (0, n - 1)}
    maps.deleted = {("a", 0, 0)}
    scores, summary = run(SEMI, dataset, maps)
    assert summary.F == 1 and scores["b/annot0/1"].n_frames == 4


# Stops ----------------------------------------------------------------------------------------------------------------


def damaged(labels: LabelMap) -> Maps:
    return Maps(replaced={("b", 1, 2): labels})


@pytest.mark.parametrize(
    ("protocol_id", "maps", "text"),
    [
        (SCRIPT, Maps(deleted={("b", 1, 2)}), "b frame 00002 not found!"),
        (SCRIPT, damaged(np.zeros((12, 20), np.uint8)), "broadcast input array from shape (12,20) into shape (24,40)"),
        (SCRIPT, damaged(np.full((HEIGHT, WIDTH), 255, np.uint8)), "higher than the maximum number (20)"),
        (SCRIPT, damaged(np.full((HEIGHT, WIDTH), 21, np.uint8)), "Found 21; write the object's number"),
        (SEMI, damaged(np.full((HEIGHT, WIDTH), 3, np.uint8)), "higher than the number of objects in the sequence!"),
    ],
)
def test_scripts_stop_without_a_number(protocol_id: str, maps: Maps, text: str, dataset: RefDAVIS17) -> None:
    scores, summary = run(protocol_id, dataset, maps)
    assert (summary.J, summary.F, summary.J_and_F) == (None, None, None)
    assert summary.extras["anno_1/J"] is None and summary.extras["anno_0/F"] is not None
    assert scores["b/annot1/1"].flags == ("script-exit",) and scores["b/annot1/1"].J is None
    assert text in scores["b/annot1/1"].reason and "b/00002" in scores["b/annot1/1"].reason
    assert summary.warnings[0].startswith("No value for annotator 1") and text in summary.warnings[0]
    strict, summary = run(STRICT, dataset, maps)
    assert summary.J is not None and summary.extras["anno_0/J"] == 1
    if protocol_id == SCRIPT:
        assert strict["b/annot1/1"].flags == ("partial",) and np.isclose(strict["b/annot1/1"].J, 5 / 6)


def test_strict_says_what_is_wrong_with_a_map(dataset: RefDAVIS17) -> None:
    binary = Maps(
        replaced={("a", 0, t): np.where(truth("a", t) == 1, 255, 0).astype(np.uint8) for t in range(N_FRAMES["a"])}
    )
    scores, summary = run(STRICT, dataset, binary)
    assert (scores["a/annot0/1"].status, scores["a/annot0/1"].J) == ("invalid", 0)
    assert "label 255, at most 20 allowed; 0/255 is a binary mask" in scores["a/annot0/1"].reason
    gone = Maps(deleted={("a", 2, t) for t in range(N_FRAMES["a"])})
    scores, summary = run(STRICT, dataset, gone)
    assert (scores["a/annot2/2"].status, scores["a/annot2/2"].F) == ("missing", 0)
    assert "2 of 28 units count as 0 (2 missing)" in summary.warnings[0]


def test_protocols_refuse_predictions_of_the_other_kind(dataset: RefDAVIS17) -> None:
    with pytest.raises(ProtocolError, match="overlaps between objects are lost"):
        run("davis17-per-expression-unsup@1", dataset, Maps())
    with pytest.raises(ProtocolError, match="holds masks per expression"):
        run(STRICT, dataset, ExpressionMasks(dataset))


def test_decay_of_long_videos(tmp_path: Path) -> None:
    def draw(video: str, frame: int) -> LabelMap:
        labels = np.zeros((8, 8), np.uint8)
        labels[2:6, 2:6] = 1
        return labels

    long = make_dataset(tmp_path, {"long": 300}, draw)
    blank = np.zeros((8, 8), np.uint8)
    maps = Maps(draw=draw, replaced={("long", k, t): blank for k in range(4) for t in range(220, 300)})
    scores, summary = run(STRICT, long, maps)
    assert scores["long/annot0/1"].extras["J-decay"] == 1 and summary.extras["J-decay"] == 1
    scores, summary = run(SCRIPT, long, maps)
    assert scores["long/annot0/1"].extras["J-decay"] is None and summary.extras["J-decay"] is None
    assert "8 bits" in summary.warnings[0]


# Which protocols apply, ceiling and floor -----------------------------------------------------------------------------


def test_defaults_stand_side_by_side(dataset: RefDAVIS17) -> None:
    assert [p.id for p in default_protocols(dataset)] == [STRICT, "davis17-per-expression-unsup@1"]
    assert len(protocols_for(dataset)) == 6


@pytest.mark.parametrize("protocol_id", [STRICT, SCRIPT, IDENTITY, SEMI, "davis17-per-expression-semisup@1"])
def test_ceiling_is_one(protocol_id: str, dataset: RefDAVIS17) -> None:
    found = bounds(get_protocol(protocol_id), dataset)
    assert found.ceiling.J_and_F == 1
    assert found.floor.J_and_F is not None and 0 < found.floor.J_and_F < 0.2  # object 2 of "b" leaves


# Deletion never pays --------------------------------------------------------------------------------------------------


@dataclass
class ExpressionMasks:
    """One mask per sentence, larger than its object, so that masks overlap and merging cuts them."""

    dataset: RefDAVIS17
    deleted: set[str] = field(default_factory=set)
    seed: int = 0
    layout: str = "memory"
    path: Path = Path("masks")

    def mask(self, sample: Sample, frame_name: str, foreground: str) -> BoolMask:
        if {f"{sample.key}/{frame_name}", sample.key, sample.video.id} & self.deleted:
            raise PredictionMissing(f"{sample.key}/{frame_name}.png: no such file.")
        (object_id,) = sample.expression.object_ids or ()
        frame = int(frame_name)
        rng = np.random.default_rng([self.seed, int(object_id), frame, *sample.key.encode()])
        label = int(object_id) if rng.random() < 0.7 else int(rng.integers(1, 4))
        mask = truth(sample.video.id, frame) == label
        for _ in range(int(rng.integers(0, 3))):
            y, x = rng.integers(0, HEIGHT - 8), rng.integers(0, WIDTH - 12)
            mask[y : y + 8, x : x + 12] = rng.random() < 0.8
        return mask

    def scores(self, sample: Sample, frame_name: str) -> NDArray[np.float32] | None:
        return None

    def frame_names(self, sample: Sample) -> list[str] | None:
        return list(sample.video.frame_names)


def reported(scores: dict[str, UnitScore], summary: Summary) -> dict[str, float]:
    """Every score: of each object, of each annotator, of all. Decay is no score; it must not fall."""
    values: dict[str, float | None] = {"J": summary.J, "F": summary.F, "J&F": summary.J_and_F}
    values |= {name: v for name, v in summary.extras.items() if "both_empty" not in name}
    for key, score in scores.items():
        values |= {f"{key}/J": score.J, f"{key}/F": score.F, f"{key}/J&F": score.J_and_F}
        values |= {f"{key}/{n}": v for n, v in score.extras.items() if n.endswith(("recall", "decay"))}
    assert None not in values.values()
    return {name: -v if name.endswith("decay") else v for name, v in values.items() if v is not None}


@pytest.mark.parametrize("protocol_id", [STRICT, IDENTITY, "davis17-per-expression-unsup@1"])
@pytest.mark.parametrize("seed", range(3))
def test_deleting_never_raises_a_score(protocol_id: str, seed: int, dataset: RefDAVIS17) -> None:
    """Frames, expressions, videos, and single objects of overlapping merged groups, in growing random subsets."""
    rng = np.random.default_rng(seed)
    masks = ExpressionMasks(dataset, seed=seed)
    merged = get_protocol(protocol_id).merged
    predictions = MergedFromExpressions(masks, dataset, "lower-object-wins") if merged else masks
    frames = [f"{s.key}/{name}" for s in dataset for name in s.video.frame_names]
    steps = [list(rng.choice(frames, n)) for n in (1, 2, 4, 8, 16)]
    steps += [list(rng.choice([s.key for s in dataset], 2)), ["b"], ["a", "c"]]
    before = reported(*run(protocol_id, dataset, predictions))
    for step in steps:
        masks.deleted |= set(step)
        after = reported(*run(protocol_id, dataset, predictions))
        assert [name for name in before if after[name] > before[name]] == []
        before = after
    assert before["J&F"] == 0


def random_scores(rng: np.random.Generator, n_labels: int, n_objects: int, n: int) -> Sequence[NDArray[np.float64]]:
    """J and F of n_labels proposals, filled up to 8 with what an empty mask scores."""
    J, F = rng.random((2, n_labels, n_objects, n)) ** rng.integers(1, 4)
    empty = np.repeat((rng.random((n_objects, n)) < 0.3).astype(float)[None], 8 - n_labels, axis=0)
    return np.concatenate([J, empty]), np.concatenate([F, empty])


def test_lowest_scores_never_rise_on_arrays() -> None:
    """As above for random tables; and plain matching of what is left, which it replaces, does let deletion pay."""
    rng = np.random.default_rng(11)
    plain_pays = 0
    for _ in range(60):
        n_labels, n_objects, n = (int(v) for v in (rng.integers(2, 5), rng.integers(1, 4), rng.integers(2, 7)))
        n_labels = max(n_labels, n_objects)
        J, F = random_scores(rng, n_labels, n_objects, n)
        first_seen = rng.integers(0, n, n_labels)  # labels disappear when their frames go
        complete = optimal_scores(J[:n_labels], F[:n_labels])
        last = [(m.J.mean(), m.F.mean(), m.J_recall, m.F_recall, -m.J_decay, -m.F_decay) for m in complete]
        missing = np.zeros(n, bool)
        for t in rng.permutation(n):
            missing[t] = True
            seen = [label + 1 for label in range(n_labels) if not missing[first_seen[label] :].all()]
            found = lowest_scores(J, F, missing, max(seen, default=0))
            now = [(m.J.mean(), m.F.mean(), m.J_recall, m.F_recall, -m.J_decay, -m.F_decay) for m in found]
            assert np.all(np.array(now) <= np.array(last) + 1e-12)
            last = now
            zeroed = optimal_scores(np.where(missing, 0, J)[:n_labels], np.where(missing, 0, F)[:n_labels])
            plain_pays += any(z.J.mean() > c.J.mean() + 1e-9 for z, c in zip(zeroed, complete, strict=True))
        assert np.allclose(np.array(last)[:, :4], 0)
    assert plain_pays > 5


def test_few_missing_frames_cost_little(dataset: RefDAVIS17) -> None:
    """Where the matching is clear, a missing frame costs its own share and no more."""
    scores, _ = run(STRICT, dataset, Maps(deleted={("c", 0, 1)}))
    assert [scores[f"c/annot0/{g}"].J for g in (1, 2, 3)] == pytest.approx([0.8] * 3)
    assert scores["c/annot0/1"].extras["J-decay"] == pytest.approx(0)  # at worst the missing frame was perfect
    assert scores["c/annot0/1"].reason.startswith("1 missing of 5 frames; first: maps/anno_0/c/00001.png")


def test_unreadable_maps_are_reported(dataset: RefDAVIS17) -> None:
    class Broken(Maps):
        def labels(self, video: Video, annotator: int, frame_index: int) -> LabelMap:
            if video.id == "a" and annotator == 0:
                raise PredictionInvalid(f"{video.id}/{frame_index:05d}.png: mode RGB, not an indexed PNG.")
            return super().labels(video, annotator, frame_index)

    scores, _ = run(STRICT, dataset, Broken())
    assert (scores["a/annot0/1"].status, scores["a/annot0/1"].J) == ("invalid", 0)
    official = run(SCRIPT, dataset, Broken())[1]
    assert official.J is None and "mode RGB" in official.warnings[0]
