"""Layouts from layouts: around the circle and back with identical samples and masks; what does not fit is listed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from samedata import masks_of, only, same
from toyset import ToyDataset

from rvos.cli import main
from rvos.datasets.conversion import LAYOUTS, convert
from rvos.datasets.errors import DatasetError, RvosError, UnknownNameError, UsageError
from rvos.datasets.layouts.content import contents
from rvos.datasets.layouts.job import How
from rvos.datasets.reasonshapes import generate, write
from rvos.datasets.registry import load
from rvos.datasets.types import RVOSDataset

PACKS = Path(__file__).resolve().parents[3] / "shared" / "packs"
needs_packs = pytest.mark.skipif(not PACKS.is_dir(), reason="the packs of real masks are not beside the repository")
SIZE = {"height": 48, "width": 64, "n_frames": 5}


def around(
    dataset: RVOSDataset, layouts: Sequence[str], out: Path, frames: How = "link", crf: int = 18
) -> tuple[RVOSDataset, list[str]]:
    """The dataset after conversions one after the other, and everything that they say is lost."""
    lost = []
    for number, layout in enumerate(layouts):
        root = out / str(number)
        done = convert(dataset, layout, root, frames=frames, crf=crf)
        lost += [loss.what for loss in done.losses if not loss.kept]
        dataset = load(done.target, root)
    return dataset, lost


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root per layout, of sentences about one thing each."""
    root = tmp_path_factory.mktemp("shapes")
    videos = list(generate("valid", 2, 3, **SIZE, n_sentences=3, kinds=("attribute", "temporal")))
    for layout, split in (
        ("reasonvos", None),
        ("mevis", "valid_u"),
        ("ref-youtube-vos", "train"),
        ("ref-davis17", None),
        ("revos", "valid"),
        ("long-rvos", "valid"),
        ("groundmore", "test"),
        ("reasonseg", "val"),
        ("refcoco", "val"),
        ("refcoco+", "val"),
        ("refcocog", "test"),
        ("refclef", "train"),
    ):
        write(layout, root / layout, videos, split=split or None)
    return root


CIRCLES = {
    "reasonvos": ("reasonvos", ["mevis", "ref-davis17", "ref-youtube-vos/train", "reasonvos"]),
    "mevis": ("mevis/valid_u", ["ref-youtube-vos/train", "ref-davis17", "reasonvos", "mevis"]),
    "ref-youtube-vos": ("ref-youtube-vos/train", ["reasonvos", "mevis/train", "ref-davis17", "ref-youtube-vos/train"]),
    "ref-davis17": ("ref-davis17/valid", ["reasonvos", "ref-youtube-vos/train", "mevis", "ref-davis17"]),
    "revos": ("revos/valid", ["mevis", "long-rvos", "ref-youtube-vos/train", "revos"]),
    "long-rvos": ("long-rvos/valid", ["revos", "reasonvos", "ref-davis17", "long-rvos"]),
    "groundmore": ("groundmore/test", ["mevis", "long-rvos", "reasonvos", "revos", "groundmore"]),
    "reasonseg": ("reasonseg/val", ["mevis", "reasonvos", "reasonseg"]),
    "refcoco": ("refcoco/val", ["revos", "reasonvos", "mevis", "refcoco"]),
    "refcoco+": ("refcoco+/val", ["refcoco/testA", "refclef", "refcoco+"]),
    "refcocog": ("refcocog/test", ["refclef/val", "mevis", "refcocog/test"]),
    "refclef": ("refclef/train", ["refcoco", "revos", "refclef/train"]),
}


@pytest.mark.parametrize("start", CIRCLES)
def test_around_the_circle_and_back(shapes: Path, start: str, tmp_path: Path) -> None:
    name, layouts = CIRCLES[start]
    before = load(name, shapes / start)
    after, lost = around(before, layouts, tmp_path)
    assert set(lost) <= {
        "fields 'program' of sentences",
        "fields 'scene' of videos",
        "fields 'kind' of sentences",
        "fields 'tags' of sentences",
        "fields 'object_ids' of sentences",
        "videos' semi-supervised masks; the unsupervised ones are read",
        "annotations that no sentence names",
    }
    same(before, after)


#: through all layouts, those that know one object a sentence and one a pixel included
ROUND = ["mevis", "ref-davis17", "ref-youtube-vos/valid", "long-rvos", "ref-youtube-vos/train", "mp4-rle", "revos"]


def test_reasonshapes_around_all_layouts(tmp_path: Path) -> None:
    """Several targets, no target, kinds and tags, things behind others."""
    kinds = ("attribute", "multi-object", "no-target", "temporal")
    write("reasonvos", tmp_path / "start", generate("valid", 3, 0, **SIZE, n_sentences=6, kinds=kinds))
    before = load("reasonshapes/valid", tmp_path / "start")
    assert {len(s.expression.object_ids or ()) for s in before} >= {0, 1, 2}
    after, lost = around(before, [*ROUND, "reasonvos"], tmp_path, crf=0)
    assert {what.split(",")[0] for what in lost} == {
        "fields 'program' of sentences",
        "fields 'scene' of videos",
        "image files",
    }
    same(before, load("reasonshapes/valid", after.root), frames="pixels")


PACK_NAMES = {
    "reasonvos": ("reasonvos", "reasonvos", "reasonvos"),
    "mevis": ("mevis/valid_u", "mevis", "mevis"),
    "ref-youtube-vos": ("ref-youtube-vos/train", "ref_youtube_vos", "ref-youtube-vos/train"),
    "ref-davis17": ("ref-davis17/valid", "ref_davis17", "ref-davis17"),
}
FOUR = ["reasonvos", "mevis", "ref-youtube-vos/train", "ref-davis17", "ref-youtube-vos/valid"]


def around_the_four(before: RVOSDataset, layout: str, out: Path) -> None:
    # The frames of some videos are thumbnails, to whose size loaders of label maps would bring masks.
    after, lost = around(before, [*(other for other in FOUR if other != layout), layout], out, "none")
    same(before, after, frames="none", voids=True)
    assert {what.split(";")[0] for what in lost} <= {
        "videos' semi-supervised masks",
        "annotations that no sentence names",
    }


@needs_packs
@pytest.mark.parametrize("pack", PACK_NAMES)
def test_a_video_of_every_pack_around_the_four_layouts(pack: str, tmp_path: Path) -> None:
    """Sentences about several objects, things that overlap, void pixels, frames without annotation."""
    name, folder, layout = PACK_NAMES[pack]
    around_the_four(only(load(name, PACKS / folder), "bmx-trees"), layout, tmp_path)


@pytest.mark.long
@needs_packs
@pytest.mark.parametrize("pack", PACK_NAMES)
def test_packs_around_the_four_layouts(pack: str, tmp_path: Path) -> None:
    name, folder, layout = PACK_NAMES[pack]
    around_the_four(load(name, PACKS / folder), layout, tmp_path)


@needs_packs
def test_packs_come_back_with_their_frames(tmp_path: Path) -> None:
    before = load("ref-youtube-vos/train", PACKS / "ref_youtube_vos")
    after, lost = around(before, ["mevis", "ref-youtube-vos/train"], tmp_path)
    same(before, after, voids=True)
    assert not lost


@needs_packs
def test_davis_from_its_own_text_files(tmp_path: Path) -> None:
    original = load("ref-davis17/valid", PACKS / "ref_davis17", layout="original")
    done = convert(original, "ref-davis17", tmp_path / "converted")
    after = load("ref-davis17/valid", tmp_path / "converted")
    assert [(s.key, s.expression) for s in after] == [(s.key, s.expression) for s in original]
    for sample in after:
        index = len(sample.video) // 2
        theirs = original.ground_truth(original.sample(sample.key))
        ours = after.ground_truth(sample)
        assert ours is not None and theirs is not None
        assert np.array_equal(ours.mask(index), theirs.mask(index))
        assert np.array_equal(ours.void(index), theirs.void(index))
    assert {loss.what.split(";")[0] for loss in done.losses} == {"videos' semi-supervised masks"}


def test_names_with_folders_become_flat_where_folders_are_objects(layouts: Path, tmp_path: Path) -> None:
    before = load("revos/valid", layouts / "revos")
    done = convert(before, "reasonvos", tmp_path / "r")
    after = load("reasonvos", tmp_path / "r")
    assert "folders in names of videos, which become '-'" in {loss.what for loss in done.losses}
    assert [s.video.id for s in after] == [s.video.id.replace("/", "-") for s in before]
    assert [masks_of(after.ground_truth(s)) for s in after] == [masks_of(before.ground_truth(s)) for s in before]


def test_what_does_not_fit_is_listed(tmp_path: Path) -> None:
    done = convert(ToyDataset(), "ref-davis17", tmp_path / "davis")
    lost = {loss.what: loss.count for loss in done.losses}
    assert lost["sentences about several objects"] == lost["sentences without a target"] == 3
    assert done.lossless and done.n_expressions == 9 and done.n_encoded == 5 + 6 + 7
    record = json.loads((tmp_path / "davis/conversion-valid.json").read_text())
    assert record["losses"] == [vars(loss) for loss in done.losses] and record["target"] == "ref-davis17/valid"
    overlapping = convert(ToyDataset(), "reasonvos", tmp_path / "reasonvos")
    assert overlapping.lossless and overlapping.n_expressions == 15
    back = list(contents(load("reasonvos", tmp_path / "reasonvos")))
    assert [c.expressions for c in back] == [
        tuple(s.expression for s in ToyDataset().samples_of(v.id)) for v in ToyDataset().videos
    ]


@needs_packs
def test_masks_per_expression_hold_any_target(tmp_path: Path) -> None:
    before = only(load("mevis/valid_u", PACKS / "mevis"), "soapbox")
    done = convert(before, "ref-youtube-vos/valid", tmp_path / "y")
    after = load(done.target, tmp_path / "y")
    assert [masks_of(after.ground_truth(s)) for s in after] == [masks_of(before.ground_truth(s)) for s in before]
    assert "objects of which this layout shows nothing" in {loss.what for loss in done.losses}
    thumbnails = only(load("reasonvos", PACKS / "reasonvos"), "dance-twirl")
    lost = convert(thumbnails, "ref-youtube-vos/valid", tmp_path / "t").losses
    assert any("another size than their frames" in loss.what for loss in lost)


def test_frames_are_linked_or_copied_byte_for_byte(shapes: Path, tmp_path: Path) -> None:
    dataset = load("mevis/valid_u", shapes / "mevis")
    linked = convert(dataset, "reasonvos", tmp_path / "a")
    copied = convert(dataset, "reasonvos", tmp_path / "b", frames="copy")
    bare = convert(dataset, "reasonvos", tmp_path / "c", frames="none")
    assert (linked.n_linked, copied.n_copied, bare.n_linked + bare.n_copied) == (10, 10, 0)
    frame = dataset.videos[0].source.path("00000")
    name = frame.relative_to(shapes / "mevis/valid_u")
    assert frame.samefile(tmp_path / "a" / name) and (tmp_path / "b" / name).read_bytes() == frame.read_bytes()
    assert not (tmp_path / "c/JPEGImages").exists()
    for root in "ab":
        load("reasonvos", tmp_path / root).check()


def test_withheld_masks(layouts: Path, tmp_path: Path) -> None:
    withheld = load("mevis/valid", layouts / "mevis")
    with pytest.raises(UsageError, match="withholds its masks"):
        convert(withheld, "reasonvos", tmp_path / "r")
    after, _ = around(withheld, ["ref-youtube-vos/valid", "mevis/valid"], tmp_path)
    same(withheld, after)


def test_refusals_leave_nothing_behind(shapes: Path, tmp_path: Path) -> None:
    dataset = load("reasonvos", shapes / "reasonvos")
    with pytest.raises(UnknownNameError, match="layout"):
        convert(dataset, "coco", tmp_path / "x")
    with pytest.raises(UnknownNameError, match="split of layout mevis"):
        convert(dataset, "mevis/test", tmp_path / "x")
    convert(dataset, "mevis", tmp_path / "x")
    with pytest.raises(UsageError, match="Already there"):
        convert(dataset, "mevis", tmp_path / "x")
    convert(dataset, "mevis/train", tmp_path / "x")
    meta = tmp_path / "x/valid_u/meta_expressions.json"
    content = json.loads(meta.read_text())
    next(iter(content["videos"].values()))["rvos"]["expressions"].pop()
    meta.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match="the key 'rvos' does not fit"):
        convert(load("mevis/valid_u", tmp_path / "x"), "reasonvos", tmp_path / "y")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x"]


def test_every_layout_has_a_loader() -> None:
    from rvos.datasets.registry import entry_of

    for name, layout in LAYOUTS.items():
        assert set(layout.splits) <= set(entry_of(name).splits)


def test_command(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: object) -> int:
        with pytest.raises(SystemExit) as ended:
            main(["datasets", "convert", *(str(w) for w in words)])
        return int(ended.value.code or 0)

    source = ("mevis/valid_u", "--root", shapes / "mevis")
    assert run(*source, "--to", "reasonvos", "--out", tmp_path / "a") == 0
    assert "2 videos" in capsys.readouterr().out
    assert run(*source, "--to", "ref-davis17", "--out", tmp_path / "b", "--json") == 0
    assert json.loads(capsys.readouterr().out)["target"] == "ref-davis17/valid"
    assert run(*source, "--to", "nothing", "--out", tmp_path / "c") == 2
    assert run(*source, "--to", "reasonvos", "--out", tmp_path / "a") == 2
    assert isinstance(load("reasonvos", tmp_path / "a"), RVOSDataset) and issubclass(UsageError, RvosError)
