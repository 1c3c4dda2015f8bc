"""The loaders on real files: numbers of samples, and masks equal to what is stored."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

import rvos

PACKS = Path(__file__).resolve().parents[3] / "shared" / "packs"
pytestmark = pytest.mark.skipif(not PACKS.is_dir(), reason="the packs of real masks are not beside the repository")


def stored(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_reasonvos() -> None:
    dataset = rvos.load("reasonvos", PACKS / "reasonvos")
    assert (len(dataset.videos), len(dataset)) == (5, 13)
    n_annotated = 0
    for sample in dataset:
        truth = dataset.ground_truth(sample)
        folder = PACKS / "reasonvos/Annotations" / dataset.prediction_path(sample).parts[0]
        files = {path.stem for path in folder.glob("*.png")}
        for index, name in enumerate(truth.frame_names):
            mask = truth.mask(index)
            assert (mask is None) == (name not in files)
            if mask is not None:
                n_annotated += 1
                assert np.array_equal(mask, stored(folder / f"{name}.png") > 0)
        assert (PACKS / "reasonvos/predictions/gt" / dataset.prediction_path(sample)).is_dir()
    assert n_annotated > 100


def test_mevis() -> None:
    dataset = rvos.load("mevis/val_u", PACKS / "mevis")
    assert (len(dataset.videos), len(dataset)) == (4, 15)
    meta = json.loads((PACKS / "mevis/valid_u/meta_expressions.json").read_text())["videos"]
    masks = json.loads((PACKS / "mevis/valid_u/mask_dict.json").read_text())
    for sample in dataset:
        fields = meta[sample.video.id]["expressions"][sample.expression.id]
        union = np.zeros((len(sample.video), 480, 854), np.uint8)
        for anno in fields["anno_id"]:
            for index, rle in enumerate(masks[str(anno)]):
                if rle is not None:
                    union[index] |= coco.decode(rle)
        assert np.array_equal(dataset.ground_truth(sample).dense(), union > 0)


def test_ref_youtube_vos_train() -> None:
    dataset = rvos.load("refytvos/train", PACKS / "ref_youtube_vos")
    assert (len(dataset.videos), len(dataset)) == (3, 8)
    for sample in dataset:
        folder = PACKS / "ref_youtube_vos/train/Annotations" / sample.video.id
        truth = dataset.ground_truth(sample)
        for index, name in enumerate(sample.video.frame_names):
            label = int(sample.expression.object_ids[0])
            assert np.array_equal(truth.mask(index), stored(folder / f"{name}.png") == label)


def test_ref_youtube_vos_valid_is_202_of_507_videos() -> None:
    path = PACKS / "ref_youtube_vos/meta_expressions/valid/meta_expressions.json"
    assert len(json.loads(path.read_text())["videos"]) == 507
    dataset = rvos.load("refytvos/val", PACKS / "ref_youtube_vos")
    assert (len(dataset.videos), len(dataset)) == (202, 834)
    assert "counts-differ" not in {p.code for p in dataset.check().problems}


def test_ref_davis17_from_both_layouts() -> None:
    converted = rvos.load("davis/val", PACKS / "ref_davis17", layout="converted")
    original = rvos.load("davis/val", PACKS / "ref_davis17", layout="original")
    assert (len(converted.videos), len(converted)) == (4, 36)
    assert [(s.key, s.expression, s.video.frame_names) for s in converted] == [
        (s.key, s.expression, s.video.frame_names) for s in original
    ]
    for sample in original:
        label = int(sample.expression.object_ids[0])
        for annotation, folder in (("unsupervised", "Annotations_unsupervised"), ("semi-supervised", "Annotations")):
            masklet = original.expression_masks(annotation, sample)
            for index, name in enumerate(sample.video.frame_names):
                labels = stored(PACKS / "ref_davis17/DAVIS" / folder / "480p" / sample.video.id / f"{name}.png")
                assert np.array_equal(masklet.mask(index), labels == label)
                void = masklet.void(index)
                assert np.array_equal(labels == 255, void if void is not None else np.zeros_like(labels, bool))
    notes = {(p.code, p.place) for p in original.check().problems}
    assert ("unasked-object", "video soapbox, object 4") in notes
    assert ("late-object", "video soapbox") in notes
