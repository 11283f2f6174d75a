"""What onboarding is asked for, and its plan: the parts, their symmetries, and scenes and networks that suit them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from object_pose.core.errors import ConfigError
from object_pose.core.geometry.camera import Camera
from object_pose.core.geometry.symmetry import Symmetry
from object_pose.core.params import make_config, parameters, unknown_parameter
from object_pose.core.vision.image import COARSEST_STRIDE
from object_pose.io.camera_info import read_camera
from object_pose.simulation.parts.cad import CadPart, read_parts, stated_symmetries
from object_pose.simulation.parts.objects import mesh_diameter
from object_pose.simulation.parts.symmetry import (
    EXACT_TOLERANCE,
    FOUND,
    ROUND_TOLERANCE,
    FoundSymmetry,
    find_symmetry,
)
from object_pose.simulation.scenes.scene import SceneConfig
from object_pose.training.config import TrainConfig
from object_pose.training.tasks.pose import PoseTrainingConfig
from object_pose.workflows.progress import ProgressCallback, ignore_progress, reported

# The scenes of parts of this size are as large as by default; those of other sizes in proportion.
_USUAL_DIAMETER_M, _USUAL_FACTORS = 0.075, (0.5, 1.6)
_SCALED_WITH_PARTS = ("min_spread_m", "max_spread_m", "clutter_scale")
# Frames are rendered at most so wide, and of at most so many pixels: finer ones cost more than they teach.
_LARGEST_WIDTH, _LARGEST_AREA = 640, 640 * 480
# The detector's input in pixels, likewise, and the crops that it learns from, in widths and in heights of the input.
_INPUT_WIDTH, _INPUT_AREA, _CROP_SHARES = 416, 416 * 320, (320 / 416, 0.8)
# A part of fewer pixels in the detector's input is hardly found, one that fills more of the image hardly seen whole.
_SMALLEST_PX, _LARGEST_SHARE = 20.0, 0.9
# Depth is measured from this share of the least distance on, where the usual depth camera measures only farther.
_NEAREST_DEPTH_SHARE = 0.5
# A file of one colour or none says nothing about the material: its part mostly gets another one, and many a print.
_PLAIN_SHARES = {"plain_repaint_share": 0.9, "plain_printed_share": 0.4}
# Robots' workplaces have markers to calibrate by, which square parts are taken for.
_MARKER_SHARE = 0.15
_ACCEPTED, _UNCONFIRMED = "accepted with all that were found", "found, to be confirmed"
UNLIMITED_STEPS = 10_000_000  # of a training run that the time ends
OPTION_CLASSES = (TrainConfig, PoseTrainingConfig, SceneConfig)
# Options that onboarding sets itself.
RESERVED_OPTIONS = ("steps", "max_minutes", "initial", "keep_classes", "objects")


@dataclass(frozen=True)
class OnboardConfig:
    """CAD files, the folder for everything made from them, and what the user says of parts, camera and training.

    ``symmetries`` are stated by part name in the notation of ``parse_symmetry``; found ones have to be accepted, all by
    ``accept_symmetries`` or one part's by ``FOUND``.
    ``camera`` is a camera file and ``distance_m`` the least and greatest working distance. All of it takes ``minutes``
    at most, over all calls on the folder. ``steps`` and ``roi_head_steps`` end the training runs earlier; 0 is as many
    as the time allows. ``options`` are those of training, network and scenes by name. ``command`` is what the report
    names as having started it.
    """

    parts: tuple[Path, ...]
    output: Path
    unit: str = ""
    centred: bool = False
    symmetries: Mapping[str, str] = field(default_factory=dict)
    accept_symmetries: bool = False
    round_tolerance: float = ROUND_TOLERANCE
    turn_tolerance: float = EXACT_TOLERANCE
    camera: Path | None = None
    distance_m: tuple[float, float] | None = None
    minutes: float = 60.0
    steps: int = 0
    roi_head: bool = True
    roi_head_steps: int = 0
    test_frames: int = 100
    licence: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""

    def __post_init__(self) -> None:
        known = {item.name for kind in OPTION_CLASSES for item in parameters(kind)} - set(RESERVED_OPTIONS)
        for name in self.options:
            if name not in known:
                raise unknown_parameter(name, known)
        if not self.minutes > 0.0:
            raise ConfigError(f"{self.minutes:g} minutes are no time to train in", "say --minutes 60")

    @property
    def model(self) -> Path:
        """Where the model goes."""
        return self.output / f"{self.output.resolve().name}.onnx"

    @property
    def symmetries_page(self) -> Path:
        """The page of symmetries that are not confirmed, beside the folder, in which nothing is begun then."""
        return self.output.with_name(f"{self.output.resolve().name}-symmetries.html")

    @property
    def wanted_steps(self) -> dict[str, int]:
        """The training runs, and the steps that end them where the time does not."""
        wanted = {"pose": self.steps} | ({"roi_head": self.roi_head_steps} if self.roi_head else {})
        return {kind: steps or UNLIMITED_STEPS for kind, steps in wanted.items()}


@dataclass(frozen=True)
class PlannedPart:
    """A part and its symmetry; ``found`` is None where that was stated, ``state`` is of the symmetry, in words."""

    part: CadPart
    symmetry: Symmetry
    found: FoundSymmetry | None
    state: str = "stated"

    @property
    def is_open_question(self) -> bool:
        """Whether a symmetry was found that nobody stated or confirmed."""
        return self.found is not None and not self.symmetry.is_trivial and self.state == _UNCONFIRMED

    @property
    def residual_m(self) -> float | None:
        """How far the worst turn of a symmetry that was found moves the surface; None where there is none."""
        if self.found is None or self.symmetry.is_trivial:
            return None
        return self.found.deviation * mesh_diameter(np.asarray(self.part.mesh.vertices))


@dataclass(frozen=True)
class OnboardPlan:
    """What will be made: the parts, and the scene options that suit them unless the user says otherwise.

    Making the plan took ``planning_s``, which counts to the time of the onboarding.
    """

    parts: tuple[PlannedPart, ...]
    scene: Mapping[str, Any]
    notes: tuple[str, ...]
    planning_s: float = 0.0


def plan_onboarding(config: OnboardConfig, progress: ProgressCallback = ignore_progress) -> OnboardPlan:
    """Read the parts, find the symmetries that are not stated, and choose the scenes to train on.

    Raises ``DataError`` for a file that cannot be used, ``ConfigError`` for options that do not fit the parts.
    """
    started_at = time.monotonic()
    parts = read_parts(config.parts, config.unit, config.centred)
    stated = stated_symmetries(parts, config.symmetries)
    planned = []
    for part in reported(parts, progress, "symmetries", len(parts), "part"):
        if part.name in stated:
            planned.append(PlannedPart(part, stated[part.name], None))
        else:
            found = find_symmetry(part.mesh, config.round_tolerance, config.turn_tolerance)
            is_confirmed = config.symmetries.get(part.name) == FOUND
            state = "confirmed" if is_confirmed else _ACCEPTED if config.accept_symmetries else _UNCONFIRMED
            planned.append(PlannedPart(part, found.symmetry, found, state))
    given = {name: value for name, value in config.options.items() if name in option_names(SceneConfig)}
    scene = {"marker_share": _MARKER_SHARE} | _suitable_scene(parts, given) | _seen_by(config) | given
    scene = {"min_depth_m": _least_depth_m(make_config(SceneConfig, scene))} | scene
    notes = tuple(_scene_notes(parts, config, make_config(SceneConfig, scene)))
    return OnboardPlan(tuple(planned), scene, notes, time.monotonic() - started_at)


def option_names(config_class: type) -> set[str]:
    """Return the names of the options that a configuration declares."""
    return {item.name for item in parameters(config_class)}


def _suitable_scene(parts: Sequence[CadPart], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scene options that the parts' size and colours ask for, beside those that are ``given``."""
    # A share that is given for all parts holds for plain ones, too.
    values = {name: share for name, share in _PLAIN_SHARES.items() if name.removeprefix("plain_") not in given}
    factor = _median_diameter_m(parts) / _USUAL_DIAMETER_M
    if not _USUAL_FACTORS[0] <= factor <= _USUAL_FACTORS[1]:
        for item in parameters(SceneConfig):
            if item.name in _SCALED_WITH_PARTS:
                values[item.name] = round(float(np.clip(item.default * factor, item.minimum, item.maximum)), 3)
    return values


def _median_diameter_m(parts: Sequence[CadPart]) -> float:
    return float(np.median([mesh_diameter(part.mesh.vertices) for part in parts]))


def _seen_by(config: OnboardConfig) -> dict[str, Any]:
    """Return the scene options that the user's camera and working distance ask for."""
    values: dict[str, Any] = {}
    if config.camera is not None:
        camera = _rendered_camera(read_camera(config.camera))
        values |= {"width": camera.width, "height": camera.height, "focal_px": 0.5 * (camera.fx + camera.fy)}
        values |= {
            "offset_x_px": camera.cx - 0.5 * (camera.width - 1),
            "offset_y_px": camera.cy - 0.5 * (camera.height - 1),
        }
        values = {name: round(value, 3) for name, value in values.items()}
    if config.distance_m is not None:
        values |= dict(zip(("min_distance_m", "max_distance_m"), config.distance_m))
    return values


def _least_depth_m(scene: SceneConfig) -> float:
    """Return the nearest depth that the renders' depth camera measures: a near part has depth, too."""
    return min(scene.min_depth_m, round(_NEAREST_DEPTH_SHARE * scene.min_distance_m, 4))


def _rendered_camera(camera: Camera) -> Camera:
    """Return the camera that training renders for: without lens, and not larger than what helps."""
    scale = min(1.0, _LARGEST_WIDTH / camera.width, math.sqrt(_LARGEST_AREA / (camera.width * camera.height)))
    width, height = round(scale * camera.width), round(scale * camera.height)
    cx, cy = (scale * (middle + 0.5) - 0.5 for middle in (camera.cx, camera.cy))
    return Camera(width, height, scale * camera.fx, scale * camera.fy, cx, cy)


def network_sizes(scene: SceneConfig, options: Mapping[str, Any]) -> dict[str, int]:
    """Return the detector's input, of the image's shape, and the crops that it learns from, where nothing else is said.

    ``options`` are the user's; an ``input_width`` or ``input_height`` of them makes all other sizes fit it.
    """
    shape = scene.height / scene.width
    usual_height = shape * min(_INPUT_WIDTH, math.sqrt(_INPUT_AREA / shape))
    width = options.get("input_width") or _multiple(options.get("input_height", usual_height) / shape)
    height = options.get("input_height") or _multiple(width * shape)
    crop_width, crop_height = (min(side, _multiple(share * side)) for side, share in zip((width, height), _CROP_SHARES))
    sizes = {"input_width": width, "input_height": height, "crop_width": crop_width, "crop_height": crop_height}
    return {name: options.get(name, size) for name, size in sizes.items()}


def _multiple(size: float) -> int:
    return max(2, math.ceil(size / COARSEST_STRIDE - 0.25)) * COARSEST_STRIDE


def _scene_notes(parts: Sequence[CadPart], config: OnboardConfig, scene: SceneConfig) -> Iterator[str]:
    """Say through which camera and from where the parts are shown in training, and what does not suit them."""
    of_camera = f"the camera of {config.camera}" if config.camera else "a usual camera, as no --camera is named"
    yield f"Training renders {scene.width}x{scene.height} pixels, focal length {scene.focal_px:.0f} ({of_camera})."
    is_given = config.distance_m is not None or bool({"min_distance_m", "max_distance_m"} & config.options.keys())
    source = "as asked for" if is_given else "the default, whatever the parts' size"
    least, greatest = scene.min_distance_m, scene.max_distance_m
    yield (
        f"Training shows the parts from {least:g} to {greatest:g} m away ({source}); where the camera is nearer or "
        "farther, say --distance 0.3-0.8."
    )
    low, high = scene.min_elevation_deg, scene.max_elevation_deg
    advice = "" if "min_elevation_deg" in config.options else "; for a camera beside it say --min-elevation-deg 5"
    yield f"Training looks from {low:g} to {high:g} degrees above the table{advice}."
    if scene.min_depth_m < SceneConfig.min_depth_m:
        yield (
            f"Depth is rendered from {scene.min_depth_m:g} m on, nearer than the {SceneConfig.min_depth_m:g} m of a "
            "usual depth camera; where yours measures only farther, say so, such as --min-depth-m 0.28."
        )
    sizes = network_sizes(scene, config.options)
    input_scale = min(sizes["input_width"] / scene.width, sizes["input_height"] / scene.height)
    for part in parts:
        near, far = (mesh_diameter(part.mesh.vertices) * scene.focal_px / z for z in (least, greatest))
        if near > _LARGEST_SHARE * scene.width:
            yield f"'{part.name}' fills the image from {least:g} m: name the distances of your cell."
        if far * input_scale < _SMALLEST_PX:
            yield (
                f"'{part.name}' has {far * input_scale:.0f} pixels in the detector's input, {sizes['input_width']} "
                f"pixels wide, from {greatest:g} m and will hardly be found there: a greater --input-width makes it "
                "larger."
            )
