"""``rvos doctor``: what rvos finds on this machine."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

#: extra -> the packages by which it is recognised
EXTRAS = {
    "video": ("av",),
    "models": ("torch", "transformers", "sentencepiece", "safetensors", "av"),
    "train": ("peft",),
    "hub": ("datasets", "huggingface_hub"),
}


def doctor(json_: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
    """Show versions, cores and memory after container limits, accelerator, extras, data roots and folders.

    Exit code 1 where something stands in the way, e.g. a cache folder that cannot be written.
    """
    facts = _facts()
    problems = _problems(facts)
    if json_:
        print(json.dumps({**facts, "problems": problems}, indent=2))
    else:
        for name, value in facts.items():
            print(f"{name:<16} {_words(value)}")
        for problem in problems:
            print(f"problem: {problem}")
    raise typer.Exit(1 if problems else 0)


doctor.epilog = "Example: rvos doctor --json"  # type: ignore[attr-defined]


def _facts() -> dict[str, Any]:
    from .. import __version__
    from ..benchmarks.machine import GIB, cgroup_cores, describe, usable_memory, worker_count
    from ..benchmarks.provenance import package_versions, source_revision
    from ..datasets.config import cache_dir, config_file, configured_roots

    memory = usable_memory()
    return {
        "rvos": __version__,
        "revision": source_revision(),
        **package_versions(),
        **describe(),
        "cpu_quota": cgroup_cores(),
        "memory_left_gib": None if memory is None else round(memory / GIB, 1),
        "workers": worker_count(None, n_tasks=10**6),
        "videolisa": _videolisa(),
        "extras": {name: _missing(packages) or "installed" for name, packages in EXTRAS.items()},
        "cache": str(cache_dir()),
        "config": str(config_file()),
        "data_roots": {name: str(path) for name, path in configured_roots().items()},
    }


def _problems(facts: dict[str, Any]) -> list[str]:
    problems = []
    if not _writable(Path(facts["cache"])):
        problems.append(f"the cache folder {facts['cache']} cannot be written; set RVOS_CACHE to one that can.")
    problems += [
        f"the data root of {name}, {path}, is no folder; see the config file {facts['config']}."
        for name, path in facts["data_roots"].items()
        if not Path(path).is_dir()
    ]
    return problems


def _videolisa() -> dict[str, Any] | None:
    """How VideoLISA at its released size would run here: device, memory, whether it fits; None without its extra."""
    if _missing(EXTRAS["models"]):
        return None
    from ..videolisa.machine import fit

    found = fit()
    return {**asdict(found), "fits": found.fits}


def _missing(packages: tuple[str, ...]) -> list[str]:
    from importlib.util import find_spec

    return [f"{name} is missing" for name in packages if find_spec(name) is None]


def _writable(folder: Path) -> bool:
    nearest = next(p for p in (folder, *folder.parents) if p.exists())
    return nearest.is_dir() and os.access(nearest, os.W_OK)


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k}: {_words(v)}" for k, v in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "none" if value is None else str(value)
