"""What every task keeps: learned, exported and opened by one path, its results are in the image's pixels and JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest

from object_pose.core.errors import ConfigError, DataError, ModelError
from object_pose.core.params import make_config
from object_pose.core.results.classification import Classification
from object_pose.core.results.detections import Detections
from object_pose.core.results.oriented import OrientedBoxes
from object_pose.core.results.segmentation import Segmentation
from object_pose.evaluation.rendered import rendered_samples
from object_pose.evaluation.reports.evaluation.report import write_report
from object_pose.evaluation.runner import evaluate_task
from object_pose.evaluation.samples import Sample, read_samples
from object_pose.io.writers import FrameRecord, frame_schema
from object_pose.runtime.card import METADATA_KEY
from object_pose.runtime.predictor import Predictor, load_card
from object_pose.runtime.resources import find_model
from object_pose.simulation.generators.datasets import write_detect
from object_pose.tasks.pose import true_detections
from object_pose.tasks.registry import TASKS, find_task, json_schema
from object_pose.training.config import TrainConfig
from object_pose.training.loop import Trainer
from object_pose.training.onnx.export import export_onnx
from object_pose.training.tasks import registry as training

SEED = 2_050_000_000
ODD_WH = (53, 37)
TINY = {"input_width": 64, "input_height": 64}
SCENE = {"width": 96, "height": 64, "focal_px": 90.0, "max_objects": 3}
# Values for all option dataclasses of a task, each taking those that it knows.
OPTIONS: dict[str, dict[str, Any]] = {
    "detect": TINY | {"crop_width": 64, "crop_height": 64, "backbone": "nano", "held_out": 0.0},
    "pose": TINY | SCENE | {"crop_width": 64, "crop_height": 64, "validation_frames": 1, "reuse": 2},
    "oriented": {},
    "classify": TINY | {"validation_images": 10},
    "segment": {"input_size": 64, "validation_tiles": 4},
}
RUN = {"steps": 2, "batch_size": 2, "workers": 0, "threads": 1, "device": "cpu", "precision": "fp32"}


@dataclasses.dataclass(frozen=True)
class Trained:
    """A model of a task after two steps, and the folder of boxes that the detector learned from."""

    task: str
    model: Path
    boxes: Path

    def samples(self, predictor: Predictor) -> Iterator[Sample]:
        if self.task == "detect":
            return read_samples("detect", self.boxes, predictor.card)
        return rendered_samples(self.task, 3, SEED, predictor.card)


@pytest.fixture(scope="module", params=TASKS)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp(request.param)
    learning = training.find_task(request.param)
    values = OPTIONS[request.param]
    if request.param == "detect":
        (folder / "boxes").mkdir()
        write_detect(folder / "boxes", 3, SEED)
        values = values | {"data": str(folder / "boxes")}
    known = [{f.name for f in dataclasses.fields(kind)} for kind in learning.configs]
    configs = [
        make_config(kind, {k: v for k, v in values.items() if k in names})
        for kind, names in zip(learning.configs, known)
    ]
    recipe = learning.recipe(*configs)
    if request.param == "oriented":
        recipe = dataclasses.replace(recipe, validation_count=4)
    Trainer(recipe, TrainConfig(**RUN), folder / "run").run()
    difference = export_onnx(learning.exportable(folder / "run", *configs), folder / "model.onnx")
    assert difference < 1e-3
    return Trained(request.param, folder / "model.onnx", folder / "boxes")


def odd_image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (ODD_WH[1], ODD_WH[0], 3), dtype=np.uint8)


def test_a_result_of_any_image_is_json_and_a_picture(trained: Trained) -> None:
    predictor = Predictor(trained.model)
    predictor = predictor.with_decoding(dataclasses.replace(predictor.task.options, score_threshold=0.0))
    task, labels = predictor.task, predictor.card.labels
    assert task is TASKS[trained.task]
    for image in (odd_image(), odd_image()[:, :, 0], np.zeros((1, 1, 3), np.uint8)):
        result = predictor.predict(image)
        record = json.loads(json.dumps(FrameRecord("a", 1, (result,)).to_json(labels), allow_nan=False))
        jsonschema.validate(record, frame_schema(trained.task), jsonschema.Draft202012Validator)
        jsonschema.validate(task.to_json(result, labels), json_schema(trained.task))
        assert task.summarise(result, labels)
    image = odd_image()
    picture = task.draw(image, predictor.predict(image), labels)
    assert picture.shape == image.shape and picture.dtype == np.uint8
    assert np.array_equal(image, odd_image())


@pytest.mark.parametrize("image", [np.zeros((0, 5, 3), np.uint8), np.zeros((9, 9, 3)), np.zeros((9, 9, 2), np.uint8)])
def test_what_is_no_image_is_refused(trained: Trained, image: np.ndarray) -> None:
    with pytest.raises(DataError):
        Predictor(trained.model).predict(image)


def test_the_card_says_what_the_file_is(trained: Trained) -> None:
    card = Predictor(trained.model).card
    assert (card.task, card.layout in TASKS[trained.task].layouts) == (trained.task, True)
    assert 0 < card.parameters < 10_000_000
    assert type(card).from_metadata(card.to_metadata()).labels == card.labels


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("task", "levitate", "'levitate' is unknown"),
        ("layout", "scrambled", "'scrambled'"),
        ("input_wh", [32, 48], "its card says"),
    ],
)
def test_a_card_that_does_not_fit_its_network_is_refused(
    trained: Trained, tmp_path: Path, field: str, value: Any, problem: str
) -> None:
    model = onnx.load(str(trained.model))
    entry = next(item for item in model.metadata_props if item.key == METADATA_KEY)
    entry.value = json.dumps(json.loads(entry.value) | {field: value})
    onnx.save(model, str(tmp_path / "wrong.onnx"))
    with pytest.raises(ModelError, match=problem) as raised:
        Predictor(tmp_path / "wrong.onnx")
    assert "wrong.onnx" in str(raised.value)


def test_an_output_missing_is_refused(trained: Trained, tmp_path: Path) -> None:
    model = onnx.load(str(trained.model))
    extra = model.graph.output.add()
    extra.CopyFrom(model.graph.output[0])
    extra.name = "extra"
    model.graph.node.append(onnx.helper.make_node("Identity", [model.graph.output[0].name], ["extra"]))
    onnx.save(model, str(tmp_path / "wrong.onnx"))
    with pytest.raises(ModelError, match=r"wrong\.onnx"):
        Predictor(tmp_path / "wrong.onnx")


def test_the_evaluator_writes_figures_pictures_and_plots(trained: Trained, tmp_path: Path) -> None:
    predictor = Predictor(trained.model)
    predictor = predictor.with_decoding(predictor.task.scored_options)
    evaluation = evaluate_task(predictor, trained.samples(predictor), kept=2)
    assert predictor.task.metric in evaluation.figures
    write_report(evaluation, tmp_path, trained.model.parent / "run")
    written = json.loads((tmp_path / "summary.json").read_text())
    assert (written["task"], written["samples"]) == (trained.task, 3)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert {"precision_recall.png", "confusion.png", "losses.png"} < set(names)
    assert len([name for name in names if name.startswith(("worst_", "best_"))]) == 4


def perfect(task: str, truth: Any) -> Any:
    """The result that says what is true."""
    if task == "pose":
        return true_detections(truth)
    if task == "classify":
        return Classification(np.eye(2)[truth], np.zeros((4, 4), np.float32))
    return Segmentation(truth.astype(np.float32)) if task == "segment" else truth


def useless(task: str, truth: Any) -> Any:
    """A result that is wrong in every respect."""
    if task == "classify":
        return Classification(np.eye(2)[1 - truth], np.zeros((4, 4), np.float32))
    if task == "segment":
        return Segmentation((~truth).astype(np.float32))
    return OrientedBoxes() if task == "oriented" else Detections.empty(8 if task == "pose" else 0)


def test_the_score_tells_truth_from_nonsense(trained: Trained) -> None:
    predictor = Predictor(trained.model)
    task, labels = predictor.task, predictor.card.labels
    truths = [sample.truth for sample in trained.samples(predictor)]
    right = task.score([perfect(trained.task, truth) for truth in truths], truths, labels)
    wrong = task.score([useless(trained.task, truth) for truth in truths], truths, labels)
    # Even from perfect keypoints the pose solver may doubt an object that is mostly hidden.
    assert right[task.metric] > (0.85 if trained.task == "pose" else 0.99)
    assert wrong[task.metric] < 0.01


def test_every_task_can_be_learned_and_an_unknown_one_names_them() -> None:
    assert set(TASKS) <= set(training.TASKS)
    with pytest.raises(ConfigError, match="oriented"):
        find_task("levitate")


@pytest.mark.parametrize("name", TASKS)
def test_the_default_model_is_of_its_task(name: str) -> None:
    assert load_card(find_model(TASKS[name].default_model)).task == name
