"""Images through the predictor and the image protocols, against what the reference's validation recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rvos.benchmarks.evaluator import Evaluator
from rvos.benchmarks.protocols.images import RefCOCOStrict
from rvos.datasets.frames import ArrayFrames
from rvos.datasets.types import Expression, Masklet, RVOSDataset, Sample, Video
from rvos.videolisa import prompts
from rvos.videolisa.predictor import VideoLisaPredictor


class StillMask:
    """A label map in memory: 1 is the object, 255 does not count."""

    def __init__(self, labels: Any) -> None:
        self.labels = labels

    def mask(self, index: int) -> Any:
        return self.labels == 1

    def void(self, index: int) -> Any:
        return self.labels == 255


class RecordedImages(RVOSDataset):
    """The images of the reference's validation, several sentences about one."""

    name = "refcoco"

    def __init__(self, reference: Any, entries: Sequence[dict[str, Any]], truths: Sequence[Any]) -> None:
        self.truths = {str(n): truth for n, truth in enumerate(truths)}
        samples = []
        for n, entry in enumerate(entries):
            left, top, right, bottom = entry["crop"]
            image = np.ascontiguousarray(reference.frames[entry["frame"]][top:bottom, left:right])
            video = Video(str(n), (str(n),), ArrayFrames((str(n),), image[None]))
            form = entry.get("is_sentence")
            kind = "reasoning" if form is not None else "referring"
            samples += [Sample(video, Expression(str(k), t, ("1",), kind, form)) for k, t in enumerate(entry["sents"])]
        super().__init__(Path(), "val", "1", samples)

    def ground_truth(self, sample: Sample) -> Masklet:
        return Masklet(sample.video.frame_names, StillMask(self.truths[sample.video.id]))

    def objects(self, video: Video) -> dict[str, Masklet]:
        return {}

    def annotation_files(self) -> Sequence[Path]:
        return ()


class AsRecorded(RefCOCOStrict):
    """With the copies of the recorded run."""

    copies = 2


def test_recorded_values_are_matched(reference: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    info = reference.json("expected_image_eval_info.json")
    recorded = reference.tensors("expected_image_eval.safetensors")
    assert info["num_frames_dense"] == AsRecorded.copies
    config = reference.videolisa.model.config
    monkeypatch.setattr(config, "sparse_frames", info["num_frames_sparse"])
    monkeypatch.setattr(config, "dense_frames", info["num_frames_dense"])
    truths = [recorded[f"image/{n}/gt_mask_uint8"].numpy() for n in range(len(info["samples"]))]
    data = RecordedImages(reference, info["samples"], truths)
    evaluator = Evaluator(data, AsRecorded())
    predictor = VideoLisaPredictor(reference.videolisa)
    for video in data.videos:
        expressions = [sample.expression for sample in data.samples_of(video.id)]
        for expression_id, index, mask in predictor.segment(video, expressions):
            evaluator.update(f"{video.id}/{expression_id}", index, mask)
    result = evaluator.compute()
    assert result.value("gIoU") == pytest.approx(info["gIoU"], abs=1e-6)
    assert result.value("cIoU") == pytest.approx(info["cIoU"], abs=1e-6)
    for n, entry in enumerate(info["samples"]):
        for k in range(len(entry["sents"])):  # the copies of all sentences follow one another, copy by copy
            (_, inside), (_, union), _ = entry["per_mask_intersection_union_target"][k]
            score = next(s for s in result.scores if s.unit.key == f"{n}/{k}")
            assert (score.value("intersection"), score.value("union")) == (inside, union)


def test_questions_are_those_of_the_image_benchmarks(reference: Any) -> None:
    for entry in reference.json("expected_image_eval_info.json")["samples"]:
        form = entry.get("is_sentence")
        for text, prompt in zip(entry["sents"], entry["prompts"], strict=True):
            expression = Expression("0", f" {text} ", kind="reasoning" if form is not None else "referring")
            template = prompts.template_for(replace(expression, is_sentence=form), image=True)
            question = prompts.question(expression.text, template)
            assert prompts.conversation(question, prompts.IMAGE_ANSWER) == prompt


def test_texts_of_refcoco_are_lower_case_and_those_of_reasonseg_as_written() -> None:
    referring, phrase = Expression("0", " The Dog "), Expression("1", " The Dog ", kind="reasoning", is_sentence=False)
    assert "What is the dog in" in prompts.question(referring.text, prompts.template_for(referring, image=True))
    assert "What is The Dog in" in prompts.question(phrase.text, prompts.template_for(phrase, image=True))


def test_a_video_of_one_frame_is_asked_about_as_an_image(tiny: Any) -> None:
    frame = np.random.default_rng(0).integers(0, 255, (1, 40, 60, 3), np.uint8)
    image = Video("i", ("0",), ArrayFrames(("0",), frame))
    asked: list[tuple[list[str], str]] = []

    class Listening(VideoLisaPredictor):
        def segment_questions(self, video: Any, questions: Any, frames: Any = None, answer: str = "") -> Any:
            asked.append((list(questions), answer))
            return super().segment_questions(video, questions, frames, answer)

    with torch.inference_mode():
        found = list(Listening(tiny).segment(image, [Expression("0", "the dog")]))
    assert asked == [([" What is the dog in this video? Please output segmentation mask."], "[SEG].")]
    assert [(i, t, m.shape) for i, t, m in found] == [("0", 0, (40, 60))]
