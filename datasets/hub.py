"""Exports on the Hugging Face hub: opened in place, fetched file by file when they are needed, and pushed.

Every file is fetched from one commit and checked against the SHA-256 in the export's record (or, for other
repositories, against the hub's own), so that a score says exactly which data it was made with.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from .errors import DatasetError, MissingExtraError, UsageError
from .files import read_json
from .parquet import RECORD, ParquetDataset, choose, file_digest, is_export

SCHEME = "hf://"
_NAME = re.compile(r"hf://(?P<repo>\w[\w.-]*/\w[\w.-]*?)(?:@(?P<revision>[^/]+))?(?:/(?P<split>[\w.-]+))?")
_ATTEMPTS = 5
_WAIT = 1.0  # seconds before the second attempt; doubled for each further one

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


def open_hub(name: str) -> ParquetDataset:
    """Open ``hf://owner/name[@revision][/split]``, an export that ``push`` (or ``datasets export``) made.

    Sentences and masks are fetched now or when first asked for, frames when first asked for. The revision is resolved
    to a commit, to which everything then belongs.

    Raises:
        UsageError: no such name; no split named where there are several.
        DatasetError: no such repository, no export in it, or it cannot be fetched.
        MissingExtraError: ``rvos[hub]`` is not installed.
    """
    repo, revision, split = parse(name)
    commit, files = _files(repo, revision)
    folders = [
        file.removesuffix(f"/{RECORD}") for file in files if file.endswith(f"/{RECORD}") and file.count("/") == 1
    ]
    if not folders:
        raise DatasetError(
            f"{SCHEME}{repo} holds no export of rvos (no <split>/{RECORD}); fetch its files with "
            f"`rvos datasets download {SCHEME}{repo} --out FOLDER` and open that folder by its layout."
        )
    store, folder = HubStore(repo, commit), choose(split, folders, f"{SCHEME}{repo}")
    return ParquetDataset(store.path(f"{folder}/{RECORD}").parent.parent, store, folder)


def parse(name: str) -> tuple[str, str | None, str | None]:
    """(repository, revision, split) of ``hf://owner/name[@revision][/split]``. Raises UsageError."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise UsageError(f"{name}: expected hf://owner/name, hf://owner/name/split or hf://owner/name@revision/split.")
    return found["repo"], found["revision"], found["split"]


def download(name: str, out: Path | str, progress: Progress | None = None) -> tuple[str, list[Path]]:
    """Fetch every file of ``hf://owner/name[@revision]`` into a folder. What is there and whole is not fetched again.

    Returns:
        The commit, and the files.

    Raises:
        DatasetError: it cannot be fetched, or a file is not what the hub says it is.
    """
    repo, revision, _ = parse(name)
    commit, files = _files(repo, revision)
    paths = []
    for done, (file, digest) in enumerate(sorted(files.items()), start=1):
        target = Path(out) / file
        if digest is None or not target.is_file() or file_digest(target) != digest:
            fetched = _fetch(repo, commit, file, local_dir=str(out))
            if digest is not None and file_digest(fetched) != digest:
                fetched.unlink()
                raise DatasetError(
                    f"{target}: not the file that {SCHEME}{repo} states (SHA-256 differs); fetch it again."
                )
        paths.append(target)
        if progress is not None:
            progress(done, len(files))
    return commit, paths


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
    _, there = _files(repo, None)
    names = sorted(p.relative_to(root).as_posix() for p in (*root.glob("*/*.parquet"), *root.glob(f"*/{RECORD}")))
    names = sorted([*names, "README.md"], key=lambda name: (name.endswith(RECORD), name))
    n_sent = 0
    for done, name in enumerate(names, start=1):
        if there.get(name) is None or there[name] != file_digest(root / name):
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


def _files(repo: str, revision: str | None) -> tuple[str, dict[str, str | None]]:
    """The commit, and its files with their SHA-256 where the hub states it (it does for large files)."""
    api = _api()
    info = _persistently(lambda: api.dataset_info(repo, revision=revision, files_metadata=True), f"{SCHEME}{repo}")
    files = {s.rfilename: getattr(s.lfs, "sha256", None) if s.lfs else None for s in info.siblings or ()}
    return info.sha, files


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
    refusals, hiccups = _errors()
    wait = _WAIT
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return call()
        except refusals as error:
            words = str(error).strip().splitlines()[0]
            raise DatasetError(
                f"{what}: the hub refuses it ({words}); check the name, and log in where it is private: hf auth login."
            ) from error
        except hiccups as error:
            response = getattr(error, "response", None)
            status = getattr(response, "status_code", None)
            if attempt == _ATTEMPTS or (status is not None and status < 500 and status not in (408, 416, 429)):
                words = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
                raise DatasetError(
                    f"{what}: cannot be fetched or sent ({words}; {attempt} attempts); the same command continues."
                ) from error
            stated = str(response.headers.get("Retry-After", "")) if response is not None else ""
            time.sleep(min(float(stated), 60.0) if stated.isdecimal() else wait)
            wait *= 2
    raise AssertionError("the last attempt returns or raises")


def _errors() -> tuple[tuple[type[Exception], ...], tuple[type[Exception], ...]]:
    """What the hub says no with, and what may pass."""
    from importlib import import_module
    from importlib.util import find_spec

    errors = import_module("huggingface_hub.errors")
    refusals = (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.EntryNotFoundError)
    # Its newer versions speak by way of httpx, whose errors are no OSError; those of requests are.
    transport = (import_module("httpx").HTTPError,) if find_spec("httpx") else ()
    return refusals, (errors.HfHubHTTPError, *transport, OSError)


def _api() -> Any:
    return _hub().HfApi(endpoint=os.environ.get("HF_ENDPOINT"))


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingExtraError("The Hugging Face hub", "hub") from error
    return huggingface_hub
