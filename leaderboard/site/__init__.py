"""A static site of leaderboards: HTML, one style sheet, one script; no server, nothing loaded from elsewhere.

Every page opens from the disk. Boards per dataset and protocol sort, filter and show intervals; samples play with the
ground truth and the masks of several runs; published numbers stand with their sources and with what is odd about them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from ...benchmarks.protocols import REGISTRY, get_protocol
from ...benchmarks.protocols.base import TRAITS, Protocol
from ...benchmarks.results import Result, metric_names, percent, shown
from ...datasets.errors import RunError
from ...datasets.types import RVOSDataset
from ..entries import Checked
from ..findings import all_findings
from ..literature import Row, Source, sources
from ..reproduction import reproduce
from ..statistics import Comparison, compare_results
from .html import Td, board, cost_plot, interval_plot, link, page, section, year_plot
from .samples import COLOURS, MOST_RUNS, Shown, datasets_of, write_samples

ASSETS = ("style.css", "site.js")
_GROUPS = {"worst": "Worst", "best": "Best", "disagreed": "Most disagreed"}


def build_site(
    out: Path, entries: Sequence[Checked], data: Mapping[str, RVOSDataset] | None = None, samples: int = 12
) -> Path:
    """Write the site.

    Args:
        out: its folder; made where it does not exist, its files are replaced.
        entries: as ``entries.check_all`` gives them; refused ones are listed with the reason.
        data: datasets by id, for frames and ground truth; others are looked for where the runs found them.
        samples: how many samples of each board can be played.

    Returns:
        ``index.html``. Raises RunError where it cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in ASSETS:
            content = (files(__package__) / "assets" / name).read_bytes()
            (out / name).write_bytes(content)
        boards = list(_boards(entries, data or {}))
        for made in boards:
            _write(out, made.file, made.page(out, samples))
        _write(out, "index.html", _index(boards, entries))
        _write(out, "tables.html", _tables())
        _write(out, "published.html", _published())
        _write(out, "why.html", _why())
    except OSError as error:
        raise RunError(f"{out} cannot be written: {error.strerror or error}; give another --out.") from error
    return out / "index.html"


def _write(out: Path, name: str, text: str) -> None:
    (out / name).write_text(text, encoding="utf-8")


# Boards ---------------------------------------------------------------------------------------------------------------


class Board:
    """All entries of one dataset under one protocol, the best first."""

    def __init__(self, dataset: str, protocol: str, entries: Sequence[Checked], data: RVOSDataset | None) -> None:
        self.dataset, self.protocol, self.data = dataset, protocol, data
        results = {_unique(i, entry): entry.result for i, entry in enumerate(entries) if entry.result is not None}
        self.comparison: Comparison | None = compare_results(results) if len(results) > 1 else None
        self.results: dict[str, Result] = dict(self.comparison.results) if self.comparison else results
        self.entries = {_unique(i, entry): entry for i, entry in enumerate(entries)}
        names = [entry.name for entry in entries]
        self.names = {key: entry.name if names.count(entry.name) == 1 else key for key, entry in self.entries.items()}

    @property
    def slug(self) -> str:
        return re.sub(r"[^A-Za-z0-9]+", "-", f"{self.dataset} {self.protocol}").strip("-")

    @property
    def file(self) -> str:
        return f"board-{self.slug}.html"

    @property
    def title(self) -> str:
        return f"{self.dataset} under {self.protocol}"

    @property
    def metrics(self) -> tuple[str, ...]:
        """What the protocol reports; runs are ranked by the first."""
        return metric_names(self.results.values())

    def best(self) -> tuple[str, Result]:
        key, result = next(iter(self.results.items()))
        return self.names[key], result

    def page(self, out: Path, samples: int) -> str:
        """The board's page; frames and masks of its samples are written into ``out``."""
        known = self.protocol in REGISTRY
        words = get_protocol(self.protocol).words if known else ""
        data = self.best()[1].dataset
        lead = (
            f"{words} Data: version {data.version}, {data.n_samples} sentences in {data.n_videos} videos, "
            f"annotations {data.fingerprint[:23]}."
        )
        body = [f'<p class="lead">{escape(lead)}</p>', self._table(), self._plot()]
        scripts: list[str] = []
        sample_units = any(s.unit.expression_id for r in self.results.values() for s in r.scores)
        if self.data is not None and sample_units and samples > 0:
            body += self._samples(out, samples)
            scripts.append(f"samples-{self.slug}.js")
        elif sample_units:
            body.append('<p class="note">The data are not on the machine that made this page: no samples to play.</p>')
        body += [*self._breakdowns(), *self._pairs(), self._cost()]
        return page(self.file, self.title, body, scripts)

    def _table(self) -> str:
        first, *others = self.metrics
        heads = {"model": False, first: True, "±": True, **dict.fromkeys(others, True), "incomplete": True}
        heads |= {"s/sentence": True, "against the best": False, "known as": False, "seen in training": False}
        return board(f"{self.title}: runs, the best first", heads, [self._row(key) for key in self.results])

    def _row(self, key: str) -> tuple[str, str, list[Td]]:
        entry, result = self.entries[key], self.results[key]
        best = next(iter(self.results))
        near = self.comparison is not None and key in self.comparison.not_separable
        seen = " ".join(note.removeprefix("Seen: ") for note in entry.notes if note.startswith("Seen: "))
        cost = _seconds(result)
        headline, half = result.headline, result.headline.half_width
        cells = [
            Td.text(self.names[key]),
            Td.number(percent(headline.value), headline.value),
            Td.number("–" if half is None else f"{100 * half:.2f}", half),
            *(Td.number(percent(result.value(name)), result.value(name)) for name in self.metrics[1:]),
            Td.number(str(len(result.missing())), len(result.missing())),
            Td.number("–" if cost is None else f"{cost:.4f}" if cost < 0.1 else f"{cost:.2f}", cost),
            Td.text("" if not near else "best" if key == best else "not separable from the best", "note"),
            Td.text(entry.kind),
            Td.text(seen, "note"),
        ]
        return ("best" if near else "", "", cells)

    def _plot(self) -> str:
        rows = [
            (self.names[key], 100 * value.value, None if value.half_width is None else 100 * value.half_width)
            for key, result in self.results.items()
            if (value := result.headline).value is not None
        ]
        return interval_plot(f"{self.metrics[0]} with 95 % intervals", rows) if rows else ""

    def _cost(self) -> str:
        """The first metric against time, where rvos ran two models or more."""
        points = [
            (cost, 100 * value, self.names[key])
            for key, result in self.results.items()
            if (cost := _seconds(result)) and (value := result.headline.value) is not None
        ]
        title = f"{self.metrics[0]} against seconds a sentence, on whatever machine each run was made"
        return section("Cost", cost_plot(title, points)) if len(points) > 1 else ""

    def _pairs(self) -> list[str]:
        """Every pair with difference, interval and p."""
        if self.comparison is None:
            return []
        heads = {"pair": False, "difference": True, "±": True, "p (permutation)": True, "p (Holm)": True}
        heads |= {"videos to see 1 point": True}
        rows = []
        for pair in self.comparison.pairs:
            cells = [
                Td.text(f"{self.names[pair.a]} − {self.names[pair.b]}"),
                Td.number(f"{100 * pair.difference:+.2f}", pair.difference),
                Td.number("–" if pair.half_width is None else f"{100 * pair.half_width:.2f}", pair.half_width),
                Td.number("–" if pair.p is None else f"{pair.p:.4f}", pair.p),
                Td.number("–" if pair.p_holm is None else f"{pair.p_holm:.4f}", pair.p_holm),
                Td.number(str(pair.videos_per_point or "–"), pair.videos_per_point),
            ]
            rows.append(("", "", cells))
        title = f"Differences in {self.comparison.metric} between runs, clustered by video"
        return [section("Pairs", board(title, heads, rows))]

    def _breakdowns(self) -> Iterator[str]:
        """The units' metric by every tag that splits the samples, a column per run."""
        metric = next(iter(self.results.values())).unit_metric
        groups = {key: result.groups() for key, result in self.results.items()}
        for tag in dict.fromkeys(tag for tags in groups.values() for tag in tags):
            values = dict.fromkeys(value for tags in groups.values() for value in tags.get(tag, {}))
            heads = {tag.replace("_", " "): False, "n": True, **{self.names[key]: True for key in self.results}}
            rows = []
            for value in values:
                scores = [groups[key].get(tag, {}).get(value, []) for key in self.results]
                cells = [Td.text(value), Td.number(str(max(map(len, scores))), max(map(len, scores)))]
                for found in scores:
                    mean = metric.mean(found)
                    cells.append(Td.number(percent(mean), mean))
                rows.append(("", "", cells))
            words = tag.replace("_", " ")
            table = board(f"{metric.name} by {words}", heads, rows, filtered=False)
            yield section(f"By {words}", table, shown=tag == "kind")

    def _samples(self, out: Path, count: int) -> list[str]:
        assert self.data is not None
        runs = [Shown(self.names[k], self.results[k], _source(self.entries[k])) for k in self.results]
        chosen = write_samples(out, self.slug, self.data, runs, count)
        names = ["ground truth", *(run.name for run in runs[:MOST_RUNS])]
        boxes = "".join(
            f'<label><input type="checkbox"{" checked" if i < 2 else ""}>'
            f'<span class="chip" style="background:rgb{COLOURS[i]}"></span>{escape(name)}</label>'
            for i, name in enumerate(names)
        )
        links = "".join(
            f"<h3>{_GROUPS[group]}</h3><ul>{''.join(_sample_link(k, self.data) for k in keys)}</ul>"
            for group, keys in chosen.items()
        )
        columns = "".join(
            f'<th scope="col" aria-sort="none"{" class=number" if i > 2 else ""}>'
            f'<button type="button">{escape(n)}</button></th>'
            for i, n in enumerate(["sample", "sentence", "kind", *(run.name for run in runs[:MOST_RUNS])])
        )
        return [
            "<h2>Samples</h2>",
            '<section class="viewer" aria-label="Sample player"><div><p class="sentence" aria-live="polite"></p>'
            '<canvas role="img" width="480" height="270"></canvas><div class="controls">'
            '<button type="button" class="play">Play</button>'
            '<input type="range" min="0" value="0" aria-label="Frame"><span class="state"></span></div></div>'
            f"<div><fieldset><legend>Masks</legend>{boxes}</fieldset>{links}</div></section>",
            '<section class="samples board" aria-label="All samples"><div class="tools">'
            '<label>Find samples<input type="search" placeholder="words of the sentence, key or kind"></label>'
            '<p class="count" role="status"></p></div>'
            '<div class="scroll" tabindex="0" role="region" aria-label="J&amp;F of every sample">'
            f"<table><thead><tr>{columns}</tr></thead><tbody></tbody></table></div>"
            '<div class="pages"><button type="button">Previous</button><button type="button">Next</button></div>'
            "</section>",
        ]


def _boards(entries: Sequence[Checked], data: Mapping[str, RVOSDataset]) -> Iterator[Board]:
    groups: dict[tuple[str, str], list[Checked]] = {}
    for entry in entries:
        if entry.ok and entry.result is not None:
            groups.setdefault((entry.result.dataset.id, entry.result.protocol.id), []).append(entry)
    found = datasets_of([e.result for e in entries if e.ok and e.result is not None], data)
    for (dataset, protocol), group in sorted(groups.items()):
        yield Board(dataset, protocol, group, found.get(dataset))


def _unique(index: int, entry: Checked) -> str:
    return f"{entry.name} ({entry.path.name}, {index + 1})"


def _source(entry: Checked) -> Path:
    """The run or archive behind an entry."""
    assert entry.result is not None
    return entry.result.path or entry.path


def _seconds(result: Result) -> float | None:
    """What the model took per sentence, where rvos ran it."""
    from ...benchmarks.runs import Run, is_run

    if result.path is None or not is_run(result.path):
        return None
    lines = Run.open(result.path).predictions()
    return sum(line.seconds for line in lines) / len(lines) if lines else None


def _sample_link(key: str, dataset: RVOSDataset) -> str:
    from urllib.parse import quote

    text = dataset.sample(key).expression.text
    return f'<li><a href="#{quote(key, safe="")}">{escape(text)}</a></li>'


# Other pages ----------------------------------------------------------------------------------------------------------


def _index(boards: Sequence[Board], entries: Sequence[Checked]) -> str:
    heads = {"dataset": False, "protocol": False, "runs": True, "best": False, "value": True}
    rows = []
    for made in boards:
        name, result = made.best()
        value = result.headline
        cells = [
            Td(link(made.dataset, made.file)),
            Td.text(made.protocol),
            Td.number(str(len(made.results)), len(made.results)),
            Td.text(name),
            Td.number(f"{made.metrics[0]} {shown(value)}", value.value),
        ]
        rows.append(("", "", cells))
    lead = (
        "One table per dataset and protocol: numbers of different protocols, splits or data are never put into one "
        "column. Every number has its interval, and says how it is known."
    )
    refused = "".join(f"<li>{escape(e.path.name)}: {escape(' '.join(e.problems))}</li>" for e in entries if not e.ok)
    body = [f'<p class="lead">{escape(lead)}</p>', board("Leaderboards", heads, rows)]
    body += [f"<h2>Refused</h2><ul>{refused}</ul>"] if refused else []
    return page("index.html", "Leaderboards", body)


def _tables() -> str:
    lead = (
        "The ten tables of the paper as printed. Numbers in superscript lead to what is odd about a value; below each "
        "table stands what it takes to measure its cells."
    )
    parts = [f'<p class="lead">{escape(lead)}</p>']
    for number in range(1, 11):
        table = reproduce("videolisa", number)
        shown_ = table.render("html").replace("<table", '<div class="scroll" tabindex="0"><table')
        parts.append(f"<h2>{escape(table.name)}</h2>" + shown_.replace("</table>", "</table></div>"))
    return page("tables.html", "VideoLISA's tables", parts)


def _published() -> str:
    known = sources()
    findings: dict[int, list[str]] = {}
    for finding in all_findings(known):
        findings.setdefault(id(finding.row), []).append(finding.text)
    heads = {"method": False, "split": False, "J&F": True, "J": True, "F": True, "other": False, "year": True}
    heads |= {"source": False, "known as": False, "protocol": False, "findings": False}
    rows = [
        ("", row.place, _published_row(source, row, findings.get(id(row), [])))
        for source in known.values()
        for row in source.rows
    ]
    places = sorted({row.place for source in known.values() for row in source.rows})
    points = [
        (row.year, value, row.name)
        for row in known["videolisa"].rows
        if row.year and row.place == "ref-youtube-vos/valid" and (value := row.metrics.get("J&F")) is not None
    ]
    lead = (
        "Numbers as they are printed, each with its source. What a source does not state is called unstated. Findings "
        "are an automatic checker's and readers'; they say what is odd, not who is wrong."
    )
    body = [
        f'<p class="lead">{escape(lead)}</p>',
        year_plot("J&F on Ref-YouTube-VOS valid against year, as VideoLISA's Table 1 prints it", points),
        board("Published numbers", heads, rows, places),
    ]
    return page("published.html", "Published numbers", body)


def _published_row(source: Source, row: Row, findings: Sequence[str]) -> list[Td]:
    other = ", ".join(f"{k} {v}" for k, v in row.metrics.items() if k not in ("J&F", "J", "F") and v is not None)
    values = [row.metrics.get(name) for name in ("J&F", "J", "F")]
    return [
        Td.text(row.name),
        Td.text(row.place),
        *(Td.number("–" if v is None else str(v), v) for v in values),
        Td.text(other),
        Td.number(str(row.year or "–"), row.year),
        Td(link(source.where(row), source.url)),
        Td.text(row.provenance),
        Td.text(row.protocol, "note"),
        Td.text(" ".join(dict.fromkeys(findings)), "finding"),
    ]


def _why() -> str:
    """What each protocol does, and how it decides each question on which protocols differ."""
    protocols = [get_protocol(name) for name in REGISTRY]
    lead = (
        "J&F alone is no measure. These are the rules that go by that name; two of them differ by up to tens of points "
        "on the same masks. A version that is a number is strict: what is missing counts as wrong. A version that is a "
        "name reproduces that script."
    )
    body = [f'<p class="lead">{escape(lead)}</p>']
    body += [_about(protocol) for protocol in protocols]
    return page("why.html", "Why numbers differ", body)


def _about(protocol: Protocol) -> str:
    traits = "".join(
        f"<li><strong>{escape(t)}</strong>: {escape(protocol.traits[t])}</li>" for t in TRAITS if t in protocol.traits
    )
    equals = f" Equals {protocol.equals} where nothing is missing." if protocol.equals else ""
    return (
        f'<h2 id="{escape(protocol.id)}">{escape(protocol.id)}</h2><p>{escape(protocol.words)}</p>'
        f'<ul>{traits}</ul><p class="note">Source: {escape(protocol.source)}.{escape(equals)}</p>'
    )
