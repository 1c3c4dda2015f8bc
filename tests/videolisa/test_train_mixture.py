"""The paper's mixture and recipe on tiny data and a tiny model. About 4 seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("accelerate")
pytest.importorskip("peft")

from rvos.datasets.errors import DatasetError, UsageError
from rvos.datasets.frames import ArrayFrames
from rvos.datasets.image_set import ImageSet
from rvos.datasets.registry import dataset_ids
from rvos.datasets.types import Expression, Masklet, RVOSDataset, Sample, Video
from rvos.videolisa.random_model import random_videolisa, tiny_config, train_tokenizer
from rvos.videolisa.tokenizer import Tokenizer
from rvos.videolisa.train.engine import Options, Stopped
from rvos.videolisa.train.mixture import NO_LOADER, PAPER_GROUPS, PAPER_RATES, Group, Mixture
from rvos.videolisa.train.recipes import PAPER, PaperStage, Recipe, full_recipe, train
from rvos.videolisa.train.record import read_log

SIZE = (24, 32)


class Moving:
    """A square that moves; frame 2 is not annotated where ``gap`` says so."""

    def __init__(self, gap: bool = False) -> None:
        self.gap = gap

    def mask(self, index: int) -> Any:
        mask = np.zeros(SIZE, bool)
        mask[4:12, index : index + 8] = True
        return None if self.gap and index == 2 else mask

    def void(self, index: int) -> None:
        return None


class Squares(RVOSDataset):
    """Videos of a square, or images of one where ``frames`` is 1."""

    def __init__(self, name: str, videos: int = 2, frames: int = 6, hidden: bool = False, gap: bool = False) -> None:
        self.name, self.hidden, self.gap = name, hidden, gap
        names = tuple(f"{t:05d}" for t in range(frames))
        samples = []
        for n in range(videos):
            pixels = np.zeros((frames, *SIZE, 3), np.uint8)
            for t in range(frames):
                pixels[t, 4:12, t : t + 8] = 200
            samples.append(Sample(Video(f"v{n}", names, ArrayFrames(names, pixels)), Expression("0", f"{name} square")))
        super().__init__(Path(), "train", "1", samples)

    def ground_truth(self, sample: Sample) -> Masklet | None:
        return None if self.hidden else Masklet(sample.video.frame_names, Moving(self.gap))

    def annotation_files(self) -> list[Path]:
        return []


def test_groups_are_drawn_at_the_paper_s_rates() -> None:
    mixture = Mixture([Group(n, r, (Squares(n),)) for n, r in PAPER_RATES.items()], sparse=8, dense=2)
    rng = np.random.default_rng(0)
    drawn = Counter(mixture.draw(rng).conversations[0].split(" square")[0].split()[-1] for _ in range(640))
    for name, rate in PAPER_RATES.items():
        expected = 640 * rate / sum(PAPER_RATES.values())
        assert abs(drawn[name] - expected) < 4 * expected**0.5, name
    assert sum(PAPER_RATES.values()) == 32


def test_datasets_of_a_group_are_drawn_alike_or_by_size() -> None:
    sets = (Squares("small", videos=1), Squares("large", videos=9))
    for by_size, low, high in ((False, 70, 130), (True, 5, 40)):
        mixture = Mixture([Group("g", 1, sets, by_size)], sparse=8, dense=2)
        rng = np.random.default_rng(0)
        assert low < sum("small" in mixture.draw(rng).conversations[0] for _ in range(200)) < high


def test_a_video_gives_a_clip_and_an_image_a_pseudo_video() -> None:
    rng = np.random.default_rng(0)
    video = Mixture([Group("g", 1, (Squares("v"),))], sparse=8, dense=2).draw(rng)
    assert len(video.clip_frames) == 8 and len(video.sam_frames) == 2 and video.masks.shape == (2, *SIZE)
    assert list(video.dense_positions) == sorted(video.dense_positions)
    for frame, mask in zip(video.sam_frames, video.masks, strict=True):
        assert np.array_equal(frame[..., 0] > 0, mask > 0)
    image = Mixture([Group("g", 1, (Squares("i", frames=1),))], sparse=8, dense=2).draw(rng)
    assert len(image.clip_frames) == 8 and tuple(image.dense_positions) == (0, 1)
    assert all(np.array_equal(f, image.sam_frames[0]) for f in (*image.clip_frames, *image.sam_frames))
    one = Mixture([Group("g", 1, (Squares("v"),))], 8, 2, "one-token-seg-one").draw(rng)
    assert len(one.sam_frames) == len(one.masks) == 1


def test_every_dataset_of_the_paper_is_known_or_said_to_be_the_user_s_own() -> None:
    named = {name for names in PAPER_GROUPS.values() for name in names}
    assert set(PAPER_GROUPS) == set(PAPER_RATES)
    assert named - set(dataset_ids()) == set(NO_LOADER)
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in NO_LOADER)


class Pictures(ImageSet):
    """Image "none" shows nothing, "one" a thing, "many" nine parts of things."""

    name = "pictures"

    def __init__(self) -> None:
        pixels = np.zeros((1, *SIZE, 3), np.uint8)
        names = ("none", "one", "many")
        super().__init__(Path(), "train", [Video(n, (n,), ArrayFrames((n,), pixels)) for n in names])
        self.read: list[str] = []

    def read_samples(self, video: Video) -> Iterator[Sample]:
        self.read.append(video.id)
        for k in range({"none": 0, "one": 1, "many": 9}[video.id]):
            tags = {"object": "dog", "part": f"ear{k}"} if video.id == "many" else {"object": "cat"}
            yield Sample(video, Expression(str(k), " ".join(tags.values()), (str(k),), tags=tags))

    def ground_truth(self, sample: Sample) -> Masklet:
        return Masklet(sample.video.frame_names, Moving())

    def annotation_files(self) -> list[Path]:
        return []


def test_images_are_drawn_alike_and_only_what_is_drawn_is_read() -> None:
    data, rng = Pictures(), np.random.default_rng(0)
    mixture = Mixture([Group("g", 1, (data,))], sparse=8, dense=2)
    assert data.read == []
    texts = [mixture.draw(rng).conversations[0] for _ in range(300)]
    n_one = sum("cat" in text for text in texts)
    assert 110 < n_one < 190 and 300 < len(data.read) < 600  # half of those that show anything; a third shows nothing
    n_of = sum(" of the dog" in text for text in texts)
    assert 0.35 < n_of / (300 - n_one) < 0.65 and all("dog" in t or "cat" in t for t in texts)


def test_an_entry_is_every_eighth_frame_of_a_sample() -> None:
    """S = 8: a video of 24 frames has three entries, one of 6 has one; of MeViS valid_u the first eight sentences."""
    sets = (Squares("short", videos=1, frames=6), Squares("long", videos=1, frames=24))
    mixture = Mixture([Group("g", 1, sets, by_size=True)], sparse=8, dense=2)
    rng = np.random.default_rng(0)
    assert [len(pool) for pool in mixture.pools[0]] == [1, 3]
    assert {mixture.pools[0][1].draw(rng)[1] for _ in range(50)} == {0, 8, 16}
    many = Squares("mevis", videos=1, frames=24)
    many.split = "valid_u"
    many.samples = tuple(replace(many[0], expression=replace(many[0].expression, id=str(k))) for k in range(12))
    (pool,) = Mixture([Group("g", 1, (many,))], sparse=8, dense=2).pools[0]
    drawn = [pool.draw(rng) for _ in range(200)]
    assert len(pool) == 8 and {int(s.expression.id) for s, _ in drawn} == set(range(8))
    assert len({anchor for _, anchor in drawn}) > 10


def test_an_explanation_is_asked_for_in_words_masks_or_both() -> None:
    data = Squares("v", videos=1)
    sample = data[0]
    explained = replace(sample.expression, text="Which one?", tags={"explanation": "Because it moves."})
    mixture = Mixture([Group("g", 1, (data,))], sparse=8, dense=2)
    rng = np.random.default_rng(0)
    drawn = [mixture.sample(data, replace(sample, expression=explained), 0, rng) for _ in range(200)]
    words = [s for s in drawn if len(s.masks) == 0]
    assert 8 <= len(words) <= 36
    assert all("[SEG]" not in s.conversations[0] and "Because it moves." in s.conversations[0] for s in words)
    both = sum("[SEG]" in s.conversations[0] and "Because" in s.conversations[0] for s in drawn)
    assert 60 <= both <= 120


def test_what_cannot_be_trained_on_is_said() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(DatasetError, match="withholds its masks"):
        Mixture([Group("g", 1, (Squares("v", hidden=True),))], 8, 2).draw(rng)
    with pytest.raises(DatasetError, match="frame 00002 is not annotated"):
        mixture = Mixture([Group("g", 1, (Squares("v", gap=True),))], 8, 4)
        for _ in range(20):
            mixture.draw(rng)
    with pytest.raises(UsageError, match="at least one group"):
        Mixture([], 8, 2)
    with pytest.raises(UsageError, match="rate above 0"):
        Mixture([Group("g", 0, (Squares("v"),))], 8, 2)


def test_the_paper_s_recipe() -> None:
    assert (PAPER.steps, PAPER.lr, PAPER.warmup, PAPER.betas, PAPER.weight_decay, PAPER.clip) == (
        6000,
        3e-4,
        100,
        (0.9, 0.95),
        0.0,
        1.0,
    )


def paper_recipe(folder: Path, steps: int, lr: float = 1e-2) -> tuple[Recipe, PaperStage]:
    known = (folder / "tokenizer.model").is_file()
    tokenizer = Tokenizer(folder) if known else train_tokenizer(folder)
    videolisa = random_videolisa(tiny_config(tokenizer), tokenizer)
    recipe = full_recipe(videolisa, Mixture([Group("v", 1, (Squares("v"),))], 8, 2))
    stage: Any = recipe.stages[0]
    stage.optimisation = replace(PAPER, steps=steps, lr=lr, warmup=2)
    return recipe, stage


def test_a_tiny_model_learns_by_the_paper_s_recipe(tmp_path: Path) -> None:
    recipe, stage = paper_recipe(tmp_path / "tokenizer", 12)
    frozen = stage.videolisa.model.sam.vision_encoder.state_dict()
    before = {name: value.clone() for name, value in frozen.items()}
    weights = train(recipe, tmp_path / "run", Options(log_every=1))
    losses = [line["loss"] for line in read_log(tmp_path / "run")]
    assert np.mean(losses[-3:]) < losses[0]
    assert all(torch.equal(before[name], value) for name, value in frozen.items())
    assert not any("lora" in name for name in stage.videolisa.model.state_dict())
    assert (weights / "training-card.json").is_file()


def test_the_paper_s_recipe_resumes_exactly_dropout_and_all(tmp_path: Path) -> None:
    states = []
    for name, limits in (("whole", [None]), ("pieces", [2, None])):
        for limit in limits:
            recipe, stage = paper_recipe(tmp_path / "tokenizer", 4)
            try:
                train(recipe, tmp_path / name, Options(limit_steps=limit))
            except Stopped:
                assert limit == 2
        states.append(stage.videolisa.model.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
