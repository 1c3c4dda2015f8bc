"""Which benchmarks a model has seen in training: the same split, or videos that a benchmark took from elsewhere."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import yaml
from pydantic import BaseModel, ConfigDict


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SharedVideos(_Record):
    """A benchmark holds videos of another dataset."""

    benchmark: str
    holds_videos_of: str
    videos: int
    source: str


class Training(_Record):
    """What a model was trained on, ``dataset/split``, as its source states it."""

    model: str
    trained_on: tuple[str, ...]
    note: str = ""
    source: str


class Contamination(_Record):
    """The whole map."""

    benchmarks: tuple[SharedVideos, ...]
    models: tuple[Training, ...]

    def of(self, model: str, dataset: str) -> list[str]:
        """What ``model`` has seen of ``dataset`` (``name/split``), one sentence each; empty where nothing is known.

        Models are found by the start of their name: ``VideoLISA-3.8B`` is ``videolisa``.
        """
        found = []
        for training in self.models:
            if model.lower().startswith(training.model):
                found += self._seen(training, dataset)
        return found

    def _seen(self, training: Training, dataset: str) -> list[str]:
        name = dataset.partition("/")[0]
        seen = []
        if dataset in training.trained_on:
            seen.append(f"{training.model} was trained on {dataset}. {training.note}".strip())
        sets = {place.partition("/")[0] for place in training.trained_on}
        seen += [
            f"{shared.videos} videos of {name} are of {shared.holds_videos_of}, on which {training.model} was trained."
            for shared in self.benchmarks
            if shared.benchmark == name and shared.holds_videos_of in sets
        ]
        return seen


@cache
def contamination() -> Contamination:
    """The map in ``contamination.yaml``."""
    path = files(__package__) / "contamination.yaml"
    return Contamination.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
