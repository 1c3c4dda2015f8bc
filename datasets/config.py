"""Where data and caches are: roots from the call, the environment or the config file.

Config file (``rvos datasets roots --set mevis=/data/mevis`` writes it), TOML::

    [roots]
    mevis = "/data/mevis"
"""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from .errors import DatasetError, UsageError


def data_root(name: str, folders: Sequence[str] = ()) -> Path:
    """The folder of dataset ``name``, as ``find_root`` finds it.

    Raises:
        UsageError: where nothing tells it.
    """
    found = find_root(name, folders)
    if found is not None:
        return found
    common = os.environ.get("RVOS_DATA_ROOT")
    tried = f" (RVOS_DATA_ROOT={common} holds none of {', '.join((name, *folders))})" if common else ""
    raise UsageError(
        f"No folder known for {name}{tried}. Give --root FOLDER, set {root_variable(name)}, or remember it with: "
        f"rvos datasets roots --set {name}=FOLDER"
    )


def find_root(name: str, folders: Sequence[str] = ()) -> Path | None:
    """The first of: ``RVOS_<NAME>_ROOT``, the config file, a folder of that name in ``RVOS_DATA_ROOT``; else None.

    Args:
        name: e.g. ``ref-davis17``, whose variable is ``RVOS_REF_DAVIS17_ROOT``.
        folders: further names under which the dataset's folder may lie in ``RVOS_DATA_ROOT``.
    """
    own = os.environ.get(root_variable(name))
    if own:
        return Path(own).expanduser()
    configured = configured_roots()
    if name in configured:
        return configured[name]
    common = os.environ.get("RVOS_DATA_ROOT")
    candidates = [Path(common).expanduser() / folder for folder in (name, *folders)] if common else []
    return next((path for path in candidates if path.is_dir()), None)


def root_variable(name: str) -> str:
    """``RVOS_REF_DAVIS17_ROOT`` for ``ref-davis17``."""
    return f"RVOS_{name.upper().replace('-', '_')}_ROOT"


def configured_roots() -> dict[str, Path]:
    """The roots in the config file. Raises DatasetError where it cannot be read."""
    roots = _read_config().get("roots", {})
    if not isinstance(roots, dict) or not all(isinstance(v, str) for v in roots.values()):
        raise DatasetError(f'{config_file()}: expected a table [roots] of folders, e.g. mevis = "/data/mevis".')
    return {name: Path(folder).expanduser() for name, folder in roots.items()}


def remember_root(name: str, folder: Path | None) -> None:
    """Write the root of ``name`` to the config file, or forget it where ``folder`` is None.

    Raises:
        DatasetError: the file that is there cannot be read.
        UsageError: it cannot be written.
    """
    roots = configured_roots()
    roots.pop(name, None)
    if folder is not None:
        roots[name] = folder.expanduser().absolute()
    config = {**_read_config(), "roots": {key: str(value) for key, value in sorted(roots.items())}}
    try:
        replace_file(config_file(), _to_toml(config).encode())
    except OSError as error:
        raise UsageError(
            f"{config_file()} cannot be written ({error.strerror}); set RVOS_CONFIG to a file that can be."
        ) from error


def config_file() -> Path:
    """``$RVOS_CONFIG``, or ``rvos/config.toml`` in the user's config folder."""
    given = os.environ.get("RVOS_CONFIG")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "rvos" / "config.toml"


def cache_dir() -> Path:
    """``$RVOS_CACHE``, or ``rvos`` in the user's cache folder. Everything in it can be deleted at any time."""
    given = os.environ.get("RVOS_CACHE")
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rvos"


def replace_file(path: Path, content: bytes | str) -> None:
    """Write a file so that it holds the old or the new contents at any moment, even after a power cut.

    Its permissions are those of any new file of the user. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make new names in a folder last. Windows has no way to."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read_config() -> dict[str, Any]:
    toml = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    path = config_file()
    if not path.exists():
        return {}
    try:
        content: dict[str, Any] = toml.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: not a readable TOML file ({error}); correct or delete it.") from error
    return content


def _to_toml(config: dict[str, Any]) -> str:
    """TOML of what the config file has: tables of strings, numbers and booleans."""
    lines: list[str] = []
    for table, values in config.items():
        if not isinstance(values, dict) or not all(isinstance(v, (str, int, float, bool)) for v in values.values()):
            raise DatasetError(f"{config_file()}: '{table}' is more than rvos can rewrite; add the root by hand.")
        # JSON's strings, numbers and booleans are TOML as well.
        lines += [f"[{table}]", *(f"{_key(k)} = {json.dumps(v, ensure_ascii=False)}" for k, v in values.items()), ""]
    return "\n".join(lines)


def _key(name: str) -> str:
    return name if re.fullmatch("[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)
