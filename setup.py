"""Map the repository's top-level folders to sub-packages of the one import name ``rvos``.

The folders are searched at build time: a static list would keep working in an editable install
and silently lose every new sub-folder from the wheel.
"""

from pathlib import Path

from setuptools import find_packages, setup

FOLDERS = ["datasets", "benchmarks", "baselines", "videolisa", "leaderboard"]
CODE = {".py", ".pyc"}

packages = ["rvos", *(f"rvos.{p}" for p in find_packages("rvos"))]
package_dir = {"rvos": "rvos"}
for folder in FOLDERS:
    package_dir[f"rvos.{folder}"] = folder
    packages += [f"rvos.{folder}", *(f"rvos.{folder}.{p}" for p in find_packages(folder))]


def data_files(package: str) -> list[str]:
    """Every non-code file of a package's own folder and of its data folders (folders without __init__)."""
    parts = package.split(".")
    root = Path(*parts[1:]) if len(parts) > 1 else Path("rvos")
    if len(parts) > 1 and parts[1] not in FOLDERS:
        root = Path(*parts)
    found = []
    for path in root.rglob("*"):
        if path.is_file() and path.suffix not in CODE and "__pycache__" not in path.parts:
            owner = path.parent
            while owner != root and not (owner / "__init__.py").exists():
                owner = owner.parent
            if owner == root:
                found.append(path.relative_to(root).as_posix())
    return found


setup(packages=packages, package_dir=package_dir, package_data={p: data_files(p) for p in packages})
