"""Where roots come from, and what the config file keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from rvos.datasets.config import config_file, configured_roots, data_root, remember_root
from rvos.datasets.errors import DatasetError, UsageError


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RVOS_CONFIG", str(tmp_path / "config.toml"))
    for name in ("RVOS_DATA_ROOT", "RVOS_MEVIS_ROOT"):
        monkeypatch.delenv(name, raising=False)


def test_nearer_settings_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="RVOS_MEVIS_ROOT"):
        data_root("mevis")
    (tmp_path / "data/MeViS").mkdir(parents=True)
    monkeypatch.setenv("RVOS_DATA_ROOT", str(tmp_path / "data"))
    with pytest.raises(UsageError, match="holds none of mevis"):
        data_root("mevis")
    assert data_root("mevis", ("MeViS",)) == tmp_path / "data/MeViS"
    remember_root("mevis", tmp_path / "remembered")
    assert data_root("mevis", ("MeViS",)) == tmp_path / "remembered"
    monkeypatch.setenv("RVOS_MEVIS_ROOT", "/given")
    assert data_root("mevis") == Path("/given")


def test_the_config_file_keeps_odd_paths_and_other_tables(tmp_path: Path) -> None:
    config_file().write_text('[other]\nnumber = 3\nwords = "x"\n')
    odd = tmp_path / 'a "quoted" \\ päth'
    remember_root("mevis", odd)
    remember_root("reasonvos", tmp_path)
    assert configured_roots() == {"mevis": odd, "reasonvos": tmp_path}
    remember_root("mevis", None)
    assert configured_roots() == {"reasonvos": tmp_path}
    assert "number = 3" in config_file().read_text()
    config_file().write_text("[other.table]\nx = 3\n")
    with pytest.raises(DatasetError, match="by hand"):
        remember_root("mevis", tmp_path)


@pytest.mark.parametrize("text", ["[roots", "[roots]\nmevis = 3\n", "roots = 4\n"])
def test_a_broken_config_file_is_named(text: str) -> None:
    config_file().write_text(text)
    with pytest.raises(DatasetError, match=str(config_file())):
        configured_roots()
