"""``rvos demo``: the whole flow on the generated benchmark, from models to a report with pictures."""

from __future__ import annotations

import inspect
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..datasets.errors import UsageError

if TYPE_CHECKING:
    from ..benchmarks.protocols.base import Status
    from ..benchmarks.results import Result, Table
    from ..datasets.types import RVOSDataset, Sample
    from ..leaderboard.filmstrip import Strip

PREDICTORS = (
    "empty",
    "full",
    "centre-box",
    "largest-object",
    "one-mask-for-all",
    "permuted-sentences",
    "first-frame-copied",
    "shifted",
    "best-object",
    "perfect",
)
#: Models whose weights ship in the package.
MODELS = ("videolisa-nano", "lisa-nano")
#: The trivial predictors that are drawn below the models: three that never read the sentence, one that never tracks,
#: one with sloppy outlines.
DRAWN = ("centre-box", "largest-object", "one-mask-for-all", "first-frame-copied", "shifted")
#: What the tables need; in logs, where nobody knows the width, they get it.
WIDTH, WIDE = 116, 136


def demo(
    out: Annotated[Path, typer.Option(help="Folder for runs, report and pictures.")] = Path("out/demo"),
    videos: Annotated[
        int | None, typer.Option(min=1, help="How many videos to generate: 24, with --all 3 for each benchmark.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Score every benchmark in miniature instead.")] = False,
) -> None:
    """Run the whole flow on ReasonShapes: generate, predict, score, compare, draw.

    videolisa-nano and lisa-nano, whose weights are in the package, beside trivial, text-blind and oracle predictors,
    which show what a benchmark gives away without a model. The report says what each of them tells. The models need
    pip install 'rvos[models]'; without it they are left out, and the output says so.
    """
    if every:
        _every_benchmark(out, videos or 3)
        return
    from rich.console import Console

    from ..datasets.registry import load
    from ..leaderboard.entries import check_all
    from ..leaderboard.site import build_site
    from ..leaderboard.tables import print_table

    dataset = load("reasonshapes/test", n_videos=videos or 24)
    models, notice = _models()
    results = {name: _result(name, dataset, out / "runs" / name) for name in (*models, *PREDICTORS)}
    tables = [_comparison(results), _by_kind(results), _choices(results, dataset)]
    console = Console(record=True)
    console.width = max(console.width, WIDTH)
    console.print(next(iter(results.values())).head()[0], markup=False, highlight=False)
    for table in tables:
        print_table(table, console)
    (out / "table.svg").write_text(_without_fonts(console.export_svg(title="rvos demo")), encoding="utf-8")
    pictures = _draw(dataset, results, out / "pictures")
    report = out / "report.md"
    report.write_text(_report(results, tables, pictures, notice), encoding="utf-8")
    if notice:
        print(notice)
    print(f"Report with pictures: {report}")
    print(f"Site: {build_site(out / 'site', check_all(out / 'runs'), {dataset.id: dataset})}")
    print(out)


demo.epilog = "Example: rvos demo --out out/demo"  # type: ignore[attr-defined]


def _every_benchmark(out: Path, videos: int) -> None:
    from rich.console import Console

    from .. import miniature
    from ..leaderboard.tables import print_table

    scores = miniature.run_all(out, videos, lambda name: print(f"{name} …", file=sys.stderr, flush=True))
    console = Console()
    console.width = max(console.width, WIDE)
    print_table(miniature.table(scores), console)
    (out / "report.md").write_text(miniature.report(scores), encoding="utf-8")
    print(f"Report: {out / 'report.md'}")
    print(out)


# Predict and score ----------------------------------------------------------------------------------------------------


def _models() -> tuple[tuple[str, ...], str]:
    """The nano models that this environment can run, all or none, and the reason where it is none."""
    from ..baselines.registry import make_predictor
    from ..datasets.errors import MissingExtraError
    from ..videolisa.nano.shipped import WeightsAbsentError

    try:
        for name in MODELS:
            make_predictor(name)
    except (MissingExtraError, WeightsAbsentError) as error:
        return (), f"Left out: {' and '.join(MODELS)}. {error}"
    return MODELS, ""


def _result(name: str, dataset: RVOSDataset, folder: Path) -> Result:
    """Predict into a new run folder, then score the masks that lie in it."""
    from ..baselines.registry import make_predictor
    from ..benchmarks.engine import predict
    from ..benchmarks.evaluator import evaluate
    from ..benchmarks.runs import PredictorRecord, is_run

    if is_run(folder):
        shutil.rmtree(folder)
    print(f"{name} …", file=sys.stderr, flush=True)
    run = predict(
        make_predictor(name, dataset), dataset, out=folder, progress=False, predictor=PredictorRecord(name=name)
    )
    result = evaluate(run, dataset, workers=1)
    if isinstance(result, list):
        raise UsageError(f"{dataset.id} has several default protocols; the demo compares under one.")
    return result


# Tables ---------------------------------------------------------------------------------------------------------------


def _comparison(results: dict[str, Result]) -> Table:
    """A row per predictor: J&F with its interval, J, F, sentences per status."""
    from ..benchmarks.results import Table, percent, shown

    counted: tuple[Status, ...] = ("ok", "missing", "invalid", "failed")
    rows = []
    for name, result in results.items():
        summary = result.summary
        scores = [shown(summary.J_and_F), percent(summary.J.value), percent(summary.F.value)]
        rows.append((name, *scores, *(str(summary.counts.get(status, 0)) for status in counted)))
    return Table("All sentences", ("predictor", "J&F", "J", "F", *counted), tuple(rows))


def _by_kind(results: dict[str, Result]) -> Table:
    """A row per predictor: mean J&F per kind of sentence."""
    from ..benchmarks.results import Table, percent

    kinds = sorted({str(s.unit.tags["kind"]) for result in results.values() for s in result.scores})
    rows = []
    for name, result in results.items():
        means = []
        for kind in kinds:
            values = [s.J_and_F for s in result.scores if s.unit.tags["kind"] == kind and s.J_and_F is not None]
            means.append(percent(sum(values) / len(values) if values else None))
        rows.append((name, *means))
    first = next(iter(results.values()))
    sizes = [str(sum(s.unit.tags["kind"] == kind for s in first.scores)) for kind in kinds]
    return Table("J&F by kind of sentence", ("predictor", *kinds), (("sentences", *sizes), *rows))


def _choices(results: dict[str, Result], dataset: RVOSDataset) -> Table:
    """A row per predictor: how often the right object is chosen, of all sentences and of both of a pair of twins."""
    from ..benchmarks.error_analysis import analyse
    from ..benchmarks.results import Table, shown

    found = {name: analyse(result.path, dataset, workers=1) for name, result in results.items() if result.path}
    pairs = {name: analysis.pair_accuracy() for name, analysis in found.items()}
    twins = sorted({twin for accuracies in pairs.values() for twin in accuracies})
    rows = [
        (name, shown(found[name].selection_accuracy), *(shown(pairs[name][twin]) for twin in twins)) for name in results
    ]
    return Table(
        "The right object chosen", ("predictor", "sentences", *(f"{twin} pairs" for twin in twins)), tuple(rows)
    )


def _without_fonts(svg: str) -> str:
    """The picture without the web fonts that it would load; the reader's own monospace font does."""
    return re.sub(r"@font-face\s*{.*?}\s*", "", svg, flags=re.DOTALL)


# Pictures -------------------------------------------------------------------------------------------------------------


def _draw(dataset: RVOSDataset, results: dict[str, Result], folder: Path) -> dict[str, Path]:
    """A film strip per kind of sentence; kind -> file."""
    from ..leaderboard.filmstrip import film_strip

    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for kind, sample in _telling_samples(dataset, results).items():
        truth = dataset.ground_truth(sample)
        assert truth is not None
        answers = [_strip(name, results[name], sample) for name in (*MODELS, *DRAWN) if name in results]
        tags = sample.expression.tags
        caption = f"{kind} ({sample.key}), depth {tags['depth']}, {tags['n_objects']} objects, {tags['family']}"
        files[kind] = folder / f"{kind}.png"
        film_strip(sample, truth.mask, answers, caption).save(files[kind], optimize=True)
    return files


def _telling_samples(dataset: RVOSDataset, results: dict[str, Result]) -> dict[str, Sample]:
    """Per kind the sentence whose target moves most, if possible seen in every frame and of a video not yet shown.

    A copy of the first mask scores lowest there.
    """
    chosen: dict[str, Sample] = {}
    for kind in sorted({str(s.expression.tags["kind"]) for s in dataset}):
        shown = {sample.video.id for sample in chosen.values()}
        ranks = {
            sample.key: (
                sample.expression.tags["n_visible_frames"] != sample.expression.tags["n_frames"],
                sample.video.id in shown,
                _score_of(results["first-frame-copied"], sample),
            )
            for sample in dataset
            if sample.expression.tags["kind"] == kind
        }
        chosen[kind] = dataset.sample(min(ranks, key=lambda key: ranks[key]))
    return chosen


def _strip(name: str, result: Result, sample: Sample) -> Strip:
    """The masks of a run as a row of a film strip."""
    from ..benchmarks.predictions.run_masks import RunMasks
    from ..benchmarks.runs import Run
    from ..leaderboard.filmstrip import Strip

    assert result.path is not None
    masks = RunMasks(Run.open(result.path).masks)
    names = sample.video.frame_names
    return Strip(name, f"J&F {100 * _score_of(result, sample):.1f}", lambda t: masks.mask(sample, names[t], "strict"))


def _score_of(result: Result, sample: Sample) -> float:
    return next(s.J_and_F or 0.0 for s in result.scores if s.unit.key == sample.key)


# Report ---------------------------------------------------------------------------------------------------------------


def _report(results: dict[str, Result], tables: Sequence[Table], pictures: dict[str, Path], notice: str) -> str:
    """The demo in Markdown; pictures lie beside it."""
    first = next(iter(results.values()))
    data = first.dataset
    parts = [
        "# Two small models, and what a benchmark gives away without one",
        f"Generated by `rvos demo` with rvos {first.record.rvos_version}: {data.n_samples} sentences about "
        f"{data.n_videos} videos of ReasonShapes ({data.id}, {data.version}, fingerprint `{data.fingerprint[:23]}…`).",
        f"Protocol `{first.protocol.id}`. {first.protocol.words} J&F, J and F in percent, ± is the 95 % interval, "
        "clustered by video because sentences about one video are not independent. The tables are also in `table.svg`.",
        *([notice] if notice else []),
        *(table.to_markdown() for table in tables),
        "*The right object chosen*: the share of sentences whose best-overlapping object is the target. Of a pair of "
        "twins, whose answers differ, both must be right; who is blind to what distinguishes them has 0.",
        "## What each predictor tells",
        "\n".join(f"- **{name}**: {_meaning(name)}" for name in results),
        "## Pictures",
        "Per kind of sentence the one whose target moves most. A mask is lit, all else is dimmed; the ground truth is "
        "outlined in green, an answer in magenta.",
        *(f"### {kind}\n\n![{kind}](pictures/{path.name})" for kind, path in pictures.items()),
        "## Files",
        "Each folder in `runs/` is a complete run: `run.json` (what was done), `predictions.jsonl` (how the model did "
        "on each sentence), `masks/` (a file a video), `samples.jsonl` (a score a line). The masks of one can be "
        "scored again:",
        f"```bash\nrvos evaluate --predictions {first.path}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _meaning(name: str) -> str:
    """What a predictor does and what its score tells, from its documentation."""
    from ..baselines.registry import MANIFEST, MODELS, load_attribute

    text = inspect.getdoc(load_attribute((MANIFEST | MODELS)[name])) or ""
    return " ".join(text.split("\n\nRaises:")[0].split())
