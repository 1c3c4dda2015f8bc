"""``rvos protocols``: which protocols there are and what each one does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from ..datasets.errors import UnknownNameError

if TYPE_CHECKING:
    from ..benchmarks.protocols.base import Protocol


def protocols(
    name: Annotated[str | None, typer.Argument(help="Only ids that contain this, e.g. davis17.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List the protocols: id, what it does, and the script that it equals.

    Integer versions are this project's strict protocols: what is missing counts as wrong. A version that is a
    script's name reproduces that script with its quirks.
    """
    from ..benchmarks.protocols import REGISTRY, get_protocol

    found = [get_protocol(key) for key in REGISTRY if name is None or name in key]
    if not found:
        raise UnknownNameError("protocol", name or "", REGISTRY)
    if json_:
        print(json.dumps([_fields(p) for p in found], indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    console = Console()
    for protocol in found:
        console.print(protocol.id, style="bold", markup=False, highlight=False)
        console.print(f"  {protocol.words}", markup=False, highlight=False, soft_wrap=True)
        equals = f"; equals {protocol.equals} where nothing is missing" if protocol.equals else ""
        console.print(
            f"  Source: {protocol.source}{equals}", style="dim", markup=False, highlight=False, soft_wrap=True
        )


protocols.epilog = "Example: rvos protocols davis17"  # type: ignore[attr-defined]


def _fields(protocol: Protocol) -> dict[str, object]:
    return {
        "id": protocol.id,
        "words": protocol.words,
        "source": protocol.source,
        "strict": protocol.strict,
        "merged": protocol.merged,
        "equals": protocol.equals or None,
        "traits": dict(protocol.traits),
    }
