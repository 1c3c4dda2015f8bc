"""Downloaded archives: DAVIS in three zips, folders too deep, and archives that mean harm. About 5 s."""

from __future__ import annotations

import io
import json
import shutil
import stat
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from rvos.cli import main
from rvos.datasets import unpacking
from rvos.datasets.errors import DatasetError, UnknownNameError, UsageError
from rvos.datasets.registry import load
from rvos.datasets.unpacking import extract, unpack


def zip_of(path: Path, folder: Path, prefix: str = "", only: Callable[[str], bool] = lambda name: True) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            name = file.relative_to(folder).as_posix()
            if file.is_file() and only(name):
                archive.write(file, f"{prefix}{name}")
    return path


def tar_of(path: Path, folder: Path, prefix: str) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, prefix)
    return path


# Right archives -------------------------------------------------------------------------------------------------------


def test_davis_in_three_archives(layouts: Path, tmp_path: Path) -> None:
    root = layouts / "ref-davis17"
    unsupervised = zip_of(tmp_path / "u.zip", root / "DAVIS", "DAVIS/", lambda n: not n.startswith("Annotations/"))
    semi = zip_of(tmp_path / "s.zip", root / "DAVIS", "x/DAVIS/", lambda n: "Annotations_unsup" not in n)
    texts = zip_of(tmp_path / "t.zip", root / "davis_text_annotations")
    done = unpack("davis", [unsupervised, semi, texts], tmp_path / "out")
    assert done.splits["ref-davis17/valid"][0] == 2
    original, unpacked = load("davis/val", root, layout="original"), load("davis/val", tmp_path / "out")
    assert [s.expression for s in original] == [s.expression for s in unpacked]
    assert unpacked.object_masks("semi-supervised", unpacked.videos[0])
    assert any("published are" in note for note in done.notes)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "s.zip", "t.zip", "u.zip"]


LAYOUTS = ("reasonvos", "mevis", "ref-youtube-vos", "ref-davis17", "revos", "long-rvos", "groundmore")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_folders_around_do_not_matter(layouts: Path, layout: str, tmp_path: Path) -> None:
    archive = tar_of(tmp_path / "a.tar.gz", layouts / layout, "./some/Folder v2")
    done = unpack(layout, [archive], tmp_path / "out")
    assert done.splits and not [n for n in done.notes if "does not open" in n and "valid" not in n and "train" not in n]
    for name in done.splits:
        assert load(name, tmp_path / "out").fingerprint == load(name, layouts / layout).fingerprint


def test_archives_in_archives_and_parts_apart(layouts: Path, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    tar_of(inner / "valid_u.tar.gz", layouts / "mevis/valid_u", "valid_u")
    tar_of(inner / "train.tar.gz", layouts / "mevis/train", "train")
    (inner / "README.md").write_text("hello")
    done = unpack("mevis", [zip_of(tmp_path / "outer.zip", inner, "MeViS/")], tmp_path / "out")
    assert set(done.splits) == {"mevis/train", "mevis/valid_u"}
    assert done.left_out == ["MeViS/README.md"] and any("mevis/valid does not open" in note for note in done.notes)
    more = tar_of(tmp_path / "valid.tar.gz", layouts / "mevis/valid", "valid")
    assert set(unpack("mevis", [more], tmp_path / "out").splits) == {"mevis/train", "mevis/valid_u", "mevis/valid"}
    with pytest.raises(UsageError, match="Already there"):
        unpack("mevis", [more], tmp_path / "out")


def test_archives_of_two_versions(layouts: Path, tmp_path: Path) -> None:
    one = zip_of(tmp_path / "1.zip", layouts / "reasonvos")
    other = shutil.copytree(layouts / "reasonvos", tmp_path / "other")
    (other / "meta_expressions.json").write_text("{}")
    two = zip_of(tmp_path / "2.zip", other)
    with pytest.raises(DatasetError, match="two of the archives hold it with other contents"):
        unpack("reasonvos", [one, two], tmp_path / "out")
    assert not (tmp_path / "out").exists()


# Hostile archives -----------------------------------------------------------------------------------------------------


def made_zip(path: Path, entries: list[tuple[str | zipfile.ZipInfo, bytes]]) -> Path:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")
        for name, data in entries:
            archive.writestr(name, data)
    return path


def made_tar(path: Path, members: list[tarfile.TarInfo]) -> Path:
    with tarfile.open(path, "w") as archive:
        for member in members:
            member.size = 4 if member.isfile() else 0
            archive.addfile(member, io.BytesIO(b"evil"))
    return path


def linked(name: str, kind: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (kind | 0o777) << 16
    return entry


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def bomb(path: Path) -> Path:
    return made_zip(path, [("meta_expressions.json", bytes(1 << 22))])


def encrypted(path: Path) -> Path:
    data = bytearray(made_zip(path, [("a.png", b"x" * 50)]).read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(data)
    return path


def cut(path: Path) -> Path:
    made_zip(path, [("a.png", bytes(range(256)) * 40)])
    path.write_bytes(path.read_bytes()[:-30])
    return path


def flipped(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", b"stored" * 100)
    data = bytearray(path.read_bytes())
    data[100] ^= 255
    path.write_bytes(data)
    return path


def cut_tar(path: Path) -> Path:
    made_tar(path, [member("a.png")])
    path.write_bytes(path.read_bytes()[:514])
    return path


def cut_gzip(path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("a.bin")
        info.size = 5000
        archive.addfile(info, io.BytesIO(bytes(range(250)) * 20))
    path.write_bytes(path.read_bytes()[:-40])
    return path


HOSTILE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "traversal": (lambda p: made_zip(p, [("../evil.txt", b"x")]), "points outside"),
    "hidden traversal": (lambda p: made_zip(p, [("a/../../evil.txt", b"x")]), "points outside"),
    "absolute": (lambda p: made_zip(p, [("/tmp/evil.txt", b"x")]), "points outside"),
    "drive": (lambda p: made_zip(p, [("C:/evil.txt", b"x")]), "points outside"),
    "backslashes": (lambda p: made_zip(p, [("..\\evil.txt", b"x")]), "points outside"),
    "control characters": (lambda p: made_zip(p, [("a\nb.txt", b"x")]), "points outside"),
    "symlink": (lambda p: made_zip(p, [(linked("a", stat.S_IFLNK), b"/etc")]), "link or a device"),
    "device": (lambda p: made_zip(p, [(linked("a", stat.S_IFCHR), b"")]), "link or a device"),
    "twice": (lambda p: made_zip(p, [("a.png", b"x"), ("a.png", b"y")]), "occurs twice"),
    "twice in other case": (lambda p: made_zip(p, [("a.png", b"x"), ("A.PNG", b"y")]), "occurs twice"),
    "file and folder": (lambda p: made_zip(p, [("a", b"x"), ("a/b", b"y")]), "file and a folder"),
    "bomb": (bomb, "unpacks to more than"),
    "encrypted": (encrypted, "is encrypted"),
    "cut": (cut, "damaged or cut short"),
    "flipped bit": (flipped, "damaged or cut short"),
    "empty": (lambda p: (p.write_bytes(b"") and p) or p, "is empty"),
    "web page": (lambda p: p.write_text("<!DOCTYPE html>") and p, "a web page"),
    "tar traversal": (lambda p: made_tar(p, [member("../evil.txt")]), "points outside"),
    "tar absolute": (lambda p: made_tar(p, [member("/tmp/evil.txt")]), "points outside"),
    "tar symlink": (lambda p: made_tar(p, [member("a", tarfile.SYMTYPE, "/etc")]), "link or a device"),
    "tar hard link": (lambda p: made_tar(p, [member("a", tarfile.LNKTYPE, "../b")]), "link or a device"),
    "tar fifo": (lambda p: made_tar(p, [member("a", tarfile.FIFOTYPE)]), "link or a device"),
    "tar twice": (lambda p: made_tar(p, [member("a"), member("./a")]), "occurs twice"),
    "cut tar": (cut_tar, "damaged or cut short"),
    "cut gzip": (cut_gzip, "damaged or cut short"),
    "another dataset": (lambda p: made_zip(p, [("x/y.txt", b"x")]), "holds no part of reasonvos; found x/y.txt"),
    "missing": (lambda p: p, "no such file"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_archives_leave_nothing_behind(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "_FLOOR", 1 << 20)
    make, words = HOSTILE[kind]
    archive = make(tmp_path / "archive")
    before = sorted(p.name for p in tmp_path.rglob("*"))
    with pytest.raises(DatasetError, match=words) as refused:
        unpack("reasonvos", [archive], tmp_path / "here/out")
    assert "\n" not in str(refused.value) and str(archive) in str(refused.value)
    shutil.rmtree(tmp_path / "here")  # holds nothing, or rglob would show it
    assert sorted(p.name for p in tmp_path.rglob("*")) == before
    assert not Path("/tmp/evil.txt").exists() and not (tmp_path.parent / "evil.txt").exists()


def test_junk_of_other_systems_is_skipped(tmp_path: Path) -> None:
    made_zip(tmp_path / "a.zip", [("__MACOSX/a/._b", b"x"), ("a/.DS_Store", b"x"), ("a/b.txt", b"fine")])
    extract(tmp_path / "a.zip", tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").rglob("*") if p.is_file()] == ["b.txt"]


def test_archives_all_the_way_down(tmp_path: Path) -> None:
    data = made_zip(tmp_path / "a.zip", [("x.txt", b"x")]).read_bytes()
    for _ in range(4):
        data = made_zip(tmp_path / "a.zip", [("inner.zip", data)]).read_bytes()
    with pytest.raises(DatasetError, match="inside archives inside"):
        unpack("reasonvos", [tmp_path / "a.zip"], tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


def test_bombs_inside_archives_share_one_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "_FLOOR", 1 << 20)
    inner = made_zip(tmp_path / "inner.zip", [("zeros", bytes(700_000))]).read_bytes()
    (tmp_path / "inner.zip").unlink()
    outer = made_zip(tmp_path / "outer.zip", [("a.zip", inner), ("b.zip", inner)])
    with pytest.raises(DatasetError, match="unpacks to more than"):
        unpack("reasonvos", [outer], tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["outer.zip"]


def test_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No archive"):
        unpack("davis", [], tmp_path / "out")
    with pytest.raises(UnknownNameError, match="comes in archives"):
        unpack("reasonshapes", ["a.zip"], tmp_path / "out")


def test_command(layouts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: object) -> int:
        with pytest.raises(SystemExit) as ended:
            main(["datasets", "download", *(str(w) for w in words)])
        return int(ended.value.code or 0)

    assert run("davis") == 0
    told = capsys.readouterr().out
    assert "davischallenge.org" in told and "--from-archive" in told
    assert run("mevis", "--json") == 0
    assert any("hf://FudanCVL/MeViSv2" in step for step in json.loads(capsys.readouterr().out)["steps"])
    assert run("reasonshapes") == 0 and "no download" in capsys.readouterr().out
    archive = zip_of(tmp_path / "a.zip", layouts / "reasonvos")
    assert run("reasonvos", "--from-archive", archive, "--out", tmp_path / "out", "--sha256", "0" * 64) == 2
    assert "SHA-256" in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert run("reasonvos", "--from-archive", archive, "--out", tmp_path / "out") == 0
    assert "reasonvos: 2 videos" in capsys.readouterr().out
    assert run("reasonvos", "--from-archive", archive) == 2
    assert run("nothing") == 2
