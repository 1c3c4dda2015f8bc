from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from rvos.datasets.errors import UnknownNameError, UsageError
from rvos.datasets.types import Expression
from rvos.videolisa import prompts
from rvos.videolisa.modeling import IMAGE_TOKEN
from rvos.videolisa.processor import Pixels, Processor
from rvos.videolisa.tokenizer import Tokenizer


def test_pattern_of_a_conversation(tiny: Any) -> None:
    """BOS, ▁, <|system|>, text, <|end|>, <|user|>, video, ▁, newline byte, question, … as the released ids go."""
    processor, tokenizer = tiny.processor, tiny.processor.tokenizer
    ids = processor.input_ids(prompts.conversation("Please segment the cat in this image.")).tolist()
    lone = tokenizer._pieces.piece_to_id("▁")
    newline = tokenizer._pieces.piece_to_id("<0x0A>")
    end, system = tokenizer.token_id("<|end|>"), tokenizer.token_id("<|system|>")
    assert ids[:3] == [tokenizer.bos_id, lone, system]
    place = ids.index(IMAGE_TOKEN)
    assert ids[place - 2 : place + 3] == [end, tokenizer.token_id("<|user|>"), IMAGE_TOKEN, lone, newline]
    assert newline not in [*ids[: place + 2], *ids[place + 3 :]], "tags swallow the newlines behind them"
    assert ids[-4:] == [lone, tokenizer.seg_id, tokenizer._pieces.piece_to_id("."), end]
    assert ids.count(tokenizer.bos_id) == 1


def test_seg_is_the_last_id_of_its_own_text(tiny: Any) -> None:
    tokenizer = tiny.processor.tokenizer
    assert tokenizer.encode("[SEG]")[-1] == tokenizer.seg_id == tokenizer.added["[SEG]"].id == len(tokenizer) - 1


@pytest.mark.parametrize("text", ["a quick brown fox", "Sure, it is there.", "größer als 5€ 🦊", "two  spaces"])
def test_decode_gives_the_text_back(tiny: Any, text: str) -> None:
    tokenizer = tiny.processor.tokenizer
    assert tokenizer.decode(tokenizer.encode(text, bos=False)) == text
    assert tokenizer.decode([*tokenizer.encode(text, bos=False), tokenizer.token_id("<|end|>")]) == text
    assert tokenizer.decode(tokenizer.encode(f"{text} [SEG]", bos=False)) == f"{text} [SEG]"


def test_empty_text_and_missing_files(tiny: Any, tmp_path: Path) -> None:
    assert tiny.processor.tokenizer.encode("") == [tiny.processor.tokenizer.bos_id]
    with pytest.raises(UsageError, match=r"No tokenizer\.model"):
        Tokenizer(tmp_path)
    with pytest.raises(UsageError, match="once"):
        tiny.processor.input_ids("no video here")


def test_prefix_disappears_before_a_named_token(tiny: Any) -> None:
    tokenizer = tiny.processor.tokenizer
    assert tokenizer.encode("<|endoftext|>x")[1] == tokenizer.eos_id
    assert tokenizer.encode("<|end|>x")[1] != tokenizer.token_id("<|end|>")


def test_questions() -> None:
    assert prompts.question("The Dog", "reasonvos-phrase") == "Please segment the the dog in this scene."
    assert prompts.question("The Dog", "referring") == "Please segment the the dog in this image."
    assert prompts.question("Who?", "reasonvos-sentence") == "Who?. Please output the segmentation masks."
    assert prompts.question("{x}", "chat") == "{x}"
    with pytest.raises(UnknownNameError):
        prompts.question("x", "mevis")
    assert prompts.template_for(Expression("0", "x", kind="reasoning", is_sentence=False)) == "reasonvos-phrase"


@pytest.mark.parametrize(("height", "width"), [(480, 854), (854, 480), (336, 336), (100, 40), (37, 1000)])
def test_image_geometry(tiny: Any, height: int, width: int) -> None:
    processor = Processor(tiny.processor.tokenizer, Pixels())
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    assert processor.clip_image(frame).shape == (336, 336, 3)
    assert processor.clip_pixels(frame).shape == (3, 336, 336)
    short = processor.sam_size(height, width)
    assert max(short) == 1024
    assert short[0] == int(height * 1024 / max(height, width) + 0.5)
    pixels = processor.sam_pixels(frame)
    assert pixels.shape == (3, 1024, 1024) and pixels.dtype == torch.float32
    assert (pixels[:, short[0] :] == 0).all() and (pixels[:, :, short[1] :] == 0).all()
    assert (pixels[:, : short[0], : short[1]] != 0).any()


def test_wide_frames_lose_their_sides_in_clip(tiny: Any) -> None:
    processor = Processor(tiny.processor.tokenizer, Pixels(clip_size=40))
    frame = np.zeros((40, 100, 3), np.uint8)
    frame[:, 30:70] = 255
    assert (processor.clip_image(frame) == 255).all()
    taller = frame.transpose(1, 0, 2)
    assert (processor.clip_image(np.ascontiguousarray(taller)) == 255).all()


def test_sam_image_is_pillows_bilinear(tiny: Any) -> None:
    processor = tiny.processor
    frame = np.random.default_rng(1).integers(0, 256, (30, 50, 3), np.uint8)
    expected = np.asarray(Image.fromarray(frame).resize((64, 38), Image.Resampling.BILINEAR))
    assert np.array_equal(processor.sam_image(frame), expected)


def test_processor_round_trip(tiny: Any, tmp_path: Path) -> None:
    tiny.processor.save(tmp_path)
    assert Processor.load(tmp_path).pixels == tiny.processor.pixels
    (tmp_path / "processor_config.json").unlink()
    with pytest.raises(UsageError, match="processor_config"):
        Processor.load(tmp_path)
