"""Under no strict protocol does it pay to delete a mask or to break one: videos and images. About 2 s.

Ref-DAVIS-17, whose frames are lost with any object's mask, has tests of its own beside its protocols.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from toyimages import drawn
from toymasks import Masks, run
from toyset import toy

from rvos.benchmarks.protocols import REGISTRY, get_protocol
from rvos.benchmarks.protocols.base import Protocol, UnitScore
from rvos.benchmarks.protocols.images import ImageProtocol
from rvos.datasets.errors import PredictionInvalid

#: every strict protocol, and the scripts that count what is missing as wrong
PROTOCOLS = [
    protocol_id
    for protocol_id in REGISTRY
    if not protocol_id.startswith("davis17")
    and (get_protocol(protocol_id).strict or protocol_id in ("revos@visa", "reasonseg@videolisa", "refcoco@videolisa"))
]
#: of units: what is no score but a count, and rises with what is missing
COUNTS = ("frames_", "union")


def answers(protocol: Protocol) -> Masks:
    """Imperfect answers on data that the protocol is for."""
    if isinstance(protocol, ImageProtocol):
        return Masks(drawn(protocol.id, noise()), shift=1)
    names = {"mevis-v2": "mevis", "expressions": "toy"}
    name = protocol.id.partition("@")[0]
    return Masks(toy(names.get(name, name), 2), shift=4)


def noise() -> list[np.ndarray]:
    """Nine label maps with void pixels: of three, one shows much, one nothing and one little."""
    rng = np.random.default_rng(3)
    shares = ([0.5, 0.4, 0.1], [0.9, 0, 0.1], [0.8, 0.1, 0.1]) * 3
    return [rng.choice([0, 1, 255], (6, 7), p=share).astype(np.uint8) for share in shares]


def steps(masks: Masks, rng: np.random.Generator) -> Iterator[None]:
    """Frames and whole answers go or break, more and more of them, and at last everything is gone."""
    spots = [f"{s.key}/{n}" for s in masks.dataset for n in s.video.frame_names] + [s.key for s in masks.dataset]
    for _ in range(5):
        broken = str(rng.choice(spots))
        masks.replaced[broken] = PredictionInvalid(f"{broken}: corrupt.")
        masks.deleted |= set(rng.choice(spots, len(spots) // 8))
        yield
    masks.deleted |= {s.key for s in masks.dataset}
    yield


def values_of(score: UnitScore) -> dict[str, float]:
    return {n: score.value(n) or 0 for n in ("J", "F", *score.extras) if not n.startswith(COUNTS)}


@pytest.mark.parametrize("protocol_id", PROTOCOLS)
def test_deleting_and_breaking_never_help(protocol_id: str) -> None:
    protocol = get_protocol(protocol_id)
    masks = answers(protocol)
    before, summary = run(protocol_id, masks)
    assert any((value or 0) > 0 for value in summary.values.values())
    for _ in steps(masks, np.random.default_rng(5)):
        after, less = run(protocol_id, masks)
        assert all((value or 0) <= (summary.values[name] or 0) + 1e-12 for name, value in less.values.items())
        assert less.n_counted == summary.n_counted
        for key, score in after.items():
            assert all(value <= values_of(before[key])[name] for name, value in values_of(score).items()), key
        before, summary = after, less
    assert set(summary.values.values()) <= {0, None}
