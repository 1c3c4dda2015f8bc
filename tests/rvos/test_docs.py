"""The documents hold: README's examples run as they stand, links lead somewhere, every command shows an example."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from rvos import load
from rvos.baselines.registry import make_predictor
from rvos.benchmarks.engine import predict
from rvos.benchmarks.predictions.run_masks import RunMasks
from rvos.benchmarks.predictions.writer import export_masks
from rvos.cli import COMMANDS, main
from rvos.datasets.reasonshapes.generate import generate
from rvos.datasets.reasonshapes.writers import write

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SMALL = {"height": 48, "width": 64, "n_frames": 6}
#: What a reader types meets splits of ReasonShapes with few videos.
FEW = "from rvos.datasets.reasonshapes import loader; loader.N_VIDEOS.update(test=12, valid=8)"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the README's reader has: data, predictions, two folders of masks."""
    here = tmp_path_factory.mktemp("reader")
    for layout, split in (("mevis", "valid_u"), ("ref-davis17", "valid")):
        write(layout, here / "data" / layout, generate("valid", 3, **SMALL), split=split)
        dataset = load(f"{layout}/{split}", root=here / "data" / layout)
        run = predict(make_predictor("shifted", dataset), dataset, out=here / "made" / layout, progress=False)
        export_masks(RunMasks(run.masks), dataset, here / "predictions" / layout)
    for name in ("truth", "mine"):
        (here / "masks").mkdir(exist_ok=True)
        (here / "masks" / name).symlink_to(here / "predictions" / "mevis", target_is_directory=True)
    return here


def python(code: str, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", f"{FEW}\n{code}", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


def blocks(language: str) -> list[str]:
    return [body for kind, body in BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8")) if kind == language]


def commands() -> list[str]:
    lines = [line for body in blocks("bash") for line in body.splitlines()]
    return [line for line in lines if line.startswith("rvos ")]


def test_readme_commands_run(place: Path) -> None:
    assert len(commands()) >= 8
    for line in commands():
        done = python("from rvos.cli import main; main()", *shlex.split(line, comments=True)[1:], cwd=place)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"


def test_readme_python_runs(place: Path) -> None:
    # In one process, as a reader who pastes one block after the other.
    done = python("\n".join(blocks("python")), cwd=place)
    assert done.returncode == 0, done.stderr
    assert "J&F" in done.stdout


def test_readme_names_the_make_targets() -> None:
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    words = re.findall(r"(?:^|`)make ([a-z-]+)", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert {"demo", "test"} <= set(words) <= set(targets)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_help_page_shows_an_example(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")

    def page(*words: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main([*words, "--help"])
        assert ended.value.code == 0, words
        return capsys.readouterr().out

    assert "Example: rvos " in page()
    for command in COMMANDS:
        text = page(command)
        assert "Example: rvos " in text, command
        listed = text.split("─ Commands ", 1)
        for sub in re.findall(r"^│ ([a-z]+)  ", listed[1], re.MULTILINE) if len(listed) == 2 else []:
            assert f"Example: rvos {command} {sub}" in page(command, sub), f"{command} {sub}"
