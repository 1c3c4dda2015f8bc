"""The training loop: the same steps whether or not it was stopped, and everything recorded. About 3 seconds."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("accelerate")

from rvos.datasets.errors import UsageError
from rvos.videolisa.train.engine import Engine, Optimisation, Options, Stopped, to_device
from rvos.videolisa.train.record import plot, read_log, training_card, write_card


class Fit(nn.Module):
    """A regression with dropout, so that torch's own random state matters."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))

    def forward(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        loss = (self.net(batch) - batch.sum(-1, keepdim=True)).square().mean()
        return {"loss": loss, "error": loss.sqrt()}


class FitStage:
    """A stage of a few steps that may ask its own process to stop."""

    validate_every = 4

    def __init__(self, name: str = "fit", steps: int = 8, accumulate: int = 1, stop_at: int | None = None) -> None:
        self.name, self.stop_at, self.drawn = name, stop_at, 0
        self.optimisation = Optimisation(steps, lr=1e-2, warmup=2, accumulate=accumulate)
        self.module: nn.Module = Fit()

    def begin(self) -> None:
        self.module.requires_grad_(True)

    def batch(self, rng: np.random.Generator) -> torch.Tensor:
        self.drawn += 1
        if self.drawn == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return torch.from_numpy(rng.normal(size=(16, 4)).astype(np.float32))

    def validate(self) -> dict[str, float]:
        return {"J&F": 50.0}


def weights(stage: Any) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in stage.module.parameters()])


def run(folder: Path, *stages: Any, **options: Any) -> None:
    Engine(folder, Options(checkpoint_every=3, log_every=1, **options)).run(stages)


def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(tmp_path: Path) -> None:
    whole = FitStage("first", 8), FitStage("second", 5, accumulate=2)
    run(tmp_path / "whole", *whole)
    for limit in (3, 2, 4):  # within the first stage, at a step without a checkpoint of its own, into the second
        pieces = FitStage("first", 8), FitStage("second", 5, accumulate=2)
        with pytest.raises(Stopped):
            run(tmp_path / "pieces", *pieces, limit_steps=limit)
    pieces = FitStage("first", 8), FitStage("second", 5, accumulate=2)
    run(tmp_path / "pieces", *pieces)
    assert torch.equal(weights(whole[1]), weights(pieces[1]))
    lines = [{k: v for k, v in line.items() if k != "seconds"} for line in read_log(tmp_path / "pieces")]
    assert lines == [{k: v for k, v in line.items() if k != "seconds"} for line in read_log(tmp_path / "whole")]


def test_a_signal_ends_the_run_after_its_step_with_a_checkpoint(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    whole, stopped, resumed = FitStage(), FitStage(stop_at=5), FitStage()
    run(tmp_path / "whole", whole)
    with pytest.raises(Stopped, match="after step 5"):
        run(tmp_path / "stopped", stopped)
    run(tmp_path / "stopped", resumed)
    assert resumed.drawn == 3
    assert torch.equal(weights(whole), weights(resumed))
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_checkpoint_that_was_being_written_is_none(tmp_path: Path) -> None:
    stage = FitStage()
    with pytest.raises(Stopped):
        run(tmp_path, stage, limit_steps=4)
    torn = tmp_path / "checkpoints" / ".0-fit-0000007.partial"
    torn.mkdir()
    again = FitStage()
    run(tmp_path, again)
    assert again.drawn == 4


def test_minutes_end_the_run_resumably(tmp_path: Path) -> None:
    stage = FitStage()
    with pytest.raises(Stopped, match="after step 1 "):
        run(tmp_path, stage, minutes=0.0)


def test_a_folder_of_another_recipe_or_seed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        run(tmp_path, FitStage(), limit_steps=3)
    with pytest.raises(UsageError, match="'stage': 'fit'"):
        run(tmp_path, FitStage("other"))
    with pytest.raises(UsageError, match=r"'seed': 0.*'seed': 1"):
        run(tmp_path, FitStage(), seed=1)
    with pytest.raises(UsageError, match=r"'steps': 8.*'steps': 5"):
        run(tmp_path, FitStage(steps=5))


def test_seeds_and_accumulation_change_what_is_drawn(tmp_path: Path) -> None:
    stages = [FitStage(), FitStage(), FitStage(accumulate=2)]
    run(tmp_path / "0", stages[0])
    run(tmp_path / "1", stages[1], seed=1)
    run(tmp_path / "2", stages[2])
    assert stages[2].drawn == 16
    assert not torch.equal(weights(stages[0]), weights(stages[1]))
    assert not torch.equal(weights(stages[0]), weights(stages[2]))


def test_the_paper_s_schedule() -> None:
    course = Optimisation(steps=6000, lr=3e-4, warmup=100)
    assert course.rate(0) == pytest.approx(0.01)
    assert course.rate(99) == course.rate(100) == 1.0
    assert course.rate(3050) == pytest.approx(0.5)
    assert course.rate(5999) == pytest.approx(1 / 5900)
    assert course.scaled(0.01).steps == 60 and course.scaled(0.01).warmup == 6


def test_log_plot_and_card(tmp_path: Path) -> None:
    run(tmp_path, FitStage())
    lines = read_log(tmp_path)
    assert {line["event"] for line in lines} == {"step", "validation"}
    assert [line["step"] for line in lines if line["event"] == "validation"] == [0, 4, 8]
    assert {"loss", "error", "lr", "gradient_norm", "seconds"} <= lines[1].keys()
    assert "<svg" in plot(tmp_path).read_text()
    card = json.loads(write_card(tmp_path, training_card(preset="fit", data={"videos": 3})).read_text())
    assert card["preset"] == "fit" and card["data"] == {"videos": 3}
    assert {"command", "packages", "machine", "cpu_seconds_of_this_process", "source"} <= card.keys()
    assert {"torch", "accelerate"} <= card["packages"].keys()


def test_batches_move_as_a_whole() -> None:
    batch = {"a": torch.ones(2), "b": [torch.zeros(1), "word"], "c": (1, torch.ones(1))}
    moved = to_device(batch, torch.device("meta"))
    assert moved["a"].is_meta and moved["b"][0].is_meta and moved["b"][1] == "word" and moved["c"][1].is_meta
