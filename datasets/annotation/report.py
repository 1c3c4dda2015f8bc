"""How far a project is, how well its people agree, and what blind people measured."""

from __future__ import annotations

from collections import Counter
from typing import Any

from . import native
from .blind import eligible
from .conversion import as_native, judged, native_clip
from .store import Store


def status_of(store: Store) -> dict[str, Any]:
    """Counts per clip and per person: what is drawn, written, judged and answered."""
    people = {p["id"]: p for p in store.people()}
    names = {c["key"]: c["id"] for c in store.clips()}
    choices = store.choices()
    clips = [_clip_status(store, clip, choices) for clip in store.clips()]
    assignments = [
        {"person": a["person"], "name": people[a["person"]]["name"], "clip_id": names[a["clip"]], "state": a["state"]}
        for a in store.assignments()
    ]
    answered = Counter(c["person"] for c in choices if c["stage"] == "video")
    asked = sum(clip["n_asked"] for clip in clips)
    told = [
        {
            **{name: p[name] for name in ("id", "name", "role", "revoked")},
            "n_answers": answered[p["id"]],
            "n_asked": asked if p["role"] == "blind" else None,
        }
        for p in people.values()
    ]
    return {"clips": clips, "people": told, "assignments": assignments}


def _clip_status(store: Store, clip: dict[str, Any], choices: list[dict[str, Any]]) -> dict[str, Any]:
    key = clip["key"]
    expressions = store.expressions(key)
    verdicts = {v["about"]["id"]: v for v in judged(store, key) if v["about"]["kind"] == "expression" and v["current"]}
    decisions = Counter(v["decision"] for v in verdicts.values())
    return {
        "id": clip["id"],
        "state": clip["state"],
        "n_frames": clip["n_frames"],
        "n_objects": len(store.objects(key)),
        "n_expressions": len(expressions),
        "n_drafts": sum(e["state"] == "draft" for e in expressions),
        "n_machine": sum(e["origin"] == "machine" and not e["accepted_by"] for e in expressions),
        "n_accepted": decisions["accepted"],
        "n_rejected": decisions["rejected"],
        "n_asked": len(eligible(store, key)),
        "n_answers": sum(c["clip"] == key and c["stage"] == "video" for c in choices),
    }


def report_of(store: Store) -> dict[str, Any]:
    """Status, agreement and measures (``agreement.report``), and how many findings of each severity there are."""
    from .agreement import report
    from .quality import check_clip, severities

    with as_native(store, frames=False) as folder:
        agreement = report(native.read(folder)).as_dict()
    findings = [finding for clip in store.clips() for finding in check_clip(native_clip(store, clip["key"]))]
    return {"status": status_of(store), "agreement": agreement, "problems": severities(findings)}
