"""Compiled loops work where they cannot be kept, and say so."""

from __future__ import annotations

from typing import Any

import pytest

from rvos.datasets.jit import compiled


def test_a_function_that_cannot_be_cached_is_compiled_all_the_same() -> None:
    namespace: dict[str, Any] = {}
    exec("def successor(n):\n    return n + 1\n", namespace)  # a function without a file has no place for a cache
    with pytest.warns(RuntimeWarning, match="NUMBA_CACHE_DIR"):
        successor = compiled("int64(int64)")(namespace["successor"])
    assert successor(41) == 42
