"""Keeps tests out of the user's folders. What tests share lies in ``helpers``, put on the path by pyproject.toml."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# pytest puts the folder of this file on the path, where ``rvos`` would name the folder tests/rvos: the package's own
# module would never run.
_HERE = str(Path(__file__).parent)
sys.path[:] = [entry for entry in sys.path if entry != _HERE]

# Tests and the commands that they start share the cores, and their models are tiny: more threads wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell has what it starts in the background ignore Ctrl-C, and so would all commands that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def own_cache_and_config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache and a config file of the test session's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RVOS_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("RVOS_CONFIG", str(tmp_path_factory.mktemp("config") / "config.toml"))
        yield
