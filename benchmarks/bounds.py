"""Ceiling and floor of a protocol on some data, scored like any predictions and then kept in the user's cache."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..datasets.config import cache_dir, replace_file
from ..datasets.types import RVOSDataset
from .protocols.base import Protocol, Summary
from .protocols.bounds import TruthMaps, TruthMasks
from .protocols.davis import DavisProtocol
from .protocols.per_expression import PerExpressionProtocol

Bound = dict[str, float | None]
Truth = TruthMasks | TruthMaps


@dataclass(frozen=True)
class KeptBounds:
    """The protocol's metrics, 0-1, of the perfect and of the empty predictor."""

    ceiling: Bound
    floor: Bound


def cached_bounds(
    dataset: RVOSDataset, protocol: Protocol, limit: int | None, summarise: Callable[[Truth], Summary]
) -> KeptBounds | None:
    """The bounds, computed once for data, protocol and extent; None for a protocol that knows no perfect predictor.

    Args:
        limit: only the dataset's first videos.
        summarise: scores predictions under the protocol.
    """
    from .. import __version__

    perfect, empty = truth(dataset, protocol, empty=False), truth(dataset, protocol, empty=True)
    if perfect is None or empty is None:
        return None
    key = "\n".join((dataset.fingerprint, protocol.id, str(limit), __version__))
    kept = cache_dir() / "bounds" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    bounds = _load(kept, [metric.name for metric in protocol.metrics])
    if bounds is None:
        bounds = KeptBounds(dict(summarise(perfect).values), dict(summarise(empty).values))
        _keep(kept, bounds)
    return bounds


def _load(kept: Path, names: Sequence[str]) -> KeptBounds | None:
    """None where nothing is kept, or what is kept is damaged (then it is computed again)."""
    try:
        content = json.loads(kept.read_text(encoding="utf-8"))
        values = [{name: content[bound][name] for name in names} for bound in ("ceiling", "floor")]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        warnings.warn(f"{kept}: damaged cache, ceiling and floor are computed again ({error}).", stacklevel=3)
        return None
    return KeptBounds(*values)


def _keep(kept: Path, bounds: KeptBounds) -> None:
    try:
        replace_file(kept, json.dumps({"ceiling": bounds.ceiling, "floor": bounds.floor}).encode())
    except OSError as error:
        warnings.warn(f"{kept}: cannot be written ({error.strerror}); set RVOS_CACHE to a folder.", stacklevel=3)


def truth(dataset: RVOSDataset, protocol: Protocol, empty: bool) -> Truth | None:
    """The protocol's ground truth as predictions, or empty masks of its size."""
    if isinstance(protocol, DavisProtocol):
        return TruthMaps(protocol, dataset, empty)
    if isinstance(protocol, PerExpressionProtocol):
        return TruthMasks(protocol, dataset, empty)
    return None
