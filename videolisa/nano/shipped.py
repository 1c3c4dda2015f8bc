"""The weights that ship in the package, in half precision: videolisa-nano and lisa-nano, with their training cards."""

from __future__ import annotations

from pathlib import Path

from ...datasets.errors import UnknownNameError, UsageError

#: Model -> the preset of ``rvos train`` that makes it.
PRESETS = {"videolisa-nano": "nano", "lisa-nano": "lisa-nano"}
#: A folder for each, as training leaves it.
WEIGHTS = Path(__file__).parent / "weights"


class WeightsAbsentError(UsageError):
    """The installation lacks weights that belong to the package."""


def weights_folder(name: str | Path) -> Path:
    """Of a folder, of a checkpoint on the hub, or of a model that ships, by its name. Raises CheckpointError."""
    from ..checkpoints import local_folder  # brings torch, which those who only ask what ships may lack

    return shipped(str(name)) if str(name) in PRESETS else local_folder(name)


def shipped(name: str) -> Path:
    """The folder with the weights, tokenizer and training card of a model that ships.

    Raises:
        UnknownNameError: for a model that does not ship.
        WeightsAbsentError: where its files are not there.
    """
    if name not in PRESETS:
        raise UnknownNameError("shipped model", name, PRESETS)
    folder = WEIGHTS / name
    if not (folder / "model.safetensors").is_file():
        raise WeightsAbsentError(
            f"{folder} holds no model.safetensors, which belongs to the package. Install rvos again with its data "
            f"files, or train it (rvos train --preset {PRESETS[name]}) and name the folder: {name}:RUN/weights."
        )
    return folder
