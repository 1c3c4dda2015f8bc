"""lisa-nano: the image-only counterpart of videolisa-nano, trained on the same data for the same number of steps.

It sees one frame and says ``[SEG]`` for that frame: what is asked about time it can only guess. CLIP nano and SAM nano
are videolisa-nano's own. It cannot follow things, so the steps that videolisa-nano spends on that go to sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig

from ..videolisa.checkpoints import VideoLisa, local_folder, released_values
from ..videolisa.nano.language import LanguageStage, Lesson, Questions, VideoLessons, members_of, pack
from ..videolisa.nano.mirror import mirrored
from ..videolisa.nano.models import copy_image_branches, nano_processor, new_seeded
from ..videolisa.nano.recipe import (
    N_SENTENCES,
    WHOLE,
    Course,
    chosen,
    facts,
    save_half,
    stages_of,
)
from ..videolisa.nano.scenes import Sentence, make_scenes
from ..videolisa.nano.vision import ThingCodes
from ..videolisa.processor import Processor
from ..videolisa.prompts import IMAGE_ANSWER
from ..videolisa.sampling import FrameSample
from ..videolisa.train.recipes import Recipe
from ..videolisa.train.record import lineage
from .lisa import IMAGE_END, IMAGE_START, SYSTEM, LisaConfig, LisaModel, LisaPredictor, open_lisa, question


def new_lisa(videolisa: VideoLisa, seed: int) -> VideoLisa:
    """An untrained lisa-nano with the image branches and the tokenizer of a videolisa-nano."""
    tokenizer, base = videolisa.processor.tokenizer, videolisa.model.config
    text = base.text_config
    config = LisaConfig(
        text_config=LlamaConfig(
            vocab_size=text.vocab_size,
            hidden_size=text.hidden_size,
            intermediate_size=text.intermediate_size,
            num_hidden_layers=text.num_hidden_layers,
            num_attention_heads=text.num_attention_heads,
            num_key_value_heads=text.num_key_value_heads,
            pad_token_id=tokenizer.pad_id,
            bos_token_id=tokenizer.bos_id,
            eos_token_id=tokenizer.eos_id,
        ),
        vision_config=base.vision_config,
        sam_config=base.sam_config,
        seg_token_id=tokenizer.seg_id,
        clip_layer=base.clip_layer,
        projector_type="mlp2x_gelu",
    )
    model = new_seeded(LisaModel, config, seed)
    lisa = VideoLisa(model, nano_processor(tokenizer, config), videolisa.source)
    copy_image_branches(videolisa, lisa)
    return lisa


class ImageStage(LanguageStage):
    """``LanguageStage`` for a single frame, whose patches all go in."""

    def video_rows(self, lesson: Lesson) -> torch.Tensor:
        return (
            super().video_rows(lesson) if lesson.features is None else self.model.projector(lesson.features.float())[0]
        )


class ImageLessons(VideoLessons):
    """One random frame of a video instead of the whole; what is not seen there is to be answered by nothing."""

    @property
    def follows(self) -> bool:
        """A single frame has nothing to follow."""
        return False

    def lesson(self, index: int, sentences: Sequence[Sentence], rng: np.random.Generator, frames: int) -> Lesson:
        """A random frame of a video with chosen sentences."""
        video = self.scenes[index]
        t = int(rng.integers(len(video.frames)))
        seen = torch.from_numpy(~np.isnan(video.places[:, t, 0])).float()
        masks = np.stack([video.masks(s.targets, [t]) for s in sentences]) if frames else None
        return Lesson(
            features=self.clip_features(index)[t : t + 1],
            sample=FrameSample((t,), (0,)),
            questions=image_questions(sentences, self.processor, self.model.config.seg_token_id),
            looks=torch.from_numpy(video.looks),
            places=torch.from_numpy(np.nan_to_num(video.places[:, t], nan=0.5)),
            members=members_of(sentences, len(video.looks)) * seen,
            shown=torch.from_numpy(video.cells(t, self.side, self.side).ravel()),
            tracks=None,
            sam_features=self.sam_features(index, t) if frames else None,
            masks=None if masks is None else torch.from_numpy(masks).float(),
            kinds=tuple(s.kind for s in sentences),
        )


def image_questions(sentences: Sequence[Sentence], processor: Processor, seg: int) -> Questions:
    """Worded as LISA's validation does; the end of the image is every question's first row."""
    tokenizer = processor.tokenizer
    before = [*tokenizer.encode(SYSTEM), tokenizer.token_id(IMAGE_START)]
    answer = tokenizer.encode(IMAGE_ANSWER, bos=False)
    answer = answer[answer.index(seg) :]
    pairs = [
        ([tokenizer.token_id(IMAGE_END), *tokenizer.encode(question(s.expression), bos=False)], answer)
        for s in sentences
    ]
    return pack(pairs, before, seg)


def lisa_from(base: str | Path, seed: int) -> VideoLisa:
    """An earlier lisa-nano, or a new one on the image branches of a videolisa-nano. Raises CheckpointError."""
    if released_values(local_folder(base)).get("model_type") == LisaConfig.model_type:
        return open_lisa(base, torch.float32)
    return new_lisa(VideoLisa.from_pretrained(base, dtype=torch.float32), seed)


def lisa_nano_recipe(lisa: VideoLisa, seed: int = 0, course: Course = WHOLE, only: Sequence[str] = ()) -> Recipe:
    """Words, sentences and masks; the steps that videolisa-nano follows things in are steps of sentences here.

    Args:
        lisa: see ``lisa_from``.
        seed: of the helping heads (the engine's seed is of the data).
        course: of how much.
        only: names of stages, where not all are to be run.

    Raises:
        UnknownNameError: for a stage that there is not.
    """
    scenes = make_scenes("train", course.videos, N_SENTENCES)
    asked = [*scenes, *(mirrored(video) for video in scenes)]
    lessons = ImageLessons(lisa.model, lisa.processor, asked)
    exams = ImageLessons(lisa.model, lisa.processor, make_scenes("valid", course.exams, 0))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        stage = ImageStage(lisa.model, ThingCodes(lisa.model.config.prompt_dim))

    def predictor() -> LisaPredictor:
        return LisaPredictor(lisa)

    def save(folder: Path) -> None:
        save_half(lisa, folder)

    stages = stages_of(lessons, exams, stage, predictor, course.without_tracks())
    about = lineage(lisa.source)
    return Recipe("lisa-nano", chosen(stages, only), save, lambda: about | facts(scenes, lisa))
