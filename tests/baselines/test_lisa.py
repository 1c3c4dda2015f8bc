"""LISA in its released layout, tiny and random. About 6 s."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="LISA needs torch (pip install 'rvos[models]')")
pytest.importorskip("sentencepiece", reason="LISA needs sentencepiece (pip install 'rvos[models]')")

from tinymodels import tiny_lisa_folder  # noqa: E402
from toyset import HEIGHT, WIDTH, ToyDataset  # noqa: E402

from rvos.baselines.lisa import LisaFirstFrame, LisaPredictor, question  # noqa: E402
from rvos.baselines.registry import make_predictor  # noqa: E402
from rvos.benchmarks.answers import ask  # noqa: E402
from rvos.benchmarks.engine import predict  # noqa: E402
from rvos.benchmarks.predictions.run_masks import RunMasks  # noqa: E402
from rvos.datasets.types import Expression  # noqa: E402
from rvos.videolisa.checkpoints import CheckpointError  # noqa: E402

NAMES = ("lisa", "lisa-first-frame", "lisa-propagation")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_lisa_folder(tmp_path_factory.mktemp("lisa"))


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def masks_of(model: Any, data: ToyDataset) -> dict[tuple[str, int], np.ndarray]:
    video = data.videos[0]
    return {(e, i): m for e, i, m in model.segment(video, [s.expression for s in data.samples_of(video.id)])}


@pytest.mark.parametrize("name", NAMES)
def test_end_to_end_and_deterministic(name: str, folder: Path, tmp_path: Path) -> None:
    data = ToyDataset(1)
    data.samples = data.samples[:3]
    run = predict(make_predictor(f"{name}:{folder}"), data, out=tmp_path / "run", progress=False)
    assert {line.status for line in run.predictions()} == {"ok"}
    assert run.record.predictor.name == name and run.record.predictor.weights_hash.startswith("sha256:")
    saved = {sample.expression.id: RunMasks(run.masks).rles(sample) for sample in data}
    assert all(len(rles) == 5 and {tuple(r["size"]) for r in rles if r} == {(HEIGHT, WIDTH)} for rles in saved.values())
    expressions = [sample.expression for sample in data][:2]
    again = ask(make_predictor(f"{name}:{folder}"), data.videos[0], expressions)
    assert [answer.rles for answer in again] == [saved[e.id] for e in expressions]


def test_every_sentence_and_every_frame_has_a_token_of_its_own(folder: Path) -> None:
    data = ToyDataset(1)
    video, expressions = data.videos[0], [s.expression for s in data][:3]
    lisa = LisaPredictor.from_pretrained(str(folder))
    together = lisa.prompt_vectors(video.frame(0), expressions)
    alone = torch.cat([lisa.prompt_vectors(video.frame(0), [e]) for e in expressions])
    assert torch.allclose(together, alone, atol=1e-5), "the shared prefix must not change an answer"
    assert (together[0] - together[1]).abs().max() > 1e-3
    assert (together - lisa.prompt_vectors(video.frame(4), expressions)).abs().max() > 1e-4
    first = LisaFirstFrame(lisa.videolisa)
    one, all_frames = masks_of(lisa, data), masks_of(first, data)
    assert all(np.array_equal(one[e.id, 0], all_frames[e.id, 0]) for e in expressions)


def test_the_prompt_row_is_the_one_before_seg_of_the_whole_conversation(folder: Path) -> None:
    """The cached prefix against one forward pass over everything, [SEG] included."""
    data = ToyDataset(1)
    lisa = LisaPredictor.from_pretrained(str(folder))
    model, processor = lisa.videolisa.model, lisa.videolisa.processor
    tokenizer, frame, expression = processor.tokenizer, data.videos[0].frame(1), data[0].expression
    from rvos.baselines.lisa import SYSTEM

    with torch.inference_mode():
        embed = model.language_model.model.embed_tokens
        before = [*tokenizer.encode(SYSTEM), tokenizer.token_id("<im_start>")]
        after = [tokenizer.token_id("<im_end>"), *tokenizer.encode(question(expression), bos=False), tokenizer.seg_id]
        image = model.encode_frames(processor.clip_pixels(frame)[None])[0]
        rows = torch.cat([embed(torch.tensor(before)), image, embed(torch.tensor(after))])
        hidden = model.language_model.model(inputs_embeds=rows[None]).last_hidden_state[0]
        expected = model.prompt_vector(hidden[-2])
    assert torch.allclose(lisa.prompt_vectors(frame, [expression])[0], expected, atol=1e-5)


def test_words_of_the_questions() -> None:
    assert question(Expression("0", "the cat ", kind="referring")).startswith("What is the cat in this image? Please")
    assert question(Expression("0", "Who runs?", kind="reasoning")).startswith("Who runs? Please output")


def test_both_projectors_of_llava(tmp_path: Path) -> None:
    lisa = LisaPredictor.from_pretrained(str(tiny_lisa_folder(tmp_path, projector="mlp2x_gelu")))
    assert len(lisa.videolisa.model.projector) == 3


def test_a_wrong_checkpoint_ends_with_a_clear_error(copy: Path, tmp_path: Path) -> None:
    def refused(words: str) -> None:
        with pytest.raises(CheckpointError, match=words):
            LisaPredictor.from_pretrained(str(copy))

    with pytest.raises(CheckpointError, match="expected a folder, or owner/name"):
        LisaPredictor.from_pretrained(str(tmp_path / "nowhere"))
    state = torch.load(copy / "pytorch_model.bin")
    for key, words in (
        ("model.layers.0.self_attn.q_proj.weight", "1 missing: language_model.model.layers.0.self_attn.q_proj.weight"),
        ("model.embed_tokens.weight", "no model.embed_tokens.weight"),
    ):
        torch.save({k: v for k, v in state.items() if k != key}, copy / "pytorch_model.bin")
        refused(words)
    torch.save({**state, "surplus": torch.zeros(1)}, copy / "pytorch_model.bin")
    refused("1 unexpected: surplus")
    torch.save({k: v for k, v in state.items() if "visual_model" not in k}, copy / "pytorch_model.bin")
    refused("no SAM inside")
    torch.save(state, copy / "pytorch_model.bin")
    tokens = json.loads((copy / "tokenizer_config.json").read_text())
    kept = {k: v for k, v in tokens["added_tokens_decoder"].items() if v["content"] != "<im_start>"}
    (copy / "tokenizer_config.json").write_text(json.dumps({**tokens, "added_tokens_decoder": kept}))
    refused("the tokenizer has no <im_start>")
    (copy / "config.json").write_text("{}")
    refused("is no LISA checkpoint")
