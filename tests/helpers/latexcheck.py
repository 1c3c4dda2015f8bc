"""A small checker of LaTeX tables, for machines without TeX: what would stop a compiler or misplace a column."""

from __future__ import annotations

import re

_ENVIRONMENT = re.compile(r"\\(begin|end)\{([^}]*)\}")
_MULTICOLUMN = re.compile(r"^\s*\\multicolumn\{(\d+)\}")


def problems(text: str) -> list[str]:
    """Everything wrong with the source, empty where nothing is."""
    body = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("%"))
    return [*_braces(body), *_environments(body), *_math(body), *_specials(body), *_columns(body)]


def _braces(body: str) -> list[str]:
    depth = 0
    for character in re.sub(r"\\[{}\\]", "", body):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth < 0:
            return ["a brace is closed that was not opened"]
    return ["a brace is not closed"] if depth else []


def _environments(body: str) -> list[str]:
    stack: list[str] = []
    for kind, name in _ENVIRONMENT.findall(body):
        if kind == "begin":
            stack.append(name)
        elif not stack or stack.pop() != name:
            return [f"\\end{{{name}}} closes another environment"]
    return [f"environment {name} is not closed" for name in stack]


def _math(body: str) -> list[str]:
    return ["an odd number of $ in: " + line for line in body.splitlines() if _bare(line, "$") % 2]


def _specials(body: str) -> list[str]:
    found = []
    tabular = re.sub(r"(?s)\\begin\{tabular\}.*?\\end\{tabular\}", "", body)
    for line in tabular.splitlines():
        if _bare(line, "&"):
            found.append("& outside of a tabular: " + line)
    for line in body.splitlines():
        words = re.sub(r"\$[^$]*\$", "", re.sub(r"\\\$", "", line))
        found += [f"unescaped {c} in: {line}" for c in "_^#%" if _bare(words, c)]
        found += [f"character {c!r} without a command in: {line}" for c in words if ord(c) > 0x24F]
    return found


def _columns(body: str) -> list[str]:
    found = []
    for spec, inside in re.findall(r"(?s)\\begin\{tabular\}\{([^}]*)\}(.*?)\\end\{tabular\}", body):
        width = len(re.sub(r"[^lrc]", "", spec))
        for row in inside.split(r"\\")[:-1]:
            content = re.sub(r"\\(toprule|midrule|bottomrule|cmidrule(\([lr]+\))?\{[^}]*\})", "", row).strip()
            cells = re.split(r"(?<!\\)&", content)
            n = sum(int(m[1]) if (m := _MULTICOLUMN.match(cell)) else 1 for cell in cells)
            if n != width:
                found.append(f"{n} columns instead of {width}: {content}")
        for last in re.findall(r"\\cmidrule(?:\([lr]+\))?\{\d+-(\d+)\}", inside):
            found += [f"cmidrule up to {last} of {width} columns"] if int(last) > width else []
    return found


def _bare(text: str, character: str) -> int:
    return len(re.findall(rf"(?<!\\){re.escape(character)}", text))
