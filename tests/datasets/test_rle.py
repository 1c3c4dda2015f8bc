"""RLE: the decoder against pycocotools and against hostile counts; the index of a mask_dict.json against json."""

from __future__ import annotations

import io
import json
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from rvos.datasets import rle_index
from rvos.datasets.errors import DatasetError
from rvos.datasets.masks import decode_rle, encode_rle
from rvos.datasets.rle_index import build_index, open_rle_file


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32), st.floats(0, 1))
def test_decode_undoes_encode(height: int, width: int, seed: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    rle = encode_rle(mask)
    assert np.array_equal(decode_rle(rle), mask)
    assert np.array_equal(decode_rle({**rle, "counts": rle["counts"].encode()}), mask)
    lengths = np.diff(np.flatnonzero(np.diff(mask.T.ravel().astype(int), prepend=0, append=2) != 0), prepend=0)
    assert np.array_equal(decode_rle({**rle, "counts": lengths.tolist()}), mask)


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=30))
def test_any_string_gives_a_mask_or_an_error(counts: str) -> None:
    """Never a crash, and where there is a mask, it is pycocotools'."""
    try:
        mask = decode_rle({"size": [6, 7], "counts": counts})
    except DatasetError:
        return
    assert np.array_equal(mask, coco.decode({"size": [6, 7], "counts": counts.encode()}))


@pytest.mark.parametrize(
    "rle",
    [
        {"size": [4, 4], "counts": ""},
        {"size": [4, 4], "counts": "oooooooooooo0"},
        {"size": [4, 4], "counts": "PPPPPPPPPPPPP0"},
        {"size": [4, 4], "counts": "P"},
        {"size": [4, 4], "counts": "äö"},
        {"size": [4, 4], "counts": [20, -4]},
        {"size": [4, 4], "counts": [15]},
        {"size": [4, 4], "counts": [16.0]},
        {"size": [4, 4], "counts": [2**62, 2**62, 2**62, 2**62, 16]},
        {"size": [4, 4], "counts": [10**30]},
        {"size": [4, 4], "counts": None},
        {"size": [4], "counts": [4]},
        {"size": [0, 4], "counts": [0]},
        {"size": [-4, -4], "counts": [16]},
        {"size": [10**6, 10**6], "counts": [10**12]},
        {"size": ["4", 4], "counts": [16]},
        {"counts": [16]},
        [16],
    ],
)
def test_hostile_rles_are_refused(rle: object) -> None:
    with pytest.raises(DatasetError, match="here: not a COCO RLE"):
        decode_rle(rle, place="here")  # type: ignore[arg-type]


# The index ------------------------------------------------------------------------------------------------------------


def tracks(n: int, n_frames: int, seed: int = 0) -> dict[str, list]:
    """Noisy masks, whose RLE strings hold brackets and backslashes; some frames are null."""
    rng = np.random.default_rng(seed)
    noise = [encode_rle(rng.random((13, 17)) < 0.4) for _ in range(20)]
    noise.append({"size": [13, 17], "counts": "]}\\[{\\\\"})
    return {
        str(k): [None if rng.random() < 0.3 else noise[rng.integers(21)] for _ in range(n_frames)] for k in range(n)
    }


@pytest.mark.parametrize("chunk", [1, 2, 7, 64, 1 << 20])
def test_the_index_finds_what_json_finds(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {
        **tracks(3, 4),
        'key with "quotes" \\ and [': [None],
        "empty": [],
        "other": "not a list",
        "all null": [None] * 3,
    }
    monkeypatch.setattr(rle_index, "_CHUNK", chunk)
    for text in (json.dumps(content), json.dumps(content, indent=1), json.dumps(content, separators=(",", ":"))):
        ids, columns = build_index(io.BytesIO(text.encode()), Path("x.json"))
        lists = {key: value for key, value in content.items() if isinstance(value, list)}
        assert ids == list(lists)
        for row, value in zip(columns.tolist(), lists.values(), strict=True):
            assert json.loads(text.encode()[row[0] : row[1]]) == value
            assert row[2] == len(value)
            assert tuple(row[3:]) == ((13, 17) if any(value) else (-1, -1))


def test_masks_are_read_on_demand_and_the_index_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RVOS_CACHE", str(tmp_path / "cache"))
    content = {k: [None if r is None or "{" in r["counts"] else r for r in v] for k, v in tracks(4, 30).items()}
    path = tmp_path / "mask_dict.json"
    path.write_text(json.dumps(content))
    opened = open_rle_file(path)
    monkeypatch.setattr(rle_index, "build_index", None)  # a second opening must not need it
    again = pickle.loads(pickle.dumps(open_rle_file(path)))
    assert again.ids == opened.ids == tuple(content)
    for anno, masks in content.items():
        source = again.source(anno)
        assert source == opened.source(anno) and hash(source) == hash(opened.source(anno))
        for index, rle in enumerate(masks):
            expected = np.zeros((13, 17), bool) if rle is None else decode_rle(rle)
            assert np.array_equal(source.mask(index), expected)
    with pytest.raises(DatasetError, match="holds 30 frames"):
        source.mask(30)


def test_a_file_that_changes_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "mask_dict.json"
    path.write_text(json.dumps({"0": [encode_rle(np.ones((3, 4)))]}))
    source = open_rle_file(path).source("0")
    assert source.mask(0).all()
    time.sleep(0.01)
    path.write_text(json.dumps({"7": [encode_rle(np.zeros((3, 4)))]}))
    with pytest.raises(DatasetError, match="changed since"):
        source.mask(0)
    assert open_rle_file(path).ids == ("7",)


def test_a_damaged_index_is_built_again_and_an_unwritable_cache_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mask_dict.json"
    path.write_text(json.dumps({"0": [encode_rle(np.ones((3, 4)))]}))
    monkeypatch.setenv("RVOS_CACHE", str(tmp_path / "cache"))
    open_rle_file(path)
    index = next((tmp_path / "cache/rle-index").iterdir())
    index.write_bytes(index.read_bytes()[:50])
    with pytest.warns(UserWarning, match="damaged"):
        assert open_rle_file(path).ids == ("0",)
    monkeypatch.setenv("RVOS_CACHE", str(path))  # a file where a folder is needed
    with pytest.warns(UserWarning, match="RVOS_CACHE"):
        assert open_rle_file(path).ids == ("0",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no annotations"),
        ("null", "no annotations"),
        ("{}", "no annotations"),
        ('{"0": [null, {"size": [3', "cut short"),
        ('{"0": [null]', "cut short"),
        ("[[null]]", "one JSON object"),
        ('{"videos": {"a": {"frames": []}}}', "one JSON object"),
        ('{"0": [null]} {"1": [null]}', "one JSON object"),
        ("{[null]}", "without an annotation id"),
        ("]]", "one JSON object"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "mask_dict.json"
    path.write_text(text)
    with pytest.raises(DatasetError, match=words) as error:
        open_rle_file(path)
    assert str(path) in str(error.value)


def test_broken_entries_are_refused_when_read(tmp_path: Path) -> None:
    path = tmp_path / "mask_dict.json"
    path.write_text('{"0": [3, tru, {"size": [2, 2]}, NaN], "1": [null], "1": [null, null]}')
    opened = open_rle_file(path)
    for index in range(4):
        with pytest.raises(DatasetError, match=str(path)):
            opened.source("0").mask(index)
    with pytest.raises(DatasetError, match="every frame is null"):
        opened.source("1").mask(0)
    assert opened.source("1", size=(2, 3)).mask(1).shape == (2, 3)
    assert opened.repeated_ids == ("1",)
    path.write_text('{"0": [{"size": [99999999999999999999, 1]}], "1": [{"size": [999999, 999999]}, null]}')
    huge = open_rle_file(path)
    assert huge.size("0") is None and huge.size("1") is None
    assert opened.n_frames("1") == 2
