"""What a server does in the background: each kind's options, and the workflow that it calls. For the worker alone."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from object_pose.calibration.boards import GRAMMAR, parse_board
from object_pose.calibration.hand_eye import HandEyeConfig
from object_pose.calibration.intrinsics import IntrinsicsConfig
from object_pose.core.errors import ConfigError, DataError
from object_pose.core.params import Parameter, make_config, parameters
from object_pose.core.pose.config import PROFILES
from object_pose.core.tracking.tracker import TrackerConfig
from object_pose.evaluation.samples import TEST_COUNTS
from object_pose.io.bag_frames import RecordingConfig
from object_pose.io.robot_samples import DIRECTIONS, GRIPPER_IN_BASE
from object_pose.io.static_transforms import transform_to_mapping
from object_pose.runtime.estimator_settings import EstimatorSettings
from object_pose.runtime.predictor import Predictor, PredictorConfig
from object_pose.runtime.resources import find_model
from object_pose.simulation.parts.cad import UNITS
from object_pose.simulation.parts.symmetry import describe_symmetry
from object_pose.tasks.registry import TASKS as KNOWN_TASKS
from object_pose.training.config import TrainConfig
from object_pose.training.tasks.registry import TASKS
from object_pose.web.jobs.options import KindDescription, Option, from_parameters, text
from object_pose.workflows.calibrate_depth import DepthJob, run_depth
from object_pose.workflows.calibrate_hand_eye import HandEyeJob, run_hand_eye, verify_hand_eye
from object_pose.workflows.calibrate_intrinsics import IntrinsicsJob, run_intrinsics
from object_pose.workflows.datasets import DatasetConfig, check_dataset, report_on_dataset
from object_pose.workflows.evaluate import EvaluateConfig, PoseEvaluateConfig, evaluate_model, evaluate_poses
from object_pose.workflows.evaluate_bag import BagReportConfig, report_on_bags
from object_pose.workflows.export import export_run
from object_pose.workflows.onboard import (
    OPTION_CLASSES,
    RESERVED_OPTIONS,
    OnboardConfig,
    PlannedPart,
    onboard,
    plan_onboarding,
)
from object_pose.workflows.progress import ProgressCallback
from object_pose.workflows.promote import GateConfig, TestSet
from object_pose.workflows.train import make_job, train

Inputs = Mapping[str, Any]
_CAD, _MODEL, _ANY = ".stl,.ply,.obj,.off,.glb,.step,.stp", ".onnx", "*"
_MOST_FAULTS = 200
# Options of training runs that name files: they are given by themselves, where their files are looked up.
_FILES = ("data", "images", "objects", "backgrounds", "initial")


@dataclass(frozen=True)
class Kind:
    """A kind of job: ``run`` gets checked inputs and the folder for its files, and returns JSON values."""

    description: KindDescription
    run: Callable[[Inputs, Path, ProgressCallback], dict[str, Any]]


def _file(name: str, description: str, suffixes: str = _ANY, *, required: bool = False, many: bool = False) -> Option:
    return Option(text(name, description), suffixes, many, required=required)


def _number(name: str, default: float, description: str, minimum: float, maximum: float) -> Parameter:
    return Parameter(name, type(default), default, description, minimum, maximum)


_BOARD = Option(text("board", GRAMMAR), required=True)
_NAME = Option(text("name", "name of the camera and of the files", "camera"))
_CAMERA = _file("camera", "camera_info YAML", ".yaml,.yml")
_OPTIONS = Option(text("options", "more options by name, as of the command line"), mapping=True, advanced=True)


def _plain(value: Any) -> Any:
    """Return JSON values: arrays as lists, numbers that JSON does not have as null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def _given(config_class: type, inputs: Inputs) -> Any:
    """Return a config of those inputs that are its parameters."""
    names = {item.name for item in parameters(config_class)}
    return make_config(config_class, {name: value for name, value in inputs.items() if name in names})


def _path(inputs: Inputs, name: str) -> Path | None:
    return Path(inputs[name]) if inputs.get(name) else None


_TRAIN = KindDescription(
    "train",
    "Train a network",
    "A task's network from data or renders, exported as an ONNX model.",
    (
        Option(text("task", "what the network does", "pose", tuple(TASKS)), required=True),
        Option(text("name", "name of the model's file", "model")),
        _file("data", "labelled data (a zip of a folder); poses, oriented boxes and RoI heads are rendered"),
        _file("objects", "BOP models of the objects (a zip of the folder); without, the six procedural parts"),
        _file("backgrounds", "photographs put behind rendered objects"),
        _file("initial", "exported model whose weights are the start, where they fit", _MODEL),
        *from_parameters(parameters(TrainConfig), ("steps", "max_minutes", "seed"), ("initial",)),
        _OPTIONS,
    ),
    resumes=True,
)


def _train(inputs: Inputs, output: Path, progress: ProgressCallback) -> dict[str, Any]:
    extra = _without_files(inputs.get("options", {}))
    own = {name: value for name, value in inputs.items() if name not in ("task", "name", "options")}
    job = make_job(inputs["task"], output / "run", {**extra, **own}, "object-pose serve, job train")
    result = train(job, resume=(output / "run").exists(), progress=progress)
    figures = {"steps_done": result.steps_done, "steps": result.steps, "is_complete": result.is_complete}
    exported = export_run(output / "run", output / f"{_file_stem(inputs.get('name', 'model'))}.onnx")
    return {**figures, "model": exported.path.name, "sha256": exported.sha256}


def _without_files(options: Inputs) -> dict[str, Any]:
    for name in _FILES:
        if name in options:
            raise ConfigError(f"'{name}' names files, which are looked up", "give it beside 'options', not in it")
    return dict(options)


def _file_stem(name: str) -> str:
    if not name or name.startswith(".") or not all(letter.isalnum() or letter in "._-" for letter in name):
        raise ConfigError(f"'{name}' is no name of a file", "use letters, digits, '_', '-' and '.'")
    return name


_PARTS = Option(text("parts", "CAD files of the parts"), _CAD, many=True, required=True)
_UNIT = Option(text("unit", "unit of the files, where it is not clear", "", ("", *UNITS)))
_CENTRED = Option(Parameter("centred", bool, False, "move each part's origin to the middle of its box"))
_SYMMETRIES = Option(text("symmetries", "symmetries by part"), mapping=True)
_DEFAULTS = OnboardConfig((), Path())
_ONBOARD_PARAMETERS = {
    item.name: item
    for config_class in OPTION_CLASSES
    for item in parameters(config_class)
    if item.name not in (*RESERVED_OPTIONS, *_FILES)
}

_ONBOARD = KindDescription(
    "onboard",
    "Learn parts from CAD files",
    "From CAD files to a pose model with its report, trained on renders.",
    (
        _PARTS,
        _UNIT,
        _CENTRED,
        _SYMMETRIES,
        Option(Parameter("accept_symmetries", bool, False, "use the symmetries that are found where none is stated")),
        Option(text("name", "name of the model", "parts")),
        _CAMERA,
        Option(_number("minutes", _DEFAULTS.minutes, "for the whole of it", 0.01, 1e6)),
        Option(_number("steps", 0, "steps that end the detector's training earlier; 0 for none", 0, 10_000_000)),
        Option(Parameter("roi_head", bool, True, "train a RoI head, too")),
        Option(_number("roi_head_steps", 0, "steps that end its training earlier; 0 for none", 0, 10_000_000)),
        Option(_number("test_frames", _DEFAULTS.test_frames, "rendered frames of the test", 1, 100_000)),
        Option(text("licence", "licence of the weights, for the card")),
        *from_parameters(_ONBOARD_PARAMETERS.values(), ("min_distance_m", "max_distance_m")),
        _OPTIONS,
    ),
    resumes=True,
)
_PLAN = KindDescription(
    "onboard-plan",
    "Read parts from CAD files",
    "Sizes and symmetries of parts, to be confirmed before they are learned.",
    (_PARTS, _UNIT, _CENTRED, _SYMMETRIES),
)


def _onboarding(inputs: Inputs, output: Path) -> OnboardConfig:
    options = _without_files(inputs.get("options", {}))
    options |= {name: value for name, value in inputs.items() if name in _ONBOARD_PARAMETERS}
    named = "unit centred symmetries accept_symmetries minutes steps roi_head roi_head_steps test_frames licence"
    direct = named.split()
    return OnboardConfig(
        tuple(map(Path, inputs["parts"])),
        output / _file_stem(inputs.get("name", "parts")),
        camera=_path(inputs, "camera"),
        options=options,
        command="object-pose serve, job onboard",
        **{name: inputs[name] for name in direct if name in inputs},
    )


def _onboard(inputs: Inputs, output: Path, progress: ProgressCallback) -> dict[str, Any]:
    made = onboard(_onboarding(inputs, output), progress=progress)
    figures = {} if made.evaluation is None else made.evaluation.to_json()
    return {
        "model": made.model.relative_to(output).as_posix(),
        "report": made.report.relative_to(output).as_posix(),
        "is_complete": made.is_complete,
        "minutes": made.minutes,
        **{f"steps_{kind}": steps for kind, steps in made.steps_done.items()},
        "figures": figures,
    }


def _plan(inputs: Inputs, output: Path, progress: ProgressCallback) -> dict[str, Any]:
    plan = plan_onboarding(_onboarding(inputs, output), progress)
    (output / "parts").mkdir(exist_ok=True)
    return {"parts": [_planned(item, output) for item in plan.parts], "notes": list(plan.notes)}


def _planned(item: PlannedPart, output: Path) -> dict[str, Any]:
    part, symmetry = item.part, item.symmetry
    glb = output / "parts" / f"{_file_stem(part.name)}.glb"
    glb.write_bytes(part.mesh.export(file_type="glb"))
    return {
        "name": part.name,
        "size_m": part.size_m.tolist(),
        "diameter_m": float(np.linalg.norm(part.size_m)),
        "triangles": len(part.mesh.faces),
        "is_closed": part.is_closed,
        "notes": list(part.notes),
        "needs_confirmation": item.is_open_question,
        "file": f"parts/{glb.name}",
        "symmetry": {
            "description": describe_symmetry(symmetry),
            "axis": None if symmetry.axis is None else symmetry.axis.tolist(),
            "offset": symmetry.offset.tolist(),
            "discrete": [transform.ravel().tolist() for transform in symmetry.discrete],
        },
    }


_MODEL_OPTION = _file("model", "model: its name, or a file; without, the task's shipped one", _MODEL)
_EVALUATE = KindDescription(
    "evaluate",
    "Evaluate a model",
    "A model on labelled data or simulated samples, with a report.",
    (
        Option(text("task", "task of the model", "pose", tuple(KNOWN_TASKS)), required=True),
        _MODEL_OPTION,
        _file("data", "labelled data; without, the task's simulated test split"),
        Option(_number("rendered", 0, "evaluate on so many simulated samples", 0, 1_000_000)),
        _file("objects", "BOP models of the objects that are rendered"),
        Option(Parameter("use_depth", bool, True, "use depth where there is one")),
        *from_parameters(parameters(PredictorConfig), leave_out=("labels",)),
    ),
)


def _evaluate(inputs: Inputs, output: Path, progress: ProgressCallback) -> dict[str, Any]:
    task = KNOWN_TASKS[inputs["task"]]
    model = _path(inputs, "model") or find_model(task.default_model)
    shared: dict[str, Any] = {"data": _path(inputs, "data"), "rendered": inputs.get("rendered", 0)}
    shared["output"] = output / "report"
    if task.name == "pose":
        settings = _settings(inputs, model, "single_image", None)
        extra = {"objects": inputs.get("objects") or "parts", "use_depth": inputs.get("use_depth", True)}
        evaluation: Any = evaluate_poses(settings.open(), PoseEvaluateConfig(**shared, **extra), progress)
    else:
        predictor = Predictor(model, _given(PredictorConfig, inputs))
        if predictor.task.name != task.name:
            raise ConfigError(f"{model.name} is a model of the task {predictor.task.name}, not of {task.name}")
        decoding = predictor.with_decoding(_given(PredictorConfig, inputs).decoding or task.scored_options)
        evaluation = evaluate_model(decoding, EvaluateConfig(**shared), progress)
    return {"figures": evaluation.to_json(), "report": "report/report.html"}


def _settings(inputs: Inputs, model: Path, profile: str, tracker: TrackerConfig | None) -> EstimatorSettings:
    chosen = PROFILES[profile]
    return EstimatorSettings(model, _given(PredictorConfig, inputs), chosen.solver, tracker, profile)


_EVALUATE_BAG = KindDescription(
    "evaluate-bag",
    "Evaluate a model on recordings",
    "Every frame of bags through a model, with a report and an annotated bag each.",
    (
        _file("bags", "recordings: 'recording:NAME', or a zip of a bag", required=True, many=True),
        _MODEL_OPTION,
        Option(Parameter("track", bool, True, "give objects stable ids over the frames")),
        Option(text("fixed_frame", "frame of the bag's /tf in which the objects lie still")),
        *from_parameters(parameters(RecordingConfig)),
    ),
    resumes=True,
)


def _evaluate_bag(inputs: Inputs, output: Path, progress: ProgressCallback) -> dict[str, Any]:
    model = _path(inputs, "model") or find_model(KNOWN_TASKS["pose"].default_model)
    tracker = TrackerConfig() if inputs.get("track", True) else None
    config = BagReportConfig(
        tuple(map(Path, inputs["bags"])),
        output,
        _settings(inputs, model, "live", tracker),
        _given(RecordingConfig, inputs),
        fixed_frame=inputs.get("fixed_frame", ""),
    )
    return {"bags": report_on_bags(config, progress)}


_CHECK = KindDescription(
    "check-dataset",
    "Check a data set",
    "Faults of a data set, and a report on what it holds.",
    (
        _file("data", "the data set: 'dataset:NAME', or a zip of its folder", required=True),
        Option(Parameter("thorough", bool, False, "decode every image")),
        _file("model", "detector that the labels are compared with", _MODEL),
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


_INTRINSICS = KindDescription(
    "calibrate-intrinsics",
    "Calibrate a camera",
    "Intrinsics and lens distortion from images of a board.",
    (
        _file("images", "images of the board, or a zip of them", required=True, many=True),
        _BOARD,
        _NAME,
        *from_parameters(parameters(IntrinsicsConfig)),
    ),
)


def _one_folder(paths: Sequence[str], folder: Path) -> Path:
    """Return the folder that is named, or one with the files that are; raises ``DataError`` for a mixture."""
    given = [Path(path) for path in paths]
    if len(given) == 1 and given[0].is_dir():
        return given[0]
    if any(path.is_dir() for path in given):
        raise DataError("images and zips of images are mixed", "give either")
    folder.mkdir(exist_ok=True)
    for index, path in enumerate(given):
        shutil.copyfile(path, folder / f"{index:04d}{path.suffix}")
    return folder


def _intrinsics(inputs: Inputs, output: Path, progress: ProgressCallback) -> dict[str, Any]:
    board, name = parse_board(inputs["board"]), _file_stem(inputs.get("name", "camera"))
    config = _given(IntrinsicsConfig, inputs)
    images = _one_folder(inputs["images"], output / "images")
    result = run_intrinsics(IntrinsicsJob(images, board, name, output, config), progress)
    calibration = result.calibration
    return {
        "rms_px": calibration.fit.rms_px,
        "cross_validation_px": calibration.cross_validation_px,
        "images": len(calibration.views),
        "rejected": [*calibration.rejected, *result.missed],
        "camera": result.camera_file.name,
        "report": result.report.name,
    }


_HAND_EYE = KindDescription(
    "calibrate-hand-eye",
    "Calibrate hand-eye",
    "Where the camera sits on the robot, or beside it, from images of a board with the robot's poses.",
    (
        _file("samples", "zip of images with samples.yaml", required=True),
        _BOARD,
        _NAME,
        _CAMERA,
        Option(text("direction", "what the robot's poses are of", GRIPPER_IN_BASE, tuple(DIRECTIONS))),
        Option(text("parent_frame", "ROS frame of gripper or base")),
        Option(text("child_frame", "ROS frame of the camera", "camera_color_optical_frame")),
        *from_parameters(parameters(HandEyeConfig), ("mounting",)),
    ),
)


def _hand_eye(inputs: Inputs, output: Path, progress: ProgressCallback) -> dict[str, Any]:
    direct = ("direction", "parent_frame", "child_frame")
    result = run_hand_eye(
        HandEyeJob(
            Path(inputs["samples"]),
            parse_board(inputs["board"]),
            _path(inputs, "camera"),
            name=_file_stem(inputs.get("name", "camera")),
            output=output,
            config=_given(HandEyeConfig, inputs),
            **{name: inputs[name] for name in direct if name in inputs},
        ),
        progress,
    )
    calibration = result.calibration
    return {
        "verdict": result.gate.verdict,
        "reasons": list(result.gate.reasons),
        "transform": transform_to_mapping(calibration.X),
        "held_out_mm": calibration.held_out_mm,
        "held_out_deg": calibration.held_out_deg,
        "samples": len(calibration.used),
        "rejected": [*(sample.name for sample in calibration.rejected), *result.missed],
        "file": result.file.name,
        "report": result.report.name,
    }


_DEPTH = KindDescription(
    "calibrate-depth",
    "Calibrate depth",
    "Scale, offset and bias of a depth camera, from RGB-D frames of a board.",
    (
        _file("source", "RGB-D frames: 'recording:NAME', or a zip of a folder with rgb and depth", required=True),
        _BOARD,
        _NAME,
        _CAMERA,
        *from_parameters(parameters(RecordingConfig)),
    ),
)


def _depth(inputs: Inputs, output: Path, progress: ProgressCallback) -> dict[str, Any]:
    board, name = parse_board(inputs["board"]), _file_stem(inputs.get("name", "camera"))
    recording = _given(RecordingConfig, inputs)
    result = run_depth(
        DepthJob(Path(inputs["source"]), board, _path(inputs, "camera"), name, output, recording), progress
    )
    calibration = result.calibration
    return {
        "scale": calibration.scale,
        "offset_mm": calibration.offset_m * 1e3,
        "rms_before_mm": calibration.rms_before_mm,
        "rms_after_mm": calibration.rms_after_mm,
        "file": result.file.name,
        "report": result.report.name,
    }


_VERIFY = KindDescription(
    "calibrate-verify",
    "Verify hand-eye",
    "Errors to expect of a calibration, and those at points that the robot touched.",
    (
        _file("calibration", "result of calibrate-hand-eye: 'job:ID/camera.yaml'", ".yaml,.yml", required=True),
        _file("samples", "zip of images of the board that was touched, with samples.yaml"),
        _file("touched", "YAML of touched points: 'point: [x, y, z]', metres in the base", ".yaml,.yml"),
        Option(_number("distance_m", 0.6, "distance of the expected error", 0.05, 10.0)),
    ),
)


def _verify(inputs: Inputs, _output: Path, progress: ProgressCallback) -> dict[str, Any]:
    distances = [inputs.get("distance_m", 0.6)]
    samples, touched = _path(inputs, "samples"), _path(inputs, "touched")
    result = verify_hand_eye(Path(inputs["calibration"]), distances, samples, touched, progress=progress)
    return {
        "verdict": result.stored.verdict,
        "expected": [vars(item) for item in result.grasp_errors],
        "touched": [
            {"point": item.point, "error_mm": item.error_mm.tolist(), "distance_mm": item.distance_mm}
            for item in result.touches
        ],
    }


_PROMOTE = KindDescription(
    "promote",
    "Promote a model",
    "A model measured beside the one that its task uses now; it takes its place in the registry where it passes.",
    (
        _file("model", "the candidate: the name of a model, or a file", _MODEL, required=True),
        _file("in_use", "the model in use: the champion where the registry has none", _MODEL),
        _file("data", "labelled data to measure on; without, the pinned or the simulated test set"),
        Option(_number("rendered", 0, "measure on so many simulated samples", 0, 1_000_000)),
        Option(Parameter("repin", bool, False, "pin this test set in place of the one before")),
        *from_parameters(parameters(GateConfig)),
    ),
)


def _promote(inputs: Inputs, output: Path, progress: ProgressCallback) -> dict[str, Any]:
    # Only here: of the extra 'mlops'.
    from object_pose.mlops.promotion import promote_candidate
    from object_pose.mlops.registry import CHAMPION, Registry
    from object_pose.mlops.store import open_store

    model, data, rendered = Path(inputs["model"]), _path(inputs, "data"), inputs.get("rendered", 0)
    registry, task = Registry(open_store()), Predictor(model).task.name
    used = _path(inputs, "in_use")
    if used and registry.alias(task, CHAMPION) is None:
        registry.promote(registry.add(task, used))
    version = registry.add(task, model)
    if not (data or rendered or registry.test_set(task)):
        rendered = TEST_COUNTS.get(task, 0)
    promotion = promote_candidate(
        registry,
        f"{task}/{version.version}",
        TestSet(data, rendered) if data or rendered else None,
        _given(GateConfig, inputs),
        repin=inputs.get("repin", False),
        report_dir=output / "gate",
        progress=progress,
    )
    return {"passed": promotion.report.passed, "name": task, "version": version.version, "report": "gate/report.html"}


def _plain_kind(description: KindDescription, run: Callable[[Inputs, Path, ProgressCallback], dict[str, Any]]) -> Kind:
    def plain(inputs: Inputs, output: Path, progress: ProgressCallback) -> dict[str, Any]:
        values: dict[str, Any] = _plain(run(inputs, output, progress))
        return values

    return Kind(description, plain)


KINDS: dict[str, Kind] = {
    description.name: _plain_kind(description, run)
    for description, run in (
        (_ONBOARD, _onboard),
        (_PLAN, _plan),
        (_TRAIN, _train),
        (_EVALUATE, _evaluate),
        (_EVALUATE_BAG, _evaluate_bag),
        (_CHECK, _check),
        (_INTRINSICS, _intrinsics),
        (_HAND_EYE, _hand_eye),
        (_DEPTH, _depth),
        (_VERIFY, _verify),
        (_PROMOTE, _promote),
    )
}
