"""What this process may use of the machine: cores and memory after affinity and cgroup limits; a description."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

GIB = 1024**3
#: What one scoring worker is given: the interpreter with numpy, numba and a few 1080p frames measure 200-350 MB.
WORKER_BYTES = 400 * 1024**2


def usable_cores() -> int:
    """Cores this process may use: its CPU affinity, cut down to the cgroup's quota, at least 1."""
    if sys.version_info >= (3, 13):
        count = os.process_cpu_count() or 1
    elif hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    quota = cgroup_cores()
    return count if quota is None else max(1, min(count, int(quota + 0.5)))


def usable_memory() -> int | None:
    """Bytes this process and its workers may still take; None where the system does not say."""
    limits = [free for free in (_system_available(), cgroup_memory_left()) if free is not None]
    return min(limits) if limits else None


def worker_count(asked: int | None, n_tasks: int) -> int:
    """Worker processes for ``n_tasks``: as asked, else one per usable core that memory allows; at least 1."""
    if asked is not None:
        return max(1, min(asked, n_tasks))
    memory = usable_memory()
    affordable = usable_cores() if memory is None else min(usable_cores(), memory // WORKER_BYTES)
    return max(1, min(affordable, n_tasks))


def cgroup_cores(proc: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")) -> float | None:
    """The tightest CPU quota over this process's cgroup and its parents, in cores (v2, then v1); None without one."""
    quotas = []
    for folder in _cgroup_folders(proc, mount, "cpu"):
        words = _read(folder / "cpu.max").split()
        if len(words) == 2 and words[0] != "max":
            quotas.append(int(words[0]) / int(words[1]))
        quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if quota and period and int(quota) > 0:
            quotas.append(int(quota) / int(period))
    return min(quotas) if quotas else None


def cgroup_memory_left(proc: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes left under the tightest memory limit of this process's cgroups; None without a limit.

    Page cache of files counts as used by the kernel and is given back on demand, so it is added to what is left.
    """
    left = []
    for folder in _cgroup_folders(proc, mount, "memory"):
        for limit_file, used_file in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            limit, used = _read(folder / limit_file), _read(folder / used_file)
            # v1 writes "no limit" as a huge number
            if limit.isdigit() and used.isdigit() and int(limit) < 1 << 60:
                left.append(max(0, int(limit) - int(used) + _file_cache(folder)))
    return min(left) if left else None


def describe() -> dict[str, Any]:
    """The machine in a few facts for a run's record: system, processor, cores, memory in GiB, accelerator."""
    total = _meminfo("MemTotal")
    facts: dict[str, Any] = {
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": usable_cores(),
        "memory_gib": None if total is None else round(total / GIB, 1),
    }
    torch = sys.modules.get("torch")  # named only where the caller's model has loaded it
    if torch is not None and torch.cuda.is_available():
        facts["accelerator"] = torch.cuda.get_device_name(0)
    return facts


def gpu_names() -> list[str]:
    """Names, for ``CUDA_VISIBLE_DEVICES``, of the GPUs that this process may use; found without loading torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for part in visible.split(",") if (name := part.strip()) and name != "-1"]
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return []
    n_cards = sum(line.startswith("GPU ") for line in done.stdout.splitlines())
    return [str(number) for number in range(n_cards)] if done.returncode == 0 else []


def _cgroup_folders(proc: Path, mount: Path, controller: str) -> list[Path]:
    """The folders of this process's cgroup and all its parents that are visible here, v2 and v1."""
    folders: list[Path] = []
    for line in _read(proc).splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            base = mount
        elif controller in controllers.split(","):
            base = mount / controllers if (mount / controllers).is_dir() else mount / controller
        else:
            continue
        folder = base / group.lstrip("/")
        folders += [f for f in (folder, *folder.parents) if f == base or base in f.parents]
    return folders


def _file_cache(folder: Path) -> int:
    for line in _read(folder / "memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name in ("file", "total_cache"):
            return int(value)
    return 0


def _system_available() -> int | None:
    return _meminfo("MemAvailable")


def _meminfo(field: str) -> int | None:
    for line in _read(Path("/proc/meminfo")).splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return None


def _processor() -> str:
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _read(path: Path) -> str:
    """The file's text; empty where this system has no such file or hides it."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
