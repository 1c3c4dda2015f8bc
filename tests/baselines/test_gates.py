"""Blind predictors: at chance where twins control them, above it where nothing does. About 15 s."""

from __future__ import annotations

import numpy as np
import pytest

from rvos.baselines.gates import GATES, SIGHTED, Case, Fitted, cases, measure, read, uncontrolled
from rvos.datasets.reasonshapes import make_videos


@pytest.fixture(scope="module")
def train() -> list[Case]:
    return cases(make_videos("train", 96))


@pytest.fixture(scope="module")
def test() -> list[Case]:
    return cases(make_videos("test", 60))


@pytest.fixture(scope="module")
def plain() -> tuple[list[Case], list[Case]]:
    return uncontrolled("train", 100), uncontrolled("test", 70)


def test_the_gates_hold_with_twins(train: list[Case], test: list[Case]) -> None:
    readings = measure(train, test)
    assert [r.gate for r in readings] == [g.name for g in GATES]
    for reading in readings:
        assert reading.holds, reading
        assert reading.preference.value is not None and reading.preference.value < 0.6
        assert reading.pairs is not None and reading.pairs < 0.25


@pytest.mark.parametrize("name", ["text-only", "object-prior", "single-frame, first", "frame-shuffled"])
def test_exact_twins_look_exactly_alike(train: list[Case], test: list[Case], name: str) -> None:
    gate = next(g for g in GATES if g.name == name)
    reading = read(Fitted(gate, train), test)
    assert reading.preference.value == pytest.approx(0.5, abs=1e-12) and reading.pairs == 0


def test_who_sees_everything_is_not_blind(train: list[Case], test: list[Case]) -> None:
    reading = measure(train, test, [SIGHTED])[0]
    assert reading.preference.value is not None and reading.preference.value > 0.55
    assert reading.pairs is not None and reading.pairs > 0.25


def fails(plain: tuple[list[Case], list[Case]], name: str) -> bool:
    gate = next(g for g in GATES if g.name == name)
    reading = measure(*plain, [gate], twins=False)[0]
    assert reading.pairs is None
    return not reading.holds


@pytest.mark.parametrize("name", ["text-only", "object-prior", "frame-shuffled"])
def test_without_twins_a_gate_fails(plain: tuple[list[Case], list[Case]], name: str) -> None:
    assert fails(plain, name)


@pytest.mark.long
def test_without_twins_one_frame_tells_a_little_too() -> None:
    """So little that it takes twice as many videos to see."""
    assert fails((uncontrolled("train", 220), uncontrolled("test", 160)), "single-frame, middle")


def test_every_candidate_is_scored(train: list[Case], test: list[Case]) -> None:
    for gate in (*GATES, SIGHTED):
        fitted = Fitted(gate, train[:60])
        scores = fitted.scores(test[0])
        assert scores.shape == (len(test[0].candidates),) and np.isfinite(scores).all()
        assert test[0].target in test[0].candidates
