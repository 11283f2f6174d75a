"""Jobs that measure: models on data, renders and recordings, data sets, and a model before it is promoted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from object_pose.core.errors import ConfigError
from object_pose.core.params import Parameter, parameters
from object_pose.core.pose.config import PROFILES
from object_pose.core.tracking.tracker import TrackerConfig
from object_pose.evaluation.samples import TEST_COUNTS
from object_pose.io.bag_frames import RecordingConfig
from object_pose.runtime.estimator_settings import EstimatorSettings
from object_pose.runtime.predictor import Predictor, PredictorConfig
from object_pose.runtime.resources import find_model
from object_pose.tasks.registry import TASKS as KNOWN_TASKS
from object_pose.web.jobs.kinds.kind import MODEL, Inputs, Kind, file_option, given, number, path_of
from object_pose.web.jobs.options import KindDescription, Option, from_parameters, text
from object_pose.workflows.datasets import DatasetConfig, check_dataset, report_on_dataset
from object_pose.workflows.evaluate import EvaluateConfig, PoseEvaluateConfig, evaluate_model, evaluate_poses
from object_pose.workflows.evaluate_bag import BagReportConfig, report_on_bags
from object_pose.workflows.gate_requirements import GateConfig
from object_pose.workflows.progress import ProgressCallback
from object_pose.workflows.promote import TestSet

_MOST_FAULTS = 200
_MODEL_OPTION = file_option("model", "model: its name, or a file; without, the task's shipped one", MODEL)
_EVALUATE = KindDescription(
    "evaluate",
    "Evaluate a model",
    "A model on labelled data or simulated samples, with a report.",
    (
        Option(text("task", "task of the model", "pose", tuple(KNOWN_TASKS)), required=True),
        _MODEL_OPTION,
        file_option("data", "labelled data; without, the task's simulated test split"),
        Option(number("rendered", 0, "evaluate on so many simulated samples", 0, 1_000_000)),
        file_option("objects", "BOP models of the objects that are rendered"),
        Option(Parameter("use_depth", bool, True, "use depth where there is one")),
        *from_parameters(parameters(PredictorConfig), leave_out=("labels",)),
    ),
)


def _evaluate(inputs: Inputs, output: Path, progress: ProgressCallback) -> dict[str, Any]:
    task = KNOWN_TASKS[inputs["task"]]
    model = path_of(inputs, "model") or find_model(task.default_model)
    shared: dict[str, Any] = {
        "data": path_of(inputs, "data"),
        "rendered": inputs.get("rendered", 0),
        "output": output / "report",
    }
    if task.name == "pose":
        settings = _settings(inputs, model, "single_image", None)
        extra = {"objects": inputs.get("objects") or "parts", "use_depth": inputs.get("use_depth", True)}
        evaluation: Any = evaluate_poses(settings.open(), PoseEvaluateConfig(**shared, **extra), progress)
    else:
        config = given(PredictorConfig, inputs)
        predictor = Predictor(model, config)
        if predictor.task.name != task.name:
            raise ConfigError(f"{model.name} is a model of the task {predictor.task.name}, not of {task.name}")
        scored = predictor.with_decoding(config.decoding or task.scored_options)
        evaluation = evaluate_model(scored, EvaluateConfig(**shared), progress)
    return {"figures": evaluation.to_json(), "report": "report/report.html"}


def _settings(inputs: Inputs, model: Path, profile: str, tracker: TrackerConfig | None) -> EstimatorSettings:
    chosen = PROFILES[profile]
    return EstimatorSettings(model, given(PredictorConfig, inputs), chosen.solver, tracker, profile)


_EVALUATE_BAG = KindDescription(
    "evaluate-bag",
    "Evaluate a model on recordings",
    "Every frame of bags through a model, with a report and an annotated bag each.",
    (
        file_option("bags", "recordings: 'recording:NAME', or a zip of a bag", required=True, many=True),
        _MODEL_OPTION,
        Option(Parameter("track", bool, True, "give objects stable ids over the frames")),
        Option(text("fixed_frame", "frame of the bag's /tf in which the objects lie still")),
        *from_parameters(parameters(RecordingConfig)),
    ),
    resumes=True,
)


def _evaluate_bag(inputs: Inputs, output: Path, progress: ProgressCallback) -> dict[str, Any]:
    model = path_of(inputs, "model") or find_model(KNOWN_TASKS["pose"].default_model)
    tracker = TrackerConfig() if inputs.get("track", True) else None
    config = BagReportConfig(
        tuple(map(Path, inputs["bags"])),
        output,
        _settings(inputs, model, "live", tracker),
        given(RecordingConfig, inputs),
        fixed_frame=inputs.get("fixed_frame", ""),
    )
    return {"bags": report_on_bags(config, progress)}


_CHECK = KindDescription(
    "check-dataset",
    "Check a data set",
    "Faults of a data set, and a report on what it holds.",
    (
        file_option("data", "the data set: 'dataset:NAME', or a zip of its folder", required=True),
        Option(Parameter("thorough", bool, False, "decode every image")),
        file_option("model", "detector that the labels are compared with", MODEL),
    ),
)


def _check(inputs: Inputs, output: Path, progress: ProgressCallback) -> dict[str, Any]:
    config = DatasetConfig(Path(inputs["data"]))
    checked = check_dataset(config, inputs.get("thorough", False))
    faults = [str(fault) for fault in checked.faults]
    found: dict[str, Any] = {"holds": checked.holds, "faults": len(faults), "first_faults": faults[:_MOST_FAULTS]}
    if not checked.holds.endswith("(bop)"):
        report_on_dataset(config, output / "report", inputs.get("model"), progress)
        found["report"] = "report/report.html"
    return found


_PROMOTE = KindDescription(
    "promote",
    "Promote a model",
    "A model measured beside the one that its task uses now; it takes its place in the registry where it passes.",
    (
        file_option("model", "the candidate: the name of a model, or a file", MODEL, required=True),
        file_option("in_use", "the model in use: the champion where the registry has none", MODEL),
        file_option("data", "labelled data to measure on; without, the pinned or the simulated test set"),
        Option(number("rendered", 0, "measure on so many simulated samples", 0, 1_000_000)),
        Option(Parameter("repin", bool, False, "pin this test set in place of the one before")),
        *from_parameters(parameters(GateConfig)),
    ),
)


def _promote(inputs: Inputs, output: Path, progress: ProgressCallback) -> dict[str, Any]:
    # Only here: of the extra 'mlops'.
    from object_pose.mlops.promotion import promote_candidate
    from object_pose.mlops.registry import CHAMPION, Registry
    from object_pose.mlops.store import open_store

    model, data, rendered = Path(inputs["model"]), path_of(inputs, "data"), inputs.get("rendered", 0)
    registry, task = Registry(open_store()), Predictor(model).task.name
    used = path_of(inputs, "in_use")
    if used and registry.alias(task, CHAMPION) is None:
        registry.promote(registry.add(task, used))
    version = registry.add(task, model)
    if not (data or rendered or registry.test_set(task)):
        rendered = TEST_COUNTS.get(task, 0)
    promotion = promote_candidate(
        registry,
        f"{task}/{version.version}",
        TestSet(data, rendered) if data or rendered else None,
        given(GateConfig, inputs),
        repin=inputs.get("repin", False),
        report_dir=output / "gate",
        progress=progress,
    )
    return {"passed": promotion.report.passed, "name": task, "version": version.version, "report": "gate/report.html"}


KINDS = (
    Kind(_EVALUATE, _evaluate),
    Kind(_EVALUATE_BAG, _evaluate_bag),
    Kind(_CHECK, _check),
    Kind(_PROMOTE, _promote),
)
