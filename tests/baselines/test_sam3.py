"""SAM 3 with a sentence as its prompt, tiny and random, through its real loading code. About 6 s."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="SAM 3 needs torch (pip install 'rvos[models]')")
transformers = pytest.importorskip("transformers", reason="SAM 3 needs transformers (pip install 'rvos[models]')")
if not hasattr(transformers, "Sam3VideoModel"):
    pytest.skip("this transformers has no SAM 3 video model", allow_module_level=True)

import tinymodels  # noqa: E402
from toyset import HEIGHT, WIDTH, ToyDataset  # noqa: E402

from rvos.baselines.registry import make_predictor  # noqa: E402
from rvos.benchmarks.answers import ask  # noqa: E402
from rvos.videolisa.checkpoints import CheckpointError  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return tinymodels.tiny_sam3_folder(tmp_path_factory.mktemp("sam3"))


def test_end_to_end_and_deterministic(folder: Path) -> None:
    data = ToyDataset(1)
    video = replace(data.videos[0], frame_names=data.videos[0].frame_names[:3])
    expressions = [data[0].expression]
    first, again = (ask(make_predictor(f"sam3:{folder}"), video, expressions)[0] for _ in range(2))
    assert first.verdict(video) == ("ok", "") and len(first.rles) == 3 and first.rles == again.rles
    assert all(rle is not None and rle["size"] == [HEIGHT, WIDTH] for rle in first.rles) and not all(first.empty)


def test_hidden_instances_are_left_out_and_none_is_empty() -> None:
    from types import SimpleNamespace

    from rvos.baselines.sam3 import _union

    left, right = torch.full((1, 4, 4), -1.0), torch.full((1, 4, 4), -1.0)
    left[..., :2], right[..., 2:] = 1.0, 1.0
    frame = SimpleNamespace(obj_id_to_mask={0: left, 1: right}, removed_obj_ids=set(), suppressed_obj_ids={1})
    assert np.array_equal(_union(frame, (4, 4)), left[0].numpy() > 0)
    frame.suppressed_obj_ids = set()
    assert _union(frame, (8, 8)).all()
    frame.removed_obj_ids = {0, 1}
    assert not _union(frame, (8, 8)).any()


def test_a_wrong_checkpoint_ends_with_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="Sam3VideoModel"):
        make_predictor(f"sam3:{tinymodels.tiny_sam_folder(tmp_path / 'sam')}")
