"""Every check finds what it is for, and leaves what is right alone."""

from __future__ import annotations

from typing import Any

import pytest
from toyproject import N_FRAMES, TERMS, box, toy_clip, tracks

from rvos.datasets.annotation import native, quality, wording
from rvos.datasets.annotation.native import Choice, Clip, Expression, Frame, Object, Span

FRAMES = tuple(Frame(name=f"{i:05d}") for i in range(N_FRAMES))
WHOLE = (Span(first=0, last=N_FRAMES - 1),)
DOG = Object(id="1", name="dog", category="animal", spans=WHOLE)
CAT = Object(id="2", name="cat", category="animal", spans=WHOLE)


def clip_of(*expressions: Expression, objects: tuple[Object, ...] = (DOG, CAT), **fields: Any) -> Clip:
    return Clip(
        id=fields.pop("id", "park"),
        height=24,
        width=32,
        source=TERMS,
        frames=FRAMES,
        objects=objects,
        expressions=expressions,
        **fields,
    )


def codes(text: str = "the brown dog on the left", **fields: Any) -> list[str]:
    fields = {"id": "a", "text": text, "object_ids": ("1",), "rationale": "so", **fields}
    clip = clip_of(Expression(**fields))
    return [finding.code for finding in quality.check_sentence(clip, clip.expressions[0])]


@pytest.mark.parametrize(
    "text",
    [
        "the brown dog on the left",
        "Which of the two animals would be the first to reach the ball?",
        "the 2 dogs that bark, not the 3 that sleep",
        "a person wearing number 23 on the shirt",
        "the dog that had had enough",
        "die Katze auf dem Dach",
        "سگی که می\u200cدود",
        "the bus with the number 2024",
    ],
)
def test_leaves_good_sentences_alone(text: str) -> None:
    assert codes(text) == []


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "empty-text"),
        ("   ", "empty-text"),
        ("the\tdog on the left", "odd-characters"),
        ("the dog\u200b on the left", "odd-characters"),
        ("the brown  dog on the left", "odd-characters"),
        ("object 3 on the left", "leaked-id"),
        ("the track_12 one", "leaked-id"),
        ("Mask #2 please", "leaked-id"),
        ("the dog in frame 12", "leaked-id"),
        ("the dog of 00000.jpg", "leaked-id"),
        ("the dog of 00003", "leaked-id"),
        ("the dog of 00999", "leaked-id"),
        ("the\u200c dog on the left", "odd-characters"),
        ("the the brown dog", "repeated-word"),
        ("the brwon dog runs", "typo"),
        ("the dog in front of the gunglasses", "typo"),
    ],
)
def test_finds_slips_of_the_pen(text: str, code: str) -> None:
    assert codes(text) == [code]


def test_clip_names_leak_unless_they_are_words() -> None:
    sentence = Expression(id="a", text="the dancer of dance-twirl", object_ids=("1",))
    assert [f.code for f in quality.leaked_ids(clip_of(sentence, id="dance-twirl"), sentence)] == ["leaked-id"]
    plain = Expression(id="a", text="the dog in the park", object_ids=("1",))
    assert not list(quality.leaked_ids(clip_of(plain, id="park"), plain))


def test_form_and_condition() -> None:
    assert codes("the dog", is_sentence=True) == ["form-differs"]
    assert codes("Which of them is the dog?", is_sentence=False) == ["form-differs"]
    assert codes("Which of them is the brown dog?", is_sentence=True) == []
    assert codes(condition="first-frame", tags=("temporal-dynamics",)) == ["condition-contradicts"]
    assert codes(kind="reasoning", rationale="") == ["no-rationale"]


def test_duplicates_and_ambiguity() -> None:
    def found(text: str, ids: tuple[str, ...]) -> list[str]:
        first = Expression(id="a", text="the brown dog near a tree", object_ids=("1",))
        clip = clip_of(first, Expression(id="b", text=text, object_ids=ids))
        assert quality.check_sentence(clip, first) == []  # the later one is named
        return [finding.code for finding in quality.check_sentence(clip, clip.expressions[1])]

    assert found("The brown dog, near a tree!", ("1",)) == ["duplicate"]
    assert found("the brown dog near a tree", ("2",)) == ["ambiguous"]
    assert found("near the tree: a brown dog", ("1",)) == ["near-duplicate"]
    assert found("the brown dog near a trees", ("1",)) == ["near-duplicate"]
    assert found("the brown dog near a tree", ()) == ["ambiguous"]
    assert found("the black dog near a tree", ("2",)) == []


def test_other_objects_that_fit() -> None:
    assert codes("the animal") == ["others-fit"]
    assert codes("the dog") == []
    assert codes("the animals", object_ids=("1", "2")) == ["only-object"]
    assert codes("the animal", object_ids=()) == ["others-fit"]
    assert codes("the bicycle", object_ids=()) == []


def test_sentences_without_objects() -> None:
    assert codes(object_ids=None) == ["no-objects"]
    assert codes(object_ids=None, origin="imported") == []
    draft = Expression(id="a", text="the brown dog", state="draft")
    assert [f.severity for f in quality.check_sentence(clip_of(draft), draft)] == ["note"]


def test_objects_without_masks() -> None:
    sentence = Expression(id="a", text="the brown dog on the left", object_ids=("1",))

    def of(spans: tuple[Span, ...], track: list[Any], **fields: Any) -> list[tuple[str, str]]:
        clip = clip_of(sentence, objects=(DOG.model_copy(update={"spans": spans, **fields}), CAT))
        found = [*quality.check_sentence(clip, sentence), *quality.check_object(clip, clip.objects[0], track)]
        return [(finding.code, finding.severity) for finding in found]

    full = [box(2, 2, 10)] * N_FRAMES
    assert of(WHOLE, full) == []
    assert of((), [None] * N_FRAMES) == [("target-not-annotated", "error"), ("not-annotated", "warning")]
    assert of((Span(first=0, last=2),), [*full[:3], None, None]) == [("target-not-annotated", "warning")]
    assert of(WHOLE, [None] * N_FRAMES) == [("empty-masks", "error")]
    assert of(WHOLE, [box(2, 2, 3), *full[1:]]) == [("speck", "warning"), ("jump", "note")]
    assert of(WHOLE, [box(2, 2, 5), box(15, 20, 5), None, None, None]) == [("jump", "note")]
    guessed = (Span(first=0, last=N_FRAMES - 1, origin="propagated", model="m@1"),)
    assert of(guessed, full) == [("unreviewed", "warning")]


def test_clips() -> None:
    clip = clip_of(
        Expression(id="a", text="the brown dog", object_ids=("1",), group="g"),
        Expression(id="b", text="the grey cat", object_ids=("2",), group="g"),
    ).model_copy(update={"source": native.Source()})
    ball = Object(id="3", name="ball", spans=WHOLE)
    clip = clip.model_copy(update={"objects": (DOG, CAT, ball)})
    masks = {"1": [box(2, 2, 10)] * 5, "2": [box(2, 2, 10)] * 5, "3": [box(14, 20, 5)] * 5}
    found = {(f.code, f.severity, f.place.kind, f.place.id) for f in quality.check_clip(clip, masks)}
    assert found == {
        ("no-licence", "error", "clip", "park"),
        ("no-consent", "error", "clip", "park"),
        ("frames-not-stated", "note", "clip", "park"),
        ("group-disagrees", "error", "expression", "b"),
        ("never-described", "note", "object", "3"),
        ("same-masks", "warning", "object", "1"),
    }
    assert [f.code for f in quality.check_clip(clip_of())] == ["no-sentences"]


def test_the_toy_project_is_as_its_author_meant() -> None:
    found = quality.check_clip(toy_clip(FRAMES), tracks())
    assert {(f.code, f.place.id) for f in found} == {
        ("awaits-acceptance", "e"),
        ("rejected", "f"),
        ("no-objects", "g"),
        ("people-disagree", "d"),
        ("target-not-annotated", "f"),
    }
    assert all(f.message.endswith(".") and (f.next_step.endswith(".") or not f.next_step) for f in found)
    assert quality.severities(found) == {"error": 0, "warning": 2, "note": 3}
    assert found[0].as_dict()["place"]["clip"] == "park" and "clip park expression" in str(found[0])


def test_what_blind_people_show() -> None:
    def of(stage: Any, answers: list[tuple[str, ...]], **fields: Any) -> list[tuple[str, str]]:
        sentence = Expression(id="a", text="the animal that leaves first", object_ids=("1",), **fields)
        choices = tuple(
            Choice(id=str(k), expression="a", person=f"p{k}", stage=stage, answer=answer, candidates=("1", "2"))
            for k, answer in enumerate(answers)
        )
        clip = clip_of(sentence, choices=choices)
        return [(f.code, f.severity) for f in quality.check_sentence(clip, sentence)]

    assert of("one-frame", [("1",), ("1",), ("2",)]) == [("one-frame-answerable", "note")]
    assert of("one-frame", [("1",), ("1",)], tags=("temporal-dynamics",)) == [("one-frame-answerable", "warning")]
    assert of("one-frame", [("1",), ("2",)], condition="full-video") == []
    assert of("video", [("1",), ("1", "2")]) == [("people-disagree", "warning")]
    assert of("video", [("2",), ("1", "2"), ("1",)]) == [("people-disagree", "error")]
    assert of("video", [("1",), ("1",), ()]) == []


def test_clips_that_share_frames_and_unknown_people() -> None:
    frames = tuple(Frame(name=str(i), sha256=f"{i:064x}") for i in range(4))
    seen: dict[str, str] = {}
    a, b = (clip_of(id=name).model_copy(update={"frames": frames}) for name in "ab")
    assert list(quality.repeated_frames(a, seen)) == []
    assert [f.code for f in quality.repeated_frames(b, seen)] == ["same-frames"]
    clip = toy_clip(FRAMES)
    assert [f.message for f in quality.unknown_people(clip, {"ann", "bob", "rev"})] == [
        "'cem' is not among the project's people."
    ]


def test_words() -> None:
    assert wording.normalised("Das Café, ÄRGER!") == "das cafe arger"
    assert wording.content_words("The dogs that are at the bus") == {"dog", "bus"}
    assert list(wording.misspelt("wagging ponies quietly wider brwon")) == [("brwon", "brown")]
    assert list(wording.misspelt("the qwertz runs", frozenset({"qwerty"}))) == [("qwertz", "qwerty")]
    said = [clip_of(*(Expression(id=str(k), text="the zorbing man") for k in range(3)))]
    assert "zorbing" in wording.project_words(said) and "xyz" not in wording.project_words(said)
    assert len(wording.known_words()) > 1500 and all(w.isalpha() and w.islower() for w in wording.known_words())
