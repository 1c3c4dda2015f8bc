"""lisa-nano asks in training what LISA asks at inference, and its weights come back. About 3 seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from rvos.baselines.lisa import LisaModel, LisaPredictor  # noqa: E402
from rvos.baselines.lisa_nano import ImageLessons, ImageStage, new_lisa  # noqa: E402
from rvos.datasets.reasonshapes.benchmark import make_videos  # noqa: E402
from rvos.videolisa.nano.models import nano_tokenizer, new_videolisa  # noqa: E402
from rvos.videolisa.nano.recipe import save_half, texts  # noqa: E402
from rvos.videolisa.nano.scenes import SceneVideo, scene_video  # noqa: E402
from rvos.videolisa.nano.vision import ThingCodes  # noqa: E402


@pytest.fixture(scope="module")
def scenes() -> list[SceneVideo]:
    return [scene_video("train", video, 4) for video in make_videos("train", 2)]


@pytest.fixture(scope="module")
def lisa(scenes: list[SceneVideo], tmp_path_factory: pytest.TempPathFactory) -> Any:
    videolisa = new_videolisa(nano_tokenizer(tmp_path_factory.mktemp("tokenizer"), texts(scenes)), 0)
    made = new_lisa(videolisa, 1)
    assert torch.equal(made.model.sam.mask_decoder.iou_token.weight, videolisa.model.sam.mask_decoder.iou_token.weight)
    made.model.eval()
    return made


def test_training_asks_as_the_predictor_does(scenes: list[SceneVideo], lisa: Any) -> None:
    lessons = ImageLessons(lisa.model, lisa.processor, scenes)
    lesson = lessons.lesson(0, scenes[0].sentences, np.random.default_rng(0), 0)
    stage = ImageStage(lisa.model, ThingCodes(64))
    with torch.no_grad():
        (hidden,) = stage.ask(stage.video_rows(lesson)[None], [lesson.questions]).hidden
        trained = lisa.model.prompt_vector(hidden[lesson.questions.prompt_rows])
    (frame,) = lesson.sample.frames
    expressions = [s.expression for s in scenes[0].sentences]
    engine = LisaPredictor(lisa).prompt_vectors(scenes[0].frames[frame], expressions)
    assert torch.allclose(trained, engine, atol=5e-3)  # CLIP's features are kept in half precision while training


def test_what_a_frame_does_not_show_is_answered_by_nothing(scenes: list[SceneVideo], lisa: Any) -> None:
    lessons = ImageLessons(lisa.model, lisa.processor, scenes)
    for lesson in lessons.draw(np.random.default_rng(0), 4, 5, 1, {"attribute": 1.0}):
        assert lesson.masks is not None
        assert ((lesson.members.sum(1) == 0) == (lesson.masks.flatten(1).sum(1) == 0)).all()


def test_weights_come_back(lisa: Any, tmp_path: Path) -> None:
    save_half(lisa, tmp_path)
    again = LisaPredictor.from_pretrained(str(tmp_path)).videolisa.model
    assert isinstance(again, LisaModel) and again.config.projector_type == "mlp2x_gelu"
    for (name, a), (_, b) in zip(lisa.model.named_parameters(), again.named_parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-6), name
