"""Every benchmark, of videos and of images, reads spoiled prediction files alike: what is wrong costs its own units and
is said, what leaves no doubt costs nothing. In this process; about 5 s.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile import BENCHMARKS, SIZE, each_mask
from hostile_cases import MASK_FILES, SAME_MASKS, SCORE_FILES, as_scores
from PIL import Image
from samedata import only, shifted_masks

from rvos.benchmarks.evaluator import as_asked
from rvos.benchmarks.predictions import open_predictions
from rvos.benchmarks.protocols import default_protocols, get_protocol
from rvos.benchmarks.protocols.base import Summary, UnitScore
from rvos.datasets.reasonshapes import generate, write
from rvos.datasets.registry import load
from rvos.datasets.types import RVOSDataset, Sample

#: scores and summary by protocol
Scores = dict[str, tuple[dict[str, UnitScore], Summary]]
Spoil = Callable[[Path], Any]


@dataclass(frozen=True)
class Answers:
    """A benchmark, and good predictions for it."""

    dataset: RVOSDataset
    folder: Path

    @property
    def sample(self) -> Sample:
        """The sample that is spoiled."""
        return self.dataset[0]

    @property
    def samples_folder(self) -> Path:
        return self.folder / self.dataset.prediction_path(self.sample)

    def file(self, suffix: str) -> Path:
        """The file that is spoiled."""
        names = self.sample.video.frame_names
        return self.samples_folder / f"{names[len(names) // 2]}{suffix}"

    def scores(self, threshold: float | None = None) -> Scores:
        masks, found = open_predictions(self.folder, self.dataset, threshold), {}
        for protocol in default_protocols(self.dataset):
            asked = as_asked(protocol, masks, self.dataset, None)
            scores = [s for video in self.dataset.videos for s in protocol.score_video(self.dataset, video.id, asked)]
            found[protocol.id] = {s.unit.key: s for s in scores}, protocol.aggregate(scores)
        return found


@pytest.fixture(scope="module", params=BENCHMARKS)
def answers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """One video, or two images, with the truth moved by two pixels."""
    base = tmp_path_factory.mktemp("answers")
    layout, _, split = request.param.partition("/")
    write(layout, base / "data", generate("valid", 2, **{**SIZE, "n_frames": 3, "n_sentences": 2}), split=split or None)
    dataset = load(request.param, base / "data")
    n_videos = 1 if len(dataset[0].video) > 1 else 2
    dataset = only(dataset, *list(dict.fromkeys(sample.video.id for sample in dataset))[:n_videos])
    return Answers(dataset, shifted_masks(dataset, base / "masks"))


@contextmanager
def spoiled(path: Path, spoil: Spoil) -> Iterator[None]:
    """A file or folder, spoiled for a while."""
    good = path.with_name(f"{path.name}.good")
    (shutil.copytree if path.is_dir() else shutil.copy2)(path, good)
    try:
        spoil(path)
        yield
    finally:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        good.rename(path)


def costs_its_own_units(answers: Answers, before: Scores, after: Scores, says: str) -> None:
    """The units of the spoiled sample say what is wrong, no value rises, and no other unit changes."""
    own = answers.sample
    for protocol_id, (good, summary) in before.items():
        found, less = after[protocol_id]
        told = {key for key, score in found.items() if re.search(says, score.reason)}
        merged = f"{own.video.id}/annot{own.expression.tags.get('annotator')}/"  # frames of label maps are lost whole
        assert told and all(key == own.key or key.startswith(merged) for key in told), {
            score.reason for score in found.values()
        }
        for key, score in found.items():
            assert key in told or (score.status, score.J, score.F) == (good[key].status, good[key].J, good[key].F)
            assert (score.J or 0) <= (good[key].J or 0) and score.counted == good[key].counted
        assert all((value or 0) <= (summary.values[name] or 0) + 1e-12 for name, value in less.values.items())


def test_broken_mask_files(answers: Answers) -> None:
    before = answers.scores()
    for name, (spoil, says) in {**MASK_FILES, "missing": (Path.unlink, "no such file")}.items():
        with spoiled(answers.file(".png"), spoil):
            print(name)  # shown where the test fails
            takes_scores = {i for i in before if name.startswith("grey_scores") and get_protocol(i).merged}
            asked = {i: scores for i, scores in before.items() if i not in takes_scores}
            costs_its_own_units(answers, asked, answers.scores(), says)
    assert str(answers.scores()) == str(before)


def test_a_sample_without_masks(answers: Answers) -> None:
    before = answers.scores()
    for spoil in (shutil.rmtree, lambda path: shutil.rmtree(path) or path.write_text("")):
        with spoiled(answers.samples_folder, spoil):
            costs_its_own_units(answers, before, answers.scores(), r"no such file|is a file")


def test_masks_stored_in_other_ways(answers: Answers) -> None:
    before = answers.scores()
    for name, store in SAME_MASKS.items():
        with spoiled(answers.samples_folder, lambda path, how=store: each_mask(path, how)):
            print(name)
            assert str(answers.scores()) == str(before)


def test_grey_masks_with_a_threshold(answers: Answers) -> None:
    before = answers.scores()
    with spoiled(answers.samples_folder, lambda path: each_mask(path, grey)):
        after = answers.scores(threshold=0.5)
    assert {i: s.values for i, (_, s) in after.items()} == {i: s.values for i, (_, s) in before.items()}


def grey(mask: np.ndarray, path: Path) -> None:
    """Scores of which those above a half are the mask."""
    ramp = np.linspace(0, 60, mask.size).reshape(mask.shape)
    Image.fromarray((ramp + 180 * mask).astype(np.uint8)).save(path)


def test_broken_files_of_scores(answers: Answers) -> None:
    with spoiled(answers.folder, as_scores):
        before = answers.scores(threshold=0.5)
        for name, (spoil, says) in SCORE_FILES.items():
            with spoiled(answers.file(".npz"), spoil):
                print(name)
                costs_its_own_units(answers, before, answers.scores(threshold=0.5), says)
