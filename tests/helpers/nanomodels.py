"""Untrained nano models in the format in which they ship. Made in under two seconds."""

from __future__ import annotations

from pathlib import Path

from rvos.datasets.reasonshapes.benchmark import make_videos


def untrained_nano(folder: Path, seed: int = 0) -> Path:
    """A folder like the package's own ``weights``: videolisa-nano and lisa-nano, all weights drawn from a seed."""
    from rvos.baselines.lisa_nano import new_lisa
    from rvos.videolisa.nano.models import nano_tokenizer, new_videolisa
    from rvos.videolisa.nano.recipe import save_half, texts
    from rvos.videolisa.nano.scenes import scene_video

    scenes = [scene_video("train", video, 4) for video in make_videos("train", 2)]
    videolisa = new_videolisa(nano_tokenizer(folder / "tokenizer", texts(scenes)), seed)
    save_half(videolisa, folder / "videolisa-nano")
    save_half(new_lisa(videolisa, seed), folder / "lisa-nano")
    return folder
