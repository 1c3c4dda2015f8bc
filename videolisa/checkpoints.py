"""Checkpoints: the released layout, SAM's and CLIP's own files, and ours.

Every key of a foreign file maps to exactly one parameter by the rename table below; a key without a place, a
parameter without a key and a shape that does not fit are errors that list them. The model is built on the meta device
and takes one tensor at a time, memory-mapped, so loading needs no second copy. Nothing in a file is executed
(safetensors, or ``torch.load(weights_only=True)``).
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import CLIPVisionConfig, Phi3Config, SamConfig

from ..datasets.errors import RvosError
from .configuration import VideoLisaConfig, sam_config
from .modeling import VideoLisaModel
from .processor import Processor
from .tokenizer import Tokenizer

#: Released key prefixes in front of SAM's and CLIP's own names.
SAM_PREFIX = "model.visual_model."
CLIP_PREFIX = "model.vision_tower.vision_tower."

#: Weight files of a folder, the first pattern that matches.
WEIGHT_FILES = ("model*.safetensors", "weights.safetensors", "pytorch_model*.bin")

#: Public SAM decoders have 8 heads; no weight's shape tells.
SAM_DECODER_HEADS = 8
SAM_WINDOW = 14

#: SAM's own names to transformers', applied in order.
SAM_RENAMES = (
    (r"^image_encoder\.patch_embed\.proj\.", "vision_encoder.patch_embed.projection."),
    (r"^image_encoder\.blocks\.", "vision_encoder.layers."),
    (r"^image_encoder\.neck\.0\.", "vision_encoder.neck.conv1."),
    (r"^image_encoder\.neck\.1\.", "vision_encoder.neck.layer_norm1."),
    (r"^image_encoder\.neck\.2\.", "vision_encoder.neck.conv2."),
    (r"^image_encoder\.neck\.3\.", "vision_encoder.neck.layer_norm2."),
    (r"^image_encoder\.", "vision_encoder."),
    (r"^prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix$", "shared_image_embedding.positional_embedding"),
    (r"^prompt_encoder\.point_embeddings\.", "prompt_encoder.point_embed."),
    (r"^prompt_encoder\.mask_downscaling\.0\.", "prompt_encoder.mask_embed.conv1."),
    (r"^prompt_encoder\.mask_downscaling\.1\.", "prompt_encoder.mask_embed.layer_norm1."),
    (r"^prompt_encoder\.mask_downscaling\.3\.", "prompt_encoder.mask_embed.conv2."),
    (r"^prompt_encoder\.mask_downscaling\.4\.", "prompt_encoder.mask_embed.layer_norm2."),
    (r"^prompt_encoder\.mask_downscaling\.6\.", "prompt_encoder.mask_embed.conv3."),
    (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
    (r"\.norm(\d)\.", r".layer_norm\1."),
    (r"^mask_decoder\.output_upscaling\.0\.", "mask_decoder.upscale_conv1."),
    (r"^mask_decoder\.output_upscaling\.1\.", "mask_decoder.upscale_layer_norm."),
    (r"^mask_decoder\.output_upscaling\.3\.", "mask_decoder.upscale_conv2."),
    (r"(mlps\.\d+|iou_prediction_head)\.layers\.0\.", r"\1.proj_in."),
    (r"(mlps\.\d+|iou_prediction_head)\.layers\.1\.", r"\1.layers.0."),
    (r"(mlps\.\d+|iou_prediction_head)\.layers\.2\.", r"\1.proj_out."),
)

#: Everything else in the released layout.
RELEASED_RENAMES = (
    (r"^model\.(embed_tokens|layers|norm)\.", r"language_model.model.\1."),
    (r"^lm_head\.", "language_model.lm_head."),
    (r"^model\.mm_projector\.", "projector."),
    (r"^model\.text_hidden_fcs\.0\.", "prompt_head."),
    (rf"^{re.escape(CLIP_PREFIX)}vision_model\.", "vision_tower."),
)

#: Entries that older library versions store although they are constants.
CONSTANTS = re.compile(r"(rotary_emb\.inv_freq|embeddings\.position_ids|visual_model\.pixel_(mean|std))$")
#: What the CLIP release holds beside its image encoder.
CLIP_TEXT_SIDE = re.compile(r"^(text_model\.|text_projection\.|visual_projection\.|logit_scale$)")

#: One parameter of transformers' SAM is an alias of another.
SAM_ALIAS = "sam.prompt_encoder.shared_embedding.positional_embedding"
SAM_ALIASED = "sam.shared_image_embedding.positional_embedding"

#: Fields of the released config that are Phi-3's.
PHI3_FIELDS = [
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "hidden_act",
    "max_position_embeddings",
    "original_max_position_embeddings",
    "rms_norm_eps",
    "rope_theta",
    "attention_dropout",
    "resid_pdrop",
    "embd_pdrop",
    "initializer_range",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
]


class CheckpointError(RvosError):
    """A checkpoint that is not what it must be; the message lists the keys."""


@dataclass
class VideoLisa:
    """A model with its processor: everything that is needed to ask about a video.

    Attributes:
        model: in evaluation mode.
        processor: the checkpoint's tokenizer and image sizes.
        source: where it was loaded from, for reports.
    """

    model: VideoLisaModel
    processor: Processor
    source: str = "memory"

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        dtype: torch.dtype | None = None,
        device: str | torch.device = "cpu",
        attn_implementation: str = "sdpa",
        revision: str | None = None,
    ) -> VideoLisa:
        """Load our format from a local folder or, by name, from the Hugging Face hub.

        Args:
            path: folder written by ``save_pretrained``, or ``owner/name`` on the hub.
            dtype: of the weights; as saved where None.
            attn_implementation: ``sdpa``, ``eager`` or ``flash_attention_2``.
            revision: branch, tag or commit on the hub.

        Raises:
            CheckpointError: for missing, unexpected or misshapen keys.
        """
        folder = local_folder(path, revision)
        if _read_json(folder / "config.json").get("model_type") != VideoLisaConfig.model_type:
            raise CheckpointError(
                f"{folder} is not in our format: its config.json has no model_type '{VideoLisaConfig.model_type}'. "
                "VideoLisa.from_reference reads the released layout."
            )
        model, processor = load_own(VideoLisaModel, folder, dtype, attn_implementation)
        return cls(model.to(device).eval(), processor, str(path))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config, safetensors shards, tokenizer and processor settings."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.model.save_pretrained(folder)
        self.processor.save(folder)

    @classmethod
    def from_reference(
        cls,
        folder: str | Path,
        *,
        clip: str | Path | None = None,
        sam: str | Path | None = None,
        dtype: torch.dtype | None = None,
        device: str | torch.device = "cpu",
        attn_implementation: str = "sdpa",
    ) -> VideoLisa:
        """Load the layout that the released code writes and reads.

        Args:
            folder: holds ``hf_config.json`` or ``config.json``, the weights (``*.safetensors`` or ``*.bin``, sharded
                or not) and the tokenizer, in the folder itself or in ``tokenizer/``.
            clip: folder of the CLIP release (config, and weights where the checkpoint leaves CLIP out, as the
                released one does), or its name on the hub. Where None: ``clip/`` in ``folder``, else what the
                checkpoint's config names.
            sam: a SAM ``.pth`` or safetensors file, needed where the checkpoint has no SAM inside.
            dtype: of the weights; as stored where None.
            attn_implementation: ``sdpa``, ``eager`` or ``flash_attention_2``.

        Raises:
            CheckpointError: where files are absent or keys do not fit; the message lists them.
        """
        folder = Path(folder)
        clip_release = clip_folder(folder, clip)
        tensors = released_tensors(folder, clip_release, None if sam is None else Path(sam))
        tokenizer = Tokenizer(folder / "tokenizer" if (folder / "tokenizer").is_dir() else folder)
        config = released_config(folder, clip_release, tensors.shapes, tokenizer.seg_id)
        model: Any = empty_model(config, attn_implementation)
        fill(model, tensors, str(folder), dtype)
        pixels = clip_pixels(clip_release)
        return cls(model.to(device).eval(), Processor.for_config(tokenizer, config, **pixels), str(folder))


def load_own(
    kind: type[VideoLisaModel], folder: Path, dtype: torch.dtype | None, attn_implementation: str
) -> tuple[Any, Processor]:
    """Model and processor from a folder that ``save_pretrained`` wrote. Raises CheckpointError."""
    loaded: Any = kind.from_pretrained(
        folder,
        dtype=dtype or "auto",
        output_loading_info=True,
        use_safetensors=True,
        attn_implementation=attention_by_part(attn_implementation),
    )
    model, report = loaded
    problems = {k: sorted(map(str, report[k])) for k in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    _refuse(str(folder), problems["missing_keys"], problems["unexpected_keys"], problems["mismatched_keys"])
    return model, Processor.load(folder)


def open_checkpoint(path: str | Path, **kwargs: Any) -> VideoLisa:
    """A checkpoint of either layout: ours where its config says so, else the released one.

    Args:
        path: a folder, or ``owner/name`` on the hub.
        kwargs: ``dtype``, ``device``, ``attn_implementation``.

    Raises:
        CheckpointError: where it is neither.
    """
    folder = local_folder(path)
    ours = _read_json(folder / "config.json").get("model_type") == VideoLisaConfig.model_type
    return (VideoLisa.from_pretrained if ours else VideoLisa.from_reference)(folder, **kwargs)


def weights_hash(path: str | Path) -> str | None:
    """``sha256:<hex>`` over a checkpoint's weight files in the order of their names; None where it is no folder."""
    if not Path(path).is_dir():
        return None
    digest = hashlib.sha256()
    for file in _weight_files(Path(path)):
        with file.open("rb") as stream:
            while block := stream.read(1 << 22):
                digest.update(block)
    return f"sha256:{digest.hexdigest()}"


# Names --------------------------------------------------------------------------------------------------------------


def our_name(key: str) -> str | None:
    """The parameter of ``VideoLisaModel`` that a key of the released layout fills; None where there is none."""
    if key.startswith(SAM_PREFIX):
        return sam_name(key.removeprefix(SAM_PREFIX))
    for pattern, replacement in RELEASED_RENAMES:
        if re.match(pattern, key):
            return re.sub(pattern, replacement, key)
    return None


def sam_name(key: str) -> str:
    """The parameter of ``VideoLisaModel`` that a key of SAM's own checkpoint fills."""
    for pattern, replacement in SAM_RENAMES:
        key = re.sub(pattern, replacement, key)
    return f"sam.{key}"


# Building -----------------------------------------------------------------------------------------------------------


def empty_model(config: VideoLisaConfig, attn_implementation: str = "sdpa") -> VideoLisaModel:
    """The model without weights, on the meta device."""
    config._attn_implementation = attention_by_part(attn_implementation)
    with torch.device("meta"):
        return VideoLisaModel(config)


def attention_by_part(implementation: str) -> dict[str, str]:
    """SAM's relative positions are a bias that flash attention cannot take: beside it, SAM runs sdpa."""
    flash = implementation.startswith("flash")
    return {
        "text_config": implementation,
        "vision_config": implementation,
        "sam_config": "sdpa" if flash else implementation,
    }


def fill(model: VideoLisaModel, tensors: TensorMap, source: str, dtype: torch.dtype | None = None) -> None:
    """Give every parameter of a model on the meta device its tensor, one at a time.

    Raises:
        CheckpointError: where names or shapes do not fit; lists them all, before a tensor is read.
    """
    places = {name: p for name, p in model.named_parameters(remove_duplicate=False) if name != SAM_ALIAS}
    wrong = [
        f"{name} {tuple(shape)} (expected {tuple(places[name].shape)})"
        for name, shape in tensors.shapes.items()
        if name in places and tuple(shape) != tuple(places[name].shape)
    ]
    _refuse(source, sorted(places.keys() - tensors.shapes.keys()), sorted(tensors.shapes.keys() - places.keys()), wrong)
    for name, tensor in tensors.items():
        _set(model, name, tensor if dtype is None else tensor.to(dtype), places[name].requires_grad)
    aliased = model.sam.shared_image_embedding.positional_embedding
    model.sam.prompt_encoder.shared_embedding.positional_embedding = aliased
    model.restore_buffers()


def load_sam(model: VideoLisaModel, path: str | Path) -> None:
    """Replace the model's SAM by a public SAM checkpoint (``sam_vit_h_4b8939.pth`` or the same as safetensors).

    Raises:
        CheckpointError: where the file is absent or is a SAM of another size.
    """
    tensors = _open(Path(path)).renamed(sam_name)
    places = {n: p for n, p in model.named_parameters(remove_duplicate=False) if n.startswith("sam.")}
    places.pop(SAM_ALIAS)
    wrong = [n for n, shape in tensors.shapes.items() if n in places and tuple(shape) != tuple(places[n].shape)]
    _refuse(
        str(path), sorted(places.keys() - tensors.shapes.keys()), sorted(tensors.shapes.keys() - places.keys()), wrong
    )
    with torch.no_grad():
        for name, tensor in tensors.items():
            places[name].copy_(tensor)


def released_config(
    folder: Path, clip: Path, shapes: Mapping[str, tuple[int, ...]], seg_token_id: int
) -> VideoLisaConfig:
    """Our config for a released checkpoint: Phi-3 from its config, CLIP from its release, SAM from its shapes.

    Raises:
        CheckpointError: for a checkpoint that is not VideoLISA's.
    """
    values = released_values(folder)
    if "train_mask_decoder" not in values:
        raise CheckpointError(
            f"{folder} is no VideoLISA checkpoint: its config has no train_mask_decoder, which is how the released "
            "code tells VideoLISA from LLaVA."
        )
    if values.get("mm_projector_type") != "mlp2x_gelu" or values.get("mm_vision_select_feature") != "patch":
        raise CheckpointError(f"{folder}: expected an mlp2x_gelu projector over patch features in its config.")
    window = values.get("sliding_window")
    text = Phi3Config(
        **{k: values[k] for k in PHI3_FIELDS if k in values},
        sliding_window=None if window is None else window + 1,
    )
    heads = _read_json(folder / "config.json").get("sam", {}).get("decoder_num_heads", SAM_DECODER_HEADS)
    return VideoLisaConfig(
        text_config=text,
        vision_config=CLIPVisionConfig.from_pretrained(clip),
        sam_config=sam_config_from_shapes(shapes, heads),
        seg_token_id=seg_token_id,
        clip_layer=values["mm_vision_select_layer"],
    )


def sam_config_from_shapes(shapes: Mapping[str, tuple[int, ...]], decoder_heads: int) -> SamConfig:
    """A SAM's sizes read off its weights (our names); only the number of decoder heads leaves no trace in them."""
    encoder, decoder = "sam.vision_encoder.", "sam.mask_decoder."
    width, _, patch, _ = shapes[f"{encoder}patch_embed.projection.weight"]
    grid = shapes[f"{encoder}pos_embed"][1]
    layers = _count(shapes, rf"^{re.escape(encoder)}layers\.(\d+)\.")
    spans = [(shapes[f"{encoder}layers.{i}.attn.rel_pos_h"][0] + 1) // 2 for i in range(layers)]
    windows = {span for span in spans if span != grid}
    return sam_config(
        width=width,
        layers=layers,
        heads=width // shapes[f"{encoder}layers.0.attn.rel_pos_h"][1],
        global_layers=tuple(i for i, span in enumerate(spans) if span == grid),
        mlp_dim=shapes[f"{encoder}layers.0.mlp.lin1.weight"][0],
        image_size=grid * patch,
        patch_size=patch,
        window_size=windows.pop() if windows else SAM_WINDOW,
        prompt_dim=shapes[f"{decoder}iou_token.weight"][1],
        mask_channels=shapes["sam.prompt_encoder.mask_embed.conv2.weight"][0],
        decoder_layers=_count(shapes, rf"^{re.escape(decoder)}transformer\.layers\.(\d+)\."),
        decoder_heads=decoder_heads,
        decoder_mlp_dim=shapes[f"{decoder}transformer.layers.0.mlp.lin1.weight"][0],
        iou_head_dim=shapes[f"{decoder}iou_prediction_head.proj_in.weight"][0],
    )


# Files --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TensorMap:
    """Named tensors that are read when asked for.

    Attributes:
        shapes: shape by name.
        read: gives the tensor of a name.
    """

    shapes: dict[str, tuple[int, ...]]
    read: Callable[[str], torch.Tensor]

    def items(self) -> Iterator[tuple[str, torch.Tensor]]:
        return ((name, self.read(name)) for name in self.shapes)

    def renamed(self, name_of: Callable[[str], str | None]) -> TensorMap:
        """The same tensors under other names; constants and keys without a place keep theirs.

        Raises:
            CheckpointError: where two keys get one name.
        """
        old: dict[str, str] = {}
        for key in self.shapes:
            if CONSTANTS.search(key):
                continue
            name = name_of(key) or key
            if name in old:
                raise CheckpointError(f"The keys {old[name]} and {key} both fill {name}; the checkpoint is ambiguous.")
            old[name] = key
        return TensorMap({new: self.shapes[key] for new, key in old.items()}, lambda name: self.read(old[name]))

    def without(self, pattern: re.Pattern[str]) -> TensorMap:
        return TensorMap({k: s for k, s in self.shapes.items() if not pattern.search(k)}, self.read)

    def joined(self, other: TensorMap) -> TensorMap:
        """Both maps; names of ``other`` win."""
        shapes = {**self.shapes, **other.shapes}
        return TensorMap(shapes, lambda name: (other if name in other.shapes else self).read(name))


def released_tensors(folder: Path, clip: Path, sam: Path | None = None) -> TensorMap:
    """The tensors of a checkpoint in the released layout, under the names of ``VideoLisaModel``.

    Args:
        folder: the checkpoint.
        clip: the CLIP release, whose weights count where the checkpoint has none.
        sam: a SAM file, whose weights count where the checkpoint has none.

    Raises:
        CheckpointError: no weights, or no SAM among them.
    """
    tensors = _open(folder).renamed(our_name)
    if not any(name.startswith("vision_tower.") for name in tensors.shapes):
        image_side = _open(clip).without(CLIP_TEXT_SIDE)
        tensors = tensors.joined(image_side.renamed(lambda key: our_name(CLIP_PREFIX + key)))
    if sam is not None:
        # The checkpoint's own SAM wins: its mask decoder is the trained one.
        tensors = _open(sam).renamed(sam_name).joined(tensors)
    if not any(name.startswith("sam.") for name in tensors.shapes):
        raise CheckpointError(f"{folder} has no SAM inside ({SAM_PREFIX}*); give the SAM checkpoint with sam=….")
    return tensors


def released_values(folder: Path) -> dict[str, Any]:
    """The config of the released layout; empty where there is none.

    The recorded reference keeps it in ``hf_config.json``.
    """
    return _read_json(folder / ("hf_config.json" if (folder / "hf_config.json").is_file() else "config.json"))


def clip_folder(folder: Path, clip: str | Path | None = None) -> Path:
    """The folder of a checkpoint's CLIP release: ``clip``, else ``clip/`` in it, else what its config names.

    Raises:
        CheckpointError: where its config names none.
    """
    if clip is not None:
        return local_folder(clip)
    if (folder / "clip").is_dir():
        return folder / "clip"
    named = released_values(folder).get("vision_tower")
    if not named:
        raise CheckpointError(f"{folder} names no CLIP in its config (vision_tower); give its release with clip=….")
    return local_folder(named)


def _open(path: Path) -> TensorMap:
    """The tensors of a file, or of all weight files of a folder."""
    files = _weight_files(path)
    maps = [_open_safetensors(file) if file.suffix == ".safetensors" else _open_pickle(file) for file in files]
    joined = maps[0]
    for other in maps[1:]:
        joined = joined.joined(other)
    return joined


def _weight_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    for pattern in WEIGHT_FILES:
        files = sorted(path.glob(pattern))
        if files:
            return files
    raise CheckpointError(f"No weights at {path}: expected one of {', '.join(WEIGHT_FILES)}.")


def _open_safetensors(file: Path) -> TensorMap:
    from safetensors import safe_open

    handle = safe_open(file, framework="pt")
    shapes = {key: tuple(handle.get_slice(key).get_shape()) for key in handle.keys()}  # noqa: SIM118 (not a mapping)
    return TensorMap(shapes, handle.get_tensor)


def _open_pickle(file: Path) -> TensorMap:
    try:
        tensors = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{file} holds more than tensors, so loading it would run code (weights_only refuses it); "
            "convert it to safetensors where you trust it."
        ) from error
    return TensorMap({key: tuple(t.shape) for key, t in tensors.items()}, tensors.__getitem__)


def local_folder(path: str | Path, revision: str | None = None) -> Path:
    """The folder itself, or the local copy of ``owner/name`` on the Hugging Face hub.

    Raises:
        CheckpointError: where it is neither.
    """
    if Path(path).is_dir():
        return Path(path)
    if str(path).count("/") != 1 or str(path).startswith((".", "/", "~")):
        raise CheckpointError(f"No checkpoint at {path}: expected a folder, or owner/name on the Hugging Face hub.")
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(str(path), revision=revision))


def clip_pixels(clip: Path) -> dict[str, tuple[float, ...]]:
    """CLIP's mean and deviation as arguments of ``Processor.for_config``; empty where its release states none."""
    values = _read_json(clip / "preprocessor_config.json")
    return {f"clip_{k}": tuple(values[f"image_{k}"]) for k in ("mean", "std") if f"image_{k}" in values}


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _count(shapes: Mapping[str, Any], pattern: str) -> int:
    found = {int(match[1]) for key in shapes if (match := re.match(pattern, key))}
    return max(found) + 1


def _set(model: nn.Module, name: str, tensor: torch.Tensor, requires_grad: bool) -> None:
    owner, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(owner), attribute, nn.Parameter(tensor, requires_grad=requires_grad))


def _refuse(source: str, missing: list[str], unexpected: list[str], wrong: list[str]) -> None:
    """Raise CheckpointError where any list has an entry."""
    parts = [
        f"{len(names)} {what}: {', '.join(names)}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", wrong))
        if names
    ]
    if parts:
        raise CheckpointError(f"{source} does not fit the model. Keys {'; '.join(parts)}.")
