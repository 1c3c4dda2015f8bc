"""The weights that ship in the package: videolisa-nano and lisa-nano, each with its training card."""

from __future__ import annotations

from pathlib import Path

from ...datasets.errors import UnknownNameError, UsageError

NAMES = ("videolisa-nano", "lisa-nano")


def weights_folder(name: str) -> Path:
    """The folder with a shipped model's weights.

    Raises:
        UnknownNameError: a model that does not ship.
        UsageError: where the installation lacks its files.
    """
    if name not in NAMES:
        raise UnknownNameError("shipped model", name, NAMES)
    folder = Path(__file__).parent / name
    if not (folder / "config.json").is_file():
        raise UsageError(f"{folder} holds no weights: rvos was installed without its data files; install it again.")
    return folder
