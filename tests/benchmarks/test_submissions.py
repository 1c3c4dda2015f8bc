"""Submission zips: right ones byte for byte, and every wrong one told in words."""

from __future__ import annotations

import io
import json
import stat
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rvos.benchmarks.submission_check import check_submission
from rvos.benchmarks.submissions import _notes, server_of, write_submission
from rvos.cli import main
from rvos.datasets.errors import RvosError, UsageError
from rvos.datasets.reasonshapes import generate, write
from rvos.datasets.registry import load
from rvos.datasets.types import RVOSDataset

SIZE = {"height": 36, "width": 48, "n_frames": 3, "n_sentences": 2, "kinds": ("attribute",)}
SPLITS = {"mevis": "mevis/valid", "ref-youtube-vos": "ref-youtube-vos/valid"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two datasets with withheld masks, and a folder of masks for each."""
    root = tmp_path_factory.mktemp("submit")
    for layout in SPLITS:
        options = {"test_videos": generate("test", 1, 9, **SIZE)} if layout == "ref-youtube-vos" else {}
        write(layout, root / layout, generate("valid", 3, **SIZE), split="valid", **options)
        dataset = opened(root, layout)
        for k, sample in enumerate(dataset):
            for t, name in enumerate(sample.video.frame_names):
                mask = np.zeros(sample.video.size, np.uint8)
                mask[4 + k : 20, 5 + t : 30] = 255
                file = root / f"{layout}-masks" / dataset.prediction_path(sample) / f"{name}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(file)
    return root


def opened(home: Path, layout: str) -> RVOSDataset:
    return load(SPLITS[layout], home / layout)


def made(home: Path, layout: str, out: Path) -> dict[str, bytes]:
    """The entries of a right zip."""
    write_submission(home / f"{layout}-masks", opened(home, layout), out)
    with zipfile.ZipFile(out) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def png(array: np.ndarray, mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("layout", SPLITS)
def test_right_zip_byte_by_byte(home: Path, layout: str, tmp_path: Path) -> None:
    dataset = opened(home, layout)
    entries = made(home, layout, tmp_path / "a.zip")
    prefix = "Annotations/" if layout == "ref-youtube-vos" else ""
    expected = [
        f"{prefix}{s.video.id}/{s.expression.layout_id}/{name}.png" for s in dataset for name in s.video.frame_names
    ]
    assert sorted(entries) == sorted(expected)
    for name, data in entries.items():
        image = Image.open(io.BytesIO(data))
        assert (image.mode, image.size, image.format) == ("L", (48, 36), "PNG")
        stored = np.asarray(Image.open(home / f"{layout}-masks" / name.removeprefix(prefix)))
        assert np.array_equal(np.asarray(image), stored) and set(np.unique(stored)) == {0, 255}
    made(home, layout, tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert check_submission(tmp_path / "a.zip", dataset) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip", "b.zip"]


def test_only_the_split_is_asked_for(home: Path) -> None:
    assert len(opened(home, "ref-youtube-vos").videos) == 3  # the fourth is of the test split


def test_version_2_of_mevis(tmp_path: Path) -> None:
    """Sentences without a target are answered by empty masks in every frame, which is no mistake."""
    kinds = ("attribute", "no-target")
    options = {**SIZE, "n_sentences": 3, "kinds": kinds}
    write("mevis", tmp_path / "mevis", generate("valid", 2, **options), split="valid", no_target=True)
    dataset = load("mevis/valid", tmp_path / "mevis")
    masks = tmp_path / "masks"
    for k, sample in enumerate(dataset):
        for name in sample.video.frame_names:
            file = masks / dataset.prediction_path(sample) / f"{name}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((36, 48), 255 * (k % 2), np.uint8)).save(file)
    report = write_submission(masks, dataset, tmp_path / "v2.zip")
    assert report.path is not None and check_submission(report.path, dataset) == []
    assert "codabench.org/competitions/11420" in report.notes[0]


def test_the_other_version_is_noted(home: Path) -> None:
    dataset = opened(home, "mevis")
    server = replace(server_of(dataset), n_videos=len(dataset.videos))
    dataset.version = "v1"
    assert _notes(server, dataset)[1] == "The server expects 2523 sentences; this folder lists 5 (version 1)."


def folder_around(e: dict[str, bytes]) -> dict[str, bytes]:
    return {f"submission/{name}": data for name, data in e.items()}


def first(e: dict[str, bytes]) -> str:
    return min(e)


def video_of(name: str) -> str:
    return name.rsplit("/", 2)[0]


def expression_of(name: str) -> str:
    return name.rsplit("/", 1)[0]


def dropped(e: dict[str, bytes], part: Callable[[str], str]) -> dict[str, bytes]:
    return {name: data for name, data in e.items() if part(name) != part(first(e))}


def replaced(e: dict[str, bytes], data: bytes) -> dict[str, bytes]:
    return {**e, first(e): data}


def half(e: dict[str, bytes]) -> np.ndarray:
    mask = np.array(Image.open(io.BytesIO(e[first(e)])))
    assert mask.any()
    return mask


#: what is done to a right zip -> words of the first finding
WRONG: dict[str, tuple[Callable[[dict[str, bytes]], dict[str, bytes]], str]] = {
    "folder instead of contents": (folder_around, "video folders are in submission/"),
    "video missing": (lambda e: dropped(e, video_of), "1 videos are missing"),
    "expression missing": (lambda e: dropped(e, expression_of), "1 expressions are missing"),
    "frame missing": (lambda e: dropped(e, str), "1 expressions lack frames"),
    "0/1 values": (lambda e: replaced(e, png(half(e) // 255)), "other values than 0 and 255"),
    "grey values": (lambda e: replaced(e, png(np.arange(36 * 48, dtype=np.uint8).reshape(36, 48))), "other values"),
    "palette": (lambda e: replaced(e, png(half(e), "P")), "mode P"),
    "colours": (lambda e: replaced(e, png(half(e), "RGB")), "mode RGB"),
    "one bit": (lambda e: replaced(e, png(half(e), "1")), "mode 1"),
    "another size": (lambda e: replaced(e, png(half(e)[::2, ::2])), "(24x18, expected 48x36)"),
    "no image": (lambda e: replaced(e, b"none"), "no readable PNG"),
    "extra video": (lambda e: {**e, f"{video_of(first(e))}x/0/00000.png": e[first(e)]}, "not in the split"),
    "extra expression": (lambda e: {**e, f"{video_of(first(e))}/99/00000.png": e[first(e)]}, "folders of expressions"),
    "extra file": (lambda e: {**e, f"{expression_of(first(e))}/.DS_Store": b"x"}, "files of the operating system"),
    "renumbered": (lambda e: {n.replace("/0000", "/frame_0"): d for n, d in e.items()}, "other frame names"),
    "jpeg": (lambda e: {n.replace(".png", ".jpg"): d for n, d in e.items()}, "not .png files"),
    "no expression folders": (
        lambda e: {f"{video_of(n)}/{n.rsplit('/', 1)[1]}": d for n, d in e.items()},
        "no expression folders",
    ),
    "traversal": (lambda e: {**e, "../evil.png": b"x"}, "point outside"),
    "backslashes": (lambda e: {**e, "a\\b\\c.png": b"x"}, "backslashes"),
    "other dataset": (lambda e: {"bear/0/00000.png": e[first(e)]}, "holds none of the 3 videos"),
    "zip in zip": (lambda e: {"submission.zip": b"PK"}, "holds another zip"),
    "empty": (lambda e: {}, "holds no files"),
    "all empty": (
        lambda e: {n: png(np.zeros((36, 48), np.uint8)) for n in e},
        "all are empty",
    ),
}


@pytest.mark.parametrize("layout", SPLITS)
@pytest.mark.parametrize("kind", WRONG)
def test_wrong_zips_are_told_in_words(home: Path, layout: str, kind: str, tmp_path: Path) -> None:
    spoil, words = WRONG[kind]
    bad = zipped(tmp_path / "bad.zip", spoil(made(home, layout, tmp_path / "right.zip")))
    findings = check_submission(bad, opened(home, layout))
    assert findings and words in str(findings[0]), findings
    assert len(findings) == 1, [str(f) for f in findings]
    assert findings[0].cure


def test_prefixes_are_opposite(home: Path, tmp_path: Path) -> None:
    mevis = made(home, "mevis", tmp_path / "m.zip")
    bad = zipped(tmp_path / "bad.zip", {f"Annotations/{n}": d for n, d in mevis.items()})
    (finding,) = check_submission(bad, opened(home, "mevis"))
    assert "in Annotations/, the MeViS server looks at its root" in finding.message and "cd Annotations" in finding.cure
    ytvos = made(home, "ref-youtube-vos", tmp_path / "y.zip")
    bad = zipped(tmp_path / "bad.zip", {n.removeprefix("Annotations/"): d for n, d in ytvos.items()})
    (finding,) = check_submission(bad, opened(home, "ref-youtube-vos"))
    assert "at the root of the zip" in finding.message and "zip -r submission.zip Annotations" in finding.cure


def test_archives_that_no_server_unpacks(home: Path, tmp_path: Path) -> None:
    dataset = opened(home, "mevis")
    right = tmp_path / "right.zip"
    entries = made(home, "mevis", right)
    cut = tmp_path / "cut.zip"
    cut.write_bytes(right.read_bytes()[:-200])
    cases = {"not a whole zip": cut, "a folder": tmp_path, "an empty file": tmp_path / "none.zip"}
    (tmp_path / "none.zip").write_bytes(b"")
    (tmp_path / "a.tar.gz").write_bytes(b"\x1f\x8b\x08" + bytes(600))
    cases["a gzip file"] = tmp_path / "a.tar.gz"
    for words, path in cases.items():
        (finding,) = check_submission(path, dataset)
        assert finding.severity == "error" and words in finding.message, finding
    with pytest.raises(RvosError, match="no such file"):
        check_submission(tmp_path / "nothing.zip", dataset)
    damaged = bytearray(right.read_bytes())
    damaged[60:90] = bytes(30)
    (tmp_path / "damaged.zip").write_bytes(damaged)
    assert "damaged in the zip" in str(check_submission(tmp_path / "damaged.zip", dataset)[0])
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive:
        for name in (*entries, first(entries)):
            archive.writestr(name, entries[name])
    assert "names that occur twice" in str(check_submission(tmp_path / "twice.zip", dataset)[0])
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
        for name, data in entries.items():
            archive.writestr(name, data, zipfile.ZIP_BZIP2 if name == first(entries) else None)
    told = "\n".join(str(f) for f in check_submission(tmp_path / "link.zip", dataset))
    assert "symbolic links" in told and "compressed in a way" in told


def test_missing_masks_refuse_or_fill(home: Path, tmp_path: Path) -> None:
    dataset = opened(home, "mevis")
    masks = tmp_path / "masks"
    sample = dataset[0]
    for s in dataset.samples[1:]:
        (masks / dataset.prediction_path(s)).parent.mkdir(parents=True, exist_ok=True)
        (masks / dataset.prediction_path(s)).symlink_to(home / "mevis-masks" / dataset.prediction_path(s))
    report = write_submission(masks, dataset, tmp_path / "a.zip")
    assert report.path is None and len(report.lacking) == 3 and not (tmp_path / "a.zip").exists()
    report = write_submission(masks, dataset, tmp_path / "a.zip", fill_missing=True)
    assert report.path is not None and report.n_masks == 3 * len(dataset)
    assert check_submission(tmp_path / "a.zip", dataset) == []
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        data = archive.read(f"{dataset.prediction_path(sample)}/00000.png")
    assert not np.asarray(Image.open(io.BytesIO(data))).any()
    small = masks / dataset.prediction_path(sample)
    small.mkdir()
    for name in sample.video.frame_names:
        Image.fromarray(np.zeros((10, 10), np.uint8)).save(small / f"{name}.png")
    assert "10x10, its video 48x36" in write_submission(masks, dataset, tmp_path / "b.zip").lacking[0]


def test_datasets_without_a_server(home: Path, tmp_path: Path) -> None:
    write("reasonvos", tmp_path / "r", generate("valid", 1, **SIZE))
    with pytest.raises(UsageError, match="no evaluation server"):
        server_of(load("reasonvos", tmp_path / "r"))


def test_command(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: object) -> int:
        with pytest.raises(SystemExit) as ended:
            main(["submit", *(str(w) for w in words)])
        return int(ended.value.code or 0)

    out, masks, root = tmp_path / "s.zip", home / "mevis-masks", home / "mevis"
    assert run("mevis", "--root", root, "--predictions", masks, "--out", out) == 0
    assert "MeViS" not in capsys.readouterr().err and out.exists()
    assert run("mevis", "--root", root, "--check", out) == 0
    assert "nothing that it would trip over" in capsys.readouterr().out
    bad = zipped(tmp_path / "bad.zip", folder_around(made(home, "mevis", tmp_path / "right.zip")))
    assert run("mevis/valid", "--root", root, "--check", bad, "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert not told["ok"] and told["findings"][0]["severity"] == "error"
    assert run("mevis", "--root", root) == 2
    assert run("mevis", "--root", root, "--predictions", tmp_path / "no", "--out", out) == 2
    (tmp_path / "none").mkdir()
    assert run("mevis", "--root", root, "--predictions", tmp_path / "none", "--out", tmp_path / "n.zip") == 1
    assert "nothing written: 15 masks lack" in capsys.readouterr().err and not (tmp_path / "n.zip").exists()
