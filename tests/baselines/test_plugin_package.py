"""The documented package with an entry point, built, installed with pip and used by its name. About 10 s."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from rvos.benchmarks.runs import Run
from rvos.datasets.registry import load

PAGE = (Path(__file__).parents[2] / "docs" / "evaluate-your-model.md").read_text(encoding="utf-8")
BUILD = '\n[build-system]\nrequires = ["setuptools>=61"]\nbuild-backend = "setuptools.build_meta"\n'


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.S)


@pytest.mark.skipif(
    not (find_spec("pip") and find_spec("setuptools")), reason="needs pip and setuptools to build a package"
)
def test_an_installed_package_gives_its_model_a_name(tmp_path: Path) -> None:
    project, site = tmp_path / "project", tmp_path / "site"
    project.mkdir()
    (project / "pyproject.toml").write_text(blocks("toml")[0] + BUILD)
    model = next(block for block in blocks("python") if "class Brightest" in block)
    (project / "brightest_model.py").write_text(model.split("\n\nrun = ")[0].replace("import rvos\n", "") + "\n")
    install = ("pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(site))
    done = subprocess.run([sys.executable, "-m", *install, str(project)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr

    data = load("reasonshapes/test", n_videos=1, height=32, width=48, n_frames=12)
    words = ("predict", "brightest", "reasonshapes/test", "--root", str(data.root), "--out", "run")
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-m", "rvos", *words], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    run = Run.open(tmp_path / "run")
    assert run.record.predictor is not None and run.record.predictor.name == "brightest"
    assert {line.status for line in run.predictions()} == {"ok"}
