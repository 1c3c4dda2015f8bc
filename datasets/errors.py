"""What rvos raises for a person to read: one line that names the place, what was found, and the next step."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class RvosError(Exception):
    """Base of all errors that are the input's fault, not the program's.

    The command line prints the message alone, without a traceback, and exits with ``exit_code``.
    """

    exit_code = 2


class UsageError(RvosError):
    """The call itself is wrong: arguments that contradict each other, a value out of range."""


class UnknownNameError(UsageError):
    """A name that no registry knows."""

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = get_close_matches(name, names, n=3, cutoff=0.4)
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        super().__init__(f"Unknown {what} '{name}'.{hint} Known: {', '.join(names)}.")


class MissingExtraError(RvosError):
    """An optional dependency that is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what} needs packages that are not installed. Install them with: pip install 'rvos[{extra}]'"
        )


class ImageError(RvosError):
    """An image file that cannot be read, or holds something else than it must."""


class DatasetError(RvosError):
    """Annotations or folders that are not in the layout that the dataset's loader reads."""


class PredictionError(RvosError):
    """A prediction that cannot be scored."""


class PredictionMissing(PredictionError):
    """No prediction where one is expected (a folder or a file that is not there)."""


class PredictionInvalid(PredictionError):
    """A prediction that is there and cannot be used (corrupt, wrong size, grey values without a threshold)."""


class ProtocolError(UsageError):
    """A protocol that does not apply to the dataset or to the layout of the predictions."""


class RunError(RvosError):
    """A run folder that cannot be opened, resumed or written."""
