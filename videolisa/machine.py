"""What this machine offers to VideoLISA: device, attention backends, and whether the model fits (``rvos doctor``)."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

import torch

from ..benchmarks.machine import usable_memory
from .checkpoints import empty_model
from .configuration import VideoLisaConfig

GIB = 2**30

#: Activations of one SAM frame, counted in attention biases of a global layer: the bias, the product and a copy.
BIASES_ALIVE = 3


@dataclass(frozen=True)
class Fit:
    """Whether a VideoLISA of a given size runs here.

    Attributes:
        device: ``cuda`` with the card's name, or ``cpu``.
        dtype: the precision that would be used there.
        memory_gib: of the device, in GiB; None where unknown.
        needed_gib: estimate of the peak: weights, the language model's keys and values of one video, one SAM frame.
        attention: backends that can be chosen, the default first.
    """

    device: str
    dtype: str
    memory_gib: float | None
    needed_gib: float
    attention: tuple[str, ...]

    @property
    def fits(self) -> bool | None:
        """None where the memory is unknown."""
        return None if self.memory_gib is None else self.needed_gib <= self.memory_gib


def fit(config: VideoLisaConfig | None = None) -> Fit:
    """How a model (the released sizes where None) would run on this machine."""
    cuda = torch.cuda.is_available()
    dtype = torch.bfloat16 if cuda else torch.float32
    if cuda:
        memory: int | None = torch.cuda.get_device_properties(0).total_memory
    else:
        memory = usable_memory()
    return Fit(
        device=f"cuda ({torch.cuda.get_device_name(0)})" if cuda else "cpu",
        dtype=str(dtype).removeprefix("torch."),
        memory_gib=None if memory is None else round(memory / GIB, 1),
        needed_gib=round(needed_bytes(config or VideoLisaConfig(), dtype) / GIB, 1),
        attention=attention_backends(),
    )


def needed_bytes(config: VideoLisaConfig, dtype: torch.dtype) -> int:
    """Estimated peak memory of inference with one frame a batch, in bytes."""
    text, vision = config.text_config, config.sam_config.vision_config
    weights = sum(p.numel() for p in empty_model(config).parameters())
    rows = config.sparse_frames + config.dense_frames * config.tokens_per_frame
    head = text.hidden_size // text.num_attention_heads
    keys_and_values = 2 * text.num_hidden_layers * rows * text.num_key_value_heads * head
    cells = (vision.image_size // vision.patch_size) ** 2
    activations = BIASES_ALIVE * vision.num_attention_heads * cells**2
    return dtype.itemsize * (weights + keys_and_values + activations)


def attention_backends() -> tuple[str, ...]:
    """Values that ``attn_implementation`` may take here."""
    flash = torch.cuda.is_available() and find_spec("flash_attn") is not None
    return ("sdpa", "eager", "flash_attention_2") if flash else ("sdpa", "eager")
