"""The forms of a reproduced table: text, Markdown, LaTeX (booktabs), HTML, CSV and JSON.

Text, Markdown, LaTeX and HTML show the table as printed with measured columns, then what each cell takes, then the
notes. CSV and JSON have one record per published or measured number.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

from ..benchmarks.results import Table
from .latex import latex_command, latex_text
from .reproduction import STATES, Cell, Line, PaperTable, Place

_DASH = "–"
#: So many rows are named in one line; the JSON form has every cell by itself.
_MOST_NAMES = 3


@dataclass(frozen=True)
class GridCell:
    """A cell as it is shown: its text and the numbers of the footnotes on it."""

    text: str
    marks: tuple[int, ...] = ()


@dataclass(frozen=True)
class Grid:
    """A table ready to be written down.

    Attributes:
        top: column groups and their widths; the title of the first columns is empty.
        heads: a heading per column.
        rows: a group heading (empty where there is none) and the cells.
        footnotes: text by number, from 1.
    """

    top: tuple[tuple[str, int], ...]
    heads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[GridCell, ...]], ...]
    footnotes: tuple[str, ...]


def grid(table: PaperTable) -> Grid:
    """Published and measured columns side by side."""
    footnotes: dict[str, int] = {}
    top = [("", len(table.stub))]
    heads = list(table.stub)
    for place in table.places:
        published, measured = table.metrics[place.id], _measured_heads(place)
        top += [(place.title, len(published)), (place.measured_title, len(measured))]
        heads += [*published, *measured]
    rows = tuple((line.group, tuple(_grid_row(table, line, footnotes))) for line in table.lines)
    return Grid(tuple(top), tuple(heads), rows, tuple(footnotes))


def _measured_heads(place: Place) -> tuple[str, ...]:
    return (*place.metrics, f"Δ{place.metrics[0]}")


def _grid_row(table: PaperTable, line: Line, footnotes: dict[str, int]) -> Iterator[GridCell]:
    yield from (GridCell(text) for text in line.stub)
    for place in table.places:
        cell = line.cells.get(place.id) or Cell(None, place)
        marks = tuple(footnotes.setdefault(text, len(footnotes) + 1) for text in _remarks(cell))
        for i, metric in enumerate(table.metrics[place.id]):
            yield GridCell(_printed(cell.metrics.get(metric)), marks if i == 0 else ())
        yield from (GridCell(_value(cell, metric)) for metric in place.metrics)
        difference = cell.difference(place.metrics[0])
        yield GridCell(_DASH if difference is None else f"{difference:+.2f}")


def _remarks(cell: Cell) -> list[str]:
    """What is said about a cell in footnotes."""
    measured = () if cell.measured is None else cell.measured.notes
    return list(dict.fromkeys((*cell.flags, *cell.notes, *measured)))


def _printed(value: float | None) -> str:
    return _DASH if value is None else str(value)


def _value(cell: Cell, metric: str) -> str:
    if cell.measured is None:
        return _DASH
    value, half = cell.measured.values.get(metric), cell.measured.half_widths.get(metric)
    if value is None:
        return _DASH
    return f"{value:.2f}" + ("" if half is None else f" ±{half:.2f}")


# What each cell takes -------------------------------------------------------------------------------------------------


def details(table: PaperTable) -> Table:
    """Per cell: reproducibility, protocol, data, coverage. Cells of one kind share a row."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for line, cell in table.cells():
        measured = cell.measured
        where = (cell.place.title, _how(cell), _protocol(cell))
        what = (measured.data, measured.coverage, measured.path) if measured else (_DASH, _DASH, _DASH)
        groups.setdefault((*where, *what), []).append(_name(line))
    head = ("split", "reproducibility", "protocol", "data", "coverage", "run", "rows")
    return Table("What each cell takes", head, tuple((*key, _several(names)) for key, names in groups.items()))


def _several(names: list[str]) -> str:
    rest = len(names) - _MOST_NAMES
    return "; ".join(names[:_MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")


def _how(cell: Cell) -> str:
    return ", ".join(cell.states) or "measured"


def _protocol(cell: Cell) -> str:
    if cell.measured:
        return cell.measured.protocol
    return (cell.row.protocol_id or cell.row.protocol) if cell.row else ""


def _name(line: Line) -> str:
    row = next((c.row for c in line.cells.values() if c.row), None)
    return row.name if row else line.stub[0]


def commands(table: PaperTable) -> list[str]:
    """The commands that fill the cells that are still empty: in full where rvos runs the model, else one pattern.

    The CSV and JSON forms give every cell's own commands.
    """
    todo = [cell for _, cell in table.cells() if cell.measured is None]
    runnable = [command for cell in todo if "weights absent" not in cell.states for command in cell.commands]
    pattern = [
        line for cell in todo if "weights absent" in cell.states and cell.commands for line in _pattern(table, cell)
    ]
    return list(dict.fromkeys([*runnable, *pattern]))


def _pattern(table: PaperTable, cell: Cell) -> tuple[str, str]:
    """How masks that somebody has are scored and put into a row."""
    place = cell.place
    data = f"{place.dataset} --root {place.root}"
    score = f"rvos evaluate {data} --predictions MASKS --protocol {place.protocols[0]} --out RUN"
    return score, f'rvos reproduce {table.paper} --table {table.name.split()[-1]} --run "ROW=RUN"'


def remarks(table: PaperTable) -> list[str]:
    """Notes on the whole table, the meaning of its states, and runs that fit no cell."""
    used = dict.fromkeys(state for _, cell in table.cells() for state in cell.states)
    states = [f"{state}: {STATES[state]}." for state in used]
    return [*dict.fromkeys(table.notes), *states, *(f"Not put in: {text}" for text in table.refused)]


# Forms ----------------------------------------------------------------------------------------------------------------


def to_text(table: PaperTable) -> str:
    """For terminals."""
    shown = grid(table)
    parts = [_title(table), _flat(shown).to_text()]
    parts += ["\n".join(f"[{i}] {text}" for i, text in enumerate(shown.footnotes, 1))] if shown.footnotes else []
    parts += [details(table).to_text(), "\n".join(remarks(table))]
    todo = commands(table)
    return "\n\n".join([*parts, *(["\n".join(["Commands that fill empty cells:", *todo])] if todo else [])]) + "\n"


def to_markdown(table: PaperTable) -> str:
    """A GitHub table and sections."""
    shown = grid(table)
    parts = [f"# {_title(table)}", f"[{table.source}]({table.url})", _flat(shown).to_markdown()]
    parts += ["\n".join(f"- [{i}] {text}" for i, text in enumerate(shown.footnotes, 1))] if shown.footnotes else []
    parts += [details(table).to_markdown(), "\n".join(f"- {text}" for text in remarks(table))]
    todo = commands(table)
    return "\n\n".join([*parts, *(["```bash\n" + "\n".join(todo) + "\n```"] if todo else [])]) + "\n"


def _title(table: PaperTable) -> str:
    return f"{table.source}, {table.name}: {table.title}"


def _flat(shown: Grid) -> Table:
    """One header line: the group's title before its first column's heading."""
    heads, position = [], 0
    for title, width in shown.top:
        first, *others = shown.heads[position : position + width]
        heads += [f"{title}: {first}" if title else first, *others]
        position += width
    rows, group = [], ""
    for name, cells in shown.rows:
        if name and name != group:
            rows.append((name, *[""] * (len(heads) - 1)))
        group = name
        rows.append(tuple(c.text + "".join(f" [{m}]" for m in c.marks) for c in cells))
    return Table("", tuple(heads), tuple(rows))


def to_latex(table: PaperTable) -> str:
    """A ``table*`` with booktabs rules; needs the packages booktabs and, for ticks, amssymb."""
    shown = grid(table)
    n_stub = len(table.stub)
    width = len(shown.heads)
    body = [_latex_groups(shown), _latex_rules(shown), _latex_row([GridCell(h) for h in shown.heads]), r"\midrule"]
    group = ""
    for name, cells in shown.rows:
        if name and name != group:
            body.append(rf"\multicolumn{{{width}}}{{l}}{{\textit{{{latex_text(name)}}}}} \\")
        group = name
        body.append(_latex_row(cells))
    notes = [rf"$^{{{i}}}$ {latex_text(text)}" for i, text in enumerate(shown.footnotes, 1)]
    notes += [latex_text(text) for text in remarks(table)]
    return "\n".join(
        [
            "% needs \\usepackage{booktabs} and \\usepackage{amssymb}",
            r"\begin{table*}",
            r"\centering\scriptsize",
            latex_command("caption", f"{_title(table)}. Published beside measured."),
            rf"\begin{{tabular}}{{{'l' * n_stub}{'r' * (width - n_stub)}}}",
            r"\toprule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            *(rf"\par\raggedright {note}" for note in notes),
            r"\end{table*}",
            "",
        ]
    )


def _latex_groups(shown: Grid) -> str:
    cells = [rf"\multicolumn{{{n}}}{{{'c' if title else 'l'}}}{{{latex_text(title)}}}" for title, n in shown.top]
    return " & ".join(cells) + r" \\"


def _latex_rules(shown: Grid) -> str:
    rules, start = [], 1
    for title, width in shown.top:
        if title:
            rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
        start += width
    return " ".join(rules)


def _latex_row(cells: tuple[GridCell, ...] | list[GridCell]) -> str:
    marks = [f"$^{{{','.join(map(str, c.marks))}}}$" if c.marks else "" for c in cells]
    return " & ".join(latex_text(c.text) + m for c, m in zip(cells, marks, strict=True)) + r" \\"


def to_html(table: PaperTable) -> str:
    """A fragment: a table with a caption, scoped headings, footnotes that link both ways."""
    shown = grid(table)
    width = len(shown.heads)
    top = "".join(
        f'<th scope="colgroup" colspan="{n}">{escape(title)}</th>' if title else f'<td colspan="{n}"></td>'
        for title, n in shown.top
    )
    heads = "".join(f'<th scope="col">{escape(h)}</th>' for h in shown.heads)
    slug = table.name.lower().replace(" ", "-")
    rows, group = [], ""
    for name, cells in shown.rows:
        if name and name != group:
            rows.append(f'<tr><th scope="rowgroup" colspan="{width}">{escape(name)}</th></tr>')
        group = name
        rows.append(_html_row(cells, slug))
    notes = "".join(f'<li id="{slug}-note-{i}">{escape(text)}</li>' for i, text in enumerate(shown.footnotes, 1))
    about = "".join(f"<li>{escape(text)}</li>" for text in remarks(table))
    return "\n".join(
        [
            f'<table class="reproduced"><caption><a href="{escape(table.url)}">{escape(_title(table))}</a></caption>',
            f"<thead><tr>{top}</tr><tr>{heads}</tr></thead>",
            f"<tbody>{''.join(rows)}</tbody></table>",
            f'<ol class="flags">{notes}</ol>' if notes else "",
            _html_table(details(table)),
            f'<ul class="remarks">{about}</ul>' if about else "",
            f"<pre>{escape(chr(10).join(commands(table)))}</pre>" if commands(table) else "",
            "",
        ]
    )


def _html_row(cells: tuple[GridCell, ...], slug: str) -> str:
    first, *others = cells
    shown = [f'<th scope="row">{escape(first.text)}{_html_marks(first, slug)}</th>']
    shown += [f"<td>{escape(cell.text)}{_html_marks(cell, slug)}</td>" for cell in others]
    return f"<tr>{''.join(shown)}</tr>"


def _html_marks(cell: GridCell, slug: str) -> str:
    links = ", ".join(f'<a href="#{slug}-note-{m}">{m}</a>' for m in cell.marks)
    return f"<sup>{links}</sup>" if links else ""


def _html_table(table: Table) -> str:
    heads = "".join(f'<th scope="col">{escape(h)}</th>' for h in table.header)
    rows = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in table.rows)
    return (
        f"<table><caption>{escape(table.title)}</caption><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    )


def records(table: PaperTable) -> list[dict[str, Any]]:
    """One record per number: published, measured, difference, and everything known about them."""
    return [
        _record(table, line, cell, metric)
        for line, cell in table.cells()
        for metric in (cell.metrics or (cell.measured.values if cell.measured else {}))
    ]


def _record(table: PaperTable, line: Line, cell: Cell, metric: str) -> dict[str, Any]:
    row, measured = cell.row, cell.measured
    return {
        "paper": table.paper,
        "table": table.name,
        "method": row.method if row else line.stub[0],
        "label": _name(line),
        "year": row.year if row else None,
        "group": line.group,
        "dataset": cell.place.id,
        "metric": metric,
        "published": cell.metrics.get(metric),
        "measured": measured.values.get(metric) if measured else None,
        "half_width": measured.half_widths.get(metric) if measured else None,
        "difference": cell.difference(metric),
        "published_protocol": (row.protocol_id or row.protocol) if row else None,
        "protocol": measured.protocol if measured else None,
        "data": measured.data if measured else None,
        "coverage": measured.coverage if measured else None,
        "run": measured.path if measured else None,
        "reproducibility": list(cell.states),
        "provenance": row.provenance if row else None,
        "zero_shot": row.zero_shot if row else None,
        "cite": row.cite if row else "",
        "flags": list(cell.flags),
        "notes": [*cell.notes, *(measured.notes if measured else ())],
        "commands": list(cell.commands),
    }


def to_csv(table: PaperTable) -> str:
    """One line per number; lists are joined by ``; `` and commands by ``&&``."""
    rows = records(table)
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        joined = {
            k: (" && " if k == "commands" else "; ").join(v) if isinstance(v, list) else v for k, v in row.items()
        }
        writer.writerow(joined)
    return out.getvalue()


def to_json(table: PaperTable) -> str:
    """``{"title", "source", "url", "notes", "refused", "numbers": [record, …]}``."""
    head = {"title": table.title, "table": table.name, "source": table.source, "url": table.url}
    content = {**head, "notes": list(table.notes), "refused": list(table.refused), "numbers": records(table)}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


FORMATS: dict[str, Callable[[PaperTable], str]] = {
    "text": to_text,
    "markdown": to_markdown,
    "latex": to_latex,
    "html": to_html,
    "csv": to_csv,
    "json": to_json,
}
