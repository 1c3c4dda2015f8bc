"""`check` lists every problem that is put into a copy of a good dataset, and nothing in the good one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import rvos
from rvos.datasets.checks import CheckReport, check_dataset
from rvos.datasets.images import write_png

Copy = Callable[[str], Path]


def found(report: CheckReport) -> set[tuple[str, str]]:
    return {(p.severity, p.code) for p in report.problems}


@pytest.mark.parametrize(
    "name",
    [
        "reasonvos",
        "mevis/valid_u",
        "mevis/valid",
        "ref-youtube-vos/train",
        "ref-youtube-vos/valid",
        "ref-davis17/valid",
        "revos/valid",
        "long-rvos/valid",
        "groundmore/test",
        "reasonseg/val",
        "refcoco/val",
        "refcoco+/testA",
        "refcocog/val",
        "refclef/train",
    ],
)
def test_good_data_have_no_errors(layouts: Path, name: str) -> None:
    report = rvos.load(name, layouts / name.partition("/")[0]).check()
    assert report.ok, str(report)
    assert {p.code for p in report.problems} <= {
        "counts-differ", "unasked-object", "never-seen", "late-object", "stray-folder",
    }  # fmt: skip


def test_every_broken_file_is_listed(copy_of: Copy) -> None:
    root = copy_of("reasonvos")
    dataset = rvos.load("reasonvos", root)
    video = dataset.videos[0].id
    images = root / "JPEGImages" / video
    (images / "00001.jpg").unlink()
    (images / "00002.jpg").write_bytes((images / "00002.jpg").read_bytes()[:200])
    (images / "00003.jpg").write_bytes(b"")
    write_png(images / "00004.png", np.zeros((10, 10), np.uint8))
    (images / "00004.jpg").unlink()
    folder = root / "Annotations" / dataset.prediction_path(dataset[0]).parts[0]
    (folder / "00001.png").write_bytes((folder / "00001.png").read_bytes()[:30])
    write_png(folder / "00002.png", np.zeros((9, 9), np.uint8))
    (folder / "00003.png").unlink()
    (folder / "00004.png").unlink()
    (folder / "00004.png").mkdir()
    shutil.copytree(folder, root / "Annotations" / folder.name.upper())
    shutil.rmtree(root / "JPEGImages" / dataset.videos[1].id)
    for workers in (1, 2):
        report = check_dataset(rvos.load("reasonvos", root), workers=workers)
        assert found(report) >= {
            ("error", "missing-frame"),
            ("error", "corrupt-frame"),
            ("error", "size-differs"),
            ("error", "corrupt-mask"),
            ("note", "unannotated-frames"),
            ("warning", "stray-folder"),
            ("warning", "no-frames"),
        }
        corrupt = {p.place for p in report.problems if p.code == "corrupt-frame"}
        assert corrupt == {str(images / "00002.jpg"), str(images / "00003.jpg")}
        assert not report.ok
        assert report.counts["error"] == sum(p.severity == "error" for p in report.problems)
        json.dumps(report.as_dict())
        assert all("\n" not in str(p) for p in report.problems)
    quick = check_dataset(rvos.load("reasonvos", root), frames="skip")
    assert "corrupt-frame" not in {p.code for p in quick.problems}


def test_mevis_ids_counts_and_repetitions(copy_of: Copy) -> None:
    root = copy_of("mevis")
    path = root / "valid_u/mask_dict.json"
    masks = json.loads(path.read_text())
    named = json.loads((root / "valid_u/meta_expressions.json").read_text())["videos"]
    ids = [str(i) for v in named.values() for e in v["expressions"].values() for i in e["anno_id"]]
    masks[ids[0]] = masks[ids[0]][:-1]
    gone = next(i for i in ids if i != ids[0])
    del masks[gone]
    masks["999"] = [None]
    text = json.dumps(masks)
    path.write_text(text[:-1] + ', "999": [null]}')
    report = rvos.load("mevis/valid_u", root).check()
    assert found(report) >= {
        ("error", "frame-count-differs"),
        ("error", "corrupt-mask"),
        ("error", "id-without-masks"),
        ("error", "repeated-id"),
        ("note", "unasked-object"),
    }


def test_samples_that_cannot_be_told_apart(copy_of: Copy) -> None:
    root = copy_of("ref-youtube-vos")
    path = root / "meta_expressions/train/meta_expressions.json"
    content = json.loads(path.read_text())
    video = next(iter(content["videos"].values()))
    video["expressions"]["0"]["exp"] = "  "
    video["expressions"]["0"]["obj_id"] = "99"
    video["frames"].reverse()
    path.write_text(json.dumps(content))
    report = rvos.load("ref-youtube-vos/train", root).check()
    assert found(report) >= {("error", "empty-expression"), ("warning", "unsorted-frames"), ("warning", "never-seen")}
