from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from toyprotocol import OtherToyProtocol, ToyProtocol
from toyset import ToyDataset

from rvos.benchmarks.protocols.base import Unit, UnitScore
from rvos.benchmarks.runs import (
    PredictionLine,
    PredictionsRecord,
    PredictorRecord,
    Run,
    SampleLine,
    append_lines,
)
from rvos.datasets.config import replace_file
from rvos.datasets.errors import RunError


def scores(n: int) -> list[UnitScore]:
    unit = Unit("v/é", "v", "é", ("1", "2"), None, {"source": "MOSE", "n": 2})
    return [
        UnitScore(unit, "ok", J=0.1 + 0.2, F=i / 3, n_frames=4, flags=("partial",), reason="1 of 4", extras={"x": None})
        for i in range(n)
    ]


def test_a_line_keeps_every_digit_and_every_field() -> None:
    score = scores(1)[0]
    line = SampleLine.of(score).to_json()
    assert SampleLine.model_validate_json(line).score() == score
    assert json.loads(line)["J"] == 0.30000000000000004
    bare = UnitScore(Unit("k", "v"), "no-ground-truth", None, None, counted=False, reason="withheld")
    assert json.loads(SampleLine.of(bare).to_json())["J"] is None


def test_a_run_can_be_opened_again(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", ToyDataset(), protocol=ToyProtocol(), predictor=PredictorRecord(name="me"))
    run.append(scores(2))
    opened = Run.open(tmp_path / "run")
    assert opened.record == run.record and opened.record.status == "started"
    assert opened.scores() == scores(2)
    assert opened.record.packages["numpy"] and opened.record.device["cores"] >= 1


def test_a_torn_last_line_is_dropped(tmp_path: Path) -> None:
    run = Run.create(tmp_path, ToyDataset(), protocol=ToyProtocol())
    run.append(scores(2))
    with open(tmp_path / "samples.jsonl", "a") as stream:
        stream.write('{"key": "half a li')
    assert run.scores() == scores(2)
    run.append(scores(1))
    assert run.scores() == scores(2) + scores(1)


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    run = Run.create(tmp_path, ToyDataset(), protocol=ToyProtocol())
    run.append(scores(1))
    with open(tmp_path / "samples.jsonl", "a") as stream:
        stream.write("{}\n")
    with pytest.raises(RunError, match=r"samples.jsonl, line 2, is damaged"):
        run.scores()


def test_only_whole_runs_of_the_same_kind_are_continued(tmp_path: Path) -> None:
    def create(**changes: object) -> Run:
        arguments = {"dataset": ToyDataset(), "protocol": ToyProtocol(), "resume": True, **changes}
        return Run.create(tmp_path / "run", **arguments)  # type: ignore[arg-type]

    files = PredictionsRecord(path="a", layout="png-folders")
    create(predictions=files)
    create(predictions=files)
    with pytest.raises(RunError, match="already holds this run"):
        create(resume=False)
    with pytest.raises(RunError, match="protocol toy@1, not other-toy@1"):
        create(protocol=OtherToyProtocol())
    with pytest.raises(RunError, match="dataset fingerprint"):
        create(dataset=ToyDataset(2))
    with pytest.raises(RunError, match="predictions a"):
        create(predictions=PredictionsRecord(path="b", layout="png-folders"))
    with pytest.raises(RunError, match="extent complete, not first 1 of 3 videos"):
        create(limit=1)
    assert Run.open(tmp_path / "run").record.predictions == files


def test_folders_that_are_no_runs_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(RunError, match="not empty and not a run"):
        Run.create(tmp_path, ToyDataset())
    with pytest.raises(RunError, match="is a file"):
        Run.create(tmp_path / "thesis.tex", ToyDataset())
    with pytest.raises(RunError, match="not a run folder"):
        Run.open(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "precious" and len(list(tmp_path.iterdir())) == 1


def test_unreadable_records_are_explained(tmp_path: Path) -> None:
    run = Run.create(tmp_path, ToyDataset())
    content = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps({**content, "schema_version": 99}))
    with pytest.raises(RunError, match="schema 99"):
        Run.open(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({**content, "status": "perfect"}))
    with pytest.raises(RunError, match="status"):
        Run.open(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(RunError, match="not a run record"):
        Run.open(tmp_path)
    run.save()
    assert Run.open(tmp_path).record == run.record


def test_predictions_are_noted(tmp_path: Path) -> None:
    run = Run.create(tmp_path, ToyDataset())
    lines = [PredictionLine(key="v/1", video_id="v", expression_id="1", status="failed", reason="no memory")]
    run.append_predictions(lines)
    assert run.predictions() == lines
    run.replace_predictions([])
    assert run.predictions() == []


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a file system that nobody can write to")
def test_a_folder_that_cannot_be_written_is_named() -> None:
    with pytest.raises(RunError, match=r"/proc/run cannot be written"):
        Run.create("/proc/run", ToyDataset())


@pytest.mark.skipif(sys.platform != "linux", reason="limits file sizes by RLIMIT_FSIZE")
def test_a_full_disk_keeps_what_was_finished(tmp_path: Path) -> None:
    code = """
import resource, signal, sys
from pathlib import Path
from rvos.benchmarks.runs import append_lines
path = Path(sys.argv[1])
append_lines(path, ["finished"] * 10)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (120, 120))
try:
    append_lines(path, ["does not fit any more"] * 10)
except OSError as error:
    print(error.strerror)
"""
    path = tmp_path / "samples.jsonl"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "File too large", done.stderr
    assert path.read_text() == "finished\n" * 10


def test_replacing_a_file_leaves_the_old_one_where_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    replace_file(path, "old")

    def broken(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="No space"):
        replace_file(path, "new")
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["run.json"]
    with pytest.raises(OSError, match="No space"):
        append_lines(tmp_path / "lines", ["a"])
    assert (tmp_path / "lines").read_bytes() == b""


@pytest.mark.skipif(os.name == "nt", reason="looks at permissions")
def test_others_may_read_what_a_run_writes(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    replace_file(tmp_path / "masks.json.gz", b"x")
    assert (tmp_path / "masks.json.gz").stat().st_mode == (tmp_path / "plain").stat().st_mode
