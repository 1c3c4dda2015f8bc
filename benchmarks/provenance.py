"""Which code made a result: this project's git revision and the versions of the packages it stands on."""

from __future__ import annotations

import platform
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("numpy", "scipy", "Pillow", "pycocotools", "numba", "isal", "pydantic", "torch", "transformers")


@lru_cache(maxsize=1)
def package_versions() -> dict[str, str]:
    """Versions of Python and of the installed packages among those that can change a number."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@lru_cache(maxsize=1)
def source_revision() -> dict[str, str | bool] | None:
    """``{"commit": <sha>, "dirty": <bool>}`` of this project's checkout; None for an installed package."""
    root = Path(__file__).resolve().parents[1]
    # An installed package may lie inside somebody else's checkout: only our own counts.
    if not (root / ".git").exists() or not (root / "rvos" / "__init__.py").is_file():
        return None
    commit = _git(root, "rev-parse", "HEAD")
    status = _git(root, "status", "--porcelain")
    return None if commit is None or status is None else {"commit": commit, "dirty": bool(status)}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
