"""ReasonShapes as a dataset: generated into the user's cache when first asked for, then read like any other."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from ..config import cache_dir
from ..errors import DatasetError, UsageError
from ..files import MetaVideo
from ..frames import FrameFolder
from ..reasonvos import ReasonVOS
from ..types import Expression, Masklet, Sample, Video
from .generate import VERSION, generate
from .writers import FIRST_GROUP, NO_OBJECT, write

#: How many videos a split has, unless asked otherwise.
N_VIDEOS = {"train": 500, "valid": 60, "test": 60}
#: Kinds of sentences that only look at what is there; all others need reasoning over time, knowledge or several steps.
REFERRING = ("attribute", "spatial")
#: What an expression has beyond those of ReasonVOS.
_FIELDS = {"object_ids": list, "kind": str, "is_sent": bool, "tags": dict}


class ReasonShapes(ReasonVOS):
    """``reasonshapes/{train,valid,test}`` in ReasonVOS's layout, with several targets, kinds and tags.

    Expression tags hold ``kind`` (see ``questions.KINDS``) and everything that the generator measured: ``depth``,
    ``n_objects``, ``n_distractors``, ``family``, ``occlusion``, ``area`` and more.

    Args:
        root: a folder with ``meta_expressions.json``; None generates the split into the user's cache, once.
        split: ``train``, ``valid`` or ``test``.
        n_videos: how many of the split's videos to generate, from its first; by default ``N_VIDEOS``.
        height: of the frames in pixels.
        width: of the frames in pixels.
        n_frames: per video.

    Raises:
        DatasetError: where the cache cannot be written, or the root's files are not as expected.
        UsageError: where both a root and sizes are given: the files have the sizes they have.
    """

    name = "reasonshapes"

    def __init__(
        self,
        root: Path | None,
        split: str,
        *,
        n_videos: int | None = None,
        height: int | None = None,
        width: int | None = None,
        n_frames: int | None = None,
    ) -> None:
        if root is None:
            root = _generated(split, n_videos or N_VIDEOS[split], height or 96, width or 128, n_frames or 16)
        elif any(given is not None for given in (n_videos, height, width, n_frames)):
            raise UsageError(f"{root} is read as it is: n_videos, height, width and n_frames go without a root.")
        self._targets: dict[str, str] = {}
        super().__init__(root, split)
        self.version = VERSION

    def objects(self, video: Video) -> dict[str, Masklet]:
        """Every thing of the scene; groups that a sentence means are no objects of their own."""
        return {name: m for name, m in super().objects(video).items() if NO_OBJECT < int(name) < FIRST_GROUP}

    def prediction_path(self, sample: Sample) -> PurePosixPath:
        return PurePosixPath(self._prefix(sample.video.id) + self._targets[sample.key]) / sample.expression.layout_id

    def _samples(self, entry: MetaVideo) -> Iterator[Sample]:
        video = Video(entry.id, entry.frames, FrameFolder(self.root / "JPEGImages" / entry.id, self._any_mask(entry)))
        for exp_id, fields in entry.expressions:
            self._check(entry.id, exp_id, fields)
            expression = Expression(
                id=exp_id,
                text=fields["exp_text"],
                object_ids=tuple(str(i) for i in fields["object_ids"]),
                kind="referring" if fields["kind"] in REFERRING else "reasoning",
                is_sentence=fields["is_sent"],
                tags={"kind": fields["kind"], **fields["tags"]},
            )
            sample = Sample(video, expression)
            self._targets[sample.key] = str(fields["obj_id"])
            yield sample

    def _check(self, video_id: str, expression_id: str, fields: dict[str, Any]) -> None:
        """Raises DatasetError where an expression lacks what ReasonVOS does not have, or holds something else."""
        for name, kind in _FIELDS.items():
            if not isinstance(fields.get(name), kind):
                raise DatasetError(
                    f"{self.meta_file}: video '{video_id}', expression '{expression_id}' has no '{name}' as "
                    "ReasonShapes writes it; is this another dataset (reasonvos)?"
                )


def _generated(split: str, n_videos: int, height: int, width: int, n_frames: int) -> Path:
    """The folder of a generated split; made whole or not at all, so another process may make it at the same time."""
    code = _code_hash()
    root = cache_dir() / "reasonshapes" / f"{code}-{split}-{n_videos}x{n_frames}x{height}x{width}"
    if (root / "meta_expressions.json").exists():
        return root
    print(f"Generating reasonshapes/{split} ({n_videos} videos) once, into {root}", file=sys.stderr)
    videos = generate(split, n_videos, height=height, width=width, n_frames=n_frames)
    try:
        write("reasonvos", root, videos)
    except OSError as error:
        raise DatasetError(f"{root}: cannot be written ({error.strerror}); set RVOS_CACHE to a folder.") from error
    except UsageError:
        if not (root / "meta_expressions.json").exists():
            raise
    return root


def _code_hash() -> str:
    """A hash of the generator: until its version is frozen, its data follow its code."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
