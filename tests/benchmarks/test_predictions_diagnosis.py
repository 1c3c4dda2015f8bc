"""What the diagnosis says before scoring. About 3 s."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toyset import HEIGHT, WIDTH, ToyDataset

from rvos.benchmarks.predictions import Finding, diagnose, write_video_masks
from rvos.datasets.masks import encode_rle
from rvos.datasets.registry import load
from rvos.datasets.types import Expression, RVOSDataset, Sample, Video

DATASET = ToyDataset()


def write(folder: Path, picture: Callable[[np.ndarray], Image.Image | None] | None = None) -> Path:
    """The ground truth of every sample below ``folder``, each mask turned into a picture (None: not written)."""
    for sample in DATASET.samples:
        place = folder / str(DATASET.prediction_path(sample))
        place.mkdir(parents=True, exist_ok=True)
        for name, mask in zip(sample.video.frame_names, DATASET.ground_truth(sample).dense(), strict=True):
            image = picture(mask) if picture else Image.fromarray(mask.astype(np.uint8) * 255)
            if image is not None:
                image.save(place / f"{name}.png")
    return folder


def grey(on: int, dtype: str = "uint8") -> Callable[[np.ndarray], Image.Image]:
    return lambda mask: Image.fromarray((mask * on).astype(dtype))


def found(path: Path, *words: str, dataset: RVOSDataset = DATASET, threshold: float | None = None) -> Finding:
    """The one finding that says ``words``; all of them are single lines."""
    findings = diagnose(path, dataset, threshold)
    assert all("\n" not in str(f) for f in findings)
    fitting = [f for f in findings if all(word in str(f) for word in words)]
    assert len(fitting) == 1, "\n".join(map(str, findings))
    return fitting[0]


def test_good_masks_need_no_word(tmp_path: Path) -> None:
    assert diagnose(write(tmp_path), DATASET) == []


def test_values(tmp_path: Path) -> None:
    assert found(write(tmp_path / "a", grey(100)), "hold 0 and 100", "100 is read as foreground").severity == "note"
    assert found(write(tmp_path / "b", grey(1)), "hold 0 and 1", "below 50").severity == "note"
    assert found(tmp_path / "b", "holds 0, 1 only", "Leave the threshold out", threshold=0.5).severity == "warning"
    assert found(write(tmp_path / "c", grey(255, "uint16")), "16-bit values below 256").severity == "warning"
    assert found(write(tmp_path / "d", grey(0)), "that were looked at are empty").severity == "warning"

    def soft(mask: np.ndarray) -> Image.Image:
        return Image.fromarray(np.where(mask, 200, np.arange(WIDTH)[None]).astype(np.uint8))

    write(tmp_path / "e", soft)
    assert found(tmp_path / "e", "grey values", "--threshold 0.5").severity == "error"
    assert diagnose(tmp_path / "e", DATASET, 0.5) == []

    def black_palette(mask: np.ndarray) -> Image.Image:
        image = Image.fromarray(mask.astype(np.uint8), "P")
        image.putpalette([0] * 6)
        return image

    assert found(write(tmp_path / "f", black_palette), "palette whose colours are black").severity == "warning"


def test_sizes_and_broken_files(tmp_path: Path) -> None:
    write(tmp_path / "a", lambda mask: Image.fromarray(mask).resize((30, 20)))
    assert found(tmp_path / "a", "is 30x20, the annotation is 60x40", "Resize").severity == "error"
    write(tmp_path / "b")
    for file in (tmp_path / "b").rglob("*.png"):
        file.write_bytes(file.read_bytes()[:50])
    assert found(tmp_path / "b", "cut short").severity == "error"


def test_wrong_level(tmp_path: Path) -> None:
    write(tmp_path / "run" / "Annotations")
    assert "run/Annotations instead" in found(tmp_path / "run", "lie deeper").cure
    assert "Annotations or another" not in found(tmp_path, "lie deeper").cure
    assert f"Give --predictions {tmp_path / 'run' / 'Annotations'} instead" in str(
        found(tmp_path / "run" / "Annotations" / "video1", "is the folder of one video")
    )


def test_missing_and_extra(tmp_path: Path) -> None:
    write(tmp_path)
    for file in (tmp_path / "video2").rglob("*.png"):
        file.unlink()
    for folder in [*(tmp_path / "video2").iterdir(), tmp_path / "video2"]:
        folder.rmdir()
    (tmp_path / "video1" / "3").rename(tmp_path / "video1" / "overlays")
    (tmp_path / "notes.txt").write_text("x")
    for folder in (tmp_path / "video0").iterdir():
        (folder / "00002.png").unlink()
    found(tmp_path, "1 of 3 video folders are missing: video2")
    found(tmp_path, "1 of 15 expression folders are missing", "video1/3")
    assert found(tmp_path, "2 entries that no sample asks for", "notes.txt, video1/overlays").severity == "note"
    found(tmp_path, "1 of 5 frames are missing", "00002")


def test_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert found(tmp_path / "empty", "is empty").severity == "error"
    assert found(tmp_path / "nowhere", "no such folder").severity == "error"
    (tmp_path / "strange" / "other").mkdir(parents=True)
    found(tmp_path / "strange", "none of the 3 folders of toy/test, such as video0; found other")
    (tmp_path / "labels" / "video0").mkdir(parents=True)
    Image.new("L", (WIDTH, HEIGHT)).save(tmp_path / "labels" / "video0" / "00000.png")
    found(tmp_path / "labels", "PNG files lie directly in", "video0/0/")
    (tmp_path / "names" / "video0" / "exp_0").mkdir(parents=True)
    found(tmp_path / "names", "no expression folder such as '0'; found exp_0")
    (tmp_path / "jpeg" / "video0" / "0").mkdir(parents=True)
    (tmp_path / "jpeg" / "video0" / "0" / "00000.jpg").write_bytes(b"x")
    found(tmp_path / "jpeg", "holds no .png file; found 00000.jpg")
    (tmp_path / "file" / "video0").mkdir(parents=True)
    (tmp_path / "file" / "video0" / "0").write_text("x")
    found(tmp_path / "file", "is a file, expected a folder")


def test_archives(tmp_path: Path) -> None:
    write(tmp_path / "masks")

    def archive(name: str, prefix: str) -> Path:
        path = tmp_path / "zips" / name
        path.parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(path, "w") as file:
            for png in (tmp_path / "masks").rglob("*.png"):
                file.write(png, prefix + str(png.relative_to(tmp_path / "masks")))
            if prefix == "../":
                file.write(png, str(png.relative_to(tmp_path / "masks")))
        return path

    assert diagnose(archive("a.zip", ""), DATASET) == []
    assert diagnose(archive("a.zip", "Annotations/"), DATASET) == []
    assert "Give --predictions" in found(tmp_path / "zips", "holds only a.zip").cure
    assert found(archive("b.zip", "my masks/"), "wraps everything in the folder 'my masks'").severity == "note"
    assert found(archive("c.zip", "../"), "point outside").severity == "warning"
    (tmp_path / "d.zip").write_bytes(b"PK\x03\x04 and no more")
    assert found(tmp_path / "d.zip", "cut short or damaged").severity == "error"


class OddFrames(RVOSDataset):
    """Frames every five, as Ref-YouTube-VOS names them."""

    name = "odd"
    video = Video("v", ("00005", "00010", "00015"), declared_size=(4, 4))

    def __init__(self) -> None:
        super().__init__(Path(), "valid", "1", [Sample(self.video, Expression("0", "it"))])

    def ground_truth(self, sample: Sample) -> None:
        return None


def test_renumbered_frames(tmp_path: Path) -> None:
    (tmp_path / "v" / "0").mkdir(parents=True)
    for i in range(3):
        Image.new("L", (4, 4)).save(tmp_path / "v" / "0" / f"{i:05d}.png")
    message = found(tmp_path, "numbers its files from 00000", "00005, 00010, 00015", dataset=OddFrames())
    assert message.severity == "error" and "Name each mask like its frame" in message.cure


def test_the_other_split_is_named(tmp_path: Path) -> None:
    for split, video in (("valid_u", "aaa"), ("valid", "bbb")):
        expressions = {"0": {"exp": "it", **({"anno_id": [0], "obj_id": [0]} if split == "valid_u" else {})}}
        meta = {"videos": {video: {"frames": ["00000"], "expressions": expressions}}}
        (tmp_path / "data" / split).mkdir(parents=True)
        (tmp_path / "data" / split / "meta_expressions.json").write_text(json.dumps(meta))
    (tmp_path / "masks" / "bbb" / "0").mkdir(parents=True)
    dataset = load("mevis/valid_u", root=tmp_path / "data")
    finding = found(tmp_path / "masks", "videos of mevis/valid, not of mevis/valid_u", dataset=dataset)
    assert finding.cure == "Did you mean mevis/valid?"


class OneDog(RVOSDataset):
    """Two objects, four annotators."""

    name = "ref-davis17"
    video = Video("dog", ("00000", "00001"), declared_size=(6, 8))

    def __init__(self) -> None:
        samples = [
            Sample(self.video, Expression(f"{o}-{k}", "it", (str(o),), layout_id=str(4 * o + k), tags={"annotator": k}))
            for k in range(4)
            for o in range(2)
        ]
        super().__init__(Path(), "valid", "1", samples)

    def ground_truth(self, sample: Sample) -> None:
        return None


def label_maps(folder: Path, value: int, roots: tuple[str, ...] = ("anno_0", "anno_1", "anno_2", "anno_3")) -> Path:
    picture = np.zeros((6, 8), np.uint8)
    picture[2:4] = value
    for root in roots:
        (folder / root / "dog").mkdir(parents=True)
        for name in ("00000", "00001"):
            Image.fromarray(picture).save(folder / root / "dog" / f"{name}.png")
    return folder


def test_label_maps(tmp_path: Path) -> None:
    dog = OneDog()
    assert diagnose(label_maps(tmp_path / "a", 2), dog) == []
    assert found(label_maps(tmp_path / "b", 255), "0 and 255 in the indexed", dataset=dog).severity == "error"
    assert found(label_maps(tmp_path / "c", 3), "label 3, the annotator asks for 2", dataset=dog).severity == "warning"
    found(label_maps(tmp_path / "d", 1, ("anno_0", "anno_2")), "anno_1, anno_3 missing", dataset=dog)
    assert f"Give --predictions {tmp_path / 'a'} " in found(tmp_path / "a" / "anno_1", "all four", dataset=dog).cure
    found(label_maps(tmp_path / "e" / "out", 1).parent, "lie deeper", "e/out", dataset=dog)
    found(tmp_path / "a", "label maps of Ref-DAVIS-17", "toy/test")
    (tmp_path / "a" / "anno_0" / "dog" / "00001.png").unlink()
    found(tmp_path / "a", "holds 1 PNG files for 2 frames", dataset=dog)
    (tmp_path / "raw" / "dog" / "0").mkdir(parents=True)
    found(tmp_path / "raw", "masks of single expressions, not label maps", dataset=dog)


def test_runs_and_json(tmp_path: Path) -> None:
    sample = DATASET.samples[0]
    rles = [encode_rle(mask) for mask in DATASET.ground_truth(sample).dense()]
    write_video_masks(tmp_path / "run" / "masks", sample.video, {"0": rles})
    found(tmp_path / "run" / "masks", "2 of 3 videos have no masks", "video1, video2", "Resume")
    found(tmp_path / "run" / "masks", "masks of none of the 1 videos of ref-davis17/valid", dataset=OneDog())
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"video0": {str(i): rles[: 5 - i] for i in range(5)}}))
    found(path, "2 videos are missing", "video1, video2")
    found(path, "4 masks for 5 frames")
    path.write_text('{"other": {}}')
    found(path, "none of the 3 videos of toy/test; found other")
    path.write_text('{"video0": {')
    found(path, "cut short")


@pytest.mark.parametrize("severity", ["error", "warning", "note"])
def test_findings_print_as_one_sentence_with_cure(severity: str) -> None:
    assert str(Finding(severity, "It is odd.", "Mend it.")) == f"{severity}: It is odd. Mend it."  # type: ignore[arg-type]
