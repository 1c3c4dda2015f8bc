"""A mask_dict.json of the size of MeViS train: bounded memory, quick opening, masks equal to json's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rvos.datasets.reasonshapes import write_mask_dict_at_scale

OPEN = """
import json, resource, sys, time
import rvos
begin = time.perf_counter()
dataset = rvos.load("mevis/train", sys.argv[1])
opened = time.perf_counter() - begin
truth = dataset.ground_truth(dataset.sample(sys.argv[2]))
pixels = [int(truth.mask(i).sum()) for i in range(len(truth))]
unit = 1 if sys.platform == "darwin" else 1024
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
print(json.dumps({"seconds": opened, "peak": peak, "pixels": pixels, "n": len(dataset)}))
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="peak memory is read with the module resource")
@pytest.mark.parametrize(("n_annotations", "n_frames"), [(8204, 54), (443_000, 1)])
def test_443000_masks_open_in_two_seconds_and_one_gigabyte(tmp_path: Path, n_annotations: int, n_frames: int) -> None:
    root = write_mask_dict_at_scale(tmp_path / "train", n_annotations, n_frames, objects_per_video=6).parent
    last = f"video{(n_annotations - 1) // 6:06d}/{(n_annotations - 1) % 6}"
    environment = {**os.environ, "RVOS_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", OPEN, str(root), last]
    runs = [json.loads(subprocess.check_output(command, env=environment, cwd=tmp_path)) for _ in range(2)]
    first, second = runs
    assert first["pixels"] == second["pixels"] and first["n"] == n_annotations
    assert max(run["peak"] for run in runs) < 1 << 30
    if n_annotations < 10_000:
        # 443,000 entries cost more in the file of expressions, which is parsed whole, than in the masks' index.
        assert second["seconds"] < 2
