"""What a paper says about a run: a methods sentence, BibTeX, a row of a table."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass

from ..benchmarks.results import Result, percent
from ..benchmarks.runs import RunRecord, ValueRecord
from ..datasets.cards import load_card
from ..datasets.errors import UnknownNameError
from .latex import latex_text


@dataclass(frozen=True)
class Citation:
    """Text to paste.

    Attributes:
        methods: what was measured, on what, how, and how sure, in full sentences.
        bibtex: entries of the dataset and of the protocol.
        latex_row: ``name & J&F & J & F \\\\``, or the protocol's other metrics, with intervals.
    """

    methods: str
    bibtex: str
    latex_row: str

    def __str__(self) -> str:
        return f"{self.methods}\n\n{self.latex_row}\n\n{self.bibtex}\n"

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"


def cite(result: Result, name: str | None = None) -> Citation:
    """The citation of a scored run.

    Args:
        name: the model's, in place of the predictor's.
    """
    shown = name or _predictor(result.record)
    return Citation(_methods(result, shown), _bibtex(result), _latex_row(result, shown))


def _methods(result: Result, name: str) -> str:
    data, summary, record = result.dataset, result.summary, result.record
    extent = "" if record.limit is None else f" The run is partial: {record.extent}."
    incomplete = len(result.missing())
    missing = (
        "No prediction is missing."
        if not incomplete
        else f"{incomplete} of {len(result.scores)} units have missing or unusable predictions."
    )
    first, *others = result.metrics
    headline = result.headline
    sure = (
        f" ± {percent(headline.half_width)} (95 % confidence interval, Student's t clustered by video, "
        f"{headline.n_clusters} videos)"
        if headline.half_width is not None
        else f" (no interval: {headline.reason})"
    )
    rest = "".join(f", {metric.name} {percent(result.value(metric.name))}" for metric in others)
    warnings = "".join(f" {w}" for w in summary.warnings)
    return (
        f"We evaluate {name} on {data.id} (version {data.version}, {data.n_samples} sentences in {data.n_videos} "
        f"videos, annotations {data.fingerprint[:23]}) under the protocol {result.protocol.id} of rvos "
        f"{record.rvos_version}{_commit(record)}. {result.protocol.words} {first.name} is "
        f"{percent(headline.value)}{sure}{rest}. {missing}{extent}{warnings}"
    )


def _bibtex(result: Result) -> str:
    record = result.record
    key = re.sub(r"[^a-z0-9]+", "-", f"rvos-{result.protocol.id}".lower())
    protocol = "\n".join(
        [
            f"@software{{{key},",
            f"  title   = {{rvos: protocol {latex_text(result.protocol.id)}}},",
            f"  version = {{{record.rvos_version}{_commit(record)}}},",
            f"  year    = {{{record.started_at.year}}},",
            f"  note    = {{Source: {latex_text(result.protocol.source)}}}",
            "}",
        ]
    )
    try:
        return f"{load_card(result.dataset.name).citation.strip()}\n\n{protocol}"
    except UnknownNameError:
        return protocol  # a dataset of another package, which brings its own reference


def _latex_row(result: Result, name: str) -> str:
    values = [_latex_value(result.summary.value(metric.name)) for metric in result.metrics]
    return " & ".join([latex_text(name), *values]) + r" \\"


def _latex_value(value: ValueRecord) -> str:
    if value.value is None:
        return "--"
    half = "" if value.half_width is None else rf" {{\scriptsize $\pm$ {100 * value.half_width:.1f}}}"
    return f"{100 * value.value:.1f}{half}"


def _commit(record: RunRecord) -> str:
    if not record.git:
        return ""
    return f", commit {str(record.git['commit'])[:10]}{' with changes' if record.git.get('dirty') else ''}"


def _predictor(record: RunRecord) -> str:
    return record.predictor.name if record.predictor else "the predictions"
