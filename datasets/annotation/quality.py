"""What can be wrong with an annotated clip, said while it is being made: a function a check, a finding a place.

``check_sentence`` needs no masks and is quick enough for every key stroke; ``check_clip`` does everything about one
clip. A finding of severity ``error`` keeps a contribution from being accepted, a ``warning`` asks for a second look, a
``note`` says what is not known yet.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from itertools import combinations, pairwise
from typing import Any, Literal

from ..problems import Severity
from . import native
from .native import Clip, Expression, Object, Rle, Track
from .wording import content_words, misspelt, normalised

Masks = Mapping[str, Track]


@dataclass(frozen=True)
class Place:
    """What a finding is about; ``clip`` is "" for the project as a whole."""

    clip: str
    kind: Literal["project", "clip", "object", "expression"]
    id: str

    def __str__(self) -> str:
        clip = f"clip {self.clip}" if self.clip else ""
        return clip if self.kind == "clip" else f"{clip} {self.kind} {self.id}".strip()


@dataclass(frozen=True)
class Finding:
    """Something found.

    Attributes:
        code: short and stable, e.g. ``leaked-id``.
        message: what was found, as a sentence.
        next_step: what to do about it, as a sentence.
    """

    code: str
    severity: Severity
    place: Place
    message: str
    next_step: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.place}: {self.message} {self.next_step}".rstrip()

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def check_clip(clip: Clip, masks: Masks | None = None, words: frozenset[str] = frozenset()) -> list[Finding]:
    """Everything about a clip; without ``masks``, everything that needs none.

    Args:
        clip: the clip.
        masks: by object id, as ``Project.masks`` gives them; each is read once and dropped.
        words: correctly spelt words besides the built-in ones.
    """
    found = [*missing_terms(clip), *no_sentences(clip), *split_groups(clip), *frames_resampled(clip)]
    for expression in clip.expressions:
        found += check_sentence(clip, expression, words)
    for item in clip.objects:
        found += check_object(clip, item, None if masks is None else masks.get(item.id, [None] * len(clip.frames)))
    if masks is not None:
        found += same_masks(clip, masks)
    return found


def check_sentence(clip: Clip, expression: Expression, words: frozenset[str] = frozenset()) -> list[Finding]:
    """Everything about one sentence that needs no masks."""
    checks = (
        empty_text,
        odd_characters,
        leaked_ids,
        repeated_words,
        form_differs,
        objects_not_said,
        objects_not_annotated,
        duplicates,
        near_duplicates,
        other_objects_fit,
        only_one_object,
        answered_from_one_frame,
        people_choose_otherwise,
        contradictory_condition,
        not_accepted,
        no_rationale,
    )
    found = [finding for check in checks for finding in check(clip, expression)]
    return [*found, *typos(clip, expression, words)]


def check_object(clip: Clip, item: Object, track: Track | None = None) -> list[Finding]:
    """Everything about one object; ``track`` are its masks."""
    found = [*not_annotated(clip, item), *never_described(clip, item), *unreviewed(clip, item)]
    if track is not None:
        found += [*empty_masks(clip, item, track), *specks(clip, item, track), *jumps(clip, item, track)]
    return found


# Text -----------------------------------------------------------------------------------------------------------------

_ID_WORDS = r"object|obj|mask|track|instance|annotation|anno|id|target"
_LEAKS = (
    (re.compile(rf"\b(?:{_ID_WORDS})[ _#-]*(?:no\.?|number|id)?[ _#-]*\d+\b", re.I), "the number of an object"),
    (re.compile(r"#\d+\b"), "the number of an object"),
    (re.compile(r"\bframes?[ _#-]*\d+\b", re.I), "the number of a frame"),
    (re.compile(r"\b[\w-]+\.(?:jpe?g|png|mp4|avi|mov|json)\b", re.I), "the name of a file"),
    (re.compile(r"\b\d{5,}\b"), "a number that looks like the name of a frame or a video"),
)


def empty_text(clip: Clip, expression: Expression) -> Iterator[Finding]:
    """``empty-text``"""
    if not expression.text.strip():
        yield _about(clip, expression, "empty-text", "error", "the sentence is empty.", "Write it, or delete it.")


def odd_characters(clip: Clip, expression: Expression) -> Iterator[Finding]:
    """``odd-characters``: line breaks, invisible characters, blanks at the ends or two in a row."""
    joined = re.sub(r"(?<=[^\x00-\x7f])[\u200c\u200d](?=[^\x00-\x7f])", "", expression.text)  # Persian, Hindi, emoji
    odd = {c for c in joined if unicodedata.category(c) in ("Cc", "Cf", "Co", "Cn", "Zl", "Zp")}
    if odd:
        names = ", ".join(sorted(f"U+{ord(c):04X}" for c in odd))
        found = f"it holds characters that nobody sees ({names})."
        yield _about(clip, expression, "odd-characters", "error", found, "Delete them; write it in one line.")
    elif expression.text.strip() and " ".join(expression.text.split(" ")) != " ".join(expression.text.split()):
        found = "it begins or ends with a blank, or has two in a row."
        yield _about(clip, expression, "odd-characters", "warning", found, "Take them out.")


def leaked_ids(clip: Clip, expression: Expression) -> Iterator[Finding]:
    """``leaked-id``: numbers of objects and frames, names of files, the clip's own name: nothing that a video shows."""
    for pattern, what in _LEAKS:
        hit = pattern.search(expression.text)
        if hit is not None:
            found = f"'{hit.group()}' is {what}, which nobody sees in the video."
            yield _about(clip, expression, "leaked-id", "error", found, "Say it by what can be seen.")
            return
    lowered = expression.text.lower()
    for name in {clip.id, clip.source.video, *(frame.name for frame in clip.frames)}:
        plain_word = name.isalpha() and name.islower()  # a video that is called "dog" leaks nothing
        if len(name) > 3 and not plain_word and re.search(rf"(?<!\w){re.escape(name.lower())}(?!\w)", lowered):
            found = f"'{name}' is the name of the clip or of a frame."
            yield _about(clip, expression, "leaked-id", "error", found, "Say it by what can be seen.")
            return


def repeated_words(clip: Clip, expression: Expression) -> Iterator[Finding]:
    """``repeated-word``: "the the"."""
    words = expression.text.lower().split()
    twice = next((a for a, b in pairwise(words) if a == b and a.isalpha() and a not in ("that", "had", "very")), None)
    if twice:
        found = f"'{twice}' occurs twice in a row."
        yield _about(clip, expression, "repeated-word", "warning", found, "Take one of them out.")


def form_differs(clip: Clip, expression: Expression) -> Iterator[Finding]:
    """``form-differs``: marked long and no sentence, or marked short and a sentence."""
    text = expression.text.strip()
    if expression.is_sentence is None or not text:
        return
    n_words, ends = len(text.split()), text.endswith((".", "?", "!"))
    if expression.is_sentence and n_words < 4:
        found = f"it is marked long (a full sentence) and has {n_words} words."
        yield _about(clip, expression, "form-differs", "warning", found, "Mark it short, or write a sentence.")
    if not expression.is_sentence and ends and n_words > 4:
        found = "it is marked short (a phrase) and ends as a sentence does."
        yield _about(clip, expression, "form-differs", "warning", found, "Mark it long, or write a phrase.")


def typos(clip: Clip, expression: Expression, words: frozenset[str] = frozenset()) -> Iterator[Finding]:
    """``typo``: an unknown word one letter (or two exchanged ones) away from a known one."""
    for word, meant in misspelt(expression.text, words):
        found = f"'{word}' is not known; '{meant}' is."
        yield _about(clip, expression, "typo", "warning", found, "Correct it, if it is wrong.")


def duplicates(clip: Clip, expression: Expression) -> Iterator[Finding]:
    """``duplicate`` for the same objects, ``ambiguous`` for others: the same words, but for case and punctuation."""
    own = normalised(expression.text)
    for other in _others(clip, expression):
        if not own or normalised(other.text) != own:
            continue
        if _meant(other) == _meant(expression):
            found = f"sentence {other.id} says the same of the same objects."
            yield _about(clip, expression, "duplicate", "error", found, "Delete one of them.")
        else:
            found = f"sentence {other.id} says the same of {_named(clip, other.object_ids)}."
            step = "Say what tells them apart, or mark all objects that fit."
            yield _about(clip, expression, "ambiguous", "error", found, step)
        return


def near_duplicates(clip: Clip, expression: Expression) -> Iterator[Finding]:
    """``near-duplicate``: almost the same words about the same objects; as a paraphrase it adds nothing."""
    own, bag = normalised(expression.text), content_words(expression.text)
    for other in _others(clip, expression):
        text = normalised(other.text)
        if _meant(other) != _meant(expression) or text == own or not own or not text:
            continue
        if bag == content_words(other.text) or SequenceMatcher(None, own, text, autojunk=False).ratio() >= 0.92:
            found = f"sentence {other.id} is almost the same: '{other.text}'."
            yield _about(clip, expression, "near-duplicate", "warning", found, "Say it in other words, or delete it.")
            return


# Which objects --------------------------------------------------------------------------------------------------------


def objects_not_said(clip: Clip, expression: Expression) -> Iterator[Finding]:
    """``no-objects``: no object is bound, and it is not marked as meaning none."""
    if expression.object_ids is None and expression.origin != "imported":
        severity: Severity = "note" if expression.state == "draft" else "error"
        found = "nobody said which objects it means."
        yield _about(clip, expression, "no-objects", severity, found, "Bind its objects, or mark it as 'no target'.")


def objects_not_annotated(clip: Clip, expression: Expression) -> Iterator[Finding]:
    """``target-not-annotated``: an object that is meant lacks masks, everywhere or in some of the scored frames."""
    scored = [index for index, frame in enumerate(clip.frames) if frame.role == "scored"]
    for name in expression.object_ids or ():
        item = clip.by_object[name]
        covered = {index for span in item.spans for index in range(span.first, span.last + 1)}
        missing = [clip.frames[index].name for index in scored if index not in covered]
        if expression.origin == "imported" or not missing:
            continue
        severity: Severity = "error" if len(missing) == len(scored) else "warning"
        found = f"{_named(clip, (name,))} has no mask and no 'absent' in {len(missing)} frames, first {missing[0]}."
        step = "Draw it there, propagate it, or mark it absent."
        yield _about(clip, expression, "target-not-annotated", severity, found, step)


def other_objects_fit(clip: Clip, expression: Expression) -> Iterator[Finding]:
    """``others-fit``: the sentence says no more than the name or category of an object that it does not mean."""
    said = content_words(expression.text)
    meant = set(expression.object_ids or ())
    if expression.object_ids is None or not said:
        return
    fitting = [
        item.id
        for item in _drawn(clip)
        if item.id not in meant and said <= content_words(f"{item.name} {item.category}")
    ]
    if fitting:
        found = f"it fits {_named(clip, fitting)} as well."
        step = "Say what tells them apart, or bind them too."
        yield _about(clip, expression, "others-fit", "warning", found, step)


def only_one_object(clip: Clip, expression: Expression) -> Iterator[Finding]:
    """``only-object``: there is no other object that could be meant."""
    if expression.object_ids and {item.id for item in _drawn(clip)} == set(expression.object_ids):
        found = "it means every object of the clip, so that any sentence would find them."
        yield _about(clip, expression, "only-object", "warning", found, "Draw the other things that could be meant.")


def answered_from_one_frame(clip: Clip, expression: Expression) -> Iterator[Finding]:
    """``one-frame-answerable``: more than half of the blind people were right after one frame."""
    answers = [c for c in clip.choices if (c.expression, c.stage) == (expression.id, "one-frame")]
    right = sum(set(c.answer) == _meant(expression) for c in answers)
    if answers and 2 * right > len(answers):
        temporal = "temporal-dynamics" in expression.tags or expression.condition == "full-video"
        found = f"{right} of {len(answers)} blind people found it from one frame."
        step = "It needs no video: say what happens, or take the mark of temporal dynamics away." if temporal else ""
        severity: Severity = "warning" if temporal else "note"
        yield _about(clip, expression, "one-frame-answerable", severity, found, step)


def people_choose_otherwise(clip: Clip, expression: Expression) -> Iterator[Finding]:
    """``people-disagree``: at least half of the blind people chose something else after the whole video."""
    answers = [c for c in clip.choices if (c.expression, c.stage) == (expression.id, "video")]
    wrong = [c.answer for c in answers if set(c.answer) != _meant(expression)]
    if wrong and 2 * len(wrong) >= len(answers):
        often = Counter(tuple(sorted(answer)) for answer in wrong).most_common(1)[0][0]
        found = f"{len(wrong)} of {len(answers)} blind people chose {_named(clip, often)}."
        step = "Say it more clearly, or correct which objects it means."
        severity: Severity = "error" if 2 * len(wrong) > len(answers) else "warning"
        yield _about(clip, expression, "people-disagree", severity, found, step)


def contradictory_condition(clip: Clip, expression: Expression) -> Iterator[Finding]:
    """``condition-contradicts``: written from the first frame, and marked as being about what happens over time."""
    if expression.condition == "first-frame" and "temporal-dynamics" in expression.tags:
        found = "its author saw the first frame only, and it is marked as temporal dynamics."
        yield _about(clip, expression, "condition-contradicts", "warning", found, "Correct one of the two.")


def not_accepted(clip: Clip, expression: Expression) -> Iterator[Finding]:
    """``awaits-acceptance``, ``rejected``, ``draft``: why it is not in the dataset."""
    if expression.origin == "machine" and not expression.accepted_by:
        found = "a machine wrote it and nobody accepted it."
        yield _about(clip, expression, "awaits-acceptance", "note", found, "Accept it, change it, or delete it.")
    if native.verdict_on(clip, "expression", expression.id) == "rejected":
        found = "a reviewer rejected it."
        yield _about(clip, expression, "rejected", "note", found, "Read the comment; change it, or delete it.")


def no_rationale(clip: Clip, expression: Expression) -> Iterator[Finding]:
    """``no-rationale``"""
    if expression.kind == "reasoning" and not expression.rationale and expression.origin == "human":
        found = "it needs reasoning, and why these objects are meant is not said."
        yield _about(clip, expression, "no-rationale", "note", found, "Write the rationale; reviewers need it.")


# Objects --------------------------------------------------------------------------------------------------------------


def not_annotated(clip: Clip, item: Object) -> Iterator[Finding]:
    """``not-annotated``: an object without a single annotated frame."""
    if not item.spans:
        yield _of(clip, item, "not-annotated", "warning", "no frame is annotated.", "Draw it, or delete it.")


def never_described(clip: Clip, item: Object) -> Iterator[Finding]:
    """``never-described``: no sentence means it; it may serve as something that could be meant."""
    own = item.role == "object" and item.second_of is None
    if own and clip.expressions and not any(item.id in (e.object_ids or ()) for e in clip.expressions):
        yield _of(clip, item, "never-described", "note", "no sentence means it.", "Write one, if it is worth one.")


def unreviewed(clip: Clip, item: Object) -> Iterator[Finding]:
    """``unreviewed``: frames that a model propagated and nobody looked at."""
    count = sum(s.last - s.first + 1 for s in item.spans if s.origin == "propagated" and not s.reviewed)
    if count:
        found = f"nobody has looked at {count} propagated frames."
        yield _of(clip, item, "unreviewed", "warning", found, "Go through them and mark them as looked at.")


def empty_masks(clip: Clip, item: Object, track: Track) -> Iterator[Finding]:
    """``empty-masks``: annotated, and absent from every frame."""
    if item.spans and all(rle is None for rle in track):
        meant = any(item.id in (expression.object_ids or ()) for expression in clip.expressions)
        severity: Severity = "error" if meant else "warning"
        step = "Draw it, or delete it; a sentence about nothing is marked 'no target'."
        yield _of(clip, item, "empty-masks", severity, "it is absent from every annotated frame.", step)


def specks(clip: Clip, item: Object, track: Track, least: int = 10) -> Iterator[Finding]:
    """``speck``: masks of fewer than ``least`` pixels, which are slips of the brush more often than objects."""
    areas = _areas(track)
    small = [index for index, area in enumerate(areas) if area is not None and area < least]
    if small:
        found = f"its mask has fewer than {least} pixels in {len(small)} frames, first {clip.frames[small[0]].name}."
        yield _of(clip, item, "speck", "warning", found, "Erase it there, or draw it fully.")


def jumps(clip: Clip, item: Object, track: Track, factor: float = 6.0) -> Iterator[Finding]:
    """``jump``: from a frame to the next the box around it leaves its place, or its area changes by ``factor``."""
    areas, boxes = _areas(track), _boxes(track)
    found = []
    for index in range(1, len(track)):
        (a, a_box), (b, b_box) = (areas[index - 1], boxes[index - 1]), (areas[index], boxes[index])
        if a and b and (max(a, b) > factor * min(a, b) or _apart(a_box, b_box)):
            found.append(index)
    if found:
        words = f"it jumps or changes size at {len(found)} frames, first {clip.frames[found[0]].name}."
        yield _of(clip, item, "jump", "note", words, "Look whether it is still the same thing.")


def same_masks(clip: Clip, masks: Masks, looked_at: int = 5, alike: float = 0.9) -> Iterator[Finding]:
    """``same-masks``: two objects that cover each other in the frames looked at, spread over the clip."""
    from pycocotools import mask as coco

    drawn = [item for item in _drawn(clip) if item.id in masks]
    n = len(clip.frames)
    frames = sorted({round(k * (n - 1) / max(1, looked_at - 1)) for k in range(looked_at)})
    sampled = {item.id: _picked(masks[item.id], frames) for item in drawn}
    overlaps: dict[tuple[str, str], list[float]] = defaultdict(list)
    for position in range(len(frames)):
        there = [(name, track[position]) for name, track in sampled.items()]
        seen = [(name, _packed(rle)) for name, rle in there if rle is not None]
        if len(seen) < 2 or len({tuple(rle["size"]) for _, rle in seen}) > 1:
            continue
        rles = [rle for _, rle in seen]
        table = coco.iou(rles, rles, [0] * len(rles))
        for (i, (a, _)), (j, (b, _)) in combinations(enumerate(seen), 2):
            overlaps[a, b].append(float(table[i, j]))
    for (a, b), values in overlaps.items():
        if min(values) >= alike:
            found = f"its masks are those of {_named(clip, (b,))}."
            yield _of(clip, clip.by_object[a], "same-masks", "warning", found, "Merge the two, or correct one of them.")


# Clips and the project ------------------------------------------------------------------------------------------------


def missing_terms(clip: Clip) -> Iterator[Finding]:
    """``no-licence``, ``no-consent``, ``frames-not-stated``: what an export will ask for."""
    place = Place(clip.id, "clip", clip.id)
    if not clip.source.licence.strip():
        step = "State under which licence it may be used; it cannot be exported without."
        yield Finding("no-licence", "error", place, "no licence is stated.", step)
    if not clip.source.consent.strip():
        step = "State that the people in it agreed, or that it is public; it cannot be exported without."
        yield Finding("no-consent", "error", place, "nothing is said about consent.", step)
    if clip.source.may_copy_frames is None:
        step = "State it; until then exports refer to the frames by their hashes."
        yield Finding("frames-not-stated", "note", place, "whether its frames may be passed on is not stated.", step)


def frames_resampled(clip: Clip) -> Iterator[Finding]:
    """``frames-resampled``: images of another size than the masks."""
    if clip.frame_size is not None:
        found = f"its frames are {clip.frame_width}x{clip.frame_height}, its masks {clip.width}x{clip.height}."
        step = "Images are stretched where they are shown, masks count in their own size; give the images they were "
        step += "drawn on, if there are any."
        yield Finding("frames-resampled", "warning", Place(clip.id, "clip", clip.id), found, step)


def no_sentences(clip: Clip) -> Iterator[Finding]:
    """``no-sentences``"""
    if not clip.expressions:
        place = Place(clip.id, "clip", clip.id)
        yield Finding("no-sentences", "note", place, "it has no sentence.", "It will not be in the dataset.")


def split_groups(clip: Clip) -> Iterator[Finding]:
    """``group-disagrees``: paraphrases of each other that mean other objects."""
    groups: dict[str, list[Expression]] = defaultdict(list)
    for expression in clip.expressions:
        if expression.group:
            groups[expression.group].append(expression)
    for group, members in groups.items():
        odd = next((e for e in members if _meant(e) != _meant(members[0])), None)
        if odd is not None:
            found = f"it is a paraphrase of sentence {members[0].id} (group {group}) and means other objects."
            yield _about(clip, odd, "group-disagrees", "error", found, "Take it out, or correct its objects.")


def unknown_people(clip: Clip, known: set[str]) -> Iterator[Finding]:
    """``unknown-person``: somebody whom the project does not list."""
    named = [item.author for item in clip.objects] + [e.author for e in clip.expressions]
    named += [span.by for item in clip.objects for span in item.spans] + [e.accepted_by for e in clip.expressions]
    named += [choice.person for choice in clip.choices] + [verdict.person for verdict in clip.verdicts]
    named += [comment.person for comment in clip.comments]
    for name in sorted({name for name in named if name} - known):
        place = Place(clip.id, "clip", clip.id)
        step = "Add them to the people of the project."
        yield Finding("unknown-person", "warning", place, f"'{name}' is not among the project's people.", step)


def repeated_frames(clip: Clip, first_seen: dict[str, str]) -> Iterator[Finding]:
    """``same-frames``: more than half of its frames are another clip's. ``first_seen`` grows from call to call."""
    hashes = [frame.sha256 for frame in clip.frames if frame.sha256]
    others = Counter(first_seen[h] for h in hashes if first_seen.get(h, clip.id) != clip.id)
    for h in hashes:
        first_seen.setdefault(h, clip.id)
    if others and 2 * others.most_common(1)[0][1] > len(hashes):
        other, count = others.most_common(1)[0]
        found = f"{count} of its {len(clip.frames)} frames are those of clip {other}."
        place = Place(clip.id, "clip", clip.id)
        yield Finding("same-frames", "warning", place, found, "Merge the two clips, or take one out.")


# Parts ----------------------------------------------------------------------------------------------------------------


def _about(clip: Clip, expression: Expression, code: str, severity: Severity, message: str, step: str) -> Finding:
    return Finding(code, severity, Place(clip.id, "expression", expression.id), message, step)


def _of(clip: Clip, item: Object, code: str, severity: Severity, message: str, step: str) -> Finding:
    return Finding(code, severity, Place(clip.id, "object", item.id), message, step)


def _others(clip: Clip, expression: Expression) -> Iterator[Expression]:
    """The sentences before this one, so that of two alike the later is named, then those after it are not."""
    for other in clip.expressions:
        if other.id == expression.id:
            return
        yield other


def _drawn(clip: Clip) -> list[Object]:
    """Objects that people can choose from."""
    return [item for item in clip.objects if item.role == "object" and item.second_of is None]


def _meant(expression: Expression) -> set[str]:
    return set(expression.object_ids or ())


def _named(clip: Clip, ids: Iterable[str] | None) -> str:
    names = [f"{clip.by_object[i].name or 'object'} ({i})" for i in ids or ()]
    return " and ".join(names) if names else "nothing"


def _picked(track: Track, frames: Sequence[int]) -> list[Rle | None]:
    return [track[index] for index in frames]


def _areas(track: Track) -> list[int | None]:
    """Pixels in every frame; None where there is no mask."""
    from pycocotools import mask as coco

    there = [index for index, rle in enumerate(track) if rle is not None]
    areas: list[int | None] = [None] * len(track)
    found = coco.area([_packed(rle) for rle in track if rle is not None]) if there else ()
    for index, area in zip(there, found, strict=True):
        areas[index] = int(area)
    return areas


def _boxes(track: Track) -> list[tuple[float, ...]]:
    """(left, top, width, height) in every frame; empty where there is no mask."""
    from pycocotools import mask as coco

    there = [index for index, rle in enumerate(track) if rle is not None]
    boxes: list[tuple[float, ...]] = [()] * len(track)
    found = coco.toBbox([_packed(rle) for rle in track if rle is not None]).tolist() if there else ()
    for index, box in zip(there, found, strict=True):
        boxes[index] = tuple(box)
    return boxes


def _apart(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether two boxes share no pixel."""
    across = a[0] + a[2] <= b[0] or b[0] + b[2] <= a[0]
    return across or a[1] + a[3] <= b[1] or b[1] + b[3] <= a[1]


def _packed(rle: Rle) -> dict[str, Any]:
    counts = rle["counts"]
    return {"size": rle["size"], "counts": counts.encode("ascii") if isinstance(counts, str) else counts}


def severities(findings: Sequence[Finding]) -> dict[Severity, int]:
    """How many findings there are of each severity."""
    counted = Counter(finding.severity for finding in findings)
    order: tuple[Severity, ...] = ("error", "warning", "note")
    return {severity: counted[severity] for severity in order}
