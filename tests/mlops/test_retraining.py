"""From a request to a model that the gate lets pass, or not: tiny networks on tiny pictures, all else as it is."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

from object_pose.core.errors import ConfigError, DataError
from object_pose.core.results.detections import Detections
from object_pose.io.bop_writing import LabelledFrame
from object_pose.io.datasets.content_hash import data_version
from object_pose.io.retraining_request import RequestImage, open_requests, write_request
from object_pose.mlops.promotion import promote_candidate
from object_pose.mlops.retraining import RetrainConfig, RetrainJob, retrain
from object_pose.mlops.store import DATA_TAG
from object_pose.mlops.tracking import log_run
from object_pose.simulation.parts.objects import part_objects
from object_pose.simulation.parts.procedural import PART_NAMES
from object_pose.simulation.scenes.scene import FrameStream, SceneConfig
from object_pose.workflows.export import export_run
from object_pose.workflows.gate_requirements import GateConfig
from object_pose.workflows.promote import TestSet
from object_pose.workflows.train import make_job, train
from small_training import NETWORK, RUN, SCENE

OBJECTS = {"max_objects": 3}
OPTIONS = {**SCENE, **NETWORK, **RUN, **OBJECTS, "validation_frames": 2}
GATE = GateConfig(min_samples=2, max_latency_ratio=1000.0)
NAME = "tiny"


@pytest.fixture
def request_folder(tmp_path):
    """A request with frames of the simulation, labelled with their truth."""
    stream = FrameStream(part_objects(), SceneConfig(**SCENE, **OBJECTS), depth=True, seed=3)
    frames = [
        LabelledFrame(item.frame.rgb, item.frame.depth_m, item.frame.camera, item.truths)
        for item, _ in zip(stream, range(5))
    ]
    write_request(tmp_path / "requests", "tiny.onnx", PART_NAMES, ["brightness is 40, usually 100 to 120"], frames, {})
    return tmp_path / "requests"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The run of a network that has hardly learned anything, with its model."""
    run_dir = tmp_path_factory.mktemp("tiny") / "run"
    train(make_job("pose", run_dir, {**OPTIONS, "steps": 1}))
    return run_dir, export_run(run_dir, run_dir.with_name("tiny.onnx")).path


@pytest.fixture
def promoted(registry, tiny):
    """That network as the champion, past the gate."""
    return registry.promote(registry.add(NAME, tiny[1]))


@pytest.fixture
def champion(registry, tiny):
    """The same network, measured and promoted."""
    run_dir, model = tiny
    registry.add(NAME, model)
    promotion = promote_candidate(registry, NAME, TestSet(rendered=3), GATE, run_dir=run_dir)
    assert promotion.report.passed, promotion.report.checks
    assert [check.is_met for check in promotion.report.checks if "torch" in check.name] == [True]
    return promotion.model


def test_a_request_ends_in_a_model_that_says_where_it_comes_from(registry, champion, request_folder, tmp_path):
    (request,) = open_requests(request_folder)
    config = RetrainConfig(steps=2, learning_rate=1e-6, data_share=1.0)
    output = tmp_path / "retrained"
    promotion = retrain(registry, RetrainJob(NAME, request, output, options=OPTIONS), config, GATE)
    assert promotion.report.champion == f"{NAME}/{champion.version}"
    assert promotion.model.gate == ("passed" if promotion.report.passed else "refused")
    assert open_requests(request_folder) == []

    digest = data_version(output / "data").digest
    assert promotion.model.data["data"] == digest
    assert yaml.safe_load((output / "data.dvc").read_text())["outs"][0]["md5"] == digest
    tags = registry.store.client.get_run(promotion.model.run_id).data.tags
    assert json.loads(tags[DATA_TAG])["data"] == digest
    assert (output / "gate" / "report.html").exists()


def picture(index) -> RequestImage:
    """A red rectangle in the dark, and where it is."""
    rng = np.random.default_rng(index)
    rgb = rng.integers(0, 40, (64, 64, 3)).astype(np.uint8)
    low = rng.integers(4, 24, 2)
    rgb[low[1] : low[1] + 30, low[0] : low[0] + 30, 0] = 220
    box = np.concatenate([low - 0.5, low + 29.5])[None]
    none = np.zeros((1, 0, 2))
    return RequestImage(rgb, Detections(box, np.ones(1), np.zeros(1, np.int64), none, none[..., 0]), True)


DETECTOR = {"backbone": "nano", "input_width": 64, "input_height": 64, "crop_width": 64, "crop_height": 64}
DETECTOR |= {"held_out": 0.0, "batch_size": 2, "workers": 0, "threads": 1, "device": "cpu"}


def test_a_detector_goes_on_as_it_was_trained_with_boxes_that_are_sure_and_labelled_ones(registry, tmp_path):
    made = write_request(tmp_path / "made", "red.onnx", ("red",), ["image"], [picture(i) for i in range(4)], {})
    run_dir = tmp_path / "run"
    train(make_job("detect", run_dir, {**DETECTOR, "data": str(made.data), "steps": 1}))
    registry.add("red", export_run(run_dir, tmp_path / "red.onnx").path, log_run(registry.store, run_dir))
    assert promote_candidate(registry, "red", TestSet(made.data), GATE, run_dir=run_dir).report.passed

    seen = [picture(i) for i in range(4, 7)]
    request = write_request(tmp_path / "requests", "red.onnx", ("red",), ["brightness"], seen, {})
    config = RetrainConfig(steps=2, learning_rate=1e-6)
    with pytest.raises(DataError, match="3 frames that are labelled surely, 4"):
        retrain(registry, RetrainJob("red", request, tmp_path / "out"), config)
    promotion = retrain(registry, RetrainJob("red", request, tmp_path / "out", made.data), config, GATE)
    assert promotion.model.version == 2 and promotion.model.gate in ("passed", "refused")
    assert promotion.model.data["data"] == data_version(tmp_path / "out" / "data").digest
    assert len(list((tmp_path / "out" / "data" / "images").iterdir())) == 7
    assert open_requests(tmp_path / "requests") == []


def test_a_request_of_another_task_is_refused(registry, promoted, good, tmp_path):
    request = write_request(tmp_path / "requests", "red.onnx", ("red",), ["brightness"], [picture(0)], {})
    with pytest.raises(ConfigError, match="frames of the task detect, the champion's is pose"):
        retrain(registry, RetrainJob(NAME, request, tmp_path / "out", options=OPTIONS))
    registry.promote(registry.add("brightness", good))
    with pytest.raises(ConfigError, match="models of the task classify are not retrained from requests"):
        retrain(registry, RetrainJob("brightness", request, tmp_path / "out"))


def test_a_champion_of_other_objects_needs_its_training_options(registry, request_folder, cube_model, tmp_path):
    (request,) = open_requests(request_folder)
    registry.promote(registry.add("cube", cube_model))
    with pytest.raises(ConfigError, match="knows cube, its training would render"):
        retrain(registry, RetrainJob("cube", request, tmp_path / "out"))


def test_a_request_with_too_few_labels_trains_nothing(registry, promoted, request_folder, tmp_path):
    (request,) = open_requests(request_folder)
    job = RetrainJob(NAME, request, tmp_path / "retrained", options=OPTIONS)
    with pytest.raises(DataError, match="--truth"):
        retrain(registry, job, RetrainConfig(min_frames=6))
    assert len(open_requests(request_folder)) == 1


def test_truth_without_a_scene_is_not_passed_over(registry, promoted, request_folder, tmp_path):
    (request,) = open_requests(request_folder)
    (tmp_path / "truth" / "000000").mkdir(parents=True)
    job = RetrainJob(NAME, request, tmp_path / "retrained", truth=tmp_path / "truth", options=OPTIONS)
    with pytest.raises(DataError, match="truth holds no BOP scene with a truth"):
        retrain(registry, job)
    assert not (tmp_path / "retrained" / "data").exists() and len(open_requests(request_folder)) == 1
