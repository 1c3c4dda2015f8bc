"""Pieces of pages: the frame around a page, tables that sort and filter, plots as inline SVG."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

#: file -> words in the navigation
PAGES = {
    "index.html": "Leaderboards",
    "tables.html": "VideoLISA's tables",
    "published.html": "Published numbers",
    "why.html": "Why numbers differ",
}


@dataclass(frozen=True)
class Td:
    """A cell: markup that is already escaped, and what it sorts by."""

    markup: str
    value: str = ""
    kind: str = ""

    @classmethod
    def text(cls, text: str, kind: str = "") -> Td:
        return cls(escape(text), kind=kind)

    @classmethod
    def number(cls, shown: str, value: float | None) -> Td:
        """A number as it is shown and as it sorts; ``–`` where there is none."""
        return cls(escape(shown), "" if value is None else repr(value), "number")


def page(name: str, title: str, body: Sequence[str], scripts: Sequence[str] = ()) -> str:
    """A whole page. ``name`` is its file; nothing is loaded from elsewhere."""
    links = "".join(
        f'<li><a href="{file}"{" aria-current=page" if file == name else ""}>{escape(words)}</a></li>'
        for file, words in PAGES.items()
    )
    loaded = "".join(f'<script defer src="{escape(src)}"></script>' for src in (*scripts, "site.js"))
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<title>{escape(title)} · rvos</title><link rel="icon" href="data:,">',
            f'<link rel="stylesheet" href="style.css">{loaded}</head><body>',
            '<a class="skip" href="#main">Skip to content</a>',
            f'<header><nav aria-label="Pages"><ul>{links}</ul></nav></header>',
            f'<main id="main"><h1>{escape(title)}</h1>',
            *body,
            "</main><footer>J&amp;F, J and F in percent; ± is the 95&nbsp;% interval, clustered by video. Made by rvos."
            "</footer></body></html>",
            "",
        ]
    )


def board(
    caption: str,
    heads: Mapping[str, bool],
    rows: Sequence[tuple[str, str, Sequence[Td]]],
    groups: Sequence[str] = (),
    filtered: bool = True,
) -> str:
    """A table that sorts by every column and filters by words, and by group where there are several.

    Args:
        caption: what the table shows.
        heads: heading -> whether its column holds numbers.
        rows: class, group and cells of each row; the first cell names the row.
        groups: offered in a list; all rows where empty.
        filtered: whether there is a field to filter by; a table of a few rows needs none.
    """
    columns = "".join(
        f'<th scope="col" aria-sort="none"{" class=number" if number else ""}>'
        f'<button type="button">{escape(h)}</button></th>'
        for h, number in heads.items()
    )
    body = "".join(_row(*row) for row in rows)
    options = "".join(f"<option>{escape(g)}</option>" for g in groups)
    select = f'<label>Split<select><option value="">all</option>{options}</select></label>' if groups else ""
    tools = (
        f'<div class="tools"><label>Filter<input type="search" placeholder="words"></label>{select}'
        '<p class="count" role="status"></p></div>'
    )
    return (
        f'<div class="board">{tools if filtered else ""}'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f'<table class="sortable"><caption>{escape(caption)}</caption><thead><tr>{columns}</tr></thead>'
        f"<tbody>{body}</tbody></table></div></div>"
    )


def section(title: str, content: str, shown: bool = False) -> str:
    """A part of a page under its own heading, folded away until asked for unless ``shown``."""
    return f"<details{' open' if shown else ''}><summary><h2>{escape(title)}</h2></summary>{content}</details>"


def _row(kind: str, group: str, cells: Sequence[Td]) -> str:
    first, *others = cells
    shown = [f'<th scope="row">{first.markup}</th>', *(_td(cell) for cell in others)]
    mark = f' class="{escape(kind)}"' if kind else ""
    return f'<tr{mark} data-group="{escape(group)}">{"".join(shown)}</tr>'


def _td(cell: Td) -> str:
    kind = f' class="{cell.kind}"' if cell.kind else ""
    value = f' data-value="{escape(cell.value)}"' if cell.value else ""
    return f"<td{kind}{value}>{cell.markup}</td>"


def link(text: str, address: str) -> str:
    """A link, or the text alone where there is no address."""
    return f'<a href="{escape(address)}">{escape(text)}</a>' if address else escape(text)


def interval_plot(title: str, rows: Sequence[tuple[str, float, float | None]]) -> str:
    """Values in percent with their intervals, one line each; the numbers are also in the table beside it."""
    known = [(name, value, half or 0.0) for name, value, half in rows]
    low = min(max(0.0, value - half) for _, value, half in known)
    high = max(min(100.0, value + half) for _, value, half in known)
    low, high = 10 * (low // 10), 10 * -(-high // 10)
    high = high if high > low else low + 10
    left, width, step = 230, 600, 30
    height = step * len(known) + 40

    def x(value: float) -> float:
        return round(left + width * (value - low) / (high - low), 1)

    ticks = range(int(low), int(high) + 1, 10 if high - low <= 60 else 20)
    parts = [
        f'<line x1="{x(t)}" x2="{x(t)}" y1="6" y2="{height - 26}" stroke="var(--line)"/>'
        f'<text x="{x(t)}" y="{height - 8}" text-anchor="middle" fill="var(--soft)" font-size="12">{t}</text>'
        for t in ticks
    ]
    for i, (name, value, half) in enumerate(known):
        y = 20 + step * i
        parts.append(
            f'<text x="{left - 12}" y="{y + 5}" text-anchor="end" fill="var(--ink)" font-size="14">'
            f"{escape(_short(name))}</text>"
            f'<line x1="{x(max(low, value - half))}" x2="{x(min(high, value + half))}" y1="{y}" y2="{y}" '
            f'stroke="var(--accent)" stroke-width="3"/><circle cx="{x(value)}" cy="{y}" r="5" fill="var(--accent)"/>'
        )
    return _figure(title, left + width + 30, height, parts)


def year_plot(title: str, points: Sequence[tuple[int, float, str]]) -> str:
    """J&F in percent against the year of publication; a point's name shows when it is pointed at."""
    years = sorted({year for year, _, _ in points})
    return _scatter(title, [(float(year), value, f"{name}, {year}") for year, value, name in points], years)


def cost_plot(title: str, points: Sequence[tuple[float, float, str]]) -> str:
    """Scores in percent against seconds a sentence, which is shown in powers of ten."""
    powers = range(floor(log10(min(p[0] for p in points))), ceil(log10(max(p[0] for p in points))) + 1)
    shown = [(log10(cost), value, f"{name}, {cost:.3g} s") for cost, value, name in points]
    return _scatter(title, shown, powers, lambda power: f"{10.0**power:g} s")


def _scatter(
    title: str,
    points: Sequence[tuple[float, float, str]],
    ticks: Sequence[int],
    label: Callable[[int], str] = str,
) -> str:
    """Points (x, percent, name) over an axis from the first tick to the last."""
    first, last = ticks[0], max(ticks[-1], ticks[0] + 1)
    left, width, height = 50, 760, 300

    def x(at: float) -> float:
        return round(left + 30 + (width - 60) * (at - first) / (last - first), 1)

    def y(value: float) -> float:
        return round(height - 30 - (height - 50) * value / 100, 1)

    parts = [
        f'<line x1="{left}" x2="{left + width}" y1="{y(v)}" y2="{y(v)}" stroke="var(--line)"/>'
        f'<text x="{left - 8}" y="{y(v) + 4}" text-anchor="end" fill="var(--soft)" font-size="12">{v}</text>'
        for v in range(0, 101, 20)
    ]
    parts += [
        f'<text x="{x(tick)}" y="{height - 8}" text-anchor="middle" fill="var(--soft)" font-size="12">'
        f"{escape(label(tick))}</text>"
        for tick in ticks
    ]
    parts += [
        f'<circle cx="{x(at)}" cy="{y(value)}" r="4" fill="var(--accent)" fill-opacity="0.7">'
        f"<title>{escape(name)}: {value:.4g}</title></circle>"
        for at, value, name in points
    ]
    return _figure(title, left + width + 20, height, parts)


def _figure(title: str, width: float, height: float, parts: Sequence[str]) -> str:
    return (
        f'<figure><svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
        f"<figcaption>{escape(title)}</figcaption></figure>"
    )


def _short(name: str) -> str:
    return name if len(name) <= 28 else f"{name[:27]}…"
