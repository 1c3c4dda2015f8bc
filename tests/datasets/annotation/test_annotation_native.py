"""The native format: nothing is lost, nothing is half there, nothing wrong is read."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from toyproject import N_FRAMES, PEOPLE, assert_same, box, masks_of, toy_clip, tracks, write_frames, write_project

import rvos
from rvos.datasets.annotation import native, records
from rvos.datasets.annotation.exporting import export
from rvos.datasets.annotation.loader import load_dataset
from rvos.datasets.annotation.native import Clip, Expression, Head, Object, Span
from rvos.datasets.errors import DatasetError, ImageError, UnknownNameError, UsageError
from rvos.datasets.frames import FrameFolder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> native.Project:
    folder = tmp_path_factory.mktemp("project")
    return write_project(folder / "native", folder / "work")


def test_everything_comes_back(project: native.Project, tmp_path: Path) -> None:
    clip = project.clip("park")
    frames = clip.frames
    assert clip == toy_clip(frames) and Clip.model_validate_json(clip.model_dump_json()) == clip
    assert {name: project.masks("park")[name] for name in project.masks("park")} == tracks()
    assert project.head.people == PEOPLE and [ref.id for ref in project.head.clips] == ["park", "yard"]
    with native.Writer(tmp_path / "again", project.head) as writer:
        for one in project:
            writer.add(one, project.masks(one.id))
    again = native.read(tmp_path / "again")
    assert again.head.content_hash == project.head.content_hash == native.content_hash(project.head)
    assert list(again) == list(project)
    assert "password" not in json.dumps(records.json_schema()) and "token" not in json.dumps(records.json_schema())


def test_the_content_hash_tells_what_is_said_not_who_wrote_it_down_when(project: native.Project) -> None:
    head = project.head
    later = head.model_copy(update={"modified_at": "2031-01-01T00:00:00Z", "history": (native.Event(what="x"),)})
    assert native.content_hash(later) == head.content_hash
    turned = head.model_copy(update={"clips": head.clips[::-1]})
    assert native.content_hash(turned) == head.content_hash
    for change in ({"title": "Tools"}, {"clips": head.clips[:1]}, {"people": PEOPLE[:1]}):
        assert native.content_hash(head.model_copy(update=change)) != head.content_hash


def test_what_counts_is_a_sample(project: native.Project) -> None:
    dataset = rvos.load(project.folder)
    assert [s.key for s in dataset.samples_of("park")] == ["park/a", "park/b", "park/c", "park/d"]
    assert dataset.left_out == {"machine-made, accepted by nobody": 2, "rejected": 2, "draft": 2}  # type: ignore[attr-defined]
    sample = dataset.sample("park/a")
    assert sample.expression.kind == "reasoning" and sample.expression.is_sentence is False
    assert dict(sample.expression.tags) == {
        "source": "own",
        "condition": "full-video",
        "group": "leaves",
        "origin": "human",
        "temporal-dynamics": True,
    }
    assert sample.video.fps == 6 and sample.video.size == (24, 32)
    assert dataset.card.title == "Annotation project" and dataset.id == "annotation"
    assert pickle.loads(pickle.dumps(dataset)).fingerprint == dataset.fingerprint


def test_absent_is_not_unannotated(project: native.Project) -> None:
    dataset = load_dataset(project.folder)
    video = dataset.sample("park/a").video
    objects = dataset.objects(video)
    assert list(objects) == ["1", "2", "3"]  # a second drawing is no object of its own
    dog, ball = objects["1"], objects["3"]
    assert [dog.mask(i).sum() for i in range(N_FRAMES)] == [100, 100, 100, 0, 0]  # type: ignore[union-attr]
    assert [None if (m := ball.mask(i)) is None else m.sum() for i in range(N_FRAMES)] == [None, 16, 16, 0, None]
    both = dataset.ground_truth(dataset.sample("park/c"))
    assert both is not None
    union = dog.mask(0) | objects["2"].mask(0)  # type: ignore[operator]
    assert np.array_equal(both.mask(0), union) and union.sum() < 100 + 64  # type: ignore[arg-type]
    nothing = dataset.ground_truth(dataset.sample("park/d"))
    assert nothing is not None and not nothing.dense().any()
    assert masks_of(dataset.track(project.clip("park"), "1b")) != masks_of(dog)


def test_frames_are_kept_by_hash(project: native.Project, tmp_path: Path) -> None:
    dataset = load_dataset(project.folder)
    video = dataset.videos[0]
    assert video.frame(0).shape == (24, 32, 3)
    with native.Writer(tmp_path / "bare", project.head) as writer:
        for clip in project:
            writer.add(clip, project.masks(clip.id))
    assert not (tmp_path / "bare" / "frames").exists()
    bare = load_dataset(tmp_path / "bare", frames=project.folder / "frames")
    assert_same(dataset, bare)
    moved = tmp_path / "moved" / "park"
    write_frames(moved, seed=7)
    with pytest.raises(ImageError, match="not the frame that was annotated"):
        load_dataset(tmp_path / "bare", frames=tmp_path / "moved").videos[0].frame(1)
    with (
        pytest.raises(DatasetError, match="not the frame that was annotated"),
        native.Writer(tmp_path / "wrong", project.head) as writer,
    ):
        writer.add(project.clip("park"), {}, FrameFolder(moved))
    with (
        pytest.raises(DatasetError, match="its file is not there"),
        native.Writer(tmp_path / "wrong", project.head) as writer,
    ):
        writer.add(project.clip("park"), {}, FrameFolder(tmp_path))
    assert not (tmp_path / "wrong").exists()


def test_it_is_there_whole_or_not_at_all(project: native.Project, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), native.Writer(tmp_path / "half", Head(name="half")) as writer:
        writer.add(project.clip("park"), project.masks("park"))
        raise RuntimeError
    assert os.listdir(tmp_path) == []
    with pytest.raises(UsageError, match="already there"), native.Writer(project.folder, project.head):
        raise AssertionError("not reached")


def test_evaluates_without_code(project: native.Project, tmp_path: Path) -> None:
    dataset = rvos.load(str(project.folder))
    run = rvos.predict(lambda video, text: np.ones((len(video), *video.size), bool), dataset, out=tmp_path / "run")
    result = rvos.evaluate(run)
    assert result.protocol.id == "expressions@1" and result.summary.n_counted == 8  # type: ignore[union-attr]


def test_its_parquet_evaluates_too(project: native.Project, tmp_path: Path) -> None:
    parquet = pytest.importorskip("rvos.datasets.parquet_export")
    pytest.importorskip("pyarrow", reason="parquet needs pyarrow (pip install 'rvos[hub]')")
    pytest.importorskip("datasets.arrow_dataset", reason="parquet export needs Hugging Face datasets")
    dataset = load_dataset(project.folder)
    parquet.export_parquet(dataset, tmp_path / "parquet")
    assert_same(dataset, rvos.load(tmp_path / "parquet"), frames=False)
    assert rvos.load("annotation", tmp_path / "parquet").name == "annotation"


def test_ids_that_no_folder_can_have(tmp_path: Path) -> None:
    frames = write_frames(tmp_path / "work")
    names = ["a/b", "ü%~x", "CON", "a b", ".hidden"]
    with native.Writer(tmp_path / "out", Head(name="odd")) as writer:
        for name in names:
            writer.add(toy_clip(frames, name), tracks())
    project = native.read(tmp_path / "out")
    assert [clip.id for clip in project] == names
    assert not [ref.folder for ref in project.head.clips if "/" in ref.folder or ref.folder.startswith(".")]
    assert [video.id for video in rvos.load(project.folder).videos] == names


def changed(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    content = json.loads(toy_clip(tuple(native.Frame(name=f"{i:05d}") for i in range(N_FRAMES))).model_dump_json())
    change(content)
    return content


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(colour="red"), "Extra inputs"),
        (lambda c: c["objects"][0].update(id="../1"), "is no id"),
        (lambda c: c["objects"][0].update(id="~void"), "is no id"),
        (lambda c: c["objects"][1].update(id="1"), "'1' occurs twice in objects"),
        (lambda c: c["objects"][0].update(spans=[{"first": 2, "last": 1}]), "runs backwards"),
        (lambda c: c["objects"][0].update(spans=[{"first": 0, "last": 2}, {"first": 2, "last": 3}]), "overlaps"),
        (lambda c: c["objects"][0].update(spans=[{"first": 0, "last": 9}]), "beyond the 5 frames"),
        (lambda c: c["expressions"][0].update(object_ids=["9"]), "names '9'"),
        (lambda c: c["choices"][0].update(answer=["9"]), "names '9'"),
        (lambda c: c["verdicts"][0]["about"].update(id="zz"), "names 'zz'"),
        (lambda c: c["expressions"][0].update(text="half \ud800"), "lone surrogate|surrogates not allowed|unicode"),
        (lambda c: c["expressions"][0].update(created_at="yesterday"), "no time in UTC"),
        (lambda c: c["frames"].clear(), "at least 1"),
        (lambda c: c.update(fps=float("nan")), "finite|greater"),
    ],
)
def test_refuses_what_contradicts_itself(change: Callable[[dict[str, Any]], Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Clip.model_validate(changed(change))


def test_says_what_is_wrong_with_files(project: native.Project, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds no annotation\.json"):
        native.read(tmp_path)
    head = json.loads((project.folder / "annotation.json").read_text())
    (tmp_path / "annotation.json").write_text(json.dumps({**head, "schema_version": 3}))
    with pytest.raises(DatasetError, match="schema version 3, this rvos reads 2; update rvos"):
        native.read(tmp_path)
    (tmp_path / "annotation.json").write_text(json.dumps({**head, "clip": []}))
    with pytest.raises(DatasetError, match=r"annotation\.json: clip: Extra inputs"):
        native.read(tmp_path)
    (tmp_path / "annotation.json").write_text(json.dumps(head))
    with pytest.raises(DatasetError, match=r"clip\.json: no such file"):
        rvos.load(tmp_path)
    with pytest.raises(UnknownNameError, match="clip of"):
        project.clip("street")
    with pytest.raises(UnknownNameError, match="split of"):
        rvos.load("annotation/train", project.folder)


def test_says_what_is_wrong_with_masks(tmp_path: Path) -> None:
    clip = toy_clip(write_frames(tmp_path / "work"))
    for masks, words in (
        ({"9": [None] * N_FRAMES}, "masks of '9'"),
        ({"1": [None]}, "1 masks for 5 frames"),
        ({"3": [box(0, 0, 3)] * N_FRAMES}, "in no span"),
        ({"1": [{"size": [3, 3]}] * N_FRAMES}, "not a COCO RLE"),
    ):
        with pytest.raises(DatasetError, match=words), native.Writer(tmp_path / "out", Head(name="x")) as writer:
            writer.add(clip, masks)  # type: ignore[arg-type]


def test_no_sentence_that_counts(tmp_path: Path) -> None:
    clip = toy_clip(write_frames(tmp_path / "work"), expressions=(), choices=(), verdicts=())
    with native.Writer(tmp_path / "out", Head(name="x")) as writer:
        writer.add(clip, tracks())
    with pytest.raises(DatasetError, match="Project x: no sentence counts"):
        rvos.load(tmp_path / "out")


def test_verdicts_on_what_has_changed_do_not_count() -> None:
    frames = (native.Frame(name="0"),)
    rejected = native.Verdict(
        id="1", about=native.Ref(kind="expression", id="a"), person="rev", decision="rejected", current=False
    )
    sentence = Expression(id="a", text="x", object_ids=("1",))
    clip = Clip(
        id="c",
        frames=frames,
        expressions=(sentence,),
        verdicts=(rejected,),
        objects=(Object(id="1", spans=(Span(first=0, last=0),)),),
    )
    assert native.counts(clip, sentence)
    now = clip.model_copy(update={"verdicts": (rejected.model_copy(update={"current": True}),)})
    assert native.why_not_counted(now, sentence) == "rejected"


def test_damage_is_found_by_the_checks(project: native.Project, tmp_path: Path) -> None:
    with native.Writer(tmp_path / "out", project.head) as writer:
        for clip in project:
            writer.add(clip, project.masks(clip.id))
    assert rvos.load(tmp_path / "out").check().ok
    file = native.read(tmp_path / "out").clip_file("yard")
    file.write_text(file.read_text().replace("leaves first", "leaves last"))
    report = rvos.load(tmp_path / "out").check()
    assert [problem.code for problem in report.problems if problem.severity == "error"] == ["hash-differs"]


def test_version_1_is_read_and_written_as_version_2(project: native.Project, tmp_path: Path) -> None:
    shutil.copytree(project.folder, tmp_path / "old")
    head = project.head.model_copy(update={"schema_version": 1})
    head = head.model_copy(update={"content_hash": native.content_hash(head)})
    (tmp_path / "old" / "annotation.json").write_text(native.dumped(head))
    assert not [p for p in rvos.load(tmp_path / "old").check().problems if p.severity == "error"]
    export(tmp_path / "old", "native", tmp_path / "new")
    assert native.read(tmp_path / "new").head.content_hash == project.head.content_hash


def test_a_changed_clip_knows_its_new_objects() -> None:
    clip = toy_clip(tuple(native.Frame(name=f"{i:05d}") for i in range(N_FRAMES)))
    assert "1" in clip.by_object
    assert list(clip.model_copy(update={"objects": (Object(id="9"),)}).by_object) == ["9"]


#: schema version 2. A change here needs a new version, and a reader of the old one.
FIELDS_2 = {
    "Head": "format schema_version name version split title description annotations_licence created_at modified_at "
    "people clips history content_hash",
    "ClipRef": "id folder clip_sha256 masks_sha256",
    "Event": "what at detail",
    "Person": "id name role",
    "Clip": "id title height width frame_height frame_width fps has_void source frames objects expressions choices "
    "verdicts comments",
    "Source": "collection video url citation licence licence_url consent may_copy_frames file file_sha256",
    "Frame": "name suffix sha256 role position",
    "Object": "id name category colour note author second_of role stated_ids spans",
    "Span": "first last origin by model reviewed",
    "Expression": "id layout_id text object_ids kind tags is_sentence condition rationale group state origin author "
    "model accepted_by accepted_at created_at modified_at properties",
    "Choice": "id expression person stage frame answer candidates seconds at",
    "Ref": "kind id",
    "Verdict": "id about person decision comment at current",
    "Comment": "id about person text at resolved",
}


def test_the_schema_is_that_of_version_2() -> None:
    assert records.SCHEMA_VERSION == 2
    for name, fields in FIELDS_2.items():
        assert " ".join(getattr(records, name).model_fields) == fields, name
    schema = records.json_schema()
    assert set(schema) == {"annotation.json", "clip.json"}
    assert set(schema["clip.json"]["$defs"]) | set(schema["annotation.json"]["$defs"]) | {"Head", "Clip"} == set(
        FIELDS_2
    )
