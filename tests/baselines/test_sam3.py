"""SAM 3 with a sentence as its prompt, tiny and random, through its real loading code. About 6 s."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="SAM 3 needs torch (pip install 'rvos[models]')")
transformers = pytest.importorskip("transformers", reason="SAM 3 needs transformers (pip install 'rvos[models]')")
if not hasattr(transformers, "Sam3VideoModel"):
    pytest.skip("this transformers has no SAM 3 video model", allow_module_level=True)

import tinymodels  # noqa: E402
from toyset import HEIGHT, WIDTH, ToyDataset  # noqa: E402

from rvos.baselines.registry import make_predictor  # noqa: E402
from rvos.baselines.sam3 import PROMPT_LENGTH, Sam3, _union  # noqa: E402
from rvos.benchmarks.answers import ask  # noqa: E402
from rvos.datasets.types import Expression  # noqa: E402
from rvos.videolisa.checkpoints import CheckpointError  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tinymodels.tiny_sam3_folder(tmp_path_factory.mktemp("sam3"))


def test_end_to_end_and_deterministic(folder: Path) -> None:
    data = ToyDataset(1)
    video = replace(data.videos[0], frame_names=data.videos[0].frame_names[:2])
    expressions = [data[0].expression]
    first, again = (ask(make_predictor(f"sam3:{folder}"), video, expressions)[0] for _ in range(2))
    assert first.verdict(video) == ("ok", "") and len(first.rles) == 2 and first.rles == again.rles
    assert all(rle is not None and rle["size"] == [HEIGHT, WIDTH] for rle in first.rles) and not all(first.empty)


class Half(torch.nn.Module):
    """In place of SAM 3: sees the left half where the prompt begins with ``l``, else all; nothing at first."""

    device, dtype = torch.device("cpu"), torch.float32
    config = SimpleNamespace(
        detector_config=SimpleNamespace(image_size=56),
        tracker_config=SimpleNamespace(num_maskmem=7, max_object_pointers_in_encoder=16),
    )

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[torch.Tensor] = []
        self.prompts: set[str] = set()

    def forward(self, inference_session: Any, frame: torch.Tensor, frame_idx: int) -> Any:
        inference_session.add_new_frame(frame, frame_idx)
        self.frames.append(frame)
        ids, mask = inference_session.prompt_input_ids[0][0], inference_session.prompt_attention_masks[0][0]
        assert len(ids) == len(mask) == PROMPT_LENGTH
        prompt = "".join(chr(letter) for letter in ids[mask == 1])
        self.prompts.add(prompt)
        logits = torch.full((1, 4, 4), -1.0)
        logits[..., : 2 if prompt[0] == "l" else 4] = 1.0
        seen = {0: logits} if frame_idx else {}
        return SimpleNamespace(obj_id_to_mask=seen, removed_obj_ids=None, suppressed_obj_ids=None)


def spell(text: str, return_tensors: str, padding: str, truncation: bool, max_length: int) -> Any:
    """A tokenizer of letters."""
    assert (return_tensors, padding, truncation) == ("pt", "max_length", True)
    ids = [ord(letter) for letter in text[:max_length]]
    left = max_length - len(ids)
    return SimpleNamespace(
        input_ids=torch.tensor([ids + [0] * left]), attention_mask=torch.tensor([[1] * len(ids) + [0] * left])
    )


def test_the_words_and_the_frames_reach_the_model_and_its_masks_come_back() -> None:
    video, model = ToyDataset(1).videos[0], Half()
    found = list(Sam3(model, spell).segment(video, [Expression("0", "left"), Expression("1", "e")]))
    assert [(name, index) for name, index, _ in found] == [(name, index) for name in "01" for index in range(5)]
    assert model.prompts == {"left", "e"}
    masks = {(name, index): mask for name, index, mask in found}
    assert not masks["0", 0].any() and not masks["1", 0].any()
    assert masks["0", 1][:, : WIDTH // 2 - 8].all() and not masks["0", 1][:, WIDTH // 2 + 8 :].any()
    assert masks["1", 4].all() and all(mask.shape == (HEIGHT, WIDTH) for mask in masks.values())
    assert all(frame.shape == (3, 56, 56) and -1 <= frame.min() < frame.max() <= 1 for frame in model.frames)
    assert not torch.equal(model.frames[0], model.frames[4]) and torch.equal(model.frames[0], model.frames[5])


def test_hidden_instances_are_left_out_and_none_is_empty() -> None:
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
