"""From nothing to a model file that predicts: train, resume, export, evaluate and predict on tiny pictures."""

from __future__ import annotations

import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from mask_models import save_mask_model
from object_pose.io.camera_info import write_camera
from object_pose.io.images import write_image
from object_pose.runtime.predictor import Predictor
from object_pose.runtime.resources import find_model
from object_pose.runtime.roi_head import ROI_HEAD_KEY, unpacked
from object_pose.simulation.parts.objects import part_objects
from object_pose.simulation.parts.procedural import PART_NAMES
from object_pose.simulation.scenes.scene import FrameStream, SceneConfig
from object_pose.training.onnx.export import embed_roi_head

SCENE = ["--width", "96", "--height", "64", "--focal-px", "90", "--max-objects", "3"]
NETWORK = ["--input-width", "96", "--input-height", "64", "--crop-width", "64", "--crop-height", "64"]
RUN = ["--batch-size", "2", "--workers", "0", "--threads", "1", "--device", "cpu", "--validation-frames", "2"]


def train(cli, run_dir, *options):
    return cli("train", "pose", "--output", run_dir, *SCENE, *NETWORK, *RUN, *options)


@pytest.fixture
def photo(tmp_path):
    """A rendered picture of the parts, with its camera."""
    config = SceneConfig(width=96, height=64, focal_px=90.0, max_objects=3)
    frame = next(iter(FrameStream(part_objects(), config, seed=5))).frame
    write_image(tmp_path / "photo.png", frame.rgb)
    write_camera(tmp_path / "camera.yaml", frame.camera)
    return tmp_path / "photo.png"


def test_a_model_is_trained_resumed_exported_and_used(cli, tmp_path, photo):
    run_dir, model = tmp_path / "run", tmp_path / "models" / "tiny.onnx"
    outcome = train(cli, run_dir, "--steps", "2", "--checkpoint-every", "1")
    assert outcome.code == 0, outcome.err
    assert "holds a run already" in train(cli, run_dir, "--steps", "3").problem.replace("\r", "")
    assert train(cli, run_dir, "--steps", "3", "--resume").code == 0

    outcome = cli("export", "--run", run_dir, "--output", model, "--metric", "none yet", "--licence", "Apache-2.0")
    assert outcome.code == 0, outcome.err
    card = json.loads(cli("models", "show", model, "--json").out)
    assert (card["labels"], card["input_wh"], card["metric"]) == (list(PART_NAMES), [96, 64], "none yet")
    assert card["command"].startswith(f"object-pose train pose --output {run_dir}")
    assert card["sha256"] in outcome.out

    options = ["--model", model, "--camera", photo.with_name("camera.yaml"), "--decoding.score-threshold", "0"]
    (record,) = [json.loads(line) for line in cli("predict", photo, *options, "--json").out.splitlines()]
    assert record["name"] == "photo"
    assert len(record["detections"]) == len(record["poses"]) + len(record["rejections"]) > 0


def test_a_run_that_does_not_exist_cannot_be_resumed_into_an_export(cli, tmp_path):
    (tmp_path / "run").mkdir()
    assert "is no training run" in cli("export", "--run", tmp_path / "run", "--output", tmp_path / "x.onnx").problem
    assert not (tmp_path / "x.onnx").exists()


def test_models_are_averaged_weight_by_weight(cli, tmp_path):
    first, second, mean = tmp_path / "first.onnx", tmp_path / "second.onnx", tmp_path / "mean.onnx"
    shutil.copyfile(find_model("inspection.onnx"), first)
    changed = onnx.load(str(first))
    weight = next(item for item in changed.graph.initializer if len(item.dims) == 4)
    before = numpy_helper.to_array(weight)
    weight.CopyFrom(numpy_helper.from_array(before + np.float32(0.5), weight.name))
    onnx.save(changed, str(second))
    outcome = cli("export", "--average", first, second, "--output", mean, "--metric", "not measured")
    assert outcome.code == 0, outcome.err
    assert "mean of 2 models" in outcome.out
    found = {item.name: numpy_helper.to_array(item) for item in onnx.load(str(mean)).graph.initializer}
    for item in onnx.load(str(first)).graph.initializer:
        expected = before + 0.25 if item.name == weight.name else numpy_helper.to_array(item)
        np.testing.assert_allclose(found[item.name], expected, rtol=1e-5, atol=1e-7)
    card, own = (json.loads(cli("models", "show", model, "--json").out) for model in (mean, first))
    assert (card["metric"], card["labels"]) == ("not measured", own["labels"])

    outcome = cli("export", "--average", first, find_model("oriented.onnx"), "--output", tmp_path / "none.onnx")
    assert "is of another network than" in outcome.problem
    assert not (tmp_path / "none.onnx").exists()


def test_the_heads_inside_are_averaged_too(cli, tmp_path):
    first, second, mean = find_model("parts.onnx"), tmp_path / "second.onnx", tmp_path / "mean.onnx"
    shutil.copyfile(first, second)
    before = _head(first)
    changed = _head(first)
    weight = next(item for item in changed.graph.initializer if len(item.dims) == 4)
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) + np.float32(0.5), weight.name))
    (tmp_path / "head.onnx").write_bytes(changed.SerializeToString())
    embed_roi_head(second, tmp_path / "head.onnx")
    outcome = cli("export", "--average", first, second, "--output", mean)
    assert outcome.code == 0, outcome.err
    for own, found in zip(before.graph.initializer, _head(mean).graph.initializer, strict=True):
        more = 0.25 if own.name == weight.name else 0.0
        np.testing.assert_allclose(
            numpy_helper.to_array(found), numpy_helper.to_array(own) + more, rtol=1e-4, atol=1e-6
        )


def test_mask_models_are_put_together_and_predict(cli, tmp_path):
    models = [save_mask_model(tmp_path / f"{name}.onnx", seed) for seed, name in enumerate(("first", "second"))]
    together = tmp_path / "together.onnx"
    outcome = cli("export", "--ensemble", *models, "--output", together, "--licence", "Apache-2.0")
    assert outcome.code == 0, outcome.err
    assert "2 models together" in outcome.out
    card = json.loads(cli("models", "show", together, "--json").out)
    assert (card["labels"], card["licence"]) == (["building"], "Apache-2.0")
    write_image(tmp_path / "tile.png", np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8))
    (record,) = map(json.loads, cli("predict", tmp_path / "tile.png", "--model", together, "--json").out.splitlines())
    assert record["name"] == "tile"

    outcome = cli("export", "--ensemble", models[0], find_model("oriented.onnx"), "--output", tmp_path / "none.onnx")
    assert "only answers of mask models can be averaged" in outcome.problem
    assert not (tmp_path / "none.onnx").exists()


def _head(path):
    (text,) = (entry.value for entry in onnx.load(str(path)).metadata_props if entry.key == ROI_HEAD_KEY)
    return onnx.load_from_string(unpacked(text))


def test_a_shipped_detector_gets_a_new_roi_head_and_keeps_its_card(cli, tmp_path):
    run_dir, model = tmp_path / "head", tmp_path / "mine.onnx"
    shipped = find_model("parts.onnx")
    assert "name a run of 'train roi-head'" in cli("export", "--detector", shipped, "--output", model).problem
    outcome = cli("train", "roi-head", "--output", run_dir, *SCENE, *RUN, "--steps", "1", "--initial", shipped)
    assert outcome.code == 0, outcome.err
    outcome = cli("export", "--detector", shipped, "--roi-head", run_dir, "--output", model, "--metric", "none yet")
    assert outcome.code == 0, outcome.err
    card, before = (json.loads(cli("models", "show", file, "--json").out) for file in (model, shipped))
    assert card["metric"] == "none yet"
    assert {name: card[name] for name in ("labels", "command", "licence")} == {
        name: before[name] for name in ("labels", "command", "licence")
    }
    assert Predictor(model).reads_depth


def test_a_recipe_that_cannot_be_run_is_one_line(cli, tmp_path):
    recipe = tmp_path / "mine.yaml"
    stages = "[{name: network, train: pose, options: {stepz: 2}}, {name: mine, export: network}]"
    recipe.write_text(f"stages: {stages}")
    for arguments, problem in (
        ([], "nothing to train is named"),
        (["--recipe", recipe], "did you mean 'steps'?"),
        (["--recipe", recipe, "oriented", "--output", tmp_path / "run"], "exclude each other"),
        (["pose", "--recipe", "parts"], "leave out the task: train --recipe NAME"),
        (["pose"], "the run folder is not named (say --output FOLDER)"),
        (["--threads", "2", "oriented", "--output", tmp_path / "run"], "exclude each other"),
        (["--recipe", "none"], "recipes/none.yaml was not found"),
    ):
        outcome = cli("train", *arguments)
        assert problem in outcome.problem, arguments
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.yaml"]
