"""Protocols for ``toyset``: the shared per-expression arithmetic under ids of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from rvos.benchmarks.protocols.base import Trait
from rvos.benchmarks.protocols.per_expression import PerExpressionProtocol


class ToyProtocol(PerExpressionProtocol):
    id = "toy@1"
    words = "Toy: mean over sentences; missing is 0."
    source = "this project"
    strict = True
    dataset_name = "toy"
    equals = "other-toy@1"
    traits: ClassVar[Mapping[Trait, str]] = {"missing": "counts what is missing as 0"}


class OtherToyProtocol(ToyProtocol):
    id = "other-toy@1"
    strict = False
    equals = ""
