"""``rvos train --preset nano``: SAM nano, CLIP nano, then the language model: tracks, words, everything, masks."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ...datasets.errors import UnknownNameError
from ...datasets.reasonshapes.benchmark import VERSION
from ...datasets.registry import load
from ..checkpoints import VideoLisa
from ..predictor import VideoLisaPredictor
from ..prompts import QUESTIONS, SEG, TRAINING_ANSWERS
from ..sampling import STRATEGIES
from ..tokenizer import MODEL_FILE, Tokenizer
from ..train.engine import Optimisation, Stage
from ..train.recipes import Recipe, validate
from ..train.record import lineage
from .language import EVERYTHING, WORDS, LanguageStage, TrackBatch, VideoLessons
from .mirror import mirrored
from .models import nano_tokenizer, new_videolisa
from .scenes import SceneVideo, make_scenes
from .vision import ClipBatch, ClipStage, SamBatch, SamStage, ThingCodes, clip_batch, sam_batch

#: Sentences drawn for a video beside its own.
N_SENTENCES = 24
#: What a step takes.
CLIP_FRAMES, VIDEOS, SENTENCES = 24, 4, 14
#: Videos that are followed in a step where that is all, and where sentences are read beside it.
TRACK_VIDEOS, TRACKS_KEPT = 16, 2
#: With masks, which cost most: fewer sentences, on this many frames each.
MASK_SENTENCES, MASK_FRAMES = 8, 2
#: Stages that are run only where they are asked for by name.
ON_REQUEST = ("strategies",)
#: Stages that train CLIP and SAM.
IMAGE_STAGES = ("sam", "clip")
VALID = "reasonshapes/valid"
#: Videos of it on which J&F is watched.
VALID_VIDEOS = 12


@dataclass(frozen=True)
class Course:
    """How long each stage learns, how fast, and from how much.

    Attributes:
        videos: of ``reasonshapes/train``, from the first.
        frames, prompts: frames in a step of ``sam``, and sets of things to cut out of each.
        sam, clip, tracks, words, language, masks: the stages in their order; ``tracks`` is None where rows are not
            asked what their things have done.
        strategies: not part of the model but the base of ablations, see ``ON_REQUEST``.
        validations: of ``language`` and of ``masks``, the one at the end among them.
        exams: videos of ``VALID`` on which selection is watched.
    """

    videos: int
    frames: int
    prompts: int
    sam: Optimisation
    clip: Optimisation
    tracks: Optimisation | None
    words: Optimisation
    language: Optimisation
    masks: Optimisation
    strategies: Optimisation
    validations: int
    exams: int

    def scaled(self, share: float) -> Course:
        """The same course in a share of the steps."""
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        stages = {name: value.scaled(share) for name, value in values.items() if isinstance(value, Optimisation)}
        return replace(self, **{**values, **stages})

    def without_tracks(self) -> Course:
        """For models that have nothing to follow: as many steps, those of ``tracks`` among the sentences."""
        if self.tracks is None:
            return self
        return replace(
            self, tracks=None, language=replace(self.language, steps=self.language.steps + self.tracks.steps)
        )


def _adamw(steps: int, lr: float, warmup: int, final: float, weight_decay: float = 0.01) -> Optimisation:
    return Optimisation(steps, lr, warmup, betas=(0.9, 0.98), weight_decay=weight_decay, final=final)


#: What the shipped models are made by: hours.
WHOLE = Course(
    videos=3600,
    frames=8,
    prompts=4,
    sam=_adamw(9000, 1.5e-3, warmup=100, final=0.02),
    clip=_adamw(1500, 2e-3, warmup=50, final=0.02),
    tracks=_adamw(900, 3e-3, warmup=50, final=0.1),
    words=_adamw(500, 6e-4, warmup=40, final=0.5),
    language=_adamw(9000, 1e-3, warmup=100, final=0.02),
    masks=_adamw(400, 3e-4, warmup=30, final=0.02, weight_decay=0.0),
    strategies=_adamw(1500, 6e-4, warmup=50, final=0.1),
    validations=4,
    exams=60,
)
#: Minutes: looks and the words for them. Time takes hours, and with questions about it words were slower to learn.
SHORT = replace(
    WHOLE,
    videos=200,
    frames=4,
    prompts=8,
    sam=_adamw(600, 3e-3, warmup=30, final=0.02),
    clip=_adamw(120, 2e-3, warmup=20, final=0.02),
    tracks=None,
    words=_adamw(250, 3e-3, warmup=30, final=0.3),
    language=_adamw(120, 2e-3, warmup=30, final=0.02),
    masks=_adamw(20, 1e-4, warmup=5, final=0.02, weight_decay=0.0),
    validations=1,
    exams=12,
)


class SamPretraining:
    """SAM nano on random frames and sets of things."""

    name = "sam"

    def __init__(self, videolisa: VideoLisa, scenes: Sequence[SceneVideo], codes: ThingCodes, course: Course) -> None:
        self.videolisa, self.scenes, self.course = videolisa, scenes, course
        self.optimisation, self.validate_every = course.sam, course.sam.steps
        self.module: nn.Module = SamStage(videolisa.model, codes)

    def begin(self) -> None:
        learn(self.module, "model.sam.", "cells.")

    def batch(self, rng: np.random.Generator) -> SamBatch:
        patch = self.videolisa.model.config.sam_config.vision_config.patch_size
        return sam_batch(self.scenes, self.videolisa.processor, patch, rng, self.course.frames, self.course.prompts)

    def validate(self) -> dict[str, float]:
        """J&F of the whole model: chance, as long as its language model has learned nothing."""
        return validate(VideoLisaPredictor(self.videolisa), load(VALID), VALID_VIDEOS)


class ClipPretraining:
    """CLIP nano on random frames."""

    name = "clip"
    validate_every = 0

    def __init__(self, videolisa: VideoLisa, scenes: Sequence[SceneVideo], course: Course) -> None:
        self.videolisa, self.scenes, self.optimisation = videolisa, scenes, course.clip
        self.module: nn.Module = ClipStage(videolisa.model)

    def begin(self) -> None:
        learn(self.module, "model.vision_tower.", "cells.", "places.")

    def batch(self, rng: np.random.Generator) -> ClipBatch:
        side = int(self.videolisa.model.config.tokens_per_frame**0.5)
        return clip_batch(self.scenes, self.videolisa.processor, side, rng, CLIP_FRAMES)

    def validate(self) -> dict[str, float]:
        return {}


class LanguageTraining:
    """Projector, language model and prompt head; with masks also the mask decoder."""

    def __init__(
        self,
        name: str,
        lessons: VideoLessons,
        exams: VideoLessons,
        stage: LanguageStage,
        predictor: Any,
        course: Optimisation,
        shares: Mapping[str, float] = EVERYTHING,
        frames: int = 0,
        shown: bool = True,
        validations: int = 1,
    ) -> None:
        """
        Args:
            name: of the stage.
            lessons: draw the batches.
            exams: of videos that are not trained on, for selection accuracy.
            stage: computes the losses.
            predictor: made for every validation, without arguments.
            course: the optimisation.
            shares: how often each kind of sentence is drawn.
            frames: supervised frames a video; 0 trains without masks.
            shown: whether the videos are seen.
            validations: how many, the one at the end among them.
        """
        self.name, self.lessons, self.exams, self.predictor = name, lessons, exams, predictor
        self.optimisation, self.shares, self.frames, self.shown = course, shares, frames, shown
        self.validate_every = ceil(course.steps / validations)
        self.module = stage

    def begin(self) -> None:
        decoder = ("model.sam.mask_decoder.",) if self.frames else ()
        learn(self.module, "model.projector.", "model.language_model.", "model.prompt_head.", "track_head.", *decoder)

    def batch(self, rng: np.random.Generator) -> Any:
        sentences = MASK_SENTENCES if self.frames else SENTENCES
        lessons = self.lessons.draw(rng, VIDEOS, sentences, self.frames, self.shares, self.shown)
        follows = self.lessons.follows and not self.frames
        return self.lessons.draw_tracks(rng, TRACKS_KEPT, lessons) if follows else lessons

    def validate(self) -> dict[str, float]:
        """Percent of right selections, of all and by kind, and J&F on ``VALID``."""
        return {**self.selections(), **validate(self.predictor(), load(VALID), VALID_VIDEOS)}

    def selections(self) -> dict[str, float]:
        """Percent of prompts that are nearest to what is meant, of all and by kind."""
        self.module.eval()
        right: dict[str, list[bool]] = defaultdict(list)
        for index in range(len(self.exams.scenes)):
            lesson = self.exams.exam(index)
            for kind, one in zip(lesson.kinds, self.module.right(lesson), strict=True):
                right["selection"].append(one)
                right[kind].append(one)
        return {kind: 100 * sum(found) / len(found) for kind, found in right.items()}


class TrackTraining(LanguageTraining):
    """The language model's lower layers learn to follow things; nothing is asked."""

    def batch(self, rng: np.random.Generator) -> TrackBatch:
        return self.lessons.draw_tracks(rng, TRACK_VIDEOS, [])


class StrategyTraining(LanguageTraining):
    """Every step under a temporal strategy drawn at random, so that none is strange to what comes after."""

    def batch(self, rng: np.random.Generator) -> Any:
        self.lessons.model.config.temporal_strategy = str(rng.choice(STRATEGIES))
        return super().batch(rng)

    def validate(self) -> dict[str, float]:
        """Percent of right selections under each strategy. The model is left with Sparse Dense, the last."""
        scores = {}
        for strategy in reversed(STRATEGIES):
            self.lessons.model.config.temporal_strategy = strategy
            scores[strategy] = self.selections()["selection"]
        return scores


def learn(module: nn.Module, *prefixes: str) -> None:
    """Let only the parameters whose names begin so take gradients; SAM's position matrix never does."""
    for name, parameter in module.named_parameters():
        constant = name.endswith("positional_embedding")
        parameter.requires_grad_(name.startswith(prefixes) and not constant)


def nano_recipe(
    folder: Path,
    seed: int = 0,
    course: Course = WHOLE,
    base: VideoLisa | None = None,
    only: Sequence[str] = (),
    strategy: str | None = None,
    skip: Sequence[str] = ON_REQUEST,
) -> Recipe:
    """Everything from nothing to videolisa-nano.

    Args:
        folder: of the run; the tokenizer's files go there.
        seed: of the weights (the engine's seed is of the data).
        course: of how much.
        base: begin with these weights instead of new ones.
        only: names of stages, where not all are to be run.
        strategy: how frames become rows (``sampling.STRATEGIES``); that of the base, or Sparse Dense, where None.
        skip: names of stages that are left out where ``only`` names none.

    Raises:
        UnknownNameError: for a stage or a strategy that there is not.
    """
    if strategy is not None and strategy not in STRATEGIES:
        raise UnknownNameError("temporal strategy", strategy, STRATEGIES)
    scenes = make_scenes("train", course.videos, N_SENTENCES)
    asked = [*scenes, *(mirrored(video) for video in scenes)]
    videolisa = base or new_videolisa(_tokenizer(folder / "tokenizer", scenes), seed)
    videolisa.model.config.temporal_strategy = strategy or videolisa.model.config.temporal_strategy
    codes = ThingCodes(videolisa.model.config.prompt_dim)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made: tuple[Stage, ...] = (
            SamPretraining(videolisa, scenes, codes, course),
            ClipPretraining(videolisa, scenes, course),
            *language_stages(videolisa, asked, codes, course),
        )
    about = lineage(None if base is None else base.source)
    return Recipe(
        "nano",
        chosen(made, only, skip),
        lambda out: save_half(videolisa, out),
        lambda: about | facts(scenes, videolisa),
    )


def chosen(stages: Sequence[Stage], only: Sequence[str], skip: Sequence[str] = ON_REQUEST) -> tuple[Stage, ...]:
    """The stages of these names; where none is given all but those to skip. Raises UnknownNameError."""
    named = {stage.name: stage for stage in stages}
    for name in only:
        if name not in named:
            raise UnknownNameError("stage", name, named)
    return tuple(named[name] for name in only or named if only or name not in skip)


def _tokenizer(folder: Path, scenes: Sequence[SceneVideo]) -> Tokenizer:
    """The run's own; trained when it begins."""
    return Tokenizer(folder) if (folder / MODEL_FILE).is_file() else nano_tokenizer(folder, texts(scenes))


def language_stages(
    videolisa: VideoLisa, scenes: Sequence[SceneVideo], codes: ThingCodes, course: Course
) -> tuple[LanguageTraining, ...]:
    """The stages after the image branches."""
    lessons = VideoLessons(videolisa.model, videolisa.processor, scenes, tracked=course.tracks is not None)
    exams = VideoLessons(videolisa.model, videolisa.processor, make_scenes("valid", course.exams, 0))
    stage = LanguageStage(videolisa.model, codes)

    def predictor() -> VideoLisaPredictor:
        return VideoLisaPredictor(videolisa)

    common = (lessons, exams, stage, predictor)
    tracks = (TrackTraining("tracks", *common, course.tracks),) if course.tracks and lessons.follows else ()
    return (
        *tracks,
        *stages_of(*common, course),
        StrategyTraining("strategies", *common, course.strategies, validations=course.validations),
    )


def stages_of(
    lessons: VideoLessons, exams: VideoLessons, stage: LanguageStage, predictor: Any, course: Course
) -> tuple[LanguageTraining, ...]:
    """Words, then everything, then masks: of videolisa-nano and of lisa-nano alike."""
    common, times = (lessons, exams, stage, predictor), course.validations
    return (
        LanguageTraining("words", *common, course.words, WORDS, shown=False),
        LanguageTraining("language", *common, course.language, validations=times),
        LanguageTraining("masks", *common, course.masks, frames=MASK_FRAMES, validations=times),
    )


def texts(scenes: Sequence[SceneVideo]) -> list[str]:
    """What the tokenizer is trained on: sentences each once, and the words around them, apart from each other.

    So a phrase is the same piece wherever it stands.
    """
    asked = sorted({s.expression.text for video in scenes for s in video.sentences})
    around = [part for template in QUESTIONS.values() for part in re.split(r"{\w+}", template) if part]
    answers = [answer.removesuffix(f"{SEG}.").strip() for answer in TRAINING_ANSWERS]
    return [*asked, *(f" {text.lower()}" for text in asked), *(around + answers) * (1 + len(asked) // 20)]


def save_half(videolisa: VideoLisa, folder: Path) -> None:
    """Write the weights in half precision; the model in memory stays as it is."""
    state = {k: v.half() if v.is_floating_point() else v for k, v in videolisa.model.state_dict().items()}
    kind: Any = type(videolisa.model)
    copy: Any = kind(videolisa.model.config)
    copy.load_state_dict(state)
    VideoLisa(copy.to(torch.float16), videolisa.processor).save_pretrained(folder)


def facts(scenes: Sequence[SceneVideo], videolisa: VideoLisa) -> dict[str, Any]:
    """What the training card says about data and model."""
    parts = {name: sum(p.numel() for p in part.parameters()) for name, part in videolisa.model.named_children()}
    return {
        "data": {
            "train": "reasonshapes/train from the first video on; sentences drawn by the generator's own rules; "
            "for the language model also every video mirrored, with the sentences that name no side",
            "videos": len(scenes),
            "sentences": sum(len(v.sentences) for v in scenes),
            "version": VERSION,
            "watched": VALID,
        },
        "parameters": parts,
        "from_scratch": True,
        "helping_losses": "selection and gaze (nano/language.py), tracks (nano/tracks.py) where the stages have them",
    }
