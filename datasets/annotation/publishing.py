"""A project on the hub: scored by ``rvos evaluate hf://owner/name`` without code, and opened again by the workbench.

The repository holds the parquet export of the sentences that count, with the frames that may be passed on, and under
``annotation/`` the project itself in the native format, so that nothing that only it keeps is lost.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..config import cache_dir, replace_file
from ..errors import UsageError
from ..hub import push
from ..parquet_export import card_page, export_parquet
from ..registry import dataset_names
from . import native
from .exporting import NATIVE, export, view
from .records import Clip

#: called with (files done, files in all)
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Published:
    """Where a project is now.

    Attributes:
        url: of the repository.
        n_sent, n_there: files that were sent, and that were there.
        withheld: clips whose frames are not passed on, with the reason.
    """

    url: str
    n_sent: int
    n_there: int
    withheld: dict[str, str]


def publish(
    folder: Path | str, repo: str, *, private: bool = True, frames: bool = True, progress: Progress | None = None
) -> Published:
    """Send a project to the hub. The same call resumes one that stopped.

    Args:
        folder: a native folder.
        repo: ``owner/name``; made where it does not exist.
        private: of a repository that is made now.
        frames: whether frames are sent, of the clips whose licence allows it.
        progress: called after every file.

    Raises:
        UsageError: clips without licence or consent, or no ``owner/name``.
        DatasetError: the folder is not as expected, no sentence of it counts, or the hub refuses.
    """
    project = native.read(folder)
    version = project.head.content_hash.rpartition(":")[2][:16]
    work = cache_dir() / "publishing" / f"{repo.replace('/', '--')}-{version}-{'frames' if frames else 'masks'}"
    out = work / "export"
    record = work / "withheld.json"
    if not record.exists():  # written last
        shutil.rmtree(work, ignore_errors=True)
        replace_file(record, json.dumps(_prepare(Path(folder), out, frames)).encode())
    url, n_sent, n_there = push(out, repo, private=private, progress=progress)
    withheld = json.loads(record.read_text(encoding="utf-8"))
    shutil.rmtree(work)
    return Published(url, n_sent, n_there, withheld)


def _prepare(folder: Path, out: Path, frames: bool) -> dict[str, str]:
    """The export with the project beside it. Gives the clips without frames."""
    out.mkdir(parents=True)
    export(folder, NATIVE, out / "annotation", frames="none")  # refuses clips without licence or consent
    dataset, withheld = view(folder, "link" if frames else "none")
    head = dataset.project.head
    if head.name in dataset_names():
        raise UsageError(f"{folder}: the project is called {head.name}, as a benchmark; rename it, then push it.")
    export_parquet(dataset, out, name=head.name)
    clips = list(dataset.project)
    replace_file(out / "README.md", _readme(out, dataset.project.head, clips, withheld).encode())
    return withheld


def _readme(out: Path, head: native.Head, clips: list[Clip], withheld: dict[str, str]) -> str:
    licence = head.annotations_licence.strip() or "not stated"
    rows = [
        f"| {clip.id} | {clip.source.collection or '-'} | {clip.source.licence} | {clip.source.consent} | "
        f"{'no' if clip.id in withheld else 'yes'} |".replace("\n", " ")
        for clip in clips
    ]
    table = "\n".join(["| clip | source | licence | consent | frames here |", "|---|---|---|---|---|", *rows])
    paragraphs = [text for text in (head.description.strip(), f"Annotations: {licence}.", table) if text]
    return card_page(out, head.title or head.name, {"license_name": licence}, paragraphs)
