from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from rvos.benchmarks.runs import PredictorRecord
from rvos.datasets.errors import UsageError
from rvos.datasets.frames import ArrayFrames
from rvos.datasets.types import Expression, Video
from rvos.videolisa import predictor as predictor_module
from rvos.videolisa import prefix as prefix_module
from rvos.videolisa.predictor import VideoLisaPredictor, batches, read_ahead
from rvos.videolisa.prefix import VideoPrefix
from rvos.videolisa.prompts import conversation, question, template_for
from rvos.videolisa.speed import TITLE, SpeedRow, measure, moving_video, straightforward, table, write_section

EXPRESSIONS = [
    Expression("0", "The brown Dog"),
    Expression("1", "Which one is likely to win", kind="reasoning", is_sentence=True),
    Expression("2", "the one that stops first of all the others in the scene", kind="reasoning", is_sentence=False),
    Expression("3", "x"),
    Expression("4", "a cat that jumps over the fence"),
]
QUESTIONS = [question(e.text, template_for(e)) for e in EXPRESSIONS]


@pytest.fixture(scope="module")
def video() -> Video:
    return moving_video(11, (50, 70))


def reference_logits(tiny: Any, video: Video, text: str) -> Any:
    """Upsampled logits (T, H, W) of one question, everything from the start."""
    model, processor = tiny.model, tiny.processor
    from rvos.videolisa.sampling import sample_frames

    config = model.config
    with torch.no_grad():
        sample = sample_frames(len(video), config.sparse_frames, config.dense_frames)
        tokens = model.encode_frames(torch.stack([processor.clip_pixels(video.frame(i)) for i in sample.frames]))
        rows = model.visual_rows(tokens, sample.dense_positions)
        ids = processor.input_ids(conversation(text))
        hidden = model.language_model.model(inputs_embeds=model.embed_sequence(ids, rows)[None]).last_hidden_state
        prompt = model.prompt_vector(hidden[0, model.prompt_positions(ids, len(rows))])
        features = torch.cat([model.sam_features(processor.sam_pixels(f)[None]) for f in video.iter_frames()])
        low_res = model.decode_masks(features, prompt)
        return model.upsample_masks(low_res, processor.sam_size(*video.size), video.size)[:, 0]


def test_templates_follow_the_released_scripts() -> None:
    assert QUESTIONS[:3] == [
        "Please segment the the brown dog in this image.",
        "Which one is likely to win. Please output the segmentation masks.",
        "Please segment the the one that stops first of all the others in the scene in this scene.",
    ]


def test_masks_are_the_same_whatever_else_is_asked(tiny: Any, video: Video) -> None:
    predictor = VideoLisaPredictor(tiny)
    together = {(n, t): mask for n, t, mask in predictor.segment(video, EXPRESSIONS)}
    for expression in EXPRESSIONS:
        for name, index, mask in predictor.segment(video, [expression]):
            assert np.array_equal(mask, together[name, index])


@pytest.mark.parametrize(("frames_per_batch", "sentences"), [(1, 1), (4, 3)])
def test_masks_equal_the_single_sentence_path(
    tiny: Any, video: Video, frames_per_batch: int, sentences: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One at a time, as on a CPU, and in batches, as on a GPU."""
    monkeypatch.setitem(predictor_module.SENTENCES_PER_STEP, "cpu", sentences)
    monkeypatch.setitem(prefix_module.ROWS_PER_PASS, "cpu", 1 if sentences == 1 else 60)
    predictor = VideoLisaPredictor(tiny, frames_per_batch)
    found = np.zeros((len(EXPRESSIONS), len(video), *video.size), bool)
    order = []
    for expression_id, index, mask in predictor.segment(video, EXPRESSIONS):
        found[int(expression_id), index] = mask
        order.append((index, int(expression_id)))
    assert order == [(t, n) for t in range(len(video)) for n in range(len(EXPRESSIONS))]
    shares = []
    for n, text in enumerate(QUESTIONS):
        logits = reference_logits(tiny, video, text)
        differs = found[n] != (logits > 0).numpy()
        assert not (differs & (logits.abs() > 1e-4).numpy()).any()
        shares.append(found[n].mean())
    assert all(0.02 < share < 0.98 for share in shares)
    assert all((found[n] != found[0]).mean() > 0.005 for n in range(1, len(EXPRESSIONS)))


def test_the_straightforward_loop_gives_the_same_masks(tiny: Any, video: Video) -> None:
    for text, masks in zip(QUESTIONS[:2], straightforward(tiny, video, QUESTIONS[:2]), strict=True):
        logits = reference_logits(tiny, video, text)
        assert not ((masks != (logits > 0).numpy()) & (logits.abs() > 1e-4).numpy()).any()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_questions_see_only_themselves(
    tiny: Any, video: Video, attention: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompt vectors do not depend on what else is asked, nor on how many questions share a pass (as on a GPU)."""
    monkeypatch.setitem(prefix_module.ROWS_PER_PASS, "cpu", 1024)
    videolisa = copy.copy(tiny)
    if attention == "eager":
        videolisa.model = copy.deepcopy(tiny.model)
        videolisa.model.language_model.set_attn_implementation("eager")
    with torch.inference_mode():
        prefix = VideoPrefix(videolisa, video)
        window = videolisa.model.config.text_config.sliding_window
        assert window < prefix.length, "the window must be active for this test to mean something"
        together = prefix.prompt_vectors(QUESTIONS)
        assert torch.equal(together, prefix.prompt_vectors(QUESTIONS)), "the prefix must be left as it was"
        reverse = prefix.prompt_vectors(QUESTIONS[::-1]).flip(0)
        monkeypatch.setitem(prefix_module.ROWS_PER_PASS, "cpu", 1)
        alone = prefix.prompt_vectors(QUESTIONS)
    assert (together - reverse).abs().max() < 1e-5
    assert (together - alone).abs().max() < 1e-5
    assert (together[0] - together[1]).abs().max() > 1e-2


def test_nothing_is_asked_or_answered_twice(tiny: Any, video: Video) -> None:
    predictor = VideoLisaPredictor(tiny)
    assert list(predictor.segment(video, [])) == []
    some = list(predictor.segment_questions(video, QUESTIONS[:1], frames=[7, 2]))
    everything = dict(predictor.segment_questions(video, QUESTIONS[:1]))
    assert [index for index, _ in some] == [7, 2]
    assert all(np.array_equal(masks, everything[index]) for index, masks in some)
    with pytest.raises(UsageError, match=r"hold \[SEG\] once"):
        list(predictor.segment_questions(video, ["what is [SEG]?"]))


def test_frames_are_encoded_once_and_forgotten(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each frame is read once for SAM, at most a few ahead of the masks."""
    reads: list[int] = []

    class Counting(ArrayFrames):
        def read(self, name: str) -> Any:
            reads.append(int(name))
            return super().read(name)

    names = tuple(f"{i:05d}" for i in range(40))
    video = Video("v", names, Counting(names, np.random.default_rng(0).integers(0, 256, (40, 20, 30, 3), np.uint8)))
    predictor = VideoLisaPredictor(tiny, frames_per_batch=2)
    stream = predictor.segment(video, EXPRESSIONS[:2])
    next(stream)
    clip_reads = len(set(VideoPrefix(tiny, video).sample.frames))
    # VideoPrefix above read the sampled frames a second time.
    assert max(reads) < 40 and len(reads) <= 2 * clip_reads + 2 + 2 * 2 + 1
    list(stream)
    assert len(reads) == 2 * clip_reads + 40


def test_answer_is_greedy_text(tiny: Any, video: Video) -> None:
    with torch.inference_mode():
        prefix = VideoPrefix(tiny, video)
        before = prefix.prompt_vectors(QUESTIONS[:1])
        said = prefix.answer("what is it?", max_new_tokens=5)
        assert said == prefix.answer("what is it?", max_new_tokens=5)
        assert torch.equal(before, prefix.prompt_vectors(QUESTIONS[:1]))
        ids = tiny.processor.input_ids(conversation("what is it?", None))
        rows = prefix_module.video_rows(tiny, video, prefix.sample)
        embeds = tiny.model.embed_sequence(ids, rows)
        token = tiny.model.language_model(inputs_embeds=embeds[None]).logits[0, -1].argmax()
        assert said.startswith(tiny.processor.tokenizer.decode([int(token)]))


def test_describe_and_load(tiny: Any, tmp_path: Any, video: Video) -> None:
    tiny.save_pretrained(tmp_path)
    predictor = VideoLisaPredictor.from_pretrained(str(tmp_path), device="cpu")
    record = PredictorRecord.model_validate(predictor.describe())
    assert record.weights_hash is not None and record.weights_hash.startswith("sha256:")
    assert record.dtype == "float32" and record.sampling_rule == "sparse-dense S=8 D=2"
    first = next(iter(VideoLisaPredictor(tiny).segment(video, EXPRESSIONS[:1])))
    assert np.array_equal(first[2], next(iter(predictor.segment(video, EXPRESSIONS[:1])))[2])


def test_bfloat16_runs(tiny: Any, video: Video) -> None:
    videolisa = copy.copy(tiny)
    videolisa.model = copy.deepcopy(tiny.model).to(torch.bfloat16)
    masks = dict(VideoLisaPredictor(videolisa).segment_questions(video, QUESTIONS[:2]))
    exact = dict(VideoLisaPredictor(tiny).segment_questions(video, QUESTIONS[:2]))
    agree = np.mean([(masks[t] == exact[t]).mean() for t in exact])
    assert agree > 0.8


def test_speed_rows(tiny: Any) -> None:
    rows = {row.name: row for row in measure(tiny, sentences=3, frames=4, straightforward_calls=1, size=(40, 60))}
    assert rows["mask pixels that differ"].value == 0
    assert rows["one call is faster by"].value > 0
    assert "3 sentences sharing nothing, as the released scripts" in rows


def test_speed_section_is_written_once(tmp_path: Any) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text("# Speed\n\n## Other\n\ntext\n")
    for value in (1.0, 2.0):
        write_section(page, table([SpeedRow("one call", value, "s", "note")]))
    text = page.read_text()
    assert text.count(TITLE) == 1 and "2 s" in text and "1 s" not in text and "text" in text
    page.write_text(text + "\n## Last\n")
    write_section(page, table([SpeedRow("one call", 3.0, "s")]))
    assert page.read_text().endswith("## Last\n")


def test_fit_estimates_the_released_model() -> None:
    """8.97 GB of stored weights and 0.61 GB of CLIP in bfloat16, and the room to work."""
    from rvos.videolisa.configuration import VideoLisaConfig
    from rvos.videolisa.machine import fit, needed_bytes

    needed = needed_bytes(VideoLisaConfig(), torch.bfloat16)
    assert 9.6e9 < needed < 14e9
    here = fit()
    assert here.attention[0] == "sdpa" and here.needed_gib > 17
    assert here.fits is None or here.fits == (here.needed_gib <= here.memory_gib)


def test_read_ahead_keeps_order_and_passes_errors_on() -> None:
    assert list(read_ahead(range(10), lambda i: i * i, 3)) == [i * i for i in range(10)]

    def fail(i: int) -> int:
        if i == 2:
            raise ValueError("frame 2")
        return i

    stream = read_ahead(range(5), fail, 2)
    assert [next(stream), next(stream)] == [0, 1]
    with pytest.raises(ValueError, match="frame 2"):
        next(stream)
    assert [len(b) for b in batches(range(7), 3)] == [3, 3, 1]


def test_predict_command_resumes(tiny: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """rvos predict videolisa:PATH, interrupted in the second video, finishes with the masks of an unbroken run."""
    from rvos.benchmarks.runs import Run
    from rvos.cli import main
    from rvos.datasets.reasonshapes.generate import generate
    from rvos.datasets.reasonshapes.writers import write

    tiny.save_pretrained(tmp_path / "model")
    write("reasonvos", tmp_path / "data", generate("valid", 3, height=64, width=64))
    whole = VideoLisaPredictor.segment
    started: list[str] = []

    def interrupted(self: Any, video: Video, expressions: Any) -> Any:
        started.append(video.id)
        if len(started) == 2:
            raise KeyboardInterrupt
        return whole(self, video, expressions)

    def predict(out: str) -> Any:
        with pytest.raises(SystemExit) as ended:
            words = ["predict", f"videolisa:{tmp_path / 'model'}", "reasonvos", "--root", str(tmp_path / "data"), "-q"]
            main([*words, "--out", str(tmp_path / out)])
        return ended.value.code

    assert predict("unbroken") in (0, None)
    monkeypatch.setattr(VideoLisaPredictor, "segment", interrupted)
    assert predict("run") == 130
    assert predict("run") in (0, None)
    assert len(started) == 2 + 2 and len(set(started)) == 3, "the finished video is not predicted again"
    runs = [Run.open(tmp_path / name) for name in ("unbroken", "run")]
    assert {line.status for run in runs for line in run.predictions()} == {"ok"}
    files = [{f.name: f.read_bytes() for f in sorted(run.masks.iterdir())} for run in runs]
    assert files[0] == files[1] and len(files[0]) == 3
    assert runs[1].record.predictor.name == "videolisa"


@pytest.mark.long
def test_memory_does_not_grow_with_the_video(tiny: Any) -> None:
    """2,000 frames, five sentences: the process holds no more after the last frame than after the hundredth."""
    import psutil

    class Drawn:
        def read(self, name: str) -> Any:
            return np.full((240, 320, 3), int(name) % 256, np.uint8)

        def size(self, name: str) -> tuple[int, int]:
            return 240, 320

        def path(self, name: str) -> None:
            return None

    names = tuple(f"{i:05d}" for i in range(2000))
    process, used = psutil.Process(), {}
    for _, index, _ in VideoLisaPredictor(tiny).segment(Video("v", names, Drawn()), EXPRESSIONS):
        if index in (100, 1999):
            used[index] = process.memory_info().rss
    assert used[1999] - used[100] < 50 * 2**20
