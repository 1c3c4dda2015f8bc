"""Exports on the Hugging Face hub: opened in place, fetched file by file when they are needed, and pushed.

Every file is fetched from one commit and checked against the SHA-256 in the export's record (or, for other
repositories, against the hub's own), so that a score says exactly which data it was made with.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha1
from pathlib import Path
from typing import Any, Literal, TypeVar

from .config import replace_file
from .errors import DatasetError, MissingExtraError, UsageError
from .files import is_plain_path, read_json, shown
from .parquet import RECORD, ParquetDataset, choose, file_digest, is_export
from .types import RVOSDataset

SCHEME = "hf://"
_NAME = re.compile(r"hf://(?P<repo>\w[\w.-]*/\w[\w.-]*?)(?:@(?P<revision>[^/]+))?(?:/(?P<split>[\w.-]+))?")
_ATTEMPTS = 5
_WAIT = 1.0  # seconds before the second attempt; doubled for each further one
#: what ``push`` sends of an export; the last is a project of the annotation workbench
_PUSHED = ("README.md", "*/*.parquet", f"*/{RECORD}", "annotation/**/*.json")
_PIN = ".rvos-download.json"
#: errors of this machine that no second attempt cures
_LOCAL = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.EISDIR, errno.ENOTDIR)

T = TypeVar("T")
#: called with (files done, files in all)
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class HubStore:
    """A commit of a dataset repository; files are fetched once, into the hub's own cache."""

    repo: str
    commit: str

    def path(self, name: str) -> Path:
        """The file on this machine, checked. Raises DatasetError."""
        return _checked(self, name)


def open_hub(name: str) -> RVOSDataset:
    """Open ``hf://owner/name[@revision][/split]``: an export that ``push`` (or ``datasets export``) made, or a mirror.

    Sentences and masks are fetched now or when first asked for, frames when first asked for. The revision is resolved
    to a commit, to which everything then belongs.

    Raises:
        UsageError: no such name; no split named where there are several.
        DatasetError: no such repository, no export in it, or it cannot be fetched.
        MissingExtraError: ``rvos[hub]`` is not installed.
    """
    repo, revision, split = parse(name)
    commit, listed = _files(repo, revision)
    files = [file.name for file in listed]
    folders = [
        file.removesuffix(f"/{RECORD}") for file in files if file.endswith(f"/{RECORD}") and file.count("/") == 1
    ]
    if not folders:
        from .mirrors import MIRRORS, open_mirror

        if repo in MIRRORS:
            return open_mirror(name)
        raise DatasetError(
            f"{SCHEME}{repo} holds no export of rvos (no <split>/{RECORD}); fetch its files with "
            f"`rvos datasets download {SCHEME}{repo} --out FOLDER` and open that folder by its layout."
        )
    store, folder = HubStore(repo, commit), choose(split, folders, f"{SCHEME}{repo}")
    return ParquetDataset(store.path(f"{folder}/{RECORD}").parent.parent, store, folder)


def resolved(repo: str, revision: str | None) -> str:
    """The commit that a revision (the main branch where None) means now. Raises DatasetError."""
    return _files(repo, revision)[0]


def parse(name: str) -> tuple[str, str | None, str | None]:
    """(repository, revision, split) of ``hf://owner/name[@revision][/split]``. Raises UsageError."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise UsageError(f"{name}: expected hf://owner/name, hf://owner/name/split or hf://owner/name@revision/split.")
    return found["repo"], found["revision"], found["split"]


def download(name: str, out: Path | str, progress: Progress | None = None) -> tuple[str, list[Path]]:
    """Fetch the files of ``hf://owner/name[@revision][/folder]``, all of one commit, each checked.

    The commit is written to ``.rvos-download.json`` before the first file, so that the same call, after an end in
    whatever way, goes on with the same commit at the byte where it stopped, wherever the branch has moved since.

    Returns:
        The commit, and the files.

    Raises:
        DatasetError: it cannot be fetched, or a file is not what the hub says it is.
    """
    repo, revision, folder = parse(name)
    out = Path(out)
    commit, listed = _files(repo, _pinned(out, repo, revision) or revision)
    files = [f for f in listed if folder is None or f.name.startswith(f"{folder}/")]
    if not files:
        raise DatasetError(f"{name}: no files {'below ' + folder if folder else 'there'}; check the name.")
    _pin(out, repo, revision, commit)
    missing = [f for f in files if not f.fits(out / f.name)]
    _need_room(out, sum(f.size for f in missing))
    for done, file in enumerate(files, start=1):
        if file in missing:
            _fetch_to(out / file.name, repo, commit, file)
        if progress is not None:
            progress(done, len(files))
    return commit, [out / f.name for f in files]


def push(
    root: Path | str, repo: str, *, private: bool = True, progress: Progress | None = None
) -> tuple[str, int, int]:
    """Send an export to the hub. Files that are there already are not sent again, so a second call resumes the first.

    Records go last: an export that is on its way cannot be opened yet.

    Args:
        root: what ``export_parquet`` wrote.
        repo: ``owner/name``; made where it does not exist.
        private: of a repository that is made now. One that exists keeps its setting.
        progress: called after every file.

    Returns:
        The repository's address, and how many files were sent and were there.

    Raises:
        UsageError: no export, or no ``owner/name``.
        DatasetError: the hub refuses, or cannot be reached.
    """
    root = Path(root)
    if not is_export(root):
        raise UsageError(
            f"{root} holds no export; make one with: rvos datasets export DATASET --to parquet --out {root}"
        )
    parse(f"{SCHEME}{repo}")
    api = _api()
    url = _persistently(
        lambda: api.create_repo(repo, repo_type="dataset", private=private, exist_ok=True), f"{SCHEME}{repo}"
    )
    there = {file.name: file for file in _files(repo, None)[1]}
    files = [p for pattern in _PUSHED for p in root.glob(pattern) if p.is_file()]
    names = sorted((p.relative_to(root).as_posix() for p in files), key=lambda name: (name.endswith(RECORD), name))
    n_sent = 0
    for done, name in enumerate(names, start=1):
        if name not in there or not there[name].fits(root / name):
            _persistently(lambda name=name: _send(api, root, name, repo), f"{SCHEME}{repo}/{name}")  # type: ignore[misc]
            n_sent += 1
        if progress is not None:
            progress(done, len(names))
    return str(url), n_sent, len(names) - n_sent


def _send(api: Any, root: Path, name: str, repo: str) -> None:
    api.upload_file(
        path_or_fileobj=str(root / name),
        path_in_repo=name,
        repo_id=repo,
        repo_type="dataset",
        commit_message=f"Add {name}",
    )


# Into a folder -------------------------------------------------------------------------------------------------------


def _pinned(out: Path, repo: str, revision: str | None) -> str | None:
    """The commit that an earlier call fetched, or began to fetch, for the same name."""
    path = out / _PIN
    record = read_json(path) if path.exists() else {}
    same = isinstance(record, dict) and record.get("repo") == repo and record.get("revision") == revision
    return str(record["commit"]) if same else None


def _pin(out: Path, repo: str, revision: str | None, commit: str) -> None:
    record = {"repo": repo, "revision": revision, "commit": commit}
    replace_file(out / _PIN, json.dumps(record, indent=1).encode())


def _need_room(out: Path, n_bytes: int) -> None:
    free = shutil.disk_usage(out).free
    if n_bytes > free:
        raise DatasetError(f"{out}: {n_bytes / 1e9:.1f} GB to fetch, {free / 1e9:.1f} GB free; give another folder.")


def _fetch_to(target: Path, repo: str, commit: str, file: Listed) -> None:
    """Fetch a file, from the byte on where an earlier call stopped. Raises DatasetError."""
    place = f"{SCHEME}{repo}/{file.name}"
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    for _ in range(2):  # a part of another content is found out at the end, and thrown away
        _persistently(lambda: _append(part, repo, commit, file), place)
        if file.fits(part):
            os.replace(part, target)
            return
        part.unlink()
    raise DatasetError(f"{target}: not the file that {place} states (SHA-256 differs), twice; fetch it again.")


def _append(part: Path, repo: str, commit: str, file: Listed) -> None:
    """Ask for what ``part`` lacks. The client's own downloads keep nothing of a file when the process ends."""
    from importlib import import_module

    hub = _hub()
    http_get = import_module("huggingface_hub.file_download").http_get
    url = hub.hf_hub_url(repo, file.name, repo_type="dataset", revision=commit, endpoint=os.environ.get("HF_ENDPOINT"))
    with part.open("ab") as stream:
        if stream.tell() > file.size:
            stream.truncate(0)
        if stream.tell() < file.size or not file.size:
            headers = hub.utils.build_hf_headers()
            http_get(url, stream, resume_size=stream.tell(), headers=headers, expected_size=file.size)


# The hub -------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _checked(store: HubStore, name: str) -> Path:
    path = _fetch(store.repo, store.commit, name)
    if name.endswith(f"/{RECORD}"):
        return path
    expected = read_json(store.path(f"{name.split('/')[0]}/{RECORD}"))["files"].get(name)
    if file_digest(path) == expected:
        return path
    path = _fetch(store.repo, store.commit, name, force_download=True)
    if file_digest(path) != expected:
        raise DatasetError(
            f"{SCHEME}{store.repo}/{name}: not the file that the export's record names (SHA-256 differs), twice; "
            "ask its owner to push it again."
        )
    return path


@dataclass(frozen=True)
class Listed:
    """A file of a commit as the hub states it: SHA-256 for large files, git's SHA-1 of the blob for the others."""

    name: str
    size: int
    sha256: str | None
    git: str | None

    def fits(self, path: Path) -> bool:
        """Whether the file on disk is this one."""
        if not path.is_file() or path.stat().st_size != self.size:
            return False
        if self.sha256 is not None:
            return file_digest(path) == self.sha256
        return self.git is None or _git_hash(path) == self.git


def _git_hash(path: Path) -> str:
    data = path.read_bytes()  # small: large files have a SHA-256
    return sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _files(repo: str, revision: str | None) -> tuple[str, list[Listed]]:
    """The commit, and its files by name. Raises DatasetError."""
    api = _api()
    info = _persistently(lambda: api.dataset_info(repo, revision=revision, files_metadata=True), f"{SCHEME}{repo}")
    files = [
        Listed(s.rfilename, s.size or 0, getattr(s.lfs, "sha256", None) if s.lfs else None, s.blob_id)
        for s in info.siblings or ()
    ]
    for file in files:
        if not is_plain_path(file.name):
            raise DatasetError(f"{SCHEME}{repo}: refused, the file name '{shown(file.name)}' points outside of it.")
    return info.sha, sorted(files, key=lambda file: file.name)


def _fetch(repo: str, commit: str, name: str, **options: Any) -> Path:
    hub = _hub()
    fetched = _persistently(
        lambda: hub.hf_hub_download(
            repo, name, repo_type="dataset", revision=commit, endpoint=os.environ.get("HF_ENDPOINT"), **options
        ),
        f"{SCHEME}{repo}/{name}",
    )
    return Path(fetched)


def _persistently(call: Callable[[], T], what: str) -> T:
    """The call's result; after a dropped connection, a 429 or a server's error it is tried again, later each time.

    A file that was fetched in part is continued where it stopped.
    """
    wait = _WAIT
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return call()
        except Exception as error:
            cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error  # an upload's
            verdict = _verdict(cause)
            if verdict == "unknown":
                raise
            words = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
            if verdict == "refused":
                raise DatasetError(
                    f"{what}: the hub refuses it ({words}); check the name, and log in where it is private or yours: "
                    "hf auth login."
                ) from error
            if verdict == "broken" or attempt == _ATTEMPTS:
                raise DatasetError(
                    f"{what}: cannot be fetched or sent ({words}; {attempt} attempts); the same command continues."
                ) from error
            time.sleep(_asked_to_wait(cause, wait))
            wait *= 2
    raise AssertionError("the last attempt returns or raises")


Verdict = Literal["refused", "broken", "may pass", "unknown"]


def _verdict(error: BaseException) -> Verdict:
    """What a failed call means: a no of the hub, something wrong here, something that may pass, or a bug."""
    from importlib import import_module

    errors = import_module("huggingface_hub.errors")
    refusals = (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.EntryNotFoundError)
    if isinstance(error, errors.LocalEntryNotFoundError):  # the client's word for a hub that does not answer
        return "may pass"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, (*refusals, errors.LocalTokenNotFoundError, ValueError)) or status in (401, 403):
        return "refused"
    if status is not None:
        return "may pass" if status >= 500 or status in (408, 416, 429) else "broken"
    if isinstance(error, OSError) and error.errno in _LOCAL:
        return "broken"
    return "may pass" if isinstance(error, (errors.HfHubHTTPError, OSError, *_transport())) else "unknown"


def _transport() -> tuple[type[Exception], ...]:
    """Errors of the libraries by which the hub's client speaks; those of requests, the oldest one, are OSErrors."""
    from importlib import import_module
    from importlib.util import find_spec

    return tuple(import_module(name).HTTPError for name in ("httpx", "httpx2") if find_spec(name))


def _asked_to_wait(error: BaseException, default: float) -> float:
    response = getattr(error, "response", None)
    stated = str(response.headers.get("Retry-After", "")) if response is not None else ""
    return min(float(stated), 60.0) if stated.isdecimal() else default


def _api() -> Any:
    return _hub().HfApi(endpoint=os.environ.get("HF_ENDPOINT"))


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingExtraError("The Hugging Face hub", "hub") from error
    return huggingface_hub
