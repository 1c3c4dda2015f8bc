"""The loaders on layouts that the project writes itself, against the scenes they were written from."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import rvos
from rvos.datasets.errors import DatasetError, UnknownNameError, UsageError
from rvos.datasets.files import AnnotationErrors
from rvos.datasets.groundmore import action_frames
from rvos.datasets.images import davis_palette, png_grey, png_labels, write_png
from rvos.datasets.reasonshapes import generate
from rvos.datasets.ref_youtube_vos import resize_nearest
from rvos.datasets.types import RVOSDataset

SIZE = {"height": 48, "width": 64, "n_frames": 8, "n_sentences": 4}
NAMES = (
    "reasonvos",
    "mevis/train",
    "mevis/valid_u",
    "mevis/valid",
    "ref-youtube-vos/train",
    "ref-youtube-vos/valid",
    "ref-davis17/train",
    "ref-davis17/valid",
    "revos/valid",
    "long-rvos/valid",
    "groundmore/test",
    "reasonseg/val",
    "reasonseg/train",
    "refcoco/val",
    "refcoco+/testA",
    "refcocog/val",
    "refclef/train",
)
IMAGES = ("reasonseg", "refcoco", "refcoco+", "refcocog", "refclef")
#: dataset -> the number of its split in ``LAYOUT_SPLITS``, which made its scenes
SCENES = {"reasonvos": 0, "mevis/valid_u": 1, "ref-youtube-vos/valid": 1, "revos/valid": 0, "long-rvos/valid": 1}
SCENES |= {"reasonseg/val": 0, "refcoco/val": 0, "refcoco+/testA": 0, "refcocog/val": 0, "refclef/train": 0}
Copy = Callable[[str], Path]


def load(layouts: Path, name: str, **options: str) -> RVOSDataset:
    return rvos.load(name, layouts / name.partition("/")[0], **options)


def edit(path: Path, change: Callable[[dict], object]) -> None:
    content = json.loads(path.read_text())
    change(content["videos"])
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("name", NAMES)
def test_every_loader_keeps_the_contract(layouts: Path, name: str) -> None:
    dataset = load(layouts, name)
    assert dataset.id == name
    assert len({s.key for s in dataset}) == len(dataset) > 0
    assert pickle.loads(pickle.dumps(dataset))[0] == dataset[0]
    assert all(path.is_file() for path in dataset.annotation_files())
    for video in dataset.videos:
        assert len(video) == (1 if name.partition("/")[0] in IMAGES else 8)
        assert video.frame(0).shape == (*video.size, 3)
        for masklet in dataset.objects(video).values():
            assert masklet.mask(0).shape == video.size
            assert masklet.mask(0).dtype == bool
            hash(masklet.source)
    for sample in dataset:
        truth = dataset.ground_truth(sample)
        withheld = name == "mevis/valid"
        assert (truth is None) == withheld
        if truth is not None:
            assert truth.frame_names == sample.video.frame_names
            assert pickle.loads(pickle.dumps(truth.source)) == truth.source


def test_masks_are_those_of_the_scene(layouts: Path) -> None:
    for name, number in SCENES.items():
        kinds = ("attribute", "motion", "temporal") + ("no-target",) * name.startswith(("mevis", "revos"))
        scenes = {video.id: video for video in generate("valid", 2, number, **SIZE, kinds=kinds)}
        dataset = load(layouts, name)
        assert len(scenes) == len(dataset.videos)
        for sample in dataset:
            scene = scenes[re.search(r"valid-\d-\d{6}", sample.video.id)[0]]
            asked = [s for s in scene.samples if s.text == sample.expression.text]
            truth = dataset.ground_truth(sample).dense()
            frames = range(scene.n_frames) if len(truth) > 1 else [scene.n_frames // 2]  # an image is the middle frame
            drawn = [np.stack([scene.mask(a, t) for t in frames]) for a in asked]
            assert any(np.array_equal(truth, masks) for masks in drawn), sample.key


def test_unions_and_no_targets_of_mevis(layouts: Path) -> None:
    dataset = load(layouts, "mevis/valid_u")
    several = [s for s in dataset if len(s.expression.object_ids) != 1]
    assert any(s.expression.object_ids == () for s in several)
    for sample in several:
        objects = dataset.objects(sample.video)
        union = np.zeros((8, *sample.video.size), bool)
        for object_id in sample.expression.object_ids:
            union |= objects[object_id].dense()
        assert np.array_equal(dataset.ground_truth(sample).dense(), union)


def test_prediction_paths_are_those_of_the_public_scripts(layouts: Path) -> None:
    sample = load(layouts, "reasonvos")[0]
    path = load(layouts, "reasonvos").prediction_path(sample)
    obj, _, exp = sample.expression.id.partition("_")
    assert str(path) == f"ReasonShapes_{sample.video.id}_{obj}/{exp}"
    davis = load(layouts, "ref-davis17/valid")
    assert [int(davis.prediction_path(s).name) % 4 for s in davis] == [s.expression.tags["annotator"] for s in davis]


# ReasonVOS ----------------------------------------------------------------------------------------------------------


def test_reasonvos_frames_without_png_are_not_annotated(copy_of: Copy) -> None:
    root = copy_of("reasonvos")
    dataset = rvos.load("reasonvos", root)
    sample = dataset[0]
    folder = root / "Annotations" / dataset.prediction_path(sample).parts[0]
    (folder / "00003.png").unlink()
    shutil.copy(folder / "00000.png", folder / "00099.png")
    truth = dataset.ground_truth(sample)
    assert truth.mask(3) is None
    assert truth.frame_names == (*sample.video.frame_names, "00099")
    shutil.rmtree(folder)
    assert dataset.ground_truth(sample) is None
    codes = {p.code for p in rvos.load("reasonvos", root).check().problems}
    assert "id-without-masks" in codes


def test_reasonvos_repeated_exp_ids_stay_two_samples(copy_of: Copy) -> None:
    root = copy_of("reasonvos")

    def repeat(videos: dict) -> None:
        entries = next(iter(videos.values()))["expressions"]
        entries.append({**entries[0], "exp_text": "another sentence"})

    edit(root / "meta_expressions.json", repeat)
    dataset = rvos.load("reasonvos", root)
    first, second = dataset[0], dataset.samples_of(dataset.videos[0].id)[-1]
    assert second.expression.id == first.expression.id + "#2"
    assert dataset.prediction_path(first) == dataset.prediction_path(second)
    assert "shared-prediction-folder" in {p.code for p in dataset.check().problems}


def test_reasonvos_sources_keep_their_letter_case_and_videos_their_objects(copy_of: Copy) -> None:
    root = copy_of("reasonvos")
    annotations = root / "Annotations"
    video = rvos.load("reasonvos", root).videos[0].id
    for folder in list(annotations.glob(f"ReasonShapes_{video}_*")):
        folder.rename(annotations / folder.name.replace("ReasonShapes", "mOsE"))
    shutil.copytree(next(annotations.glob(f"mOsE_{video}_*")), annotations / f"mOsE_{video}_longer_7")
    edit(root / "meta_expressions.json", lambda videos: videos[video].update(source="mOsE"))
    dataset = rvos.load("reasonvos", root)
    assert dataset[0].expression.tags["source"] == "mOsE"
    assert str(dataset.prediction_path(dataset[0])).startswith("mOsE_")
    assert all("_" not in object_id for object_id in dataset.objects(dataset.videos[0]))
    assert dataset.ground_truth(dataset[0]) is not None


# Ref-YouTube-VOS ----------------------------------------------------------------------------------------------------


def test_ref_youtube_vos_valid_leaves_the_test_videos_out(layouts: Path) -> None:
    listed = json.loads((layouts / "ref-youtube-vos/meta_expressions/valid/meta_expressions.json").read_text())
    dataset = load(layouts, "ref-youtube-vos/valid")
    assert len(listed["videos"]) == 3
    assert len(dataset.videos) == 2


def test_ref_youtube_vos_shipped_list_decides_and_must_agree_with_the_test_file(tmp_path: Path) -> None:
    shipped = sorted(
        (Path(rvos.__file__).parent.parent / "datasets/data/ref_youtube_vos_valid_202.txt").read_text().split()
    )
    assert len(shipped) == len(set(shipped)) == 202

    def write_meta(split: str, videos: list[str]) -> None:
        path = tmp_path / "meta_expressions" / split / "meta_expressions.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        entry = {"frames": ["00005"], "expressions": {"0": {"exp": "a dog"}}}
        path.write_text(json.dumps({"videos": dict.fromkeys(videos, entry)}))

    others = [f"other{i}" for i in range(5)]
    write_meta("valid", shipped + others)
    dataset = rvos.load("ref-ytvos/valid", tmp_path)
    assert len(dataset.videos) == 202
    assert dataset.ground_truth(dataset[0]) is None
    write_meta("test", others)
    assert len(rvos.load("ref-ytvos/valid", tmp_path).videos) == 202
    write_meta("test", others[1:])
    with pytest.raises(DatasetError, match="other0"):
        rvos.load("ref-ytvos/valid", tmp_path)


def test_ref_youtube_vos_public_masks_are_resized_to_the_frames(copy_of: Copy) -> None:
    root = copy_of("ref-youtube-vos")
    dataset = rvos.load("ref-youtube-vos/valid", root)
    sample = dataset[0]
    path = root / "valid/Annotations" / dataset.prediction_path(sample) / f"{sample.video.frame_names[0]}.png"
    before = png_grey(path) > 0
    write_png(path, np.kron(before, np.ones((2, 2), bool)))
    assert np.array_equal(dataset.ground_truth(sample).mask(0), before)
    assert "resized-masks" in {p.code for p in dataset.check().problems}
    shutil.rmtree(root / "valid/Annotations")
    without = rvos.load("ref-youtube-vos/valid", root)
    assert without.ground_truth(without[0]) is None
    assert without.check().ok


def test_resize_nearest_follows_opencv() -> None:
    # What cv2.resize(..., interpolation=cv2.INTER_NEAREST) gives for one row 0 1 2 3 4 brought to 8 and to 3 pixels.
    row = np.arange(5)[None] % 2 == 1
    assert resize_nearest(row, (1, 8)).tolist() == [[False, False, True, True, False, True, True, False]]
    assert resize_nearest(row, (1, 3)).tolist() == [[False, True, True]]


# Ref-DAVIS-17 -------------------------------------------------------------------------------------------------------


def test_ref_davis17_reads_the_original_files_as_the_converter_does(layouts: Path, tmp_path: Path) -> None:
    converted = load(layouts, "ref-davis17/valid", layout="converted")
    original = load(layouts, "ref-davis17/valid", layout="original")
    assert [(s.key, s.expression) for s in converted] == [(s.key, s.expression) for s in original]
    for ours, theirs in zip(converted, original, strict=True):
        assert np.array_equal(converted.ground_truth(ours).dense(), original.ground_truth(theirs).dense())
    # DAVIS itself as root, the texts inside it.
    root = Path(shutil.copytree(layouts / "ref-davis17/DAVIS", tmp_path / "DAVIS"))
    shutil.copytree(layouts / "ref-davis17/davis_text_annotations", root / "davis_text_annotations")
    assert [s.key for s in rvos.load("davis/val", root)] == [s.key for s in original]


def test_ref_davis17_texts_in_two_encodings_misspelt_names_and_string_order(tmp_path: Path) -> None:
    texts = tmp_path / "davis_text_annotations"
    texts.mkdir()
    for number, (name, encoding) in enumerate(
        [
            ("Davis17_annot1.txt", "utf-8"),
            ("Davis17_annot1_full_video.txt", "utf-8"),
            ("Davis17_annot2.txt", "latin-1"),
            ("Davis17_annot2_full_video.txt", "latin-1"),
        ]
    ):
        lines = [f'clasic-car {i} "the café\x85 {number} of {i}"' for i in (2, 10, 1)]
        (texts / name).write_bytes("\n".join([*lines, 'other 1 "x"', ""]).encode(encoding))
    folder = tmp_path / "DAVIS/Annotations_unsupervised/480p/classic-car"
    labels = np.array([[0, 1, 2], [3, 4, 255]], np.uint8)
    for frame in ("00000", "00001"):
        write_png(folder / f"{frame}.png", labels, davis_palette())
    (tmp_path / "DAVIS/ImageSets/2017").mkdir(parents=True)
    (tmp_path / "DAVIS/ImageSets/2017/val.txt").write_text("classic-car\n\n")
    dataset = rvos.load("davis/valid", tmp_path)
    assert [(s.expression.id, s.expression.layout_id) for s in dataset][:5] == [
        ("1-annot1-first", "0"),
        ("1-annot1-full", "1"),
        ("1-annot2-first", "2"),
        ("1-annot2-full", "3"),
        ("10-annot1-first", "4"),
    ]
    assert dataset[2].expression.text == "the café\x85 2 of 1"
    assert dataset.videos[0].size == (2, 3)
    assert list(dataset.objects(dataset.videos[0])) == ["1", "2", "3", "4"]
    assert dataset.ground_truth(dataset[0]).void(0).tolist() == (labels == 255).tolist()
    codes = [(p.code, p.place) for p in dataset.check().problems]
    assert ("id-without-masks", "classic-car/10-annot1-first") in codes
    assert ("unasked-object", "video classic-car, object 3") in codes


def test_ref_davis17_both_mask_sets_and_their_disagreement(copy_of: Copy) -> None:
    root = copy_of("ref-davis17")
    dataset = rvos.load("davis/valid", root)
    sample = next(s for s in dataset if len(dataset.objects(s.video)) > 1)
    video = sample.video
    swap = np.arange(256, dtype=np.uint8)
    swap[[1, 2]] = 2, 1
    for path in (root / "DAVIS/Annotations/480p" / video.id).glob("*.png"):
        write_png(path, swap[png_labels(path)], davis_palette())
    ours = dataset.object_masks("unsupervised", video)
    theirs = dataset.object_masks("semi-supervised", video)
    assert np.array_equal(ours["1"].dense(), theirs["2"].dense())
    assert dataset.expression_masks("semi-supervised", sample) == theirs[sample.expression.object_ids[0]]
    assert dataset.overlap_of_annotations(video)["1"]["2"] == 1.0
    disagreements = [p for p in dataset.check().problems if p.code == "ids-disagree"]
    assert len(disagreements) == 2
    with pytest.raises(UsageError, match="semi-supervised"):
        dataset.object_masks("supervised", video)
    shutil.rmtree(root / "DAVIS/Annotations")
    assert dataset.expression_masks("semi-supervised", sample) is None


def test_ref_davis17_refuses_ids_that_are_not_the_converters(copy_of: Copy) -> None:
    root = copy_of("ref-davis17")
    meta = root / "meta_expressions/valid/meta_expressions.json"

    def rename(videos: dict) -> None:
        expressions = next(iter(videos.values()))["expressions"]
        expressions["8"] = expressions.pop("1")

    edit(meta, rename)
    with pytest.raises(DatasetError, match="same annotator"):
        rvos.load("davis/valid", root, layout="converted")
    with pytest.raises(UsageError, match="original"):
        rvos.load("davis/valid", root, layout="other")


# ReVOS --------------------------------------------------------------------------------------------------------------


def test_revos_types_and_the_masks_of_both_splits(copy_of: Copy) -> None:
    root = copy_of("revos")
    dataset = rvos.load("revos/valid", root)
    assert {s.expression.tags["type"] for s in dataset} >= {"reasoning", "no-target"}
    for sample in dataset:
        assert (sample.expression.tags["type"] == "no-target") == (sample.expression.object_ids == ())
        assert (sample.expression.kind == "reasoning") == (sample.expression.tags["type"] == "reasoning")
        assert str(dataset.prediction_path(sample)) == f"{sample.video.id}/{sample.expression.id}"
    assert all(video.id.startswith("ReasonShapes/") for video in dataset.videos)
    shutil.rmtree(root / "JPEGImages")
    assert {v.size for v in rvos.load("revos/valid", root).videos} == {(48, 64)}

    def mistake(videos: dict) -> None:
        expressions = next(iter(videos.values()))["expressions"].values()
        next(e for e in expressions if e["type_id"] < 2)["type_id"] = 2

    edit(root / "meta_expressions_valid_.json", mistake)
    masks = root / "mask_dict.json"
    masks.write_text(masks.read_text()[:-1] + ', "999": [null]}')  # an annotation of the other split
    problems = rvos.load("revos/valid", root).check().problems
    assert {p.code for p in problems} == {"type-differs", "no-frames"}


# Long-RVOS ----------------------------------------------------------------------------------------------------------


def test_long_rvos_frames_without_png_do_not_show_the_object(copy_of: Copy) -> None:
    root = copy_of("long-rvos")
    dataset = rvos.load("long-rvos/valid", root)
    sample = next(s for s in dataset if dataset.ground_truth(s).mask(3).any())
    folder = root / "valid/Annotations" / sample.video.id / sample.expression.object_ids[0]
    (folder / "00003.png").unlink()
    masks = rvos.load("long-rvos/valid", root).ground_truth(sample).dense()
    assert masks.shape == (8, 48, 64) and not masks[3].any()
    shutil.rmtree(folder)
    assert rvos.load("long-rvos/valid", root).ground_truth(sample) is None
    shutil.rmtree(root / "test/Annotations")
    withheld = rvos.load("long-rvos/test", root)
    assert withheld.ground_truth(withheld[0]) is None and withheld.check().ok


# GroundMoRe ---------------------------------------------------------------------------------------------------------


def clip_of(root: Path, n_frames: int, name: str = "film_0110_0120") -> Path:
    """A clip of object 2, which is pixel i of frame i; the action lasts from 01:12 to 01:15."""
    folder = root / "annotations" / name
    for i in range(n_frames):
        labels = np.zeros((1, n_frames), np.uint8)
        labels[0, i] = 2
        labels[0, i - 1] = 1
        write_png(folder / "masks" / f"frame_{i:06d}.png", labels, davis_palette())
        write_png(folder / "images" / f"img{i:04d}.png", labels)
    fields = {"question": "who?", "answer": "he", "obj_id": 2, "q_type": "Causal"}
    question = {**fields, "action_start": "01:12", "action_end": "01:15"}
    (root / "test_v2.json").write_text(json.dumps({"videos": {name: {"questions": {"7": question}}}}))
    return folder


def test_groundmore_scores_twenty_frames_and_the_action(tmp_path: Path) -> None:
    clip = clip_of(tmp_path, 60)
    dataset = rvos.load("groundmore/test", tmp_path)
    (sample,) = dataset
    numbers = [int(59 * k / 19) for k in range(20)]
    assert sample.video.frame_names == tuple(f"img{i:04d}" for i in numbers)
    assert len(sample.video.context_names) == 60 and sample.video.frame(3).shape == (1, 60, 3)
    # 01:12 to 01:15 of a clip that begins at 01:10, six frames a second: frames 12 to 29.
    shown = [i for i, mask in zip(numbers, dataset.ground_truth(sample).dense(), strict=True) if mask.any()]
    assert shown == [i for i in numbers if 12 <= i <= 29] and len(shown) == 6
    assert all(m.argmax() == i for i, m in zip(numbers, dataset.objects(sample.video)["2"].dense(), strict=True))
    (clip / "masks" / f"frame_{shown[0]:06d}.png").unlink()
    (clip / "masks" / f"frame_{shown[1]:06d}.png").rename(clip / "masks" / f"{shown[1]:07d}.png")
    fewer = rvos.load("groundmore/test", tmp_path)
    assert [bool(fewer.ground_truth(sample).mask(numbers.index(i)).any()) for i in shown[:3]] == [False, True, True]
    shutil.rmtree(clip / "masks")
    assert rvos.load("groundmore/test", tmp_path).ground_truth(sample) is None


def test_groundmore_short_clips_and_long_films(tmp_path: Path) -> None:
    clip_of(tmp_path, 7, "a/film_0110_0111")
    assert len(rvos.load("groundmore/test", tmp_path).videos[0]) == 7  # no frame twice
    assert list(action_frames("x_5959_6010", "59:59-01:00:10")) == list(range(66))
    with pytest.raises(ValueError, match="mmss_mmss"):
        action_frames("clip", "00:00-00:01")


# Names, roots, broken files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("ReasonVOS", "reasonvos"),
        ("mevis/val_u", "mevis/valid_u"),
        ("MeViS/valid-u", "mevis/valid_u"),
        ("refytvos/val", "ref-youtube-vos/valid"),
        ("Ref_YouTube_VOS/train", "ref-youtube-vos/train"),
        ("davis/val", "ref-davis17/valid"),
        ("davis17/train", "ref-davis17/train"),
        ("ReVOS/val", "revos/valid"),
        ("long_rvos/val", "long-rvos/valid"),
        ("GroundMoRe/test", "groundmore/test"),
    ],
)
def test_aliases(layouts: Path, alias: str, name: str) -> None:
    assert rvos.load(alias, layouts / name.partition("/")[0]).id == name


def test_names_that_are_unknown_get_near_matches(layouts: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean mevis"):
        rvos.load("mevs/valid_u", layouts)
    with pytest.raises(UnknownNameError, match="valid_u"):
        rvos.load("mevis/test", layouts)
    with pytest.raises(UsageError, match="mevis/train, mevis/valid_u"):
        rvos.load("mevis", layouts)
    with pytest.raises(UnknownNameError, match="layout"):
        rvos.load("davis/val", layouts / "ref-davis17", layuot="original")


def test_a_root_some_levels_off_is_named_right(layouts: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="too high") as too_high:
        rvos.load("mevis/valid_u", layouts)
    assert f"--root {layouts / 'mevis'}" in str(too_high.value)
    with pytest.raises(DatasetError, match="too deep") as too_deep:
        rvos.load("mevis/valid_u", layouts / "mevis/valid_u")
    assert f"--root {layouts / 'mevis'}," in str(too_deep.value)
    with pytest.raises(DatasetError, match="no such folder"):
        rvos.load("reasonvos", tmp_path / "nowhere")
    archive = tmp_path / "mevis.zip"
    archive.write_bytes(b"PK")
    with pytest.raises(DatasetError, match="unpack"):
        rvos.load("reasonvos", archive)
    (tmp_path / "loop").symlink_to(tmp_path)
    with pytest.raises(DatasetError, match=r"found loop, mevis.zip"):
        rvos.load("reasonvos", tmp_path)


WORDS = {"obj_id": 1, "exp_id": 0, "exp_text": "a"}
ENTRY = {"frames": ["0"], "source": "MOSE", "expressions": [WORDS]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "empty"),
        ("{", "not valid JSON"),
        ("[1, 2]", "'videos'"),
        ('{"videos": {}}', "no videos"),
        ('{"videos": 3}', "'videos'"),
        ("[" * 200_000, "nested too deep"),
        ('{"videos": {"a": {}, "a": {}}}', "'a' occurs twice"),
        (json.dumps({"videos": {"../up": ENTRY}}), "no folder name"),
        (json.dumps({"videos": {"a": [ENTRY]}}), "holds list"),
        (json.dumps({"videos": {"a": {**ENTRY, "frames": []}}}), "'frames'"),
        (json.dumps({"videos": {"a": {**ENTRY, "frames": ["1", "1"]}}}), "frame 1 twice"),
        (json.dumps({"videos": {"a": {**ENTRY, "frames": ["/etc/passwd"]}}}), "'frames'"),
        (json.dumps({"videos": {"a": {**ENTRY, "expressions": "x"}}}), "no 'expressions'"),
        (json.dumps({"videos": {"a": {**ENTRY, "expressions": [7]}}}), "plain name"),
        (json.dumps({"videos": {"a": {**ENTRY, "source": "../up"}}}), "source"),
        (json.dumps({"videos": {".": ENTRY}}), "no folder name"),
        (json.dumps({"videos": {"a": {**ENTRY, "expressions": [{**WORDS, "obj_id": "../1"}]}}}), "'obj_id'"),
        (json.dumps({"videos": {"a": {**ENTRY, "expressions": [{**WORDS, "exp_id": "../1"}]}}}), "plain name"),
        (json.dumps({"videos": {"a": {**ENTRY, "expressions": [{"exp_id": 0, "obj_id": 1}]}}}), "'exp_text'"),
        (json.dumps({"videos": {"a": {**ENTRY, "expressions": [{"exp_id": 0, "exp_text": "x"}]}}}), "'obj_id'"),
    ],
)
def test_broken_meta_files_say_what_and_where(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "meta_expressions.json"
    path.write_text(content)
    with pytest.raises(DatasetError) as error:
        rvos.load("reasonvos", tmp_path)
    assert str(path) in str(error.value)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_all_complaints_about_a_file_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "meta_expressions.json"
    path.write_text(json.dumps({"videos": {"a": {**ENTRY, "frames": 0}, "b": {**ENTRY, "expressions": None}}}))
    with pytest.raises(AnnotationErrors, match="1 more") as error:
        rvos.load("reasonvos", tmp_path)
    assert len(error.value.messages) == 2


def test_texts_and_ids_of_all_kinds_survive(tmp_path: Path) -> None:
    texts = {"10": "die größte Kuh, 左边的牛 🐄", "2": "word " * 300, "7": 'quotes " and \\ back'}
    meta = {"videos": {"v": {"frames": ["00007"], "expressions": {k: {"exp": t} for k, t in texts.items()}}}}
    (tmp_path / "valid").mkdir()
    (tmp_path / "valid/meta_expressions.json").write_text(json.dumps(meta, ensure_ascii=False), encoding="utf-8")
    dataset = rvos.load("mevis/valid", tmp_path)
    assert {s.expression.id: s.expression.text for s in dataset} == texts
    assert [s.expression.id for s in dataset] == ["10", "2", "7"]
    assert len(dataset.videos[0]) == 1
