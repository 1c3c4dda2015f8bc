"""The trivial, text-blind and oracle predictors. About 1 s."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from toyset import HEIGHT, WIDTH, ToyDataset

from rvos.baselines.registry import MANIFEST, make_predictor
from rvos.datasets.errors import DatasetError
from rvos.datasets.types import Expression, Masklet, RVOSDataset, Sample, Video

TEXT_BLIND = ["empty", "full", "centre-box", "largest-object", "one-mask-for-all", "permuted-sentences"]


@dataclass(frozen=True)
class Unreadable(Expression):
    """An expression whose text may not be looked at."""

    def __getattribute__(self, name: str) -> object:
        if name == "text":
            raise AssertionError("a text-blind predictor read the sentence")
        return super().__getattribute__(name)


def answers(name: str, dataset: RVOSDataset) -> dict[tuple[str, str, int], np.ndarray]:
    """All masks of a predictor over a dataset; fails where a mask comes twice."""
    predictor = make_predictor(name, dataset)
    out: dict[tuple[str, str, int], np.ndarray] = {}
    for video in dataset.videos:
        for exp_id, index, mask in predictor.segment(video, [s.expression for s in dataset.samples_of(video.id)]):
            assert (video.id, exp_id, index) not in out
            out[video.id, exp_id, index] = mask
    return out


def truth(dataset: RVOSDataset, video_id: str, exp_id: str) -> np.ndarray:
    masklet = dataset.ground_truth(dataset.sample(f"{video_id}/{exp_id}"))
    assert masklet is not None
    return masklet.dense()


@pytest.mark.parametrize("name", list(MANIFEST)[:10])
def test_every_sentence_gets_a_mask_of_the_videos_size_in_every_frame(name: str) -> None:
    dataset = ToyDataset()
    masks = answers(name, dataset)
    expected = {(s.video.id, s.expression.id, i) for s in dataset for i in range(len(s.video))}
    assert set(masks) == expected
    assert all(m.shape == (HEIGHT, WIDTH) and m.dtype == bool for m in masks.values())


@pytest.mark.parametrize("name", TEXT_BLIND)
def test_text_blind_predictors_never_read_the_sentence(name: str) -> None:
    plain, other = ToyDataset(), ToyDataset()
    other.samples = tuple(
        Sample(s.video, Unreadable(s.expression.id, "?", s.expression.object_ids, s.expression.kind)) for s in other
    )
    with pytest.raises(AssertionError, match="read the sentence"):
        _ = other[0].expression.text
    before, after = answers(name, plain), answers(name, other)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[k], after[k]) for k in before)


def test_a_choice_does_not_depend_on_which_sentences_are_asked() -> None:
    dataset = ToyDataset()
    for name in TEXT_BLIND:
        together = answers(name, dataset)
        predictor = make_predictor(name, dataset)
        for sample in dataset:
            for exp_id, index, mask in predictor.segment(sample.video, [sample.expression]):
                assert np.array_equal(mask, together[sample.video.id, exp_id, index])


def test_perfect_is_the_ground_truth_and_shifted_is_it_7_pixels_to_the_right() -> None:
    dataset = ToyDataset()
    perfect, shifted = answers("perfect", dataset), answers("shifted", dataset)
    for (video_id, exp_id, index), mask in perfect.items():
        assert np.array_equal(mask, truth(dataset, video_id, exp_id)[index])
        moved = shifted[video_id, exp_id, index]
        assert np.array_equal(moved[:, 7:], mask[:, :-7])
        assert not moved[:, :7].any()


def test_first_frame_copied_stands_still() -> None:
    dataset = ToyDataset()
    for (video_id, exp_id, _), mask in answers("first-frame-copied", dataset).items():
        assert np.array_equal(mask, truth(dataset, video_id, exp_id)[0])


def test_best_object_is_perfect_for_sentences_about_one_object_only() -> None:
    dataset = ToyDataset()
    masks = answers("best-object", dataset)
    for sample in dataset:
        video_id, exp_id = sample.video.id, sample.expression.id
        got = np.stack([masks[video_id, exp_id, i] for i in range(len(sample.video))])
        assert np.array_equal(got, truth(dataset, video_id, exp_id)) == (len(sample.expression.object_ids or ()) == 1)


def test_which_object_the_text_blind_predictors_choose() -> None:
    dataset = ToyDataset()
    largest, most_meant = answers("largest-object", dataset), answers("one-mask-for-all", dataset)
    for video_id, exp_id, index in largest:
        assert np.array_equal(largest[video_id, exp_id, index], truth(dataset, video_id, "0")[index])
        assert np.array_equal(most_meant[video_id, exp_id, index], truth(dataset, video_id, "1")[index])


def test_permuted_sentences_hand_out_every_sentences_masks_once_and_never_its_own() -> None:
    dataset = ToyDataset()
    predictor = make_predictor("permuted-sentences", dataset)
    for video in dataset.videos:
        partners = {k: s.expression.id for k, s in predictor.partners(video).items()}
        assert sorted(partners.values()) == sorted(partners)
        assert all(own != other for own, other in partners.items())


def test_permuted_sentences_stay_with_their_annotator() -> None:
    dataset = ToyDataset(1)
    dataset.samples = tuple(
        Sample(s.video, Expression(s.expression.id, "t", s.expression.object_ids, tags={"annotator": i % 2}))
        for i, s in enumerate(dataset)
    )
    partners = make_predictor("permuted-sentences", dataset).partners(dataset.videos[0])
    assert {int(own) % 2 == int(s.expression.id) % 2 for own, s in partners.items()} == {True}


def test_full_and_centre_box() -> None:
    dataset = ToyDataset(1)
    assert all(m.all() for m in answers("full", dataset).values())
    box = answers("centre-box", dataset)["video0", "0", 0]
    assert box.sum() == HEIGHT * WIDTH / 4 and box[10:30, 15:45].all()
    assert not any(m.any() for m in answers("empty", dataset).values())


class Withheld(ToyDataset):
    def ground_truth(self, sample: Sample) -> Masklet | None:  # type: ignore[override]
        return None

    def objects(self, video: Video) -> dict[str, Masklet]:
        return {}


@pytest.mark.parametrize("name", ["perfect", "shifted", "first-frame-copied", "best-object", "permuted-sentences"])
def test_oracles_refuse_a_split_without_ground_truth(name: str) -> None:
    dataset = Withheld()
    with pytest.raises(DatasetError, match="toy/test"):
        list(make_predictor(name, dataset).segment(dataset.videos[0], [dataset[0].expression]))


def test_frames_without_annotation_get_an_empty_mask_and_other_sizes_are_fitted() -> None:
    from rvos.baselines.oracles import first_annotated, masks_over
    from rvos.datasets.masks import masklet_from_dense

    video = ToyDataset().videos[0]
    small = np.zeros((1, HEIGHT // 2, WIDTH // 2), bool)
    small[0, 5:10, 5:10] = True
    masklet = masklet_from_dense([video.frame_names[2]], small)
    masks = list(masks_over(video, masklet))
    assert [int(m.sum()) for m in masks] == [0, 0, 100, 0, 0]
    assert np.array_equal(first_annotated(video, masklet), masks[2])
