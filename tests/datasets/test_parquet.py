"""Parquet exports read as the folders they came from. About 4 s."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from samedata import only, same, shifted_masks
from toyset import ToyDataset

from rvos.benchmarks.evaluator import choose_protocols, evaluate
from rvos.datasets.conversion import convert
from rvos.datasets.errors import DatasetError, ProtocolError, UsageError
from rvos.datasets.parquet_export import export_parquet
from rvos.datasets.registry import load
from rvos.datasets.types import RVOSDataset

pytest.importorskip("pyarrow", reason="parquet needs pip install 'rvos[hub]'")

PACKS = Path(__file__).resolve().parents[3] / "shared" / "packs"


def equal(a: RVOSDataset, b: RVOSDataset, frames: str = "pixels") -> None:
    """Nothing at all differs, but where the frames' files are."""
    assert (a.id, a.version) == (b.id, b.version)
    assert [(v.size, v.fps, v.context_names) for v in a.videos] == [(v.size, v.fps, v.context_names) for v in b.videos]
    same(a, b, frames=frames, voids=True)


def test_an_export_is_the_dataset(shapes: Path, exported: Path, tmp_path: Path) -> None:
    folder, parquet = load("reasonshapes/valid", shapes), load("reasonshapes/valid", exported)
    equal(folder, parquet)
    assert len(list(exported.glob("valid/frames-*.parquet"))) > 1, "new files between videos"
    equal(folder, pickle.loads(pickle.dumps(parquet)))
    frame = folder.videos[2].source.path("00003").read_bytes()
    assert parquet.videos[2].source.encoded("00003") == (frame, ".jpg")
    with pytest.raises(DatasetError, match="an export of reasonshapes, not of mevis"):
        load("mevis/valid", exported)
    with pytest.raises(UsageError, match="no split test"):
        load("reasonshapes/test", exported)
    export_parquet(ToyDataset(), tmp_path / "toy")
    equal(ToyDataset(), load("toy/test", tmp_path / "toy"))  # no loader of that name is needed


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
    videos = str(exported / "valid/videos-*.parquet")
    rows = datasets.load_dataset("parquet", data_files=videos, split="train", streaming=True, cache_dir=str(tmp_path))
    first = next(iter(rows))
    assert first["expressions"][0]["text"] and first["targets"][0]["size"] == [36, 48]
    assert "config_name: frames" in (exported / "README.md").read_text()


@pytest.mark.skipif(not PACKS.is_dir(), reason="the packs of real masks are not beside the repository")
@pytest.mark.parametrize(
    ("name", "folder"), [("reasonvos", "reasonvos"), ("mevis/valid_u", "mevis"), ("davis/val", "ref_davis17")]
)
def test_packs(name: str, folder: str, tmp_path: Path) -> None:
    dataset = only(load(name, PACKS / folder), "bmx-trees")
    export_parquet(dataset, tmp_path / "out", frames=False)
    exported = load(name, tmp_path / "out")
    equal(dataset, exported, frames="none")
    if dataset.name == "ref-davis17":  # its protocols read label maps
        with pytest.raises(ProtocolError, match="rvos datasets convert ref-davis17/valid"):
            choose_protocols("davis17-hungarian-4ann@1", exported)


def test_scores_are_those_of_the_folder(shapes: Path, exported: Path, tmp_path: Path) -> None:
    folder, parquet = load("reasonshapes/valid", shapes), load("reasonshapes/valid", exported)
    masks = shifted_masks(folder, tmp_path / "masks")
    scores = [
        evaluate(masks, data, out=tmp_path / name, workers=1, bounds=False)
        for name, data in (("a", folder), ("b", parquet))
    ]
    assert [s.J for s in scores[0].scores] == [s.J for s in scores[1].scores]
    assert [s.F for s in scores[0].scores] == [s.F for s in scores[1].scores] and len(scores[0].scores) == len(folder)
