"""Jobs that make models: training runs, and parts learned from CAD files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from object_pose.core.errors import ConfigError
from object_pose.core.params import Parameter, parameters
from object_pose.simulation.parts.cad import UNITS
from object_pose.simulation.parts.symmetry import describe_symmetry
from object_pose.training.config import TrainConfig
from object_pose.training.tasks.registry import TASKS
from object_pose.web.jobs.kinds.kind import CAMERA, MODEL, Inputs, Kind, file_option, file_stem, number, path_of
from object_pose.web.jobs.options import KindDescription, Option, from_parameters, text
from object_pose.workflows.export import export_run
from object_pose.workflows.onboard import onboard
from object_pose.workflows.onboard_plan import (
    OPTION_CLASSES,
    RESERVED_OPTIONS,
    OnboardConfig,
    PlannedPart,
    plan_onboarding,
)
from object_pose.workflows.progress import ProgressCallback
from object_pose.workflows.train import make_job, train

_CAD = ".stl,.ply,.obj,.off,.glb,.step,.stp"
# Options of training runs that name files: they are given by themselves, where their files are looked up.
_FILES = ("data", "images", "objects", "backgrounds", "initial")
_OPTIONS = Option(text("options", "more options by name, as of the command line"), mapping=True, advanced=True)

_TRAIN = KindDescription(
    "train",
    "Train a network",
    "A task's network from data or renders, exported as an ONNX model.",
    (
        Option(text("task", "what the network does", "pose", tuple(TASKS)), required=True),
        Option(text("name", "name of the model's file", "model")),
        file_option("data", "labelled data (a zip of a folder); poses, oriented boxes and RoI heads are rendered"),
        file_option("objects", "BOP models of the objects (a zip of the folder); without, the six procedural parts"),
        file_option("backgrounds", "photographs put behind rendered objects"),
        file_option("initial", "exported model whose weights are the start, where they fit", MODEL),
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
    exported = export_run(output / "run", output / f"{file_stem(inputs.get('name', 'model'))}.onnx")
    return {**figures, "model": exported.path.name, "sha256": exported.sha256}


def _without_files(options: Inputs) -> dict[str, Any]:
    for name in _FILES:
        if name in options:
            raise ConfigError(f"'{name}' names files, which are looked up", "give it beside 'options', not in it")
    return dict(options)


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
        CAMERA,
        Option(number("minutes", _DEFAULTS.minutes, "for the whole of it", 0.01, 1e6)),
        Option(number("steps", 0, "steps that end the detector's training earlier; 0 for none", 0, 10_000_000)),
        Option(Parameter("roi_head", bool, True, "train a RoI head, too")),
        Option(number("roi_head_steps", 0, "steps that end its training earlier; 0 for none", 0, 10_000_000)),
        Option(number("test_frames", _DEFAULTS.test_frames, "rendered frames of the test", 1, 100_000)),
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
        output / file_stem(inputs.get("name", "parts")),
        camera=path_of(inputs, "camera"),
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
    glb = output / "parts" / f"{file_stem(part.name)}.glb"
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
            "residual_m": item.residual_m,
            "axis": None if symmetry.axis is None else symmetry.axis.tolist(),
            "offset": symmetry.offset.tolist(),
            "discrete": [transform.ravel().tolist() for transform in symmetry.discrete],
        },
    }


KINDS = (
    Kind(_ONBOARD, _onboard),
    Kind(_PLAN, _plan),
    Kind(_TRAIN, _train),
)
