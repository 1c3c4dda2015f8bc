"""How the compiled loops are compiled: once per machine and kept, without the interpreter's lock."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

from numba import njit

if sys.byteorder != "little":
    raise ImportError("rvos packs pixels into little-endian words; this machine is big-endian.")

#: What Python or C would need to call a loop takes a fifth of the time to compile it.
_FOR_LOOPS_ONLY: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def compiled(signature: Any, inner: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function for one signature when its module is imported, or load it from numba's cache.

    The cache lies beside the module, else in the user's cache folder (NUMBA_CACHE_DIR overrides both).

    Args:
        signature: the types, as numba writes them.
        inner: only other compiled functions call it.
    """
    options: dict[str, Any] = _FOR_LOOPS_ONLY if inner else {"no_cfunc_wrapper": True}

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return njit(signature, nogil=True, cache=True, **options)(function)
        except RuntimeError as error:
            if "cannot cache" not in str(error):
                raise
            warnings.warn(
                "Compiled loops cannot be kept, so every start takes seconds longer: neither the package's folder nor "
                "the user's cache folder can be written to. Set NUMBA_CACHE_DIR to a folder that can.",
                RuntimeWarning,
                stacklevel=2,
            )
            return njit(signature, nogil=True, **options)(function)

    return decorate
