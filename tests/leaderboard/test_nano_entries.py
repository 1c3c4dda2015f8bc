"""The shipped weights give the committed rows again, on one thread and on two. About 8 s; long tests take minutes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="models need torch (pip install 'rvos[models]')")
pytest.importorskip("transformers", reason="models need transformers (pip install 'rvos[models]')")
pytest.importorskip("sentencepiece", reason="models need sentencepiece (pip install 'rvos[models]')")

from rvos.baselines.registry import make_predictor  # noqa: E402
from rvos.benchmarks.engine import predict  # noqa: E402
from rvos.benchmarks.evaluator import evaluate  # noqa: E402
from rvos.benchmarks.results import Result  # noqa: E402
from rvos.datasets.registry import load  # noqa: E402
from rvos.leaderboard.archives import read_result  # noqa: E402
from rvos.videolisa.checkpoints import weights_hash  # noqa: E402
from rvos.videolisa.nano.shipped import PRESETS, shipped  # noqa: E402

ENTRIES = Path(__file__).parents[2] / "leaderboard" / "submitted" / "reasonshapes-test" / "reasonshapes@1"
#: A tenth of a point.
TOLERANCE = 1e-3
METRICS = ("J_and_F", "J", "F")


@pytest.fixture(params=PRESETS)
def name(request: pytest.FixtureRequest) -> str:
    assert archive(request.param).is_file(), f"{request.param} ships, but no entry of it is committed"
    return request.param


@pytest.fixture
def threads() -> Iterator[None]:
    """Whatever number a test sets, the next one finds the one before."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def archive(name: str) -> Path:
    return ENTRIES / name / f"{name}.rvos.tar.xz"


def test_the_row_was_made_with_the_shipped_weights(name: str) -> None:
    predictor = read_result(archive(name)).record.predictor
    assert predictor is not None and predictor.name == name and predictor.arguments == {}
    assert predictor.weights_hash == weights_hash(shipped(name))


@pytest.mark.parametrize("n_threads", [1, 2])
def test_the_first_video_gets_its_committed_scores(name: str, n_threads: int, threads: None, tmp_path: Path) -> None:
    again = predicted(name, n_threads, 1, tmp_path)
    assert_equal(again, read_result(archive(name)))


@pytest.mark.long
@pytest.mark.parametrize("n_threads", [1, 2])
def test_the_whole_split_gets_its_committed_row(name: str, n_threads: int, threads: None, tmp_path: Path) -> None:
    again, committed = predicted(name, n_threads, None, tmp_path), read_result(archive(name))
    assert again.dataset.fingerprint == committed.dataset.fingerprint
    for metric in ("J&F", "J", "F"):
        assert again.value(metric) == pytest.approx(committed.value(metric), abs=TOLERANCE)
    assert_equal(again, committed)


def predicted(name: str, n_threads: int, n_videos: int | None, folder: Path) -> Result:
    torch.set_num_threads(n_threads)
    data = load("reasonshapes/test", n_videos=n_videos)
    run = predict(make_predictor(name), data, out=folder / "run", progress=False)
    result = evaluate(run, data, workers=1)
    assert isinstance(result, Result)
    return result


def assert_equal(again: Result, committed: Result) -> None:
    """Mean J&F, J and F of the sentences that were predicted again are the committed ones."""
    held = {score.unit.key: score for score in committed.scores}
    for metric in METRICS:
        mine = [getattr(score, metric) for score in again.scores]
        theirs = [getattr(held[score.unit.key], metric) for score in again.scores]
        assert np.mean(mine) == pytest.approx(np.mean(theirs), abs=TOLERANCE)
