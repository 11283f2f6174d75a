"""From a request to a model that the gate lets pass, or not: tiny networks on tiny pictures, all else as it is."""

from __future__ import annotations

import json

import pytest
import yaml

from object_pose.core.errors import DataError
from object_pose.io.bop_writing import LabelledFrame
from object_pose.io.datasets.content_hash import data_version
from object_pose.io.retraining_request import open_requests, write_request
from object_pose.mlops.promotion import promote_candidate
from object_pose.mlops.retraining import RetrainConfig, retrain
from object_pose.mlops.store import DATA_TAG
from object_pose.simulation.parts.objects import part_objects
from object_pose.simulation.parts.procedural import PART_NAMES
from object_pose.simulation.scenes.scene import FrameStream, SceneConfig
from object_pose.workflows.export import export_run
from object_pose.workflows.promote import GateConfig, TestSet
from object_pose.workflows.train import make_job, train

SCENE = {"width": 96, "height": 64, "focal_px": 90.0, "max_objects": 3}
OPTIONS = {
    **SCENE,
    "input_width": 96,
    "input_height": 64,
    "crop_width": 64,
    "crop_height": 64,
    "batch_size": 2,
    "workers": 0,
    "threads": 1,
    "device": "cpu",
    "validation_frames": 2,
}
GATE = GateConfig(min_samples=2, max_latency_ratio=1000.0)
NAME = "tiny"


@pytest.fixture
def request_folder(tmp_path):
    """A request with frames of the simulation, labelled with their truth."""
    stream = FrameStream(part_objects(), SceneConfig(**SCENE), depth=True, seed=3)
    frames = [
        LabelledFrame(item.frame.rgb, item.frame.depth_m, item.frame.camera, item.truths)
        for item, _ in zip(stream, range(5))
    ]
    write_request(tmp_path / "requests", "tiny.onnx", PART_NAMES, ["brightness is 40, usually 100 to 120"], frames, {})
    return tmp_path / "requests"


@pytest.fixture
def champion(registry, tmp_path):
    """A network that has hardly learned anything, measured and promoted."""
    run_dir = tmp_path / "champion_run"
    train(make_job("pose", run_dir, {**OPTIONS, "steps": 1}))
    registry.add(NAME, export_run(run_dir, tmp_path / "tiny.onnx").path)
    promotion = promote_candidate(registry, NAME, TestSet(rendered=3), GATE, run_dir=run_dir)
    assert promotion.report.passed, promotion.report.checks
    assert [check.is_met for check in promotion.report.checks if "torch" in check.name] == [True]
    return promotion.model


def test_a_request_ends_in_a_model_that_says_where_it_comes_from(registry, champion, request_folder, tmp_path):
    (request,) = open_requests(request_folder)
    config = RetrainConfig(steps=2, learning_rate=1e-6, data_share=1.0)
    output = tmp_path / "retrained"
    promotion = retrain(registry, NAME, request, output, config, options=OPTIONS, gate=GATE)
    assert promotion.report.champion == f"{NAME}/{champion.version}"
    assert promotion.model.gate == ("passed" if promotion.report.passed else "refused")
    assert open_requests(request_folder) == []

    digest = data_version(output / "data").digest
    assert promotion.model.data["data"] == digest
    assert yaml.safe_load((output / "data.dvc").read_text())["outs"][0]["md5"] == digest
    tags = registry.store.client.get_run(promotion.model.run_id).data.tags
    assert json.loads(tags[DATA_TAG])["data"] == digest
    assert (output / "gate" / "report.html").exists()


def test_a_request_with_too_few_labels_trains_nothing(registry, champion, request_folder, tmp_path):
    (request,) = open_requests(request_folder)
    with pytest.raises(DataError, match="--truth"):
        retrain(registry, NAME, request, tmp_path / "retrained", RetrainConfig(min_frames=6), options=OPTIONS)
    assert len(open_requests(request_folder)) == 1
