"""Protocols by name: ``get_protocol("mevis@1")``. The manifest is explicit; nothing is found by scanning."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ...datasets.errors import UnknownNameError

if TYPE_CHECKING:
    from ...datasets.types import RVOSDataset
    from .base import Protocol

#: id -> module below this package and class
REGISTRY: dict[str, str] = {
    "reasonvos@1": "per_expression:ReasonVOSStrict",
    "reasonvos@official": "scripts:ReasonVOSOfficial",
    "mevis@1": "per_expression:MeViSStrict",
    "mevis@official": "scripts:MeViSOfficial",
    "mevis@videolisa": "scripts:MeViSVideoLISA",
    "mevis-v2@1": "mevis_v2:MeViS2Strict",
    "ref-youtube-vos@1": "per_expression:RefYouTubeVOSStrict",
    "davis17-hungarian-4ann@1": "davis:HungarianStrict",
    "davis17-hungarian-4ann@referformer": "davis_scripts:HungarianReferFormer",
    "davis17-identity-4ann@1": "davis:IdentityStrict",
    "davis17-semi-supervised@official": "davis_scripts:SemiSupervisedOfficial",
    "davis17-per-expression-unsup@1": "davis_per_expression:PerExpressionUnsupervised",
    "davis17-per-expression-semisup@1": "davis_per_expression:PerExpressionSemiSupervised",
    "revos@1": "revos:ReVOSStrict",
    "revos@visa": "revos:ReVOSVisa",
    "long-rvos@1": "long_rvos:LongRVOSStrict",
    "groundmore@1": "groundmore:GroundMoReStrict",
    "reasonseg@1": "images:ReasonSegStrict",
    "reasonseg@videolisa": "images:ReasonSegVideoLISA",
    "refcoco@1": "images:RefCOCOStrict",
    "refcoco@videolisa": "images:RefCOCOVideoLISA",
    "reasonshapes@1": "per_expression:ReasonShapesStrict",
    "folders@1": "per_expression:FoldersStrict",
    "expressions@1": "per_expression:ExpressionsStrict",
}

#: dataset name -> what it is scored with unless told otherwise. Ref-DAVIS-17 always has both: neither is canonical.
DEFAULTS: dict[str, tuple[str, ...]] = {
    "reasonvos": ("reasonvos@1",),
    "mevis": ("mevis@1",),
    "ref-youtube-vos": ("ref-youtube-vos@1",),
    "ref-davis17": ("davis17-hungarian-4ann@1", "davis17-per-expression-unsup@1"),
    "revos": ("revos@1",),
    "long-rvos": ("long-rvos@1",),
    "groundmore": ("groundmore@1",),
    "reasonseg": ("reasonseg@1",),
    "refcoco": ("refcoco@1",),
    "refcoco+": ("refcoco@1",),
    "refcocog": ("refcoco@1",),
    "refclef": ("refcoco@1",),
    "reasonshapes": ("reasonshapes@1",),
    "folders": ("folders@1",),
}


def get_protocol(protocol_id: str) -> Protocol:
    """The protocol with this id, e.g. ``reasonvos@1``. Raises UnknownNameError with near matches."""
    if protocol_id not in REGISTRY:
        raise UnknownNameError("protocol", protocol_id, REGISTRY)
    module, name = REGISTRY[protocol_id].split(":")
    protocol: Protocol = getattr(import_module(f".{module}", __name__), name)()
    return protocol


def protocols_for(dataset: RVOSDataset) -> list[Protocol]:
    """Every protocol that applies to the dataset, in the order of the manifest."""
    return [p for p in map(get_protocol, REGISTRY) if p.applies_to(dataset) is None]


def default_protocols(dataset: RVOSDataset) -> list[Protocol]:
    """What the dataset is scored with unless told otherwise; ``expressions@1`` where it has no protocol of its own."""
    return [get_protocol(protocol_id) for protocol_id in DEFAULTS.get(dataset.name, ("expressions@1",))]
