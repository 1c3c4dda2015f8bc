"""The package as a whole: imports, their direction, the names they shadow, and what a wheel holds."""

from __future__ import annotations

import ast
import importlib
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("datasets", "benchmarks", "baselines", "videolisa", "leaderboard")
MAY_IMPORT = {
    "datasets": set(),
    "benchmarks": {"datasets"},
    "videolisa": {"datasets", "benchmarks"},
    "baselines": {"datasets", "benchmarks", "videolisa"},
    "leaderboard": {"datasets", "benchmarks"},
}
HEAVY = ("torch", "transformers", "pandas", "matplotlib", "numba", "scipy", "datasets", "huggingface_hub")


def python(code: str, *, cwd: Path, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, env={**os.environ, **env}, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def sources() -> list[Path]:
    return [p for folder in ("rvos", *FOLDERS) for p in sorted((ROOT / folder).rglob("*.py"))]


def imported_rooms(path: Path) -> set[str]:
    """The top-level folders that a file of the package reaches by relative imports."""
    package = path.relative_to(ROOT).parent.parts  # ("datasets", "annotation", …)
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            absolute = ("rvos", *package)[: len(package) + 2 - node.level]
            target = (*absolute, *(node.module or "").split(".")) if node.module else absolute
            names = [target] if len(target) > 1 else [(*target, alias.name) for alias in node.names]
            rooms |= {name[1] for name in names if name[1] in FOLDERS}
    return rooms


@pytest.mark.parametrize("room", FOLDERS)
def test_imports_point_one_way(room: str) -> None:
    for path in sorted((ROOT / room).rglob("*.py")):
        if "annotation" in path.relative_to(ROOT).parts:
            continue  # an application: it may import all
        extra = imported_rooms(path) - {room} - MAY_IMPORT[room]
        assert not extra, f"{path.relative_to(ROOT)} must not import {sorted(extra)}"


def test_package_code_imports_itself_relatively() -> None:
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            assert not [n for n in names if n.split(".")[0] == "rvos"], f"{path}: use a relative import"


def test_import_is_light(tmp_path: Path) -> None:
    loaded = python(
        "import sys, rvos, rvos.cli, rvos.datasets.types, rvos.datasets.registry;"
        f"print([m for m in {HEAVY!r} if m in sys.modules])",
        cwd=tmp_path,
    )
    assert loaded == "[]"


def test_every_public_name_exists(tmp_path: Path) -> None:
    missing = python(
        "import rvos; print([n for n in rvos.__all__ if getattr(rvos, n, None) is None])",
        cwd=tmp_path,
    )
    assert missing == "[]"


def test_every_module_imports() -> None:
    pytest.importorskip("torch", reason="the model modules need torch (pip install 'rvos[models]')")
    pytest.importorskip("transformers", reason="the model modules need transformers (pip install 'rvos[models]')")
    modules = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in sources() if p.stem != "__main__"]
    names = [m if m.startswith("rvos") else f"rvos.{m}" for m in (m.removesuffix(".__init__") for m in modules)]
    for name in names:
        importlib.import_module(name)


@pytest.mark.parametrize(
    "code", ["import datasets", "import rvos.datasets, datasets", "import datasets, rvos.datasets"]
)
def test_hugging_face_datasets_is_not_shadowed(code: str) -> None:
    pytest.importorskip("datasets.arrow_dataset", reason="Hugging Face datasets is not installed")
    where = python(f"{code}; import sys; print(datasets.load_dataset.__module__, datasets.__file__)", cwd=ROOT)
    assert where.startswith("datasets.load") and str(ROOT / "datasets") not in where


def test_absent_hugging_face_datasets_says_what_to_install(tmp_path: Path) -> None:
    # -S hides site-packages, so that only the repository's own folder of that name can be found.
    done = subprocess.run(
        [sys.executable, "-S", "-c", "import datasets"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1 and "pip install 'rvos[hub]'" in done.stderr


def tracked_files() -> set[str]:
    """Files that belong into a wheel: what git tracks, or, in a tree without git, what lies there."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        names = [n for n in listed.split("\0") if n and (ROOT / n).exists()]
    else:
        names = [
            p.relative_to(ROOT).as_posix() for p in ROOT.rglob("*") if p.is_file() and "__pycache__" not in p.parts
        ]
    return {n if n.startswith("rvos/") else f"rvos/{n}" for n in names if n.split("/")[0] in ("rvos", *FOLDERS)}


def test_wheel_holds_every_file_and_works_from_an_archive(tmp_path: Path) -> None:
    """The wheel is built from the source distribution, so both hold everything."""
    pytest.importorskip("build", reason="the build front end is not installed")
    if find_spec("setuptools") is None:
        pytest.skip("setuptools is not installed, and a test must not download it")
    tree = tmp_path / "tree"  # as from a ZIP of the repository: no git, no symlinks
    for name in tracked_files():
        source = ROOT / (name if (ROOT / name).exists() and name.startswith("rvos/") else name.removeprefix("rvos/"))
        target = tree / source.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree / name)
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(tree)],
        check=True,
        capture_output=True,
        timeout=300,
    )
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    held = {n for n in zipfile.ZipFile(wheel).namelist() if n.startswith("rvos/")}
    assert held == tracked_files()
    shutil.unpack_archive(wheel, tmp_path / "site", "zip")
    shutil.rmtree(tree)
    where = python(
        "import rvos.datasets, rvos.cli; print(rvos.datasets.__file__)", cwd=tmp_path, PYTHONPATH=str(tmp_path / "site")
    )
    assert where.startswith(str(tmp_path / "site"))
