"""One thing that is wrong with a dataset's files, as loaders and checks report it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: ``error``: scores would be wrong or impossible. ``warning``: they may mislead. ``note``: worth knowing.
Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        code: its kind in a few words, e.g. ``missing-frame``; stable, for filtering.
        place: the file, folder or sample concerned.
        message: what was found and what was expected.
        cure: the next step.
    """

    severity: Severity
    code: str
    place: str
    message: str
    cure: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.place}: {self.message} {self.cure}".rstrip()
