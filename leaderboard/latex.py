"""Text for LaTeX."""

from __future__ import annotations

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "±": r"$\pm$",
    "Δ": r"$\Delta$",
    "✓": r"$\checkmark$",
    "…": r"\dots{}",
    "“": "``",
    "”": "''",
    "×": r"$\times$",
    "†": r"$\dagger$",
}


def latex_text(text: str) -> str:
    """``text`` with every character that means something to LaTeX escaped."""
    return "".join(_SPECIAL.get(c, c) for c in text)


def latex_command(name: str, text: str) -> str:
    r"""``\name{text}``, escaped."""
    return f"\\{name}{{{latex_text(text)}}}"
