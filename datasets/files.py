"""Reading annotation files strictly: JSON with one clear line for what is wrong, and the right folder as root."""

from __future__ import annotations

import json
import os
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import DatasetError

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
#: JSON can hold one half of a surrogate pair, which no file can
_HALF_CHARACTER = re.compile(r"[\ud800-\udfff]")


class AnnotationErrors(DatasetError):
    """Several things wrong in one annotation file; the message states the first and how many follow."""

    def __init__(self, path: Path, messages: Sequence[str]) -> None:
        more = f" ({len(messages) - 1} more like it; `rvos datasets check` lists all)" if len(messages) > 1 else ""
        super().__init__(f"{path}: {messages[0]}{more}")
        self.path = path
        self.messages = tuple(messages)


@dataclass(frozen=True)
class MetaVideo:
    """One video of a ``meta_expressions.json``.

    Attributes:
        id: the video's key in the file.
        frames: names of its frames in stored order.
        expressions: (id, fields) in stored order; ids may repeat where the file keeps a list.
        fields: the video's other fields, e.g. ``source``.
    """

    id: str
    frames: tuple[str, ...]
    expressions: tuple[tuple[str, dict[str, Any]], ...]
    fields: dict[str, Any]


def read_meta(path: Path, text_key: str = "exp", required: Sequence[str] = ()) -> list[MetaVideo]:
    """The videos of a ``meta_expressions.json`` as most benchmarks write it.

    ``videos -> <video> -> {frames: [...], expressions: {id: {...}} or [{exp_id, ...}]}``.

    Args:
        path: the file.
        text_key: the field of an expression that holds its text.
        required: further fields that every expression must have.

    Raises:
        AnnotationErrors: with every entry that is not as expected.
        DatasetError: missing or unreadable file.
    """
    return parse_meta(path, read_videos(path), text_key, required)


def read_videos(path: Path) -> dict[str, Any]:
    """What the file holds under ``videos``, by name. Raises DatasetError where that is no object or empty."""
    content = read_json(path)
    videos = content.get("videos") if isinstance(content, dict) else None
    if not isinstance(videos, dict):
        raise DatasetError(f"{path}: expected an object with the key 'videos'; is this a meta_expressions.json?")
    if not videos:
        raise DatasetError(f"{path}: lists no videos; download the file again.")
    return videos


def parse_meta(
    path: Path, videos: Mapping[str, Any], text_key: str = "exp", required: Sequence[str] = ()
) -> list[MetaVideo]:
    """The videos of a file whose entries were brought into the form of ``read_meta``. Raises as it does."""
    complaints: list[str] = []
    parsed = [_parse_video(name, entry, text_key, required, complaints) for name, entry in videos.items()]
    if complaints:
        raise AnnotationErrors(path, complaints)
    read = [video for video in parsed if video is not None]
    if not any(video.expressions for video in read):
        raise DatasetError(f"{path}: lists no expressions; download the file again.")
    return read


def _parse_video(
    name: str, entry: Any, text_key: str, required: Sequence[str], complaints: list[str]
) -> MetaVideo | None:
    where = f"video '{shown(name)}'"
    if not is_plain_path(name):
        complaints.append(f"{where} is no folder name; expected letters, digits, '-', '_' and '/' inside the root.")
        return None
    if not isinstance(entry, dict):
        complaints.append(f"{where} holds {type(entry).__name__}, expected an object with 'frames' and 'expressions'.")
        return None
    frames = _parse_frames(where, entry.get("frames"), complaints)
    expressions = _parse_expressions(where, entry.get("expressions"), text_key, required, complaints)
    fields = {key: value for key, value in entry.items() if key not in ("frames", "expressions")}
    return MetaVideo(name, frames, tuple(expressions), fields)


def _parse_frames(where: str, frames: Any, complaints: list[str]) -> tuple[str, ...]:
    if not isinstance(frames, list) or not frames or not all(isinstance(f, str) and is_plain_path(f) for f in frames):
        complaints.append(f"{where} has no list 'frames' of frame names such as \"00000\".")
        return ()
    if len(set(frames)) != len(frames):
        complaints.append(f"{where} lists frame {repeated_in(frames)[0]} twice; every frame must be listed once.")
    return tuple(frames)


def _parse_expressions(
    where: str, entries: Any, text_key: str, required: Sequence[str], complaints: list[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(entries, dict):
        pairs = list(entries.items())
    elif isinstance(entries, list):
        pairs = [(str(e.get("exp_id", "")) if isinstance(e, dict) else "", e) for e in entries]
    else:
        complaints.append(f"{where} has no 'expressions'.")
        return
    for key, fields in pairs:
        spot = f"{where}, expression '{shown(key)}'"
        if not is_plain_path(key):
            complaints.append(f"{spot}: the id must be a plain name, it becomes a folder of predictions.")
        elif not isinstance(fields, dict):
            complaints.append(f"{spot} holds {type(fields).__name__}, expected an object with '{text_key}'.")
        elif not isinstance(fields.get(text_key), str):
            complaints.append(f"{spot} has no text '{text_key}'.")
        elif missing := [name for name in required if name not in fields]:
            complaints.append(f"{spot} has no '{missing[0]}'.")
        elif _HALF_CHARACTER.search(fields[text_key]):
            complaints.append(f"{spot}: the text '{text_key}' holds half a character (a lone surrogate); correct it.")
        elif odd := _odd_ids(fields):
            complaints.append(f"{spot}: {odd}")
        else:
            yield key, fields


def _odd_ids(fields: dict[str, Any]) -> str:
    """What is wrong with the ids of objects and annotations that an expression names; "" where nothing is."""
    for name in ("obj_id", "anno_id"):
        for value in _as_list(fields.get(name, [])):
            is_id = isinstance(value, (int, str)) and not isinstance(value, bool)
            if not is_id or not is_plain_path(str(value)) or "/" in str(value):
                return f"'{name}' holds {json.dumps(value)[:60]}, expected a number or a plain name."
    return ""


def is_plain_path(name: str) -> bool:
    """Whether ``name`` is a relative path that stays below its folder and can be printed on one line."""
    if not name.strip("./") or name.startswith("/") or "\\" in name:
        return False
    if not name.isprintable() and (_CONTROL.search(name) or _HALF_CHARACTER.search(name)):
        return False
    return ".." not in name or ".." not in name.split("/")


def shown(name: str) -> str:
    """A name for a message: on one line, cut to a readable length."""
    name = name[:80]
    return name if name.isprintable() else ascii(name)[1:-1]


def repeated_in(names: Iterable[str]) -> tuple[str, ...]:
    """The names that occur more than once, in the order of their first occurrence."""
    return tuple(name for name, n in Counter(names).items() if n > 1)


def id_list(value: Any) -> tuple[str, ...]:
    """Object ids as strings, from a number, a string, or a list of them."""
    return tuple(str(v) for v in _as_list(value))


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def read_json(path: Path, encoding: str = "utf-8-sig") -> Any:
    """The content of a JSON file.

    Raises:
        DatasetError: missing, unreadable, not UTF-8, malformed, nested too deep.
        AnnotationErrors: a key that occurs twice in one object (JSON readers keep the last and drop the others).
    """
    repeated: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(items)
        if len(content) < len(items):
            repeated.extend(f"the key '{shown(key)}' occurs twice." for key in repeated_in(key for key, _ in items))
        return content

    try:
        content = json.loads(read_text(path, encoding), object_pairs_hook=pairs)
    except ValueError as error:  # malformed, or a number with more digits than Python takes
        raise DatasetError(f"{path}: not valid JSON ({error}); download the file again.") from error
    except RecursionError as error:
        raise DatasetError(f"{path}: JSON nested too deep; expected a file of expressions.") from error
    if repeated:
        raise AnnotationErrors(path, repeated)
    return content


def read_text(path: Path, encoding: str = "utf-8-sig") -> str:
    """The text of a file. Raises DatasetError: missing, a folder, no permission, another encoding, empty."""
    try:
        text = path.read_text(encoding=encoding)
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file; check the root, or download it again.") from None
    except IsADirectoryError:
        raise DatasetError(f"{path}: is a folder, expected a file.") from None
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not {encoding.upper()} text ({error.reason} at byte {error.start}).") from error
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); check its permissions.") from error
    if not text.strip():
        raise DatasetError(f"{path}: the file is empty; download it again.")
    return text


def names_in(folder: Path, suffix: str = "") -> list[str]:
    """Sorted names in a folder without ``suffix``; only files with it, or only folders where it is empty.

    A folder that does not exist holds nothing.
    """
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        if suffix:
            return sorted(e.name[: -len(suffix)] for e in entries if e.name.endswith(suffix) and not e.is_dir())
        return sorted(e.name for e in entries if e.is_dir())


def require_root(root: Path, dataset: str, *markers: str) -> None:
    """Check that ``root`` is the dataset's folder: that it holds one of ``markers``, paths relative to it.

    Raises:
        DatasetError: naming the right folder where ``root`` is some levels too high or too low.
    """

    def fits(folder: Path) -> bool:
        return any((folder / marker).exists() for marker in markers)

    if not root.exists():
        raise DatasetError(f"{root}: no such folder; give the folder of {dataset} that holds {_either(markers)}.")
    if not root.is_dir():
        raise DatasetError(f"{root}: a file, expected the folder of {dataset}; unpack archives first.")
    if fits(root):
        return
    absolute = root.absolute()
    right = next((p for p in list(absolute.parents)[:3] if fits(p)), None)
    if right is not None:
        raise DatasetError(f"{root} is too deep for {dataset}; give --root {right}, which holds {_either(markers)}.")
    right = _search_below(absolute, fits)
    if right is not None:
        raise DatasetError(f"{root} is too high for {dataset}; give --root {right}, which holds {_either(markers)}.")
    found = ", ".join(sorted(os.listdir(root))[:6]) or "nothing"
    raise DatasetError(f"{root}: expected {_either(markers)} of {dataset}, found {found}; give another --root.")


def _either(markers: Sequence[str]) -> str:
    return " or ".join(markers)


def _search_below(root: Path, fits: Callable[[Path], bool], depth: int = 3, most: int = 500) -> Path | None:
    """The first folder below ``root`` that fits, breadth first, looking at ``most`` folders at most."""
    queue = deque((root / name, 1) for name in names_in(root)[:most])
    looked_at = 0
    while queue and looked_at < most:
        folder, level = queue.popleft()
        looked_at += 1
        if fits(folder):
            return folder
        if level < depth and os.access(folder, os.R_OK):
            queue.extend((folder / name, level + 1) for name in names_in(folder)[:50])
    return None
