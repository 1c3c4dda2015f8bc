"""Loading the models of transformers that baselines stand on, strictly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from ..datasets.errors import RvosError, UsageError
from ..videolisa.checkpoints import CheckpointError


def load_model(path: str, class_name: str, dtype: torch.dtype | None = None) -> Any:
    """A model of transformers in evaluation mode, every weight of it from the checkpoint.

    Args:
        path: a folder, or ``owner/name`` on the Hugging Face hub.
        class_name: of the class in transformers.

    Raises:
        CheckpointError: no such checkpoint, one of another architecture, or weights that are missing or do not fit.
        UsageError: where this transformers has no such model.
    """
    import transformers

    kind: Any = getattr(transformers, class_name, None)
    if kind is None:
        raise UsageError(f"transformers {transformers.__version__} has no {class_name}; pip install -U transformers")
    _must_be(path, class_name, getattr(getattr(kind, "config_class", None), "model_type", None))
    try:
        model, report = kind.from_pretrained(path, dtype=dtype or "auto", output_loading_info=True)
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError, TypeError) as error:
        # transformers builds whatever the config says and fails anywhere in it where that is another architecture
        raise CheckpointError(
            f"{path} cannot be loaded as {class_name}: {' '.join(str(error).split())[:300]}"
        ) from error
    wrong = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
    if wrong:
        raise CheckpointError(
            f"{path} is no {class_name}: {len(wrong)} of its weights are missing or of another shape: "
            f"{', '.join(wrong[:10])}"
        )
    return model.eval()


def _must_be(path: str, class_name: str, model_type: str | None) -> None:
    """Refuse another architecture before a model of the wrong kind and its default size is built.

    Raises:
        CheckpointError: no such checkpoint, or another type of model.
    """
    from transformers import PretrainedConfig

    try:
        stored = PretrainedConfig.get_config_dict(path)[0].get("model_type")
    except (OSError, ValueError) as error:
        words = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{path} cannot be loaded as {class_name}: {words}") from error
    if model_type is not None and stored != model_type:
        raise CheckpointError(f"{path} is no {class_name}: its config says model_type {stored}, not {model_type}.")


def load_tokenizer(path: str) -> Any:
    """The tokenizer of a checkpoint. Raises CheckpointError."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path} has no tokenizer that can be read: {' '.join(str(error).split())[:300]}"
        ) from error


def load_processor(path: str) -> Any:
    """The processor of a checkpoint.

    Raises:
        CheckpointError: where it has none.
        RvosError: where it needs torchvision, with the line that installs it.
    """
    from transformers import AutoProcessor

    try:
        return AutoProcessor.from_pretrained(path)
    except ImportError as error:
        raise RvosError(
            f"The processor of {path} needs torchvision, in the version that fits torch {torch.__version__}: "
            "pip install torchvision"
        ) from error
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path} has no processor that can be read: {' '.join(str(error).split())[:300]}"
        ) from error


def image_settings(path: str) -> dict[str, Any]:
    """What a checkpoint says about its images, its ``preprocessor_config.json``; empty where it has none."""
    from transformers.utils import cached_file

    file = cached_file(path, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False)
    return {} if file is None else json.loads(Path(file).read_text(encoding="utf-8"))


def device_of(device: str | None) -> str:
    """The device asked for; by default ``cuda`` where there is one, else ``cpu``."""
    return device or ("cuda" if torch.cuda.is_available() else "cpu")


def two_paths(paths: str, what: str) -> tuple[str, str]:
    """The two checkpoints of ``FIRST,SECOND``. Raises UsageError."""
    first, comma, second = paths.partition(",")
    if not (first and comma and second):
        raise UsageError(f"Two checkpoints are needed, {what}, found '{paths}'.")
    return first.strip(), second.strip()
