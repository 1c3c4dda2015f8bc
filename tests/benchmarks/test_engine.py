"""The predict engine: what a model can do wrong, and what stops a run. About 2 s. SIGKILL is in ``test_kills``."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toyset import HEIGHT, WIDTH, ToyDataset

from rvos.baselines.oracles import Perfect
from rvos.benchmarks import work
from rvos.benchmarks.engine import predict
from rvos.benchmarks.evaluator import evaluate
from rvos.benchmarks.predictions import run_masks
from rvos.benchmarks.predictions.run_masks import RunMasks
from rvos.benchmarks.runs import PredictorRecord, Run
from rvos.datasets.errors import RunError, UsageError
from rvos.datasets.registry import load
from rvos.datasets.types import Expression, RVOSDataset, Video


class Model:
    """A perfect model whose answers ``change`` may spoil, and that notes which videos it was asked about."""

    def __init__(
        self, dataset: RVOSDataset, change: Callable[[Video, Expression, int, Any], Any] | None = None
    ) -> None:
        self.truth = Perfect(dataset)
        self.change = change or (lambda video, expression, index, mask: mask)
        self.asked: list[str] = []

    def describe(self) -> PredictorRecord:
        return PredictorRecord(name="model")

    def segment(self, video: Video, expressions: Sequence[Expression]) -> Iterator[tuple[str, int, Any]]:
        self.asked.append(video.id)
        by_id = {e.id: e for e in expressions}
        for exp_id, index, mask in self.truth.segment(video, expressions):
            yield exp_id, index, self.change(video, by_id[exp_id], index, mask)


def mask_files(run: Run | Path) -> dict[str, bytes]:
    folder = run.masks if isinstance(run, Run) else run / "masks"
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def statuses(run: Run) -> dict[str, str]:
    return {line.key: line.status for line in run.predictions()}


@pytest.fixture
def data() -> ToyDataset:
    return ToyDataset()


@pytest.fixture
def reference(data: ToyDataset, tmp_path: Path) -> dict[str, bytes]:
    """The mask files of a run that nothing disturbed."""
    return mask_files(predict(Model(data), data, out=tmp_path / "reference", progress=False))


def test_masks_statuses_and_record_of_an_undisturbed_run(data: ToyDataset, tmp_path: Path) -> None:
    run = predict(Model(data), data, out=tmp_path / "run", progress=False)
    assert (run.record.status, run.record.limit) == ("finished", None)
    assert run.record.predictor is not None and run.record.predictor.name == "model"
    saved = RunMasks(run.masks)
    for sample in data:
        truth = data.ground_truth(sample).dense()
        names = sample.video.frame_names
        assert np.array_equal(np.stack([saved.mask(sample, n, "strict") for n in names]), truth)
    lines = Run.open(tmp_path / "run").predictions()
    assert [line.key for line in lines] == [s.key for s in data]
    assert {line.status for line in lines} == {"ok"} and all(line.seconds > 0 for line in lines)
    by_key = {line.key: line for line in lines}
    assert by_key["video1/4"].n_empty_frames == by_key["video1/4"].n_frames == 6
    assert by_key["video1/1"].n_empty_frames == 0


def test_a_function_and_logits_of_another_size(data: ToyDataset, tmp_path: Path) -> None:
    def upper_half(video: Video, text: str) -> np.ndarray:
        logits = np.full((len(video), HEIGHT // 2, WIDTH // 2), -1.0)
        logits[:, : HEIGHT // 4] = 1.0
        return logits

    run = predict(upper_half, data, out=tmp_path / "run", progress=False)
    mask = RunMasks(run.masks).mask(data[0], data[0].video.frame_names[0], "strict")
    assert mask[: HEIGHT // 2].all() and not mask[HEIGHT // 2 :].any()
    assert "upper_half" in run.record.predictor.name


def test_a_sentence_that_crashes_the_model_costs_only_itself_and_is_tried_again(
    data: ToyDataset, reference: dict[str, bytes], tmp_path: Path
) -> None:
    def crash(video: Video, expression: Expression, index: int, mask: Any) -> Any:
        if (video.id, expression.id, index) == ("video1", "2", 3):
            raise RuntimeError("CUDA out of memory")
        return mask

    run = predict(Model(data, crash), data, out=tmp_path / "run", progress=False)
    assert run.record.status == "finished"
    assert {k: v for k, v in statuses(run).items() if v != "ok"} == {"video1/2": "failed"}
    failure = next(line for line in run.predictions() if line.status == "failed")
    assert failure.reason == "RuntimeError: CUDA out of memory"
    assert "in crash" in failure.traceback
    assert RunMasks(run.masks).frame_names(data.sample("video1/2")) is None

    healed = Model(data)
    run = predict(healed, data, out=tmp_path / "run", progress=False)
    assert healed.asked == ["video1"]
    assert mask_files(run) == reference and set(statuses(run).values()) == {"ok"}


WRONG: dict[str, tuple[Callable[[Any], Any], str, str]] = {
    "shape": (lambda m: m[:-1], "invalid", "only logits are resized"),
    "dimensions": (lambda m: m[None], "invalid", "two dimensions"),
    "NaN": (lambda m: np.where(m, np.nan, -1.0), "invalid", "NaN"),
    "text": (lambda m: "mask", "invalid", "dimensions"),
    "ragged": (lambda m: [[1, 0], [1]], "invalid", "inhomogeneous"),
    "no pixel at all": (lambda m: np.zeros((0, 0)), "invalid", "frame 00001"),
    "None": (lambda m: None, "invalid", "frame 00001"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mask_that_cannot_be_used(name: str, data: ToyDataset, tmp_path: Path) -> None:
    spoil, status, words = WRONG[name]

    def change(video: Video, expression: Expression, index: int, mask: Any) -> Any:
        return spoil(mask) if (video.id, expression.id, index) == ("video0", "1", 1) else mask

    run = predict(Model(data, change), data, out=tmp_path / "run", progress=False)
    wrong = [line for line in run.predictions() if line.status != "ok"]
    assert [(line.key, line.status) for line in wrong] == [("video0/1", status)]
    assert "1 of 5 frames" in wrong[0].reason and words in wrong[0].reason
    names = data[0].video.frame_names
    assert RunMasks(run.masks).frame_names(data.sample("video0/1")) == [n for n in names if n != "00001"]


class Contract:
    """Answers with the given items, whatever it is asked."""

    def __init__(self, *items: Any) -> None:
        self.items = items

    def segment(self, video: Video, expressions: Sequence[Expression]) -> Any:
        return self.items


EMPTY = np.zeros((HEIGHT, WIDTH), bool)


@pytest.mark.parametrize(
    ("model", "status", "words"),
    [
        (Contract(), "missing", "5 of 5 frames have no usable mask, the first is 00000"),
        (Contract(("0", 0, EMPTY)), "missing", "4 of 5 frames have no usable mask, the first is 00001"),
        (Contract(("seven", 0, EMPTY)), "invalid", "expression 'seven'; asked for: 0"),
        (Contract(("0", 5, EMPTY)), "invalid", "frame 5 of video video0; its frames are 0 to 4"),
        (Contract(("0", -1, EMPTY)), "invalid", "frame -1"),
        (Contract(("0", "00001", EMPTY)), "invalid", "frame '00001'"),
        (Contract(EMPTY), "invalid", "must yield (expression id, frame index, mask), found ndarray"),
        (lambda video, text: EMPTY[None], "invalid", "gave 1 masks for video video0, which has 5 frames"),
        (lambda video, text: None, "failed", "TypeError"),
    ],
)
def test_a_model_that_breaks_the_contract(model: Any, status: str, words: str, tmp_path: Path) -> None:
    run = predict(model, ToyDataset(1), out=tmp_path / "run", progress=False)
    line = run.predictions()[0]
    assert line.status == status and words in line.reason
    assert run.record.status == "finished"


def test_a_mask_given_twice_replaces_the_earlier_one(tmp_path: Path) -> None:
    full = np.ones_like(EMPTY)
    items = [("0", i, m) for m in (EMPTY, full) for i in range(5)]
    run = predict(Contract(*items), ToyDataset(1), out=tmp_path / "run", progress=False)
    line = run.predictions()[0]
    assert (line.status, line.n_empty_frames) == ("ok", 0)


def test_ctrl_c_keeps_what_is_finished_and_the_next_call_continues(
    data: ToyDataset, reference: dict[str, bytes], tmp_path: Path
) -> None:
    def interrupt(video: Video, expression: Expression, index: int, mask: Any) -> Any:
        if video.id == "video1" and index == 2:
            raise KeyboardInterrupt
        return mask

    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        predict(Model(data, interrupt), data, out=out, progress=False)
    assert Run.open(out).record.status == "interrupted"
    assert list(mask_files(out)) == ["video2.json.gz"]  # the longest first

    again = Model(data)
    run = predict(again, data, out=out, progress=False)
    assert again.asked == ["video1", "video0"]
    assert mask_files(run) == reference and run.record.status == "finished"
    assert sorted(statuses(run)) == sorted(s.key for s in data)


def test_a_full_disk_stops_with_a_clear_error_and_the_run_continues(
    data: ToyDataset, reference: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = run_masks.replace_file

    def full(path: Path, content: bytes) -> None:
        if "video1" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    out = tmp_path / "run"
    monkeypatch.setattr(run_masks, "replace_file", full)
    with pytest.raises(RunError, match="No space left"):
        predict(Model(data), data, out=out, progress=False)
    assert Run.open(out).record.status == "failed" and "No space" in Run.open(out).record.reason
    monkeypatch.undo()
    assert mask_files(predict(Model(data), data, out=out, progress=False)) == reference


def test_a_mask_file_without_its_lines_is_made_again(
    data: ToyDataset, reference: dict[str, bytes], tmp_path: Path
) -> None:
    run = predict(Model(data), data, out=tmp_path / "run", progress=False)
    log = tmp_path / "run" / "predictions.jsonl"
    log.write_bytes(b"\n".join(log.read_bytes().splitlines()[:7]) + b'\n{"key": "torn')
    again = Model(data)
    run = predict(again, data, out=tmp_path / "run", progress=False)
    assert again.asked == ["video2", "video1"] and mask_files(run) == reference


def test_resume_always_and_never(data: ToyDataset, reference: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "run"
    predict(Model(data), data, out=out, progress=False)
    idle, again = Model(data), Model(data)
    predict(idle, data, out=out, progress=False)
    run = predict(again, data, out=out, resume="always", progress=False)
    assert (idle.asked, again.asked) == ([], ["video2", "video1", "video0"])
    assert mask_files(run) == reference and len(run.predictions()) == len(data)
    with pytest.raises(RunError, match="already holds this run"):
        predict(Model(data), data, out=out, resume="never", progress=False)


def test_nothing_left_to_do_keeps_the_scores_of_the_run(tmp_path: Path) -> None:
    data = load("reasonshapes/test", n_videos=1, height=32, width=48, n_frames=12)
    run = predict(Perfect(data), data, out=tmp_path / "run", progress=False)
    evaluate(run, data, workers=1)
    predict(Perfect(data), data, out=tmp_path / "run", progress=False)
    again = Run.open(tmp_path / "run").record
    assert again.status == "finished" and again.summary is not None and again.summary.J.value == 1


def test_a_run_that_another_process_begins_at_this_moment_is_joined(
    data: ToyDataset, reference: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict(Model(data), data, out=tmp_path / "run", progress=False)
    looks = iter([False])  # there is none yet; a moment later the folder holds one
    monkeypatch.setattr(work, "is_run", lambda path: next(looks, True))
    assert mask_files(predict(Model(data), data, out=tmp_path / "run", progress=False)) == reference


def test_another_model_or_another_extent_does_not_continue_a_run(data: ToyDataset, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run = predict(Model(data), data, out=out, limit=2, progress=False)
    assert run.record.limit == 2 and len(run.predictions()) == 10
    with pytest.raises(RunError, match="predictor"):
        predict(Contract(), data, out=out, limit=2, progress=False)
    with pytest.raises(RunError, match="extent"):
        predict(Model(data), data, out=out, progress=False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model": Model}, "found the class Model"),
        ({"model": "perfect"}, "make_predictor('perfect', dataset)"),
        ({"resume": "maybe"}, "only-missing, always, never"),
        ({"limit": 0}, "at least 1"),
    ],
)
def test_arguments_that_make_no_sense(arguments: dict[str, Any], words: str, tmp_path: Path) -> None:
    arguments = {"model": Contract(), "progress": False, **arguments}
    with pytest.raises(UsageError) as error:
        predict(dataset=ToyDataset(1), out=tmp_path / "run", **arguments)
    assert words in str(error.value)
    assert not (tmp_path / "run").exists()


def test_something_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="found int"):
        predict(3, ToyDataset(1), out=tmp_path / "run")


def test_progress_says_speed_time_left_and_the_first_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ToyDataset(2)
    predict(Model(data), data, out=tmp_path / "run", limit=2, progress=True)
    assert "10 of 10 sentences" in capsys.readouterr().err
    (tmp_path / "run" / "masks" / "video1.json.gz").unlink()
    predict(Model(data, lambda v, e, i, m: m[1:]), data, out=tmp_path / "run", limit=2, progress=True)
    printed = capsys.readouterr().err
    assert "5 of 10 sentences are finished already" in printed
    assert "The first sentence that is not ok: video1/0 (invalid)" in printed and "5 not ok" in printed
    assert "a second" in printed and "0:00:00 left" in printed
