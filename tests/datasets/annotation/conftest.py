"""A small project and its server, for the tests of the annotation workbench."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import annotationclient
import pytest


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Any]:
    with annotationclient.make_project(tmp_path) as opened:
        yield opened


@pytest.fixture
def app(store: Any) -> Iterator[Any]:
    with annotationclient.served(store) as running:
        yield running


@pytest.fixture
def owner(app: Any) -> annotationclient.Page:
    return annotationclient.page(app)
