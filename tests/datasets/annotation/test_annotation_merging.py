"""Two projects made one: nothing that either says is missing afterwards, and every conflict is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from toyproject import PEOPLE, assert_same, box, toy_clip, tracks, write_frames, write_project

import rvos
from rvos.datasets.annotation import native
from rvos.datasets.annotation.loader import load_dataset
from rvos.datasets.annotation.merging import merge
from rvos.datasets.annotation.native import Clip, Head, Person
from rvos.datasets.errors import UsageError
from rvos.datasets.frames import FrameFolder


def write(folder: Path, work: Path, clip: Clip, masks: object, **head: object) -> Path:
    with native.Writer(folder, Head(**{"name": "toy", "people": PEOPLE, **head})) as writer:  # type: ignore[arg-type]
        writer.add(clip, masks, FrameFolder(work))  # type: ignore[arg-type]
    return folder


@pytest.fixture
def frames(tmp_path: Path) -> tuple[native.Frame, ...]:
    return write_frames(tmp_path / "work")


def test_the_same_twice_is_the_same(tmp_path: Path) -> None:
    project = write_project(tmp_path / "a", tmp_path / "work")
    done = merge(tmp_path / "a", tmp_path / "a", tmp_path / "out")
    assert done.conflicts == [] and done.n_clips == 2
    merged = native.read(tmp_path / "out")
    assert list(merged) == list(project)
    assert_same(rvos.load(tmp_path / "a"), rvos.load(tmp_path / "out"))
    assert merged.head.history[-1].what == "merge"


def test_what_only_one_has_is_there(tmp_path: Path, frames: tuple[native.Frame, ...]) -> None:
    base = toy_clip(frames)
    less = base.model_copy(
        update={
            "objects": base.objects[:2],
            "expressions": base.expressions[2:4],
            "choices": (),
            "verdicts": (),
            "comments": (),
        }
    )
    a = write(tmp_path / "a", tmp_path / "work", less, {name: tracks()[name] for name in "12"})
    b = write(tmp_path / "b", tmp_path / "work", base, tracks())
    done = merge(a, b, tmp_path / "out")
    assert done.conflicts == []
    merged = native.read(tmp_path / "out")
    clip = merged.clip("park")
    assert {e.id for e in clip.expressions} == {e.id for e in base.expressions} and len(clip.choices) == 8
    assert {name: merged.masks("park")[name] for name in merged.masks("park")} == tracks()
    names = [s.key for s in rvos.load(tmp_path / "out")]
    assert sorted(names) == sorted(s.key for s in rvos.load(b))


def test_conflicts_keep_both(tmp_path: Path, frames: tuple[native.Frame, ...]) -> None:
    base = toy_clip(frames)
    moved = {**tracks(), "1": [box(9, 9, 9)] * 3 + [None, None]}
    other_words = base.expressions[3].model_copy(update={"text": "the motorbike"})
    source = base.source.model_copy(update={"may_copy_frames": False, "licence": "CC0", "url": "https://a.example"})
    spoken = (*base.expressions[:3], other_words, *base.expressions[4:])
    changed = base.model_copy(update={"expressions": spoken, "source": source, "title": "Dogs"})
    a = write(tmp_path / "a", tmp_path / "work", base, tracks(), title="A")
    b = write(
        tmp_path / "b",
        tmp_path / "work",
        changed,
        moved,
        title="B",
        people=(Person(id="ann", name="Anna B."), *PEOPLE[1:]),
    )
    done = merge(a, b, tmp_path / "out")
    told = {conflict.place: conflict for conflict in done.conflicts}
    assert {
        "project, title",
        "project, person ann",
        "clip park, object 1",
        "clip park, sentence d",
        "clip park, title",
        "clip park, licence",
        "clip park, may_copy_frames",
    } <= set(told)
    assert (told["clip park, sentence d"].first, told["clip park, sentence d"].second) == (
        "the bicycle",
        "the motorbike",
    )
    assert "1@other" in str(told["clip park, object 1"])
    merged = native.read(tmp_path / "out")
    clip = merged.clip("park")
    assert clip.source.licence == "CC BY 4.0" and clip.source.may_copy_frames is False
    assert clip.source.url == "https://a.example"
    assert merged.masks("park")["1"] == tracks()["1"] and merged.masks("park")["1@other"] == moved["1"]
    assert clip.by_expression["a@other"].object_ids == ("1@other",)  # its objects are the second's
    assert clip.by_expression["d@other"].text == "the motorbike"
    assert clip.by_expression["c@other"].object_ids == ("1@other", "2@other")  # ann is somebody else there
    assert clip.by_object["1b@other"].second_of == "1@other"
    assert {choice.expression for choice in clip.choices} >= {"a", "a@other", "d@other"}
    assert {person.id for person in merged.head.people} == {"ann", "ann@other", "bob", "cem", "rev"}
    assert clip.by_object["2@other"].author == "ann@other"
    assert str(told["clip park, licence"]) in merged.head.history[-1].detail
    # both sides' samples are all there
    keys = {s.key for s in load_dataset(tmp_path / "out")}
    assert keys == {f"park/{name}" for name in ("a", "b", "c", "d", "a@other", "b@other", "c@other", "d@other")}


def test_other_frames_under_one_name_are_another_clip(tmp_path: Path, frames: tuple[native.Frame, ...]) -> None:
    other = write_frames(tmp_path / "other", seed=5)
    a = write(tmp_path / "a", tmp_path / "work", toy_clip(frames), tracks())
    b = write(tmp_path / "b", tmp_path / "other", toy_clip(other), tracks(1))
    done = merge(a, b, tmp_path / "out")
    assert [str(conflict) for conflict in done.conflicts] == [
        "clip park: 'these frames' against 'other frames'; the second is clip park@other."
    ]
    merged = native.read(tmp_path / "out")
    assert [clip.id for clip in merged] == ["park", "park@other"]
    assert (merged.frames_folder("park@other") / "00001.png").read_bytes() == (
        tmp_path / "other/00001.png"
    ).read_bytes()


def test_merging_thrice_gives_new_names_each_time(tmp_path: Path, frames: tuple[native.Frame, ...]) -> None:
    for number in range(3):
        write(tmp_path / str(number), tmp_path / "work", toy_clip(frames), tracks(number))
    merge(tmp_path / "0", tmp_path / "1", tmp_path / "01")
    merge(tmp_path / "01", tmp_path / "2", tmp_path / "012")
    masks = native.read(tmp_path / "012").masks("park")
    assert [masks[name] for name in ("1", "1@other", "1@other2")] == [tracks(k)["1"] for k in range(3)]


def test_refuses(tmp_path: Path, frames: tuple[native.Frame, ...]) -> None:
    a = write(tmp_path / "a", tmp_path / "work", toy_clip(frames), tracks())
    with pytest.raises(UsageError, match="already there"):
        merge(a, a, a)
    with pytest.raises(UsageError, match="short ending"):
        merge(a, a, tmp_path / "out", suffix="/x")
    assert not (tmp_path / "out").exists()
