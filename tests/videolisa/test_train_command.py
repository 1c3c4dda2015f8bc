"""``rvos train`` from outside, and the configurations that ship. About 1 second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("accelerate")

from rvos.cli import main

CONFIGS = sorted((Path(__file__).parents[2] / "videolisa" / "train" / "configs").glob("*.yaml"))


def said(capsys: Any, *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["train", *arguments])
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_wrong_calls_say_what_is_right(tmp_path: Path, capsys: Any) -> None:
    out = str(tmp_path / "run")
    assert "Known: full, lisa-nano, nano" in said(capsys, "--out", out, "--preset", "nan")
    assert "--base FOLDER" in said(capsys, "--out", out, "--preset", "full")
    assert "--base RUN/weights" in said(capsys, "--out", out, "--preset", "lisa-nano")
    assert "--base RUN/weights" in said(capsys, "--out", out, "--new-language")
    for preset, *option in (
        ("lisa-nano", "--new-language"),
        ("lisa-nano", "--strategy", "n-frame"),
        ("full", "--short"),
        ("full", "--videos", "3"),
        ("full", "--stages", "masks"),
        ("nano", "--data", "mevis=6:mevis/train"),
        ("nano", "--valid", "mevis/valid_u"),
    ):
        assert f"{option[0]} is for --preset" in said(capsys, "--out", out, "--preset", preset, *option)
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    assert "--resume continues it" in said(capsys, "--out", out)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_accelerate_reads_the_configurations(path: Path) -> None:
    from accelerate.commands.config.config_args import ClusterConfig

    config = ClusterConfig.from_yaml_file(str(path))
    assert config.num_processes == yaml.safe_load(path.read_text())["num_processes"]
    assert config.mixed_precision == "bf16"
