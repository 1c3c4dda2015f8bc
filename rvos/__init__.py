"""Benchmarks and datasets for language-instructed video object segmentation.

    run = rvos.predict(my_model, "mevis/valid_u", root="data/mevis", out="runs/mine")
    print(rvos.evaluate(run))

Names are imported when first used, so ``import rvos`` is instant and needs no model library.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# In a checkout the sub-packages are the folders beside this one. Python started from the repository's root finds this
# file first, installed or not, so it must find them too.
_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "datasets" / "types.py").exists():
    __path__.append(str(_checkout))

#: public name -> module below rvos that defines it
_HOMES = {
    "load": "datasets.registry",
    "Video": "datasets.types",
    "Expression": "datasets.types",
    "Sample": "datasets.types",
    "Masklet": "datasets.types",
    "RVOSDataset": "datasets.types",
    "RvosError": "datasets.errors",
    "Predictor": "benchmarks.predictor",
    "j_and_f": "benchmarks.metrics",
    "get_protocol": "benchmarks.protocols",
    "Protocol": "benchmarks.protocols.base",
    "Evaluator": "benchmarks.evaluator",
    "evaluate": "benchmarks.evaluator",
    "predict": "benchmarks.engine",
    "Run": "benchmarks.runs",
    "compare": "leaderboard.opening",
    "reproduce": "leaderboard.reproduction",
}


__all__ = [
    "Evaluator",
    "Expression",
    "Masklet",
    "Predictor",
    "Protocol",
    "RVOSDataset",
    "Run",
    "RvosError",
    "Sample",
    "Video",
    "__version__",
    "compare",
    "evaluate",
    "get_protocol",
    "j_and_f",
    "load",
    "predict",
    "reproduce",
]

if TYPE_CHECKING:
    from .benchmarks.engine import predict
    from .benchmarks.evaluator import Evaluator, evaluate
    from .benchmarks.metrics import j_and_f
    from .benchmarks.predictor import Predictor
    from .benchmarks.protocols import get_protocol
    from .benchmarks.protocols.base import Protocol
    from .benchmarks.runs import Run
    from .datasets.errors import RvosError
    from .datasets.registry import load
    from .datasets.types import Expression, Masklet, RVOSDataset, Sample, Video
    from .leaderboard.opening import compare
    from .leaderboard.reproduction import reproduce


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module 'rvos' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
