"""The oracles under the protocols of the four benchmarks, on generated data. About 5 s."""

from __future__ import annotations

from pathlib import Path

import pytest

from rvos.baselines.registry import make_predictor
from rvos.benchmarks.engine import predict
from rvos.benchmarks.evaluator import evaluate
from rvos.datasets.reasonshapes.generate import generate
from rvos.datasets.reasonshapes.writers import write
from rvos.datasets.registry import load
from rvos.datasets.types import RVOSDataset

LAYOUTS = {
    "reasonvos": "reasonvos",
    "mevis": "mevis/valid_u",
    "ref-youtube-vos": "ref-youtube-vos/valid",
    "ref-davis17": "ref-davis17/valid",
}


@pytest.fixture(scope="module", params=LAYOUTS)
def dataset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RVOSDataset:
    root = tmp_path_factory.mktemp("data") / request.param
    write(request.param, root, generate("test", 2, height=48, width=72, n_frames=8))
    return load(LAYOUTS[request.param], root=root)


def scores(name: str, dataset: RVOSDataset, out: Path) -> dict[str, float]:
    """J&F under each of the dataset's default protocols, by protocol id."""
    run = predict(make_predictor(name, dataset), dataset, out=out / name, progress=False)
    assert {line.status for line in run.predictions()} == {"ok"}
    results = evaluate(run, dataset, workers=1)
    return {r.protocol.id: r.J_and_F or 0.0 for r in (results if isinstance(results, list) else [results])}


def test_oracles_and_blind_predictors_keep_their_order(dataset: RVOSDataset, tmp_path: Path) -> None:
    perfect, best = scores("perfect", dataset, tmp_path), scores("best-object", dataset, tmp_path)
    blind, silent = scores("one-mask-for-all", dataset, tmp_path), scores("empty", dataset, tmp_path)
    for protocol, ceiling in perfect.items():
        assert ceiling >= best[protocol] >= blind[protocol] >= silent[protocol]
        if "hungarian" not in protocol:
            assert ceiling == 1 and blind[protocol] < 0.8


def test_matching_objects_cannot_tell_that_all_sentences_were_swapped(dataset: RVOSDataset, tmp_path: Path) -> None:
    perfect, permuted = scores("perfect", dataset, tmp_path), scores("permuted-sentences", dataset, tmp_path)
    for protocol in perfect:
        if "hungarian" in protocol:
            assert permuted[protocol] == pytest.approx(perfect[protocol], abs=1e-12)
        else:
            assert permuted[protocol] < 0.6
