"""Pipelines of foundation models, tiny and random, through their real loading code. About 15 s."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="these models need torch (pip install 'rvos[models]')")
transformers = pytest.importorskip("transformers", reason="these models need transformers (pip install 'rvos[models]')")

import tinymodels  # noqa: E402
from toyset import HEIGHT, WIDTH, ToyDataset  # noqa: E402

from rvos.baselines import multimodal_llm  # noqa: E402
from rvos.baselines.grounding_dino import BoxFinder, GroundedSam, GroundedSam2, caption  # noqa: E402
from rvos.baselines.multimodal_llm import MultimodalLlm  # noqa: E402
from rvos.baselines.pretrained import load_model  # noqa: E402
from rvos.baselines.registry import make_predictor  # noqa: E402
from rvos.baselines.sam2_prompts import Prompt, Sam2Prompts, box_of, spread  # noqa: E402
from rvos.benchmarks.answers import ask  # noqa: E402
from rvos.benchmarks.engine import predict  # noqa: E402
from rvos.benchmarks.predictions.run_masks import RunMasks  # noqa: E402
from rvos.datasets.errors import RvosError, UsageError  # noqa: E402
from rvos.datasets.types import Expression  # noqa: E402
from rvos.videolisa.checkpoints import CheckpointError  # noqa: E402

pytestmark = pytest.mark.skipif(
    not hasattr(transformers, "Sam2VideoModel"), reason="this transformers has no SAM 2 video model"
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for every model, named by it."""
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
def test_end_to_end_and_deterministic(name: str, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the engine, and loaded anew: a mask of the video's size for every sentence and frame, twice the same."""
    if name == "multimodal-llm":  # a random model answers at whatever length it is allowed
        monkeypatch.setattr(multimodal_llm.ImageChat.__init__, "__defaults__", (3,))
    data = ToyDataset(1)
    data.samples = data.samples[:3]
    run = predict(make_predictor(SPECS[name].format(m=models), data), data, out=tmp_path / "run", progress=False)
    assert {line.status for line in run.predictions()} == {"ok"}, run.predictions()[0].reason
    assert run.record.predictor.name == name
    saved = {sample.expression.id: RunMasks(run.masks).rles(sample) for sample in data}
    assert all(len(rles) == 5 and {tuple(r["size"]) for r in rles if r} == {(HEIGHT, WIDTH)} for rles in saved.values())
    expressions = [sample.expression for sample in data][:1]
    again = ask(make_predictor(SPECS[name].format(m=models), data), data.videos[0], expressions)
    assert [answer.rles for answer in again] == [saved[e.id] for e in expressions]


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


def test_the_best_box_on_a_frame_becomes_that_frames_mask() -> None:
    """Grounding DINO's box, in pixels of the video, reaches SAM in pixels of its input, and SAM's mask comes back."""
    video = ToyDataset(1).videos[0]
    asked: list[tuple[int, str]] = []

    class Boxes:
        def best(self, frame: np.ndarray, text: str) -> tuple[tuple[float, ...], float]:
            asked.append((int(np.argmax([np.array_equal(frame, f) for f in video.iter_frames()])), text))
            return (30.0, 10.0, 60.0, 40.0), 0.9

    class Sam(torch.nn.Module):
        device, dtype = torch.device("cpu"), torch.float32
        config = SimpleNamespace(vision_config=SimpleNamespace(image_size=120))

        def get_image_embeddings(self, pixels: Any) -> Any:
            assert pixels.shape == (1, 3, 120, 120)
            return torch.zeros(1, 8, 4, 4)

        def forward(self, image_embeddings: Any, input_boxes: Any, multimask_output: bool) -> Any:
            left, top, right, bottom = (input_boxes[0, 0] / 4).round().int().tolist()
            low = torch.full((1, 1, 1, 30, 30), -1.0)
            low[..., top:bottom, left:right] = 1.0
            return SimpleNamespace(pred_masks=low)

    found = list(GroundedSam(Boxes(), Sam()).segment(video, [Expression("0", "what is it?"), Expression("1", "it")]))
    assert asked == [(i, text) for i in range(5) for text in ("what is it?", "it")]
    assert [(name, index) for name, index, _ in found] == [(name, i) for i in range(5) for name in "01"]
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[10:40, 30:60] = True
    assert all((mask != expected).mean() < 0.03 and mask.shape == (HEIGHT, WIDTH) for _, _, mask in found)


class Recording:
    """In place of SAM 2: notes its prompts and answers with empty masks."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}

    def segment_objects(self, video: Any, objects: Any) -> Any:
        self.objects = dict(objects)
        return ((name, index, np.zeros(video.size, bool)) for name in objects for index in range(len(video)))


def test_the_best_box_among_a_few_frames_prompts_sam2() -> None:
    video, sam2 = ToyDataset(1).videos[0], Recording()
    scores = iter([0.2, 0.3, 0.9, 0.1, 0.4, 0.5, 0.1, 0.1, 0.1, 0.1])
    boxes = SimpleNamespace(best=lambda frame, text: ((1.0, 2.0, 3.0, len(text)), next(scores)))
    assert len(list(GroundedSam2(boxes, sam2).segment(video, [Expression("0", "a cat"), Expression("1", "it")]))) == 10
    assert sam2.objects == {"0": [{2: Prompt(box=(1, 2, 3, 5))}], "1": [{0: Prompt(box=(1, 2, 3, 2))}]}


def test_a_language_models_answer_prompts_sam2() -> None:
    data, sam2 = ToyDataset(1), Recording()
    video, expressions = data.videos[0], [s.expression for s in data][:3]
    asked = []

    def answer(image: np.ndarray, question: str) -> tuple[str, tuple[int, int]]:
        asked.append(question)
        seen_twice_as_large = (2 * HEIGHT, 2 * WIDTH)
        if expressions[1].text in question or len(asked) == 1:
            return "[]", seen_twice_as_large
        if expressions[2].text in question:
            return 'At <point x="50" y="25">it</point>.', seen_twice_as_large
        return '```json\n[{"bbox_2d": [20, 10, 60, 40], "label": "box"}]\n```', seen_twice_as_large

    masks = list(MultimodalLlm(answer, sam2).segment(video, expressions))
    assert len(masks) == 3 * 5 and all(mask.shape == (HEIGHT, WIDTH) for _, _, mask in masks)
    assert "JSON only" in asked[0] and len(asked) == 2 + 4 + 1
    second = spread(5, 4)[1]
    box, point = Prompt(box=(10.0, 5.0, 30.0, 20.0)), Prompt(points=((WIDTH / 2, HEIGHT / 4),))
    assert sam2.objects == {"0": [{second: box}], "1": [], "2": [{0: point}]}


def test_coordinates_in_thousandths_count_the_image() -> None:
    video, sam2 = ToyDataset(1).videos[0], Recording()
    says = MultimodalLlm(lambda image, question: ('{"bbox_2d": [0, 250, 500, 1000]}', (7, 7)), sam2, scale=1000.0)
    list(says.segment(video, [Expression("0", "it")]))
    assert sam2.objects == {"0": [{0: Prompt(box=(0.0, HEIGHT / 4, WIDTH / 2, HEIGHT))}]}


class Speaker:
    """A processor and a model in one that repeats its question; where ``grid`` is given, like Qwen's."""

    config = SimpleNamespace(vision_config=SimpleNamespace(patch_size=14))
    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, grid: tuple[int, int, int] | None = None) -> None:
        self.grid, self.tokenizer = grid, self
        self.images: list[Any] = []

    def eval(self) -> Any:
        return self

    def apply_chat_template(self, messages: Any, add_generation_prompt: bool) -> str:
        kinds = [part["type"] for part in messages[0]["content"]]
        assert kinds == ["image", "text"] and add_generation_prompt
        return messages[0]["content"][1]["text"]

    def __call__(self, images: Any, text: str, return_tensors: str) -> Any:
        self.images.append(np.asarray(images))
        inputs = {"pixel_values": torch.zeros(1), "input_ids": torch.tensor([[ord(c) for c in text]])}
        return transformers.BatchFeature(
            inputs if self.grid is None else {**inputs, "image_grid_thw": torch.tensor([self.grid])}
        )

    def generate(self, input_ids: Any, max_new_tokens: int, do_sample: bool, **inputs: Any) -> Any:
        assert not do_sample
        return torch.cat([input_ids, input_ids[:, :max_new_tokens]], dim=1)

    def decode(self, tokens: Any, skip_special_tokens: bool) -> str:
        return "".join(chr(t) for t in tokens.tolist())


def test_the_image_and_the_question_reach_the_language_model() -> None:
    frame = ToyDataset(1).videos[0].frame(2)
    speaker, like_qwen = Speaker(), Speaker(grid=(1, 3, 5))
    chat = multimodal_llm.ImageChat(speaker, speaker)
    assert chat(frame, "where?") == ("where?", (HEIGHT, WIDTH)) and np.array_equal(speaker.images[0], frame)
    assert chat.tokens_used == 12, "read and written"
    assert multimodal_llm.ImageChat(like_qwen, like_qwen)(frame, "where?") == ("where?", (3 * 14, 5 * 14))


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
