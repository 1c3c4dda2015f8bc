"""What a pull request carries: a report that says what is there, and a check that finds where it does not."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toyproject import PEOPLE, box, toy_clip, tracks, write_frames

from rvos.cli import main
from rvos.datasets.annotation import contribution, native
from rvos.datasets.errors import DatasetError
from rvos.datasets.frames import FrameFolder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two clips with everything, and one error in each: sentence c tells the numbers of objects."""
    head = native.Head(name="toy", title="Toys", people=PEOPLE, annotations_licence="CC BY 4.0")
    with native.Writer(tmp_path / "native", head) as writer:
        for number, name in enumerate(("park", "yard")):
            clip = toy_clip(write_frames(tmp_path / "work" / name, number), name)
            wrong = clip.expressions[2].model_copy(update={"text": "objects 1 and 2: object 1 and object 2"})
            spoken = (*clip.expressions[:2], wrong, *clip.expressions[3:])
            clip = clip.model_copy(update={"expressions": spoken})
            writer.add(clip, tracks(number), FrameFolder(tmp_path / "work" / name))
    return tmp_path / "native"


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    frames = write_frames(tmp_path / "work")
    clip = toy_clip(frames)
    chosen = tuple(choice for choice in clip.choices if choice.expression != "d")
    with native.Writer(tmp_path / "sound", native.Head(name="sound", people=())) as writer:
        writer.add(clip.model_copy(update={"choices": chosen}), tracks())
    contribution.write_report(tmp_path / "sound")
    return tmp_path / "sound"


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(["annotate", *words])
    output = capsys.readouterr()
    return int(ended.value.code or 0), output.out + output.err


def codes(found: contribution.Checked) -> set[str]:
    return {finding.code for finding in found.findings if finding.severity == "error"}


def test_the_report_says_what_is_there(folder: Path) -> None:
    found = contribution.write_report(folder)
    report = json.loads((folder / "contribution.json").read_text())
    assert report == json.loads(json.dumps(found.report))
    assert report["content_hash"] == native.read(folder).head.content_hash
    assert report["sentences"] == {
        "all": 8,
        "reasoning": 4,
        "no_target": 2,
        "several_objects": 2,
        "long": 2,
        "short": 2,
        "origins": {"human": 6, "machine": 2},
        "tags": {"temporal-dynamics": 2},
    }
    assert report["left_out"] == {"draft": 2, "machine-made, accepted by nobody": 2, "rejected": 2}
    assert report["objects"] == 6 and report["people"] == {"author": 1, "blind": 2, "reviewer": 1}
    assert report["annotated_masks"] == {"human": 22, "imported": 6, "propagated, looked at": 8}
    assert report["clips"][0]["licence"] == "CC BY 4.0" and report["clips"][0]["sentences"] == 4
    assert report["agreement"]["video"]["n_answers"] == 12
    assert report["agreement"]["verdict_alpha"] == "not measured"
    again = contribution.check(folder)
    assert again.report == found.report and codes(again) == {"leaked-id"} and not again.ok


def test_the_page_shows_text_as_text(folder: Path, tmp_path: Path) -> None:
    contribution.write_report(folder)
    page = (folder / "CONTRIBUTION.md").read_text()
    assert "Toys" in page and "8 sentences" in page and "not measured" in page and "| park | 5 |" in page
    odd = toy_clip(write_frames(tmp_path / "work"), "x|y")
    evil = "<script>alert(1)</script> [click](http://a.example) | `x`\n# Head"
    source = odd.source.model_copy(update={"consent": evil, "collection": "a|b"})
    with native.Writer(tmp_path / "odd", native.Head(name="odd", title=evil)) as writer:
        writer.add(odd.model_copy(update={"source": source}), tracks())
    contribution.write_report(tmp_path / "odd")
    page = (tmp_path / "odd" / "CONTRIBUTION.md").read_text()
    assert "<script" not in page and "[click](" not in page and "\n# Head" not in page
    rows = [line for line in page.splitlines() if line.startswith("| x")]
    assert len(rows) == 1 and rows[0].replace("\\|", "").count("|") == 9


def test_exit_codes(folder: Path, sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = run(capsys, "check", str(sound))
    assert code == 0 and "0 errors" in said and "[unknown-person]" in said
    code, said = run(capsys, "check", str(folder))
    assert code == 1 and "2 errors" in said and "[no-report]" in said
    code, said = run(capsys, "check", str(folder), "--json", "--write")
    assert code == 1 and json.loads(said)["counts"]["error"] == 2 and (folder / "CONTRIBUTION.md").is_file()
    code, said = run(capsys, "check", str(tmp_path / "nowhere"))
    assert code == 2 and said.startswith("rvos: ") and said.count("\n") == 1
    code, said = run(capsys, "check", str(tmp_path / "work"), "--write")
    assert code == 2 and "export --to native" in said


def spoil_json(path: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        content = json.loads((folder / path).read_text())
        change(content)
        (folder / path).write_text(json.dumps(content))

    return spoil


CLIP, MASKS = "clips/park/clip.json", "clips/park/masks.json"


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (spoil_json(CLIP, lambda c: c.update(title="Other")), {"hash-differs", "report-differs"}),
        (spoil_json(CLIP, lambda c: c.update(colour="red")), {"hash-differs", "unreadable", "report-differs"}),
        (spoil_json(MASKS, lambda m: m["1"].__setitem__(0, box(1, 1, 5))), {"hash-differs", "report-differs"}),
        (
            spoil_json(MASKS, lambda m: m["3"].__setitem__(0, box(1, 1, 5))),
            {"hash-differs", "broken-mask", "report-differs"},
        ),
        (
            spoil_json(MASKS, lambda m: m["1"].__setitem__(0, {"size": [24, 32], "counts": "zz"})),
            {"hash-differs", "broken-mask", "report-differs"},
        ),
        (spoil_json(MASKS, lambda m: m["1"].pop()), {"hash-differs", "broken-mask", "report-differs"}),
        (spoil_json(MASKS, lambda m: m.update({"9": m["1"]})), {"hash-differs", "broken-mask", "report-differs"}),
        (lambda folder: os.remove(folder / MASKS), {"missing-file", "broken-mask", "report-differs"}),
        (lambda folder: os.remove(folder / CLIP), {"missing-file", "unreadable", "report-differs"}),
        (spoil_json("annotation.json", lambda h: h.update(title="Other")), {"hash-differs", "report-differs"}),
        (spoil_json("contribution.json", lambda r: r["sentences"].update(all=99)), {"report-differs"}),
    ],
)
def test_what_was_changed_by_hand_is_found(sound: Path, spoil: Callable[[Path], None], found: set[str]) -> None:
    assert contribution.check(sound).ok
    spoil(sound)
    assert codes(contribution.check(sound)) == found


def test_a_head_that_cannot_be_read_is_no_contribution(sound: Path) -> None:
    (sound / "annotation.json").write_text("{")
    with pytest.raises(DatasetError, match="not valid JSON"):
        contribution.check(sound)


def test_terms_are_needed(tmp_path: Path) -> None:
    clip = toy_clip(write_frames(tmp_path / "work"), source=native.Source(), choices=())
    with native.Writer(tmp_path / "p", native.Head(name="x")) as writer:
        writer.add(clip, tracks())
    assert codes(contribution.check(tmp_path / "p")) == {"no-licence", "no-consent"}


# The commands ---------------------------------------------------------------------------------------------------------


def test_export_checks_what_it_wrote(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = run(capsys, "export", str(folder), "--to", "reasonvos", "--out", str(tmp_path / "r"))
    assert code == 0 and "lost: 2 rationales" in said and "0 errors" in said and "published" not in said
    assert said.splitlines()[-1] == str(tmp_path / "r")
    code, said = run(capsys, "export", str(folder), "--out", str(tmp_path / "n"), "--json")
    done = json.loads(said)
    assert code == 0 and done["losses"] == [] and done["check"]["ok"]
    assert contribution.check(tmp_path / "n").report["name"] == "toy"
    assert (tmp_path / "n" / "CONTRIBUTION.md").is_file() and (tmp_path / "n" / "frames" / "park").is_dir()
    code, said = run(capsys, "export", str(folder), "--to", "coco", "--out", str(tmp_path / "c"))
    assert code == 2 and "Unknown layout 'coco'" in said


def test_merge_shows_conflicts(folder: Path, sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = run(capsys, "merge", str(folder), str(folder), "--out", str(tmp_path / "m"), "--json")
    assert code == 0 and json.loads(said)["conflicts"] == []
    code, said = run(capsys, "merge", str(folder), str(sound), "--out", str(tmp_path / "m2"))
    assert code == 0 and "project, name: 'toy' against 'sound'" in said and "conflicts, listed above" in said
    assert said.splitlines()[-1] == str(tmp_path / "m2")
