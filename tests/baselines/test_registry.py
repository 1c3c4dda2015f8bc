"""Predictors by name. About 1 s."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from absent import without_torch
from toyset import ToyDataset

from rvos.baselines.registry import MANIFEST, load_attribute, make_predictor, predictor_names
from rvos.benchmarks.predictor import Predictor
from rvos.datasets.errors import MissingExtraError, UnknownNameError, UsageError

PLUGIN = '''
"""Somebody's own models."""
import numpy as np

class Model:
    def __init__(self, path="none"):
        self.path = path
    @classmethod
    def from_pretrained(cls, path):
        return cls(path)
    def segment(self, video, expressions):
        for expression in expressions:
            for index in range(len(video)):
                yield expression.id, index, np.zeros(video.size, bool)

class NeedsWeights:
    def __init__(self, weights):
        self.weights = weights
    @classmethod
    def from_pretrained(cls, path):
        return cls(path)
    def segment(self, video, expressions):
        return ()

def function(video, text):
    return np.zeros((len(video), *video.size), bool)

NUMBER = 3
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An importable module ``their_models`` that an installed distribution announces as predictor ``theirs``."""
    (tmp_path / "their_models.py").write_text(PLUGIN)
    (tmp_path / "broken_model.py").write_text("import a_package_that_is_not_there\n")
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[rvos.predictors]\ntheirs = their_models:Model\nempty = their_models:Model\n"
        "weights-only = their_models:NeedsWeights\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "their_models", raising=False)


def test_every_name_of_the_manifest_can_be_imported_and_says_what_its_score_tells() -> None:
    for target in MANIFEST.values():
        assert "score" in load_attribute(target).__doc__


def test_modules_functions_classes_and_entry_points(plugin: None) -> None:
    video = ToyDataset().videos[0]
    for spec in ("their_models:Model", "their_models:function", "theirs", "theirs:weights.pt"):
        predictor = make_predictor(spec)
        assert isinstance(predictor, Predictor)
        expressions = [ToyDataset()[0].expression]
        assert len(list(predictor.segment(video, expressions))) == len(video)
    assert make_predictor("theirs:weights.pt").path == "weights.pt"
    assert "theirs" in predictor_names()


def test_a_model_without_its_packages_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    without_torch(monkeypatch)
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'rvos[models]'")):
        make_predictor("videolisa:checkpoint")


def test_a_plugin_cannot_take_over_a_name(plugin: None) -> None:
    assert type(make_predictor("empty")).__module__ == "rvos.baselines.trivial"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("emty", "Did you mean empty"),
        ("no_such_module:Model", "No module 'no_such_module'"),
        ("their_models:Modle", "has no 'Modle'"),
        ("their_models:", "has no ''"),
        ("their_models:NUMBER", "is no predictor"),
        ("their_models:NeedsWeights", "weights"),
        ("empty:weights.pt", "takes no argument"),
        ("weights-only", "needs a checkpoint: 'weights-only:PATH'"),
        ("perfect", "needs a dataset"),
    ],
)
def test_errors_say_what_to_do(plugin: None, spec: str, words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        make_predictor(spec)


def test_unknown_names_list_all(plugin: None) -> None:
    with pytest.raises(UnknownNameError, match="one-mask-for-all") as error:
        make_predictor("nothing-like-it")
    assert "theirs" in str(error.value)


def test_an_error_inside_the_module_is_not_mistaken_for_a_missing_module(plugin: None) -> None:
    with pytest.raises(UsageError, match="'a_package_that_is_not_there', which is not installed"):
        make_predictor("broken_model:Model")


def test_masks_of_a_function_are_those_that_it_returned() -> None:
    video = ToyDataset().videos[0]
    assert np.count_nonzero([m for _, _, m in make_predictor("full").segment(video, [ToyDataset()[0].expression])])
