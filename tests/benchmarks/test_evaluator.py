from __future__ import annotations

import os
import pickle
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toyprotocol import OtherToyProtocol, ToyProtocol
from toyset import ToyDataset

from rvos.benchmarks import evaluator as evaluator_module
from rvos.benchmarks.evaluator import Evaluator, Progress, ScoringJob, evaluate
from rvos.benchmarks.predictions import MemoryPredictions, write_video_masks
from rvos.benchmarks.protocols.base import UnitScore
from rvos.benchmarks.results import Result
from rvos.benchmarks.runs import PredictionLine, Run
from rvos.datasets.errors import DatasetError, ProtocolError, RunError, UsageError
from rvos.datasets.types import RVOSDataset, Sample


def predicted(sample: Sample, index: int, dataset: RVOSDataset) -> np.ndarray:
    """The ground truth, moved by as many pixels as the sentence's number."""
    truth = dataset.ground_truth(sample)
    assert truth is not None
    mask = truth.mask(index)
    assert mask is not None
    return np.roll(mask, int(sample.expression.id), axis=1)


def masks_for(dataset: RVOSDataset, skip: set[tuple[str, int]] | None = None) -> MemoryPredictions:
    masks = MemoryPredictions()
    for sample in dataset:
        for index in range(len(sample.video)):
            if (sample.key, index) not in (skip or set()):
                masks.update(sample, index, predicted(sample, index, dataset))
    return masks


def one(*args: Any, **kwargs: Any) -> Result:
    result = evaluate(*args, **{"protocol": ToyProtocol(), "workers": 1, **kwargs})
    assert isinstance(result, Result)
    return result


def timeless(scores: Any) -> list[UnitScore]:
    return [replace(s, seconds=0.0) for s in scores]


class DieOn(ToyProtocol):
    """Kills its process when it scores a video, every time or as long as a file is not there."""

    def __init__(self, video_id: str, marker: Path | None = None) -> None:
        self.video_id, self.marker = video_id, marker

    def score_video(self, dataset: RVOSDataset, video_id: str, *args: Any, **kwargs: Any) -> list[UnitScore]:
        if video_id == self.video_id and not (self.marker and self.marker.exists()):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().score_video(dataset, video_id, *args, **kwargs)


class HungryOn(ToyProtocol):
    """Asks for more memory than its process may have when it scores a video, as long as a file is not there."""

    def __init__(self, video_id: str, marker: Path) -> None:
        self.video_id, self.marker = video_id, marker

    def score_video(self, dataset: RVOSDataset, video_id: str, *args: Any, **kwargs: Any) -> list[UnitScore]:
        if video_id != self.video_id or self.marker.exists():
            return super().score_video(dataset, video_id, *args, **kwargs)
        import resource  # not on Windows

        before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, before[1]))
        try:
            np.ones(8 << 30, np.uint8)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)
        raise AssertionError("the limit did not hold")


# What is scored -------------------------------------------------------------------------------------------------------


def test_the_summary_is_the_mean_over_sentences() -> None:
    data = ToyDataset(4)
    result = one(masks_for(data), data)
    assert len(result.scores) == len(data) == result.summary.n_counted
    assert float(np.mean([s.J for s in result.scores])) == pytest.approx(result.J, abs=1e-15)
    assert result.J_and_F == pytest.approx((result.J + result.F) / 2)  # type: ignore[operator]
    assert result.complete and result.path is None
    assert result.summary.J_and_F.n_clusters == 4 and result.summary.J_and_F.half_width is not None
    assert {s.unit.tags["kind"] for s in result.scores} == {"reasoning"}


def test_workers_do_not_change_a_result(tmp_path: Path) -> None:
    data = ToyDataset(5)
    masks = masks_for(data, skip={("video3/1", 2)})
    results = [one(masks, data, workers=w, out=tmp_path / str(w), per_frame=True) for w in (1, 2, 3)]
    for result in results[1:]:
        assert timeless(result.scores) == timeless(results[0].scores)
        assert result.summary == results[0].summary
    keys = [[s.unit.key for s in Run.open(tmp_path / str(w)).scores()] for w in (1, 2, 3)]
    assert keys[0] == keys[1] == keys[2] == [s.key for s in data]


def test_missing_frames_and_sentences_are_listed() -> None:
    data = ToyDataset(2)
    gone = {("video1/2", i) for i in range(6)}
    result = one(masks_for(data, skip={("video0/1", 0), *gone}), data)
    assert [s.unit.key for s in result.missing()] == ["video0/1", "video1/2"]
    assert not result.complete and result.summary.counts["missing"] == 1
    assert result.worst(1)[0].unit.key == "video1/2"
    assert any("video0/1: partial, 1 missing of 5 frames" in line for line in result.tail())


def test_a_limit_takes_the_first_videos_and_says_so(tmp_path: Path) -> None:
    data = ToyDataset(4)
    result = one(masks_for(data), data, limit=2, out=tmp_path / "run")
    assert [s.unit.video_id for s in result.scores] == ["video0"] * 5 + ["video1"] * 5
    assert result.warnings[0] == "Partial run: first 2 of 4 videos."
    assert not result.summary.stamps
    with pytest.raises(UsageError, match="limit is 0"):
        one(masks_for(data), data, limit=0)


def test_ceiling_and_floor_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    data = ToyDataset(2)
    scored: list[str] = []
    watch = lambda progress: scored.append(progress.task)  # noqa: E731
    first = one(masks_for(data), data, bounds=True, progress=watch)
    assert first.summary.ceiling == {"J&F": 1.0, "J": 1.0, "F": 1.0}
    assert first.summary.floor == {"J&F": 0.2, "J": 0.2, "F": 0.2}  # one sentence of five has no target
    assert {"ceiling of toy@1", "floor of toy@1"} <= set(scored)
    scored.clear()
    assert one(masks_for(data), data, bounds=True, progress=watch).summary.floor == first.summary.floor
    assert set(scored) == {"toy@1"}


def test_several_protocols_lie_side_by_side(tmp_path: Path) -> None:
    data = ToyDataset(2)
    results = evaluate(masks_for(data), data, protocol=[ToyProtocol(), OtherToyProtocol()], out=tmp_path, workers=1)
    assert isinstance(results, list)
    assert [r.path for r in results] == [tmp_path / "toy@1", tmp_path / "other-toy@1"]
    assert results[0].summary.stamps == ["Nothing is missing: equals the official script (other-toy@1)."]


def test_a_stamp_that_the_script_contradicts_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Different(OtherToyProtocol):
        def aggregate(self, scores: Any) -> Any:
            return replace(super().aggregate(scores), values={"J&F": 0.5, "J": 0.5, "F": 0.5})

    data = ToyDataset(2)
    strict, _ = evaluate(masks_for(data), data, protocol=[ToyProtocol(), Different()], out=tmp_path, workers=1)  # type: ignore[misc]
    assert strict.summary.stamps == [] and "Differs from other-toy@1" in strict.warnings[-1]
    assert Run.open(tmp_path / "toy@1").record.summary == strict.summary


def test_a_protocol_that_does_not_apply_is_refused() -> None:
    with pytest.raises(ProtocolError, match="reasonvos"):
        one(masks_for(ToyDataset(1)), ToyDataset(1), protocol="reasonvos@1")
    with pytest.raises(UsageError, match="Which dataset"):
        one(masks_for(ToyDataset(1)))


# Runs -----------------------------------------------------------------------------------------------------------------


def test_a_resumed_run_equals_one_that_was_never_stopped(tmp_path: Path) -> None:
    data = ToyDataset(5)
    masks = masks_for(data)

    def stop_after_two(progress: Progress) -> None:
        if progress.done == 2:
            raise KeyboardInterrupt

    whole = one(masks, data, out=tmp_path / "whole", per_frame=True)
    with pytest.raises(KeyboardInterrupt):
        one(masks, data, out=tmp_path / "run", per_frame=True, workers=1, progress=stop_after_two)
    stopped = Run.open(tmp_path / "run")
    assert stopped.record.status == "interrupted" and stopped.record.summary is None
    assert {s.unit.video_id for s in stopped.scores()} == {"video0", "video1"}
    with open(tmp_path / "run" / "samples.jsonl", "a") as stream:
        stream.write('{"key": "video2/0", "vid')
    seen: list[int] = []
    resumed = one(
        masks, data, out=tmp_path / "run", per_frame=True, resume=True, progress=lambda p: seen.append(p.done)
    )
    assert seen == [2, 3, 4, 5]
    assert timeless(resumed.scores) == timeless(whole.scores) and resumed.summary == whole.summary
    assert timeless(Run.open(tmp_path / "run").scores()) == timeless(whole.scores)


def test_a_finished_run_is_not_overwritten(tmp_path: Path) -> None:
    data = ToyDataset(2)
    first = one(masks_for(data), data, out=tmp_path / "run")
    with pytest.raises(RunError, match="already holds this run"):
        one(masks_for(data), data, out=tmp_path / "run")
    again = one(masks_for(data), data, out=tmp_path / "run", resume=True)
    assert again.scores == first.scores


@pytest.mark.parametrize("workers", [2, 3])
def test_a_killed_worker_costs_its_video_and_resume_scores_it(workers: int, tmp_path: Path) -> None:
    data, masks = ToyDataset(4), masks_for(ToyDataset(4))
    healthy = tmp_path / "healthy"
    dying = DieOn("video2", healthy)
    result = one(masks, data, protocol=dying, workers=workers, out=tmp_path / "run")
    lost = [s for s in result.scores if s.status == "failed"]
    assert [s.unit.video_id for s in lost] == ["video2"] * 5
    assert all(s.J == s.F == 0 and "SIGKILL" in s.reason for s in lost)
    assert result.summary.counts["ok"] == 15 and result.record.status == "finished"
    healthy.touch()
    resumed = one(masks, data, protocol=dying, workers=workers, out=tmp_path / "run", resume=True)
    assert timeless(resumed.scores) == timeless(one(masks, data).scores)


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory by RLIMIT_AS")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_out_of_memory_costs_its_video_and_resume_scores_it(workers: int, tmp_path: Path) -> None:
    data, masks = ToyDataset(3), masks_for(ToyDataset(3))
    hungry = HungryOn("video1", tmp_path / "enough")
    result = one(masks, data, protocol=hungry, workers=workers, out=tmp_path / "run")
    lost = [s for s in result.scores if s.status == "failed"]
    assert [s.unit.video_id for s in lost] == ["video1"] * 5
    assert all(s.J == s.F == 0 and "MemoryError" in s.reason and "8.00 GiB" in s.reason for s in lost)
    assert result.summary.counts["ok"] == 10 and result.record.status == "finished"
    (tmp_path / "enough").touch()
    resumed = one(masks, data, protocol=hungry, workers=workers, out=tmp_path / "run", resume=True)
    assert timeless(resumed.scores) == timeless(one(masks, data).scores)


def test_ground_truth_that_cannot_be_read_fails_its_video_alone() -> None:
    class Broken(ToyDataset):
        def ground_truth(self, sample: Sample) -> Any:
            if sample.video.id == "video1":
                raise DatasetError("mask_dict.json: no annotation 7.")
            return super().ground_truth(sample)

    result = one(masks_for(ToyDataset(3)), Broken(3))
    assert {s.status for s in result.scores if s.unit.video_id == "video1"} == {"failed"}
    assert result.missing()[0].reason == "mask_dict.json: no annotation 7."
    assert result.summary.counts["ok"] == 10


def predict_run(folder: Path, data: RVOSDataset) -> Run:
    """A run of masks in which the model raised for one sentence and one whole video is not there."""
    masks = masks_for(data, skip={(f"{v}/1", i) for v in ("video0",) for i in range(9)})
    run = Run.create(folder, data)
    for video in data.videos[:-1]:
        samples = data.samples_of(video.id)
        given = {s.expression.id: masks.rles(s) for s in samples if masks.frame_names(s)}
        write_video_masks(run.masks, video, given)
    line = PredictionLine(key="video0/1", video_id="video0", expression_id="1", status="failed", reason="out of memory")
    run.append_predictions([line])
    run.save(status="finished")
    return run


def test_a_run_of_masks_keeps_its_scores_itself(tmp_path: Path) -> None:
    data = ToyDataset(3)
    run = predict_run(tmp_path / "run", data)
    result = one(run, data)
    assert result.path == run.path
    states = {s.unit.key: s.status for s in result.scores}
    assert states["video0/1"] == "failed" and states["video2/0"] == "missing" and states["video0/0"] == "ok"
    assert next(s for s in result.scores if s.status == "failed").reason == "the model raised: out of memory"
    again = one(tmp_path / "run", data)  # scores can be computed anew from the masks
    assert timeless(again.scores) == timeless(result.scores)
    other = one(run, data, protocol=OtherToyProtocol())
    assert other.path == run.path / "other-toy@1"
    assert Result.of_run(Run.open(run.path)).protocol.id == "toy@1"
    with pytest.raises(RunError, match="no masks"):
        one(other.path, data)
    with pytest.raises(RunError, match="dataset fingerprint"):
        one(run, ToyDataset(2))


# Training loops -------------------------------------------------------------------------------------------------------


def test_ranks_that_share_samples_give_the_result_of_the_command(tmp_path: Path) -> None:
    data = ToyDataset(3)
    ranks = [Evaluator(data, ToyProtocol()) for _ in range(3)]
    frames = [(s, i) for s in data for i in range(len(s.video))]
    np.random.default_rng(0).shuffle(frames)  # type: ignore[arg-type]
    for number, (sample, index) in enumerate(frames + frames[:7]):
        rank = ranks[number % 3]
        rank.update(sample.key if number % 2 else sample, index, predicted(sample, index, data))
    gathered = pickle.loads(pickle.dumps(ranks))
    for other in gathered[1:]:
        gathered[0].merge(other)
    gathered[0].merge(ranks[2])
    result = gathered[0].compute(per_frame=True)
    expected = one(masks_for(data), data, per_frame=True, workers=2)
    assert timeless(result.scores) == timeless(expected.scores) and result.summary == expected.summary
    gathered[0].reset()
    assert gathered[0].compute().summary.counts["missing"] == len(data)


def test_evaluators_of_other_data_do_not_mix() -> None:
    with pytest.raises(UsageError, match="one protocol and dataset"):
        Evaluator(ToyDataset(1), ToyProtocol()).merge(Evaluator(ToyDataset(2), ToyProtocol()))
    with pytest.raises(ProtocolError):
        Evaluator(ToyDataset(1), "mevis@1")


# Forms ----------------------------------------------------------------------------------------------------------------


def test_a_result_has_many_forms(tmp_path: Path) -> None:
    import json

    data = ToyDataset(2)
    result = one(masks_for(data), data, out=tmp_path / "run")
    assert str(result).splitlines()[0] == "toy@1: Toy: mean over sentences; missing is 0."
    assert str(result).splitlines()[-1] == f"Run: {tmp_path / 'run'}"
    assert f"{100 * result.J:.2f} ±" in str(result)  # type: ignore[operator]
    assert "| score |" in result.to_markdown()
    record = json.loads(result.to_json())
    assert record["summary"]["J&F"]["value"] == result.J_and_F and record["path"] == str(tmp_path / "run")
    lines = result.to_csv().splitlines()
    assert len(lines) == 11 and lines[0].startswith("protocol,key,video_id,expression_id")
    frame = result.to_frame()
    assert frame["J"].mean() == pytest.approx(result.J) and list(frame["key"]) == [s.key for s in data]
    assert Result.of_run(Run.open(tmp_path / "run")) == result


def test_a_job_can_be_sent_to_any_process() -> None:
    data = ToyDataset(1)
    job = ScoringJob(data, ToyProtocol(), masks_for(data))
    copy = pickle.loads(pickle.dumps(job))
    scored = [timeless(evaluator_module.score_video(j, "video0")) for j in (job, copy)]
    assert scored[0] == scored[1]
