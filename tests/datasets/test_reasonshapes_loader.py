"""ReasonShapes by name: generated once, then read. About 3 s."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from rvos.datasets.errors import DatasetError, UnknownNameError, UsageError
from rvos.datasets.reasonshapes import loader, make_videos
from rvos.datasets.reasonshapes.generate import generate
from rvos.datasets.reasonshapes.questions import KINDS
from rvos.datasets.reasonshapes.writers import write
from rvos.datasets.registry import load

SMALL = {"n_videos": 6, "height": 48, "width": 64, "n_frames": 10}


def test_masks_texts_and_tags_are_those_of_the_generator() -> None:
    dataset = load("reasonshapes/valid", **SMALL)
    made = list(make_videos("valid", 6, height=48, width=64, n_frames=10))
    assert len(dataset) == sum(len(v.samples) for v in made)
    for video in made:
        for sample in video.samples:
            ours = dataset.sample(f"{video.id}/{sample.id}")
            assert (ours.expression.text, ours.expression.is_sentence) == (sample.text, sample.is_sentence)
            assert ours.expression.object_ids == tuple(str(i) for i in sample.object_ids)
            assert ours.expression.tags == {"kind": sample.kind, **sample.tags}
            masks = np.stack([video.mask(sample, t) for t in range(video.n_frames)])
            assert np.array_equal(dataset.ground_truth(ours).dense(), masks)
    assert {s.expression.kind for s in dataset} == {"referring", "reasoning"}
    assert {s.expression.tags["kind"] for s in dataset} <= set(KINDS)


def test_objects_are_the_things_of_the_scene_also_where_a_sentence_means_several() -> None:
    dataset = load("reasonshapes/valid", **SMALL)
    assert any(len(s.expression.object_ids) > 1 for s in dataset)
    for video, made in zip(dataset.videos, make_videos("valid", 6, height=48, width=64, n_frames=10), strict=True):
        objects = dataset.objects(video)
        assert sorted(objects) == sorted(str(thing.id) for thing in made.things)
        labels = made.renderer.labels(3)
        assert all(np.array_equal(m.mask(3), labels == int(name)) for name, m in objects.items())


def test_it_is_generated_once_and_can_be_checked_pickled_and_given_as_root(capsys: pytest.CaptureFixture[str]) -> None:
    first = load("reason-shapes/val", **SMALL)
    capsys.readouterr()
    again = load("reasonshapes/valid", **SMALL)
    assert capsys.readouterr().err == ""
    assert first.fingerprint == again.fingerprint == load("reasonshapes/valid", root=first.root).fingerprint
    assert pickle.loads(pickle.dumps(first)).fingerprint == first.fingerprint
    assert first.card.name == "reasonshapes" and first.version.startswith("reasonshapes@")
    assert first.videos[0].frame(0).shape == (48, 64, 3)


def test_chunks_of_a_killed_process_are_taken_over_and_nothing_is_left_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load("reasonshapes/valid", **SMALL)
    monkeypatch.setenv("RVOS_CACHE", str(tmp_path))
    monkeypatch.setattr(loader, "CHUNK", 4)
    written = []
    write_chunk = loader._write_chunk

    def killed(task: loader._Task) -> None:
        if written:
            raise KeyboardInterrupt
        write_chunk(task)
        written.append(task)

    monkeypatch.setattr(loader.os, "cpu_count", lambda: 1)
    monkeypatch.setattr(loader, "_write_chunk", killed)
    with pytest.raises(KeyboardInterrupt):
        load("reasonshapes/valid", **SMALL)
    (part,) = (tmp_path / "reasonshapes").iterdir()
    made_at = part.stat().st_mtime_ns
    taken_over = []
    monkeypatch.setattr(loader, "_write_chunk", lambda task: taken_over.append(task[0].exists()) or write_chunk(task))
    again = load("reasonshapes/valid", **SMALL)
    assert taken_over == [True, False] and made_at
    assert again.fingerprint == whole.fingerprint and again.version == whole.version
    assert [p.name for p in (tmp_path / "reasonshapes").iterdir()] == [again.root.name]


def test_frozen_scenes_at_other_sizes_and_other_scenes() -> None:
    assert load("reasonshapes/test", n_videos=1, height=48).version == "reasonshapes@1"
    other = load("reasonshapes/test", n_videos=1, height=48, width=48)
    assert other.version.startswith("reasonshapes@1 with other scenes")
    fresh = load("reasonshapes/test", n_videos=1, seed=2027)
    assert fresh.videos[0].id == "test-2027-000000a"
    assert load("reasonshapes/test-long", n_videos=1).videos[0].frame_names[-1] == "00047"


def test_no_target_sentences(tmp_path: Path) -> None:
    write("reasonvos", tmp_path / "data", generate("test", 4, height=48, width=64, n_frames=8, kinds=KINDS))
    dataset = load("reasonshapes/test", root=tmp_path / "data")
    absent = [s for s in dataset if not s.expression.object_ids]
    assert absent and not any(dataset.ground_truth(s).dense().any() for s in absent)


def test_what_cannot_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="reasonshapes/test"):
        load("reasonshapes")
    with pytest.raises(UnknownNameError):
        load("reasonshapes/tset")
    with pytest.raises(UsageError, match="go without a root"):
        load("reasonshapes/test", root=tmp_path, n_videos=3)
    (tmp_path / "file").touch()
    monkeypatch.setenv("RVOS_CACHE", str(tmp_path / "file"))
    with pytest.raises(DatasetError, match="RVOS_CACHE"):
        load("reasonshapes/test", n_videos=1)
