"""A dry run of a submission zip: everything that the server would trip over, in words, before it is sent."""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..datasets.errors import PredictionInvalid, PredictionMissing
from ..datasets.images import PngImage
from ..datasets.types import RVOSDataset, Sample
from .predictions import Finding
from .predictions.files import MAX_FILE_BYTES
from .predictions.foreground import decode_mask_file
from .submissions import Progress, Server, entry_folder, server_of, size_of

_JUNK = ("__MACOSX/", ".DS_Store", "Thumbs.db", "desktop.ini")
_MAGIC = (
    (b"\x1f\x8b", "a gzip file (tar.gz)"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"\xfd7zXZ", "an xz file (tar.xz)"),
    (b"BZh", "a bzip2 file (tar.bz2)"),
)


@dataclass(frozen=True)
class _Tree:
    """The files of the zip below the folder that holds its videos: video -> expression -> file name -> entry."""

    prefix: str
    files: Mapping[str, Mapping[str, Mapping[str, zipfile.ZipInfo]]]
    #: file names that lie directly in a video's folder
    loose: Mapping[str, Sequence[str]]
    #: everything else
    stray: Sequence[str]


class _Found:
    """Findings of one kind become one line with their number and the first three places."""

    def __init__(self) -> None:
        self.groups: dict[tuple[str, str, str], list[str]] = {}

    def add(self, severity: str, what: str, cure: str, place: str) -> None:
        self.groups.setdefault((severity, what, cure), []).append(place)

    def findings(self) -> list[Finding]:
        order = {"error": 0, "warning": 1, "note": 2}
        lines = [
            Finding(severity, f"{len(places)} {what}: {_some(places)}.", cure)  # type: ignore[arg-type]
            for (severity, what, cure), places in self.groups.items()
        ]
        return sorted(lines, key=lambda finding: order[finding.severity])


def check_submission(path: Path | str, dataset: RVOSDataset, progress: Progress | None = None) -> list[Finding]:
    """What is wrong with a zip for the dataset's server, errors first; empty where it is right.

    Nothing is extracted. Every entry that the server reads is decoded: mode, size, values.

    Args:
        path: the zip.
        dataset: the split that it answers; with its images, so that sizes can be told.
        progress: called after every video.

    Raises:
        UsageError: the dataset has no server.
        PredictionMissing: no such file.
    """
    server, path = server_of(dataset), Path(path)
    refused = _not_a_zip(path)
    if refused is not None:
        return [refused]
    found = _Found()
    with zipfile.ZipFile(path) as archive:
        entries = _entries(archive, found)
        if not entries:
            return [*found.findings(), Finding("error", f"{path} holds no files.", "Zip the masks again.")]
        tree = _tree(entries, dataset)
        if tree is None:
            return [*found.findings(), _no_videos(path, entries, server, dataset)]
        place = _prefix(tree.prefix, server)
        _compare(tree, server, dataset, found)
        _pixels(archive, tree, dataset, found, progress)
    return ([place] if place else []) + found.findings()


# The archive ----------------------------------------------------------------------------------------------------------


def _not_a_zip(path: Path) -> Finding | None:
    if path.is_dir():
        return Finding("error", f"{path} is a folder, the server takes a zip.", "Write it with: rvos submit --out.")
    if not path.exists():
        raise PredictionMissing(f"{path}: no such file; give the zip that is to be sent.")
    with path.open("rb") as file:
        head = file.read(512)
    kind = next((words for magic, words in _MAGIC if head.startswith(magic)), None)
    if kind is None and head[257:262] == b"ustar":
        kind = "a tar archive"
    if kind is not None:
        return Finding("error", f"{path} is {kind}, the server unpacks zip only.", "Zip the masks (zip -r).")
    try:
        with zipfile.ZipFile(path):
            return None
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        what = "an empty file" if not head else f"not a whole zip archive ({error})"
        return Finding("error", f"{path} is {what}.", "Make it again, and check that the copy was complete.")


def _entries(archive: zipfile.ZipFile, found: _Found) -> dict[str, zipfile.ZipInfo]:
    """The files that a server would unpack, by name; what no server should be given is reported."""
    files: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        name = entry.orig_filename
        if name.startswith("/") or ".." in name.replace("\\", "/").split("/") or ":" in name.split("/")[0]:
            found.add("error", "entries that point outside the zip", "Zip with relative names.", name)
        elif "\\" in name:
            found.add("error", "entries with backslashes, which servers take for part of the name", _REZIP, name)
        elif name.startswith(_JUNK[0]) or name.rsplit("/", 1)[-1] in _JUNK or name.rsplit("/", 1)[-1].startswith("._"):
            found.add(
                "warning", "files of the operating system", "Leave them out: zip -X -x '.*' -x '__MACOSX/*'.", name
            )
        elif entry.is_dir():
            continue
        elif stat.S_ISLNK(entry.external_attr >> 16):
            found.add("error", "symbolic links instead of files", "Zip the files themselves.", name)
        elif entry.flag_bits & 1:
            found.add("error", "encrypted entries", "Zip without a password.", name)
        elif name in files:
            found.add("error", "names that occur twice", _REZIP, name)
        elif entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            found.add("error", "entries compressed in a way that servers may not know", "Use deflate (zip -r).", name)
        else:
            files[name] = entry
    return files


_REZIP = "Make the zip again: rvos submit --out, or zip -r."


# Where the videos are -------------------------------------------------------------------------------------------------


def _tree(entries: Mapping[str, zipfile.ZipInfo], dataset: RVOSDataset) -> _Tree | None:
    """The entries by video, below the folder that holds most of them; None where no video is there."""
    videos = {video.id for video in dataset.videos}
    prefixes: Counter[str] = Counter()
    for name in entries:
        parts = name.split("/")
        position = next((i for i, part in enumerate(parts[:-1]) if part in videos), None)
        if position is not None:
            prefixes["/".join(parts[:position])] += 1
    if not prefixes:
        return None
    prefix = max(prefixes, key=lambda p: (prefixes[p], -len(p)))
    files: dict[str, dict[str, dict[str, zipfile.ZipInfo]]] = defaultdict(lambda: defaultdict(dict))
    loose: dict[str, list[str]] = defaultdict(list)
    stray = []
    head = f"{prefix}/" if prefix else ""
    for name, entry in entries.items():
        parts = name.removeprefix(head).split("/")
        if not name.startswith(head) or len(parts) not in (2, 3):
            stray.append(name)
        elif len(parts) == 2:
            loose[parts[0]].append(parts[1])
        else:
            files[parts[0]][parts[1]][parts[2]] = entry
    return _Tree(prefix, files, loose, stray)


def _prefix(found: str, server: Server) -> Finding | None:
    if found == server.prefix:
        return None
    place = f"in {found}/" if found else "at the root of the zip"
    wanted = f"in {server.prefix}/" if server.prefix else "at its root"
    if server.prefix and not found:
        cure = f"Put them into a folder {server.prefix} and zip that folder: zip -r submission.zip {server.prefix}."
    elif server.prefix:
        cure = f"Zip the folder {server.prefix} itself, nothing around it."
    else:
        cure = f"Zip the contents, not the folder: cd {found} && zip -r ../submission.zip ."
    return Finding("error", f"The video folders are {place}, the {server.title} server looks {wanted}.", cure)


def _no_videos(path: Path, entries: Mapping[str, zipfile.ZipInfo], server: Server, dataset: RVOSDataset) -> Finding:
    first = min(video.id for video in dataset.videos)
    if all(name.endswith(".zip") for name in entries):
        return Finding("error", f"{path} holds another zip: {_some(list(entries))}.", "Send the inner one.")
    wanted = entry_folder(server, dataset, dataset.samples_of(first)[0])
    found = f"{path} holds none of the {len(dataset.videos)} videos of {dataset.id}; found {_some(list(entries))}."
    return Finding("error", found, f"Expected e.g. {wanted}/{dataset.samples_of(first)[0].video.frame_names[0]}.png.")


# Which files are there ------------------------------------------------------------------------------------------------


def _compare(tree: _Tree, server: Server, dataset: RVOSDataset, found: _Found) -> None:
    for video in dataset.videos:
        expressions = tree.files.get(video.id, {})
        if not expressions and tree.loose.get(video.id):
            cure = "Keep a folder per expression: <video>/<expression>/<frame>.png."
            found.add("error", "videos with masks but no expression folders", cure, video.id)
        elif not expressions:
            found.add("error", "videos are missing", "The server wants every video; predict them.", video.id)
        else:
            for sample in dataset.samples_of(video.id):
                _compare_expression(expressions.get(_expression(sample)), sample, found)
            wanted = {_expression(sample) for sample in dataset.samples_of(video.id)}
            for name in sorted(expressions.keys() - wanted):
                found.add("error", "folders of expressions that the split does not have", _IDS, f"{video.id}/{name}")
        for name in tree.loose.get(video.id, ()) if expressions else ():
            found.add("warning", "files beside the expression folders", "Leave them out.", f"{video.id}/{name}")
    _extra_videos(tree, server, dataset, found)
    for name in tree.stray:
        found.add("warning", "files outside the layout <video>/<expression>/<frame>.png", "Leave them out.", name)


_IDS = "Use the ids of meta_expressions.json as folder names."


def _expression(sample: Sample) -> str:
    return sample.expression.layout_id


def _compare_expression(files: Mapping[str, zipfile.ZipInfo] | None, sample: Sample, found: _Found) -> None:
    place = f"{sample.video.id}/{_expression(sample)}"
    if files is None:
        found.add("error", "expressions are missing", "The server wants every expression; predict them.", place)
        return
    wanted = {f"{name}.png" for name in sample.video.frame_names}
    missing, extra = sorted(wanted - files.keys()), sorted(files.keys() - wanted)
    other = [name for name in extra if not name.endswith(".png")]
    if missing and {name.rsplit(".", 1)[0] for name in other} >= {name[:-4] for name in missing}:
        cure = "Save masks as PNG; JPEG changes the values at edges."
        found.add("error", "expressions with masks that are not .png files", cure, f"{place}/{other[0]}")
    elif missing and len(missing) == len(extra):
        cure = f"Name masks as the frames are named, e.g. {missing[0]}, not renumbered."
        found.add("error", "expressions with other frame names", cure, f"{place}/{extra[0]}")
    elif missing:
        cure = "Write a mask for every listed frame, an all-black one where the object is absent."
        found.add("error", "expressions lack frames", cure, f"{place} ({len(missing)}, first {missing[0]})")
    elif extra:
        found.add("warning", "expressions with files that no frame has", "Leave them out.", f"{place}/{extra[0]}")


def _extra_videos(tree: _Tree, server: Server, dataset: RVOSDataset, found: _Found) -> None:
    known = {video.id for video in dataset.videos}
    cure = f"The server scores the {len(known)} videos of {dataset.id} only; leave the others out."
    if server.prefix:  # Ref-YouTube-VOS
        cure += " Its meta_expressions.json for valid also lists the videos of the test split."
    for name in sorted((tree.files.keys() | tree.loose.keys()) - known):
        found.add("error", "videos that are not in the split", cure, name)


# What is in them ------------------------------------------------------------------------------------------------------


def _pixels(
    archive: zipfile.ZipFile, tree: _Tree, dataset: RVOSDataset, found: _Found, progress: Progress | None
) -> None:
    n_masks = n_empty = 0
    for done, video in enumerate(dataset.videos, start=1):
        size = size_of(video)
        for place, entry in _masks_of(tree, dataset.samples_of(video.id)):
            image = _decoded(archive, entry, place, found)
            if image is not None:
                n_masks, n_empty = n_masks + 1, n_empty + (not image.pixels.any())
                size = size or (image.pixels.shape[0], image.pixels.shape[1])
                _look_at(image, size, place, found)
        if progress is not None:
            progress(done, len(dataset.videos))
    if n_masks and n_empty == n_masks:
        found.add(
            "warning", f"masks were read ({n_masks}) and all are empty", "Check the export.", str(archive.filename)
        )


def _masks_of(tree: _Tree, samples: Sequence[Sample]) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    for sample in samples:
        files = tree.files.get(sample.video.id, {}).get(_expression(sample), {})
        for name in sample.video.frame_names:
            if f"{name}.png" in files:
                yield f"{sample.video.id}/{_expression(sample)}/{name}.png", files[f"{name}.png"]


def _decoded(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, place: str, found: _Found) -> PngImage | None:
    if entry.file_size > MAX_FILE_BYTES:
        found.add("error", "entries that would inflate to more than any mask needs", _REZIP, place)
        return None
    try:
        return decode_mask_file(archive.read(entry), place)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError):
        found.add("error", "entries that are damaged in the zip", _REZIP, place)
    except PredictionInvalid as error:
        found.add("error", "files that are no readable PNG", "Write them again.", str(error))
    return None


def _look_at(image: PngImage, size: tuple[int, int], place: str, found: _Found) -> None:
    if image.pixels.shape[:2] != size:
        shape = image.pixels.shape
        cure = "Resize the logits to the video's size before they become masks."
        found.add(
            "error",
            "masks of another size than their video",
            cure,
            f"{place} ({shape[1]}x{shape[0]}, expected {size[1]}x{size[0]})",
        )
    if image.mode != "L":
        cure = "Save 8-bit grey PNGs: Image.fromarray(mask.astype(np.uint8) * 255)."
        found.add("error", "masks that are not 8-bit grey (mode L)", cure, f"{place} (mode {image.mode})")
        return
    values = np.flatnonzero(np.bincount(image.pixels.ravel(), minlength=256))
    if not set(values.tolist()) <= {0, 255}:
        held = ", ".join(str(v) for v in values[:4].tolist()) + (", …" if len(values) > 4 else "")
        found.add("error", "masks with other values than 0 and 255", "Write 0 and 255.", f"{place} ({held})")


def _some(places: Sequence[str]) -> str:
    return f"{', '.join(places[:3])}{', …' if len(places) > 3 else ''}"
