"""The running score of a model at work, for its progress bar."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

from ..datasets.errors import RvosError
from ..datasets.types import RVOSDataset
from .predictions.run_masks import RunMasks
from .protocols import default_protocols
from .protocols.base import Protocol, unit_metric


class LiveScore:
    """Scores finished videos in a thread beside the model, one at a time; those that it has no time for it skips.

    So it never holds up the model, and its mean is one over the videos that it saw. The run's scores come from
    ``evaluate``, never from here.
    """

    def __init__(self, dataset: RVOSDataset, masks: Path) -> None:
        self._dataset, self._masks = dataset, masks
        self._protocol = _protocol(dataset)
        self._thread: threading.Thread | None = None
        self._values: list[float] = []

    def offer(self, video_ids: Iterable[str]) -> None:
        """Score one of these videos, unless one is being scored at this moment."""
        video_id = next(iter(video_ids), None)
        busy = self._thread is not None and self._thread.is_alive()
        if self._protocol is None or video_id is None or busy:
            return
        # A daemon: the end of the run does not wait for it.
        self._thread = threading.Thread(target=self._score, args=(self._protocol, video_id), daemon=True)
        self._thread.start()

    @property
    def words(self) -> str:
        """E.g. ``mevis@1 J&F 61.2 over 40 of them``; empty before the first."""
        values = self._values
        if self._protocol is None or not values:
            return ""
        name = unit_metric(self._protocol.metrics).name
        return f"{self._protocol.id} {name} {100 * sum(values) / len(values):.1f} over {len(values)} of them"

    def _score(self, protocol: Protocol, video_id: str) -> None:
        try:
            scores = protocol.score_video(self._dataset, video_id, RunMasks(self._masks))
        except RvosError:
            self._protocol = None  # the ground truth cannot be read, which evaluate reports in full
            return
        self._values = self._values + [value for _, value, _ in unit_metric(protocol.metrics).pairs(scores)]


def _protocol(dataset: RVOSDataset) -> Protocol | None:
    """The first default protocol that scores masks by expression; None without one or without ground truth."""
    try:
        candidates = [p for p in default_protocols(dataset) if not p.merged and p.applies_to(dataset) is None]
        known = dataset.ground_truth(dataset[0]) is not None
    except RvosError:
        return None
    return candidates[0] if candidates and known else None
