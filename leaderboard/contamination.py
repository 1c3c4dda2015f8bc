"""Which benchmarks a model has seen in training: the same split, or videos that a benchmark took from elsewhere."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import yaml
from pydantic import BaseModel, ConfigDict

from ..benchmarks.results import Table


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SharedVideos(_Record):
    """A benchmark holds videos of another dataset; ``videos`` says how many, where the source does."""

    benchmark: str
    holds_videos_of: str
    videos: int | None = None
    source: str


class Training(_Record):
    """What a model was trained on, ``dataset/split``, as its source states it."""

    model: str
    trained_on: tuple[str, ...]
    note: str = ""
    source: str


class Contamination(_Record):
    """The whole map.

    Attributes:
        benchmarks: which dataset's videos come from which other one.
        unstated: benchmarks of which nobody says where their videos come from.
        models: what they were trained on.
    """

    benchmarks: tuple[SharedVideos, ...]
    unstated: tuple[str, ...] = ()
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

    def sources(self, name: str) -> tuple[str, ...]:
        """The sets that a dataset's videos come from, and those that these come from, nearest first."""
        found: dict[str, None] = {}
        todo = [name]
        while todo:
            current = todo.pop(0)
            nearer = [s.holds_videos_of for s in self.benchmarks if s.benchmark == current]
            todo += [source for source in nearer if source not in found]
            found |= dict.fromkeys(nearer)
        return tuple(found)

    def recurring(self, benchmark: str, other: str) -> tuple[str, ...]:
        """The sets of which both datasets hold videos, one of them perhaps being such a set itself."""
        mine, theirs = ({name, *self.sources(name)} for name in (benchmark, other))
        return tuple(
            name for name in dict.fromkeys((benchmark, other, *self.sources(benchmark))) if name in mine & theirs
        )

    def table(self) -> Table:
        """A row a benchmark: where its videos come from, and which other datasets hold videos of the same sets."""
        names = list(dict.fromkeys([*(s.benchmark for s in self.benchmarks), *self.unstated]))
        known = list(dict.fromkeys([*names, *(s.holds_videos_of for s in self.benchmarks)]))
        rows = []
        for name in names:
            counts = {s.holds_videos_of: s.videos for s in self.benchmarks if s.benchmark == name}
            sources = [f"{source} ({n})" if n else source for source, n in counts.items()]
            shared = {other: self.recurring(name, other) for other in known if other != name}
            others = [
                f"{other} (by {', '.join(via)})" if via != (other,) else other for other, via in shared.items() if via
            ]
            rows.append((name, ", ".join(sources) or "not stated", ", ".join(others) or "–"))
        return Table("", ("benchmark", "its videos come from", "other sets that hold videos of the same"), tuple(rows))

    def _seen(self, training: Training, dataset: str) -> list[str]:
        name = dataset.partition("/")[0]
        seen = []
        if dataset in training.trained_on:
            seen.append(f"{training.model} was trained on {dataset}. {training.note}".strip())
        sets = dict.fromkeys(place.partition("/")[0] for place in training.trained_on)
        own = [s for s in self.benchmarks if s.benchmark == name]
        seen += [
            f"{shared.videos or 'Some'} videos of {name} are of {shared.holds_videos_of}, "
            f"on which {training.model} was trained."
            for shared in own
            if shared.holds_videos_of in sets
        ]
        told = {shared.holds_videos_of for shared in own if shared.holds_videos_of in sets}
        for other in sets:
            via = [source for source in self.recurring(name, other) if source not in told | {name, other}]
            if via and other != name:
                both = f"{name} and {other}, on which {training.model} was trained, both hold videos of"
                seen.append(f"{both} {' and '.join(via)}; whether the same ones is not stated.")
        return seen


@cache
def contamination() -> Contamination:
    """The map in ``contamination.yaml``."""
    path = files(__package__) / "contamination.yaml"
    return Contamination.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
