"""How far people agree: about masks, about what a sentence means, and with the author.

Nothing is estimated: what nobody did is "not measured", and every number comes with how many answers made it.

- *Masks*: J and F (``benchmarks.metrics``) between an object and its independent second drawings, frame by frame.
- *Choices*: blind people pick objects from the sentence alone, first from one frame (stage ``one-frame``: how much
  needs no video), then from the whole video (stage ``video``: the human ceiling). Accuracy is corrected for chance with
  the number of answers that each clip offered: (accuracy - chance) / (1 - chance).
- *Krippendorff's alpha* (Content Analysis, 2004, chapter 11; nominal) over the choices of several people, and over the
  reviewers' verdicts: 1 is full agreement, 0 what chance gives, below 0 less than that.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, get_args

import numpy as np

from ...benchmarks.metrics import j_and_f
from ..errors import DatasetError
from ..masks import decode_rle
from . import native
from .native import Choice, Clip, Project, Rle
from .records import Stage

NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Accuracy:
    """How often blind people chose the objects that the author meant.

    Attributes:
        stage: what they had seen.
        accuracy: share of answers that are exactly the author's objects, 0-1; None where nobody answered.
        chance: that of answers drawn blindly, mean over the answers.
        corrected: (accuracy - chance) / (1 - chance), from sums over all answers; None where chance is 1.
        alpha: Krippendorff's, over sentences that several people answered; None where there are none.
    """

    stage: Stage
    n_answers: int
    n_people: int
    n_sentences: int
    accuracy: float | None
    chance: float | None
    corrected: float | None
    alpha: float | None


@dataclass(frozen=True)
class MaskAgreement:
    """J and F of the second drawings, means over pairs of drawings, 0-1; None where there is no second drawing.

    Attributes:
        n_pairs: drawings of one object by two people.
        n_frames: frames that both annotated.
    """

    n_pairs: int
    n_frames: int
    J: float | None
    F: float | None


@dataclass(frozen=True)
class AgreementReport:
    """All of it, for a project and for each clip's choices."""

    one_frame: Accuracy
    video: Accuracy
    masks: MaskAgreement
    n_verdicts: int
    verdict_alpha: float | None
    clips: Mapping[str, Mapping[str, Accuracy]]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; None becomes ``not measured``."""
        plain: dict[str, Any] = _measured(asdict(self))
        return plain

    def __str__(self) -> str:
        lines = [_line("from one frame", self.one_frame), _line("from the video", self.video)]
        m = self.masks
        if m.J is None or m.F is None:
            lines.append(f"masks between annotators: {NOT_MEASURED}")
        else:
            mean = f"J&F {50 * (m.J + m.F):.1f}, J {100 * m.J:.1f}, F {100 * m.F:.1f}"
            lines.append(f"masks between annotators: {mean} ({m.n_pairs} second drawings, {m.n_frames} frames)")
        lines.append(f"verdicts: {self.n_verdicts}, alpha {_number(self.verdict_alpha)}")
        return "\n".join(lines)


def report(project: Project) -> AgreementReport:
    """The agreement of a project's people. Raises DatasetError where masks cannot be read."""
    clips = list(project)
    pairs = [pair for clip in clips for pair in _drawn_twice(clip, project)]
    verdicts = [_verdicts(clip) for clip in clips]
    return AgreementReport(
        one_frame=accuracy(clips, "one-frame"),
        video=accuracy(clips, "video"),
        masks=_mask_agreement(pairs),
        n_verdicts=sum(len(clip.verdicts) for clip in clips),
        verdict_alpha=krippendorff_alpha([unit for units in verdicts for unit in units]),
        clips={
            clip.id: {stage: accuracy([clip], stage) for stage in get_args(Stage)} for clip in clips if clip.choices
        },
    )


# Choices --------------------------------------------------------------------------------------------------------------


def accuracy(clips: Iterable[Clip], stage: Stage) -> Accuracy:
    """How often people chose what was meant, in one stage."""
    answers = [(clip, choice) for clip in clips for choice in clip.choices if choice.stage == stage]
    right = [_right(clip, choice) for clip, choice in answers]
    chances = [chance_of(choice) for _, choice in answers]
    units: dict[tuple[str, str], list[frozenset[str]]] = defaultdict(list)
    for clip, choice in answers:
        units[clip.id, choice.expression].append(frozenset(choice.answer))
    n, spare = len(answers), sum((1 - chance for chance in chances), Fraction(0))
    better = sum(right) - sum(chances, Fraction(0))
    return Accuracy(
        stage=stage,
        n_answers=n,
        n_people=len({choice.person for _, choice in answers}),
        n_sentences=len(units),
        accuracy=sum(right) / n if n else None,
        chance=float(sum(chances, Fraction(0)) / n) if n else None,
        corrected=float(better / spare) if spare else None,
        alpha=krippendorff_alpha(list(units.values())),
    )


def chance_of(choice: Choice) -> Fraction:
    """How often somebody who has not read the sentence is right: they pick one of the candidates, or "none of these".

    A person may pick several objects; which of them one would pick blindly is not known, so chance is that of single
    picks. For sentences about several objects it is therefore too high, never too low.
    """
    return Fraction(1, len(set(choice.candidates)) + 1)


def _right(clip: Clip, choice: Choice) -> bool:
    return set(choice.answer) == set(clip.by_expression[choice.expression].object_ids or ())


# Krippendorff's alpha -------------------------------------------------------------------------------------------------


def krippendorff_alpha(units: Sequence[Sequence[Hashable]]) -> float | None:
    """Krippendorff's alpha for nominal values, computed exactly and rounded once at the end.

    Args:
        units: for every unit the values that its coders gave, in any order; units with fewer than two do not count.

    Returns:
        alpha, at most 1; None where no unit has two values. Where all values are the same, which leaves nothing to
        disagree about, alpha is undefined; that is None, too.

    The coincidences of values c and k in a unit with m values count 1 / (m - 1) each. With o_ck their sums, n_c the
    margins and n the total, alpha = 1 - (n - 1) * sum_{c != k} o_ck / sum_{c != k} n_c n_k.
    """
    margins: Counter[Hashable] = Counter()
    observed = Fraction(0)
    for unit in units:
        if len(unit) < 2:
            continue
        counted = Counter(unit)
        margins.update(counted)
        unlike = len(unit) ** 2 - sum(count**2 for count in counted.values())
        observed += Fraction(unlike, len(unit) - 1)
    n = sum(margins.values())
    expected = n**2 - sum(count**2 for count in margins.values())
    return float(1 - (n - 1) * observed / expected) if expected else None


def _verdicts(clip: Clip) -> list[list[str]]:
    """What the reviewers decided about each thing, each reviewer's last word."""
    last: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for verdict in sorted(clip.verdicts, key=lambda verdict: verdict.at.rstrip("Z")):
        if verdict.current:
            last[verdict.about.kind, verdict.about.id][verdict.person] = verdict.decision
    return [list(decisions.values()) for decisions in last.values()]


# Masks ----------------------------------------------------------------------------------------------------------------

_Pair = tuple[list[float], list[float]]


def _mask_agreement(pairs: Sequence[_Pair]) -> MaskAgreement:
    measured = [(np.mean(j), np.mean(f), len(j)) for j, f in pairs if j]
    if not measured:
        return MaskAgreement(0, 0, None, None)
    mean_j, mean_f = (float(np.mean([pair[k] for pair in measured])) for k in (0, 1))
    return MaskAgreement(len(measured), sum(n for _, _, n in measured), mean_j, mean_f)


def _drawn_twice(clip: Clip, project: Project) -> Iterator[_Pair]:
    """J and F of every frame that both drawings annotate, those in which both are absent included (1, 1)."""
    second = [item for item in clip.objects if item.second_of is not None]
    if not second:
        return
    masks = project.masks(clip.id)
    nothing: list[Rle | None] = [None] * len(clip.frames)
    for item in second:
        first = clip.by_object[item.second_of or ""]
        a, b = masks.get(first.id, nothing), masks.get(item.id, nothing)
        scores: _Pair = ([], [])
        for index, frame in enumerate(clip.frames):
            if frame.role == "scored" and native.annotated(first, index) and native.annotated(item, index):
                j, f = _scores(clip, a[index], b[index])
                scores[0].append(j)
                scores[1].append(f)
        yield scores


def _scores(clip: Clip, a: Rle | None, b: Rle | None) -> tuple[float, float]:
    if a is None and b is None:
        return 1.0, 1.0
    size = tuple((a or b or {})["size"])
    masks = [np.zeros(size, bool) if rle is None else decode_rle(rle, f"clip {clip.id}") for rle in (a, b)]
    if masks[0].shape != masks[1].shape:
        raise DatasetError(f"Clip {clip.id}: two drawings of one object have masks of two sizes; import them again.")
    found = j_and_f(masks[0], masks[1])
    return float(found.J[0]), float(found.F[0])


# Words ----------------------------------------------------------------------------------------------------------------


def _line(what: str, found: Accuracy) -> str:
    if found.accuracy is None or found.chance is None:
        return f"choices {what}: {NOT_MEASURED}"
    corrected = f"corrected for chance {_number(found.corrected)}, alpha {_number(found.alpha)}"
    made = f"{found.n_answers} answers of {found.n_people} people to {found.n_sentences} sentences"
    shares = f"{100 * found.accuracy:.1f} % right, chance {100 * found.chance:.1f} %"
    return f"choices {what}: {shares}, {corrected} ({made})"


def _number(value: float | None) -> str:
    return NOT_MEASURED if value is None else f"{value:.3f}"


def _measured(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _measured(item) for key, item in value.items()}
    return NOT_MEASURED if value is None else value
