"""Clips: frame folders and video files taken into a project, and their frames and thumbnails served from there.

Frames become files named by number below the project; a name that a user chose is never a path, and nothing outside
the project is read afterwards.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from ..errors import DatasetError, ImageError, UsageError
from ..frames import SUFFIXES
from ..images import image_size, read_rgb
from ..types import Video
from . import database as db
from .journal import Author, Change
from .native import file_sha256
from .records import now
from .refusals import Unknown
from .store import Store

#: called with (frames done, frames in all); may raise to stop
Progress = Callable[[int, int], None]
Row = dict[str, Any]

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")
THUMBNAIL_WIDTHS = (80, 160, 320)
#: what a clip may hold, so that a request about it stays bounded
MOST_FRAMES, MOST_PIXELS = 100_000, 1 << 25
#: what the frames of a video file may come to, however well it hides their size
MOST_DECODED = 64 << 30
_JPEG_QUALITY = 95
_SOURCE = ("collection", "video", "url", "citation", "licence", "licence_url", "consent", "file", "file_sha256")


@dataclass(frozen=True)
class Found:
    """A video on the user's disk: a folder of frames (``files``) or a video file."""

    id: str
    path: Path
    files: tuple[Path, ...] = ()


def find_videos(folder: Path) -> list[Found]:
    """The videos in a folder: each sub-folder with frames, each video file; the folder itself where it holds frames.

    Raises:
        DatasetError: none, or an image that is a link to somewhere outside the folder.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; give one that holds frame folders or video files.")
    found = []
    for path in [folder, *sorted(folder.iterdir(), key=lambda p: _natural(p.name))]:
        if path.is_dir():
            files = _frame_files(path, folder)
            if files:
                found.append(Found(path.resolve().name, path, files))
        elif path.suffix.lower() in VIDEO_SUFFIXES:
            found.append(Found(path.stem, path))
        if path == folder and found:
            return found
    if not found:
        wanted = f"folders of {', '.join(SUFFIXES[:3])} files, or {', '.join(VIDEO_SUFFIXES[:3])} files"
        raise DatasetError(f"{folder}: holds no videos; expected {wanted}.")
    return found


def add_video(
    store: Store,
    found: Found,
    author: Author,
    source: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    most_decoded: int = MOST_DECODED,
) -> Row:
    """Take a video into the project as a clip. Gives the clip's row.

    Args:
        store: the project.
        found: the video.
        author: who adds it.
        source: what is known of where it is from, as ``records.Source`` has it.
        progress: called per frame.
        most_decoded: bytes that the frames of a video file may come to as JPEG.

    Raises:
        DatasetError: frames of several sizes, no image, a file that cannot be decoded, one that is too large.
        UsageError: a clip of that id is there.
        MissingExtraError: a video file where PyAV is not installed.
    """
    if found.files:
        frames = [Incoming(path.stem, path.suffix.lower(), path) for path in found.files]
        return add_clip(store, {"id": found.id, "source": source or {}}, frames, author, progress)
    return _add_video_file(store, found, author, source or {}, progress, most_decoded)


@dataclass(frozen=True)
class Incoming:
    """A frame on its way into the project.

    Attributes:
        name: without ending.
        suffix: of the image file, "" where the frame has none here.
        path: the image file; None where only annotations are there.
    """

    name: str
    suffix: str
    path: Path | None
    sha256: str = ""
    role: str = "scored"
    position: int | None = None


def add_clip(
    store: Store,
    clip: Mapping[str, Any],
    frames: Sequence[Incoming],
    author: Author,
    progress: Progress | None = None,
    fill: Callable[[Change, int], None] | None = None,
) -> Row:
    """Add a clip with its frames, hard-linked where the disk allows and copied elsewhere; whole or not at all.

    Args:
        clip: ``id``; further columns of a clip as far as known. ``height`` and ``width`` are those of its masks, to
            which images of another size are stretched; without them, those of the images; without images unknown.
        frames: in temporal order.
        author: who adds it.
        progress: called per frame.
        fill: writes what comes with the clip (objects, masks, sentences) in the same transaction.

    Raises:
        DatasetError: frames of several sizes.
        UsageError: a clip of that id is there, too many frames.
    """
    if not 0 < len(frames) <= MOST_FRAMES:
        raise UsageError(f"Clip {clip['id']} has {len(frames)} frames; a clip has 1 to {MOST_FRAMES}.")
    if any(row["id"] == clip["id"] for row in store.clips()):
        raise UsageError(f"The project has a clip '{clip['id']}' already; rename the new one.")
    key = _new_key(store)
    with _folder_of(store, key) as folder:
        rows, images = [], (None, None)
        for number, frame in enumerate(frames):
            row, images = _take_frame(folder, number, frame, images)
            rows.append(row)
            if progress is not None:
                progress(number + 1, len(frames))
        with store.change(key, author, "new clip", kind="record") as change:
            change.put("frames", {"clip": key, "list": rows})
            change.put("clip", _clip_row(clip, key, len(rows), images))
            if fill is not None:
                fill(change, key)
    return store.clip(key)


def _clip_row(clip: Mapping[str, Any], key: int, n_frames: int, images: tuple[Any, Any]) -> Row:
    """``images``: their (height, width), None where there is none."""
    size = (clip["height"], clip["width"]) if clip.get("height") else images
    stated = clip.get("frame_height"), clip.get("frame_width")
    frame_size = stated if images[0] is None else images if tuple(images) != size else (None, None)
    source = {**dict.fromkeys(_SOURCE, ""), "may_copy_frames": None, **clip.get("source", {})}
    return {
        "key": key,
        "id": clip["id"],
        "title": clip.get("title", ""),
        "n_frames": n_frames,
        "height": size[0],
        "width": size[1],
        "frame_height": frame_size[0],
        "frame_width": frame_size[1],
        "fps": clip.get("fps"),
        "source": source,
        "state": "open",
        "has_void": bool(clip.get("has_void")),
        "created_at": now(),
    }


def _new_key(store: Store) -> int:
    """A number no clip ever had, so that cached frames of one never show for another."""
    with store.keeping() as connection:
        where = (db.counter.c.clip == 0, db.counter.c.kind == "clip")
        key = int(connection.execute(sa.select(db.counter.c.next).where(*where)).scalar() or 1)
        connection.execute(sa.delete(db.counter).where(*where))
        connection.execute(sa.insert(db.counter).values(clip=0, kind="clip", next=key + 1))
    return key


@contextmanager
def _folder_of(store: Store, key: int) -> Iterator[Path]:
    """The new folder of a clip's frames, removed where something goes wrong."""
    folder = store.folder / "frames" / str(key)
    folder.mkdir(parents=True)
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _take_frame(folder: Path, number: int, frame: Incoming, size: tuple[Any, Any]) -> tuple[Row, tuple[Any, Any]]:
    """Bring a frame's file into the folder. Gives its row and the images' size."""
    row: Row = {"name": frame.name, "suffix": frame.suffix, "sha256": frame.sha256}
    row |= {"role": frame.role, "position": frame.position}
    if frame.path is None:
        return row, size
    target = folder / f"{number:06d}{frame.suffix}"
    _link_or_copy(frame.path, target)
    found = image_size(target)
    if found[0] * found[1] > MOST_PIXELS:
        raise DatasetError(f"{frame.path}: {found[1]}x{found[0]} pixels, more than a frame may have ({MOST_PIXELS}).")
    if size[0] is not None and found != tuple(size):
        raise DatasetError(
            f"{frame.path}: {found[1]}x{found[0]}, other frames are {size[1]}x{size[0]}; all frames share one size."
        )
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    if frame.sha256 and frame.sha256 != digest:
        raise DatasetError(f"{frame.path}: not the frame that was annotated (its SHA-256 differs); get the right one.")
    return {**row, "sha256": digest}, found


def _link_or_copy(source: Path, target: Path) -> None:
    real = source.resolve()  # a link to a link would keep a way out of the project
    try:
        os.link(real, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise DatasetError(f"{source}: cannot be read ({error.strerror}).") from error
        shutil.copyfile(real, target)


def _expect_bounded(found: Found, n_frames: int, size: tuple[int, int]) -> None:
    """Raises UsageError, DatasetError for a video file that is too long or too large, before a frame is decoded."""
    if n_frames > MOST_FRAMES:
        raise UsageError(f"{found.path.name} has {n_frames} frames; a clip has 1 to {MOST_FRAMES}.")
    if size[0] * size[1] > MOST_PIXELS:
        raise DatasetError(
            f"{found.path.name}: {size[1]}x{size[0]} pixels, more than a frame may have ({MOST_PIXELS})."
        )


def _add_video_file(
    store: Store,
    found: Found,
    author: Author,
    source: Mapping[str, Any],
    progress: Progress | None,
    most_decoded: int,
) -> Row:
    from ..video_files import open_video

    video = open_video(found.path)
    _expect_bounded(found, len(video), video.size)
    digest = file_sha256(found.path)
    folder = store.folder / "cache" / f"decoding-{os.getpid()}-{digest[:12]}"
    folder.mkdir(parents=True)
    try:
        frames, n_bytes = [], 0
        for number, frame in enumerate(video.iter_frames()):
            path = folder / f"{number:05d}.jpg"
            n_bytes += path.write_bytes(_jpeg(frame, _JPEG_QUALITY))
            if n_bytes > most_decoded:
                raise DatasetError(f"{found.path.name}: its frames come to more than {most_decoded >> 20} MB; cut it.")
            frames.append(Incoming(path.stem, ".jpg", path, position=number))
            if progress is not None:
                progress(number + 1, 2 * len(video))
        told = {**source, "file": found.path.name, "file_sha256": digest}
        clip = {"id": found.id, "fps": video.fps, "source": told}
        later = None if progress is None else lambda done, total: progress(total + done, 2 * total)
        return add_clip(store, clip, frames, author, later)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _frame_files(folder: Path, root: Path) -> tuple[Path, ...]:
    files = sorted((p for p in folder.iterdir() if p.suffix in SUFFIXES), key=lambda p: _natural(p.name))
    for path in files:
        if not path.resolve().is_relative_to(root.resolve()):
            raise DatasetError(f"{path}: a link out of {root}; copy the image there.")
    return tuple(files)


def _natural(name: str) -> list[tuple[int, int | str]]:
    """Sorts ``frame_2`` before ``frame_10``, and zero-padded names as they are."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", name)]


# Serving -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StoredFrames:
    """The frames of a clip as a frame source, in the size of its masks; ``shape`` is None where no size is known."""

    folder: Path
    names: tuple[str, ...]
    suffixes: tuple[str, ...]
    shape: tuple[int, int] | None

    def read(self, name: str) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) RGB. Raises ImageError."""
        rgb = read_rgb(self._file(name))
        if self.shape is None or rgb.shape[:2] == self.shape:
            return rgb
        from PIL import Image

        height, width = self.shape
        return np.array(Image.fromarray(rgb).resize((width, height), Image.Resampling.BILINEAR))

    def size(self, name: str) -> tuple[int, int]:
        """(height, width). Raises ImageError where it is not known."""
        return self.shape or image_size(self._file(name))

    def path(self, name: str) -> Path | None:
        """The frame's file, or None where the project has none."""
        path = self._file(name)
        return path if path.is_file() else None

    def _file(self, name: str) -> Path:
        number = self.names.index(name)
        return self.folder / f"{number:06d}{self.suffixes[number]}"


def video_of(store: Store, key: int) -> Video:
    """A clip as a ``Video``, all of its frames. Raises Unknown."""
    clip, frames = store.clip(key), store.frames_of(key)
    names = tuple(f["name"] for f in frames)
    size = None if clip["height"] is None else (clip["height"], clip["width"])
    source = StoredFrames(store.folder / "frames" / str(key), names, tuple(f["suffix"] for f in frames), size)
    return Video(clip["id"], names, source, fps=clip["fps"], declared_size=size)


def frame_size_of(store: Store, key: int) -> tuple[int | None, int | None]:
    """(height, width) of a clip's images where that is another size than its masks', else None, None.

    Projects of version 1 did not note it: there the first image tells. Raises Unknown, ImageError.
    """
    clip = store.clip(key)
    noted = clip["frame_height"], clip["frame_width"]
    first = store.frame_file(key, 0)
    if noted[0] is not None or clip["height"] is None or first.is_symlink() or not first.is_file():
        return noted
    found = image_size(first)
    return noted if found == (clip["height"], clip["width"]) else found


@dataclass(frozen=True)
class Picture:
    """An image as it goes over the wire."""

    data: bytes
    media_type: str
    etag: str


def picture(store: Store, key: int, number: int, width: int | None) -> Picture:
    """A frame's file as it is, or its thumbnail of that width, made once and kept in the cache.

    Raises:
        Unknown: no such frame, or no image of it in the project.
    """
    path = store.frame_file(key, number)
    digest = store.frames_of(key)[number]["sha256"] or f"{key}-{number}"
    if width is None:
        kind = "image/png" if path.suffix.lower() == ".png" else "image/jpeg"
        return Picture(_read_inside(store.folder, path), kind, f'"{digest[:32]}"')
    kept = store.folder / "cache" / str(key) / str(width) / f"{number:06d}.jpg"
    if not kept.is_file():
        write_inside(store.folder, kept, _shrink(_read_inside(store.folder, path), width))
    return Picture(_read_inside(store.folder, kept), "image/jpeg", f'"{digest[:32]}-{width}"')


def etag_of(store: Store, key: int, number: int, width: int | None) -> str:
    """The ETag that ``picture`` gives, without reading the file. Raises Unknown."""
    store.frame_file(key, number)
    digest = store.frames_of(key)[number]["sha256"] or f"{key}-{number}"
    return f'"{digest[:32]}"' if width is None else f'"{digest[:32]}-{width}"'


def _read_inside(root: Path, path: Path) -> bytes:
    """The bytes of a regular file below the project. Raises Unknown where it is none, or a link leads elsewhere."""
    try:
        with open_inside(root, path) as file:
            return file.read()
    except OSError:
        raise Unknown("There is no image of this frame in the project.") from None


@contextmanager
def _folder_inside(root: Path, path: Path, make: bool = False) -> Iterator[int]:
    """A handle of the folder of ``path``, reached from ``root`` without following a link. Raises OSError."""
    handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in path.relative_to(root).parts[:-1]:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=handle)
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=handle)
            os.close(handle)
            handle = below
        yield handle
    finally:
        os.close(handle)


def write_inside(root: Path, path: Path, data: bytes) -> None:
    """Write a file below ``root``, with the folders on the way, whole or not at all. Raises Unknown where a link is."""
    half = f"{path.name}.{os.getpid()}.{os.urandom(4).hex()}"
    try:
        with _folder_inside(root, path, make=True) as folder:
            file = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644, dir_fd=folder)
            with os.fdopen(file, "wb") as stream:
                stream.write(data)
            os.replace(half, path.name, src_dir_fd=folder, dst_dir_fd=folder)
    except (NotADirectoryError, FileExistsError) as error:
        raise Unknown(f"{path.parent} is a link out of the project, or no folder.") from error


def open_inside(root: Path, path: Path) -> BinaryIO:
    """Open a regular file below ``root``, following no link on the way. Raises OSError."""
    with _folder_inside(root, path) as folder:
        file = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "no regular file", str(path))
    return os.fdopen(file, "rb")


def _shrink(data: bytes, width: int) -> bytes:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            image.draft("RGB", (2 * width, 2 * width))
            height = max(1, round(image.height * width / image.width))
            small = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(f"A frame cannot be decoded ({error}); add the clip again.") from error
    return _jpeg(np.asarray(small), 80)


def _jpeg(frame: NDArray[np.uint8], quality: int) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(frame).save(stream, "JPEG", quality=quality)
    return stream.getvalue()
