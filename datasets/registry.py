"""Datasets by name. A new dataset is one loader module, one card and one entry of ``DATASETS``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from .config import data_root
from .errors import DatasetError, UnknownNameError, UsageError
from .types import RVOSDataset

ENTRY_POINT_GROUP = "rvos.datasets"
#: what a parquet export holds; see ``parquet``, which needs pyarrow and is imported when one is opened
EXPORT_RECORD = "*/rvos.json"
#: what a folder of the annotation workbench holds; see ``annotation.native``
ANNOTATION_HEAD = "annotation.json"


@dataclass(frozen=True)
class Entry:
    """How a dataset is found.

    Attributes:
        target: ``module:Class``; relative modules are below this package.
        splits: their names; ``("",)`` for a dataset without splits; empty where the class decides.
        aliases: other names of the dataset, in lower case with '-' for '_'.
        split_aliases: other names of splits.
        folders: names under which its folder may lie in ``RVOS_DATA_ROOT``.
        generated: it makes its data itself where no root is given.
    """

    target: str
    splits: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    split_aliases: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[str, ...] = ()
    generated: bool = False


#: Folders of the REFER tools, which hold all four data sets of phrases about images.
_REFER = ("refer_seg", "refer")
_REFER_SPLITS = ("val", "testA", "testB", "train", "google-val", "google-train")

DATASETS = {
    "reasonvos": Entry(".reasonvos:ReasonVOS", ("",), ("reason-vos",), folders=("ReasonVOS",)),
    "mevis": Entry(
        ".mevis:MeViS",
        ("train", "valid_u", "valid"),
        ("mevis-v1", "mevis-v2", "mevisv2"),
        {"val_u": "valid_u", "validu": "valid_u", "valu": "valid_u", "val": "valid"},
        ("MeViS", "MeViSv2"),
    ),
    "ref-youtube-vos": Entry(
        ".ref_youtube_vos:RefYouTubeVOS",
        ("train", "valid"),
        ("refytvos", "ref-ytvos", "ref-yt-vos", "rytvos", "ref-youtube-vos-2021", "refyoutubevos", "ytvos"),
        {"val": "valid"},
        ("ref_youtube_vos", "ref-ytvos", "refytvos"),
    ),
    "ref-davis17": Entry(
        ".ref_davis17:RefDAVIS17",
        ("train", "valid"),
        ("davis", "davis17", "ref-davis", "ref-davis-17", "refdavis", "refdavis17", "ref-davis2017"),
        {"val": "valid"},
        ("ref_davis17", "ref-davis", "refdavis", "ref_davis"),
    ),
    "revos": Entry(".revos:ReVOS", ("train", "valid"), ("re-vos",), {"val": "valid"}, ("ReVOS",)),
    "long-rvos": Entry(
        ".long_rvos:LongRVOS", ("train", "valid", "test"), ("longrvos",), {"val": "valid"}, ("long_rvos", "Long-RVOS")
    ),
    "groundmore": Entry(
        ".groundmore:GroundMoRe", ("trainval", "test"), ("ground-more",), {}, ("GroundMoRe", "ground_more")
    ),
    "reasonseg": Entry(
        ".reasonseg:ReasonSeg",
        ("val", "test", "test-short", "test-long", "train"),
        ("reason-seg",),
        {"valid": "val"},
        ("ReasonSeg", "reason_seg/ReasonSeg"),
    ),
    "refcoco": Entry(".refcoco:RefCOCO", (*_REFER_SPLITS, "google-test"), ("ref-coco",), {"valid": "val"}, _REFER),
    "refcoco+": Entry(
        ".refcoco:RefCOCOPlus", _REFER_SPLITS[:4], ("refcocop", "refcoco-plus"), {"valid": "val"}, _REFER
    ),
    "refcocog": Entry(
        ".refcoco:RefCOCOg",
        ("val", "test", "train", "google-val", "google-train"),
        ("ref-cocog",),
        {"valid": "val"},
        _REFER,
    ),
    "refclef": Entry(
        ".refcoco:RefCLEF", ("train", "val", "testA", "testB", "testC"), ("ref-clef",), {"valid": "val"}, _REFER
    ),
    "ade20k": Entry(".semantic_images:ADE20K", ("train",), ("ade", "ade20k-150"), folders=("ade20k", "ADE20K")),
    "coco-stuff": Entry(".semantic_images:COCOStuff", ("train",), ("cocostuff",), folders=("lisa",)),
    "paco-lvis": Entry(".part_images:PACOLVIS", ("train",), ("paco",), folders=("lisa",)),
    "pascal-part": Entry(".part_images:PASCALPart", ("train",), ("pascalpart",), folders=("lisa",)),
    "reasonshapes": Entry(
        ".reasonshapes.loader:ReasonShapes",
        (
            "train",
            "valid",
            "test",
            "test-combinations",
            "test-depth",
            "test-phrasings",
            "test-distractors",
            "test-long",
            "test-textures",
        ),
        ("reason-shapes",),
        {"val": "valid"},
        generated=True,
    ),
    "vots": Entry(".vots:VotsReferral", ("",), ("vots-referral", "vots2026", "vots2025", "vot")),
    "mp4-rle": Entry(".mp4_rle:Mp4Rle", ("",), ("mp4rle", "mp4")),
    "annotation": Entry(".annotation.loader:AnnotationProject", aliases=("annotations", "rvos-annotation")),
}


def load(name: str | os.PathLike[str], root: str | os.PathLike[str] | None = None, **options: Any) -> RVOSDataset:
    """Open a split of a dataset.

    Args:
        name: ``mevis/valid_u``, ``reasonvos``, ``davis/val``, … (aliases are accepted, letter case does not matter), or
            ``hf://owner/name[@revision][/split]`` for an export on the Hugging Face hub; or, without ``root``, a folder
            that the annotation workbench wrote or that holds a parquet export of one split.
        root: the dataset's folder, or that of its parquet export, which may also be of a dataset that has no loader;
            by default ``RVOS_<NAME>_ROOT``, the config file, ``RVOS_DATA_ROOT``, in this order.
        options: further arguments of the loader, e.g. ``layout="original"`` for Ref-DAVIS-17.

    Raises:
        UnknownNameError: unknown dataset or split, with near matches.
        UsageError: no split named where there are several, no root known, an option that the loader does not have.
        DatasetError: what is wrong with the root or its annotations.
    """
    name = os.fspath(name)
    if name.startswith("hf://"):
        return _from_hub(name, root, options)
    if root is None and name and (itself := _folder_itself(name)) is not None:
        name, root = itself
    folder = None if root is None else Path(root).expanduser()
    if folder is not None and any(folder.glob(EXPORT_RECORD)):
        return _from_export(name, folder, options)
    dataset, split = resolve(name)
    entry = entry_of(dataset)
    loader: Any = loader_class(dataset)  # each has its own options
    _check_options(dataset, loader, options)
    opened: RVOSDataset = loader(_folder(dataset, entry, root), split, **options)
    return opened


def _folder_itself(name: str) -> tuple[str, Path] | None:
    """(dataset, folder) where a name is a folder that says itself what it holds: annotations, or a parquet export."""
    folder = Path(name).expanduser()
    if (folder / ANNOTATION_HEAD).is_file():
        return "annotation", folder
    if any(folder.glob(EXPORT_RECORD)):
        from .parquet import open_export

        return open_export(folder).id, folder
    return None


def _from_hub(name: str, root: str | os.PathLike[str] | None, options: Mapping[str, Any]) -> RVOSDataset:
    from .hub import open_hub

    if root is not None or options:
        raise UsageError(f"{name} is on the hub: it takes no root and no {', '.join(options) or 'further options'}.")
    return open_hub(name)


def _from_export(name: str, folder: Path, options: Mapping[str, Any]) -> RVOSDataset:
    from .parquet import open_export

    given, _, split = name.strip().partition("/")
    known = given.lower().replace("_", "-") in {*dataset_names(), *(a for e in DATASETS.values() for a in e.aliases)}
    dataset, split = resolve(name) if known else (given, split)
    if options:
        raise UsageError(f"{folder} is a parquet export, which takes no {', '.join(options)}.")
    opened = open_export(folder, split or None)
    if opened.name != dataset:
        raise DatasetError(f"{folder} is an export of {opened.name}, not of {dataset}; name it {opened.id}.")
    return opened


def dataset_ids() -> list[str]:
    """Every known ``name`` or ``name/split``."""
    return [
        f"{name}/{split}" if split else name for name in dataset_names() for split in entry_of(name).splits or ("",)
    ]


def dataset_names() -> list[str]:
    """Names of all datasets, those of other packages last."""
    return [*DATASETS, *(name for name in _plugins() if name not in DATASETS)]


def resolve(name: str) -> tuple[str, str]:
    """(dataset, split) that a name or an alias means.

    Raises:
        UnknownNameError: unknown dataset or split.
        UsageError: no split named where there are several.
    """
    given, _, given_split = name.strip().partition("/")
    dataset = resolve_dataset(given)
    entry = entry_of(dataset)
    split = given_split.strip().lower().replace("-", "_")
    split = entry.split_aliases.get(split, split)
    if not entry.splits:
        return dataset, given_split
    splits = {s.lower().replace("-", "_"): s for s in entry.splits}
    if split in splits:
        return dataset, splits[split]
    if not given_split:
        choices = ", ".join(f"{dataset}/{s}" for s in entry.splits)
        raise UsageError(f"{dataset} has several splits; name one of {choices}.")
    raise UnknownNameError(f"split of {dataset}", given_split, [s or "(none)" for s in entry.splits])


def resolve_dataset(name: str) -> str:
    """The dataset that a name or alias means, with or without a split. Raises UnknownNameError."""
    given = name.partition("/")[0].strip()
    names = {own.lower(): own for own in dataset_names()}
    names |= {alias: own for own, entry in DATASETS.items() for alias in entry.aliases}
    wanted = given.lower().replace("_", "-")
    if wanted not in names:
        raise UnknownNameError("dataset", given, names)
    return names[wanted]


def entry_of(dataset: str) -> Entry:
    """The manifest entry of a dataset, by its own name. Raises UnknownNameError."""
    if dataset in DATASETS:
        return DATASETS[dataset]
    if dataset in _plugins():
        return Entry(_plugins()[dataset].value, tuple(getattr(loader_class(dataset), "splits", ())))
    raise UnknownNameError("dataset", dataset, dataset_names())


def loader_class(dataset: str) -> type[RVOSDataset]:
    """The class that loads a dataset, by the dataset's own name. Raises DatasetError, UnknownNameError."""
    if dataset in DATASETS:
        module, _, attribute = DATASETS[dataset].target.partition(":")
        loader = getattr(import_module(module, __package__), attribute)
    elif dataset in _plugins():
        plugin = _plugins()[dataset]
        try:
            loader = plugin.load()
        except (ImportError, AttributeError) as error:
            raise DatasetError(f"Dataset '{dataset}' ({plugin.value}) cannot be imported: {error}.") from error
    else:
        raise UnknownNameError("dataset", dataset, dataset_names())
    if not (isinstance(loader, type) and issubclass(loader, RVOSDataset)):
        raise DatasetError(f"Dataset '{dataset}': {loader!r} is no subclass of rvos.RVOSDataset.")
    return loader


def _folder(dataset: str, entry: Entry, root: str | os.PathLike[str] | None) -> Path | None:
    if root is not None:
        return Path(root).expanduser()
    return None if entry.generated else data_root(dataset, entry.folders)


def _check_options(dataset: str, loader: type[RVOSDataset], options: Mapping[str, Any]) -> None:
    import inspect

    parameters = inspect.signature(loader).parameters
    known = [name for name in parameters if name not in ("root", "split")]
    for option in options:
        if option not in known and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            raise UnknownNameError(f"option of {dataset}", option, known)


@cache
def _plugins() -> dict[str, EntryPoint]:
    """Datasets that installed packages declare in the entry-point group ``rvos.datasets``."""
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
