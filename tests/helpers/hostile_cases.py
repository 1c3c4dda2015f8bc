"""The hostile inputs: what is broken, how the command must end, and what it must say.

Grouped by what is broken: mask files, folders of masks, archives, RLE, scores, plain folders, annotations, roots and
names, models, run folders, the cache. ``CASES`` of ``hostile`` holds them after this module is imported.
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile import (
    FRAME,
    SAMPLE,
    VIDEO,
    Words,
    World,
    add,
    binary,
    cut,
    each_mask,
    edit_json,
    hostile,
    interlaced_png,
    png,
)
from PIL import Image

from rvos.baselines.registry import make_predictor
from rvos.benchmarks.engine import predict
from rvos.cli import main
from rvos.datasets.masks import encode_rle
from rvos.datasets.reasonshapes.generate import generate
from rvos.datasets.reasonshapes.writers import write
from rvos.datasets.registry import load

ONE = (SAMPLE,)  # what a case spoils that touches one mask or one sample
#: run without the rights that let root read and write everything
POWERLESS = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.name == "posix" and os.geteuid() == 0 else ()

MODELS = """
import time
import numpy as np

def nothing(video, text):
    return np.zeros((len(video), *video.size), bool)

def slow(video, text):
    time.sleep(0.1)
    return nothing(video, text)

def looks(video, text):
    return video.frames().mean(-1) > 100

def nan(video, text):
    return np.full((len(video), 8, 8), np.nan, np.float32)

def wrong_size(video, text):
    return np.zeros((len(video), 5, 5), bool)

def colours(video, text):
    return np.zeros((len(video), *video.size, 3), bool)

def words(video, text):
    return ["no mask"] * len(video)

def one_short(video, text):
    return nothing(video, text)[1:]

def raises(video, text):
    raise ValueError("no such thing")

def stopped(video, text):
    raise KeyboardInterrupt

number = 5

class Needs:
    def __init__(self, weights):
        pass

class Fails:
    def __init__(self):
        raise OSError("weights.bin is damaged")

    def segment(self, video, expressions):
        yield

class Segments:
    def segment(self, video, expressions):
        for expression in expressions:
            for index in range(len(video)):
                yield from self.answer(video, expression, index)

    def answer(self, video, expression, index):
        yield expression.id, index, np.zeros(video.size, bool)

class Stops(Segments):
    def answer(self, video, expression, index):
        if index == 3:
            raise RuntimeError("out of memory")
        yield expression.id, index, np.zeros(video.size, bool)

class OtherId(Segments):
    def answer(self, video, expression, index):
        yield "99", index, np.zeros(video.size, bool)

class OtherFrame(Segments):
    def answer(self, video, expression, index):
        yield expression.id, 6, np.zeros(video.size, bool)

class NoTriple(Segments):
    def answer(self, video, expression, index):
        yield np.zeros(video.size, bool)
"""


# Mask files -----------------------------------------------------------------------------------------------------------


#: what may be wrong with a mask file, and what is said about it
MASK_FILES: dict[str, tuple[Callable[[Path], Any], str]] = {}


def one_mask(name: str, spoil: Callable[[Path], Any], says: str) -> None:
    """A case that spoils one mask file; the frame counts as wrong and the other samples score as before."""
    MASK_FILES[name] = spoil, says

    def case(world: World) -> Words:
        spoil(world.mask)
        return world.evaluate()

    add(name, case, 1, rf"{SAMPLE}: partial, 1 unusable of 6 frames; first: .*{SAMPLE}/{FRAME}.*{says}", spoils=ONE)


def overwrite(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.unlink() or path.write_bytes(content)  # type: ignore[func-returns-value]


def flip_bits(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(bytes(data))


def save(array: np.ndarray) -> Callable[[Path], None]:
    return lambda path: Image.fromarray(array).save(path)


GREYS = np.linspace(0, 250, 48 * 64).reshape(48, 64)

one_mask("truncated_png", cut, "cut short.*write it again")
one_mask("png_without_its_end", lambda path: cut(path, 0.95), "cut short.*write it again")
one_mask("flipped_bits", flip_bits, "corrupt PNG.*write it again")
one_mask("zero_bytes", overwrite(b""), r"empty \(0 bytes\); write it again")
one_mask("text_named_png", overwrite(b"these are not pixels, sorry"), "not a PNG.*save masks as PNG")
one_mask("jpeg_named_png", lambda p: Image.new("L", (64, 48)).save(p, "JPEG"), "not a PNG.*save masks as PNG")
one_mask("png_of_another_size", save(np.zeros((64, 48), np.uint8)), r"48x64\b.* 64x48.*; write \w+ at the \w+'s")
one_mask("png_of_one_pixel", save(np.zeros((1, 1), np.uint8)), r"1x1\b.*write \w+ at the \w+'s( own)? size")
one_mask("png_that_claims_to_be_huge", overwrite(png(60000, 60000, 8, 0, b"\0" * 99)), "60000x60000 pixels; write it")
one_mask("png_that_inflates_for_ever", overwrite(png(8000, 8000, 8, 0, b"\0" * 10**6)), "too few bytes.*write it again")
one_mask("png_without_pixels", overwrite(png(0, 48, 8, 0, b"")), "impossible PNG header.*write it again")
one_mask("png_that_holds_too_little", overwrite(png(64, 48, 8, 0, b"\0" * 99)), "PNG holds .*write it again")
one_mask("grey_scores_without_threshold", save(GREYS.astype(np.uint8)), r"--threshold 0\.5")
one_mask("grey_scores_of_16_bits", save((GREYS * 256).astype(np.uint16)), r"--threshold 0\.5")
one_mask(
    "rainbow", save(np.stack([GREYS, GREYS[::-1], GREYS.T.reshape(48, 64)], -1).astype(np.uint8)), "8-bit grey 0/255"
)
one_mask("folder_named_png", lambda p: p.unlink() or p.mkdir(), "a folder, where a mask file is expected; remove it")
one_mask("link_to_itself", lambda p: p.unlink() or p.symlink_to(p), "cannot be read.*symbolic links")
one_mask("pipe_named_png", lambda p: p.unlink() or os.mkfifo(p), "not a regular file.*replace it")


#: other ways to store masks that leave no doubt
SAME_MASKS: dict[str, Callable[[np.ndarray, Path], None]] = {}


def same_masks(name: str, store: Callable[[np.ndarray, Path], None]) -> None:
    """A case that stores a sample's masks in another way that leaves no doubt; all scores stay as they were."""
    SAME_MASKS[name] = store

    def case(world: World) -> Words:
        each_mask(world.pred / SAMPLE, store)
        return world.evaluate()

    add(name, case, 0, "ok")


def channels(mask: np.ndarray, *values: int) -> Image.Image:
    return Image.fromarray(np.stack([(mask * np.uint8(v)).astype(np.uint8) for v in values], -1))


same_masks("rgb_masks", lambda mask, path: channels(mask, 255, 0, 90).save(path))
same_masks("rgba_masks", lambda mask, path: channels(mask, 255, 255, 255, 255).save(path))
same_masks("grey_and_alpha_masks", lambda mask, path: channels(mask, 255, 255).save(path))
same_masks("one_bit_masks", lambda mask, path: Image.fromarray(mask).save(path))
same_masks("masks_of_16_bits", lambda mask, path: Image.fromarray(mask.astype(np.uint16) * 65535).save(path))
same_masks("masks_of_0_and_1", lambda mask, path: Image.fromarray(mask.astype(np.uint8)).save(path))
same_masks("interlaced_masks", lambda mask, path: path.write_bytes(interlaced_png(mask)) and None)


# Folders of masks -----------------------------------------------------------------------------------------------------


@hostile(1, rf"{SAMPLE}: partial, 1 missing of 6 frames; first: \S*{FRAME}\.png: no such file", spoils=ONE)
def dangling_link(world: World) -> Words:
    world.mask.unlink()
    world.mask.symlink_to(world.base / "moved-away.png")
    return world.evaluate()


@hostile(1, rf"{SAMPLE}\S* is a file, expected a folder of PNG masks.*missing 6 of 6|{SAMPLE} is a file", spoils=ONE)
def file_where_a_sample_should_be(world: World) -> Words:
    shutil.rmtree(world.pred / SAMPLE)
    (world.pred / SAMPLE).write_text("")
    return world.evaluate()


@hostile(1, rf"1 of 3 video folders are missing: {VIDEO}.*[Pp]redict", spoils=(VIDEO,))
def file_where_a_video_should_be(world: World) -> Words:
    shutil.rmtree(world.pred / VIDEO)
    (world.pred / VIDEO).write_text("")
    return world.evaluate()


@hostile(1, f"video folders are missing: {VIDEO}", spoils=(VIDEO,))
def loop_of_links_in_the_folders(world: World) -> Words:
    shutil.rmtree(world.pred / VIDEO)
    (world.pred / VIDEO).symlink_to(world.pred / VIDEO)
    (world.pred / "round").symlink_to(world.pred)
    return world.evaluate()


@hostile(
    1,
    rf"{SAMPLE}: partial, 1 unusable .*chmod u.r.* {VIDEO}/1: \w+, 6 \w+ of 6 frames; first: .*chmod u.r",
    spoils=(SAMPLE, f"{VIDEO}/1"),
    prefix=POWERLESS,
)
def masks_without_permission(world: World) -> Words:
    world.mask.chmod(0)
    (world.pred / VIDEO / "1").chmod(0)
    return world.evaluate()


@hostile(0, "ok")
def folder_name_that_is_no_utf_8(world: World) -> Words:
    folder = world.base / os.fsdecode(b"caf\xe9")
    world.pred.rename(folder)
    return world.evaluate("--predictions", folder)


@hostile(1, "pred is empty. Give the folder that the masks were written to.* 9 units", spoils=("",))
def empty_folder(world: World) -> Words:
    shutil.rmtree(world.pred)
    world.pred.mkdir()
    return world.evaluate()


@hostile(1, r"lie deeper than \S+: masks. Give --predictions \S+/pred/masks instead", spoils=("",))
def masks_one_level_deeper(world: World) -> Words:
    shutil.move(world.pred, world.base / "masks")
    world.pred.mkdir()
    shutil.move(world.base / "masks", world.pred / "masks")
    return world.evaluate()


@hostile(1, r"is the folder of one video. Give --predictions \S+/pred instead", spoils=("",))
def masks_of_one_video_only(world: World) -> Words:
    return world.evaluate("--predictions", world.pred / VIDEO)


@hostile(1, "videos of mevis/train, not of mevis/valid_u. Did you mean mevis/train", spoils=("",))
def masks_of_another_split(world: World) -> Words:
    for folder in sorted(world.pred.iterdir()):
        folder.rename(folder.with_name(folder.name.replace("valid-0", "train-0")))
    return world.evaluate()


@hostile(2, r"nowhere: no such folder or file; give the folder that the masks were written to")
def no_such_predictions(world: World) -> Words:
    return world.evaluate("--predictions", world.base / "nowhere")


@hostile(2, r"x{300}.*(name is )?too long")
def name_that_is_too_long(world: World) -> Words:
    return world.evaluate("--predictions", world.base / ("x" * 300))


@hostile(2, "masks.tar: neither a folder, a zip archive nor a JSON of masks; see rvos evaluate --help")
def predictions_of_an_unknown_kind(world: World) -> Words:
    (world.base / "masks.tar").write_bytes(b"ustar" * 100)
    return world.evaluate("--predictions", world.base / "masks.tar")


# Archives -------------------------------------------------------------------------------------------------------------


def zipped(world: World, prefix: str = "") -> Path:
    path = world.base / "masks.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(world.pred.rglob("*.png")):
            archive.write(file, prefix + file.relative_to(world.pred).as_posix())
    return path


@hostile(1, r"pred holds only masks.zip. Give --predictions \S+/pred/masks.zip, it is read as is", spoils=("",))
def zip_inside_a_folder(world: World) -> Words:
    archive = zipped(world)
    shutil.rmtree(world.pred)
    world.pred.mkdir()
    archive.rename(world.pred / "masks.zip")
    return world.evaluate()


@hostile(0, r"2 entries of the archive point outside of it \('\.\./\.\./evil\.png'\).*Make the archive again")
def zip_that_climbs_out(world: World) -> Words:
    archive = zipped(world)
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("../../evil.png", world.mask.read_bytes())
        opened.writestr("/etc/evil.png", world.mask.read_bytes())
    return world.evaluate("--predictions", archive)


@hostile(1, rf"{SAMPLE}/{FRAME}.png: would inflate to 104857600 bytes, more than any mask needs", spoils=ONE)
def zip_bomb(world: World) -> Words:
    world.mask.unlink()
    archive = zipped(world)
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr(f"{SAMPLE}/{FRAME}.png", bytes(100 << 20))
    return world.evaluate("--predictions", archive)


@hostile(1, rf"{SAMPLE}/\d+.png: cannot be read \(.*encrypted.*\); make the archive again", spoils=("",))
def encrypted_zip(world: World) -> Words:
    archive = zipped(world)
    data = bytearray(archive.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # bit 0 of each entry's flags
        at = data.find(mark)
        while at >= 0:
            data[at + offset] |= 1
            at = data.find(mark, at + 4)
    archive.write_bytes(bytes(data))
    return world.evaluate("--predictions", archive)


@hostile(2, r"masks.zip: .*zip.*again")
def truncated_zip(world: World) -> Words:
    archive = zipped(world)
    cut(archive)
    return world.evaluate("--predictions", archive)


@hostile(1, r"masks.zip is empty", spoils=("",))
def zip_of_nothing(world: World) -> Words:
    with zipfile.ZipFile(world.base / "masks.zip", "w"):
        pass
    return world.evaluate("--predictions", world.base / "masks.zip")


# RLE JSON -------------------------------------------------------------------------------------------------------------


def rle_json(world: World, change: Callable[[Any], Any] = lambda content: None) -> Path:
    """The predictions as one JSON of RLE."""
    content = {
        video.name: {
            sample.name: {"prediction_masks": [encode_rle(binary(p)) for p in sorted(sample.glob("*.png"))]}
            for sample in sorted(video.iterdir())
        }
        for video in sorted(world.pred.iterdir())
    }
    changed = change(content)
    path = world.base / "masks.json"
    path.write_text(json.dumps(content if changed is None else changed))
    return path


def one_rle(name: str, rle: Any, says: str) -> None:
    """A case with a broken RLE for one frame of one sample."""

    def case(world: World) -> Words:
        def put(content: Any) -> None:
            content[VIDEO]["0"]["prediction_masks"][2] = rle

        return world.evaluate("--predictions", rle_json(world, put))

    add(name, case, 1, rf"{SAMPLE}: partial, 1 unusable of 6 frames; first: \S*masks.json.*{says}", spoils=ONE)


one_rle("rle_too_short", {"size": [48, 64], "counts": [10, 20]}, "counts sum to 30, expected 3072")
one_rle("rle_too_long", {"size": [48, 64], "counts": [10, 5000]}, "counts sum to 5010, expected 3072")
one_rle("rle_negative", {"size": [48, 64], "counts": [3082, -10]}, "none negative")
one_rle("rle_garbage", {"size": [48, 64], "counts": "häßlich"}, "not a COCO RLE")
one_rle("rle_of_another_size", {"size": [2, 3], "counts": [6]}, "3x2 pixels.*write masks at the video's own size")
one_rle("rle_of_a_huge_size", {"size": [10**6, 10**6], "counts": [10**12]}, "size 1000000x1000000")
one_rle("rle_that_is_a_number", 7, "not a COCO RLE")
one_rle("rle_that_asks_for_all_memory", {"size": [48, 64], "counts": 10**13}, "not a COCO RLE")


def one_entry(name: str, entry: Any, says: str) -> None:
    """A case with something else in place of one sample's masks."""

    def case(world: World) -> Words:
        return world.evaluate("--predictions", rle_json(world, lambda c: c[VIDEO].update({"0": entry})))

    add(name, case, 1, rf"masks.json: {SAMPLE}.*{says}", spoils=ONE)


one_entry("rle_entry_null", {"prediction_masks": None}, "export the masks as RLE")
one_entry("rle_entry_of_three_frames", {"prediction_masks": [None] * 3}, "3 masks for 6 frames; write one RLE for each")
one_entry("rle_frames_that_are_no_list", {"prediction_masks": [None] * 6, "frames": 6}, "frames.*list")
one_entry("rle_entry_text", "see attachment", "write one RLE for each frame")


@hostile(2, "masks.json: JSON cut short.*write it again")
def rle_json_cut_off(world: World) -> Words:
    path = rle_json(world)
    cut(path)
    return world.evaluate("--predictions", path)


@hostile(2, "masks.json: a JSON list, expected an object with a key for each video")
def rle_json_of_the_wrong_kind(world: World) -> Words:
    return world.evaluate("--predictions", rle_json(world, lambda content: [content]))


@hostile(2, "masks.json: the file is empty")
def rle_json_empty(world: World) -> Words:
    (world.base / "masks.json").write_text("")
    return world.evaluate("--predictions", world.base / "masks.json")


@hostile(1, r"not valid JSON between bytes", spoils=(VIDEO,))
def rle_json_with_a_trailing_comma(world: World) -> Words:
    path = rle_json(world)
    path.write_text(path.read_text().replace("]}, ", "],}, ", 1))
    return world.evaluate("--predictions", path)


@hostile(
    1,
    "masks.json holds none of the 3 videos of mevis/valid_u; found lions.*first keys must be the videos",
    spoils=("",),
)
def rle_json_of_other_videos(world: World) -> Words:
    return world.evaluate("--predictions", rle_json(world, lambda content: {"lions": content[VIDEO]}))


# Scores and label maps ------------------------------------------------------------------------------------------------


#: what may be wrong with a file of scores, and what is said about it
SCORE_FILES: dict[str, tuple[Callable[[Path], Any], str]] = {}


def as_scores(folder: Path) -> None:
    """Put an npz file of scores in the place of every mask."""
    for path in sorted(folder.rglob("*.png")):
        np.savez_compressed(path.with_suffix(".npz"), scores=binary(path).astype(np.float32))
        path.unlink()


def soft(world: World, spoil: Callable[[Path], Any]) -> Words:
    """The masks as scores in npz files, of which one is spoiled."""
    as_scores(world.pred)
    spoil(world.mask.with_suffix(".npz"))
    return world.evaluate("--threshold", "0.5")


def soft_case(name: str, spoil: Callable[[Path], Any], says: str) -> None:
    SCORE_FILES[name] = spoil, says
    add(name, lambda world: soft(world, spoil), 1, rf"{SAMPLE}/{FRAME}.npz.*{says}", spoils=ONE)


soft_case("scores_cut_short", cut, "not a readable npz file.*write it again")
soft_case("scores_that_are_logits", lambda p: np.savez(p, a=np.full((48, 64), -7.0)), "apply a sigmoid")
soft_case("scores_nan", lambda p: np.savez(p, a=np.full((48, 64), np.nan)), "scores outside 0-1 or NaN")
soft_case("scores_with_a_pickle", lambda p: np.savez(p, a=np.array([{}], object)), "cannot be read.*write it again")
soft_case("scores_of_three_dimensions", lambda p: np.savez(p, a=np.zeros((2, 48, 64))), r"expected \(H, W\)")


@hostile(1, "holds scores; give a threshold", spoils=("",))
def scores_without_threshold(world: World) -> Words:
    return soft(world, lambda path: None)[:-2]


def merged(world: World) -> Path:
    """Label maps of Ref-DAVIS-17 for all annotators, with 255 for the object."""
    for video in sorted(world.davis_pred.iterdir()):
        for k in range(4):
            shutil.copytree(video / "0", world.base / "merged" / f"anno_{k}" / video.name)
    return world.base / "merged"


@hostile(1, "holds 0 and 255 in the indexed anno_k layout.*Write object k as value k", spoils=("",))
def label_maps_of_0_and_255(world: World) -> Words:
    words = ("--predictions", merged(world), "--protocol", "davis17-hungarian-4ann@1")
    return world.evaluate(*words, dataset="ref-davis17/valid", root=world.layout("ref-davis17"))


@hostile(2, "merged holds label maps of merged objects; overlaps are lost.*Give the per-expression masks")
def label_maps_for_single_expressions(world: World) -> Words:
    words = ("--predictions", merged(world), "--protocol", "davis17-per-expression-unsup@1")
    return world.evaluate(*words, dataset="ref-davis17/valid", root=world.layout("ref-davis17"))


# Plain folders --------------------------------------------------------------------------------------------------------


def plain(world: World, truth: Path) -> Words:
    return ["evaluate", "--gt-dir", truth, "--pred-dir", world.pred, "--out", world.out, "--no-bounds"]


@hostile(2, "pngs: holds no PNG; expected <video>/<frame>.png")
def truth_folder_without_masks(world: World) -> Words:
    (world.base / "pngs").mkdir()
    return plain(world, world.base / "pngs")


@hostile(2, "notes.txt: no such folder; expected <video>/<frame>.png|notes.txt: a file")
def truth_folder_that_is_a_file(world: World) -> Words:
    (world.base / "notes.txt").write_text("")
    return plain(world, world.base / "notes.txt")


@hostile(2, rf"{VIDEO}.*mode RGB; save masks as 8-bit grey or indexed PNG")
def truth_folder_of_photographs(world: World) -> Words:
    target = world.base / "truth" / VIDEO
    target.mkdir(parents=True)
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(target / "00000.png")
    return plain(world, world.base / "truth")


# Annotation files -----------------------------------------------------------------------------------------------------


def broken_meta(name: str, spoil: Callable[[Path], Any], says: str, code: int = 2, **rest: Any) -> None:
    """A case with something wrong in meta_expressions.json."""

    def case(world: World) -> Words:
        spoil(world.meta)
        return world.evaluate()

    add(name, case, code, says, **rest)


def in_video(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Change one video's entry of a meta_expressions.json."""
    return lambda path: edit_json(path, lambda content: change(content["videos"][VIDEO]) and None)


def in_expression(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    return in_video(lambda video: change(video["expressions"]["0"]))


def text(change: Callable[[str], str], encoding: str = "utf-8") -> Callable[[Path], None]:
    return lambda path: path.write_text(change(path.read_text()), encoding=encoding) and None


META = r"meta_expressions\.json"
broken_meta("json_cut_off", cut, rf"{META}: not valid JSON.*download the file again")
broken_meta("json_with_a_trailing_comma", text(lambda t: t[:-1] + ",}"), rf"{META}: not valid JSON")
broken_meta("json_of_the_wrong_kind", text(lambda t: f"[{t}]"), rf"{META}: expected an object with the key 'videos'")
broken_meta("json_of_utf_16", text(str, "utf-16"), rf"{META}: not UTF-8")
broken_meta("json_with_a_byte_order_mark", text(str, "utf-8-sig"), "ok", code=0)
broken_meta("json_empty", text(lambda t: ""), rf"{META}: the file is empty; download it again")
broken_meta("json_nested_too_deep", text(lambda t: "[" * 100_000), rf"{META}: JSON nested too deep")
broken_meta(
    "json_with_a_number_of_5000_digits", text(lambda t: t[:-1] + ', "n": ' + "9" * 5000 + "}"), rf"{META}: not valid"
)
broken_meta(
    "json_with_a_key_twice",
    text(lambda t: t.replace('"expressions":', '"frames": ["00000"], "expressions":', 1)),
    rf"{META}: the key 'frames' occurs twice",
)
broken_meta("json_of_50_megabytes", text(lambda t: t[:-1] + ', "more": "' + "x" * (50 << 20) + '"}'), "ok", code=0)
broken_meta("no_videos", lambda p: edit_json(p, lambda c: {"videos": {}}), rf"{META}: lists no videos; download")
broken_meta(
    "no_expressions_at_all",
    lambda p: edit_json(p, lambda c: [v.update(expressions={}) for v in c["videos"].values()] and None),
    rf"{META}: lists no expressions",
)
broken_meta(
    "video_null", lambda p: edit_json(p, lambda c: c["videos"].update({VIDEO: None})), f"video '{VIDEO}' holds NoneType"
)
broken_meta("frames_empty", in_video(lambda v: v["frames"].clear() or True), f"video '{VIDEO}' has no list 'frames'")
broken_meta(
    "frames_nan", in_video(lambda v: v.update(frames=float("nan")) or True), f"video '{VIDEO}' has no list 'frames'"
)
broken_meta(
    "frames_as_numbers",
    in_video(lambda v: v.update(frames=[0, 1]) or True),
    r'no list \'frames\' of frame names such as "00000"',
)
broken_meta("frame_listed_twice", in_video(lambda v: v["frames"].append(FRAME) or True), f"lists frame {FRAME} twice")
broken_meta("text_missing", in_expression(lambda e: e.pop("exp")), f"video '{VIDEO}', expression '0' has no text 'exp'")
broken_meta("text_null", in_expression(lambda e: e.update(exp=None) or True), "expression '0' has no text 'exp'")
broken_meta(
    "anno_id_null",
    in_expression(lambda e: e.update(anno_id=None) or True),
    rf"{META}: video '{VIDEO}', expression '0'.*anno_id.*null",
)
broken_meta("anno_id_an_object", in_expression(lambda e: e.update(anno_id=[{}]) or True), "expression '0'.*anno_id")
broken_meta(
    "id_that_climbs_out",
    in_video(lambda v: v["expressions"].update({"../../0": {"exp": "x"}}) or True),
    "expression '../../0': the id must be a plain name",
)
broken_meta(
    "id_with_a_separator",
    in_video(lambda v: v["expressions"].update({"a\\b": {"exp": "x"}}) or True),
    r"the id must be a plain name",
)
broken_meta(
    "id_with_a_line_break",
    in_video(lambda v: v["expressions"].update({"1\n2": {"exp": "x"}}) or True),
    r"the id must be a plain name",
)
broken_meta(
    "id_of_half_a_character",
    in_video(lambda v: v["expressions"].update({"\ud800": {"exp": "x"}}) or True),
    r"the id must be a plain name",
)
broken_meta(
    "text_of_half_a_character", in_expression(lambda e: e.update(exp="a \ud800 b") or True), "expression '0'.*text"
)
broken_meta(
    "video_that_climbs_out",
    lambda p: edit_json(p, lambda c: c["videos"].update({"../x": c["videos"][VIDEO]})),
    r"video '\.\./x' is no folder name",
)
broken_meta(
    "anno_id_unknown",
    in_expression(lambda e: e.update(anno_id=[999]) or True),
    rf"mask_dict.json: no annotation '999', which sample {SAMPLE} names",
    code=1,
    spoils=(VIDEO,),
)


def texts(name: str, sentence: str) -> None:
    """A case with an unusual sentence, which is no error."""
    broken_meta(name, in_expression(lambda e: e.update(exp=sentence) or True), "ok", code=0)


texts("sentence_in_chinese", "左边那只正在跳舞的猫")
texts("sentence_of_300_words", "the very " * 149 + "red box")
texts("sentence_over_several_lines", "the red\nbox\r\n\tthat moves")
texts("sentence_with_emoji_and_right_to_left", "the 🐈‍⬛ and \u202eالقطة")
texts("sentence_with_markup", "[bold red]the[/bold] <b>box</b> %s {0}")


@hostile(0, "ok")
def ids_with_gaps_and_not_in_order(world: World) -> Words:
    """Expressions 10, 2 and 7 in place of 0, 1, 2: each keeps its own masks."""
    new = {"0": "10", "1": "2", "2": "7"}

    def rename(video: dict[str, Any]) -> bool:
        video["expressions"] = {new[k]: e for k, e in video["expressions"].items()}
        return True

    in_video(rename)(world.meta)
    for old, name in (("2", "7"), ("1", "2"), ("0", "10")):
        (world.pred / VIDEO / old).rename(world.pred / VIDEO / name)
    return world.evaluate()


@hostile(1, r"valid_u: 3 videos.*3 errors|of version|lists 6 frames, the video 3")
def annotations_of_another_length(world: World) -> Words:
    in_video(lambda v: v.update(frames=v["frames"][:3]) or True)(world.meta)
    return world.check()


def broken_masks(name: str, spoil: Callable[[Path], Any], says: str, code: int = 2, **rest: Any) -> None:
    """A case with something wrong in mask_dict.json."""

    def case(world: World) -> Words:
        spoil(world.dict)
        return world.evaluate()

    add(name, case, code, says, **rest)


def in_truth(index: int, rle: Any) -> Callable[[World], Words]:
    """Put another RLE into the masks of ``SAMPLE``."""

    def case(world: World) -> Words:
        anno_id = json.loads(world.meta.read_text())["videos"][VIDEO]["expressions"]["0"]["anno_id"][0]
        edit_json(world.dict, lambda content: content[str(anno_id)].__setitem__(index, rle))
        return world.evaluate()

    return case


DICT = r"mask_dict\.json"
broken_masks("mask_dict_cut_off", cut, rf"{DICT}: cut short.*download the file again")
broken_masks("mask_dict_of_the_wrong_kind", text(lambda t: f"[{t}]"), rf"{DICT}: expected one JSON object of lists")
broken_masks("mask_dict_of_utf_16", text(str, "utf-16"), rf"{DICT}: .*(annotation id|mask_dict)")
broken_masks("mask_dict_empty", text(lambda t: ""), rf"{DICT}: .*(empty|holds no annotations)")
broken_masks("mask_dict_a_folder", lambda p: p.unlink() or p.mkdir(), rf"{DICT}: cannot be read|{DICT}: is a folder")
BROKEN_RLE, SMALL_RLE = {"size": [48, 64], "counts": "~~~"}, {"size": [24, 32], "counts": [700, 68]}
add("truth_with_a_broken_rle", in_truth(0, BROKEN_RLE), 1, rf"failed.*{DICT}.*not a COCO RLE", spoils=(VIDEO,))
add(
    "truth_of_two_sizes",
    in_truth(1, SMALL_RLE),
    1,
    rf"{DICT}: masks of one target are \(24, 32\) and \(48, 64\); expected one size",
    spoils=(VIDEO,),
)


@hostile(1, r"\.jpg: .*cut short.*extract it again")
def truncated_jpeg(world: World) -> Words:
    cut(world.mevis / "valid_u" / "JPEGImages" / VIDEO / f"{FRAME}.jpg")
    return world.predict("looks")


@hostile(1, rf"{VIDEO}: 1 of 6 frames are missing: {FRAME}. Download the frames again")
def frame_missing_on_disk(world: World) -> Words:
    (world.mevis / "valid_u" / "JPEGImages" / VIDEO / f"{FRAME}.jpg").unlink()
    return world.check()


@hostile(1, rf"{VIDEO}/{FRAME}.jpg: no such frame")
def frame_missing_for_a_model(world: World) -> Words:
    (world.mevis / "valid_u" / "JPEGImages" / VIDEO / f"{FRAME}.jpg").unlink()
    return world.predict("looks")


@hostile(0, "none of its frames is there. Scoring works without images")
def no_frames_at_all(world: World) -> Words:
    shutil.rmtree(world.mevis / "valid_u" / "JPEGImages")
    return world.check()


def of_length(n_frames: int) -> Callable[[World], Words]:
    """Perfect masks of one video of this length."""

    def case(world: World) -> Words:
        root, masks = world.base / "other", world.base / "other-run" / "masks"
        write("mevis", root, generate("valid", 1, height=48, width=64, n_frames=n_frames), split="valid_u")
        data = load("mevis/valid_u", root=root)
        predict(make_predictor("perfect", data), data, out=masks.parent, progress=False)
        return world.evaluate("--predictions", masks, root=root)

    return case


EVERYTHING = ("",)  # the scores are those of other data
add("video_of_one_frame", of_length(1), 0, "score 100.00", spoils=EVERYTHING)
add("video_of_310_frames", of_length(310), 0, "score 100.00", spoils=EVERYTHING)


@hostile(2, rf"reasonvos.*{META}: video '{VIDEO}', expression '1'.*obj_id")
def object_id_that_climbs_out(world: World) -> Words:
    root = world.layout("reasonvos")
    edit_json(root / "meta_expressions.json", lambda c: c["videos"][VIDEO]["expressions"][1].update(obj_id="../../x"))
    return world.evaluate(dataset="reasonvos", root=root)


@hostile(2, rf"{META}: video '{VIDEO}'.*source")
def source_that_climbs_out(world: World) -> Words:
    root = world.layout("reasonvos")
    edit_json(root / "meta_expressions.json", lambda c: c["videos"][VIDEO].update(source="../x"))
    return world.evaluate(dataset="reasonvos", root=root)


@hostile(1, "2 samples .* share one folder of predictions.*give every expression its own id")
def expression_id_twice(world: World) -> Words:
    root = world.layout("reasonvos")

    def repeat(content: Any) -> None:
        first = content["videos"][VIDEO]["expressions"]
        first[1].update(exp_id=first[0]["exp_id"], obj_id=first[0]["obj_id"])

    edit_json(root / "meta_expressions.json", repeat)
    return world.check("reasonvos", root)


@hostile(2, rf"{META}.*no 'object_ids'|{META}.*'kind'")
def reasonvos_given_as_reasonshapes(world: World) -> Words:
    root = world.layout("reasonvos")

    def strip(content: Any) -> None:
        for video in content["videos"].values():
            for expression in video["expressions"]:
                for key in ("object_ids", "kind", "tags"):
                    expression.pop(key)

    edit_json(root / "meta_expressions.json", strip)
    return world.evaluate(dataset="reasonshapes/test", root=root)


@hostile(2, r"Davis17_annot1.txt, line 1: .*expected <video> <object> \"<text>\"")
def davis_sentences_garbled(world: World) -> Words:
    root = world.layout("ref-davis17")
    shutil.rmtree(root / "meta_expressions")
    path = root / "davis_text_annotations" / "Davis17_annot1.txt"
    path.write_text("no quotes\n" + path.read_text(encoding="latin-1"), encoding="latin-1")
    return world.evaluate(dataset="ref-davis17/valid", root=root)


@hostile(2, "object id '300', expected 1 to 25[45]")
def davis_object_out_of_range(world: World) -> Words:
    root = world.layout("ref-davis17")
    edit_json(
        root / "meta_expressions" / "valid" / "meta_expressions.json",
        lambda c: c["videos"][VIDEO]["expressions"]["0"].update(obj_id=300),
    )
    return world.evaluate(dataset="ref-davis17/valid", root=root)


@hostile(1, r"object id 'red', expected 1 to 255", spoils=("",))
def youtube_object_that_is_no_number(world: World) -> Words:
    root = world.layout("ref-youtube-vos")
    edit_json(
        root / "meta_expressions" / "train" / "meta_expressions.json",
        lambda c: c["videos"]["train-0-000000"]["expressions"]["0"].update(obj_id="red"),
    )
    return world.evaluate(dataset="ref-youtube-vos/train", root=root)


@hostile(0, "0 errors")
def youtube_objects_as_numbers(world: World) -> Words:
    root = world.layout("ref-youtube-vos")

    def as_numbers(content: Any) -> None:
        for video in content["videos"].values():
            for expression in video["expressions"].values():
                expression["obj_id"] = int(expression["obj_id"])

    edit_json(root / "meta_expressions" / "train" / "meta_expressions.json", as_numbers)
    return world.check("ref-youtube-vos/train", root)


@hostile(1, r"Annotations/train-0-000000/\d+.png: PNG cut short.*write it again", spoils=("",))
def truth_cut_short(world: World) -> Words:
    root = world.layout("ref-youtube-vos")
    cut(next((root / "train" / "Annotations" / "train-0-000000").glob("*.png")))
    return world.evaluate(dataset="ref-youtube-vos/train", root=root)


# The same for the files of other benchmarks ---------------------------------------------------------------------------

#: dataset -> its root in the world, its file of sentences, the names of a video's sentences and of a sentence's text
FILES = {
    "revos/valid": ("revos", "meta_expressions_valid_.json", "expressions", "exp"),
    "long-rvos/valid": ("long-rvos", "valid/meta_expressions.json", "expressions", "exp"),
    "groundmore/test": ("groundmore", "test_v2.json", "questions", "question"),
}

#: the same for benchmarks whose files are of other kinds
PLACES = {dataset: (root, file) for dataset, (root, file, _, _) in FILES.items()}
PLACES |= {
    "reasonseg/val": ("reasonseg", f"val/{VIDEO}.json"),
}
REFER = {"refcoco": "unc", "refcoco+": "unc", "refcocog": "umd", "refclef": "unc"}
PLACES |= {f"{name}/val": (name, f"{name}/refs({who}).p") for name, who in REFER.items()}


def broken_file(dataset: str, name: str, spoil: Callable[[Path], Any], says: str, code: int = 2) -> None:
    """A case with something wrong in a benchmark's file of sentences, found by the check."""
    layout, file = PLACES[dataset]

    def case(world: World) -> Words:
        spoil(world.layout(layout) / file)
        return world.check(dataset, world.layout(layout))

    add(f"{layout}_{name}", case, code, says)


def in_first(dataset: str, change: Callable[[dict[str, Any]], Any], sentence: bool = True) -> Callable[[Path], None]:
    """Change the first sentence of the first video, or that video itself."""
    key = FILES[dataset][2]

    def spoil(path: Path) -> None:
        def first(content: Any) -> None:
            video = next(iter(content["videos"].values()))
            change(next(iter(video[key].values())) if sentence else video)

        edit_json(path, first)

    return spoil


for _name, (_, _file, _key, _text) in FILES.items():
    _json = _file.rpartition("/")[2].replace(".", r"\.")
    broken_file(_name, "json_cut_off", cut, rf"{_json}: not valid JSON.*download the file again")
    broken_file(_name, "json_of_the_wrong_kind", text(lambda t: f"[{t}]"), rf"{_json}: expected an object with the key")
    broken_file(_name, "json_empty", text(lambda t: ""), rf"{_json}: the file is empty; download it again")
    broken_file(
        _name,
        "video_that_climbs_out",
        lambda p: edit_json(p, lambda c: c["videos"].update({"../x": next(iter(c["videos"].values()))})),
        rf"{_json}: video '../x' is no folder name",
    )
    broken_file(_name, "text_missing", in_first(_name, lambda e, t=_text: e.pop(t)), rf"has no text '{_text}'")
    broken_file(_name, "object_that_climbs_out", in_first(_name, lambda e: e.update(obj_id=["../1"])), "'obj_id' holds")
    broken_file(_name, "sentences_missing", in_first(_name, lambda v, k=_key: v.pop(k), False), "has no 'expressions'")

broken_file("revos/valid", "type_7", in_first("revos/valid", lambda e: e.update(type_id=7)), "'type_id' must be 0, 1")
broken_file("revos/valid", "type_a_list", in_first("revos/valid", lambda e: e.update(type_id=[0])), "'type_id' must be")
broken_file(
    "revos/valid",
    "masks_cut_off",
    lambda p: cut(p.with_name("mask_dict.json")),
    r"mask_dict\.json: cut short.*download",
)
broken_file(
    "long-rvos/valid", "type_unknown", in_first("long-rvos/valid", lambda e: e.update(type="odd")), "'type' must be one"
)
broken_file(
    "long-rvos/valid", "two_objects", in_first("long-rvos/valid", lambda e: e.update(obj_id=[1, 2])), "must name one"
)
broken_file(
    "long-rvos/valid",
    "mask_cut_off",
    lambda p: cut(next(p.parent.glob("Annotations/*/1/*.png"))),
    r"Annotations/.*\.png: PNG cut short",
    code=1,
)
broken_file(
    "groundmore/test", "object_300", in_first("groundmore/test", lambda e: e.update(obj_id=300)), "'300', expected 1 to"
)
broken_file(
    "groundmore/test", "time_odd", in_first("groundmore/test", lambda e: e.update(action_start="soon")), "must be times"
)
broken_file(
    "groundmore/test",
    "clip_without_times",
    lambda p: (
        (p.parent / "annotations" / "x").symlink_to(next((p.parent / "annotations").iterdir()).name),
        edit_json(p, lambda c: c["videos"].update(x=next(iter(c["videos"].values())))),
    ),
    "clip 'x', question '\\d': the clip's name must end in mmss_mmss",
)
broken_file(
    "groundmore/test",
    "images_missing",
    lambda p: shutil.rmtree(next((p.parent / "annotations").iterdir()) / "images"),
    "holds no frames of clip .*; unpack the images",
)
broken_file(
    "groundmore/test",
    "mask_cut_off",
    lambda p: cut(next(p.parent.glob("annotations/*/masks/frame_000000.png"))),
    r"masks/.*\.png: PNG cut short",
    code=1,
)


# Images ---------------------------------------------------------------------------------------------------------------


def shapes(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Change the first shape of an image."""
    return lambda p: edit_json(p, lambda c: change(c["shapes"][0]) and None)


for _name, _spoil, _says in (
    ("json_cut_off", cut, "not valid JSON.*download the file again"),
    ("json_empty", text(lambda t: ""), "the file is empty; download it again"),
    ("json_of_the_wrong_kind", text(lambda t: f"[{t}]"), "expected an object with 'shapes', 'text' and 'is_sentence'"),
    ("no_text", lambda p: edit_json(p, lambda c: c.update(text=[])), "'text' is no list of sentences"),
    ("text_a_string", lambda p: edit_json(p, lambda c: c.update(text="what?")), "'text' is no list of sentences"),
    ("form_missing", lambda p: edit_json(p, lambda c: c.update(is_sentence=None)), "'is_sentence' is neither"),
    ("label_a_number", shapes(lambda s: s.update(label=1)), "shape 0 has no 'label'"),
    ("no_corner", shapes(lambda s: s.update(points=[])), "shape 0 has no 'points'"),
    ("corner_of_three", shapes(lambda s: s.update(points=[[1, 2, 3]])), "shape 0 has no 'points'"),
    ("corner_nan", shapes(lambda s: s.update(points=[[1, float("nan")]])), "shape 0 has no 'points'"),
    ("corner_far_off", shapes(lambda s: s.update(points=[[1, 1e30]])), "shape 0 has no 'points'"),
):
    broken_file("reasonseg/val", _name, _spoil, rf"{VIDEO}\.json: {_says}")
broken_file("reasonseg/val", "image_missing", lambda p: p.with_suffix(".jpg").unlink(), "no such frame", code=1)
broken_file("reasonseg/val", "image_cut_off", lambda p: cut(p.with_suffix(".jpg")), f"{VIDEO}.jpg: ", code=1)


def instances(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Change the annotation file beside the refs."""
    return lambda p: edit_json(p.with_name("instances.json"), lambda c: change(c) and None)


for _name, _spoil, _says in (
    ("refs_cut_off", cut, r"refs\(\w+\)\.p: not a pickle of refs.*download the file again"),
    ("refs_of_text", lambda p: p.write_text("[]"), "not a pickle of refs"),
    ("refs_that_run", lambda p: p.write_bytes(b"cos\nsystem\n(S'touch ran'\ntR."), "it asks for os.system"),
    ("refs_that_import", lambda p: p.write_bytes(b"cnumpy\narray\n."), "it asks for numpy.array"),
    ("refs_missing", lambda p: p.unlink(), r"expected refc\S+/refs\(\w+\)\.p"),
    ("instances_cut_off", lambda p: cut(p.with_name("instances.json")), r"instances\.json: not valid JSON"),
    ("instances_missing", lambda p: p.with_name("instances.json").unlink(), r"instances\.json: no such file"),
    ("instances_a_list", lambda p: p.with_name("instances.json").write_text("[]"), "expected an object with lists"),
    ("image_that_climbs_out", instances(lambda c: c["images"][0].update(file_name="../x.jpg")), "'file_name' holds"),
    ("polygon_of_words", instances(lambda c: c["annotations"][0].update(segmentation=[["x"] * 6])), "no polygon"),
    ("polygon_nan", instances(lambda c: c["annotations"][0].update(segmentation=[[float("nan")] * 6])), "no polygon"),
    ("polygon_far_off", instances(lambda c: c["annotations"][0].update(segmentation=[[1e30] * 6])), "no polygon"),
    ("rle_of_another_size", instances(lambda c: c["images"][0].update(height=7)), "annotation 1: the RLE has the size"),
):
    for _dataset in REFER:
        broken_file(f"{_dataset}/val", _name, _spoil, _says)


# Roots and names ------------------------------------------------------------------------------------------------------


@hostile(2, r"too high for MeViS \(valid_u\); give --root \S+/mevis, which holds")
def root_one_level_too_high(world: World) -> Words:
    return world.evaluate(root=world.mevis.parent)


@hostile(2, r"too deep for MeViS \(valid_u\); give --root \S+/mevis, which holds")
def root_one_level_too_low(world: World) -> Words:
    return world.evaluate(root=world.mevis / "valid_u")


@hostile(2, r"nowhere: no such folder; give the folder of MeViS \(valid_u\)")
def root_that_is_not_there(world: World) -> Words:
    return world.evaluate(root=world.base / "nowhere")


@hostile(2, r"meta_expressions.json: a file, expected the folder of MeViS")
def root_that_is_a_file(world: World) -> Words:
    return world.evaluate(root=world.meta)


@hostile(2, r"mevis.*expected meta_expressions/train/meta_expressions.json of Ref-YouTube-VOS")
def root_of_another_dataset(world: World) -> Words:
    return world.evaluate(dataset="ref-youtube-vos/train")


@hostile(2, r"\S+loop: no such folder|loop.*symbolic")
def root_that_is_a_loop_of_links(world: World) -> Words:
    (world.base / "loop").symlink_to(world.base / "loop")
    return world.evaluate(root=world.base / "loop")


@hostile(2, r"mevis.*([Pp]ermission|not readable)", prefix=POWERLESS)
def root_without_permission(world: World) -> Words:
    words = world.evaluate()
    world.mevis.chmod(0)
    return words


@hostile(2, r"meta_expressions.json: cannot be read \(Permission denied\); check its permissions", prefix=POWERLESS)
def annotations_without_permission(world: World) -> Words:
    words = world.evaluate()
    world.meta.chmod(0)
    return words


@hostile(2, r"(\S+nowhere: no such folder|RVOS_MEVIS_ROOT)", prefix=("env", "RVOS_MEVIS_ROOT=/nowhere"))
def variable_that_points_nowhere(world: World) -> Words:
    return ["datasets", "check", "mevis/valid_u"]


@hostile(2, r"config.toml: not a readable TOML file.*correct or delete it")
def config_file_malformed(world: World) -> Words:
    (world.base / "config.toml").write_text("[roots\nmevis = ")
    os.environ["RVOS_CONFIG"] = str(world.base / "config.toml")
    return ["datasets", "check", "mevis/valid_u"]


@hostile(2, r"config.toml: .*(folder|directory)")
def config_file_a_folder(world: World) -> Words:
    (world.base / "config.toml").mkdir()
    os.environ["RVOS_CONFIG"] = str(world.base / "config.toml")
    return ["datasets", "roots", "--set", f"mevis={world.mevis}"]


@hostile(2, r"/proc/rvos.*cannot be written|/proc/rvos.*No such file")
def config_file_where_none_can_be(world: World) -> Words:
    os.environ["RVOS_CONFIG"] = "/proc/rvos/config.toml"
    return ["datasets", "roots", "--set", f"mevis={world.mevis}"]


def call(name: str, says: str, *words: str) -> None:
    """A case that is wrong by its words alone."""
    add(name, lambda world: list(words), 2, says)


call(
    "unknown_dataset", "Unknown dataset 'mevsi'. Did you mean mevis", "evaluate", "mevsi/valid_u", "--predictions", "x"
)
call("unknown_split", "Unknown split of mevis 'tset'.*Known: train", "evaluate", "mevis/tset", "--predictions", "x")
call("no_split", "several splits; name one of mevis/train", "evaluate", "mevis", "--predictions", "x")
call("unknown_command", "No such command 'evalute'.*evaluate", "evalute")
call("unknown_option", "No such option: --thresold.*--threshold", "evaluate", "--thresold", "1")
call("option_without_value", "'--predictions' requires an argument", "evaluate", "--predictions")
call("limit_zero", "'--limit'.*(x>=1|greater than or equal to 1)", "evaluate", "mevis/valid_u", "--limit", "0")
call("nothing_to_score", "give --predictions FOLDER", "evaluate", "mevis/valid_u")
call("run_that_is_none", "nowhere is not a run folder: it has no run.json", "runs", "show", "nowhere")
call("dataset_card_unknown", "Unknown dataset 'imagenet'.*Known:", "datasets", "show", "imagenet")
call("no_root", "No folder known for mevis. Give --root FOLDER, set RVOS_MEVIS_ROOT", "diagnose", "x", "mevis/valid_u")


@hostile(2, "Unknown protocol 'mevis@2'. Did you mean mevis@1")
def unknown_protocol(world: World) -> Words:
    return world.evaluate("--protocol", "mevis@2")


@hostile(2, "reasonvos@1 is for reasonvos, not for mevis")
def protocol_of_another_dataset(world: World) -> Words:
    return world.evaluate("--protocol", "reasonvos@1")


@hostile(2, "Unknown prediction layout 'pngs'.*Known: .*png-folders")
def unknown_layout(world: World) -> Words:
    return world.evaluate("--layout", "pngs")


@hostile(2, r"A threshold is a share of the value range in \(0, 1\], e.g. 0.5; found 128.0")
def threshold_of_128(world: World) -> Words:
    return world.evaluate("--threshold", "128")


@hostile(2, r"A threshold is a share .* found nan")
def threshold_nan(world: World) -> Words:
    return world.evaluate("--threshold", "nan")


# Models ---------------------------------------------------------------------------------------------------------------


def model(name: str, code: int, says: str, spec: str = "", **rest: Any) -> None:
    add(name, lambda world: world.predict(spec), code, says, **rest)


model("logits_nan", 1, r"9 invalid.*The logits hold NaN", "nan")
model(
    "masks_of_the_wrong_size",
    1,
    r"The mask is \(5, 5\), the video is \(48, 64\); only logits are resized",
    "wrong_size",
)
model("masks_of_three_dimensions", 1, r"must have two dimensions \(H, W\), found shape \(48, 64, 3\)", "colours")
model("masks_that_are_words", 1, "two dimensions|dtype", "words")
model("one_mask_too_few", 1, "gave 5 masks for video .*, which has 6 frames", "one_short")
model("model_that_raises", 1, "9 failed.*ValueError: no such thing", "raises")
model("model_that_raises_in_the_middle", 1, "9 failed.*RuntimeError: out of memory", "Stops")
model("model_that_names_another_sentence", 1, "gave a mask for expression '99'; asked for: 0", "OtherId")
model("model_that_names_another_frame", 1, "frame 6 of video .*; its frames are 0 to 5", "OtherFrame")
model("model_that_gives_no_triple", 1, r"must yield \(expression id, frame index, mask\), found ndarray", "NoTriple")
model(
    "model_that_is_interrupted",
    130,
    "interrupted; finished videos are kept in .*the same command continues",
    "stopped",
    writes=True,
)
model("model_that_is_not_there", 2, "hostile_models.* has no 'Nobody'", "Nobody")
model("model_that_is_a_number", 2, "hostile_models:number' is no predictor: .*found int", "number")
model("model_that_needs_arguments", 2, r"cannot be made without arguments \(weights\)", "Needs")
model("model_that_cannot_be_made", 2, r"hostile_models:Fails.*weights.bin is damaged", "Fails")


@hostile(2, "Unknown predictor 'emtpy'. Did you mean empty")
def unknown_predictor(world: World) -> Words:
    return ["predict", "emtpy", "mevis/valid_u", "--root", world.mevis, "--out", world.out]


@hostile(2, "No module 'no_such_module' for predictor")
def module_that_is_not_there(world: World) -> Words:
    return ["predict", "no_such_module:Model", "mevis/valid_u", "--root", world.mevis, "--out", world.out]


def named(name: str, spec: str, says: str) -> None:
    """A case with a predictor that cannot be had under this name."""
    add(name, lambda w: ["predict", spec, "mevis/valid_u", "--root", w.mevis, "--out", w.out], 2, says)


named("predictor_without_module", ":Model", "names no module; expected package.module:Class")
named("predictor_that_is_a_module", "os:path", "'os:path' is no predictor: .*found module")
named("predictor_that_takes_no_checkpoint", "empty:x", "'empty' takes no argument; write 'empty' instead")


@hostile(2, r"broken_models.*SyntaxError.*broken_models.py")
def module_with_a_mistake(world: World) -> Words:
    (world.base / "broken_models.py").write_text("def model(video text):\n")
    return ["predict", "broken_models:model", "mevis/valid_u", "--root", world.mevis, "--out", world.out]


# Run folders ----------------------------------------------------------------------------------------------------------


@hostile(2, "out is a file, a run needs a folder; give another --out")
def out_that_is_a_file(world: World) -> Words:
    world.out.write_text("my notes")
    return world.evaluate()


@hostile(2, r"out is not empty and not a run \(no run.json\); give a new folder as --out")
def out_with_foreign_files(world: World) -> Words:
    world.out.mkdir()
    (world.out / "thesis.tex").write_text("my thesis")
    return world.evaluate()


@hostile(2, r"already holds this run \(finished\); --resume continues it, or give another --out")
def out_that_holds_this_run(world: World) -> Words:
    return world.evaluate() if world.scored else []


@hostile(2, r"holds a run with protocol mevis@1, not mevis@official; give another --out")
def out_that_holds_another_run(world: World) -> Words:
    return world.evaluate("--protocol", "mevis@official", "--resume") if world.scored else []


@hostile(2, r"cannot be written: .*; give a writable --out")
def out_that_cannot_be(world: World) -> Words:
    return world.evaluate("--out", "/proc/run")


@hostile(2, r"out.*cannot be written: .*; give a writable --out")
def out_that_is_a_loop_of_links(world: World) -> Words:
    world.out.symlink_to(world.out)
    return world.evaluate()


@hostile(2, "run.json is not a run record: .*JSON")
def run_json_cut_off(world: World) -> Words:
    cut(world.scored / "run.json")
    return world.evaluate("--resume")


@hostile(2, r"run.json has schema 99, this rvos reads \d+; update rvos to open it")
def run_json_of_the_future(world: World) -> Words:
    edit_json(world.scored / "run.json", lambda record: record.update(schema_version=99))
    return ["runs", "show", world.out]


@hostile(0, "ok")
def torn_last_line(world: World) -> Words:
    lines = (world.scored / "samples.jsonl").read_bytes().splitlines(keepends=True)
    (world.out / "samples.jsonl").write_bytes(b"".join(lines[:4]) + lines[4][:30])
    return world.evaluate("--resume")


@hostile(2, "samples.jsonl, line 2, is damaged.*into another --out")
def damaged_line(world: World) -> Words:
    path = world.scored / "samples.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b'{"key": 5}\n', *lines[2:]]))
    return world.evaluate("--resume")


@hostile(2, r"out\S* cannot be written.*Permission denied.*give a writable --out", prefix=POWERLESS)
def out_that_is_read_only(world: World) -> Words:
    world.out.mkdir(mode=0o555)
    return world.predict("nothing")


@hostile(
    2,
    "No space left on the disk of run folder .*Free some space and continue with --resume",
    prefix=("sh", "-c", 'ulimit -f 4; trap "" XFSZ; exec "$@"', "sh"),
    writes=True,
)
def disk_that_is_full(world: World) -> Words:
    return world.evaluate("--per-frame")


@hostile(
    2,
    "(masks.json.gz|json.gz|run folder).*([Ff]ree some space|free space)",
    prefix=("sh", "-c", 'ulimit -f 2; trap "" XFSZ; exec "$@"', "sh"),
    writes=True,
)
def disk_that_is_full_for_predict(world: World) -> Words:
    return world.predict("shifted")


@hostile(2, "out holds no masks to score .*give the predictions it scored")
def run_without_masks(world: World) -> Words:
    return ["evaluate", "--predictions", world.scored, "--root", world.mevis]


@hostile(1, rf"{VIDEO}.json.gz: damaged .*; delete it and resume the run", spoils=(VIDEO,))
def run_with_a_damaged_mask_file(world: World) -> Words:
    cut(world.run / "masks" / f"{VIDEO}.json.gz")
    return ["evaluate", "--predictions", world.run, "--root", world.mevis, "--no-bounds", "--workers", "1"]


@hostile(2, "run holds a run with dataset fingerprint sha256:.*give another --out")
def run_of_data_that_have_changed(world: World) -> Words:
    in_expression(lambda e: e.update(exp="another sentence") or True)(world.meta)
    return ["evaluate", "--predictions", world.run, "--root", world.mevis, "--no-bounds"]


@hostile(2, r"(/proc/scores.csv|scores.csv) cannot be written.*give another file", writes=True)
def csv_that_cannot_be_written(world: World) -> Words:
    return world.evaluate("--csv", "/proc/scores.csv")


# The cache ------------------------------------------------------------------------------------------------------------


def cache_of(world: World) -> Path:
    os.environ["RVOS_CACHE"] = str(world.base / "cache")
    return world.base / "cache"


@hostile(0, r"cache\S*: cannot .*RVOS_CACHE")
def cache_that_cannot_be_written(world: World) -> Words:
    cache_of(world).write_text("")
    return [w for w in world.evaluate() if w != "--no-bounds"]


@hostile(0, "cache.*damaged")
def cache_that_is_corrupt(world: World) -> Words:
    cache = cache_of(world)
    words = [w for w in world.evaluate() if w != "--no-bounds"]
    with pytest.raises(SystemExit):
        main([*map(str, words[:-1]), str(world.base / "first")])
    shutil.rmtree(world.base / "first")
    for path in cache.rglob("*"):
        if path.is_file() and path.parent.name in ("rle-index", "hashes", "bounds"):
            path.write_bytes(b"\x93garbage")
    return words
