"""``rvos evaluate`` on a mask_dict.json of the size of MeViS train: 443,000 masks. About 40 s."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rvos.datasets.reasonshapes import write_mask_dict_at_scale

N_ANNOTATIONS, N_FRAMES = 8204, 54

#: The command as a user runs it, with a clock around the opening of the dataset.
EVALUATE = """
import json, resource, sys, time
from rvos.cli import main
from rvos.datasets import registry

seconds = []

def timed_load(*args, load=registry.load, **options):
    begin = time.perf_counter()
    dataset = load(*args, **options)
    seconds.append(time.perf_counter() - begin)
    return dataset

registry.load = timed_load
try:
    main(sys.argv[2:])
except SystemExit as stop:
    code = stop.code
who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
unit = 1 if sys.platform == "darwin" else 1024
peak = max(resource.getrusage(w).ru_maxrss * unit for w in who)
json.dump({"code": code, "opened": max(seconds), "peak": peak}, open(sys.argv[1], "w"))
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="peak memory is read with the module resource")
def test_443000_masks_are_opened_and_scored_in_bounded_time_and_memory(tmp_path: Path) -> None:
    assert N_ANNOTATIONS * N_FRAMES >= 443_000
    root = write_mask_dict_at_scale(tmp_path / "mevis" / "train", N_ANNOTATIONS, N_FRAMES).parent
    predictions = tmp_path / "predictions"
    (predictions / "video000000").mkdir(parents=True)
    environment = {**os.environ, "RVOS_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    call = ["evaluate", "mevis/train", "--root", str(root), "--predictions", str(predictions), "--limit", "2"]
    measured = []
    for attempt in ("indexing", "indexed"):
        command = [sys.executable, "-c", EVALUATE, str(tmp_path / "measured.json"), *call]
        done = subprocess.run(
            [*command, "--out", str(tmp_path / attempt)], env=environment, cwd=tmp_path, capture_output=True, text=True
        )
        assert "first 2 of 1368 videos" in done.stdout and "Traceback" not in done.stderr, done.stderr
        measured.append(json.loads((tmp_path / "measured.json").read_text()))
        figures = measured[-1]
        print(f"{attempt}: opened in {figures['opened']:.2f} s, peak {figures['peak'] / 1e6:.0f} MB")
    assert all(m["code"] == 1 and m["peak"] < 1 << 30 for m in measured)
    assert measured[1]["opened"] < 2
