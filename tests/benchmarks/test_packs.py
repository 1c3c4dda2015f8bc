"""Scores of the official scripts on real masks, and what those scripts do with broken input.

The packs lie in ``../shared/packs`` beside the checkout, or where ``RVOS_TEST_PACKS`` says; without them these tests
skip. About 50 s on one core.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rvos.benchmarks.predictions import as_merged, open_predictions
from rvos.benchmarks.protocols import get_protocol
from rvos.benchmarks.protocols.base import Summary, UnitScore
from rvos.datasets.mevis import MeViS
from rvos.datasets.reasonvos import ReasonVOS
from rvos.datasets.ref_davis17 import RefDAVIS17
from rvos.datasets.ref_youtube_vos import RefYouTubeVOS
from rvos.datasets.types import RVOSDataset

PACKS = Path(os.environ.get("RVOS_TEST_PACKS") or Path(__file__).resolve().parents[3] / "shared" / "packs")
EXPECTED = PACKS / "expected"
EXACT = 1e-12
pytestmark = pytest.mark.skipif(not EXPECTED.is_dir(), reason=f"no packs of scored masks at {PACKS}")

#: Prediction sets in which nothing is missing and every mask has two values.
CLEAN = {"gt", "empty", "full", "shifted", "noisy", "osvos", "rvos"}


def names(dataset: str, *without: str) -> list[str]:
    return sorted(p.stem for p in (EXPECTED / dataset).glob("*.json") if p.stem not in without)


@cache
def expected(dataset: str, prediction: str) -> dict[str, Any]:
    return json.loads((EXPECTED / dataset / f"{prediction}.json").read_text())


def crash_cases(section: str | None = None) -> dict[str, Any]:
    path = EXPECTED / "crash_cases.json"
    cases = json.loads(path.read_text()) if path.exists() else {}
    return cases.get(section, {}) if section else cases


def score(
    protocol_id: str, dataset: RVOSDataset, predictions: Any, only: tuple[str, ...] = ()
) -> tuple[dict[str, UnitScore], Summary]:
    protocol = get_protocol(protocol_id)
    videos = [video.id for video in dataset.videos if not only or video.id in only]
    scores = [s for video_id in videos for s in protocol.score_video(dataset, video_id, predictions)]
    assert [s.unit.key for s in scores] == [u.key for u in protocol.units(dataset) if u.video_id in videos]
    return {s.unit.key: s for s in scores}, protocol.aggregate(scores)


def score_path(protocol_id: str, dataset: RVOSDataset, path: Path) -> tuple[dict[str, UnitScore], Summary]:
    return score(protocol_id, dataset, open_predictions(path, dataset, layout="png-folders"))


def equal(found: float | None, wanted: float) -> bool:
    return found is not None and abs(found - wanted) <= EXACT


def check_global(summary: Summary, wanted: dict[str, float]) -> None:
    for value, name in ((summary.J, "J"), (summary.F, "F"), (summary.J_and_F, "J&F")):
        assert equal(value, wanted[name])


def check_expressions(
    scores: dict[str, UnitScore], wanted: dict[str, dict[str, float]], script_name: Callable[[str], str]
) -> None:
    counted = {script_name(key): s for key, s in scores.items() if s.counted}
    assert list(counted) == list(wanted)
    for name, values in wanted.items():
        assert equal(counted[name].J, values["J"]), name
        assert equal(counted[name].F, values["F"]), name


# Scores -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prediction", names("reasonvos", "benchmark_check"))
def test_reasonvos_equals_the_script(prediction: str) -> None:
    dataset = ReasonVOS(PACKS / "reasonvos")
    wanted = expected("reasonvos", prediction)
    path = PACKS / "reasonvos" / "predictions" / prediction
    names_in_script = {s.key: str(dataset.prediction_path(s)).replace("/", "_") for s in dataset}
    scores, summary = score_path("reasonvos@official", dataset, path)
    check_expressions(scores, wanted["per_expression"], names_in_script.__getitem__)
    check_global(summary, wanted["global"])
    assert [names_in_script[k] for k, s in scores.items() if not s.counted] == wanted["not_scored"]
    frames = {names_in_script[k]: s.n_frames for k, s in scores.items() if s.counted}
    assert frames == {k: n for k, n in wanted["annotated_frames"].items() if k in frames}
    strict = score_path("reasonvos@1", dataset, path)[1]
    assert strict.J_and_F is not None and strict.n_counted == len(dataset)
    if prediction in CLEAN:
        check_global(strict, wanted["global"])
    if wanted["not_scored"]:
        assert strict.J_and_F < wanted["global"]["J&F"]
        assert f"{len(wanted['not_scored'])} of {len(dataset)} expressions are left out" in summary.warnings[0]
        assert f"J&F is {100 * strict.J_and_F:.2f}" in summary.warnings[0]


@pytest.mark.parametrize("prediction", names("mevis"))
def test_mevis_equals_both_scripts(prediction: str) -> None:
    dataset = MeViS(PACKS / "mevis", "valid_u")
    wanted = expected("mevis", prediction)
    path = PACKS / "mevis" / "predictions" / prediction
    for version in ("official", "videolisa"):
        scores, summary = score_path(f"mevis@{version}", dataset, path)
        check_expressions(scores, wanted[version]["per_expression"], lambda key: key.replace("/", "_"))
        check_global(summary, wanted[version]["global"])
        left_out = [k.replace("/", "_") for k, s in scores.items() if not s.counted]
        assert left_out == wanted[version]["not_scored"]
    strict = score_path("mevis@1", dataset, path)[1]
    assert strict.n_counted == len(dataset)
    if prediction in CLEAN | {"partial"}:  # what is missing in partial are whole videos, which the script counts
        check_global(strict, wanted["official"]["global"])


@pytest.mark.parametrize("prediction", names("ref_youtube_vos", "valid_meta_stats"))
def test_ref_youtube_vos_equals_the_mevis_script(prediction: str) -> None:
    dataset = RefYouTubeVOS(PACKS / "ref_youtube_vos", "train")
    wanted = expected("ref_youtube_vos", prediction)
    path = PACKS / "ref_youtube_vos" / "predictions" / prediction
    scores, summary = score_path("ref-youtube-vos@1", dataset, path)
    check_expressions(scores, wanted["per_expression"], lambda key: key.replace("/", "_"))
    check_global(summary, wanted["global"])


DAVIS_TASKS = {
    "davis17-hungarian-4ann@referformer": "unsupervised",
    "davis17-semi-supervised@official": "semi-supervised",
}


def davis_inputs() -> Iterator[Any]:
    for name in names("ref_davis17", "rvos_raw"):
        yield pytest.param(name, "processed", "converted", id=f"{name}-processed")
        if (PACKS / "ref_davis17" / "predictions" / name).is_dir():
            yield pytest.param(name, "raw", "original", id=f"{name}-raw")


def davis_predictions(name: str, form: str, dataset: RVOSDataset) -> Any:
    folder = PACKS / "ref_davis17" / "predictions"
    if form == "processed":
        return open_predictions(folder / f"{name}_processed", dataset, layout="anno-folders")
    return as_merged(open_predictions(folder / name, dataset, layout="png-folders"), dataset, "brighter-wins")


@pytest.mark.parametrize(("prediction", "form", "layout"), list(davis_inputs()))
def test_ref_davis_equals_the_script(prediction: str, form: str, layout: Any) -> None:
    dataset = RefDAVIS17(PACKS / "ref_davis17", "valid", layout)
    predictions = davis_predictions(prediction, form, dataset)
    for protocol_id, task in DAVIS_TASKS.items():
        wanted = expected("ref_davis17", prediction)[task]
        scores, summary = score(protocol_id, dataset, predictions)
        for k in range(4):
            check_annotator(scores, summary, wanted["annotators"][f"anno_{k}"], k)
        check_davis_means({**overall(summary)}, wanted["mean_of_4_annotators"])
    if form == "processed":
        strict = score("davis17-hungarian-4ann@1", dataset, predictions)[1]
        check_davis_means(overall(strict), expected("ref_davis17", prediction)["unsupervised"]["mean_of_4_annotators"])


def overall(summary: Summary) -> dict[str, float | None]:
    return {"J": summary.J, "F": summary.F, "J&F": summary.J_and_F, **summary.extras}


def check_annotator(scores: dict[str, UnitScore], summary: Summary, wanted: dict[str, Any], k: int) -> None:
    values = {name.split("/", 1)[1]: v for name, v in summary.extras.items() if name.startswith(f"anno_{k}/")}
    check_davis_means(values, wanted["global"])
    own = {key.replace(f"/annot{k}/", "_"): s for key, s in scores.items() if s.unit.annotator == k}
    assert list(own) == list(wanted["per_object"])
    for name, values in wanted["per_object"].items():
        check_davis_means({"J": own[name].J, "F": own[name].F, **own[name].extras}, values)


def check_davis_means(values: dict[str, float | None], wanted: dict[str, float]) -> None:
    ours = {"J-Mean": "J", "F-Mean": "F", "J&F-Mean": "J&F"}
    for name, value in wanted.items():
        found = values[ours.get(name, name.replace("Recall", "recall").replace("Decay", "decay"))]
        assert equal(found, value), name


def test_ref_davis_with_more_proposals_than_objects() -> None:
    path = PACKS / "ref_davis17" / "predictions" / "rvos_raw"
    if not path.is_dir():
        pytest.skip(f"{path} is not in this pack")
    dataset = RefDAVIS17(PACKS / "ref_davis17", "valid")
    predictions = open_predictions(path, dataset, layout="label-maps")
    wanted = expected("ref_davis17", "rvos_raw")
    scores, summary = score("davis17-hungarian-4ann@referformer", dataset, predictions)
    for k in range(4):
        check_annotator(scores, summary, wanted["unsupervised"]["annotators"]["all"], k)
    summary = score("davis17-semi-supervised@official", dataset, predictions)[1]
    assert summary.J_and_F is None
    assert wanted["semi-supervised"]["stdout"].strip() in summary.warnings[0]


# What the scripts do with broken input --------------------------------------------------------------------------------


def mirror(source: Path, target: Path) -> Path:
    """A tree of links to the files of ``source``, free to change."""
    shutil.copytree(source, target, copy_function=lambda a, b: os.symlink(a, b))
    for folder, *_ in os.walk(target):
        os.chmod(folder, 0o755)
    return target


def halve(path: Path) -> None:
    with Image.open(path) as image:
        half = image.resize((image.width // 2, image.height // 2), Image.Resampling.NEAREST)
    path.unlink()
    half.save(path)


def resave(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    with Image.open(path) as image:
        pixels = np.array(image)
    path.unlink()
    Image.fromarray(change(pixels)).save(path)


def rewrite(path: Path, change: Callable[[Any], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.unlink()
    path.write_text(json.dumps(content))


REASONVOS_CASES: dict[str, Callable[[Path], Any]] = {
    "reasonvos_missing_frame": lambda p: (p / "mose_kite-surf_0/1/00005.png").unlink(),
    "reasonvos_one_frame_half_size": lambda p: halve(p / "mose_kite-surf_0/1/00005.png"),
    "reasonvos_empty_expression_folder": lambda p: [f.unlink() for f in (p / "mose_kite-surf_0/1").iterdir()],
    "reasonvos_extra_file_and_missing_unannotated_frame": lambda p: (
        (p / "BURST_bmx-trees_1/0/00003.png").unlink(),
        (p / "mose_kite-surf_0/1/masked_img_0.jpg").write_bytes(b"no image"),
    ),
    "reasonvos_no_predictions": lambda p: [shutil.rmtree(f) for f in p.iterdir()],
    "reasonvos_first_frame_missing_everywhere": lambda p: [min(f.iterdir()).unlink() for f in p.glob("*/*")],
    "reasonvos_no_save_name": lambda p: None,
}
MEVIS_CASES: dict[str, Callable[[Path], Any]] = {
    "mevis_00000_missing": lambda p: (p / "kite-surf/1/00000.png").unlink(),
    "mevis_other_frame_missing": lambda p: (p / "kite-surf/1/00015.png").unlink(),
    "mevis_expression_missing_official": lambda p: shutil.rmtree(p / "kite-surf/1"),
    "mevis_expression_missing_videolisa": lambda p: shutil.rmtree(p / "kite-surf/1"),
    "mevis_all_frames_half_size": lambda p: [halve(f) for f in sorted((p / "kite-surf/1").iterdir())],
    "mevis_one_frame_half_size": lambda p: halve(p / "kite-surf/1/00015.png"),
    "mevis_no_predictions_official": lambda p: [shutil.rmtree(f) for f in p.iterdir()],
    "mevis_no_predictions_videolisa": lambda p: [shutil.rmtree(f) for f in p.iterdir()],
}


def needs_public_pack() -> None:
    if not (PACKS / "reasonvos/predictions/gt/mose_kite-surf_0").is_dir():
        pytest.skip("the broken inputs are described for the pack with kite-surf")


def check_like_command_line(scores: dict[str, UnitScore], summary: Summary, case: dict[str, Any]) -> None:
    """As the script from its command line: how many are scored, what is printed, how many workers crash with what."""
    script = case["official_cli_64_workers"]
    assert summary.n_counted == script["n_scored"]
    for value, name in ((summary.J, "J"), (summary.F, "F"), (summary.J_and_F, "J&F")):
        printed = float(script["scores"][name])
        assert value is None if np.isnan(printed) else value == pytest.approx(printed, abs=EXACT)
    crashed = [s for s in scores.values() if "script-crash" in s.flags]
    assert len(crashed) == script["n_tracebacks"]
    assert all(script["stderr_last_line"] in s.reason for s in crashed)
    assert bool(crashed) == any("crashes" in text for text in summary.warnings)


@pytest.mark.parametrize("name", REASONVOS_CASES)
def test_broken_input_of_reasonvos(name: str, tmp_path: Path) -> None:
    needs_public_pack()
    case = crash_cases("reasonvos_mevis")[name]
    path = mirror(PACKS / "reasonvos/predictions/gt", tmp_path / "predictions")
    REASONVOS_CASES[name](path)
    dataset = ReasonVOS(PACKS / "reasonvos")
    scores, summary = score_path("reasonvos@official", dataset, path)
    strict_scores, strict = score_path("reasonvos@1", dataset, path)
    if name == "reasonvos_no_save_name":  # the script does all the work and then has nowhere to write
        assert summary.n_counted == 13 and "Q-Size: 13" in case["stdout"]
        return
    check_like_command_line(scores, summary, case)
    check_strict(strict_scores, strict, harmless="unannotated" in name)


@pytest.mark.parametrize("name", MEVIS_CASES)
def test_broken_input_of_mevis(name: str, tmp_path: Path) -> None:
    needs_public_pack()
    path = mirror(PACKS / "mevis/predictions/gt", tmp_path / "predictions")
    MEVIS_CASES[name](path)
    dataset = MeViS(PACKS / "mevis", "valid_u")
    case = crash_cases("reasonvos_mevis")[name]
    version = "videolisa" if "VideoLISA" in case["script"] else "official"
    check_like_command_line(*score_path(f"mevis@{version}", dataset, path), case)
    check_strict(*score_path("mevis@1", dataset, path))


def check_strict(scores: dict[str, UnitScore], summary: Summary, harmless: bool = False) -> None:
    """Everything is counted; what is wrong lowers the score, is named and is warned about."""
    assert summary.n_counted == len(scores) and summary.J_and_F is not None
    assert (summary.J_and_F == 1) == harmless
    assert bool(summary.warnings) != harmless
    wrong = [s for s in scores.values() if s.status != "ok" or s.flags]
    assert bool(wrong) != harmless
    assert all(".png" in s.reason or "/" in s.reason for s in wrong)


def test_missing_annotation_folder_of_reasonvos(tmp_path: Path) -> None:
    needs_public_pack()
    root = tmp_path / "reasonvos"
    mirror(PACKS / "reasonvos/Annotations", root / "Annotations")
    shutil.copy(PACKS / "reasonvos/meta_expressions.json", root)
    shutil.rmtree(root / "Annotations/MeViS_blackswan_12")
    dataset = ReasonVOS(root)
    path = PACKS / "reasonvos/predictions/gt"
    scores, summary = score_path("reasonvos@official", dataset, path)
    check_like_command_line(scores, summary, crash_cases("reasonvos_mevis")["reasonvos_annotation_folder_missing"])
    assert summary.counts["no-ground-truth"] == 2
    strict = score_path("reasonvos@1", dataset, path)[1]
    assert strict.n_counted == 11 and "no ground truth" in strict.warnings[0]


def test_dead_workers_of_mevis_are_announced(tmp_path: Path) -> None:
    needs_public_pack()
    root = tmp_path / "mevis"
    (root / "valid_u").mkdir(parents=True)
    os.symlink(PACKS / "mevis/valid_u/mask_dict.json", root / "valid_u/mask_dict.json")
    shutil.copy(PACKS / "mevis/valid_u/meta_expressions.json", root / "valid_u")
    os.chmod(root / "valid_u/meta_expressions.json", 0o644)

    def add_70(content: Any) -> None:
        video = next(iter(content["videos"].values()))
        model = next(iter(video["expressions"].values()))
        video["expressions"] = {**{f"extra{i}": model for i in range(70)}, **video["expressions"]}

    rewrite(root / "valid_u/meta_expressions.json", add_70)
    summary = score_path("mevis@official", MeViS(root, "valid_u"), PACKS / "mevis/predictions/gt")[1]
    assert summary.n_counted == 15 and crash_cases()["after_64_crashes"]["n_tracebacks"] == 64
    text = next(w for w in summary.warnings if "crashes on 70 of 85 expressions" in w)
    assert "64" in text and "nan" in text


def test_two_expressions_with_one_exp_id(tmp_path: Path) -> None:
    needs_public_pack()
    root = tmp_path / "reasonvos"
    root.mkdir()
    os.symlink(PACKS / "reasonvos/Annotations", root / "Annotations")
    shutil.copy(PACKS / "reasonvos/meta_expressions.json", root)
    os.chmod(root / "meta_expressions.json", 0o644)

    def repeat(content: Any) -> None:
        content["videos"]["kite-surf"]["expressions"][1]["exp_id"] = 0

    rewrite(root / "meta_expressions.json", repeat)
    case = crash_cases("other")["duplicate_exp_id"]
    path = PACKS / "reasonvos/predictions/gt"
    summary = score_path("reasonvos@official", ReasonVOS(root), path)[1]
    assert (summary.n_counted, sum(summary.counts.values())) == (case["n_scored"], case["n_expressions"])
    assert any("share an exp_id" in w for w in summary.warnings)
    assert score_path("reasonvos@1", ReasonVOS(root), path)[1].n_counted == case["n_expressions"]


def test_workers_of_any_start_method_can_score() -> None:
    """MeViS' script scores nothing under spawn and forkserver; here all that a worker needs can be pickled."""
    needs_public_pack()
    dataset = MeViS(PACKS / "mevis", "valid_u")
    job = (get_protocol("mevis@official"), dataset, open_predictions(PACKS / "mevis/predictions/gt", dataset))
    protocol, data, predictions = pickle.loads(pickle.dumps(job))
    assert protocol.score_video(data, "kite-surf", predictions) == job[0].score_video(dataset, "kite-surf", job[2])


# DAVIS: gt_processed with one thing wrong in anno_0 -----------------------------------------------------------------

UNSUP, SEMI, STRICT = (
    "davis17-hungarian-4ann@referformer",
    "davis17-semi-supervised@official",
    "davis17-hungarian-4ann@1",
)
SWAN = "blackswan"


def to_255(folder: Path) -> None:
    for path in folder.iterdir():
        resave(path, lambda pixels: (pixels > 0).astype(np.uint8) * 255)


def to_rgb(folder: Path) -> None:
    for path in folder.iterdir():
        resave(path, lambda pixels: np.repeat(pixels[..., None], 3, axis=2))


#: name in crash_cases.json -> (protocol, what to do with anno_0, lines of the script's output that ours repeats)
DAVIS_CASES: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "missing_frame": (UNSUP, lambda p: (p / "kite-surf/00005.png").unlink(), "kite-surf frame 00005 not found!"),
    "missing_sequence": (UNSUP, lambda p: shutil.rmtree(p / "kite-surf"), "kite-surf frame 00000 not found!"),
    "result_folder_missing": (UNSUP, shutil.rmtree, "bmx-trees frame 00000 not found!"),
    "one_frame_half_size": (
        UNSUP,
        lambda p: halve(p / "kite-surf/00005.png"),
        "ValueError: could not broadcast input array from shape (240,427) into shape (480,854)",
    ),
    "all_frames_half_size": (
        UNSUP,
        lambda p: [halve(f) for f in sorted((p / "kite-surf").iterdir())],
        "AssertionError: Annotation((12, 480, 854)) and segmentation:(12, 240, 427) dimensions do not match.",
    ),
    "binary_0_255_unsupervised": (
        UNSUP,
        lambda p: to_255(p / SWAN),
        "In your PNG files there is an index higher than the maximum number (20) of proposals allowed!",
    ),
    "binary_0_255_semi-supervised": (
        SEMI,
        lambda p: to_255(p / SWAN),
        "In your PNG files there is an index higher than the number of objects in the sequence!",
    ),
    "rgb_prediction": (UNSUP, lambda p: to_rgb(p / SWAN), ""),
    "cached_csv_after_deleting_predictions": (UNSUP, lambda p: shutil.rmtree(p / "bmx-trees"), ""),
}


@pytest.mark.parametrize("name", DAVIS_CASES)
def test_broken_input_of_ref_davis(name: str, tmp_path: Path) -> None:
    needs_public_pack()
    case = crash_cases("ref_davis17")[name]
    protocol_id, damage, line = DAVIS_CASES[name]
    path = mirror(PACKS / "ref_davis17/predictions/gt_processed", tmp_path / "predictions")
    damage(path / "anno_0")
    dataset = RefDAVIS17(PACKS / "ref_davis17", "valid")
    predictions = open_predictions(path, dataset, layout="anno-folders")
    only = ("bmx-trees" if "bmx-trees" in line or "deleting" in name else "kite-surf", SWAN)
    scores, summary = score(protocol_id, dataset, predictions, only)
    assert line in "\n".join([*case["stdout_tail"], *case["stderr_tail"]])
    assert summary.J_and_F is None and summary.extras["anno_0/J&F"] is None
    assert summary.extras["anno_1/J&F"] is not None
    assert "annotator 0" in summary.warnings[0] and line in summary.warnings[0]
    assert {s.unit.annotator for s in scores.values() if "script-exit" in s.flags} == {0}
    strict_scores, strict = score(STRICT, dataset, predictions, only)
    assert strict.extras["anno_0/J&F"] < 1 and strict.extras["anno_1/J&F"] == 1
    assert strict.n_counted == len(strict_scores) and strict.warnings


def test_nothing_is_cached_between_tasks() -> None:
    """eval_davis.py prints the numbers of the first task again."""
    needs_public_pack()
    assert "cached_csv_other_task" in crash_cases("ref_davis17")
    dataset = RefDAVIS17(PACKS / "ref_davis17", "valid")
    predictions = davis_predictions("rvos", "processed", dataset)
    for protocol_id in (UNSUP, SEMI, UNSUP):
        wanted = expected("ref_davis17", "rvos")[DAVIS_TASKS[protocol_id]]["mean_of_4_annotators"]
        check_davis_means(overall(score(protocol_id, dataset, predictions)[1]), wanted)


def test_gt_scores_one_with_any_numpy() -> None:
    """numpy 1.24 to 1.26 breaks the scripts' np.bool, numpy 2 and 1.23 do not."""
    needs_public_pack()
    dataset = RefDAVIS17(PACKS / "ref_davis17", "valid")
    summary = score(UNSUP, dataset, davis_predictions("gt", "processed", dataset))[1]
    header, line = (row.split(",") for row in crash_cases("ref_davis17")["numpy_2_4"]["csv"].split())
    assert dict(zip(header, line, strict=True))["J&F-Mean"] == f"{summary.extras['anno_0/J&F']:.5f}"


def davis_root(tmp_path: Path) -> Path:
    """DAVIS in its own layout, as links, without the full-size images."""
    root = tmp_path / "davis"
    for name in ("DAVIS", "davis_text_annotations"):
        mirror(PACKS / "ref_davis17" / name, root / name)
    return root


def without_jpegs(root: Path) -> None:
    shutil.rmtree(root / "DAVIS/JPEGImages/480p/kite-surf")


def without_annotations(root: Path) -> None:
    shutil.rmtree(root / "DAVIS/Annotations")


def with_blank_line(root: Path) -> None:
    path = root / "DAVIS/ImageSets/2017/val.txt"
    text = path.read_text()
    path.unlink()
    path.write_text(text.rstrip("\n") + "\n\n")


def test_harmless_faults_of_a_davis_root(tmp_path: Path) -> None:
    """The scripts stop at a blank line in val.txt and where images are absent, which no score needs."""
    needs_public_pack()
    root = davis_root(tmp_path)
    for change in (without_jpegs, without_annotations, with_blank_line):
        change(root)
    dataset = RefDAVIS17(root, "valid", "original")
    assert score(UNSUP, dataset, davis_predictions("gt", "processed", dataset))[1].J_and_F == 1


def test_davis_root_without_semi_supervised_masks(tmp_path: Path) -> None:
    needs_public_pack()
    root = davis_root(tmp_path)
    without_annotations(root)
    dataset = RefDAVIS17(root, "valid", "original")
    for protocol_id in (SEMI, "davis17-per-expression-semisup@1"):
        assert "needs the semi-supervised masks" in (get_protocol(protocol_id).applies_to(dataset) or "")
    assert get_protocol(UNSUP).applies_to(dataset) is None


def test_davis_root_with_fewer_annotations_than_frames(tmp_path: Path) -> None:
    needs_public_pack()
    root = davis_root(tmp_path)
    (root / "DAVIS/Annotations_unsupervised/480p/kite-surf/00011.png").unlink()
    dataset = RefDAVIS17(root, "valid", "original")
    predictions = davis_predictions("gt", "processed", dataset)
    case = crash_cases("ref_davis17")["annotation_fewer_than_jpegs"]
    summary = score(UNSUP, dataset, predictions)[1]
    assert summary.J_and_F is None
    assert "AttributeError: 'int' object has no attribute 'read'" in case["stderr_tail"][-1]
    assert "'int' object has no attribute 'read'" in summary.warnings[0] and "00011" in summary.warnings[0]
    scores, strict = score(STRICT, dataset, predictions)
    assert strict.J_and_F == 1 and scores["kite-surf/annot0/1"].n_frames == 11


# DAVIS: what post_process_davis.py stumbles over ----------------------------------------------------------------------


#: One step from raw masks to scores: no palette file, no second script, no slash in a name decides anything.
ONE_STEP = ("raw_given_to_evaluator", "run_post_process_sh", "post_process_no_blackswan", "post_process_trailing_slash")


def test_raw_masks_need_no_post_processing(tmp_path: Path) -> None:
    """Nor does an extra file, such as an overlay that --save_overlay leaves, do harm."""
    needs_public_pack()
    path = mirror(PACKS / "ref_davis17/predictions/rvos", tmp_path / "rvos")
    (path / "kite-surf/4/masked_img_0.jpg").write_bytes(b"no image")
    dataset = RefDAVIS17(PACKS / "ref_davis17", "valid")
    predictions = as_merged(open_predictions(f"{path}/", dataset), dataset, "brighter-wins")
    wanted = expected("ref_davis17", "rvos")["unsupervised"]["mean_of_4_annotators"]
    check_davis_means(overall(score(UNSUP, dataset, predictions)[1]), wanted)


@pytest.mark.parametrize(
    ("name", "folder"),
    [("post_process_missing_expression", "kite-surf/4"), ("post_process_missing_video", "kite-surf")],
)
def test_missing_raw_masks(name: str, folder: str, tmp_path: Path) -> None:
    needs_public_pack()
    assert f"{folder}" in crash_cases("ref_davis17")[name]["stderr_tail"][-1]
    path = mirror(PACKS / "ref_davis17/predictions/rvos", tmp_path / "rvos")
    shutil.rmtree(path / folder)
    dataset = RefDAVIS17(PACKS / "ref_davis17", "valid")
    predictions = as_merged(open_predictions(path, dataset, layout="png-folders"), dataset, "brighter-wins")
    summary = score(UNSUP, dataset, predictions, ("kite-surf", SWAN))[1]
    assert summary.J_and_F is None and "kite-surf frame 00000 not found!" in summary.warnings[0]
    scores, strict = score(STRICT, dataset, predictions)
    missing = {s.unit.annotator for s in scores.values() if s.status == "missing"}
    assert missing == ({0} if folder == "kite-surf/4" else {0, 1, 2, 3})
    wanted = expected("ref_davis17", "rvos")["unsupervised"]["mean_of_4_annotators"]
    assert strict.J_and_F is not None and strict.J_and_F < wanted["J&F-Mean"]


def test_every_case_of_the_pack_has_a_test() -> None:
    needs_public_pack()
    assert set(crash_cases("reasonvos_mevis")) == {
        *REASONVOS_CASES,
        *MEVIS_CASES,
        "reasonvos_annotation_folder_missing",
    }
    assert set(crash_cases("ref_davis17")) == {
        *DAVIS_CASES,
        *ONE_STEP,
        *("numpy_1_26", "numpy_2_4", "cached_csv_other_task", "no_jpegs", "no_annotations_folder_unsupervised"),
        *("no_annotations_folder_semi", "annotation_fewer_than_jpegs", "blank_line_in_val_txt"),
        *("post_process_extra_file", "post_process_missing_expression", "post_process_missing_video"),
    }
