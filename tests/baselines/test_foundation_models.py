"""Pipelines of foundation models, tiny and random, through their real loading code. About 15 s."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="these models need torch (pip install 'rvos[models]')")
transformers = pytest.importorskip("transformers", reason="these models need transformers (pip install 'rvos[models]')")

import tinymodels  # noqa: E402
from toyset import HEIGHT, WIDTH, ToyDataset  # noqa: E402

from rvos.baselines.grounding_dino import BoxFinder, caption  # noqa: E402
from rvos.baselines.multimodal_llm import MultimodalLlm  # noqa: E402
from rvos.baselines.pretrained import load_model  # noqa: E402
from rvos.baselines.registry import make_predictor  # noqa: E402
from rvos.baselines.sam2_prompts import Prompt, Sam2Prompts, box_of, spread  # noqa: E402
from rvos.benchmarks.engine import predict  # noqa: E402
from rvos.datasets.errors import RvosError, UsageError  # noqa: E402
from rvos.videolisa.checkpoints import CheckpointError  # noqa: E402

pytestmark = pytest.mark.skipif(
    not hasattr(transformers, "Sam2VideoModel"), reason="this transformers has no SAM 2 video model"
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for every model, named by it."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("models")
    for name in ("clipseg", "sam", "grounding_dino", "sam2", "llava"):
        getattr(tinymodels, f"tiny_{name}_folder")(folder / name)
    return folder


SPECS = {
    "clipseg": "clipseg:{m}/clipseg",
    "grounding-dino-sam": "grounding-dino-sam:{m}/grounding_dino,{m}/sam",
    "grounding-dino-sam2": "grounding-dino-sam2:{m}/grounding_dino,{m}/sam2",
    "multimodal-llm": "multimodal-llm:{m}/llava,{m}/sam2",
}


@pytest.mark.parametrize("name", SPECS)
def test_end_to_end_and_deterministic(name: str, models: Path, tmp_path: Path) -> None:
    data = ToyDataset(1)
    runs = []
    for number in (0, 1):
        model = make_predictor(SPECS[name].format(m=models), data)
        runs.append(predict(model, data, out=tmp_path / str(number), progress=False))
        assert {line.status for line in runs[-1].predictions()} == {"ok"}, runs[-1].predictions()[0].reason
        assert runs[-1].record.predictor.name == name
    first, again = ([p.read_bytes() for p in run.masks.iterdir()] for run in runs)
    assert first == again


def test_clipseg_of_one_frame_for_all_sentences_equals_its_own_forward(models: Path) -> None:
    from rvos.baselines.clipseg import pixels_of

    data = ToyDataset(1)
    video, expressions = data.videos[0], [s.expression for s in data]
    predictor: Any = make_predictor(f"clipseg:{models}/clipseg")
    logits = {(e, i): m for e, i, m in predictor.segment(video, expressions)}
    words = predictor.tokenizer([expressions[2].text], return_tensors="pt")
    with torch.inference_mode():
        expected = predictor.model(
            input_ids=words.input_ids, attention_mask=words.attention_mask, pixel_values=pixels_of(video.frame(3), 32)
        ).logits
    assert np.allclose(logits[expressions[2].id, 3], expected.squeeze().numpy(), atol=1e-5)


def test_boxes_are_inside_the_image_and_depend_on_the_sentence(models: Path) -> None:
    finder = BoxFinder.from_pretrained(str(models / "grounding_dino"))
    frame = ToyDataset(1).videos[0].frame(0)
    box, score = finder.best(frame, "the box")
    assert 0 <= box[0] <= box[2] <= WIDTH and 0 <= box[1] <= box[3] <= HEIGHT and 0 < score < 1
    assert finder.best(frame, "what could be eaten?")[1] != score
    assert caption(" The red Box? ") == "the red box."


def test_objects_are_united_and_nothing_gives_empty_masks(models: Path) -> None:
    video = ToyDataset(1).videos[0]
    sam2 = Sam2Prompts(load_model(str(models / "sam2"), "Sam2VideoModel"))
    one, two = {0: Prompt(points=((10.0, 10.0),))}, {3: Prompt(box=(20.0, 5.0, 50.0, 30.0))}
    found = {
        (n, i): m
        for n, i, m in sam2.segment_objects(video, {"both": [one, two], "one": [one], "two": [two], "none": []})
    }
    assert len(found) == 4 * len(video) and all(m.shape == (HEIGHT, WIDTH) for m in found.values())
    for index in range(len(video)):
        assert np.array_equal(found["both", index], found["one", index] | found["two", index])
        assert not found["none", index].any()
    alone = {i: m for _, i, m in sam2.segment_objects(video, {"two": [two]})}
    assert all(np.array_equal(found["two", i], alone[i]) for i in alone)


def test_a_prompt_moves_the_mask(models: Path) -> None:
    video = ToyDataset(1).videos[0]
    sam2 = Sam2Prompts(load_model(str(models / "sam2"), "Sam2VideoModel"))
    scores = []
    for x in (5.0, 55.0):
        with torch.inference_mode():
            session = sam2._session(video)
            sam2._prompt(session, video, 0, [Prompt(points=((x, 20.0),))])
        scores.append(session.output_dict_per_obj[0]["cond_frame_outputs"][0]["pred_masks"].float())
    assert (scores[0] - scores[1]).abs().max() > 1e-4


def test_prompts_and_their_helpers() -> None:
    with pytest.raises(UsageError, match="a point or a box"):
        Prompt()
    assert Prompt(points=((1, 2),), box=(0, 0, 4, 4)).coordinates() == ([(0, 0), (4, 4), (1, 2)], [2, 3, 1])
    assert box_of([30, -5, 10, 99], (40, 60)) == (10, 0, 30, 40)
    assert spread(10, 4) == [0, 3, 6, 9] and spread(1, 4) == [0] and spread(2, 8) == [0, 1]


def test_a_language_models_answer_prompts_sam2(models: Path) -> None:
    data = ToyDataset(1)
    video, expressions = data.videos[0], [s.expression for s in data][:2]
    asked = []

    def ask(image: np.ndarray, question: str) -> tuple[str, tuple[int, int]]:
        asked.append(question)
        seen_twice_as_large = (2 * HEIGHT, 2 * WIDTH)
        if expressions[1].text in question or len(asked) == 1:
            return "[]", seen_twice_as_large
        return '```json\n[{"bbox_2d": [20, 10, 60, 40], "label": "box"}]\n```', seen_twice_as_large

    sam2 = Sam2Prompts(load_model(str(models / "sam2"), "Sam2VideoModel"))
    found = {(e, i): m for e, i, m in MultimodalLlm(ask, sam2).segment(video, expressions)}
    assert "JSON only" in asked[0] and len(asked) == 2 + 4
    expected = sam2.segment_objects(video, {"0": [{spread(5, 4)[1]: Prompt(box=(10.0, 5.0, 30.0, 20.0))}]})
    assert all(np.array_equal(found["0", i], m) for _, i, m in expected)
    assert not any(found["1", i].any() for i in range(5))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("clipseg:{m}/sam", "model_type sam, not clipseg"),
        ("clipseg:{m}/nowhere", "cannot be loaded as CLIPSegForImageSegmentation"),
        ("grounding-dino-sam:{m}/clipseg,{m}/sam", "model_type clipseg, not grounding-dino"),
        ("grounding-dino-sam2:{m}/grounding_dino", "Two checkpoints are needed, as grounding-dino-sam2:DINO,SAM2"),
        ("grounding-dino-sam2:{m}/grounding_dino,{m}/sam", "Sam2VideoModel"),
        ("multimodal-llm:{m}/sam,{m}/sam2", "AutoModelForImageTextToText"),
        ("clipseg", "needs a checkpoint: 'clipseg:PATH'"),
    ],
)
def test_a_wrong_checkpoint_ends_with_a_clear_error(spec: str, words: str, models: Path) -> None:
    with pytest.raises(RvosError, match=words):
        make_predictor(spec.format(m=models))


def test_weights_that_do_not_fit_are_named(models: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    copy = Path(shutil.copytree(models / "clipseg", tmp_path / "copy"))
    state = load_file(copy / "model.safetensors")
    del state["decoder.reduces.0.weight"]
    save_file(state, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"1 of its weights .*decoder\.reduces\.0\.weight"):
        load_model(str(copy), "CLIPSegForImageSegmentation")


def test_a_processor_that_needs_torchvision_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from rvos.baselines.pretrained import load_processor

    def absent(path: str) -> None:
        raise ImportError("requires torchvision")

    monkeypatch.setattr(transformers.AutoProcessor, "from_pretrained", absent)
    with pytest.raises(RvosError, match="pip install torchvision"):
        load_processor("some/model")
