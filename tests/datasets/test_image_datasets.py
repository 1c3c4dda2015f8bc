"""ReasonSeg, refCOCO and the image sets for training: every rule of their files, on files made here. About 3 s."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rvos
from rvos.datasets.errors import DatasetError, UnknownNameError
from rvos.datasets.files import AnnotationErrors
from rvos.datasets.images import write_png
from rvos.datasets.polygons import paint_polygon
from rvos.datasets.types import RVOSDataset


def box(left: int, top: int, right: int, bottom: int) -> list[list[float]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def image(path: Path, height: int = 10, width: int = 12) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, np.zeros((height, width), np.uint8))
    path.rename(path.with_suffix(".jpg"))  # the reader looks at what a file holds, not at what it is called


# Polygons -------------------------------------------------------------------------------------------------------------


def recorded_polygons() -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """(height, width, corners) of 300 polygons, a third of them inside, by a generator of its own."""
    state = 12345

    def below(n: int) -> int:
        nonlocal state
        state = (1103515245 * state + 12345) % 2**31
        return (state >> 8) % n

    for k in range(300):
        height, width = 3 + below(40), 3 + below(40)
        n = range(1 + below(8))
        yield height, width, [(below(56) - 8, below(56) - 8) if k % 3 else (below(width), below(height)) for _ in n]


def test_polygons_have_the_pixels_that_opencv_gives_them() -> None:
    """SHA-256 of what cv2.fillPoly and cv2.polylines of OpenCV 4.11 painted (5.0 paints the same)."""
    digest, n_pixels = hashlib.sha256(), 0
    for height, width, corners in recorded_polygons():
        canvas = np.zeros((height, width), np.uint8)
        paint_polygon(canvas, corners, 1)
        digest.update(canvas.tobytes())
        n_pixels += int(canvas.sum())
    assert n_pixels == 23070
    assert digest.hexdigest() == "9cdcbfacdcf0687321fa0a238d6abbb734fb3ecae5701199bdcf7bf10f3dab48"


def test_polygons_by_hand() -> None:
    canvas = np.zeros((4, 5), np.uint8)
    paint_polygon(canvas, [(1.9, 1), (3.9, 1), (3, 2.9)], 7)  # cut to whole numbers: (1, 1), (3, 1), (3, 2)
    assert canvas.tolist() == [[0, 0, 0, 0, 0], [0, 7, 7, 7, 0], [0, 0, 0, 7, 0], [0, 0, 0, 0, 0]]
    paint_polygon(canvas, [(-0.9, 3)], 5)  # a point; towards zero
    assert canvas[3].tolist() == [5, 0, 0, 0, 0]
    paint_polygon(canvas, [], 9)
    assert 9 not in canvas


# ReasonSeg ------------------------------------------------------------------------------------------------------------


class Folder:
    """A ReasonSeg root that grows."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, name: str, shapes: list[tuple[str, Any]], split: str = "val", **fields: Any) -> None:
        image(self.root / split / f"{name}.png")
        listed = [{"label": label, "points": points} for label, points in shapes]
        entry = {"shapes": listed, "text": ["what is it?"], "is_sentence": True, **fields}
        (self.root / split / f"{name}.json").write_text(json.dumps(entry))

    def load(self, split: str = "val") -> RVOSDataset:
        return rvos.load(f"reasonseg/{split}", self.root)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "ReasonSeg")


def truth_of(dataset: RVOSDataset, number: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(mask, void) of a sample."""
    masklet = dataset.ground_truth(dataset[number])
    assert masklet is not None
    mask, void = masklet.mask(0), masklet.void(0)
    assert mask is not None
    return mask, np.zeros_like(mask) if void is None else void


def test_smaller_polygons_are_painted_over_larger_ones(folder: Folder) -> None:
    inside, outside = ("ignore it", box(2, 2, 4, 4)), ("target", box(1, 1, 8, 8))
    for order, name in ((inside, outside), "a"), ((outside, inside), "b"):
        folder.add(name, list(order))
    dataset = folder.load()
    for number in (0, 1):
        mask, void = truth_of(dataset, number)
        assert void.sum() == 9 and void[2:5, 2:5].all() and mask.sum() == 64 - 9
    folder.add("c", [("Ignored area", box(0, 0, 9, 9)), ("target", box(3, 3, 3, 3)), ("FLAG", box(0, 0, 5, 5))])
    mask, void = truth_of(folder.load(), 2)
    assert mask.sum() == 1 and mask[3, 3] and void.sum() == 99  # a flag paints nothing


def test_only_a_label_that_is_flag_is_left_out(folder: Folder) -> None:
    folder.add("a", [("flagpole", box(0, 0, 1, 1)), ("flag", box(5, 5, 6, 6))])
    dataset = folder.load()
    assert truth_of(dataset)[0].sum() == 4
    assert "flag" in {p.code for p in dataset.check().problems}


def test_a_benchmark_asks_the_first_text_and_training_all(folder: Folder) -> None:
    for split in ("val", "train"):
        folder.add("a", [("t", box(0, 0, 1, 1))], split, text=["one", "two"])
    assert [s.key for s in folder.load()] == ["a/0"]
    assert [s.expression.text for s in folder.load("train")] == ["one", "two"]


def test_short_and_long_are_phrases_and_sentences(folder: Folder) -> None:
    for name, form in (("a", True), ("b", False), ("c", True)):
        folder.add(name, [("t", box(0, 0, 1, 1))], "test", is_sentence=form)
    assert [s.video.id for s in folder.load("test-short")] == ["b"]
    assert [s.video.id for s in folder.load("test-long")] == ["a", "c"]
    assert [s.expression.is_sentence for s in folder.load("test")] == [True, False, True]


def test_explanations_are_tags_of_the_training_images(folder: Folder) -> None:
    for name in ("a", "b"):
        folder.add(name, [("t", box(0, 0, 1, 1))], "train")
    (folder.root / "explanatory").mkdir()
    path = folder.root / "explanatory/train.json"
    path.write_text(json.dumps([{"image": "b.jpg", "query": "q", "outputs": "Because."}]))
    assert [s.expression.tags for s in folder.load("train")] == [{}, {"explanation": "Because."}]
    path.write_text("{}")
    with pytest.raises(DatasetError, match="expected a list of objects with 'image'"):
        folder.load("train")


def test_files_that_are_no_utf_8_are_read_as_windows_wrote_them(folder: Folder) -> None:
    folder.add("a", [("t", box(0, 0, 1, 1))])
    path = folder.root / "val/a.json"
    entry = {**json.loads(path.read_text()), "text": ["the café’s chair"]}
    path.write_bytes(json.dumps(entry, ensure_ascii=False).encode("cp1252"))
    assert folder.load()[0].expression.text == "the café’s chair"
    path.write_bytes(path.read_bytes().replace(b"\xe9", b"\x81"))  # in neither
    with pytest.raises(DatasetError, match=r"a\.json: not CP1252 text"):
        folder.load()


def test_an_image_without_shapes_has_no_ground_truth(folder: Folder) -> None:
    folder.add("a", [("flag", box(0, 0, 1, 1))])
    folder.add("b", [("t", box(0, 0, 1, 1))])
    dataset = folder.load()
    assert dataset.ground_truth(dataset[0]) is None and dataset.objects(dataset.videos[0]) == {}
    assert ("error", "id-without-masks", "a/0") in {(p.severity, p.code, p.place) for p in dataset.check().problems}


def test_all_broken_files_are_named(folder: Folder) -> None:
    folder.add("a", [("t", box(0, 0, 1, 1))])
    broken = {"b": "[", "c": "[]", "d": '{"shapes": [], "text": "x", "is_sentence": true}'}
    broken["e"] = '{"shapes": [{"label": "t", "points": [[1]]}], "text": ["x"], "is_sentence": true}'
    broken["f"] = '{"shapes": [], "text": ["x"], "is_sentence": 1}'
    broken["g"] = '{"shapes": [{"label": "t", "points": [[1, 1e9]]}], "text": ["x"], "is_sentence": true}'
    for name, text in broken.items():
        (folder.root / "val" / f"{name}.json").write_text(text)
    with pytest.raises(AnnotationErrors) as caught:
        folder.load()
    assert [m.partition(":")[0] for m in caught.value.messages] == [f"{name}.json" for name in broken]
    assert "shape 0 has no 'points'" in caught.value.messages[3] and "\n" not in str(caught.value)


def test_images_that_nobody_asks_about_are_reported(folder: Folder) -> None:
    folder.add("a", [("t", box(0, 0, 1, 1))])
    image(folder.root / "val/b.png")
    assert "image-without-annotation" in {p.code for p in folder.load().check().problems}


# refCOCO --------------------------------------------------------------------------------------------------------------


def square(left: int, top: int, side: int) -> list[int]:
    return [left, top, left + side, top, left + side, top + side, left, top + side]


def coco(annotations: list[dict[str, Any]], categories: tuple[str, ...] = ("dog",)) -> dict[str, Any]:
    return {
        "images": [{"id": 7, "file_name": "COCO_train2014_000000000007.jpg", "height": 10, "width": 12}],
        "annotations": [{"image_id": 7, "category_id": 1, **a} for a in annotations],
        "categories": [{"id": k, "name": name} for k, name in enumerate(categories, 1)],
    }


def ref(number: int, ann: int, split: str, *texts: str) -> dict[str, Any]:
    sentences = [{"sent_id": 10 * number + k, "sent": t, "raw": t, "tokens": t.split()} for k, t in enumerate(texts)]
    return {"ref_id": number, "ann_id": ann, "image_id": 7, "split": split, "sentences": sentences}


@pytest.fixture
def refer(tmp_path: Path) -> Path:
    """A root with refCOCO in both splits: polygons, two parts that overlap, RLE of both kinds, a part without area."""
    root = tmp_path / "refer"
    rle = {"size": [10, 12], "counts": [50, 4, 66]}
    annotations = [
        {"id": 1, "segmentation": [square(1, 1, 4), square(3, 1, 4)]},
        {"id": 2, "segmentation": rle},
        {"id": 3, "segmentation": [square(6, 6, 2), [1, 1, 2, 2]]},
    ]
    folder = root / "refcoco"
    folder.mkdir(parents=True)
    (folder / "instances.json").write_text(json.dumps(coco(annotations)))
    refs = [ref(1, 1, "val", "the dog", "a dog"), ref(2, 2, "testA", "left one"), ref(3, 3, "testAB", "right one")]
    (folder / "refs(unc).p").write_bytes(pickle.dumps(refs, protocol=2))
    (folder / "refs(google).p").write_bytes(pickle.dumps([ref(4, 2, "val", "that")], protocol=0))
    image(root / "images/mscoco/images/train2014/COCO_train2014_000000000007.png")
    return root


def test_refs_are_sentences_about_annotations(refer: Path) -> None:
    dataset = rvos.load("refcoco/val", refer)
    assert [(s.key.rpartition("/")[2], s.expression.text, s.expression.object_ids) for s in dataset] == [
        ("10", "the dog", ("1",)),
        ("11", "a dog", ("1",)),
    ]
    assert dataset[0].expression.tags == {"ref": 1, "image": 7, "category": "dog"}
    assert dataset.videos[0].frame_names == ("COCO_train2014_000000000007",)
    assert dataset.videos[0].frame(0).shape == (10, 12, 3)
    assert set(dataset.objects(dataset.videos[0])) == {"1", "2", "3"}
    mask = truth_of(dataset)[0]
    assert mask.sum() == 4 * 6 and mask[1:5, 1:7].all()  # the union of the two squares
    once = dataset.single_cover(dataset[0]).mask(0)  # type: ignore[attr-defined]
    assert (mask & ~once)[1:5, 3:5].all() and (mask & ~once).sum() == 8
    masks = {i: m.mask(0) for i, m in dataset.objects(dataset.videos[0]).items()}
    assert masks["2"].sum() == 4 and masks["3"].sum() == 4  # RLE; a polygon of two corners has no area


def test_splits_and_who_split(refer: Path) -> None:
    assert [s.expression.text for s in rvos.load("refcoco/testA", refer)] == ["left one", "right one"]
    assert [s.expression.text for s in rvos.load("refcoco/testB", refer)] == ["right one"]
    assert [s.expression.text for s in rvos.load("refcoco/google-val", refer)] == ["that"]
    with pytest.raises(DatasetError, match="no expression is in the split 'train'"):
        rvos.load("refcoco/train", refer)
    with pytest.raises(UnknownNameError, match="testA"):
        rvos.load("refcoco/testX", refer)
    for name in ("refcoco+", "refcocog", "refclef"):
        with pytest.raises(DatasetError, match=r"refs\((unc|umd)\)\.p"):
            rvos.load(f"{name}/train", refer)


class Runs:
    """Unpickled, it would make a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_in_a_pickle_is_executed(refer: Path, tmp_path: Path, protocol: int) -> None:
    path, made = refer / "refcoco/refs(unc).p", tmp_path / "made"
    path.write_bytes(pickle.dumps([ref(1, 1, "val", "x"), Runs(made)], protocol=protocol))
    with pytest.raises(DatasetError, match=r"refs\(unc\)\.p: not a pickle of refs \(it asks for .*plain data only"):
        rvos.load("refcoco/val", refer)
    assert not made.exists()


def spoilt(change: Callable[[dict[str, Any]], Any]) -> bytes:
    entry = ref(1, 1, "val", "x")
    change(entry)
    return pickle.dumps([entry])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not a pickle of refs"),
        (pickle.dumps([ref(1, 1, "val", "x")])[:-20], "not a pickle of refs"),
        (pickle.dumps({}), "holds dict, expected a list"),
        (pickle.dumps([1]), "ref 0: holds int"),
        (spoilt(lambda r: r.pop("split")), "ref 0: has no 'split'"),
        (spoilt(lambda r: r.update(ann_id=9)), "names annotation 9, which instances.json does not have"),
        (spoilt(lambda r: r.update(image_id=8)), "names image 8, its annotation 1 another"),
        (spoilt(lambda r: r["sentences"][0].pop("sent")), "'sentences' is no list"),
    ],
)
def test_broken_refs_are_named(refer: Path, content: bytes, says: str) -> None:
    (refer / "refcoco/refs(unc).p").write_bytes(content)
    with pytest.raises(DatasetError, match=says):
        rvos.load("refcoco/val", refer)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.pop("images"), "expected an object with lists 'images'"),
        (lambda c: c["images"][0].update(file_name="../x.jpg"), "image 7: 'file_name' holds"),
        (lambda c: c["images"][0].update(height=0), "the size is 0 x 12"),
        (lambda c: c["annotations"][0].update(image_id=9), "annotation 1: it is about image 9"),
        (lambda c: c["annotations"][0].update(category_id=9), "annotation 1: it is of category 9"),
        (lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3]]), "holds no polygon"),
        (lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3, "x", 1, 1]]), "holds no polygon"),
        (lambda c: c["annotations"][1]["segmentation"].update(counts=[1]), "not a COCO RLE"),
        (lambda c: c["annotations"][1]["segmentation"].update(size=[5, 5]), r"the RLE has the size \[5, 5\]"),
        (lambda c: c["annotations"].append(c["annotations"][0]), "annotation 1 is there twice"),
        (lambda c: c["annotations"][0].pop("segmentation"), "annotation 1: no 'segmentation'"),
    ],
)
def test_broken_instances_are_named(refer: Path, change: Callable[[Any], Any], says: str) -> None:
    path = refer / "refcoco/instances.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=says):
        rvos.load("refcoco/val", refer)


# Training sets --------------------------------------------------------------------------------------------------------


@pytest.fixture
def lisa(tmp_path: Path) -> Path:
    """LISA's dataset folder with an image of each training set."""
    root = tmp_path / "lisa"
    image(root / "ade20k/images/training/a.png")
    write_png(root / "ade20k/annotations/training/a.png", np.array([[0, 1], [150, 150]], np.uint8))
    for name in ("b", "c"):
        image(root / f"coco/train2017/{name}.png")
    write_png(root / "cocostuff/train2017/b.png", np.array([[0, 255], [95, 181]], np.uint8))
    write_png(root / "cocostuff/train2017/c.png", np.array([[95, 255]], np.uint8))
    parts = coco(
        [
            {"id": 1, "category_id": 1, "segmentation": [square(1, 1, 4)]},
            {"id": 2, "category_id": 2, "segmentation": [square(2, 2, 2)]},
        ]
    )
    for path, names, file in (
        (
            "vlpart/paco/annotations/paco_lvis_v1_train.json",
            ("mug_(cup)", "mug_(cup):handle_(grip)"),
            "train2017/b.jpg",
        ),
        ("vlpart/pascal_part/train.json", ("dog", "dog:left ear"), "d.jpg"),
    ):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        listed = [{"id": k, "name": name} for k, name in enumerate(names, 1)]
        images = [{**parts["images"][0], "file_name": file}, {**parts["images"][0], "id": 8, "file_name": "none.jpg"}]
        (root / path).write_text(json.dumps({**parts, "categories": listed, "images": images}))
    image(root / "vlpart/pascal_part/VOCdevkit/VOC2010/JPEGImages/d.png")
    return root


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("ade20k", {"wall": 1, "flag": 2}),  # 1 is the first class, 150 the last; 0 is no class
        ("coco-stuff", {"person": 1, "wood": 1}),  # 95 is building-other, 255 unlabelled
        ("paco-lvis", {"mug": 16, "mug handle": 4}),
        ("pascal-part", {"dog": 16, "dog left ear": 4}),
    ],
)
def test_image_sets_ask_for_what_an_image_shows(lisa: Path, name: str, asked: dict[str, int]) -> None:
    dataset = rvos.load(f"{name}/train", lisa)
    video = dataset.videos[0]
    samples = dataset.samples_of(video.id)
    found = {s.expression.text: int(dataset.ground_truth(s).mask(0).sum()) for s in samples}  # type: ignore[union-attr]
    assert found == asked and video.frame(0).shape == (10, 12, 3) and len(video) == 1
    assert [s.key for s in dataset] == [s.key for s in samples]  # the image without a class has no sample
    assert dataset.sample(samples[0].key) == samples[0]
    assert dataset.card.title and all(path.is_file() for path in dataset.annotation_files())
    assert {i for s in samples for i in s.expression.object_ids or ()} == set(dataset.objects(video))
    with pytest.raises(UnknownNameError, match="image of"):
        dataset.samples_of("nothing")
    assert pickle.loads(pickle.dumps(dataset))[0] == dataset[0]


def test_parts_keep_their_words(lisa: Path) -> None:
    thing, part = rvos.load("paco-lvis/train", lisa)
    assert thing.expression.tags == {"object": "mug"}
    assert part.expression.tags == {"object": "mug", "part": "handle"}


def test_opening_an_image_set_reads_no_masks(lisa: Path) -> None:
    path = lisa / "cocostuff/train2017/b.png"
    path.write_bytes(b"")
    dataset = rvos.load("coco-stuff/train", lisa)
    assert len(dataset.videos) == 2 and dataset.samples_of("c") == ()
    with pytest.raises(rvos.RvosError, match=r"b\.png"):
        dataset.samples_of("b")
    for file in (lisa / "cocostuff/train2017").iterdir():
        file.unlink()
    with pytest.raises(DatasetError, match="holds no annotated image of coco-stuff"):
        rvos.load("coco-stuff/train", lisa)
