"""A project of the annotation workbench, small enough to check by hand, and how two datasets are compared."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rvos.datasets.annotation import native
from rvos.datasets.annotation.native import (
    Choice,
    Clip,
    Comment,
    Expression,
    Frame,
    Head,
    Object,
    Person,
    Ref,
    Source,
    Span,
    Verdict,
)
from rvos.datasets.frames import FrameFolder
from rvos.datasets.masks import encode_rle
from rvos.datasets.types import Masklet, RVOSDataset

HEIGHT, WIDTH, N_FRAMES = 24, 32, 5
PEOPLE = (
    Person(id="ann", name="Ann"),
    Person(id="bob", role="blind"),
    Person(id="cem", role="blind"),
    Person(id="rev", role="reviewer"),
)
TERMS = Source(
    collection="own", licence="CC BY 4.0", consent="everybody in it agreed, forms in the office", may_copy_frames=True
)


def box(top: int, left: int, side: int) -> dict[str, Any]:
    """An RLE of a square."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top : top + side, left : left + side] = True
    return encode_rle(mask)


def tracks(shift: int = 0) -> dict[str, list[dict[str, Any] | None]]:
    """A dog that leaves after frame 2, a cat that overlaps it, a ball that is annotated in frames 1 to 3 alone."""
    return {
        "1": [box(2 + shift, 2 + t, 10) for t in range(3)] + [None, None],
        "2": [box(6, 8, 8) for _ in range(N_FRAMES)],
        "3": [None, box(18, 20, 4), box(18, 22, 4), None, None],
        "1b": [box(2 + shift, 3 + t, 10) for t in range(3)] + [None, None],
    }


def write_frames(folder: Path, seed: int = 0) -> tuple[Frame, ...]:
    """Noise as PNG files. Gives the references."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    frames = []
    for index in range(N_FRAMES):
        path = folder / f"{index:05d}.png"
        Image.fromarray(rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)).save(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        frames.append(Frame(name=path.stem, suffix=".png", sha256=digest, position=index))
    return tuple(frames)


def toy_clip(frames: tuple[Frame, ...], name: str = "park", **changes: Any) -> Clip:
    """Everything that the format can hold, at least once."""
    whole = (Span(first=0, last=N_FRAMES - 1, by="ann"),)
    fields: dict[str, Any] = {
        "id": name,
        "title": "A walk <b>in</b> the park",
        "height": HEIGHT,
        "width": WIDTH,
        "fps": 6.0,
        "source": TERMS,
        "frames": frames,
        "objects": (
            Object(
                id="1",
                name="dog",
                category="animal",
                colour="#e63c3c",
                author="ann",
                spans=(
                    Span(first=0, last=0, by="ann"),
                    Span(first=1, last=4, origin="propagated", by="ann", model="flow@1", reviewed=True),
                ),
            ),
            Object(id="2", name="cat", author="ann", spans=whole),
            Object(id="3", name="ball", spans=(Span(first=1, last=3, origin="imported"),)),
            Object(id="1b", author="cem", second_of="1", spans=(Span(first=0, last=4, by="cem"),)),
        ),
        "expressions": (
            Expression(
                id="a",
                text="the animal that leaves first",
                object_ids=("1",),
                kind="reasoning",
                tags=("temporal-dynamics",),
                is_sentence=False,
                condition="full-video",
                rationale="the cat stays",
                group="leaves",
                author="ann",
                created_at="2026-01-02T03:04:05Z",
            ),
            Expression(
                id="b",
                text="Which animal is gone in the end?",
                object_ids=("1",),
                kind="reasoning",
                is_sentence=True,
                group="leaves",
                origin="machine",
                model="small@1",
                accepted_by="ann",
            ),
            Expression(id="c", text="both animals", object_ids=("1", "2"), author="ann"),
            Expression(id="d", text="the bicycle", object_ids=(), author="ann"),
            Expression(id="e", text="who departs", object_ids=("1",), origin="machine", model="small@1"),
            Expression(id="f", text="the round toy", object_ids=("3",), author="ann"),
            Expression(id="g", text="not yet", state="draft"),
        ),
        "choices": tuple(
            Choice(
                id=f"{expression}-{person}-{stage}",
                expression=expression,
                person=person,
                stage=stage,
                frame="00000" if stage == "one-frame" else "",
                answer=answer,
                candidates=("1", "2", "3"),
                seconds=2.5,
            )
            for expression, person, stage, answer in (
                ("a", "bob", "one-frame", ("2",)),
                ("a", "bob", "video", ("1",)),
                ("a", "cem", "one-frame", ("1",)),
                ("a", "cem", "video", ("1",)),
                ("c", "bob", "video", ("1", "2")),
                ("c", "cem", "video", ("1", "2")),
                ("d", "bob", "video", ()),
                ("d", "cem", "video", ("3",)),
            )
        ),
        "verdicts": (
            Verdict(
                id="v1",
                about=Ref(kind="expression", id="f"),
                person="rev",
                decision="accepted",
                at="2026-01-01T00:00:00Z",
            ),
            Verdict(
                id="v2",
                about=Ref(kind="expression", id="f"),
                person="rev",
                decision="rejected",
                comment="say which toy",
                at="2026-01-02T00:00:00Z",
            ),
        ),
        "comments": (Comment(id="k1", about=Ref(kind="object", id="1"), person="rev", text="tail?"),),
    }
    return Clip(**{**fields, **changes})


def write_project(folder: Path, work: Path, **head: Any) -> native.Project:
    """Two clips in a native folder; ``work`` keeps the frames."""
    with native.Writer(folder, Head(**{"name": "toy", "title": "Toys", "people": PEOPLE, **head})) as writer:
        for seed, name in enumerate(("park", "yard")):
            frames = write_frames(work / name, seed)
            writer.add(toy_clip(frames, name), tracks(seed), FrameFolder(work / name))
    return native.read(folder)


def masks_of(masklet: Masklet | None) -> list[bytes | None] | None:
    """The masks in a form that can be compared; voids with them."""
    if masklet is None:
        return None
    found: list[bytes | None] = []
    for index in range(len(masklet)):
        mask, void = masklet.mask(index), masklet.void(index)
        packed = None if mask is None else np.packbits(mask).tobytes() + str(mask.shape).encode()
        found += [packed, None if void is None else np.packbits(void).tobytes()]
    return found


def assert_same(a: RVOSDataset, b: RVOSDataset, frames: bool = True, paths: bool = True) -> None:
    """Identical samples, masks, objects and frames, as the loaders give them."""
    assert [sample.key for sample in a] == [sample.key for sample in b]
    for ours, theirs in zip(a, b, strict=True):
        assert ours.expression == theirs.expression, ours.key
        assert dict(ours.expression.tags) == dict(theirs.expression.tags), ours.key
        assert not paths or a.prediction_path(ours) == b.prediction_path(theirs)
        assert masks_of(a.ground_truth(ours)) == masks_of(b.ground_truth(theirs)), ours.key
    for first, second in zip(a.videos, b.videos, strict=True):
        assert first.frame_names == second.frame_names
        assert _names(a.objects(first)) == _names(b.objects(second)), first.id
        if frames:
            assert [_bytes(first, name) for name in first.frame_names] == [
                _bytes(second, name) for name in second.frame_names
            ]


def _names(objects: Mapping[str, Masklet]) -> dict[str, Any]:
    return {name: (masklet.frame_names, masks_of(masklet)) for name, masklet in objects.items()}


def _bytes(video: Any, name: str) -> bytes | None:
    path = video.source.path(name) if video.source is not None else None
    return None if path is None else path.read_bytes()
