"""What answers cost: seconds, memory, tokens."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Any

MIB = 2**20


@dataclass(frozen=True)
class Cost:
    """What one video took.

    Attributes:
        seconds: wall time.
        peak_memory_mib: the most that this process has held so far, MiB; None where the system does not say.
        peak_cuda_mib: the most that torch has allocated on the current GPU during the video, MiB; None without one.
        tokens: language-model tokens that the predictor counted; None where it does not count.
    """

    seconds: float
    peak_memory_mib: float | None
    peak_cuda_mib: float | None
    tokens: int | None


class CostMeter:
    """Measures from its making to ``read``.

    A predictor that counts tokens has an attribute ``tokens_used``, an int that only grows.
    """

    def __init__(self, predictor: Any) -> None:
        self._predictor = predictor
        self._tokens = getattr(predictor, "tokens_used", None)
        cuda = _cuda()
        if cuda is not None:
            cuda.reset_peak_memory_stats()
        self._begin = time.perf_counter()

    def read(self) -> Cost:
        """What it has cost so far."""
        seconds = time.perf_counter() - self._begin
        cuda = _cuda()
        return Cost(
            seconds=seconds,
            peak_memory_mib=peak_memory_mib(),
            peak_cuda_mib=None if cuda is None else round(cuda.max_memory_allocated() / MIB, 1),
            tokens=None if self._tokens is None else int(self._predictor.tokens_used - self._tokens),
        )


def peak_memory_mib() -> float | None:
    """The most memory that this process has held (resident), MiB; None where the system does not say."""
    try:
        import resource
    except ImportError:
        return None  # Windows
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (MIB if sys.platform == "darwin" else 1024), 1)


def _cuda() -> Any:
    """``torch.cuda`` where the predictor uses it; torch is never imported for this."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized() else None
