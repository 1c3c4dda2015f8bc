"""How fast the exact evaluator is: ratios against other tools, side by side in one run (``make bench``).

    python -m rvos.benchmarks.speed --write docs/benchmarks.md

Three workloads on 854x480 masks that the program draws itself, objects of 10 to 40 % of the frame, PNG files with the
row filters that Pillow's encoder mixes: metrics alone (masks in memory); PNG files to the score, every ground truth
its own; and the same with four expressions for each ground truth. One process, one OpenCV thread. Tools take turns
within each round and the median round counts. Time is the process's CPU time: with one process and one thread that is
the wall time of an idle machine, whatever else this one is doing. All values are compared: a tool that scores
differently is said to. ``--real`` adds masks of real videos. Two more tables show what a second worker process gains,
and the memory of a process that scores a short and a long 1080p video.

A row is one function: it prepares its input and returns a call that scores all pairs and gives mean J and mean F.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import io
import json
import math
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .machine import describe
from .metrics import boundary_radius, prepare, score, warm_up

HEIGHT, WIDTH = 480, 854
Mask = NDArray[np.uint8]
Video = list[tuple[Mask, list[Mask]]]
Means = tuple[float, float]
Job = Callable[[], Means]


@dataclass(frozen=True)
class Workload:
    """Mask pairs in memory and as files.

    Attributes:
        title: what is measured.
        videos: per video, per frame: the true mask and one prediction per expression, uint8 0/1.
        root: ``reasonvos/`` and ``predictions/`` in the layout of ReasonVOS, ``gt/`` and ``pred/`` as plain folders.
        from_files: whether reading PNG files is part of the work.
    """

    title: str
    videos: list[Video]
    root: Path
    from_files: bool

    @property
    def pairs(self) -> list[tuple[Mask, Mask]]:
        return [(gt, pred) for video in self.videos for gt, preds in video for pred in preds]


@dataclass(frozen=True)
class Row:
    """A tool's time on a workload, in milliseconds per pair, and its mean J and F."""

    workload: str
    tool: str
    milliseconds: float
    means: Means


# Tools: metrics alone -------------------------------------------------------------------------------------------------


def rvos_metrics(work: Workload) -> Job:
    pairs = work.pairs

    def job() -> Means:
        values = [score(prepare(gt), prepare(pred)) for gt, pred in pairs]
        return mean_of(values)

    return job


def plain_metrics(work: Workload) -> Job:
    """The definition in numpy and scipy, as one would write it down. Four pairs: it is slow."""
    pairs = work.pairs[:4]
    return lambda: mean_of([plain_scores(gt != 0, pred != 0) for gt, pred in pairs])


def vos_benchmark_metrics(work: Workload) -> Job:
    from vos_benchmark.evaluator import Evaluator

    pairs = work.pairs

    def job() -> Means:
        values = []
        for gt, pred in pairs:
            evaluator = Evaluator()
            evaluator.feed_frame(pred, gt)
            iou, boundary = evaluator.conclude()
            values.append((iou[1] / 100, boundary[1] / 100))
        return mean_of(values)

    return job


def trackeval_metrics(work: Workload) -> Job:
    """From RLE, the only form that TrackEval's metric takes."""
    from pycocotools import mask as coco
    from trackeval.metrics import JAndF

    metric = quietly(JAndF)
    encoded = [[coco.encode(np.asfortranarray(mask)) for mask in pair] for pair in work.pairs]

    def job() -> Means:
        data = {
            "num_timesteps": len(encoded),
            "num_tracker_ids": 1,
            "num_gt_ids": 1,
            "gt_dets": [[gt] for gt, _ in encoded],
            "tracker_dets": [[pred] for _, pred in encoded],
            "gt_ids": [np.array([0])] * len(encoded),
            "tracker_ids": [np.array([0])] * len(encoded),
        }
        result = quietly(metric.eval_sequence, data)
        return float(result["J-Mean"]), float(result["F-Mean"])

    return job


# Tools: from PNG files to the score -----------------------------------------------------------------------------------


def rvos_files(work: Workload) -> Job:
    return lambda: evaluated(work.root, workers=1)


def evaluated(root: Path, workers: int) -> Means:
    """Mean J and F by the public function, from files in the layout of ReasonVOS."""
    from ..datasets.reasonvos import ReasonVOS
    from .evaluator import evaluate
    from .results import Result

    dataset = ReasonVOS(root / "reasonvos")
    result = evaluate(root / "predictions", dataset, protocol="reasonvos@1", workers=workers)
    assert isinstance(result, Result) and result.J is not None and result.F is not None
    return result.J, result.F


def plain_files(work: Workload) -> Job:
    from PIL import Image

    files = [(work.root / "gt" / p.parent.name / p.name, p) for p in sorted((work.root / "pred").glob("*/*.png"))[:4]]

    def read(path: Path) -> NDArray[np.bool_]:
        with Image.open(path) as image:
            return np.array(image) != 0

    return lambda: mean_of([plain_scores(read(gt), read(pred)) for gt, pred in files])


def vos_benchmark_files(work: Workload) -> Job:
    from vos_benchmark.benchmark import VideoEvaluator

    evaluator = VideoEvaluator(str(work.root / "gt"), str(work.root / "pred"), skip_first_and_last=False)
    names = sorted(os.listdir(work.root / "gt"))

    def job() -> Means:
        results = [evaluator(name) for name in names]
        return mean_of([(iou[1] / 100, boundary[1] / 100) for _, iou, boundary in results])

    return job


def trackeval_files(work: Workload) -> Job:
    from trackeval.datasets import DAVIS
    from trackeval.metrics import JAndF

    names = sorted(os.listdir(work.root / "gt"))
    config = {
        "GT_FOLDER": str(work.root / "gt"),
        "TRACKERS_FOLDER": str(work.root),
        "TRACKERS_TO_EVAL": ["pred"],
        "TRACKER_SUB_FOLDER": "",
        "PRINT_CONFIG": False,
    }

    def job() -> Means:
        dataset, metric = quietly(DAVIS, config), quietly(JAndF)
        values = []
        for name in names:
            raw = quietly(dataset.get_raw_seq_data, "pred", name)
            result = quietly(metric.eval_sequence, quietly(dataset.get_preprocessed_seq_data, raw, "general"))
            values.append((float(result["J-Mean"]), float(result["F-Mean"])))
        return mean_of(values)

    return job


@dataclass(frozen=True)
class Tool:
    """What is measured, and the package it needs."""

    name: str
    package: str
    metrics: Callable[[Workload], Job]
    files: Callable[[Workload], Job]
    sample: int | None = None  # pairs that a slow tool is measured on; None for all


TOOLS = (
    Tool("rvos", "rvos", rvos_metrics, rvos_files),
    Tool("vos-benchmark", "vos_benchmark", vos_benchmark_metrics, vos_benchmark_files),
    Tool("trackeval", "trackeval", trackeval_metrics, trackeval_files),
    Tool("plain numpy and scipy", "scipy", plain_metrics, plain_files, sample=4),
)


# The plain implementation ---------------------------------------------------------------------------------------------


def plain_scores(gt: NDArray[np.bool_], pred: NDArray[np.bool_]) -> tuple[float, float]:
    """(J, F) by the definition, without any thought of speed."""
    from scipy.ndimage import binary_dilation

    union = int((gt | pred).sum())
    j = int((gt & pred).sum()) / union if union else 1.0
    radius = boundary_radius(*gt.shape)
    dy, dx = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = dy**2 + dx**2 <= radius**2
    of_gt, of_pred = plain_boundary(gt), plain_boundary(pred)
    if not of_gt.any() or not of_pred.any():
        return j, float(of_gt.any() == of_pred.any())
    precision = float((of_pred & binary_dilation(of_gt, disk)).sum() / of_pred.sum())
    recall = float((of_gt & binary_dilation(of_pred, disk)).sum() / of_gt.sum())
    return j, 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def plain_boundary(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    return (mask != padded[:-1, 1:]) | (mask != padded[1:, :-1]) | (mask != padded[1:, 1:])


# Masks ----------------------------------------------------------------------------------------------------------------


def draw_videos(n_videos: int, n_frames: int, n_expressions: int, seed: int) -> list[Video]:
    """Videos of a wavy object with a hole that moves, and predictions with wrong outlines and specks."""
    rng = np.random.default_rng(seed)
    videos = []
    for _ in range(n_videos):
        share = rng.uniform(0.1, 0.4)
        waves = rng.normal(0, 0.08, 6), rng.uniform(0, 2 * math.pi, 6)
        place, speed = rng.uniform(0.4, 0.6, 2), rng.uniform(-0.002, 0.002, 2)
        frames = []
        for t in range(n_frames):
            y, x = (place + t * speed) * (HEIGHT, WIDTH)
            gt = blob(y, x, share, *waves)
            frames.append((gt, [predicted(gt, y, x, share, waves, rng) for _ in range(n_expressions)]))
        videos.append(frames)
    return videos


def blob(y: float, x: float, share: float, sizes: NDArray[np.float64], phases: NDArray[np.float64]) -> Mask:
    """A star-shaped object that covers about ``share`` of the frame, uint8 0/1."""
    dy, dx = np.ogrid[:HEIGHT, :WIDTH]
    angle = np.arctan2(dy - y, (dx - x) / 1.4)
    radius = math.sqrt(share * HEIGHT * WIDTH / 1.4 / math.pi)
    outline = radius * (
        1 + sum(s * np.sin((k + 2) * angle + p) for k, (s, p) in enumerate(zip(sizes, phases, strict=True)))
    )
    distance = np.hypot(dy - y, (dx - x) / 1.4)
    return ((distance < outline) & (distance > radius * 0.12)).astype(np.uint8)


def predicted(
    gt: Mask,
    y: float,
    x: float,
    share: float,
    waves: tuple[NDArray[np.float64], NDArray[np.float64]],
    rng: np.random.Generator,
) -> Mask:
    sizes, phases = waves
    mask = blob(y + rng.normal(0, 4), x + rng.normal(0, 4), share, sizes + rng.normal(0, 0.01, 6), phases)
    for _ in range(rng.integers(1, 5)):
        top, left = rng.integers(0, HEIGHT - 40), rng.integers(0, WIDTH - 60)
        mask[top : top + rng.integers(5, 40), left : left + rng.integers(5, 60)] ^= 1
    return mask


def real_videos(root: Path) -> list[Video]:
    """The annotated frames of every sentence in a ReasonVOS folder, with the first prediction set beside them.

    Args:
        root: ReasonVOS's folder with ``predictions/<name>``; the set ``osvos`` comes first where it is there.
    """
    from ..datasets.reasonvos import ReasonVOS
    from .predictions.folders import PngPredictions

    dataset = ReasonVOS(root)
    sets = sorted((root / "predictions").iterdir(), key=lambda folder: (folder.name != "osvos", folder.name))
    predictions = PngPredictions.open(sets[0], dataset)
    videos: list[Video] = []
    for sample in dataset.samples:
        truth = dataset.ground_truth(sample)
        if truth is None or predictions.frame_names(sample) is None:
            continue
        frames = [(truth.mask(i), name) for i, name in enumerate(truth.frame_names)]
        known = [(gt, predictions.mask(sample, name, "strict")) for gt, name in frames if gt is not None]
        videos.append([(gt.astype(np.uint8), [pred.astype(np.uint8)]) for gt, pred in known])
    return videos


def write_workload(title: str, videos: list[Video], root: Path) -> Workload:
    """The pairs as files: ReasonVOS's layout for rvos, one folder per expression for the others (links to one file)."""
    from PIL import Image

    meta: dict[str, object] = {}
    for v, video in enumerate(videos):
        name = f"video{v:02d}"
        folder = root / "reasonvos" / "Annotations" / f"drawn_{name}_1"
        folder.mkdir(parents=True)
        count = len(video[0][1])
        for e in range(count):
            (root / "gt" / f"{name}_{e}").mkdir(parents=True)
            (root / "predictions" / folder.name / str(e)).mkdir(parents=True)
        for t, (gt, preds) in enumerate(video):
            file = f"{t:05d}.png"
            Image.fromarray(gt).save(folder / file)
            for e, pred in enumerate(preds):
                Image.fromarray(pred).save(root / "predictions" / folder.name / str(e) / file)
                os.symlink(folder / file, root / "gt" / f"{name}_{e}" / file)
        (root / "pred").mkdir(exist_ok=True)
        for e in range(count):
            os.symlink(root / "predictions" / folder.name / str(e), root / "pred" / f"{name}_{e}")
        expressions = [
            {"obj_id": 1, "exp_id": e, "exp_text": "the drawn object", "is_sent": True} for e in range(count)
        ]
        meta[name] = {"source": "drawn", "frames": [f"{t:05d}" for t in range(len(video))], "expressions": expressions}
    (root / "reasonvos" / "meta_expressions.json").write_text(json.dumps({"videos": meta}))
    return Workload(title, videos, root, from_files=True)


def repeated(work: Workload, times: int, n_frames: int, root: Path) -> Path:
    """The first sentence of every video again and again: as ``times`` videos of ``n_frames``, by links to its files."""
    meta: dict[str, object] = {}
    names = [f"{t:05d}" for t in range(n_frames)]
    masks = sorted((work.root / "reasonvos" / "Annotations").iterdir())
    for v, folder in enumerate(masks * times):
        gt = root / "reasonvos" / "Annotations" / f"drawn_again{v:03d}_1"
        pred = root / "predictions" / gt.name / "0"
        gt.mkdir(parents=True)
        pred.mkdir(parents=True)
        files = sorted(path.name for path in folder.iterdir())
        for t, name in enumerate(names):
            os.link(folder / files[t % len(files)], gt / f"{name}.png")
            os.link(work.root / "predictions" / folder.name / "0" / files[t % len(files)], pred / f"{name}.png")
        expressions = [{"obj_id": 1, "exp_id": 0, "exp_text": "the drawn object", "is_sent": True}]
        meta[f"again{v:03d}"] = {"source": "drawn", "frames": names, "expressions": expressions}
    (root / "reasonvos" / "meta_expressions.json").write_text(json.dumps({"videos": meta}))
    return root


def enlarged(video: Video, height: int, width: int) -> Video:
    """The video at another size, pixels repeated."""
    rows, columns = np.arange(height) * HEIGHT // height, np.arange(width) * WIDTH // width
    return [(gt[rows][:, columns], [pred[rows][:, columns] for pred in preds]) for gt, preds in video]


# Measuring ------------------------------------------------------------------------------------------------------------


def workloads(folder: Path, n_frames: int, real: Path | None = None) -> list[Workload]:
    own = write_workload(
        "PNG files to the score, every ground truth its own", draw_videos(4, n_frames, 1, 1), folder / "own"
    )
    shared = draw_videos(4, max(1, n_frames // 4), 4, 2)
    found = [
        Workload("metrics alone, masks in memory", own.videos, own.root, from_files=False),
        own,
        write_workload("PNG files to the score, four expressions for each ground truth", shared, folder / "shared"),
    ]
    if real is not None:
        found.append(write_workload("PNG files to the score, real videos", real_videos(real), folder / "real"))
    return found


def measure(work: Workload, tools: Sequence[Tool], rounds: int) -> list[Row]:
    """The median over rounds in which the tools take turns, after one that does not count."""
    jobs = [(tool, (tool.files if work.from_files else tool.metrics)(work)) for tool in tools]
    seconds: dict[str, list[float]] = {tool.name: [] for tool in tools}
    means = {tool.name: job() for tool, job in jobs}
    for _ in range(rounds):
        for tool, job in jobs:
            start = time.process_time()
            job()
            seconds[tool.name].append(time.process_time() - start)
    n = len(work.pairs)
    return [
        Row(
            work.title,
            tool.name,
            1000 * statistics.median(seconds[tool.name]) / min(n, tool.sample or n),
            means[tool.name],
        )
        for tool in tools
    ]


@dataclass(frozen=True)
class WorkersRow:
    """What ``evaluate`` took with so many worker processes, in seconds.

    Attributes:
        workers: 1 is the calling process itself.
        wall: on the clock.
        own, children: processor time of the calling process and of its workers.
        means: J and F.
    """

    workers: int
    wall: float
    own: float
    children: float
    means: Means

    @property
    def idle(self) -> float:
        """What the clock would show where every process has a core to itself and the workers share evenly."""
        return self.own + self.children / self.workers


def measure_workers(root: Path, rounds: int) -> list[WorkersRow]:
    """One worker against two, the median of rounds in which they take turns."""
    found: dict[int, list[WorkersRow]] = {1: [], 2: []}
    for _ in range(rounds):
        for workers, rows in found.items():
            before = os.times()
            means = evaluated(root, workers)
            after = os.times()
            own, children = sum(after[:2]) - sum(before[:2]), sum(after[2:4]) - sum(before[2:4])  # user and system
            rows.append(WorkersRow(workers, after.elapsed - before.elapsed, own, children, means))
    return [sorted(rows, key=lambda row: row.wall)[len(rows) // 2] for rows in found.values()]


def peak_memory(root: Path) -> float:
    """The most memory, in MiB, that a fresh process with one worker takes to score everything below ``root``."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
        return fresh.submit(_own_peak, root).result()


def _own_peak(root: Path) -> float:
    import resource

    evaluated(root, workers=1)
    status = Path("/proc/self/status")
    if status.exists():  # Linux's ru_maxrss also counts what the parent held when it started this process
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2  # macOS counts bytes


def measure_memory(folder: Path, lengths: Sequence[int]) -> dict[int, float]:
    """Peak memory in MiB by the number of frames of a 1080p video."""
    drawn = enlarged(draw_videos(1, 10, 1, 3)[0], 1080, 1920)
    work = write_workload("1080p", [drawn], folder / "1080p")
    return {n: peak_memory(repeated(work, 1, n, folder / f"{n} frames")) for n in lengths}


def installed(tool: Tool) -> bool:
    return importlib.util.find_spec(tool.package) is not None


def one_thread() -> None:
    """OpenCV with one thread, which other tools use for dilation; rvos does not need it."""
    if importlib.util.find_spec("cv2") is not None:
        import cv2

        cv2.setNumThreads(1)


def mean_of(values: Sequence[tuple[float, float]]) -> Means:
    return statistics.fmean(j for j, _ in values), statistics.fmean(f for _, f in values)


def quietly(function: Callable[..., Any], *args: object) -> Any:
    """Call a function without what it prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        return function(*args)


# Reporting ------------------------------------------------------------------------------------------------------------


def table(rows: Sequence[Row]) -> list[str]:
    """Markdown lines: per workload milliseconds per pair, and how many times faster rvos is."""
    lines = ["| workload | tool | ms per pair | rvos is faster by | J | F |", "|---|---|---:|---:|---:|---:|"]
    ours = {row.workload: row for row in rows if row.tool == "rvos"}
    for row in rows:
        ratio = row.milliseconds / ours[row.workload].milliseconds
        factor = "" if row.tool == "rvos" else f"{ratio:.1f}x"
        j, f = row.means
        lines.append(
            f"| {row.workload} | {row.tool} | {row.milliseconds:.3f} | {factor} | {100 * j:.4f} | {100 * f:.4f} |"
        )
    return lines


def workers_table(rows: Sequence[WorkersRow]) -> list[str]:
    """Markdown lines: what a second worker gains."""
    one = rows[0]
    same = "the same scores" if all(row.means == one.means for row in rows) else "OTHER SCORES"
    lines = [
        f"| {r.workers} | {r.wall:.2f} | {one.wall / r.wall:.2f}x | {r.own:.2f} + {r.children:.2f} | "
        f"{one.idle / r.idle:.2f}x | {same} |"
        for r in rows
    ]
    head = "| workers | seconds | faster by | CPU seconds, caller + workers | faster by CPU time | |"
    return [head, "|---:|---:|---:|---:|---:|---|", *lines]


def memory_table(peaks: Mapping[int, float]) -> list[str]:
    """Markdown lines: memory by the length of a video."""
    lines = [f"| {n:,} | {peak:.0f} MiB |" for n, peak in peaks.items()]
    return ["| frames of 1920x1080 | peak memory of the process |", "|---:|---:|", *lines]


def disagreements(rows: Sequence[Row]) -> list[str]:
    """Tools that were measured on all pairs and do not give rvos's numbers."""
    ours = {row.workload: row for row in rows if row.tool == "rvos"}
    complete = {tool.name for tool in TOOLS if tool.sample is None}
    found = []
    for row in rows:
        expected = ours[row.workload].means
        if row.tool in complete and max(abs(a - b) for a, b in zip(row.means, expected, strict=True)) > 1e-9:
            found.append(f"{row.tool} gives other values on: {row.workload}.")
    return found


def report(
    rows: Sequence[Row],
    absent: Sequence[str],
    n_pairs: int,
    rounds: int,
    workers: Sequence[WorkersRow],
    peaks: Mapping[int, float],
) -> str:
    machine = describe()
    facts = ", ".join(f"{key} {value}" for key, value in machine.items() if value is not None)
    packages = (
        "numpy",
        "numba",
        "isal",
        "vos-benchmark",
        "trackeval",
        "opencv-python-headless",
        "opencv-python",
        "pillow",
    )
    versions = ", ".join(f"{name} {version}" for name in packages if (version := version_of(name)))
    lines = [
        "# Speed of the exact evaluator",
        "",
        f"Written by `make bench`. Machine: {facts}. Packages: {versions}.",
        "",
        f"854x480 masks, objects of 10 to 40 % of the frame, mixed PNG row filters, {n_pairs} pairs a workload, one",
        f"process, one OpenCV thread, CPU time, median of {rounds} rounds in which the tools take turns. The PNG rows",
        "of rvos are the public `rvos.evaluate` with all its checks. J and F are means in percent; the plain",
        "implementation is measured on four pairs, so its means differ.",
        "",
        *table(rows),
        "",
        *(f"- {line}" for line in [*disagreements(rows), *absent]),
        "",
        "## Workers",
        "",
        "From PNG files to the score, every ground truth its own. Seconds are those of the clock, which wants an idle",
        f"machine (load average when this was written: {load()}); CPU time tells what the clock would show on one, had",
        "every process a core to itself.",
        "",
        *workers_table(workers),
        "",
        "## Memory",
        "",
        "A fresh process with everything it imports, one 1080p video with a sentence.",
        "",
        *memory_table(peaks),
    ]
    return "\n".join(lines).rstrip() + "\n"


def load() -> str:
    """The load average of the last minute, "unknown" where the system has none."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m rvos.benchmarks.speed", description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=24, help="frames in each of the four videos (default 24)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of which the median counts (default 3)")
    parser.add_argument("--real", type=Path, help="a ReasonVOS folder with predictions/<name> to measure on as well")
    parser.add_argument("--longest", type=int, default=2000, help="frames of the long 1080p video (default 2000)")
    parser.add_argument("--shared", type=int, default=100, help="frames of the videos that workers share (default 100)")
    parser.add_argument("--write", type=Path, help="also write the report to this Markdown file")
    options = parser.parse_args(arguments)

    warm_up()
    one_thread()
    tools = [tool for tool in TOOLS if installed(tool)]
    absent = [
        f"{tool.name} is not installed and was left out: pip install {tool.name} opencv-python-headless"
        for tool in TOOLS
        if not installed(tool)
    ]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        found = workloads(Path(folder), options.frames, options.real)
        for work in found:
            rows += measure(work, tools, options.rounds)
        workers = measure_workers(repeated(found[1], 30, options.shared, Path(folder) / "workers"), options.rounds)
        peaks = measure_memory(Path(folder), sorted({min(100, options.longest), options.longest}))
    text = report(rows, absent, 4 * options.frames, options.rounds, workers, peaks)
    print(text, end="")
    if options.write is not None:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
