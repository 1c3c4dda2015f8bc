"""The hub over HTTP, by way of the real client, failing in every way a hub does. About 5 s; nothing is reached but
this machine."""

from __future__ import annotations

import io
import json
import shutil
import socket
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fakehub import TOKEN, FakeHub, client_of, only_this_machine
from PIL import Image
from samedata import masks_of, same, shifted_masks

from rvos.benchmarks.evaluator import evaluate
from rvos.cli import main
from rvos.datasets import hub as hub_module
from rvos.datasets.conversion import convert
from rvos.datasets.errors import DatasetError, UsageError
from rvos.datasets.frames import FrameFolder
from rvos.datasets.hub import HubStore, download, open_hub, parse, push
from rvos.datasets.parquet_export import export_parquet
from rvos.datasets.reasonshapes import generate, write
from rvos.datasets.registry import load

pytest.importorskip("pyarrow", reason="parquet needs pip install 'rvos[hub]'")
pytest.importorskip("huggingface_hub", reason="the hub needs pip install 'rvos[hub]'")

SIZE = {"height": 36, "width": 48, "n_frames": 4}


@pytest.fixture
def hub(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """With the export as the private repository me/my50."""
    monkeypatch.setattr(hub_module, "_WAIT", 0.001)
    hub_module._checked.cache_clear()
    with FakeHub().serving() as served, client_of(served, tmp_path / "cache"):
        served.put("me/my50", exported, private=True)
        yield served


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(w) for w in words])
    return int(ended.value.code or 0)


# Reading --------------------------------------------------------------------------------------------------------------


def test_names() -> None:
    assert parse("hf://me/my50") == ("me/my50", None, None)
    assert parse("hf://me/my50@v1/valid") == ("me/my50", "v1", "valid")
    for name in ("hf://me", "hf://", "hf://a/b/c/d", "hf://../x"):
        with pytest.raises(UsageError, match="expected hf://owner/name"):
            parse(name)


def test_no_call_leaves_the_machine() -> None:
    with only_this_machine():
        with pytest.raises(AssertionError, match="a call left the machine"):
            socket.create_connection(("192.0.2.1", 80), timeout=0.1)
        with pytest.raises(AssertionError, match="looked up: huggingface"):
            socket.getaddrinfo("huggingface.co", 443)


def test_opened_in_place_and_fetched_when_needed(hub: FakeHub, shapes: Path) -> None:
    remote = load("hf://me/my50")
    assert not [name for name, _ in hub.fetched if "/frames-" in name]
    same(load("reasonshapes/valid", shapes), remote, frames="pixels")
    assert isinstance(remote.store, HubStore) and remote.store.commit == hub.repos["me/my50"].head
    n = len(hub.fetched)
    same(load("reasonshapes/valid", shapes), load("hf://me/my50/valid"), frames="pixels")
    assert len(hub.fetched) == n, "everything is in the cache"


def test_streams_into_the_evaluator(hub: FakeHub, shapes: Path, tmp_path: Path) -> None:
    folder = load("reasonshapes/valid", shapes)
    masks = shifted_masks(folder, tmp_path / "masks")
    ours = evaluate(masks, folder, out=tmp_path / "a", workers=1)
    hub.faults["valid/videos-00000.parquet"] = ["429", "drop"]
    theirs = evaluate(masks, "hf://me/my50", out=tmp_path / "b", workers=1)
    assert [(s.J, s.F) for s in ours.scores] == [(s.J, s.F) for s in theirs.scores]
    assert not [name for name, _ in hub.fetched if "/frames-" in name], "scoring needs no images"


def test_dropped_connections_and_full_servers(hub: FakeHub, shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What has come before the connection ends is kept in whole chunks.
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 256)
    hub.faults["info"] = ["drop", "503"]
    hub.faults["valid/videos-00000.parquet"] = ["429", "drop", "503"]
    hub.faults["valid/frames-00001.parquet"] = ["drop"]
    same(load("reasonshapes/valid", shapes), load("hf://me/my50"), frames="pixels")
    assert [wanted for name, wanted in hub.fetched if wanted], "went on where it stopped"


def test_wrong_contents(hub: FakeHub, exported: Path, shapes: Path, tmp_path: Path) -> None:
    hub.faults["valid/videos-00000.parquet"] = ["corrupt"]
    same(load("reasonshapes/valid", shapes), load("hf://me/my50"), frames="pixels")
    other = shutil.copytree(exported, tmp_path / "other")
    record = json.loads((other / "valid/rvos.json").read_text())
    record["files"]["valid/videos-00000.parquet"] = "0" * 64
    (other / "valid/rvos.json").write_text(json.dumps(record))
    hub.put("me/other", other)
    with pytest.raises(DatasetError, match=r"videos-00000.parquet: not the file that the export's record names"):
        load("hf://me/other")


def test_what_the_hub_does_not_have(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DatasetError, match="hf://me/none: the hub refuses it"):
        open_hub("hf://me/none")
    with pytest.raises(DatasetError, match="hf://me/my50: the hub refuses it"):
        open_hub("hf://me/my50@gone")
    hub.create("me/plain")
    hub.commit("me/plain", {"data.zip": b"PK"})
    with pytest.raises(DatasetError, match="holds no export of rvos"):
        open_hub("hf://me/plain")
    with pytest.raises(UsageError, match="no split train"):
        open_hub("hf://me/my50/train")
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    with pytest.raises(DatasetError, match="log in where it is private"):
        open_hub("hf://me/my50")


def test_a_hub_that_never_answers(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.faults["info"] = ["503"] * 99
    with pytest.raises(DatasetError, match="5 attempts\\); the same command continues"):
        open_hub("hf://me/my50")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(DatasetError, match="5 attempts"):
        open_hub("hf://me/my50")


# Into a folder --------------------------------------------------------------------------------------------------------


def test_download_of_all_files(hub: FakeHub, tmp_path: Path) -> None:
    hub.faults["valid/frames-00002.parquet"] = ["drop"]
    hub.faults["README.md"] = ["429"]
    commit, paths = download("hf://me/my50", tmp_path / "copy")
    assert commit == hub.repos["me/my50"].head and len(paths) == len(hub.files("me/my50")) + 1
    for name, data in hub.files("me/my50").items():
        assert (tmp_path / "copy" / name).read_bytes() == data
    hub.fetched.clear()
    (tmp_path / "copy/valid/frames-00001.parquet").write_bytes(b"damaged")
    (tmp_path / "copy/README.md").write_bytes(b"damaged")
    download("hf://me/my50", tmp_path / "copy")
    assert sorted(f for f, _ in hub.fetched) == ["README.md", "valid/frames-00001.parquet"], "only the damaged ones"
    only, paths = download("hf://me/my50/valid", tmp_path / "valid")
    assert {p.relative_to(tmp_path / "valid").parts[0] for p in paths} == {"valid"} and only == commit


def test_wrong_checksums_are_found(hub: FakeHub, tmp_path: Path) -> None:
    hub.faults["valid/frames-00001.parquet"] = ["corrupt"]
    download("hf://me/my50", tmp_path / "once")  # and fetched again
    assert [f for f, _ in hub.fetched].count("valid/frames-00001.parquet") == 2
    hub.faults["valid/frames-00001.parquet"] = ["corrupt", "corrupt"]
    with pytest.raises(DatasetError, match=r"frames-00001.parquet: not the file .*SHA-256 differs\), twice"):
        download("hf://me/my50", tmp_path / "twice")
    assert not list((tmp_path / "twice").rglob("*frames-00001*")), "nothing of it is kept"


def test_goes_on_with_the_same_commit_at_the_same_byte(hub: FakeHub, tmp_path: Path) -> None:
    """A process that ends in the middle of a file, and a branch that moves before the next one."""
    name = "valid/videos-00000.parquet"
    first, data = hub.repos["me/my50"].head, hub.files("me/my50")[name]
    out = tmp_path / "copy"
    hub.faults[name] = ["503"] * 99
    with pytest.raises(DatasetError, match="the same command continues"):
        download("hf://me/my50", out)
    assert not (out / name).exists()
    (out / f"{name.rsplit('/', 1)[0]}/.videos-00000.parquet.part").write_bytes(data[:1000])
    hub.faults.clear()
    hub.fetched.clear()
    hub.commit("me/my50", {name: b"of another version"})
    commit, _ = download("hf://me/my50", out)
    assert commit == first and (out / name).read_bytes() == data
    assert [wanted for f, wanted in hub.fetched if f == name] == ["bytes=1000-"]
    newest, _ = download("hf://me/my50", tmp_path / "newest")
    assert newest != first and (tmp_path / "newest" / name).read_bytes() == b"of another version"
    pinned, _ = download(f"hf://me/my50@{first}", tmp_path / "pinned")
    assert pinned == first and (tmp_path / "pinned" / name).read_bytes() == data


def test_names_that_leave_the_folder(hub: FakeHub, tmp_path: Path) -> None:
    hub.create("me/evil")
    hub.commit("me/evil", {"../evil.txt": b"x"})
    with pytest.raises(DatasetError, match=r"the file name '../evil.txt' points outside"):
        download("hf://me/evil", tmp_path / "out")
    assert not (tmp_path / "evil.txt").exists()


def test_no_room(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10})())
    with pytest.raises(DatasetError, match=r"GB to fetch, 0.0 GB free"):
        download("hf://me/my50", tmp_path / "out")


# Sending --------------------------------------------------------------------------------------------------------------


def test_push_resumes_and_is_private(hub: FakeHub, exported: Path, shapes: Path) -> None:
    hub.faults["create"] = ["503"]
    hub.faults["PUT"] = ["503", "drop"]
    hub.faults["commit"] = ["drop"]
    url, n_sent, n_there = push(exported, "me/pushed")
    assert url.endswith("/me/pushed") and hub.repos["me/pushed"].private
    sent = {p.relative_to(exported).as_posix(): p.read_bytes() for p in exported.rglob("*") if p.is_file()}
    assert hub.files("me/pushed") == sent and (n_sent, n_there) == (len(sent), 0)
    last = list(hub.repos["me/pushed"].commits.values())[-1]
    assert list(last)[-1] == "valid/rvos.json", "an export on its way cannot be opened"
    hub.commit("me/pushed", {}, deleted=("valid/frames-00000.parquet",))
    assert push(exported, "me/pushed")[1:] == (1, len(sent) - 1)
    assert push(exported, "me/pushed")[1:] == (0, len(sent))
    same(load("reasonshapes/valid", shapes), load("hf://me/pushed"), frames="pixels")
    with pytest.raises(UsageError, match="holds no export"):
        push(shapes, "me/pushed")


def test_push_stopped_half_way(hub: FakeHub, exported: Path) -> None:
    hub.faults["commit"] = [*[""] * 3, *["503"] * 5]
    with pytest.raises(DatasetError, match="the same command continues"):
        push(exported, "me/half")
    with pytest.raises(DatasetError, match="holds no export"):
        load("hf://me/half")
    _, n_sent, n_there = push(exported, "me/half", private=False)
    assert n_there == 3 and n_sent > 3
    assert hub.repos["me/half"].private, "one that exists keeps its setting"


def test_push_without_the_right(hub: FakeHub, exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    with pytest.raises(DatasetError, match="log in"):
        push(exported, "me/other")
    assert TOKEN not in str(hub.repos) and "me/other" not in hub.repos
    with pytest.raises(UsageError, match="expected hf://owner/name"):
        push(exported, "my50")


# Mirrors --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RVOS_CACHE", str(tmp_path / "own-cache"))
    return tmp_path / "own-cache"


def zipped(folder: Path, *names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            for file in sorted((folder / name).rglob("*")):
                if file.is_file():
                    archive.write(file, file.relative_to(folder))
    return buffer.getvalue()


def test_a_mirror_of_videos_and_rle(hub: FakeHub, shapes: Path, tmp_path: Path, own_cache: Path) -> None:
    """As lmms-eval reads it: a table with a row a sentence, zips of mp4 files and of a JSON file a mask."""
    pytest.importorskip("av", reason="video files need pip install 'rvos[video]'")
    import pyarrow
    from pyarrow import parquet

    folder = load("reasonshapes/valid", shapes)
    convert(folder, "mp4-rle", tmp_path / "mp4", crf=0)
    ours = load("mp4-rle", tmp_path / "mp4")
    rows = [
        {"id": f"reasonvos_track_{k}", "qid": k, "video": s.video.id, "expression": s.expression.text, "fps": 6}
        | {"height": 36, "width": 48, "n_frames": 4, "mask_ids": list(s.expression.object_ids), "sampling_fps": 1}
        for k, s in enumerate(ours)
    ]
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), buffer)
    hub.create("kcz358/RVOS-ReasonVOS")
    files = {f"{name}.zip": zipped(tmp_path / "mp4", name) for name in ("videos", "masks")}
    hub.commit("kcz358/RVOS-ReasonVOS", {"data/valid-00000-of-00001.parquet": buffer.getvalue(), **files})
    hub.faults["masks.zip"] = ["drop"]
    mirror = load("hf://kcz358/RVOS-ReasonVOS/valid")
    assert [s.expression.text for s in mirror] == [s.expression.text for s in folder]
    assert [masks_of(mirror.ground_truth(s)) for s in mirror] == [masks_of(ours.ground_truth(s)) for s in ours]
    assert np.array_equal(mirror.videos[1].frames(), folder.videos[1].frames())
    hub.fetched.clear()
    load("hf://kcz358/RVOS-ReasonVOS")
    assert not hub.fetched, "it is in the cache"


def test_mirrors_of_archives(hub: FakeHub, layouts: Path, tmp_path: Path, own_cache: Path) -> None:
    hub.create("FudanCVL/MeViSv2")
    root = layouts / "mevis"
    whole = {"valid_u.zip": zipped(root, "valid_u"), "MeViS_release/train.zip": zipped(root, "train")}
    hub.commit("FudanCVL/MeViSv2", {**whole, "README.md": b"hello"})
    same(load("mevis/valid_u", root), load("hf://FudanCVL/MeViSv2/valid_u"))
    with pytest.raises(UsageError, match="several splits"):
        load("hf://FudanCVL/MeViSv2")
    hub.create("iSEE-Laboratory/Long-RVOS")
    long = tmp_path / "long"
    write("long-rvos", long, generate("valid", 2, 0, **SIZE, n_sentences=2, kinds=("attribute",)), split="valid")
    tars = {}
    for part in ("JPEGImages", "Annotations"):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            archive.add(long / "valid" / part, part)
        tars[f"valid/{part}.tar.gz"] = buffer.getvalue()
    meta = {"valid/meta_expressions.json": (long / "valid/meta_expressions.json").read_bytes()}
    hub.commit("iSEE-Laboratory/Long-RVOS", {**tars, **meta})
    same(load("long-rvos/valid", long), load("hf://iSEE-Laboratory/Long-RVOS/valid"))
    assert run("datasets", "download", "mevis", "--out", tmp_path / "data/mevis") == 0
    same(load("mevis/valid_u", root), load("mevis/valid_u", tmp_path / "data/mevis"))
    assert sorted(p.name for p in (tmp_path / "data").iterdir()) == ["mevis"]
    hub.commit("FudanCVL/MeViSv2", {"more.zip": b"no archive at all"})
    with pytest.raises(DatasetError, match=r"more.zip: is no zip and no tar archive"):
        load("hf://FudanCVL/MeViSv2/train")


# Projects -------------------------------------------------------------------------------------------------------------


def project(folder: Path, frames: Path) -> Path:
    """Two clips with a sentence each that counts; the frames of the second may not be passed on."""
    from rvos.datasets.annotation import native
    from rvos.datasets.masks import encode_rle

    head = native.Head(name="my50", title="My fifty", description="Boxes.", annotations_licence="CC BY 4.0")
    with native.Writer(folder, head) as writer:
        for number in range(2):
            box = np.zeros((36, 48), bool)
            box[5:20, 5 + number : 30] = True
            source = {"collection": "own recording", "licence": "CC BY 4.0", "consent": "nobody is seen"}
            clip = native.Clip(
                id=f"clip{number}",
                height=36,
                width=48,
                frames=[native.Frame(name=f"{t:05d}", suffix=".png") for t in range(3)],
                source=native.Source(**source, may_copy_frames=number == 0),
                objects=[native.Object(id="1", spans=[native.Span(first=0, last=2, origin="human")])],
                expressions=[
                    native.Expression(id="e1", text="the box", object_ids=["1"]),
                    native.Expression(id="e2", text="a draft", object_ids=["1"], state="draft"),
                ],
            )
            writer.add(clip, {"1": [encode_rle(box)] * 3}, FrameFolder(frames))
    return folder


def test_from_the_workbench_to_a_score(
    hub: FakeHub, tmp_path: Path, own_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Project, push, evaluate: no code."""
    frames = tmp_path / "frames"
    frames.mkdir()
    for t in range(3):
        Image.new("RGB", (48, 36), (40 * t, 0, 0)).save(frames / f"{t:05d}.png")
    folder = project(tmp_path / "my50", frames)
    hub.faults["commit"] = ["", *["503"] * 9]
    assert run("datasets", "push", folder, "me/boxes") == 2 and "the same command continues" in capsys.readouterr().err
    hub.faults.clear()
    assert run("datasets", "push", folder, "me/boxes") == 0
    told = capsys.readouterr().out
    assert "frames of clip1 are not passed on: its licence (CC BY 4.0) does not allow" in told
    assert hub.repos["me/boxes"].private and not list(own_cache.glob("publishing/*"))
    remote = load("hf://me/boxes")
    here = load(folder)
    assert [s.key for s in remote] == [s.key for s in here] == ["clip0/e1", "clip1/e1"]
    assert [masks_of(remote.ground_truth(s)) for s in remote] == [masks_of(here.ground_truth(s)) for s in here]
    assert remote.name == "my50" and np.array_equal(remote.videos[0].frames(), here.videos[0].frames())
    assert remote.videos[1].source is None
    assert run("datasets", "export", folder, "--out", tmp_path / "export", "--json") == 0
    exported = json.loads(capsys.readouterr().out)
    assert exported["n_frames"] == 3 and list(exported["withheld"]) == ["clip1"]
    masks = shifted_masks(here, tmp_path / "masks")
    words = ("--predictions", masks, "--out", tmp_path / "run", "--json", "--no-bounds")
    assert run("evaluate", "hf://me/boxes", *words) == 0
    assert json.loads(capsys.readouterr().out)["protocol"]["id"] == "expressions@1"
    download("hf://me/boxes/annotation", tmp_path / "back")
    assert [s.key for s in load(tmp_path / "back/annotation")] == [s.key for s in here]
    page = hub.files("me/boxes")["README.md"].decode()
    assert "# My fifty" in page and "| clip1 | own recording | CC BY 4.0 | nobody is seen | no |" in page


# Commands -------------------------------------------------------------------------------------------------------------


def test_commands(hub: FakeHub, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = ("reasonshapes/valid", "--root", shapes)
    assert run("datasets", "export", *source, "--out", tmp_path / "out", "--json") == 0
    assert json.loads(capsys.readouterr().out)["n_videos"] == 4
    assert run("datasets", "export", *source, "--out", tmp_path / "out") == 2
    assert "Already there" in capsys.readouterr().err
    assert run("datasets", "export", *source, "--to", "csv", "--out", tmp_path / "o") == 2
    assert run("datasets", "export", *source, "--to", "hub", "--repo", "me/at-once", "--public") == 0
    assert not hub.repos["me/at-once"].private and len(load("hf://me/at-once")) == len(load(*map(str, source[::2])))
    assert run("datasets", "export", *source, "--to", "hub", "--out", tmp_path / "o") == 2
    assert run("datasets", "push", tmp_path / "out", "me/by-command") == 0
    masks = shifted_masks(load("reasonshapes/valid", shapes), tmp_path / "masks")
    words = ("--predictions", masks, "--out", tmp_path / "run", "--workers", "1", "--no-bounds", "--json")
    capsys.readouterr()
    assert run("evaluate", "hf://me/by-command", *words) == 0
    assert json.loads(capsys.readouterr().out)["dataset"]["name"] == "reasonshapes"
    assert run("datasets", "download", "hf://me/by-command", "--out", tmp_path / "copy", "--json") == 0
    assert json.loads(capsys.readouterr().out)["commit"] == hub.repos["me/by-command"].head
    same(load("reasonshapes/valid", shapes), load("reasonshapes/valid", tmp_path / "copy"), frames="pixels")


_SCORE = """
import json, sys
from pathlib import Path
import rvos
name, root, masks, out = sys.argv[1:]
result = rvos.evaluate(masks, rvos.load(name, root or None), out=out, workers=1, bounds=False)
(peak,) = [int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
print(json.dumps({"scores": [[s.J, s.F] for s in result.scores], "peak_mb": peak / 1024}))
"""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
def test_a_thousand_samples_in_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a folder, from its export, and from the hub: the same scores; half a minute."""
    write("reasonvos", tmp_path / "src", generate("train", 170, 0, **SIZE, n_sentences=6))
    folder = load("reasonshapes/train", tmp_path / "src")
    assert len(folder) >= 1000
    export_parquet(folder, tmp_path / "out")
    masks = shifted_masks(folder, tmp_path / "masks")
    found = {}
    with FakeHub().serving() as served:
        served.put("me/my1000", tmp_path / "out")
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        for name, root in (
            ("reasonshapes/train", tmp_path / "src"),
            ("reasonshapes/train", tmp_path / "out"),
            ("hf://me/my1000", ""),
        ):
            words = [name, str(root), str(masks), str(tmp_path / f"run{len(found)}")]
            done = subprocess.run([sys.executable, "-c", _SCORE, *words], capture_output=True, text=True, check=True)
            found[f"{name} {root}"] = json.loads(done.stdout.splitlines()[-1])
    first, *others = found.values()
    print({place: round(f["peak_mb"]) for place, f in found.items()})
    assert len(first["scores"]) == len(folder)
    for other in others:
        assert other["scores"] == first["scores"]
        assert other["peak_mb"] < first["peak_mb"] + 150, "pyarrow itself takes some 60"
