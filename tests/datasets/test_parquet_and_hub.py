"""Parquet exports read as the folders they came from, here and from a hub that fails in every way a hub does."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fakehub import FakeHub
from toyset import ToyDataset

from rvos.benchmarks.evaluator import choose_protocols, evaluate
from rvos.benchmarks.predictions import export_masks
from rvos.benchmarks.predictions.memory import MemoryPredictions
from rvos.cli import main
from rvos.datasets import hub as hub_module
from rvos.datasets.conversion import convert
from rvos.datasets.errors import DatasetError, ProtocolError, UsageError
from rvos.datasets.hub import HubStore, download, open_hub, parse, push
from rvos.datasets.parquet import export_parquet, open_export
from rvos.datasets.reasonshapes import generate, write
from rvos.datasets.registry import load
from rvos.datasets.types import Masklet, RVOSDataset

pytest.importorskip("pyarrow", reason="parquet needs pip install 'rvos[hub]'")
pytest.importorskip("huggingface_hub", reason="the hub needs pip install 'rvos[hub]'")

PACKS = Path(__file__).resolve().parents[3] / "shared" / "packs"
SIZE = {"height": 36, "width": 48, "n_frames": 4}


def arrays(masklet: Masklet | None) -> list[object] | None:
    if masklet is None:
        return None
    both = [(masklet.mask(i), masklet.void(i)) for i in range(len(masklet))]
    return [[None if m is None else (m.shape, np.packbits(m).tobytes()) for m in pair] for pair in both]


def same(a: RVOSDataset, b: RVOSDataset, *, frames: bool = True) -> None:
    assert (a.id, a.version, len(a)) == (b.id, b.version, len(b))
    for ours, theirs in zip(a, b, strict=True):
        assert (ours.key, ours.expression) == (theirs.key, theirs.expression)
        assert a.prediction_path(ours) == b.prediction_path(theirs)
        assert arrays(a.ground_truth(ours)) == arrays(b.ground_truth(theirs))
    for first, second in zip(a.videos, b.videos, strict=True):
        assert (first.frame_names, first.size, first.fps) == (second.frame_names, second.size, second.fps)
        assert {i: arrays(m) for i, m in a.objects(first).items()} == {
            i: arrays(m) for i, m in b.objects(second).items()
        }
        if frames:
            assert np.array_equal(first.frames(), second.frames())


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hub") / "shapes"
    write("reasonvos", root, generate("valid", 4, 0, **SIZE))
    return root


@pytest.fixture(scope="module")
def exported(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "shapes"
    export_parquet(load("reasonshapes/valid", shapes), out, shard_bytes=4000)
    return out


def test_an_export_is_the_dataset(shapes: Path, exported: Path, tmp_path: Path) -> None:
    folder, parquet = load("reasonshapes/valid", shapes), load("reasonshapes/valid", exported)
    same(folder, parquet)
    assert len(list(exported.glob("valid/frames-*.parquet"))) > 1, "new files between videos"
    same(folder, pickle.loads(pickle.dumps(parquet)))
    frame = folder.videos[2].source.path("00003").read_bytes()
    assert parquet.videos[2].source.encoded("00003") == (frame, ".jpg")
    with pytest.raises(DatasetError, match="an export of reasonshapes, not of mevis"):
        load("mevis/valid", exported)
    with pytest.raises(UsageError, match="no split test"):
        load("reasonshapes/test", exported)
    export_parquet(ToyDataset(), tmp_path / "toy")
    same(ToyDataset(), load("toy/test", tmp_path / "toy"))  # no loader of that name is needed


def test_back_to_a_layout(shapes: Path, exported: Path, tmp_path: Path) -> None:
    done = convert(load("reasonshapes/valid", exported), "reasonvos", tmp_path / "back")
    assert done.lossless and done.n_copied == 16
    back = load("reasonshapes/valid", done.root)
    for video, other in zip(load("reasonshapes/valid", shapes).videos, back.videos, strict=True):
        for name in video.frame_names:
            assert video.source.path(name).read_bytes() == other.source.path(name).read_bytes()


def test_hugging_face_reads_it(exported: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="needs pip install 'rvos[hub]'")
    files = str(exported / "valid/frames-*.parquet")
    rows = datasets.load_dataset("parquet", data_files=files, split="train", streaming=True, cache_dir=str(tmp_path))
    first = next(iter(rows))
    assert first["image"].size == (48, 36) and first["video_id"].startswith("valid-")
    assert "config_name: frames" in (exported / "README.md").read_text()


@pytest.mark.skipif(not PACKS.is_dir(), reason="the packs of real masks are not beside the repository")
@pytest.mark.parametrize(
    ("name", "folder"), [("reasonvos", "reasonvos"), ("mevis/valid_u", "mevis"), ("davis/val", "ref_davis17")]
)
def test_packs(name: str, folder: str, tmp_path: Path) -> None:
    dataset = load(name, PACKS / folder)
    export_parquet(dataset, tmp_path / "out", frames=False)
    exported = load(name, tmp_path / "out")
    same(dataset, exported, frames=False)
    if dataset.name == "ref-davis17":  # its protocols read label maps
        with pytest.raises(ProtocolError, match="rvos datasets convert ref-davis17/valid"):
            choose_protocols("davis17-hungarian-4ann@1", exported)


def test_scores_are_those_of_the_folder(shapes: Path, exported: Path, tmp_path: Path) -> None:
    folder, parquet = load("reasonshapes/valid", shapes), load("reasonshapes/valid", exported)
    masks = shifted(folder, tmp_path / "masks")
    scores = [
        evaluate(masks, data, out=tmp_path / name, workers=1, bounds=False)
        for name, data in (("a", folder), ("b", parquet))
    ]
    assert [s.J for s in scores[0].scores] == [s.J for s in scores[1].scores]
    assert [s.F for s in scores[0].scores] == [s.F for s in scores[1].scores] and len(scores[0].scores) == len(folder)


def shifted(dataset: RVOSDataset, out: Path) -> Path:
    predictions = MemoryPredictions()
    for sample in dataset:
        truth = dataset.ground_truth(sample)
        assert truth is not None
        for index in range(len(sample.video)):
            predictions.update(sample, index, np.roll(truth.mask(index), 2, axis=1))
    export_masks(predictions, dataset, out)
    return out


# The hub --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from huggingface_hub import constants

    shutil.copytree(exported, tmp_path / "repos/me/my50")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub_module, "_WAIT", 0.01)
    hub_module._checked.cache_clear()
    with FakeHub(tmp_path / "repos").serving() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        yield served


def test_names() -> None:
    assert parse("hf://me/my50") == ("me/my50", None, None)
    assert parse("hf://me/my50@v1/valid") == ("me/my50", "v1", "valid")
    for name in ("hf://me", "hf://", "hf://a/b/c/d", "hf://../x"):
        with pytest.raises(UsageError, match="expected hf://owner/name"):
            parse(name)


def test_opened_in_place_and_fetched_when_needed(hub: FakeHub, shapes: Path) -> None:
    remote = load("hf://me/my50")
    assert not [name for name, _ in hub.fetched if "/frames-" in name]
    same(load("reasonshapes/valid", shapes), remote)
    assert isinstance(remote.store, HubStore) and len(remote.store.commit) == 40
    n = len(hub.fetched)
    same(load("reasonshapes/valid", shapes), load("hf://me/my50/valid"))
    assert len(hub.fetched) == n, "everything is in the cache"


def test_dropped_connections_and_full_servers(hub: FakeHub, shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What has come before the connection ends is kept in whole chunks.
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 256)
    hub.faults["valid/videos-00000.parquet"] = ["429", "drop", "503"]
    hub.faults["valid/frames-00001.parquet"] = ["drop"]
    same(load("reasonshapes/valid", shapes), load("hf://me/my50"))
    resumed = [wanted for name, wanted in hub.fetched if wanted not in ("", "bytes=0-")]
    assert resumed and all(wanted.startswith("bytes=") for wanted in resumed)


def test_wrong_contents(hub: FakeHub, shapes: Path) -> None:
    hub.faults["valid/videos-00000.parquet"] = ["corrupt"]
    same(load("reasonshapes/valid", shapes), load("hf://me/my50"))
    hub_module._checked.cache_clear()
    path = hub.root / "me/my50/valid/rvos.json"
    record = json.loads(path.read_text())
    record["files"]["valid/videos-00000.parquet"] = "0" * 64
    other = hub.root / "me/other/valid"
    shutil.copytree(path.parent, other)
    (other / "rvos.json").write_text(json.dumps(record))
    with pytest.raises(DatasetError, match=r"videos-00000.parquet: not the file that the export's record names"):
        load("hf://me/other")


def test_what_the_hub_does_not_have(hub: FakeHub) -> None:
    with pytest.raises(DatasetError, match="hf://me/none: the hub refuses it"):
        open_hub("hf://me/none")
    (hub.root / "me/plain").mkdir()
    (hub.root / "me/plain/data.zip").write_bytes(b"PK")
    with pytest.raises(DatasetError, match="holds no export of rvos"):
        open_hub("hf://me/plain")
    with pytest.raises(UsageError, match="no split train"):
        open_hub("hf://me/my50/train")
    hub.faults["valid/rvos.json"] = ["503"] * 99
    with pytest.raises(DatasetError, match="attempts"):
        open_hub("hf://me/my50")


def test_download_of_all_files(hub: FakeHub, tmp_path: Path) -> None:
    hub.faults["valid/frames-00002.parquet"] = ["drop"]
    commit, paths = download("hf://me/my50", tmp_path / "copy")
    assert len(commit) == 40 and len(paths) == len(hub.files("me/my50"))
    for name, path in hub.files("me/my50").items():
        assert (tmp_path / "copy" / name).read_bytes() == path.read_bytes()
    n = len([f for f, _ in hub.fetched if f.endswith(".parquet")])
    (tmp_path / "copy/valid/frames-00001.parquet").write_bytes(b"damaged")
    shutil.rmtree(tmp_path / "copy/.cache", ignore_errors=True)
    download("hf://me/my50", tmp_path / "copy")
    assert len([f for f, _ in hub.fetched if f.endswith(".parquet")]) == n + 1, "only the damaged file comes again"
    hub.faults["valid/frames-00001.parquet"] = ["corrupt"]
    with pytest.raises(DatasetError, match="SHA-256 differs"):
        download("hf://me/my50", tmp_path / "again")
    assert not (tmp_path / "again/valid/frames-00001.parquet").exists()


class FakeApi:
    """What ``push`` asks of ``HfApi``, writing into a fake hub's folder; the third upload fails once."""

    def __init__(self, hub: FakeHub) -> None:
        self.hub, self.private, self.uploads, self.failing = hub, None, [], {3}

    def create_repo(self, repo: str, repo_type: str, private: bool, exist_ok: bool) -> str:
        assert repo_type == "dataset" and exist_ok
        self.private = private
        (self.hub.root / repo).mkdir(parents=True, exist_ok=True)
        return f"{self.hub.url}/datasets/{repo}"

    def dataset_info(self, repo: str, revision: str | None, files_metadata: bool) -> SimpleNamespace:
        info = self.hub.info(repo)
        siblings = [
            SimpleNamespace(rfilename=s["rfilename"], lfs=SimpleNamespace(**s["lfs"]) if "lfs" in s else None)
            for s in info["siblings"]
        ]
        return SimpleNamespace(sha=info["sha"], siblings=siblings)

    def upload_file(
        self, path_or_fileobj: str, path_in_repo: str, repo_id: str, repo_type: str, commit_message: str
    ) -> None:
        self.uploads.append(path_in_repo)
        if len(self.uploads) in self.failing:
            raise OSError("connection reset")
        target = self.hub.root / repo_id / path_in_repo
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path_or_fileobj, target)


def test_push_resumes_and_is_private(
    hub: FakeHub, exported: Path, shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = FakeApi(hub)
    with monkeypatch.context() as patch:
        patch.setattr(hub_module, "_api", lambda: api)
        url, n_sent, n_there = push(exported, "me/pushed")
        assert api.private is True and url.endswith("/me/pushed") and (n_sent, n_there) == (len(set(api.uploads)), 0)
        assert api.uploads[-1] == "valid/rvos.json" and len(api.uploads) == n_sent + 1, "one was sent twice"
        (hub.root / "me/pushed/valid/frames-00000.parquet").unlink()
        api.uploads.clear()
        api.failing.clear()
        push(exported, "me/pushed")
        assert [name for name in api.uploads if name.endswith(".parquet")] == ["valid/frames-00000.parquet"]
        with pytest.raises(UsageError, match="holds no export"):
            push(shapes, "me/pushed")
    same(load("reasonshapes/valid", shapes), load("hf://me/pushed"))


def test_commands(
    hub: FakeHub, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*words: object) -> int:
        with pytest.raises(SystemExit) as ended:
            main([str(w) for w in words])
        return int(ended.value.code or 0)

    source = ("reasonshapes/valid", "--root", shapes)
    assert run("datasets", "export", *source, "--out", tmp_path / "out", "--json") == 0
    assert json.loads(capsys.readouterr().out)["n_videos"] == 4
    assert run("datasets", "export", *source, "--out", tmp_path / "out") == 2
    assert "Already there" in capsys.readouterr().err
    assert run("datasets", "export", *source, "--to", "csv", "--out", tmp_path / "o") == 2
    with monkeypatch.context() as patch:
        patch.setattr(hub_module, "_api", lambda: FakeApi(hub))
        assert run("datasets", "push", tmp_path / "out", "me/by-command") == 0
    masks = shifted(load("reasonshapes/valid", shapes), tmp_path / "masks")
    words = ("--predictions", masks, "--out", tmp_path / "run", "--workers", "1", "--no-bounds", "--json")
    capsys.readouterr()
    assert run("evaluate", "hf://me/by-command", *words) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["dataset"]["name"] == "reasonshapes"
    assert open_export(tmp_path / "out").id == "reasonshapes/valid"


_SCORE = """
import json, sys
from pathlib import Path
import rvos
name, root, masks, out = sys.argv[1:]
result = rvos.evaluate(masks, rvos.load(name, root), out=out, workers=1, bounds=False)
(peak,) = [int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
print(json.dumps({"scores": [[s.J, s.F] for s in result.scores], "peak_mb": peak / 1024}))
"""


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
def test_a_thousand_samples_in_bounded_memory(tmp_path: Path) -> None:
    write("reasonvos", tmp_path / "src", generate("train", 170, 0, **SIZE, n_sentences=6))
    folder = load("reasonshapes/train", tmp_path / "src")
    assert len(folder) >= 1000
    export_parquet(folder, tmp_path / "out")
    masks = shifted(folder, tmp_path / "masks")
    found = []
    for name, root in (("a", tmp_path / "src"), ("b", tmp_path / "out")):
        words = ["reasonshapes/train", str(root), str(masks), str(tmp_path / name)]
        done = subprocess.run([sys.executable, "-c", _SCORE, *words], capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout.splitlines()[-1]))
    assert found[0]["scores"] == found[1]["scores"] and len(found[0]["scores"]) == len(folder)
    print([k["peak_mb"] for k in found])
    assert found[1]["peak_mb"] < found[0]["peak_mb"] + 150, "pyarrow itself takes some 60"
