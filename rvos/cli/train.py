"""``rvos train``: the paper's recipe, and the two small models that ship in the package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..datasets.types import RVOSDataset
    from ..videolisa.nano.recipe import Course
    from ..videolisa.train.mixture import Mixture
    from ..videolisa.train.recipes import Recipe


def train(
    out: Annotated[Path, typer.Option(help="Folder for checkpoints, log, plot and weights.")],
    preset: Annotated[
        str,
        typer.Option(
            help="nano: videolisa-nano from nothing, on generated videos. lisa-nano: its image-only counterpart. full: "
            "the paper's recipe for a checkpoint given by --base."
        ),
    ] = "nano",
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run that was stopped or killed.")] = False,
    short: Annotated[
        bool,
        typer.Option(
            "--short",
            help="nano, lisa-nano: a course of minutes that learns looks and the words for them, on 200 videos.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, data and dropout.")] = 0,
    scale: Annotated[float, typer.Option(min=0, help="So much of the preset's steps, schedule and all.")] = 1.0,
    minutes: Annotated[float | None, typer.Option(help="Stop, resumably, after so many minutes.")] = None,
    limit_steps: Annotated[int | None, typer.Option(min=1, help="Stop, resumably, after so many steps.")] = None,
    videos: Annotated[
        int | None, typer.Option(min=1, help="nano, lisa-nano: so many videos of reasonshapes/train.")
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            help="The checkpoint to start from. nano: an earlier videolisa-nano; lisa-nano: the videolisa-nano whose "
            "image branches it gets, or an earlier lisa-nano; of both also the shipped one, by its name."
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="full, repeatable: GROUP=RATE:DATASET/SPLIT[,DATASET/SPLIT ...]. Without it the paper's groups and "
            "rates, of the datasets whose folders are known."
        ),
    ] = None,
    valid: Annotated[
        str | None, typer.Option(help="full: DATASET/SPLIT to validate on, at first and every 300 steps.")
    ] = None,
    precision: Annotated[str, typer.Option(help="no (float32), bf16 or fp16.")] = "no",
    stages: Annotated[
        str | None, typer.Option(help="nano, lisa-nano: only these stages, e.g. language,masks, on top of --base.")
    ] = None,
    new_language: Annotated[
        bool,
        typer.Option(
            "--new-language",
            help="nano: of --base take CLIP, SAM and tokenizer alone, and train the language model anew (--seed), as "
            "lisa-nano's is: seeds without hours for the image branches.",
        ),
    ] = False,
    strategy: Annotated[
        str | None,
        typer.Option(
            help="nano: how frames become rows (docs/videolisa.md); by default as --base does, or sparse-dense."
        ),
    ] = None,
) -> None:
    """Train a model; everything that is needed to do it again is written beside its weights.

    Ctrl-C, SIGTERM and --minutes leave a folder that --resume continues, with the same result as a run that was never
    interrupted. Several processes: accelerate launch --module rvos train ..., with a configuration of docs/training.md.
    """
    from ..datasets.errors import UnknownNameError, UsageError
    from ..videolisa.train.engine import CHECKPOINTS, Options, Stopped
    from ..videolisa.train.recipes import train as run

    if (out / CHECKPOINTS).exists() and not resume:
        raise UsageError(f"{out} holds a run already: --resume continues it, another --out begins a new one.")
    options = Options(seed=seed, precision=precision, minutes=minutes, limit_steps=limit_steps)
    makers: dict[str, Callable[[], Recipe]] = {
        "nano": lambda: _nano(out, seed, _course(short, scale, videos), base, stages, strategy, new_language),
        "lisa-nano": lambda: _lisa_nano(base, seed, _course(short, scale, videos), stages),
        "full": lambda: _full(base, data or [], valid, scale, seed),
    }
    if preset not in makers:
        raise UnknownNameError("preset", preset, makers)
    nano, both = ("nano",), ("nano", "lisa-nano")
    meant: dict[str, tuple[Any, tuple[str, ...]]] = {
        "--short": (short, both),
        "--videos": (videos, both),
        "--stages": (stages, both),
        "--strategy": (strategy, nano),
        "--new-language": (new_language, nano),
        "--data": (data, ("full",)),
        "--valid": (valid, ("full",)),
    }
    for option, (value, presets) in meant.items():
        if value and preset not in presets:
            raise UsageError(f"{option} is for --preset {' or '.join(presets)}, not {preset}.")
    try:
        weights = run(makers[preset](), out, options)
    except Stopped as stopped:
        print(f"{out}: {stopped}")
        return
    print(f"Weights, tokenizer and training card: {weights}")
    print(out)


train.epilog = "Example: rvos train --preset nano --short --out runs/short"  # type: ignore[attr-defined]


def _course(short: bool, scale: float, videos: int | None) -> Course:
    from dataclasses import replace

    from ..videolisa.nano.recipe import SHORT, WHOLE

    course = SHORT if short else WHOLE
    return replace(course, videos=videos or course.videos).scaled(scale)


def _nano(
    out: Path,
    seed: int,
    course: Course,
    base: str | None,
    stages: str | None,
    strategy: str | None,
    anew: bool,
) -> Recipe:
    from ..datasets.errors import UsageError
    from ..videolisa.checkpoints import VideoLisa
    from ..videolisa.nano.models import new_language
    from ..videolisa.nano.recipe import IMAGE_STAGES, ON_REQUEST, nano_recipe
    from ..videolisa.nano.shipped import weights_folder

    start = None if base is None else VideoLisa.from_pretrained(weights_folder(base), dtype=_float32())
    if anew:
        if start is None:
            raise UsageError("--new-language takes the image branches of a videolisa-nano: --base RUN/weights.")
        start = new_language(start, seed)
    only = stages.split(",") if stages else ()
    skip = (*ON_REQUEST, *IMAGE_STAGES) if anew else ON_REQUEST
    return nano_recipe(out, seed, course, start, only, strategy, skip)


def _lisa_nano(base: str | None, seed: int, course: Course, stages: str | None) -> Recipe:
    from ..baselines.lisa_nano import lisa_from, lisa_nano_recipe
    from ..datasets.errors import UsageError
    from ..videolisa.nano.shipped import weights_folder

    if base is None:
        raise UsageError("--preset lisa-nano takes its image branches from a videolisa-nano: --base RUN/weights.")
    lisa = lisa_from(weights_folder(base), seed)
    return lisa_nano_recipe(lisa, seed, course, stages.split(",") if stages else ())


def _full(base: str | None, data: list[str], valid: str | None, scale: float, seed: int) -> Recipe:
    from ..datasets.errors import UsageError
    from ..datasets.registry import load
    from ..videolisa.checkpoints import open_checkpoint
    from ..videolisa.train.recipes import full_recipe

    if base is None:
        raise UsageError("--preset full starts from a checkpoint: --base FOLDER (docs/training.md says which).")
    model = open_checkpoint(base, dtype=_float32())
    config = model.model.config
    mixture = _mixture(data, config.sparse_frames, config.dense_frames)
    return full_recipe(model, mixture, None if valid is None else load(valid), scale, seed=seed)


def _mixture(data: list[str], sparse: int, dense: int) -> Mixture:
    from ..datasets.errors import RvosError, UsageError
    from ..datasets.registry import load
    from ..videolisa.train.mixture import PAPER_GROUPS, PAPER_RATES, Group, Mixture

    if data:
        return Mixture([_group(text) for text in data], sparse, dense)
    groups, absent = [], []
    for name, rate in PAPER_RATES.items():
        found: list[RVOSDataset] = []
        for dataset in PAPER_GROUPS[name]:
            try:
                found.append(load(dataset))
            except RvosError as error:
                absent.append(f"{dataset} ({error})")
        if found:
            groups.append(Group(name, rate, tuple(found), by_size=name == "mevis"))
    for line in absent:
        typer.echo(f"Left out of the mixture: {line}", err=True)
    if not groups:
        raise UsageError("None of the paper's datasets has a known folder: rvos datasets roots --set NAME=FOLDER.")
    return Mixture(groups, sparse, dense)


def _group(text: str) -> Any:
    """``mevis=6:mevis/train,mevis/valid_u`` as a group."""
    from ..datasets.errors import UsageError
    from ..datasets.registry import load
    from ..videolisa.train.mixture import Group

    name, _, rest = text.partition("=")
    rate, _, names = rest.partition(":")
    if not (name and names) or not rate.replace(".", "", 1).isdigit():
        raise UsageError(f"--data {text}: expected GROUP=RATE:DATASET/SPLIT, e.g. mevis=6:mevis/train.")
    return Group(name, float(rate), tuple(load(n) for n in names.split(",")))


def _float32() -> Any:
    import torch

    return torch.float32
