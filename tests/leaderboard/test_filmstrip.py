"""Film strips. Under 2 s."""

from __future__ import annotations

import numpy as np
from toyset import HEIGHT, WIDTH, ToyDataset

from rvos.leaderboard.filmstrip import ANSWER_COLOUR, TRUTH_COLOUR, Strip, film_strip, outline


def test_a_strip_shows_truth_in_green_and_an_answer_in_magenta() -> None:
    dataset = ToyDataset(1)
    sample = dataset[0]
    truth = dataset.ground_truth(sample)
    answer = np.zeros((HEIGHT, WIDTH), bool)
    answer[20:35, 35:55] = True
    rows = [Strip("mine", "J&F 0.0", lambda t: answer), Strip("silent", "", lambda t: None)]
    picture = np.asarray(film_strip(sample, truth.mask, rows, "caption", n_frames=3))
    assert {tuple(c) for c in (TRUTH_COLOUR, ANSWER_COLOUR)} <= {
        tuple(int(v) for v in p) for p in picture.reshape(-1, 3)
    }
    longer = np.asarray(film_strip(sample, truth.mask, rows, "caption", n_frames=5))
    assert longer.shape[1] > picture.shape[1] and longer.shape[0] == picture.shape[0]


def test_an_outline_lies_inside_its_mask_and_closes_at_the_border() -> None:
    mask = np.zeros((12, 12), bool)
    mask[0:7, 3:12] = True
    edge = outline(mask)
    assert not (edge & ~mask).any()
    assert edge[0, 3:12].all() and edge[0:7, 11].all()
    assert not edge[3, 7]
