"""The two image branches: SAM nano learns to cut out what a code describes, CLIP nano to see what a patch shows.

The released VideoLISA starts from a SAM trained on a billion masks and a CLIP trained on 400 million captions. Here
ReasonShapes' train scenes stand in for both: the scene graph knows the thing at every pixel. As in SAM's text-to-mask
experiment (Kirillov et al. 2023, section 7.5), the mask decoder is prompted with an embedding of the object wanted;
``ThingCodes`` makes it, and the language model later has to say the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from ..losses import mask_losses
from ..modeling import VideoLisaModel
from ..processor import Processor
from .scenes import COLOUR_NAMES, SHAPE_NAMES, SIZE_NAMES, SceneVideo

N_CLASSES = (len(COLOUR_NAMES), len(SHAPE_NAMES), len(SIZE_NAMES))
#: Weights of SAM's losses.
BCE, DICE, CELLS = 5.0, 1.0, 1.0
#: Cosines and sines of a place at these frequencies.
FREQUENCIES = (1.0, 2.0, 4.0)
#: How often a prompt says where a thing is on average, as one for a whole video has to, and not where it is.
AVERAGED = 0.8


class ThingCodes(nn.Module):
    """A prompt for any set of things, from their looks and places: what the language model learns to say.

    Fixed, not learned: of a thing its colour, shape and size (one-hot), a random projection of colour and shape
    together, and cosines and sines of its place; of a set the mean, of the empty set a direction of its own.
    """

    #: How far apart two things lie that differ in one respect.
    SCALES = (3.0, 3.0, 2.0)
    PAIRS = 0.4

    def __init__(self, prompt_dim: int, seed: int = 0) -> None:
        super().__init__()
        rest = prompt_dim - sum(N_CLASSES) - 4 * len(FREQUENCIES) - 1
        generator = torch.Generator().manual_seed(seed)
        pairs = self.PAIRS * torch.randn(N_CLASSES[0], N_CLASSES[1], rest, generator=generator)
        self.register_buffer("pairs", pairs, persistent=False)
        self.pairs: torch.Tensor

    def forward(self, looks: torch.Tensor, places: torch.Tensor, members: torch.Tensor) -> torch.Tensor:
        """Codes of sets of things.

        Args:
            looks: int64 (n, 3), see ``SceneVideo.looks``.
            places: float (n, 2), x and y in 0 - 1.
            members: float (sets, n), 1 where a thing belongs to a set; a row of zeros is the empty set.

        Returns:
            (sets, prompt_dim).
        """
        words = [
            scale * F.one_hot(looks[:, i], n).float()
            for i, (n, scale) in enumerate(zip(N_CLASSES, self.SCALES, strict=True))
        ]
        angles = torch.cat([torch.pi * f * places for f in FREQUENCIES], -1)
        things = torch.cat([*words, self.pairs[looks[:, 0], looks[:, 1]], angles.sin(), angles.cos()], -1)
        count = members.sum(-1, keepdim=True)
        codes = members @ things / count.clamp(min=1)
        return torch.cat([codes, 4.0 * (count == 0)], -1)


class CellHead(nn.Module):
    """What a cell of an image shows: logits for colour, shape, size and whether there is a thing at all."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.classes = nn.ModuleList(nn.Linear(width, n) for n in N_CLASSES)
        self.thing = nn.Linear(width, 1)

    def forward(self, features: torch.Tensor, looks: torch.Tensor) -> torch.Tensor:
        """Mean cross entropies, summed.

        Args:
            features: (…, width) of cells.
            looks: int64 (…, 3), -1 where a cell shows no thing.
        """
        shown = looks[..., 0] >= 0
        there = F.binary_cross_entropy_with_logits(self.thing(features)[..., 0], shown.float())
        if not shown.any():
            return there
        mine, targets = features[shown], looks[shown]
        return there + sum(F.cross_entropy(head(mine), targets[:, i]) for i, head in enumerate(self.classes))


# SAM ------------------------------------------------------------------------------------------------------------------


@dataclass
class SamBatch:
    """Frames and what to cut out of each.

    Attributes:
        pixels: float (B, 3, size, size).
        size: (height, width) of the frames.
        looks, places, members: per frame, for ``ThingCodes``; P sets each.
        masks: float (B, P, H, W), 0 or 1.
        cells: int64 (B, h, w, 3), looks by cell, -1 where there is no thing.
    """

    pixels: torch.Tensor
    size: tuple[int, int]
    looks: list[torch.Tensor]
    places: list[torch.Tensor]
    members: list[torch.Tensor]
    masks: torch.Tensor
    cells: torch.Tensor


class SamStage(nn.Module):
    """SAM nano's image encoder and mask decoder with the codes that prompt it."""

    def __init__(self, model: VideoLisaModel, codes: ThingCodes) -> None:
        super().__init__()
        self.model, self.codes = model, codes
        self.cells = CellHead(model.config.prompt_dim)

    def forward(self, batch: SamBatch) -> dict[str, torch.Tensor]:
        features = self.model.sam.vision_encoder(batch.pixels).last_hidden_state
        prompts = [self.codes(*one) for one in zip(batch.looks, batch.places, batch.members, strict=True)]
        low = decode_each(self.model, features, torch.stack(prompts))
        logits = self.model.upsample_masks(low, batch.size, batch.size)
        bce, dice = mask_losses(list(logits), list(batch.masks))
        rows, columns = batch.cells.shape[1:3]
        cells = self.cells(features.permute(0, 2, 3, 1)[:, :rows, :columns], batch.cells)
        return {"loss": BCE * bce + DICE * dice + CELLS * cells, "bce": bce, "dice": dice, "cells": cells}


def decode_each(model: VideoLisaModel, features: torch.Tensor, prompts: torch.Tensor) -> torch.Tensor:
    """``VideoLisaModel.decode_masks`` with prompts of its own for every frame, in one pass.

    Args:
        features: (B, C, g, g).
        prompts: (B, P, C).

    Returns:
        (B, P, 4g, 4g).
    """
    no_mask = model.sam.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
    logits, _ = model.sam.mask_decoder(
        image_embeddings=features,
        image_positional_embeddings=model.sam.get_image_wide_positional_embeddings().expand(len(features), -1, -1, -1),
        sparse_prompt_embeddings=prompts[:, :, None],
        dense_prompt_embeddings=no_mask,
        multimask_output=False,
    )
    return logits[:, :, 0]


def sam_batch(
    scenes: Sequence[SceneVideo], processor: Processor, patch: int, rng: np.random.Generator, frames: int, prompts: int
) -> SamBatch:
    """So many random frames, with so many random sets of things to cut out of each."""
    drawn = [scenes[int(i)] for i in rng.integers(len(scenes), size=frames)]
    moments = [int(rng.integers(len(v.frames))) for v in drawn]
    images = [v.frames[t] for v, t in zip(drawn, moments, strict=True)]
    height, width = images[0].shape[:2]
    asked = [_asked(v, t, rng, prompts) for v, t in zip(drawn, moments, strict=True)]
    masks = [
        np.stack([v.masks(np.flatnonzero(set_[: len(v.looks)]).tolist(), [t])[0] for set_ in members])
        for v, t, (_, _, members) in zip(drawn, moments, asked, strict=True)
    ]
    cells = [cell_looks(v, t, height // patch, width // patch) for v, t in zip(drawn, moments, strict=True)]
    return SamBatch(
        pixels=torch.stack([processor.sam_pixels(f) for f in images]),
        size=(height, width),
        looks=[torch.from_numpy(looks) for looks, _, _ in asked],
        places=[torch.from_numpy(places) for _, places, _ in asked],
        members=[torch.from_numpy(members) for _, _, members in asked],
        masks=torch.from_numpy(np.stack(masks)).float(),
        cells=torch.from_numpy(np.stack(cells)),
    )


def cell_looks(video: SceneVideo, frame: int, rows: int, columns: int) -> NDArray[np.int64]:
    """Looks of what each cell shows: int64 (rows, columns, 3), -1 where it shows no thing."""
    cells = video.cells(frame, rows, columns)
    return np.where(cells[..., None] > 0, video.looks[cells - 1], -1)


def _asked(
    video: SceneVideo, frame: int, rng: np.random.Generator, prompts: int
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """Looks and places of the video's things and of one that is not there, and sets of them."""
    looks = np.concatenate([video.looks, _stranger(video, rng)])
    here = video.places[:, frame]
    means = video.mean_places()
    places = np.where(np.isnan(here) | (rng.random((len(here), 1)) < AVERAGED), means, here)
    places = np.concatenate([places, rng.random((1, 2))]).astype(np.float32)
    members = np.zeros((prompts, len(looks)), np.float32)
    for row in members:
        row[_some_set(video, rng)] = 1
    return looks, places, members


def _some_set(video: SceneVideo, rng: np.random.Generator) -> NDArray[np.int64]:
    """A thing, a pair, all of one colour or shape or size, a thing that is not there, or nothing."""
    n, choice = len(video.looks), rng.random()
    one = int(rng.integers(n))
    if choice < 0.55:
        return np.array([one])
    if choice < 0.7:
        return rng.choice(n, size=min(2, n), replace=False)
    if choice < 0.9:
        part = int(rng.integers(3))
        return np.flatnonzero(video.looks[:, part] == video.looks[one, part])
    return np.array([n]) if choice < 0.95 else np.array([], np.int64)


def _stranger(video: SceneVideo, rng: np.random.Generator) -> NDArray[np.int64]:
    """A look that nothing in the video has: int64 (1, 3)."""
    while True:
        look = np.array([[int(rng.integers(n)) for n in N_CLASSES]])
        if not (video.looks == look).all(1).any():
            return look


# CLIP -----------------------------------------------------------------------------------------------------------------


@dataclass
class ClipBatch:
    """Frames and what their patches show.

    Attributes:
        pixels: float (B, 3, size, size).
        looks: int64 (B, N, 3), -1 where a patch shows no thing.
        places: float (B, N, 2), x and y of the middle of the thing that each patch shows, in patches.
    """

    pixels: torch.Tensor
    looks: torch.Tensor
    places: torch.Tensor


class ClipStage(nn.Module):
    """CLIP nano learns colour, shape, size and the middle of the thing that each patch shows."""

    def __init__(self, model: VideoLisaModel) -> None:
        super().__init__()
        width = model.config.vision_config.hidden_size
        self.model, self.cells, self.places = model, CellHead(width), nn.Linear(width, 2)

    def forward(self, batch: ClipBatch) -> dict[str, torch.Tensor]:
        features = self.model.clip_features(batch.pixels)
        cells = self.cells(features, batch.looks)
        shown = batch.looks[..., 0] >= 0
        places = F.smooth_l1_loss(self.places(features[shown]), batch.places[shown])
        return {"loss": cells + places, "cells": cells, "places": places}


def clip_batch(
    scenes: Sequence[SceneVideo], processor: Processor, side: int, rng: np.random.Generator, n_frames: int
) -> ClipBatch:
    """Random frames with what each of ``side`` x ``side`` patches shows."""
    pixels, looks, places = [], [], []
    for i in rng.integers(len(scenes), size=n_frames):
        video = scenes[int(i)]
        t = int(rng.integers(len(video.frames)))
        cells = video.cells(t, side, side).ravel()
        pixels.append(processor.clip_pixels(video.frames[t]))
        looks.append(np.where(cells[:, None] > 0, video.looks[cells - 1], -1))
        places.append(np.where(cells[:, None] > 0, video.places[cells - 1, t] * side, 0))
    return ClipBatch(torch.stack(pixels), torch.from_numpy(np.stack(looks)), torch.from_numpy(np.stack(places)).float())
