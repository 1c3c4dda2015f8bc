"""In: benchmarks and collections of masks. Out: views of a project, with everything that they lose said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from toyproject import TERMS, assert_same, box, masks_of, toy_clip, tracks, write_frames, write_project

import rvos
from rvos.cli import main
from rvos.datasets.annotation import native
from rvos.datasets.annotation.exporting import LAYOUTS, export
from rvos.datasets.annotation.importing import Imported, import_dataset
from rvos.datasets.annotation.loader import load_dataset
from rvos.datasets.annotation.native import Head
from rvos.datasets.errors import DatasetError, UnknownNameError, UsageError
from rvos.datasets.frames import FrameFolder
from rvos.datasets.masks import encode_rle
from rvos.datasets.types import RVOSDataset

PACKS = Path(__file__).resolve().parents[4] / "shared" / "packs"
needs_packs = pytest.mark.skipif(not PACKS.is_dir(), reason="the packs of real masks are not beside the repository")
SAID: dict[str, Any] = {"licence": "as its authors state", "consent": "public", "may_copy_frames": True}


def imported(out: Path, kind: str, root: Path, **options: Any) -> Path:
    with native.Writer(out, Head(name="imported")) as writer:
        for clip in import_dataset(kind, root, **options):
            writer.add(clip.clip, clip.masks, clip.source, link=True)
    return out


def same_here(a: RVOSDataset, b: RVOSDataset) -> None:
    assert_same(a, b, paths=False)  # a project has its own folders of predictions


# Benchmarks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "reasonvos",
        "mevis/valid_u",
        "mevis/valid",
        "ref-youtube-vos/train",
        "ref-youtube-vos/valid",
        "ref-davis17/valid",
    ],
)
def test_a_benchmark_comes_back(layouts: Path, tmp_path: Path, name: str) -> None:
    root = layouts / name.partition("/")[0]
    before = rvos.load(name, root)
    folder = imported(tmp_path / "native", name, root, **SAID)
    same_here(before, rvos.load(folder))
    done = export(folder, name, tmp_path / "view")
    assert_same(before, rvos.load(name, tmp_path / "view"))
    assert not done.withheld and all("origin" in loss for loss in done.losses)
    assert {clip.source.licence for clip in native.read(folder)} == {SAID["licence"]}


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """The exit code and what ``rvos annotate`` printed."""
    try:
        main(["annotate", *words])
    except SystemExit as ended:
        output = capsys.readouterr()
        return int(ended.code or 0), output.out + output.err
    raise AssertionError("the command line ends with an exit code")


def without_frames(root: Path) -> None:
    """As a benchmark's validation split is often at hand: sentences, and neither masks nor images."""
    for split in ("valid", "train"):
        shutil.rmtree(root / split)


def with_thumbnails(root: Path) -> None:
    """The images of one video at half the size of its masks."""
    for path in sorted((root / "valid" / "JPEGImages").iterdir())[0].iterdir():
        small = Image.open(path).resize((32, 24))
        path.unlink()
        small.save(path)


@pytest.mark.parametrize(
    ("name", "pack", "change"),
    [
        ("ref-davis17/valid", "", with_thumbnails),
        ("ref-youtube-vos/valid", "", without_frames),
        pytest.param("ref-youtube-vos/train", "ref_youtube_vos", None, marks=needs_packs),
        *(
            pytest.param(name, pack, None, marks=[pytest.mark.long, needs_packs])
            for name, pack in (
                ("reasonvos", "reasonvos"),
                ("mevis/valid_u", "mevis"),
                ("ref-davis17/valid", "ref_davis17"),
                ("ref-youtube-vos/valid", "ref_youtube_vos"),
            )
        ),
    ],
)
def test_a_benchmark_comes_back_from_the_workbench(
    layouts: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    pack: str,
    change: Callable[[Path], None] | None,
) -> None:
    """By way of the workbench's database, on the command line alone: import, export, the loader, all without error."""
    pytest.importorskip("sqlalchemy", reason="projects need sqlalchemy (pip install 'rvos[annotate]')")
    root = PACKS / pack
    if change is not None:
        root = Path(shutil.copytree(layouts / name.partition("/")[0], tmp_path / "source"))
        change(root)
    terms = ["--licence", "as stated", "--consent", "public", "--may-copy"]
    project, words = str(tmp_path / "project"), ["--from", name, "--root", str(root), *terms]
    code, said = run(capsys, "import", project, *words)
    assert code == 0 and said.splitlines()[-1] == project
    if not pack:
        code, said = run(capsys, "import", project, *words)
        assert code == 0 and said.count("in the project already") == len(said.splitlines()) - 1
    code, exported = run(capsys, "export", project, "--to", name, "--out", str(tmp_path / "view"), "--frames", "link")
    assert code == 0 and " 0 errors" in exported
    before = rvos.load(name, root)
    assert_same(before, rvos.load(name, tmp_path / "view"))
    _, said = run(capsys, "check", project, "--json")
    found = json.loads(said)
    assert found["report"]["sentences"]["all"] == len(before)
    codes = {finding["code"]: finding["message"] for finding in found["findings"]}
    if change is with_thumbnails:
        sizes = "its frames are 32x24, its masks 64x48."
        assert codes["frames-resampled"] == sizes and exported.count(sizes) == 1
    if change is without_frames:
        assert all(before.ground_truth(sample) is None for sample in before)
        assert "neither an image nor a mask is known" in exported and "frames-resampled" not in codes


def test_what_is_not_taken_over_is_said(layouts: Path) -> None:
    first, second = import_dataset("ref-davis17/valid", layouts / "ref-davis17")
    assert "semi-supervised masks; the unsupervised ones are read" in " ".join(first.notes) and second.notes == ()


def test_what_is_known_of_terms_is_filled_in(layouts: Path) -> None:
    clip = next(import_dataset("mevis/valid_u", layouts / "mevis")).clip
    assert clip.source.licence == "CC BY-NC-SA 4.0" and clip.source.may_copy_frames is True
    unknown = next(import_dataset("ref-youtube-vos/train", layouts / "ref-youtube-vos")).clip
    assert unknown.source.licence == unknown.source.consent == "" and unknown.source.may_copy_frames is None
    assert len(list(import_dataset("mevis", layouts / "mevis", split="valid_u", limit=1))) == 1
    with pytest.raises(UnknownNameError, match="Did you mean mevis"):
        import_dataset("meviss", layouts)
    with pytest.raises(UsageError, match="leave --images out"):
        import_dataset("mevis/valid_u", layouts, images=layouts)


# Views of what people made ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    write_project(folder / "native", folder / "work")
    return folder / "native"


@pytest.mark.parametrize(
    ("layout", "n", "lost"),
    [
        ("reasonvos", 8, ()),
        ("mevis/train", 8, ()),
        ("ref-youtube-vos/valid", 8, ()),
        ("ref-youtube-vos/train", 4, ("about several objects", "without a target", "overlap others")),
        ("ref-davis17", 4, ("about several objects", "without a target", "overlap others")),
    ],
)
def test_views_of_a_project(project: Path, tmp_path: Path, layout: str, n: int, lost: tuple[str, ...]) -> None:
    done = export(project, layout, tmp_path / "view")
    view, dataset = rvos.load(done.target, tmp_path / "view"), load_dataset(project)
    assert (done.n_videos, done.n_expressions) == (2, len(view)) == (2, n)
    texts = {(s.video.id, s.expression.text): s for s in dataset}
    for sample in view:
        ours = dataset.ground_truth(texts[sample.video.id, sample.expression.text])
        theirs = view.ground_truth(sample)
        assert ours is not None and theirs is not None
        for index in range(5):
            assert np.array_equal(ours.mask(index), theirs.mask(index)), sample.key  # type: ignore[arg-type]
        assert sample.video.frame(0).shape == (24, 32, 3)
    said = " ".join(done.losses)
    always = (
        "rationales",
        "blind choices",
        "verdicts",
        "comments",
        "second drawings",
        "origin",
        "machine-made",
        "draft",
    )
    assert not [what for what in (*lost, *always) if what not in said], said
    assert lost or "overlap" not in said


def test_a_copy_in_the_projects_own_format_loses_nothing(project: Path, tmp_path: Path) -> None:
    done = export(project, "native", tmp_path / "copy", frames="copy")
    before, after = native.read(project), native.read(tmp_path / "copy")
    assert done.losses == () and list(before) == list(after)
    assert before.head.content_hash == after.head.content_hash
    assert_same(load_dataset(project), load_dataset(tmp_path / "copy"))


def test_every_clips_terms_travel_with_it(project: Path, tmp_path: Path) -> None:
    export(project, "mevis", tmp_path / "view")
    record = json.loads((tmp_path / "view" / "sources-valid_u.json").read_text())
    assert record["park"]["source"]["licence"] == TERMS.licence and record["park"]["frames"] == "included"
    assert record["park"]["sha256"] == {frame.name: frame.sha256 for frame in native.read(project).clip("park").frames}


def terms_project(tmp_path: Path, **terms: Any) -> Path:
    source = TERMS.model_copy(update=terms)
    frames = write_frames(tmp_path / "work" / "park")
    with native.Writer(tmp_path / "native", Head(name="x")) as writer:
        writer.add(toy_clip(frames, source=source), tracks(), FrameFolder(tmp_path / "work" / "park"))
    return tmp_path / "native"


@pytest.mark.parametrize("layout", [*LAYOUTS[:2], "mevis/train"])
@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"licence": ""}, r"1 clip of x may not be exported: park \(no licence is stated\)"),
        ({"consent": " "}, "no consent is stated"),
        ({"licence": "", "consent": ""}, "no licence is stated and no consent is stated"),
    ],
)
def test_without_terms_nothing_leaves(tmp_path: Path, terms: dict[str, str], words: str, layout: str) -> None:
    with pytest.raises(UsageError, match=words):
        export(terms_project(tmp_path, **terms), layout, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_only_clips_that_leave_need_terms(tmp_path: Path) -> None:
    """A view has the clips with sentences that count; the project's own format has all of them."""
    frames = write_frames(tmp_path / "work" / "park")
    unspoken = toy_clip(frames, "empty", source=native.Source(), expressions=(), choices=(), verdicts=(), comments=())
    with native.Writer(tmp_path / "native", Head(name="x")) as writer:
        for clip in (toy_clip(frames), unspoken):
            writer.add(clip, tracks(), FrameFolder(tmp_path / "work" / "park"))
    done = export(tmp_path / "native", "reasonvos", tmp_path / "view")
    assert done.n_videos == 1 and "empty" not in (tmp_path / "view" / "sources.json").read_text()
    with pytest.raises(UsageError, match=r"1 clip of x may not be exported: empty \(no licence"):
        export(tmp_path / "native", "native", tmp_path / "copy")


@pytest.mark.parametrize("may_copy", [False, None])
@pytest.mark.parametrize("layout", ["native", "reasonvos"])
def test_frames_that_may_not_be_copied_are_referred_to(tmp_path: Path, may_copy: bool | None, layout: str) -> None:
    folder = terms_project(tmp_path, may_copy_frames=may_copy, licence="non-commercial")
    done = export(folder, layout, tmp_path / "out")
    assert list(done.withheld) == ["park"]
    assert ("non-commercial" in done.withheld["park"]) == (may_copy is False)
    assert not [
        path for path in (tmp_path / "out").rglob("*") if path.suffix == ".png" and "Annotations" not in path.parts
    ]
    assert all("images" not in loss for loss in done.losses)
    before, after = (
        load_dataset(folder),
        rvos.load("annotation" if layout == "native" else "reasonvos", tmp_path / "out"),
    )
    assert [masks_of(before.ground_truth(s)) for s in before] == [masks_of(after.ground_truth(s)) for s in after]
    if layout == "native":  # whoever has the frames gives them, and only the right ones are taken
        assert_same(before, load_dataset(tmp_path / "out", frames=tmp_path / "work"))


def test_refuses_before_anything_is_written(project: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean mevis"):
        export(project, "meviss", tmp_path / "out")
    with pytest.raises(UsageError, match="use link, copy, none"):
        export(project, "mevis", tmp_path / "out", frames="all")  # type: ignore[arg-type]
    export(project, "mevis", tmp_path / "out")
    with pytest.raises(UsageError, match="Already there"):
        export(project, "mevis", tmp_path / "out")


# Collections of masks -------------------------------------------------------------------------------------------------


def square(values: dict[tuple[int, int, int, int], int], dtype: Any = np.uint8) -> np.ndarray[Any, Any]:
    """(top, left, height, width) -> value."""
    image = np.zeros((24, 32), dtype)
    for (top, left, height, width), value in values.items():
        image[top : top + height, left : left + width] = value
    return image


def save(path: Path, image: np.ndarray[Any, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def areas(found: Imported) -> dict[str, list[int | None]]:
    """Area of every object in every frame: None where not annotated."""
    masks = {name: found.masks[name] for name in found.masks}
    out: dict[str, list[int | None]] = {}
    for item in found.clip.objects:
        track = masks.get(item.id, [None] * len(found.clip.frames))
        sizes = [0 if rle is None else int(_decode(rle).sum()) for rle in track]
        out[item.id] = [size if native.annotated(item, i) else None for i, size in enumerate(sizes)]
    return out


def _decode(rle: Any) -> Any:
    from rvos.datasets.masks import decode_rle

    return decode_rle(rle)


def round_trip(found: list[Imported], out: Path) -> native.Project:
    with native.Writer(out, Head(name="x")) as writer:
        for one in found:
            writer.add(one.clip, one.masks, one.source)
    return native.read(out)


def test_mose_and_other_label_maps(tmp_path: Path) -> None:
    for index in range(3):
        save(tmp_path / f"valid/JPEGImages/v1/{index:05d}.jpg", np.zeros((24, 32, 3), np.uint8))
    save(tmp_path / "valid/Annotations/v1/00000.png", square({(0, 0, 4, 4): 1, (10, 10, 2, 8): 3, (20, 0, 1, 5): 255}))
    (found,) = import_dataset("mose", tmp_path, split="valid")
    assert areas(found) == {"1": [16, None, None], "3": [16, None, None]}  # the first frame alone is annotated
    assert found.clip.has_void and found.clip.source.licence == "CC BY-NC-SA 4.0" and found.clip.id == "v1"
    assert [frame.suffix for frame in found.clip.frames] == [".jpg"] * 3 and all(f.sha256 for f in found.clip.frames)
    assert not found.clip.expressions
    void = round_trip([found], tmp_path / "native").masks("v1")[native.VOID][0]
    assert void is not None and _decode(void).sum() == 5
    (plain,) = import_dataset("label-maps", tmp_path / "valid")
    assert areas(plain) == areas(found) and plain.clip.source.licence == ""
    with pytest.raises(DatasetError, match="no folder Annotations"):
        list(import_dataset("mose", tmp_path, split="train"))


def test_vipseg(tmp_path: Path) -> None:
    for index in range(2):
        save(tmp_path / f"imgs/v1/{index:08d}.jpg", np.zeros((24, 32, 3), np.uint8))
        masks = {(0, 0, 24, 4): 7, (0, 8, 2, 2): 6100, (10, 8, 3, 3): 6101}
        if index:
            del masks[0, 8, 2, 2]
        save(tmp_path / f"panomasks/v1/{index:08d}.png", square(masks, np.uint16))
    names = [{"id": 60, "name": "person"}, {"id": 6, "name": "wall"}]
    (tmp_path / "panoVIPSeg_categories.json").write_text(json.dumps(names))
    (found,) = import_dataset("vipseg", tmp_path)
    assert areas(found) == {"7": [96, 96], "6100": [4, 0], "6101": [9, 9]}
    assert [item.category for item in found.clip.objects] == ["wall", "person", "person"]
    assert found.clip.source.may_copy_frames is False  # non-commercial research only
    (tmp_path / "val.txt").write_text("v2\n")
    assert list(import_dataset("vipseg", tmp_path, split="val")) == []


def test_burst(tmp_path: Path) -> None:
    rle = box(2, 2, 5)["counts"]
    sequence = {
        "width": 32,
        "height": 24,
        "id": 1,
        "seq_name": "walk 1",
        "dataset": "YFCC100M",
        "fps": 30,
        "all_image_paths": [f"frame{i:04d}.jpg" for i in range(1, 5)],
        "annotated_image_paths": ["frame0001.jpg", "frame0003.jpg"],
        "track_category_ids": {"1": 805, "2": 8},
        "segmentations": [{"1": {"rle": rle, "is_gt": True}}, {"1": {"rle": rle, "is_gt": False}, "2": {"rle": rle}}],
    }
    content = {"sequences": [sequence], "categories": [{"id": 805, "name": "person"}], "split": "val"}
    (tmp_path / "all_classes.json").write_text(json.dumps(content))
    save(tmp_path / "frames/YFCC100M/walk 1/frame0001.jpg", np.zeros((24, 32, 3), np.uint8))
    (found,) = import_dataset("burst", tmp_path / "all_classes.json", images=tmp_path / "frames")
    assert found.clip.id == "YFCC100M_walk 1" and found.clip.source.video == "YFCC100M/walk 1"
    assert [frame.role for frame in found.clip.frames] == ["scored", "context", "scored", "context"]
    assert areas(found) == {"1": [25, None, 25, None], "2": [0, None, 25, None]}
    assert [span.origin for span in found.clip.objects[0].spans] == ["imported", "propagated"]
    assert (
        found.clip.objects[0].category == "person" and found.clip.frames[0].sha256 and not found.clip.frames[1].sha256
    )
    assert [clip.fps for clip in round_trip([found], tmp_path / "native")] == [30]
    sequence["segmentations"] = [{"9": {"rle": rle}}, {}]
    (tmp_path / "all_classes.json").write_text(json.dumps(content))
    with pytest.raises(DatasetError, match="sequence 'walk 1' is not as BURST writes it"):
        list(import_dataset("burst", tmp_path / "all_classes.json"))
    sequence["segmentations"] = [{"1": {"rle": "garbage"}}, {}]
    (tmp_path / "all_classes.json").write_text(json.dumps(content))
    with pytest.raises(DatasetError, match="not a COCO RLE"):
        list(import_dataset("burst", tmp_path / "all_classes.json"))


def test_coco_images(tmp_path: Path) -> None:
    polygon = [[2, 2, 12, 2, 12, 12, 2, 12]]
    crowd = {"size": [24, 32], "counts": [0, 48, 720]}
    content = {
        "images": [
            {"id": 9, "file_name": "a.jpg", "height": 24, "width": 32, "license": 4},
            {"id": 10, "file_name": "b.jpg", "height": 24, "width": 32},
        ],
        "annotations": [
            {"id": 1, "image_id": 9, "category_id": 18, "segmentation": polygon, "iscrowd": 0},
            {"id": 2, "image_id": 9, "category_id": 18, "segmentation": crowd, "iscrowd": 1},
        ],
        "categories": [{"id": 18, "name": "dog"}],
        "licenses": [{"id": 4, "name": "Attribution License", "url": "https://a.example"}],
    }
    (tmp_path / "instances.json").write_text(json.dumps(content))
    first, second = import_dataset("coco", tmp_path / "instances.json")
    assert areas(first) == {"1": [100], "2": [48]} and areas(second) == {}
    assert [item.note for item in first.clip.objects] == ["", "crowd"]
    assert first.clip.source.licence == "Attribution License" and second.clip.source.licence == ""
    assert len(round_trip([first, second], tmp_path / "native")) == 2
    with pytest.raises(UsageError, match="give the JSON file"):
        list(import_dataset("coco", tmp_path))
    for bad, words in (
        ({**content, "images": [{"id": 9}]}, "not as COCO writes them"),
        ({"images": 3}, "list 'images'"),
        ({**content, "annotations": [{"id": 1, "image_id": 9, "segmentation": [[1, 2]]}]}, "at least three points"),
        ({**content, "images": [{**content["images"][0], "file_name": "../../a.jpg"}]}, "not plain names"),  # type: ignore[index,dict-item]
    ):
        (tmp_path / "bad.json").write_text(json.dumps(bad))
        with pytest.raises(DatasetError, match=words):
            list(import_dataset("coco", tmp_path / "bad.json"))


def test_youtube_vis(tmp_path: Path) -> None:
    rle = encode_rle(square({(0, 0, 3, 3): 1}))
    content = {
        "videos": [{"id": 1, "file_names": ["v7/00000.jpg", "v7/00005.jpg"], "height": 24, "width": 32}],
        "annotations": [{"id": 4, "video_id": 1, "category_id": 1, "segmentations": [rle, None]}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / "instances.json").write_text(json.dumps(content))
    (found,) = import_dataset("youtube-vis", tmp_path / "instances.json")
    assert found.clip.id == "v7" and areas(found) == {"4": [9, 0]}
    assert [frame.name for frame in found.clip.frames] == ["00000", "00005"]


def test_another_project(project: Path, tmp_path: Path) -> None:
    again = round_trip(list(import_dataset("annotation", project)), tmp_path / "again")
    assert list(again) == list(native.read(project))
    assert_same(load_dataset(project), load_dataset(again.folder))
