"""Makes the helpers that lie beside this file (``toyset``) importable, and keeps tests out of the user's folders."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_cache_and_config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache and a config file of the test session's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RVOS_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("RVOS_CONFIG", str(tmp_path_factory.mktemp("config") / "config.toml"))
        yield
