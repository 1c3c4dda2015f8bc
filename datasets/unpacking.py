"""Archives that a person downloaded, made into the folder that a loader reads: safely, whole or not at all.

An archive is untrusted input. Everything is extracted into a folder beside the destination; a name that leaves it, a
link, a device, a name that occurs twice, or more bytes than can be real end the work and leave nothing behind.
"""

from __future__ import annotations

import gzip
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from .errors import DatasetError, RvosError, UnknownNameError, UsageError
from .files import is_plain_path, names_in, shown
from .layouts.files import staged

#: called with (archives done, archives in all)
Progress = Callable[[int, int], None]

_CHUNK = 1 << 20
_MOST_ENTRIES = 5_000_000
#: An archive may grow by this factor, or to this size, whichever is more. Masks and JSON shrink to a tenth at most.
_MOST_RATIO, _FLOOR = 100, 1 << 28
_JUNK = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    gzip.BadGzipFile,
    EOFError,
    NotImplementedError,
)


@dataclass
class Unpacked:
    """What came out of archives.

    Attributes:
        root: the folder to give as ``--root``.
        splits: what opens there: ``name/split`` with its number of videos and samples.
        notes: what is missing or differs from what is published.
        left_out: files of the archives that belong to no part of the dataset.
    """

    root: Path
    n_files: int = 0
    splits: dict[str, tuple[int, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**vars(self), "root": str(self.root)}


def unpack(name: str, archives: Sequence[Path | str], out: Path | str, progress: Progress | None = None) -> Unpacked:
    """Extract the archives of a dataset, put its parts where its loader expects them, and open every split.

    Folders around the parts do not matter, nor in which archive a part is; archives inside archives are extracted too.
    Several archives may hold the same file (DAVIS's hold the same frames), if it has the same content.

    Args:
        name: the dataset, e.g. ``davis``.
        archives: zip, tar, tar.gz, tar.xz or tar.bz2 files.
        out: the new root; parts that are not there yet may be added to one that exists.
        progress: called after every archive.

    Raises:
        UsageError: no archive given, the dataset has none, or a part is already at ``out``.
        DatasetError: an archive that is damaged or not safe, or that holds no part of the dataset.
    """
    from .registry import resolve_dataset

    dataset = resolve_dataset(name)
    if dataset not in _PLACES:
        raise UnknownNameError("dataset that comes in archives", dataset, _PLACES)
    if not archives:
        raise UsageError("No archive given: --from-archive FILE.")
    out = Path(out).absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    done = Unpacked(out)
    with staged(out) as stage:
        raw = stage.with_name(f"{stage.name}-raw")
        try:
            for number, archive in enumerate(archives, start=1):
                _extract_all(Path(archive), raw / str(number))
                if progress is not None:
                    progress(number, len(archives))
            for folder in sorted(raw.iterdir()):
                _place_parts(folder, stage, _PLACES[dataset], done)
        finally:
            shutil.rmtree(raw, ignore_errors=True)
        if not any(stage.iterdir()):
            found = ", ".join(done.left_out[:3]) or "nothing"
            raise DatasetError(
                f"{archives[0]}: holds no part of {dataset}; found {found}. See: rvos datasets show {dataset}."
            )
        done.n_files = sum(len(files) for _, _, files in os.walk(stage))
    _open_splits(dataset, done)
    return done


# Extracting ----------------------------------------------------------------------------------------------------------


class _Unsafe(Exception):
    """Why an archive is refused."""


def extract(archive: Path, folder: Path, most: int | None = None) -> int:
    """Extract an archive into a new folder. Gives the number of bytes. Nothing outside the folder is touched.

    Args:
        archive: the file.
        folder: is made; must not exist.
        most: bytes that may come out of it; by default what its own size makes credible.

    Raises:
        DatasetError: not an archive, damaged, or not safe; the folder may then be incomplete.
    """
    try:
        most = _credible(archive) if most is None else most
        folder.mkdir(parents=True)
        most = min(most, shutil.disk_usage(folder).free)
        budget = most
        seen: dict[str, str] = {}
        for name, is_folder, opened in _entries(archive):
            if not _is_wanted(name, is_folder, seen):
                continue
            target = folder / name
            if is_folder:
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with opened() as source, target.open("xb") as file:
                while chunk := source.read(_CHUNK):
                    budget -= len(chunk)
                    if budget < 0:
                        raise _Unsafe(f"it unpacks to more than {most >> 20} MB, or than the disk has room for")
                    file.write(chunk)
        return most - budget
    except _Unsafe as reason:
        raise DatasetError(f"{archive}: refused, {reason}; nothing was kept. Is this the official archive?") from None
    except _DAMAGE as error:
        words = str(error) or type(error).__name__
        raise DatasetError(
            f"{archive}: damaged or cut short ({words}); nothing was kept. Download it again."
        ) from error
    except FileNotFoundError:
        raise DatasetError(f"{archive}: no such file; give the archive that you downloaded.") from None
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise DatasetError(f"{archive}: refused, one name is a file and a folder; nothing was kept.") from None


def _credible(archive: Path) -> int:
    return max(_FLOOR, _MOST_RATIO * archive.stat().st_size)


def _is_wanted(name: str, is_folder: bool, seen: dict[str, str]) -> bool:
    """Whether an entry is extracted. Raises _Unsafe."""
    parts = name.split("/")
    if not is_plain_path(name) or ":" in parts[0] or "" in parts or any(p in (".", "..") for p in parts):
        raise _Unsafe(f"the entry '{shown(name)}' points outside of it")
    if parts[0] in _JUNK or parts[-1] in _JUNK:
        return False
    if is_folder:
        return True
    key = name.casefold()  # two names that differ in case are one file on many systems
    if key in seen:
        raise _Unsafe(f"the entry '{shown(name)}' occurs twice")
    if len(seen) >= _MOST_ENTRIES:
        raise _Unsafe(f"it has more than {_MOST_ENTRIES} entries")
    seen[key] = name
    return True


Entry = tuple[str, bool, "Callable[[], IO[bytes]]"]


def _entries(path: Path) -> Iterator[Entry]:
    """(name, whether it is a folder, what opens it) of every entry. Raises _Unsafe, DatasetError."""
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        yield from _zip_entries(path)
    elif head.startswith((b"\x1f\x8b", b"\xfd7zXZ", b"BZh")) or head[257:262] == b"ustar":
        yield from _tar_entries(path)
    else:
        what = "is empty" if not head else "is no zip and no tar archive"
        html = " but a web page: the download needs a browser" if head.lstrip()[:1] == b"<" else ""
        raise DatasetError(f"{path}: {what}{html}; download it again.")


def _zip_entries(path: Path) -> Iterator[Entry]:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.flag_bits & 1:
                raise _Unsafe(f"the entry '{shown(entry.filename)}' is encrypted")
            mode = entry.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _Unsafe(f"the entry '{shown(entry.filename)}' is a link or a device")
            name = _without_dot(entry.orig_filename if entry.flag_bits & 0x800 else entry.filename)
            if name:
                yield name, entry.is_dir(), lambda entry=entry: archive.open(entry)  # type: ignore[misc]


def _tar_entries(path: Path) -> Iterator[Entry]:
    with tarfile.open(path, "r:*") as archive:
        while (member := archive.next()) is not None:
            if not (member.isfile() or member.isdir()):
                raise _Unsafe(f"the entry '{shown(member.name)}' is a link or a device")
            name = _without_dot(member.name)
            if name:
                yield name, member.isdir(), lambda member=member: _tar_file(archive, member)  # type: ignore[misc]
            archive.members = []  # type: ignore[attr-defined]  # or it keeps every header in memory


def _tar_file(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    stream = archive.extractfile(member)
    if stream is None:
        raise _Unsafe(f"the entry '{shown(member.name)}' is no file")
    return stream


def _without_dot(name: str) -> str:
    """``./a/b/`` is ``a/b``; the root itself is ""."""
    name = name.removeprefix("./").rstrip("/") if name != "/" else name
    return "" if name == "." else name


def _extract_all(archive: Path, folder: Path, depth: int = 2, most: int | None = None) -> int:
    """Also the archives inside, each where it lay; all together within what the outermost one makes credible."""
    if most is None and archive.is_file():
        most = _credible(archive)
    n_bytes = extract(archive, folder, most)
    for inner in sorted(p for p in folder.rglob("*") if p.name.endswith(SUFFIXES) and p.is_file()):
        if depth == 0:
            raise DatasetError(f"{archive}: refused, archives inside archives inside archives ({inner.name}).")
        left = None if most is None else most - n_bytes
        n_bytes += _extract_all(inner, inner.with_name(f"{inner.name}.unpacked"), depth - 1, left)
        inner.unlink()
    return n_bytes


# Where the parts belong ----------------------------------------------------------------------------------------------


def _reasonvos(folder: Path) -> str | None:
    has_meta = (folder / "meta_expressions.json").is_file()
    return "." if has_meta and ((folder / "JPEGImages").is_dir() or (folder / "Annotations").is_dir()) else None


def _mevis(folder: Path) -> str | None:
    is_split = folder.name in ("train", "valid_u", "valid", "test")
    return folder.name if is_split and (folder / "meta_expressions.json").is_file() else None


def _ref_youtube_vos(folder: Path) -> str | None:
    if folder.name == "meta_expressions":
        return folder.name
    has_images = (folder / "JPEGImages").is_dir() or (folder / "Annotations").is_dir()
    return folder.name if folder.name in ("train", "valid", "test") and has_images else None


def _ref_davis17(folder: Path) -> str | None:
    if any((folder / name / "480p").is_dir() for name in ("JPEGImages", "Annotations", "Annotations_unsupervised")):
        return "DAVIS"
    if (folder / "Davis17_annot1.txt").is_file():
        return "davis_text_annotations"
    return _ref_youtube_vos(folder)


def _revos(folder: Path) -> str | None:
    if any(folder.glob("meta_expressions_*_.json")) or (folder / "mask_dict.json").is_file():
        return "."
    return folder.name if folder.name == "JPEGImages" else None


def _long_rvos(folder: Path) -> str | None:
    is_split = folder.name in ("train", "valid", "test")
    return folder.name if is_split and (folder / "meta_expressions.json").is_file() else None


def _groundmore(folder: Path) -> str | None:
    if any(folder.glob("*_v2.json")):
        return "."
    has_clips = folder.name == "annotations" and any(folder.glob("*_[0-9][0-9][0-9][0-9]_[0-9][0-9][0-9][0-9]"))
    return folder.name if has_clips else None


#: dataset -> which place below the root a folder is, None where it is none
_PLACES: dict[str, Callable[[Path], str | None]] = {
    "reasonvos": _reasonvos,
    "mevis": _mevis,
    "ref-youtube-vos": _ref_youtube_vos,
    "ref-davis17": _ref_davis17,
    "revos": _revos,
    "long-rvos": _long_rvos,
    "groundmore": _groundmore,
}


def _place_parts(folder: Path, root: Path, place_of: Callable[[Path], str | None], done: Unpacked) -> None:
    """Move every part of the dataset below ``folder`` to its place, whatever lies around it."""
    queue = deque([folder])
    while queue:
        current = queue.popleft()
        place = place_of(current)
        if place is not None:
            merge(current, root / place)
            continue
        queue.extend(current / name for name in names_in(current))
        done.left_out += [
            str((current / n).relative_to(folder)) for n in sorted(os.listdir(current)) if n not in names_in(current)
        ]


def merge(source: Path, target: Path) -> None:
    """Move a tree into another. Raises DatasetError where both have a file of other content."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
        return
    if not source.is_dir() or not target.is_dir():
        if source.is_dir() or target.is_dir() or source.read_bytes() != target.read_bytes():
            raise DatasetError(f"{target.name}: two of the archives hold it with other contents, of two versions.")
        return
    for entry in sorted(source.iterdir()):
        other = target / entry.name
        if entry.is_dir() and (other.is_dir() or not other.exists()):
            merge(entry, other)
        elif not other.exists():
            entry.rename(other)
        elif entry.is_dir() or other.is_dir() or entry.read_bytes() != other.read_bytes():
            raise DatasetError(
                f"{target.name}/{entry.name}: two of the archives hold it with other contents, of two versions."
            )


# Whether it is the dataset -------------------------------------------------------------------------------------------


def _open_splits(dataset: str, done: Unpacked) -> None:
    """Open what opens, compare with what is published, and count frames without image."""
    from .cards import load_card
    from .registry import entry_of, load

    for split in entry_of(dataset).splits:
        name = f"{dataset}/{split}" if split else dataset
        try:
            opened = load(name, done.root)
        except RvosError as error:
            done.notes.append(f"{name} does not open yet: {error}")
            continue
        done.splits[name] = (len(opened.videos), len(opened))
        published = [(c.videos, c.samples) for c in load_card(dataset).counts.get(split, ())]
        if published and done.splits[name] not in published:
            known = " or ".join(f"{v} videos and {s} sentences" for v, s in published)
            done.notes.append(
                f"{name}: {len(opened.videos)} videos and {len(opened)} sentences, published are {known}."
            )
        absent = [f"{v.id}/{n}" for v in opened.videos for n in v.frame_names if v.source and not v.source.path(n)]
        if absent:
            done.notes.append(f"{name}: {len(absent)} frames have no image, first {absent[0]}.")
        if all(opened.ground_truth(sample) is None for sample in opened.samples):
            done.notes.append(f"{name}: has no masks; they are withheld, or in another archive.")
