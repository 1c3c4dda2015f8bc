"""Post-optimisation: the masks of a few trusted frames are permanent references from which all others follow.

VideoLISA's dense frames are the ones its language model saw in full, so their masks are the best it has (paper,
section 4.3). The released code hands them to XMem2; here two propagators stand behind one interface:
``FeaturePropagator`` needs no training and no further model, it matches SAM features; ``Sam2Propagator`` runs SAM 2's
video model with masks on several frames. Both serve any predictor through ``PostOptimised``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from ..benchmarks.predictor import FrameMask, Predictor, to_mask
from ..datasets.errors import PredictionInvalid, UsageError
from ..datasets.types import BoolMask, Expression, Video
from .predictor import VideoLisaPredictor
from .sampling import sample_frames

#: expression id -> frame number -> bool (H, W)
References = Mapping[str, Mapping[int, BoolMask]]


class Propagator(Protocol):
    """Fills a video with masks from those of a few frames."""

    def propagate(self, video: Video, references: References) -> Iterator[FrameMask]:
        """Yield (expression id, frame index, bool (H, W)) for every frame; reference frames keep their masks.

        Raises:
            UsageError: where an expression has no reference.
        """
        ...


@runtime_checkable
class SegmentsChosenFrames(Protocol):
    """A predictor that need not segment the frames nobody asks for."""

    def segment_frames(
        self, video: Video, expressions: Sequence[Expression], frames: Sequence[int]
    ) -> Iterable[FrameMask]: ...


class PostOptimised:
    """A predictor whose masks on a few frames are propagated to all others."""

    def __init__(
        self,
        predictor: Predictor,
        propagator: Propagator,
        reference_frames: Callable[[int], Sequence[int]] | None = None,
    ) -> None:
        """
        Args:
            predictor: gives the reference masks. One with ``segment_frames`` is asked for those frames only.
            propagator: gives the other frames.
            reference_frames: frame numbers for a video of T frames; VideoLISA's dense frames where None.
        """
        self.predictor = predictor
        self.propagator = propagator
        self.reference_frames = reference_frames or dense_frames

    def segment(self, video: Video, expressions: Sequence[Expression]) -> Iterator[FrameMask]:
        """Yield (expression id, frame index, bool (H, W)).

        Raises:
            PredictionInvalid: where the predictor gives no mask on a reference frame.
        """
        frames = sorted(set(self.reference_frames(len(video))))
        references: dict[str, dict[int, BoolMask]] = {e.id: {} for e in expressions}
        for expression_id, index, mask in self._ask(video, expressions, frames):
            if index in frames:
                references[expression_id][index] = to_mask(mask, video.size)
        for expression_id, masks in references.items():
            if len(masks) < len(frames):
                raise PredictionInvalid(
                    f"No mask for {video.id}/{expression_id} on reference frames {sorted(set(frames) - set(masks))}."
                )
        yield from self.propagator.propagate(video, references)

    def _ask(self, video: Video, expressions: Sequence[Expression], frames: Sequence[int]) -> Iterable[FrameMask]:
        if isinstance(self.predictor, SegmentsChosenFrames):
            return self.predictor.segment_frames(video, expressions, frames)
        return self.predictor.segment(video, expressions)


def dense_frames(total: int, sparse: int = 32, dense: int = 4) -> Sequence[int]:
    """The dense frames of Sparse Dense Sampling: the references that the released post-optimisation takes."""
    return sample_frames(total, sparse, dense).dense_frames


# Training-free --------------------------------------------------------------------------------------------------------

#: (frame index, (height, width) of the SAM image before padding, image embedding (1, C, g, g))
FrameFeatures = tuple[int, tuple[int, int], torch.Tensor]


class FeaturePropagator:
    """Every cell of a frame's feature grid takes the mask of the cells it looks most like in the references.

    Cosine similarity of SAM embeddings, softmax over the best matches, weighted mean of their mask shares; then the
    map is aligned with the image's edges by a guided filter (He et al., 2010). Similarities are computed once per
    frame for all sentences.
    """

    def __init__(
        self,
        features: Callable[[Video, Sequence[int] | None], Iterator[FrameFeatures]],
        image_size: int,
        *,
        matches: int = 32,
        temperature: float = 0.05,
        recent: int = 1,
        edge_radius: int = 6,
    ) -> None:
        """
        Args:
            features: gives image embeddings of chosen or (None) all frames in order.
            image_size: side of SAM's padded input, in pixels.
            matches: cells that each cell is matched with.
            temperature: of the softmax over their similarities.
            recent: propagated frames that serve as references for the next ones, beside the permanent ones.
            edge_radius: of the guided filter, in pixels of a quarter of the SAM image; 0 leaves it out.
        """
        self.features = features
        self.image_size = image_size
        self.matches = matches
        self.temperature = temperature
        self.recent = recent
        self.edge_radius = edge_radius

    @classmethod
    def of(cls, predictor: VideoLisaPredictor, **options: Any) -> FeaturePropagator:
        """On the SAM of a VideoLISA engine."""
        return cls(predictor.sam_features, predictor.videolisa.processor.pixels.sam_size, **options)

    def propagate(self, video: Video, references: References) -> Iterator[FrameMask]:
        """See ``Propagator.propagate``. Memory: features of the reference and recent frames."""
        for frames, names in _by_frames(references):
            for index, masks in self._group(video, frames, [references[name] for name in names]):
                yield from ((name, index, mask) for name, mask in zip(names, masks, strict=True))

    @torch.inference_mode()
    def _group(
        self, video: Video, frames: Sequence[int], references: Sequence[Mapping[int, BoolMask]]
    ) -> Iterator[tuple[int, Sequence[BoolMask]]]:
        """Expressions with the same reference frames: (index, mask of each)."""
        bank = []
        for index, padded_from, features in self.features(video, frames):
            masks = torch.from_numpy(np.stack([r[index] for r in references])).to(features.device)
            bank.append((self._cells(features, padded_from), self._shares(masks, padded_from, features.shape[-1])))
        recent: deque[tuple[torch.Tensor, torch.Tensor]] = deque(maxlen=self.recent)
        for index, padded_from, features in self.features(video, None):
            if index in references[0]:
                yield index, [r[index] for r in references]
                continue
            cells = self._cells(features, padded_from)
            shares = self._match(cells, [*bank, *recent])
            recent.append((cells, shares))
            grid = shares.T.unflatten(1, self._grid(padded_from, features.shape[-1]))
            cell = self.image_size // features.shape[-1]
            yield index, list(self._to_masks(video, index, padded_from, grid, cell))

    def _grid(self, padded_from: tuple[int, int], side: int) -> tuple[int, int]:
        """Rows and columns of the grid that hold image, not padding."""
        cell = self.image_size // side
        return -(-padded_from[0] // cell), -(-padded_from[1] // cell)

    def _cells(self, features: torch.Tensor, padded_from: tuple[int, int]) -> torch.Tensor:
        """Unit vectors of the cells that hold image: float32 (P, C)."""
        rows, columns = self._grid(padded_from, features.shape[-1])
        return F.normalize(features[0, :, :rows, :columns].float().flatten(1).T, dim=1)

    def _shares(self, masks: torch.Tensor, padded_from: tuple[int, int], side: int) -> torch.Tensor:
        """Share of each cell's image that each mask covers, 0-1: bool (N, H, W) to float32 (P, N)."""
        rows, columns = self._grid(padded_from, side)
        cell = self.image_size // side
        resized = F.interpolate(masks[None].float(), padded_from, mode="bilinear", align_corners=False)
        fill = (0, columns * cell - padded_from[1], 0, rows * cell - padded_from[0])
        covered = F.avg_pool2d(F.pad(resized, fill), cell)
        image = F.avg_pool2d(F.pad(torch.ones_like(resized[:, :1]), fill), cell)
        return (covered / image)[0].flatten(1).T

    def _match(self, cells: torch.Tensor, bank: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        """Mask shares of the cells from the bank's: (P, N)."""
        keys, shares = torch.cat([k for k, _ in bank]), torch.cat([s for _, s in bank])
        found = []
        for some in cells.split(1024):
            similar, places = (some @ keys.T).topk(min(self.matches, len(keys)), dim=1)
            weights = (similar / self.temperature).softmax(dim=1)
            found.append(torch.einsum("pm,pmn->pn", weights, shares[places]))
        return torch.cat(found)

    def _to_masks(
        self, video: Video, index: int, padded_from: tuple[int, int], shares: torch.Tensor, cell: int
    ) -> NDArray[np.bool_]:
        """Shares (N, rows, columns) of cells of ``cell`` pixels to masks at the video's size: bool (N, H, W)."""
        whole = (shares.shape[1] * cell, shares.shape[2] * cell)
        fine = F.interpolate(shares[None], whole, mode="bilinear", align_corners=False)
        fine = fine[..., : padded_from[0], : padded_from[1]]
        if self.edge_radius:
            quarter = (max(padded_from[0] // 4, 1), max(padded_from[1] // 4, 1))
            guide = np.asarray(Image.fromarray(video.frame(index)).convert("L").resize(quarter[::-1]), np.float32) / 255
            coarse = F.interpolate(fine, quarter, mode="bilinear", align_corners=False)[0]
            fine = guided_filter(torch.from_numpy(guide).to(coarse), coarse, self.edge_radius)[None]
        values = F.interpolate(fine, video.size, mode="bilinear", align_corners=False)[0]
        return (values > 0.5).cpu().numpy()


def guided_filter(guide: torch.Tensor, values: torch.Tensor, radius: int, eps: float = 1e-4) -> torch.Tensor:
    """Make maps follow the edges of an image: in every window they become a linear function of it.

    He, Sun, Tang: Guided Image Filtering, ECCV 2010.

    Args:
        guide: float (H, W), grey values 0-1.
        values: float (N, H, W).
        radius: of the windows, in pixels.
        eps: variance of the guide below which a window counts as flat.

    Returns:
        float (N, H, W).
    """
    image, maps = guide[None, None], values[:, None]

    def mean(x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(x, 2 * radius + 1, stride=1, padding=radius, count_include_pad=False)

    mean_image, mean_maps = mean(image), mean(maps)
    slope = (mean(image * maps) - mean_image * mean_maps) / (mean(image * image) - mean_image**2 + eps)
    return (mean(slope) * image + mean(mean_maps - slope * mean_image))[:, 0]


# SAM 2 ----------------------------------------------------------------------------------------------------------------

#: ImageNet statistics of values 0-1, which SAM 2 normalises with.
SAM2_MEAN = (0.485, 0.456, 0.406)
SAM2_STD = (0.229, 0.224, 0.225)


class Sam2Propagator:
    """SAM 2's video model with masks on several frames, streaming.

    The references condition every frame, earlier ones too. Memories older than the model looks back are dropped, so
    memory does not grow with the video.
    """

    def __init__(self, model: Any) -> None:
        """
        Args:
            model: a ``transformers.Sam2VideoModel``.
        """
        self.model = model.eval()

    @classmethod
    def from_pretrained(cls, path: str, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Sam2Propagator:
        """Load e.g. ``facebook/sam2.1-hiera-large`` or a local folder."""
        from transformers import Sam2VideoModel

        model: Any = Sam2VideoModel.from_pretrained(path, dtype=dtype, use_safetensors=True)
        return cls(model.to(device))

    def propagate(self, video: Video, references: References) -> Iterator[FrameMask]:
        """See ``Propagator.propagate``."""
        for frames, names in _by_frames(references):
            for index, masks in self._group(video, frames, [references[name] for name in names]):
                yield from ((name, index, mask) for name, mask in zip(names, masks, strict=True))

    @torch.inference_mode()
    def _group(
        self, video: Video, frames: Sequence[int], references: Sequence[Mapping[int, BoolMask]]
    ) -> Iterator[tuple[int, Sequence[BoolMask]]]:
        session = self._session(video)
        for index in frames:
            self._condition(session, video, index, [r[index] for r in references])
        for index in range(len(video)):
            if index in references[0]:
                yield index, [r[index] for r in references]
                continue
            output = self.model(inference_session=session, frame=self._pixels(video.frame(index)), frame_idx=index)
            logits = F.interpolate(output.pred_masks.float(), video.size, mode="bilinear", align_corners=False)
            self._forget(session, index)
            yield index, list((logits[:, 0] > 0).cpu().numpy())

    def _session(self, video: Video) -> Any:
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

        return Sam2VideoInferenceSession(
            video_height=video.height,
            video_width=video.width,
            inference_device=self.model.device,
            inference_state_device=self.model.device,
            video_storage_device=self.model.device,
            dtype=self.model.dtype,
        )

    def _condition(self, session: Any, video: Video, index: int, masks: Sequence[BoolMask]) -> None:
        """Let one reference frame's masks condition the others, one object a sentence."""
        session.add_new_frame(self._pixels(video.frame(index)), index)
        side = self.model.config.image_size
        for number, mask in enumerate(masks):
            shares = F.interpolate(
                torch.from_numpy(mask)[None, None].float(), (side, side), mode="bilinear", antialias=True
            )
            session.add_mask_inputs(session.obj_id_to_idx(number), index, (shares >= 0.5).float())
        session.obj_with_new_inputs = list(range(len(masks)))
        self.model(inference_session=session, frame_idx=index)
        session.processed_frames.pop(index)

    def _pixels(self, frame: NDArray[np.uint8]) -> torch.Tensor:
        """A frame stretched to the model's square input and normalised: float32 (3, side, side)."""
        side = self.model.config.image_size
        image = np.asarray(Image.fromarray(frame).resize((side, side), Image.Resampling.BILINEAR), np.float32) / 255
        normalised = (image - np.array(SAM2_MEAN, np.float32)) / np.array(SAM2_STD, np.float32)
        return torch.from_numpy(normalised.transpose(2, 0, 1).copy()).to(self.model.device)

    def _forget(self, session: Any, index: int) -> None:
        """Drop the frame's pixels and the memories that lie further back than the model looks."""
        session.processed_frames.pop(index)
        config = self.model.config
        oldest = index - max(config.num_maskmem, config.max_object_pointers_in_encoder)
        for outputs in session.output_dict_per_obj.values():
            outputs["non_cond_frame_outputs"].pop(oldest, None)
        for tracked in session.frames_tracked_per_obj.values():
            tracked.pop(oldest, None)


def _by_frames(references: References) -> list[tuple[tuple[int, ...], list[str]]]:
    """Expressions grouped by their reference frames, which then share all work.

    Raises:
        UsageError: where an expression has no reference.
    """
    groups: dict[tuple[int, ...], list[str]] = {}
    for name, masks in references.items():
        if not masks:
            raise UsageError(f"Expression {name} has no reference mask to propagate from.")
        groups.setdefault(tuple(sorted(masks)), []).append(name)
    return list(groups.items())
