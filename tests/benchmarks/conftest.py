"""Tests of runs do not wait for the disk: nothing here is about a power cut."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def no_syncing() -> Iterator[None]:
    """``os.fsync`` returns at once in this process; a test of what it does puts its own in place."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield
