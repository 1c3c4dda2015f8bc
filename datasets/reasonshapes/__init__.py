"""ReasonShapes: procedurally generated videos of coloured shapes and icons with sentences that need reasoning.

A seed makes a scene graph (``choreography``), facts are read off it (``facts``), functional programs on the facts say
what a sentence means (``programs``), a grammar puts them into words (``language``), and an integer raster draws frames
and masks (``render``). ``generate`` streams videos; ``writers`` puts them on disk in the benchmarks' layouts.
"""

from .generate import SPLITS, VERSION, GeneratedSample, GeneratedVideo, generate
from .questions import KINDS
from .writers import LAYOUTS, Written, write, write_mask_dict_at_scale

__all__ = [
    "KINDS",
    "LAYOUTS",
    "SPLITS",
    "VERSION",
    "GeneratedSample",
    "GeneratedVideo",
    "Written",
    "generate",
    "write",
    "write_mask_dict_at_scale",
]
