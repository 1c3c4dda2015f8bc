"""The layouts that ReasonShapes writes, read back with json and Pillow alone and by the loaders. About 6 s."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rvos.datasets.errors import DatasetError, UnknownNameError, UsageError
from rvos.datasets.images import davis_palette
from rvos.datasets.masks import decode_rle
from rvos.datasets.mevis import MeViS
from rvos.datasets.reasonshapes import KINDS, generate, write, write_mask_dict_at_scale
from rvos.datasets.reasonshapes.davis import DavisObject, describe_objects
from rvos.datasets.reasonshapes.writers import FIRST_GROUP, NO_OBJECT, write_davis_texts
from rvos.datasets.reasonvos import ReasonVOS
from rvos.datasets.ref_davis17 import RefDAVIS17
from rvos.datasets.ref_youtube_vos import RefYouTubeVOS

PACKS = Path(__file__).parents[2] / "../shared/packs"
needs_packs = pytest.mark.skipif(not PACKS.is_dir(), reason="the packs are not beside this checkout")


@pytest.fixture(scope="module")
def videos():
    return list(generate("valid", 4, kinds=KINDS, n_sentences=7, n_frames=8, height=48, width=64))


def read(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


def pixels(path: Path, mode: str) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == mode
        return np.asarray(image)


def tree(root: Path) -> set[str]:
    return {p.relative_to(root).as_posix() for p in root.rglob("*")}


def shape_of(value, depth=0):
    """The structure of a JSON value: keys of records, types of leaves; maps from ids count as one entry."""
    if isinstance(value, dict):
        if depth in (1, 3) or all(key.isdigit() for key in value):
            return {"<id>": shape_of(next(iter(value.values())), depth + 1)}
        return {key: shape_of(v, depth + 1) for key, v in sorted(value.items())}
    if isinstance(value, list):
        return [shape_of(value[0], depth + 1)] if value else []
    return type(value).__name__


# ReasonVOS -----------------------------------------------------------------------------------------------------------


def test_reasonvos_layout(videos, tmp_path):
    written = write("reasonvos", tmp_path / "out", videos)
    assert (written.n_videos, written.n_left_out) == (4, 0)
    meta = read(tmp_path / "out" / "meta_expressions.json")["videos"]
    assert list(meta) == [v.id for v in videos]
    for video in videos:
        entry = meta[video.id]
        assert entry["source"] == "ReasonShapes"
        assert entry["frames"] == [f"{t:05d}" for t in range(8)]
        assert [e["exp_text"] for e in entry["expressions"]] == [s.text for s in video.samples]
        for expression, sample in zip(entry["expressions"], video.samples, strict=True):
            assert expression["object_ids"] == list(sample.object_ids)
            assert (expression["kind"], expression["tags"]) == (sample.kind, sample.tags)
            folder = tmp_path / "out" / "Annotations" / f"ReasonShapes_{video.id}_{expression['obj_id']}"
            assert sorted(p.name for p in folder.iterdir()) == [f"{t:05d}.png" for t in range(8)]
            for t in range(8):
                mask = pixels(folder / f"{t:05d}.png", "L")
                assert np.array_equal(mask, video.mask(sample, t) * np.uint8(255))
        for t in range(8):
            frame = pixels(tmp_path / "out" / "JPEGImages" / video.id / f"{t:05d}.jpg", "RGB")
            difference = np.abs(frame.astype(int) - video.renderer.frame(t).rgb)
            assert frame.shape == (48, 64, 3) and difference.mean() < 12


def test_reasonvos_object_ids(videos, tmp_path):
    write("reasonvos", tmp_path / "out", videos)
    ids = {
        (len(e["object_ids"]), e["obj_id"])
        for entry in read(tmp_path / "out" / "meta_expressions.json")["videos"].values()
        for e in entry["expressions"]
    }
    assert {n for n, _ in ids} >= {0, 1, 2}
    for n, obj_id in ids:
        assert obj_id == NO_OBJECT if n == 0 else (obj_id < FIRST_GROUP) == (n == 1)
    for video in videos:
        for thing in video.things:
            assert (tmp_path / "out" / "Annotations" / f"ReasonShapes_{video.id}_{thing.id}").is_dir()


def test_reasonvos_loader_reads_it(videos, tmp_path):
    write("reasonvos", tmp_path / "out", videos)
    dataset = ReasonVOS(tmp_path / "out")
    assert len(dataset) == sum(len(v.samples) for v in videos)
    expected = [(video, sample) for video in videos for sample in video.samples]
    for loaded, (video, sample) in zip(dataset, expected, strict=True):
        assert loaded.expression.text == sample.text
        truth = dataset.ground_truth(loaded).dense()
        assert np.array_equal(truth, np.stack([video.mask(sample, t) for t in range(8)]))


# MeViS ---------------------------------------------------------------------------------------------------------------


def test_mevis_layout(videos, tmp_path):
    written = write("mevis", tmp_path / "out", videos)
    root = tmp_path / "out" / "valid_u"
    meta, masks = read(root / "meta_expressions.json")["videos"], read(root / "mask_dict.json")
    targets = [s for v in videos for s in v.samples if s.object_ids]
    assert written.n_expressions == len(targets) > 0
    assert written.n_left_out == sum(not s.object_ids for v in videos for s in v.samples) > 0
    assert list(masks) == [str(k) for k in range(sum(len(v.things) for v in videos))]
    assert any(rle is None for track in masks.values() for rle in track)
    for number, video in enumerate(videos):
        assert meta[video.id]["vid_id"] == number
        samples = [s for s in video.samples if s.object_ids]
        assert list(meta[video.id]["expressions"]) == [str(k) for k in range(len(samples))]
        for expression, sample in zip(meta[video.id]["expressions"].values(), samples, strict=True):
            assert expression["exp"] == sample.text
            assert [i + 1 for i in expression["obj_id"]] == list(sample.object_ids)
            for t in range(8):
                union = np.zeros((48, 64), bool)
                for anno in expression["anno_id"]:
                    rle = masks[str(anno)][t]
                    union |= decode_rle(rle) if rle is not None else union
                assert np.array_equal(union, video.mask(sample, t))


def test_mevis_splits_share_a_root_and_valid_withholds(videos, tmp_path):
    for split in ("valid_u", "valid", "train"):
        write("mevis", tmp_path / "out", videos, split=split)
    assert not (tmp_path / "out" / "valid" / "mask_dict.json").exists()
    meta = read(tmp_path / "out" / "valid" / "meta_expressions.json")["videos"]
    assert all(set(e) == {"exp"} for v in meta.values() for e in v["expressions"].values())


def test_mevis_no_target_is_written_where_it_is_asked_for(videos, tmp_path):
    written = write("mevis", tmp_path / "out", videos, no_target=True)
    meta = read(tmp_path / "out" / "valid_u" / "meta_expressions.json")["videos"]
    assert written.n_left_out == 0
    assert any(e["anno_id"] == [] for v in meta.values() for e in v["expressions"].values())


def test_mevis_loader_reads_it(videos, tmp_path):
    write("mevis", tmp_path / "out", videos)
    dataset = MeViS(tmp_path / "out", "valid_u")
    expected = [(video, sample) for video in videos for sample in video.samples if sample.object_ids]
    for loaded, (video, sample) in zip(dataset, expected, strict=True):
        truth = dataset.ground_truth(loaded).dense()
        assert np.array_equal(truth, np.stack([video.mask(sample, t) for t in range(8)]))


# Ref-YouTube-VOS -----------------------------------------------------------------------------------------------------


def test_ref_youtube_vos_train_layout(videos, tmp_path):
    write("ref-youtube-vos", tmp_path / "out", videos, split="train")
    root = tmp_path / "out"
    meta = read(root / "meta_expressions" / "train" / "meta_expressions.json")["videos"]
    objects = read(root / "train" / "meta.json")["videos"]
    for video in videos:
        assert meta[video.id]["frames"] == [f"{5 * t:05d}" for t in range(8)]
        texts = [s.text for s in video.samples if len(s.object_ids) == 1]
        assert [e["exp"] for e in meta[video.id]["expressions"].values()] == texts
        for t in range(8):
            path = root / "train" / "Annotations" / video.id / f"{5 * t:05d}.png"
            labels = pixels(path, "P")
            assert np.array_equal(labels, video.renderer.labels(t))
            for key, entry in objects[video.id]["objects"].items():
                assert (f"{5 * t:05d}" in entry["frames"]) == bool((labels == int(key)).any())
                assert entry["category"] == video.scene.thing(int(key)).shape


def test_ref_youtube_vos_valid_layout(videos, tmp_path):
    write("ref-youtube-vos", tmp_path / "out", videos[:2], test_videos=videos[2:])
    root = tmp_path / "out"
    valid = read(root / "meta_expressions" / "valid" / "meta_expressions.json")["videos"]
    test = read(root / "meta_expressions" / "test" / "meta_expressions.json")["videos"]
    assert set(valid) == {v.id for v in videos} and set(test) == {v.id for v in videos[2:]}
    assert all(set(e) == {"exp"} for v in valid.values() for e in v["expressions"].values())
    assert {p.name for p in (root / "valid" / "Annotations").iterdir()} == set(valid) - set(test)
    assert {p.name for p in (root / "valid" / "JPEGImages").iterdir()} == set(valid)
    video = videos[0]
    samples = [s for s in video.samples if len(s.object_ids) == 1]
    for k, sample in enumerate(samples):
        mask = pixels(root / "valid" / "Annotations" / video.id / str(k) / "00015.png", "L")
        assert np.array_equal(mask, video.mask(sample, 3) * np.uint8(255))


def test_ref_youtube_vos_loader_reads_both_splits(videos, tmp_path):
    write("ref-youtube-vos", tmp_path / "out", videos, split="train")
    write("ref-youtube-vos", tmp_path / "out", videos[:2], split="valid", test_videos=videos[2:])
    for split, given in (("train", videos), ("valid", videos[:2])):
        dataset = RefYouTubeVOS(tmp_path / "out", split)
        expected = [(v, s) for v in given for s in v.samples if len(s.object_ids) == 1]
        for loaded, (video, sample) in zip(dataset, expected, strict=True):
            assert loaded.expression.text == sample.text
            truth = dataset.ground_truth(loaded).dense()
            assert np.array_equal(truth, np.stack([video.mask(sample, t) for t in range(8)]))


# Ref-DAVIS-17 --------------------------------------------------------------------------------------------------------


def test_ref_davis17_original_and_converted_say_the_same(videos, tmp_path):
    write("ref-davis17", tmp_path / "out", videos)
    root = tmp_path / "out"
    meta = read(root / "meta_expressions" / "valid" / "meta_expressions.json")["videos"]
    semantics = read(root / "DAVIS" / "davis_semantics.json")
    listed = (root / "DAVIS" / "ImageSets" / "2017" / "val.txt").read_text(encoding="utf-8").split()
    assert listed == [v.id for v in videos] == list(meta) == list(semantics)
    # What ReferFormer's converter makes of the text files.
    converted: dict[str, dict[str, dict[str, str]]] = {v: {} for v in listed}
    names = ("annot1", "annot1_full_video", "annot2", "annot2_full_video")
    for j, name in enumerate(names):
        encoding = "utf-8" if j < 2 else "latin-1"
        text = (root / "davis_text_annotations" / f"Davis17_{name}.txt").read_text(encoding=encoding)
        for line in text.splitlines():
            video_id, obj_id, quoted = line.split(" ", 2)
            key = str(4 * (int(obj_id) - 1) + j)
            converted[video_id][key] = {"exp": quoted[1:-1], "obj_id": obj_id}
    for video_id in listed:
        assert dict(sorted(converted[video_id].items(), key=lambda kv: int(kv[0]))) == meta[video_id]["expressions"]
    objects = read(root / "valid" / "meta.json")["videos"]
    for video_id in listed:
        assert {k: v["category"] for k, v in objects[video_id]["objects"].items()} == semantics[video_id]


def test_ref_davis17_masks(videos, tmp_path):
    write("ref-davis17", tmp_path / "out", videos)
    root = tmp_path / "out"
    for video in videos:
        described = describe_objects(video)
        asked = [o.label for o in described if o.texts]
        assert asked == list(range(1, len(asked) + 1))
        folders = [root / "DAVIS" / kind / "480p" for kind in ("Annotations", "Annotations_unsupervised")]
        for folder in (*folders, root / "valid" / "Annotations"):
            for t in range(8):
                labels = pixels(folder / video.id / f"{t:05d}.png", "P")
                for o in described:
                    assert np.array_equal(labels == o.label, video.renderer.labels(t) == o.thing_id)
        first = pixels(folders[0] / video.id / "00000.png", "P")
        assert set(asked) <= set(np.unique(first))
        assert (root / "DAVIS" / "JPEGImages" / "480p" / video.id / "00007.jpg").is_file()


def test_davis_text_encodings(tmp_path):
    o = DavisObject(1, 1, "cup", ("a café", "a café left", "a café too", "a café of 90°"))
    write_davis_texts(tmp_path, [("video", o)])
    assert (tmp_path / "Davis17_annot1.txt").read_bytes() == 'video 1 "a café"\n'.encode()
    assert (tmp_path / "Davis17_annot2_full_video.txt").read_bytes() == 'video 1 "a café of 90°"\n'.encode("latin-1")


def test_ref_davis17_loader_reads_it(videos, tmp_path):
    write("ref-davis17", tmp_path / "out", videos)
    dataset = RefDAVIS17(tmp_path / "out", "valid")
    assert len(dataset) == 4 * sum(bool(o.texts) for v in videos for o in describe_objects(v))
    for loaded in list(dataset)[::5]:
        assert dataset.ground_truth(loaded).dense().any()


def test_palette_is_the_one_of_davis():
    colours = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128)]
    assert davis_palette().ravel()[:21].tolist() == [value for colour in colours for value in colour]
    assert davis_palette().size == 768


# The packs have real layouts ------------------------------------------------------------------------------------------


@needs_packs
@pytest.mark.parametrize(
    ("layout", "arguments", "ours", "theirs"),
    [
        ("reasonvos", {}, "meta_expressions.json", "reasonvos/meta_expressions.json"),
        ("mevis", {}, "valid_u/meta_expressions.json", "mevis/valid_u/meta_expressions.json"),
        ("mevis", {}, "valid_u/mask_dict.json", "mevis/valid_u/mask_dict.json"),
        ("ref-youtube-vos", {"split": "train"}, "train/meta.json", "ref_youtube_vos/train/meta.json"),
        (
            "ref-youtube-vos",
            {"split": "train"},
            "meta_expressions/train/meta_expressions.json",
            "ref_youtube_vos/meta_expressions/train/meta_expressions.json",
        ),
        (
            "ref-youtube-vos",
            {},
            "meta_expressions/valid/meta_expressions.json",
            "ref_youtube_vos/meta_expressions/valid/meta_expressions.json",
        ),
        (
            "ref-davis17",
            {},
            "meta_expressions/valid/meta_expressions.json",
            "ref_davis17/meta_expressions/valid/meta_expressions.json",
        ),
        ("ref-davis17", {}, "valid/meta.json", "ref_davis17/valid/meta.json"),
        ("ref-davis17", {}, "DAVIS/davis_semantics.json", "ref_davis17/DAVIS/davis_semantics.json"),
    ],
)
def test_json_has_the_structure_of_the_packs(videos, tmp_path, layout, arguments, ours, theirs):
    write(layout, tmp_path / "out", videos[:1], **arguments)
    own, real = (
        shape_of(value if "videos" in value or layout == "mevis" else {"videos": value})
        for value in (read(tmp_path / "out" / ours), read(PACKS / theirs))
    )
    if layout == "reasonvos":
        expression = own["videos"]["<id>"]["expressions"][0]
        for extra in ("object_ids", "kind", "tags", "program"):
            del expression[extra]
        del own["videos"]["<id>"]["scene"]
    assert own == real


@needs_packs
def test_ref_davis17_has_the_folders_of_the_packs(videos, tmp_path):
    write("ref-davis17", tmp_path / "out", videos[:1])
    real = {p for p in tree(PACKS / "ref_davis17") if not p.startswith("predictions")}
    folders = {p for p in real if p.count("/") < 2 and "." not in p} | {"DAVIS/ImageSets/2017/val.txt"}
    assert folders <= tree(tmp_path / "out")


# ReVOS, Long-RVOS, GroundMoRe ----------------------------------------------------------------------------------------


def test_revos_layout(videos, tmp_path):
    written = write("revos", tmp_path, videos)
    meta = read(tmp_path / "meta_expressions_valid_.json")["videos"]
    masks, foreground = read(tmp_path / "mask_dict.json"), read(tmp_path / "mask_dict_foreground.json")
    assert written.n_expressions == sum(len(v.samples) for v in videos) and written.n_left_out == 0
    for video in videos:
        entry = meta[f"ReasonShapes/{video.id}"]
        assert set(entry) == {"expressions", "vid_id", "frames", "height", "width"}
        assert (entry["height"], entry["width"]) == (48, 64)
        assert (tmp_path / "JPEGImages" / "ReasonShapes" / video.id / "00007.jpg").is_file()
        for expression, sample in zip(entry["expressions"].values(), video.samples, strict=True):
            assert set(expression) == {"exp", "obj_id", "anno_id", "type_id"}
            wanted = 2 if not sample.object_ids else int(sample.kind not in ("attribute", "spatial"))
            assert expression["type_id"] == wanted
            for t in range(8):
                shown = [decode_rle(masks[str(a)][t]) for a in expression["anno_id"] if masks[str(a)][t]]
                assert np.array_equal(sum(shown, np.zeros((48, 64), bool)), video.mask(sample, t))
        # As VISA's script makes it: the union of all annotations that the video's expressions name.
        named = {a for e in entry["expressions"].values() for a in e["anno_id"]}
        unions = foreground[f"ReasonShapes/{video.id}"]
        for t in range(8):
            union = sum((decode_rle(masks[str(a)][t]) for a in named if masks[str(a)][t]), np.zeros((48, 64), bool))
            assert np.array_equal(decode_rle(unions["masks_rle"][t]), union)
            assert unions["foreground_ratio"][t] == pytest.approx(union.mean())


def test_long_rvos_layout(videos, tmp_path):
    write("long-rvos", tmp_path, videos, split="test")
    meta = read(tmp_path / "test" / "meta_expressions.json")["videos"]
    types = {"attribute": "static", "spatial": "static", "motion": "dynamic", "temporal": "dynamic"}
    for video in videos:
        samples = [s for s in video.samples if s.object_ids]
        for expression, sample in zip(meta[video.id]["expressions"].values(), samples, strict=True):
            assert expression["type"] == types.get(sample.kind, "static+dynamic")
            folder = tmp_path / "test" / "Annotations" / video.id / str(expression["obj_id"])
            for t in range(8):
                path, mask = folder / f"{t:05d}.png", video.mask(sample, t)
                assert path.exists() == bool(mask.any())
                assert not path.exists() or np.array_equal(pixels(path, "L"), mask * np.uint8(255))


def test_groundmore_layout(videos, tmp_path):
    write("groundmore", tmp_path, videos)
    meta = read(tmp_path / "test_v2.json")["videos"]
    for video in videos:
        clip = f"{video.id}_0000_0002"  # 8 frames at 6 a second
        texts = {s.text: s for s in video.samples if len(s.object_ids) == 1}
        for number, question in meta[clip]["questions"].items():
            assert set(question) == {"question", "obj_id", "q_type", "action_start", "action_end"}
            seen_late = any(video.mask(texts[question["question"]], t).any() for t in (6, 7))
            half = int(number) % 2 and seen_late  # what is not seen after the first second needs no end of its own
            assert (question["action_start"], question["action_end"]) == ("00:00", "00:01" if half else "00:02")
            for t in range(8):
                labels = pixels(tmp_path / "annotations" / clip / "masks" / f"frame_{t:06d}.png", "P")
                assert np.array_equal(labels == question["obj_id"], video.mask(texts[question["question"]], t))
        assert len(list((tmp_path / "annotations" / clip / "images").iterdir())) == 8


# Writing -------------------------------------------------------------------------------------------------------------


def test_nothing_is_overwritten(videos, tmp_path):
    write("mevis", tmp_path / "out", videos[:1])
    before = tree(tmp_path)
    with pytest.raises(UsageError, match=r"Already there: .*valid_u\. Remove it"):
        write("mevis", tmp_path / "out", videos[:1])
    assert tree(tmp_path) == before


def test_a_writer_that_fails_leaves_nothing(videos, tmp_path):
    def broken():
        yield videos[0]
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write("reasonvos", tmp_path / "out", broken())
    assert tree(tmp_path) == set()


def test_two_videos_of_one_id_are_refused(videos, tmp_path):
    with pytest.raises(DatasetError, match="occurs twice"):
        write("reasonvos", tmp_path / "out", [videos[0], replace(videos[1], id=videos[0].id)])


def test_wrong_names(videos, tmp_path):
    with pytest.raises(UnknownNameError, match="Unknown layout 'davis'"):
        write("davis", tmp_path / "out", videos)
    with pytest.raises(UnknownNameError, match="split of layout mevis 'test'"):
        write("mevis", tmp_path / "out", videos, split="test")


def test_mask_dict_at_scale(tmp_path):
    root = write_mask_dict_at_scale(tmp_path / "big", 500, 12, height=60, width=106, pool=16)
    masks, meta = read(root / "mask_dict.json"), read(root / "meta_expressions.json")["videos"]
    assert len(masks) == 500 and all(len(track) == 12 for track in masks.values())
    annos = [a for v in meta.values() for e in v["expressions"].values() for a in e["anno_id"]]
    assert annos == list(range(500))
    assert any(masks[str(k)] != masks[str(k + 16)] for k in range(16))
    rle = next(rle for rle in masks["499"] if rle is not None)
    assert decode_rle(rle).shape == (60, 106)
