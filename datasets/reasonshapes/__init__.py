"""ReasonShapes: procedurally generated videos of coloured shapes and icons with sentences that need reasoning.

A seed makes a scene graph (``choreography``) or four of them that are each other's twins (``twins``), facts are read
off it (``facts``), functional programs on the facts say what a sentence means (``programs``), a grammar puts them into
words (``language``), and an integer raster draws frames and masks (``render``). ``benchmark`` puts the splits together,
``frozen`` holds their hashes. ``generate`` streams single videos without controls, the data for tests and layouts;
``writers`` puts videos on disk in the benchmarks' layouts.
"""

from __future__ import annotations

from .benchmark import SPLITS, VERSION, make_videos
from .generate import GeneratedSample, GeneratedVideo, generate
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
    "make_videos",
    "write",
    "write_mask_dict_at_scale",
]
