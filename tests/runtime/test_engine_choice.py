"""The fastest installed engine is found by measuring, and remembered; what the user names is never changed."""

import json

import pytest

from object_pose.core.errors import ModelError
from object_pose.runtime.engine import ENGINES, EngineConfig, load_engine
from object_pose.runtime.engine_choice import installed_engines, measure_engines, with_fastest_engine
from object_pose.runtime.predictor import PredictorConfig

pytestmark = pytest.mark.skipif(len(installed_engines()) < 2, reason="the extra 'openvino' is not installed")


def test_every_engine_is_timed_and_gives_the_same(mean_colour_model):
    timings = measure_engines(mean_colour_model, EngineConfig(threads=1))
    assert [item.engine for item in timings] == list(ENGINES)
    assert all(item.inference_ms > 0.0 and item.agrees for item in timings)


def test_the_choice_is_kept_for_this_file(mean_colour_model, tmp_path):
    cache = tmp_path / "cache" / "engines.json"
    chosen = with_fastest_engine(mean_colour_model, PredictorConfig(labels="a"), cache)
    assert chosen.engine in ENGINES
    assert chosen.labels == "a"
    (key,) = json.loads(cache.read_text())
    other = next(name for name in ENGINES if name != chosen.engine)
    cache.write_text(json.dumps({key: other}))
    assert with_fastest_engine(mean_colour_model, PredictorConfig(), cache).engine == other
    # Another number of threads is another question.
    with_fastest_engine(mean_colour_model, PredictorConfig(threads=7), cache)
    assert len(json.loads(cache.read_text())) == 2


@pytest.mark.parametrize("content", ["", "[1]", '{"a": 1}', "\x00\xff"])
def test_a_spoilt_cache_is_measured_again(mean_colour_model, tmp_path, content):
    cache = tmp_path / "engines.json"
    cache.write_text(content)
    assert with_fastest_engine(mean_colour_model, EngineConfig(), cache).engine in ENGINES
    assert any(value in ENGINES for value in json.loads(cache.read_text()).values())


def test_a_cache_that_cannot_be_written_does_not_stop_the_choice(mean_colour_model, tmp_path):
    (tmp_path / "file").touch()
    assert with_fastest_engine(mean_colour_model, EngineConfig(), tmp_path / "file" / "engines.json").engine in ENGINES


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_that_is_named_is_taken(mean_colour_model, tmp_path, name):
    config = with_fastest_engine(mean_colour_model, EngineConfig(engine=name), tmp_path / "engines.json")
    assert config.engine == name
    assert not (tmp_path / "engines.json").exists()
    assert load_engine(mean_colour_model, config).name.startswith(name)


def test_files_are_read_with_the_engine_of_the_published_figures(mean_colour_model):
    assert load_engine(mean_colour_model).name.startswith("onnxruntime")


def test_a_file_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"not a model" * 50)
    with pytest.raises(ModelError, match="cannot be read"):
        with_fastest_engine(tmp_path / "model.onnx", EngineConfig(), tmp_path / "engines.json")
