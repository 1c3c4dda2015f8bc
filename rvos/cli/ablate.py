"""``rvos ablate``: the paper's ablations at nano scale."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..baselines.ablations import Ablation, Settings
    from ..leaderboard.ablations import Report


def ablate(
    name: Annotated[str, typer.Argument(help="temporal, association, lisa or post-optimisation.")],
    out: Annotated[Path, typer.Option(help="Folder for trainings, runs and tables; shared by all ablations.")],
    base: Annotated[
        str,
        typer.Option(
            help="The videolisa-nano that variants start from: the shipped one, or a folder. For 'temporal' one that "
            "knows all strategies alike (rvos train --base videolisa-nano --stages strategies)."
        ),
    ] = "videolisa-nano",
    lisa_base: Annotated[
        str, typer.Option(help="The lisa-nano that its variants start from: the shipped one, or a folder.")
    ] = "lisa-nano",
    seeds: Annotated[str, typer.Option(help="Comma-separated; each variant is trained with each.")] = "0,1,2",
    scale: Annotated[float, typer.Option(min=0, help="So much of 2500 steps of sentences and 400 with masks.")] = 1.0,
    videos: Annotated[int | None, typer.Option(min=1, help="So many videos of reasonshapes/train.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many test videos.")] = None,
    write: Annotated[
        Path | None, typer.Option(help="Also write this page from all ablations of --out, e.g. docs/ablations.md.")
    ] = None,
) -> None:
    """Train variants with several seeds, predict reasonshapes/test with each, and compare them as the paper does.

    What is finished is kept: the same command goes on where it was stopped. Prints J&F with intervals over seeds and
    videos, differences to the reference, selection and twins, and which of the paper's orders hold.
    """
    from rich.console import Console

    from ..baselines.ablations import Settings, ablation
    from ..leaderboard.tables import print_table
    from ..videolisa.train.engine import Stopped
    from .output import write_text

    which = ablation(name)
    settings = Settings(base, lisa_base, scale, videos, limit)
    try:
        report = _report(which, settings, _numbers(seeds), out)
    except Stopped as stopped:
        print(f"{out}: {str(stopped).replace('--resume', 'the same command')}")
        raise typer.Exit(130) from None
    console = Console()
    for table in report.tables():
        print_table(table, console)
    print(report.in_words())
    write_text(out / f"{name}.json", report.to_json())
    write_text(out / f"{name}.md", report.to_markdown())
    report.plot(out / f"{name}.svg")
    if write is not None:
        _write(write, out)
    print(out)


ablate.epilog = "Example: rvos ablate temporal --base runs/base/weights --out runs/ablations"  # type: ignore[attr-defined]


def _report(which: Ablation, settings: Settings, seeds: list[int], out: Path) -> Report:
    from ..baselines.ablations import run
    from ..leaderboard.ablations import Report, Seeds

    found = run(which, settings, seeds, out, lambda words: typer.echo(f"{words} …", err=True))
    rows = tuple(
        Seeds(
            variant.name,
            tuple(one.result for one in found[variant.name]),
            tuple(one.analysis for one in found[variant.name]),
            dict(variant.printed),
        )
        for variant in which.variants
    )
    about = {
        "seeds": ", ".join(map(str, seeds)),
        "steps": f"{settings.steps('language')} of sentences, {settings.steps('masks')} with masks",
        "training videos": settings.videos,
        "base": settings.base,
        "base of lisa-nano": settings.lisa_base,
    }
    return Report(which.name, which.title, rows, which.reference, about)


def _numbers(text: str) -> list[int]:
    from ..datasets.errors import UsageError

    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() for word in words) or len(set(words)) < len(words):
        raise UsageError(f"--seeds {text}: expected different numbers, e.g. 0,1,2.")
    return [int(word) for word in words]


def _write(path: Path, out: Path) -> None:
    """The page of all ablations that the folder holds, with their pictures beside it."""
    from ..baselines.ablations import ABLATIONS
    from ..leaderboard.ablations import page
    from .output import write_text

    sections = []
    for name in ABLATIONS:
        if (out / f"{name}.md").is_file():
            picture = path.parent / "images" / f"ablation-{name}.svg"
            write_text(picture, (out / f"{name}.svg").read_text(encoding="utf-8"))
            section = (out / f"{name}.md").read_text(encoding="utf-8").strip()
            sections.append(f"{section}\n\n![J&F of each variant with intervals](images/{picture.name})")
    write_text(path, page(sections))
    print(path)
