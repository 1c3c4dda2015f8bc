"""VOTS referral: sequences with prompts, regions as the VOT toolkit reads and writes them, results to pack. 1 s."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from samedata import masks_of

from rvos.benchmarks.evaluator import evaluate
from rvos.benchmarks.vots_results import check_vots_results, write_vots_results
from rvos.cli import main
from rvos.datasets.errors import DatasetError, RvosError, UsageError
from rvos.datasets.registry import load
from rvos.datasets.types import RVOSDataset
from rvos.datasets.vots import mask_of_region, prompt_id, region_of_mask

PROMPTS = ("the left box", " the one that moves")
SIZE = (24, 32)


def box(t: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[3:9, 2 + t : 9 + t] = True
    mask[5, 4 + t] = False
    return mask


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Two sequences of four frames with the masks of a box, not annotated in the second frame, absent in the last."""
    root = tmp_path / "workspace" / "sequences"
    for name in ("car", "bird-1"):
        (root / name / "color").mkdir(parents=True)
        for t in range(4):
            Image.new("RGB", SIZE[::-1], (t, 0, 0)).save(root / name / "color" / f"{t + 1:08d}.jpg")
        lines = ["name=x", "fps=6", f"width={SIZE[1]}", f"height={SIZE[0]}", f"prompts={';'.join(PROMPTS)}"]
        (root / name / "sequence").write_text("\n".join(lines))
        regions = [region_of_mask(box(0)), "0", region_of_mask(box(2)), "m0,0,0,0,0"]
        (root / name / "groundtruth_1.txt").write_text("\n".join(regions))
        ignored = np.zeros(SIZE, bool)
        ignored[20:, :] = True
        (root / name / "groundtruth__ignore.txt").write_text("\n".join([region_of_mask(ignored)] * 4))
    (root / "list.txt").write_text("car\nbird-1\n")
    return root.parent


def masks_in(folder: Path, dataset: RVOSDataset) -> Path:
    for sample in dataset:
        for t, name in enumerate(sample.video.frame_names):
            file = folder / dataset.prediction_path(sample) / f"{name}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((box(t) if t < 3 else np.zeros(SIZE, bool)).astype(np.uint8) * 255).save(file)
    return folder


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (24, 32)])
def test_regions_come_back(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for share in (0, 0.02, 0.5, 1):
        mask = rng.random(size) < share
        back = mask_of_region(region_of_mask(mask), size)
        assert back is not None and np.array_equal(back, mask)


def test_regions_as_the_toolkit_writes_them() -> None:
    mask = np.zeros((4, 6), bool)
    mask[1, 2:4] = mask[2, 3] = True
    assert region_of_mask(mask) == "m2,1,2,2,0,2,1,1"  # from the left, from the top, width, height, runs
    assert mask_of_region("0", (4, 6)) is None and mask_of_region("1.0", (4, 6)) is None
    outside = mask_of_region("m-1,-1,3,3,0,9", (4, 6))
    assert outside is not None and outside.sum() == 4 and outside[:2, :2].all()
    for wrong in ("m1,1,2,2,0,9", "1,2,3,4", "m1,1", "", "m0,0,99999,99999,1", "mx"):
        with pytest.raises(ValueError):
            mask_of_region(wrong, (4, 6))


def test_sequences_are_a_dataset(workspace: Path, tmp_path: Path) -> None:
    dataset = load("vots", workspace)
    assert [v.id for v in dataset.videos] == ["car", "bird-1"] and len(dataset) == 4
    first = dataset[1]
    assert first.expression.text == "the one that moves" and first.expression.id == prompt_id(PROMPTS[1])
    truth = dataset.ground_truth(first)
    assert truth is not None and truth.mask(1) is None and not truth.mask(3).any() and truth.void(0)[20:].all()
    assert masks_of(truth)[2] == masks_of(load("vots", workspace / "sequences").ground_truth(first))[2]
    result = evaluate(masks_in(tmp_path / "masks", dataset), dataset, workers=1)
    assert result.protocol.id == "expressions@1" and [s.J for s in result.scores] == [1] * 4
    (workspace / "sequences/car/groundtruth_1.txt").unlink()
    (workspace / "sequences/car/groundtruth__ignore.txt").unlink()
    assert load("vots", workspace).ground_truth(first) is None
    (workspace / "sequences/car/sequence").write_text("fps=6\n")
    with pytest.raises(DatasetError, match="no line 'prompts=…'"):
        load("vots", workspace)


def test_results_byte_by_byte(workspace: Path, tmp_path: Path) -> None:
    dataset = load("vots", workspace)
    masks = masks_in(tmp_path / "masks", dataset)
    report = write_vots_results(masks, dataset, tmp_path / "a.zip", tracker="mine")
    assert (report.n_videos, report.n_expressions, report.n_masks) == (2, 4, 16) and "vot pack mine" in report.notes[0]
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    expected = "".join(f"{region_of_mask(box(t))}\n" for t in range(3)) + "m0,0,0,0,0\n"
    assert entries == {
        f"results/mine/baseline/{s}/{s}_{hashlib.md5(p.encode()).hexdigest()[:8]}.txt": expected.encode()
        for s in ("car", "bird-1")
        for p in PROMPTS
    }
    write_vots_results(masks, dataset, tmp_path / "b.zip", tracker="mine")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert check_vots_results(tmp_path / "a.zip", dataset) == []


def test_wrong_results_are_told(workspace: Path, tmp_path: Path) -> None:
    dataset = load("vots", workspace)
    write_vots_results(masks_in(tmp_path / "masks", dataset), dataset, tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        entries = {name.removeprefix("results/rvos/"): archive.read(name) for name in archive.namelist()}
    names = sorted(entries)
    entries[names[0]] += b"0\n"
    entries[names[1]] = b"1,2,3,4\n" * 4
    del entries[names[2]]
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    told = sorted(str(f) for f in check_vots_results(tmp_path / "bad.zip", dataset))
    assert len(told) == 3 and "1 prompts have no results" in told[0] and "another number of lines" in told[1]
    assert "4 lines that are no mask" in told[2]
    (tmp_path / "cut.zip").write_bytes((tmp_path / "a.zip").read_bytes()[:99])
    assert "not a whole zip" in str(check_vots_results(tmp_path / "cut.zip", dataset)[0])
    with pytest.raises(RvosError, match="no such file"):
        check_vots_results(tmp_path / "none.zip", dataset)
    with pytest.raises(UsageError, match="the toolkit takes letters"):
        write_vots_results(tmp_path / "masks", dataset, tmp_path / "c.zip", tracker="a/b")


def test_command(workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: object) -> int:
        with pytest.raises(SystemExit) as ended:
            main(["submit", "vots", "--root", str(workspace), *(str(w) for w in words)])
        return int(ended.value.code or 0)

    masks, out = masks_in(tmp_path / "masks", load("vots", workspace)), tmp_path / "out.zip"
    assert run("--predictions", masks, "--out", out, "--tracker", "mine") == 0
    assert run("--check", out) == 0 and "nothing that it would trip over" in capsys.readouterr().out
    next(iter(masks.rglob("*.png"))).unlink()
    assert run("--predictions", masks, "--out", tmp_path / "b.zip") == 1 and not (tmp_path / "b.zip").exists()
    capsys.readouterr()
    assert run("--predictions", masks, "--out", tmp_path / "b.zip", "--fill-missing", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["lacking"]) == 1
