"""Named groups of benchmarks that models are reported on together."""

from __future__ import annotations

from ..datasets.errors import UnknownNameError

#: suite -> datasets, each as ``name`` or ``name/split``.
SUITES = {"four": ("reasonvos", "mevis/valid_u", "ref-youtube-vos/valid", "ref-davis17/valid")}


def suite_of(name: str) -> tuple[str, ...]:
    """The datasets of a suite. Raises UnknownNameError."""
    if name not in SUITES:
        raise UnknownNameError("suite", name, SUITES)
    return SUITES[name]
