"""`rvos datasets …` as a user calls it: output, JSON, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rvos.cli import main


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["datasets", *words])
    output = capsys.readouterr()
    return int(stop.value.code or 0), output.out, output.err


def test_list_show_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "list", "--json")
    assert code == 0 and {"mevis/valid_u", "reasonvos"} <= {row["id"] for row in json.loads(out)}
    assert "ref-davis17/valid" in run(capsys, "list")[1]
    code, out, _ = run(capsys, "show", "refytvos/val")
    assert code == 0 and "202 videos, 834 samples" in out and "@inproceedings" in out
    assert json.loads(run(capsys, "show", "davis", "--json")[1])["name"] == "ref-davis17"
    for command in ("list", "show", "check", "stats", "roots"):
        code, out, _ = run(capsys, command, "--help")
        assert code == 0 and "Example: rvos datasets" in out and "--json" in out


def test_check_exit_codes(layouts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(layouts / "mevis")
    code, out, _ = run(capsys, "check", "mevis/valid_u", "--root", root, "--frames", "header")
    assert code == 0 and "0 errors" in out
    code, out, _ = run(capsys, "check", "mevis/valid_u", "--root", root, "--json")
    assert json.loads(out)["ok"] is True
    folder = tmp_path / "valid"
    folder.mkdir()
    entry = {"frames": ["0"], "expressions": {"0": {"exp": ""}}}
    (folder / "meta_expressions.json").write_text(json.dumps({"videos": {"v": entry}}))
    code, out, _ = run(capsys, "check", "mevis/valid", "--root", str(tmp_path), "--frames", "skip")
    assert code == 1 and "the sentence is empty" in out
    broken = {"videos": {"v": {**entry, "frames": 0}, "w": {**entry, "frames": 0}}}
    (folder / "meta_expressions.json").write_text(json.dumps(broken))
    code, out, _ = run(capsys, "check", "mevis/valid", "--root", str(tmp_path))
    assert code == 2 and out.count("has no list 'frames'") == 2
    code, _, err = run(capsys, "check", "mevis/valid", "--root", str(tmp_path / "nowhere"))
    assert code == 2 and err.startswith("rvos: ") and err.count("\n") == 1
    code, _, err = run(capsys, "check", "mevis/valid", "--root", root, "--frames", "some")
    assert code == 2 and "decode" in err


def test_stats(layouts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(layouts / "reasonvos")
    code, out, _ = run(capsys, "stats", "reasonvos", "--root", root, "--plots", str(tmp_path / "plots"))
    assert code == 0 and "words per expression" in out and list((tmp_path / "plots").glob("*.png"))
    assert json.loads(run(capsys, "stats", "reasonvos", "--root", root, "--json")[1])["n_videos"] == 2


def test_roots_are_remembered(
    layouts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RVOS_CONFIG", str(tmp_path / "config.toml"))
    assert run(capsys, "check", "mevis/valid", "--frames", "skip")[0] == 2
    code, out, _ = run(capsys, "roots", "--set", f"MeViS={layouts / 'mevis'}", "--json")
    assert code == 0 and json.loads(out)["roots"]["mevis"] == str(layouts / "mevis")
    assert run(capsys, "check", "mevis/valid", "--frames", "skip")[0] == 0
    assert run(capsys, "roots", "--unset", "mevis")[0] == 0
    assert run(capsys, "check", "mevis/valid", "--frames", "skip")[0] == 2
    for wrong in ("mevis", "mevis=", f"mevis={tmp_path / 'nowhere'}", f"mvis={tmp_path}"):
        assert run(capsys, "roots", "--set", wrong)[0] == 2
