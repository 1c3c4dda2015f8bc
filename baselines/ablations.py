"""The paper's ablations at nano scale: what is trained for them, and what each variant asks of it.

They exercise the code path from data to table, and are no evidence for or against the paper: its model has 3.8 billion
parameters, parts that were trained before, and videos of the world. ``rvos ablate`` runs them, and
``leaderboard.ablations`` makes the tables.

A training is shared by all variants that differ at inference only, and by all ablations of one folder; its sentences,
before the masks, by all trainings that differ in the masks only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..benchmarks.engine import predict
from ..benchmarks.error_analysis import analyse
from ..benchmarks.evaluator import evaluate
from ..benchmarks.results import Result
from ..datasets.config import replace_file
from ..datasets.errors import RunError, UnknownNameError, UsageError
from ..datasets.registry import load

if TYPE_CHECKING:
    from ..benchmarks.error_analysis import Analysis
    from ..videolisa.train.recipes import Recipe

TEST = "reasonshapes/test"
#: Steps beyond the base at scale 1, and the highest rate of sentences, lower than where nothing is known yet.
STEPS, LANGUAGE_RATE = {"language": 2500, "masks": 400}, 5e-4
SETTINGS_FILE, CARD_FILE = "settings.json", "training-card.json"


@dataclass(frozen=True)
class Training:
    """What is trained.

    Attributes:
        name: of its folder.
        strategy: how frames become rows; None for lisa-nano.
        frames: frames on which the one token's masks are supervised in a step; the recipe's own number where None.
    """

    name: str
    strategy: str | None = "sparse-dense"
    frames: int | None = None


VIDEOLISA = Training("videolisa")
LISA = Training("lisa", strategy=None)


@dataclass(frozen=True)
class Variant:
    """A row of an ablation.

    Attributes:
        name: of the row and of its runs' folders.
        training: whose weights it takes.
        predictor: registered name, which asks them.
        printed: how the paper's tables call it, by table; empty where they have no such row.
    """

    name: str
    training: Training
    predictor: str
    printed: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Ablation:
    """Variants to compare; the differences are taken to ``reference``."""

    name: str
    title: str
    variants: tuple[Variant, ...]
    reference: str


def _table_6(row: str) -> tuple[tuple[str, str], ...]:
    return (("Table 6", row), ("Table 9", row))


_ALL = Variant("videolisa", VIDEOLISA, "videolisa-nano", _table_6("One-Token-Seg-All"))
_POST = Variant("videolisa-post-optimised", VIDEOLISA, "videolisa-nano-post-optimised", _table_6("Post optimization"))
ABLATIONS = {
    one.name: one
    for one in (
        Ablation(
            "temporal",
            "How a video's frames become rows (Tables 5 and 8)",
            (
                Variant(
                    "n-frame",
                    Training("n-frame", "n-frame"),
                    "videolisa-nano",
                    (("Table 5", "n-frame"), ("Table 8", "n-frame")),
                ),
                Variant(
                    "st-pooling",
                    Training("st-pooling", "spatial-temporal-pooling"),
                    "videolisa-nano",
                    (("Table 5", "ST Pooling"), ("Table 8", "Spatial & Temporal Pooling")),
                ),
                Variant(
                    "slow-fast",
                    Training("slow-fast", "slow-fast-pooling"),
                    "videolisa-nano",
                    (("Table 5", "Slow-Fast Pooling"), ("Table 8", "Slow-Fast Pooling")),
                ),
                Variant(
                    "sparse-dense",
                    VIDEOLISA,
                    "videolisa-nano",
                    (("Table 5", "Sparse Dense Sampling"), ("Table 8", "Sparse Dense Sampling")),
                ),
            ),
            "sparse-dense",
        ),
        Ablation(
            "association",
            "One token supervised on one frame or on several (Tables 6 and 9)",
            (
                Variant(
                    "one-token-seg-one",
                    Training("seg-one", frames=1),
                    "videolisa-nano",
                    _table_6("One-Token-Seg-One"),
                ),
                Variant("one-token-seg-all", VIDEOLISA, "videolisa-nano", _table_6("One-Token-Seg-All")),
            ),
            "one-token-seg-all",
        ),
        Ablation(
            "lisa",
            "An image model, an image model with propagation, a video model (Tables 6 and 9)",
            (
                Variant("lisa-first-frame", LISA, "lisa-nano-first-frame", _table_6("Baseline")),
                Variant("lisa", LISA, "lisa-nano"),
                Variant("lisa-propagation", LISA, "lisa-nano-propagation", _table_6("+ XMem")),
                _ALL,
            ),
            "videolisa",
        ),
        Ablation(
            "post-optimisation", "With and without post-optimisation (Tables 6 and 9)", (_ALL, _POST), "videolisa"
        ),
    )
}


def ablation(name: str) -> Ablation:
    """The ablation of this name. Raises UnknownNameError."""
    if name not in ABLATIONS:
        raise UnknownNameError("ablation", name, ABLATIONS)
    return ABLATIONS[name]


@dataclass(frozen=True)
class Settings:
    """What all trainings and runs of a folder share.

    Attributes:
        base, lisa_base: the videolisa-nano and the lisa-nano that trainings start from: folders, or names of those that
            ship. A base that knows one strategy better than another favours it (``recipe.StrategyTraining``).
        scale: share of ``STEPS``.
        videos: of ``reasonshapes/train``.
        limit: videos of the test split that are predicted; all where None.
    """

    base: str
    lisa_base: str
    scale: float = 1.0
    videos: int | None = None
    limit: int | None = None

    def steps(self, stage: str) -> int:
        """Optimiser steps of a stage."""
        return max(1, round(STEPS[stage] * self.scale))


@dataclass(frozen=True)
class Outcome:
    """What a variant reached with one seed."""

    result: Result
    analysis: Analysis


def run(
    which: Ablation,
    settings: Settings,
    seeds: Sequence[int],
    out: Path,
    say: Callable[[str], None] = lambda words: None,
) -> dict[str, list[Outcome]]:
    """Train what is not trained yet, predict and score what is not scored yet.

    Args:
        which: the ablation.
        settings: must be those that the folder began with.
        seeds: at least one.
        out: ``trained/TRAINING-seedK``, ``trained/STRATEGY-language-seedK`` and ``runs/VARIANT-seedK`` below it.
        say: called with a line before each piece of work.

    Returns:
        By variant, an outcome a seed.

    Raises:
        Stopped: by a signal during training; the same call goes on from there.
        UsageError: where the folder holds trainings under other settings, or without a seed.
    """
    if not seeds:
        raise UsageError("An ablation needs at least one seed, e.g. --seeds 0,1,2.")
    _keep(settings, out)
    found: dict[str, list[Outcome]] = {variant.name: [] for variant in which.variants}
    for seed in seeds:
        for variant in which.variants:
            weights = trained(variant.training, settings, seed, out, say)
            found[variant.name].append(_scored(variant, weights, settings, seed, out, say))
    return found


def trained(training: Training, settings: Settings, seed: int, out: Path, say: Callable[[str], None]) -> Path:
    """The folder with a training's weights; trained, or trained to the end, where they are not there."""
    base = settings.lisa_base if training.strategy is None else settings.base
    sentences = Training(f"{training.strategy or training.name}-language", training.strategy)
    for part, stage in ((sentences, "language"), (training, "masks")):
        folder = out / "trained" / f"{part.name}-seed{seed}"
        if not (folder / "weights" / CARD_FILE).is_file():
            from ..videolisa.train.engine import Options
            from ..videolisa.train.recipes import train

            say(f"training {folder.name}")
            train(recipe(part, stage, base, settings, seed, folder), folder, Options(seed=seed))
        base = str(folder / "weights")
    return Path(base)


def recipe(training: Training, stage: str, base: str, settings: Settings, seed: int, folder: Path) -> Recipe:
    """A stage of a training. Raises CheckpointError for a base of another kind."""
    import torch

    from ..videolisa.checkpoints import VideoLisa
    from ..videolisa.nano.recipe import WHOLE, nano_recipe
    from ..videolisa.nano.shipped import weights_folder
    from .lisa import open_lisa
    from .lisa_nano import lisa_nano_recipe

    course = replace(WHOLE, videos=settings.videos or WHOLE.videos)
    size: dict[str, Any] = {"seed": seed, "course": course, "only": (stage,)}
    if training.strategy is None:
        made = lisa_nano_recipe(open_lisa(weights_folder(base), torch.float32), **size)
    else:
        videolisa = VideoLisa.from_pretrained(weights_folder(base), dtype=torch.float32)
        made = nano_recipe(folder, base=videolisa, strategy=training.strategy, **size)
    return _shortened(made, settings.scale, training.frames)


def _shortened(made: Recipe, scale: float, frames: int | None) -> Recipe:
    """The recipe's stages as they go on from a base: fewer steps, and scored at their end alone."""
    from ..videolisa.nano.recipe import WHOLE, LanguageTraining

    courses = {"language": replace(WHOLE.masks, lr=LANGUAGE_RATE), "masks": WHOLE.masks}
    for stage in made.stages:
        assert isinstance(stage, LanguageTraining)
        course = replace(courses[stage.name], steps=STEPS[stage.name])
        stage.optimisation, stage.validate_every = course.scaled(scale), 0
        if frames is not None and stage.frames:
            stage.frames = frames
    return made


def _scored(
    variant: Variant, weights: Path, settings: Settings, seed: int, out: Path, say: Callable[[str], None]
) -> Outcome:
    from .registry import make_predictor

    data = load(TEST)
    folder = out / "runs" / f"{variant.name}-seed{seed}"
    say(f"predicting {folder.name}")
    model = make_predictor(f"{variant.predictor}:{weights}")
    done = predict(model, data, out=folder, limit=settings.limit, progress=False)
    result = evaluate(done, data, workers=1)
    if isinstance(result, list):
        raise RunError(f"{data.id} has several default protocols; an ablation compares under one.")
    return Outcome(result, analyse(done, data, workers=1))


def _keep(settings: Settings, out: Path) -> None:
    """Remember the folder's settings. Raises UsageError where it has others."""
    from ..videolisa.checkpoints import weights_hash
    from ..videolisa.nano.shipped import weights_folder

    path = out / SETTINGS_FILE
    bases = {name: weights_folder(getattr(settings, name)) for name in ("base", "lisa_base")}
    wanted = {**asdict(settings), **{f"{name}_hash": weights_hash(folder) for name, folder in bases.items()}}
    if path.is_file():
        held = json.loads(path.read_text(encoding="utf-8"))
        if held != wanted:
            raise UsageError(f"{out} holds ablations under {held}, asked for is {wanted}; give another --out.")
        return
    out.mkdir(parents=True, exist_ok=True)
    replace_file(path, json.dumps(wanted, indent=1) + "\n")
