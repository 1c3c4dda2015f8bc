"""What a pull request carries beside its annotations: a report of what they are, how good, and under which terms.

``write_report`` puts ``contribution.json`` and ``CONTRIBUTION.md`` into a native folder. ``check`` opens such a folder
as a stranger would: every hash, every mask, every sentence, every clip's terms, and whether the report says what the
folder holds.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..bitmask import checked_runs
from ..config import replace_file
from ..errors import RvosError
from ..files import read_json
from ..problems import SEVERITIES, Severity
from . import agreement, native
from .native import Clip, Expression, Project
from .quality import Finding, Place, check_clip, repeated_frames, severities, unknown_people
from .wording import project_words

REPORT_FILE, PAGE_FILE = "contribution.json", "CONTRIBUTION.md"
FORMAT = 1


@dataclass(frozen=True)
class Checked:
    """What ``check`` found.

    Attributes:
        report: what ``contribution.json`` must say.
        findings: errors first.
    """

    folder: Path
    report: dict[str, Any]
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether there is no error; warnings and notes are allowed."""
        return not any(finding.severity == "error" for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "folder": str(self.folder),
            "ok": self.ok,
            "counts": severities(self.findings),
            "findings": [finding.as_dict() for finding in self.findings],
            "report": self.report,
        }


def check(folder: Path | str) -> Checked:
    """Look at everything in a native folder.

    Raises:
        DatasetError: it cannot be opened at all.
    """
    project = native.read(folder)
    findings = list(_findings(project))
    report = _report(project, findings)
    findings += _stale(project, report)
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return Checked(project.folder, report, tuple(findings))


def write_report(folder: Path | str) -> Checked:
    """Write ``contribution.json`` and ``CONTRIBUTION.md`` into a native folder, over older ones.

    Raises:
        DatasetError: the folder cannot be opened.
    """
    project = native.read(folder)
    findings = sorted(_findings(project), key=lambda finding: SEVERITIES.index(finding.severity))
    found = Checked(project.folder, _report(project, findings), tuple(findings))
    replace_file(project.folder / REPORT_FILE, (json.dumps(found.report, indent=1, ensure_ascii=False) + "\n").encode())
    replace_file(project.folder / PAGE_FILE, page(found).encode())
    return found


# Findings -------------------------------------------------------------------------------------------------------------


def _findings(project: Project) -> Iterator[Finding]:
    yield from _hashes(project)
    readable, unreadable = [], []
    for ref in project.head.clips:
        try:
            readable.append(project.clip(ref.id))
        except RvosError as error:
            step = "Export the project again."
            unreadable.append(_found("unreadable", "error", ref.id, str(error), step))
    yield from unreadable
    words = project_words(readable)
    known = {person.id for person in project.head.people}
    first_seen: dict[str, str] = {}
    for clip in readable:
        broken = list(_masks(project, clip))
        yield from broken
        yield from check_clip(clip, None if broken else project.masks(clip.id), words)
        yield from unknown_people(clip, known)
        yield from repeated_frames(clip, first_seen)
        yield from _not_measured(clip)


def _hashes(project: Project) -> Iterator[Finding]:
    """``hash-differs``, ``missing-file``: the folder is not what it says it is."""
    place = Place("", "project", project.head.name)
    step = "Export the project again; do not edit its files by hand."
    if native.content_hash(project.head) != project.head.content_hash:
        yield Finding(
            "hash-differs", "error", place, f"{native.HEAD_FILE} does not have the hash that it states.", step
        )
    for ref in project.head.clips:
        for path, stated in (
            (project.clip_file(ref.id), ref.clip_sha256),
            (project.masks_file(ref.id), ref.masks_sha256),
        ):
            if path is None:
                continue
            if not path.is_file():
                yield _found("missing-file", "error", ref.id, f"{path.name} is not there.", step)
            elif native.file_sha256(path) != stated:
                yield _found("hash-differs", "error", ref.id, f"{path.name} is not the file that is listed.", step)


def _masks(project: Project, clip: Clip) -> Iterator[Finding]:
    """``broken-mask``: an RLE that cannot be drawn, of another size than the clip, or where nobody annotated."""
    step = "Export the project again; do not edit its files by hand."
    try:
        masks = project.masks(clip.id)
        for name in masks:
            problem = _broken_track(clip, name, masks[name])
            if problem:
                yield Finding("broken-mask", "error", Place(clip.id, "object", name), problem, step)
    except RvosError as error:
        yield _found("broken-mask", "error", clip.id, str(error), step)


def _broken_track(clip: Clip, name: str, track: native.Track) -> str:
    item = clip.by_object.get(name)
    if item is None and not (name == native.VOID and clip.has_void):
        return "has masks and is no object of the clip."
    if len(track) != len(clip.frames):
        return f"has {len(track)} masks for {len(clip.frames)} frames."
    # a collection's masks may have another size than its frames; what people draw has the size of the frames
    drawn_here = item is not None and any(span.origin != "imported" for span in item.spans)
    for index, rle in enumerate(track):
        if rle is None:
            continue
        frame = f"frame {clip.frames[index].name}"
        shape = checked_runs(rle, frame)[:2]
        if clip.size not in (None, shape) and drawn_here:
            return f"{frame}: the mask is {shape}, the clip {clip.size} (height, width)."
        if item is not None and not native.annotated(item, index):
            return f"{frame}: has a mask, and nobody annotated it."
    return ""


def _not_measured(clip: Clip) -> Iterator[Finding]:
    """``not-measured``, ``not-reviewed``: what people have not done yet."""
    spoken = [e for e in clip.expressions if native.counts(clip, e) and e.origin != "imported"]
    answered = {choice.expression for choice in clip.choices}
    unanswered = sum(e.id not in answered for e in spoken)
    if unanswered:
        found = f"no blind person answered {unanswered} of {len(spoken)} sentences."
        step = "Invite one: rvos annotate invite PROJECT --annotator NAME --role blind."
        yield _found("not-measured", "note", clip.id, found, step)
    undecided = sum(native.verdict_on(clip, "expression", e.id) is None for e in spoken)
    if undecided:
        found = f"no reviewer decided on {undecided} of {len(spoken)} sentences."
        step = "Invite one: rvos annotate invite PROJECT --annotator NAME --role reviewer."
        yield _found("not-reviewed", "note", clip.id, found, step)


def _stale(project: Project, report: dict[str, Any]) -> Iterator[Finding]:
    """``no-report``, ``report-differs``"""
    place = Place("", "project", project.head.name)
    path = project.folder / REPORT_FILE
    if not path.is_file():
        step = "Write it: rvos annotate check FOLDER --write."
        yield Finding("no-report", "note", place, f"it carries no {REPORT_FILE}.", step)
    elif read_json(path) != json.loads(json.dumps(report)):
        step = "Write it again: rvos annotate check FOLDER --write."
        yield Finding("report-differs", "error", place, f"{REPORT_FILE} does not say what the folder holds.", step)


def _found(code: str, severity: Severity, clip: str, message: str, step: str) -> Finding:
    return Finding(code, severity, Place(clip, "clip", clip), message, step)


# The report -----------------------------------------------------------------------------------------------------------


def _report(project: Project, findings: list[Finding]) -> dict[str, Any]:
    """What is contributed, in numbers. The same folder gives the same report, on any day and any machine."""
    broken = {
        finding.place.clip for finding in findings if finding.code in ("unreadable", "missing-file", "broken-mask")
    }
    clips = [project.clip(ref.id) for ref in project.head.clips if ref.id not in broken]
    spoken = [(clip, e) for clip in clips for e in clip.expressions if native.counts(clip, e)]
    left_out = Counter(native.why_not_counted(clip, e) for clip in clips for e in clip.expressions)
    head = project.head
    whole = Project(project.folder, head.model_copy(update={"clips": tuple(project.ref(clip.id) for clip in clips)}))
    return {
        "format": FORMAT,
        "name": head.name,
        "version": head.version,
        "title": head.title,
        "annotations_licence": head.annotations_licence,
        "content_hash": head.content_hash,
        "people": dict(Counter(person.role for person in head.people)),
        "clips": [_clip_row(clip) for clip in clips],
        "objects": sum(item.role == "object" and item.second_of is None for clip in clips for item in clip.objects),
        "annotated_masks": _origins(clips),
        "sentences": _sentences([e for _, e in spoken]),
        "left_out": {reason: n for reason, n in sorted(left_out.items()) if reason},
        "findings": severities(findings),
        "agreement": agreement.report(whole).as_dict(),
    }


def _clip_row(clip: Clip) -> dict[str, Any]:
    return {
        "id": clip.id,
        "frames": len(clip.frames),
        "objects": len(clip.objects),
        "sentences": sum(native.counts(clip, e) for e in clip.expressions),
        "collection": clip.source.collection,
        "licence": clip.source.licence,
        "consent": clip.source.consent,
        "may_copy_frames": clip.source.may_copy_frames,
    }


def _origins(clips: list[Clip]) -> dict[str, int]:
    """Annotated frames of objects, by who or what made them."""
    counted: Counter[str] = Counter()
    for clip in clips:
        for span in (span for item in clip.objects for span in item.spans):
            looked_at = span.origin == "propagated" and span.reviewed
            counted["propagated, looked at" if looked_at else span.origin] += span.last - span.first + 1
    return dict(sorted(counted.items()))


def _sentences(spoken: list[Expression]) -> dict[str, Any]:
    return {
        "all": len(spoken),
        "reasoning": sum(e.kind == "reasoning" for e in spoken),
        "no_target": sum(e.object_ids == () for e in spoken),
        "several_objects": sum(len(e.object_ids or ()) > 1 for e in spoken),
        "long": sum(e.is_sentence is True for e in spoken),
        "short": sum(e.is_sentence is False for e in spoken),
        "origins": dict(sorted(Counter(e.origin for e in spoken).items())),
        "tags": dict(sorted(Counter(tag for e in spoken for tag in e.tags).items())),
    }


def page(checked: Checked) -> str:
    """The report for a person to read, in Markdown. What people wrote appears as plain text."""
    r = checked.report
    s = r["sentences"]
    lines = [
        f"# Contribution: {_plain(r['title'] or r['name'])}",
        "",
        f"{_counted(len(r['clips']), 'clip')}, {_counted(r['objects'], 'object')}, "
        f"{_counted(s['all'], 'sentence')} ({s['reasoning']} that need reasoning, "
        f"{s['no_target']} without target, {s['several_objects']} about several objects). "
        f"Content `{r['content_hash']}`.",
        "",
        f"Licence of the annotations: {_plain(r['annotations_licence'] or 'not stated')}.",
        "",
        "| clip | frames | objects | sentences | from | licence | consent | frames may be passed on |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in r["clips"]:
        passed_on = {True: "yes", False: "no", None: "not stated"}[row["may_copy_frames"]]
        words = (_plain(row[key] or "not stated") for key in ("collection", "licence", "consent"))
        numbers = (str(row[key]) for key in ("frames", "objects", "sentences"))
        lines.append("| " + " | ".join([_plain(row["id"]), *numbers, *words, passed_on]) + " |")
    made = ", ".join(f"{count} {origin}" for origin, count in r["annotated_masks"].items()) or "none"
    lines += ["", f"Annotated frames of objects: {made}.", "", "## What people found", ""]
    lines += ["```", *_agreement_lines(r["agreement"]), "```", "", "## What the checks found", ""]
    lines.append(", ".join(_counted(count, severity) for severity, count in r["findings"].items()) + ".")
    shown = [finding for finding in checked.findings if finding.severity != "note"]
    lines += ["", *(f"- {_plain(str(finding))}" for finding in shown[:50])]
    lines += [f"- and {len(shown) - 50} more"] if len(shown) > 50 else []
    return "\n".join(lines).rstrip() + "\n"


def _agreement_lines(found: dict[str, Any]) -> Iterator[str]:
    for stage in ("one_frame", "video"):
        part = found[stage]
        numbers = " ".join(f"{key} {_number(part[key])}" for key in ("accuracy", "chance", "corrected", "alpha"))
        yield f"{stage:10} {part['n_answers']} answers: {numbers}"
    masks = found["masks"]
    yield f"masks      {masks['n_pairs']} second drawings: J {_number(masks['J'])} F {_number(masks['F'])}"
    yield f"verdicts   {found['n_verdicts']}: alpha {_number(found['verdict_alpha'])}"


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.3f}"


def _plain(text: str) -> str:
    """Text that Markdown shows as it is: no markup, no links, no HTML, one line, no cell of its own."""
    flat = " ".join(text.split())
    return "".join(_ENTITIES.get(c, f"\\{c}" if c in "\\`*_{}[]()#|!~" else c) for c in flat)


_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' * (n != 1)}"
