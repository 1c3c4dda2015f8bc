"""A process in which torch cannot be imported, for one test."""

from __future__ import annotations

import sys

import pytest


def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Model modules are imported anew, and fail; afterwards all are again those that other tests hold."""
    loaded = {n: m for n, m in sys.modules.items() if n.startswith(("rvos.videolisa.", "rvos.baselines.nano"))}
    for name, module in loaded.items():
        parent, _, child = name.rpartition(".")
        if getattr(sys.modules.get(parent), child, None) is module:
            monkeypatch.setattr(sys.modules[parent], child, module)
    for name in loaded:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
