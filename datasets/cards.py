"""Dataset cards: what a dataset's files do not say about it. One YAML file a dataset, checked when read."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import DatasetError, UnknownNameError


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Download(_Record):
    """Where a part of the dataset comes from."""

    what: str
    url: str
    note: str = ""


class Counts(_Record):
    """Published size of a split, for one version of the data.

    ``objects`` counts annotated objects where a publication states it.
    """

    videos: int
    samples: int
    version: str | None = None
    objects: int | None = None
    source: str


class Flaw(_Record):
    """Something about the data that misleads, and what rvos does about it."""

    flaw: str
    here: str


class Card(_Record):
    """Facts about a dataset.

    Attributes:
        license: as its authors state it.
        counts: published sizes by split; several where versions differ.
        ground_truth: whether a split comes with masks.
        layout: the folders that the loader reads.
    """

    name: str
    title: str
    summary: str
    kind: Literal["referring", "reasoning"]
    license: str
    citation: str
    homepage: str
    download: tuple[Download, ...] = ()
    layout: str
    ground_truth: dict[str, Literal["yes", "no", "where downloaded"]]
    counts: dict[str, tuple[Counts, ...]] = {}
    flaws: tuple[Flaw, ...] = ()


@cache
def load_card(name: str) -> Card:
    """The card of a dataset by its own name.

    Raises:
        UnknownNameError: there is no card of that name.
        DatasetError: the card is not as expected.
    """
    folder = files(__package__) / "cards"
    known = [entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")]
    if name not in known:
        raise UnknownNameError("dataset card", name, known)
    try:
        return Card.model_validate(yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8")))
    except (ValidationError, yaml.YAMLError) as error:
        raise DatasetError(f"{folder / name}.yaml: not a dataset card: {error}") from error
