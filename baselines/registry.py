"""Predictors by name.

A name is a line of the manifest, an entry point of group ``rvos.predictors`` of an installed package, or
``package.module:attribute``. ``name:ARGUMENT`` loads a registered predictor from a checkpoint, ``worker:COMMAND``
starts a model in an environment of its own.
"""

from __future__ import annotations

import inspect
import traceback
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from ..benchmarks.predictor import Predictor, as_predictor
from ..datasets.errors import MissingExtraError, RvosError, UnknownNameError, UsageError
from ..datasets.types import RVOSDataset

#: Predictors without weights, name -> "module:Class". Imported only when the predictor is asked for.
MANIFEST = {
    "empty": "rvos.baselines.trivial:Empty",
    "full": "rvos.baselines.trivial:Full",
    "centre-box": "rvos.baselines.trivial:CentreBox",
    "largest-object": "rvos.baselines.text_blind:LargestObject",
    "one-mask-for-all": "rvos.baselines.text_blind:OneMaskForAll",
    "permuted-sentences": "rvos.baselines.text_blind:PermutedSentences",
    "best-object": "rvos.baselines.oracles:BestObject",
    "first-frame-copied": "rvos.baselines.oracles:FirstFrameCopied",
    "shifted": "rvos.baselines.oracles:Shifted",
    "perfect": "rvos.baselines.oracles:Perfect",
}

#: Models, name -> "module:Class"; ``name:CHECKPOINT`` calls the class's ``from_pretrained``. The weights of the nano
#: models ship in the package: their names alone will do.
MODELS = {
    "videolisa-nano": "rvos.baselines.nano:VideoLisaNano",
    "videolisa-nano-post-optimised": "rvos.baselines.nano:VideoLisaNanoPostOptimised",
    "lisa-nano": "rvos.baselines.nano:LisaNano",
    "lisa-nano-first-frame": "rvos.baselines.nano:LisaNanoFirstFrame",
    "lisa-nano-propagation": "rvos.baselines.nano:LisaNanoPropagation",
    "videolisa": "rvos.videolisa.predictor:VideoLisaPredictor",
    "lisa": "rvos.baselines.lisa:LisaPredictor",
    "lisa-first-frame": "rvos.baselines.lisa:LisaFirstFrame",
    "lisa-propagation": "rvos.baselines.lisa:LisaPropagation",
    "clipseg": "rvos.baselines.clipseg:ClipSeg",
    "grounding-dino-sam": "rvos.baselines.grounding_dino:GroundedSam",
    "grounding-dino-sam2": "rvos.baselines.grounding_dino:GroundedSam2",
    "sam3": "rvos.baselines.sam3:Sam3",
    "multimodal-llm": "rvos.baselines.multimodal_llm:MultimodalLlm",
    "tracks": "rvos.baselines.tracks:Tracks",
}

ENTRY_POINTS = "rvos.predictors"
#: ``worker:COMMAND`` is a model behind a process of its own.
WORKER = "worker"


def make_predictor(spec: str, dataset: RVOSDataset | None = None) -> Predictor:
    """The predictor that ``spec`` names.

    Args:
        spec: ``name``; ``name:ARGUMENT`` for ``from_pretrained(ARGUMENT)`` of a registered class, e.g.
            ``videolisa:checkpoints/mine``; or ``package.module:attribute``, a class with ``segment`` (made without
            arguments), an object with ``segment``, or a function ``(video, text) -> (T, H, W)``; or
            ``worker:COMMAND``, see ``benchmarks.workers``.
        dataset: handed to registered predictors whose constructor asks for ``dataset`` (oracles, text-blind ones).

    Raises:
        UnknownNameError: where no predictor has the name; lists near matches and all names.
        UsageError: where the module or its attribute cannot be imported, or is no predictor.
        MissingExtraError: where a model's packages are not installed.
    """
    known = predictor_names()
    name, colon, argument = spec.partition(":")
    if name == WORKER:
        from ..benchmarks.workers import WorkerPredictor

        return WorkerPredictor(argument)
    if name in known:
        return _registered(name, known[name], argument if colon else None, dataset)
    if not colon:
        raise UnknownNameError("predictor", spec, known)
    try:
        return _as_predictor(spec, _made(spec, load_attribute(spec)))
    except ModuleNotFoundError as error:
        raise UsageError(f"Predictor '{spec}' needs the module '{error.name}', which is not installed.") from error


def predictor_names() -> dict[str, str]:
    """Every known name -> "module:attribute"; other packages cannot take over a name of this one."""
    plugins = {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}
    return {**plugins, **MANIFEST, **MODELS}


def load_attribute(spec: str) -> Any:
    """The attribute that "package.module:attribute" names.

    Raises:
        UsageError: no such module or attribute, or the module raises while it is imported.
        ModuleNotFoundError: the module needs another one that is not installed.
    """
    module_name, _, attribute = spec.partition(":")
    if not module_name:
        raise UsageError(f"Predictor '{spec}' names no module; expected package.module:Class.")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise
        names = ", ".join(predictor_names())
        raise UsageError(
            f"No module '{module_name}' for predictor '{spec}'. Expected package.module:Class, importable from here, "
            f"or one of: {names}."
        ) from error
    except Exception as error:  # whatever a module does when it is imported
        raise UsageError(f"Predictor '{spec}' cannot be imported: {_in_one_line(error)}.") from error
    found: Any = module
    for part in attribute.split("."):
        if not part or not hasattr(found, part):
            raise UsageError(
                f"Module '{module_name}' has no '{attribute}' ({getattr(module, '__file__', 'built in')}); "
                "expected package.module:Class."
            )
        found = getattr(found, part)
    return found


def _registered(name: str, target: str, argument: str | None, dataset: RVOSDataset | None) -> Predictor:
    found: Any = _model_class(name) if name in MODELS else load_attribute(target)
    if argument is not None:
        if not hasattr(found, "from_pretrained"):
            raise UsageError(f"Predictor '{name}' takes no argument; write '{name}' instead of '{name}:{argument}'.")
        return _as_predictor(name, found.from_pretrained(argument))
    if isinstance(found, type) and "dataset" in inspect.signature(found).parameters:
        if dataset is None:
            raise UsageError(f"Predictor '{name}' reads ground truth and needs a dataset; none was given.")
        return _as_predictor(name, found(dataset=dataset))
    if hasattr(found, "from_pretrained") and _required(found):
        raise UsageError(f"Predictor '{name}' needs a checkpoint: '{name}:PATH'.")
    return _as_predictor(name, _made(name, found))


def _model_class(name: str) -> Any:
    try:
        return load_attribute(MODELS[name])
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"Predictor '{name}'", "models") from error


def _made(spec: str, found: Any) -> Any:
    """The object itself, or an instance of a class that needs no arguments. Raises UsageError."""
    if not inspect.isclass(found):
        return found
    required = _required(found)
    if required:
        raise UsageError(
            f"Predictor '{spec}' cannot be made without arguments ({', '.join(required)}); name an object that is "
            "already made, or a class whose constructor needs none."
        )
    try:
        return found()
    except (ModuleNotFoundError, RvosError):
        raise
    except Exception as error:  # whatever a constructor does
        raise UsageError(f"Predictor '{spec}' cannot be made: {_in_one_line(error)}.") from error


def _in_one_line(error: Exception) -> str:
    """Type, message and the place where it was raised."""
    words = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if isinstance(error, SyntaxError):
        return words  # its message names the file that holds the mistake
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{words} ({place.filename}, line {place.lineno})"


def _required(made: type) -> list[str]:
    """The constructor's parameters that have no default."""
    parameters = inspect.signature(made).parameters.values()
    return [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def _as_predictor(spec: str, model: Any) -> Predictor:
    try:
        return as_predictor(model)
    except TypeError as error:
        raise UsageError(f"'{spec}' is no predictor: {error}") from error
