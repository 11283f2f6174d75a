"""The BOP challenge's score: average recall of VSD, MSSD and MSPD, in all and per object, distance and visibility.

Targets are the instances of at least a tenth visible surface; of the estimates of an object in an image, as many count
as it has targets there, the best-scored. Every error is compared with its ten thresholds (VSD: each of ten tolerances);
the share of targets that pass, averaged over the thresholds, is the error's average recall, and the mean of the three
is AR. Without measured depth there is no VSD, and then no AR either. ADD(-S), no part of AR, has one threshold.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array
from object_pose.core.frame import Frame
from object_pose.core.metrics import bop as bop_errors
from object_pose.core.metrics.bop import MIN_VISIBILITY, MSPD_THRESHOLDS, THRESHOLDS, SurfaceErrors
from object_pose.core.metrics.pose import ADD_SHARE, add_error
from object_pose.core.object_model import ObjectModel
from object_pose.core.results.pose import ObjectPose, ObjectTruth
from object_pose.io.bop import read_models_info

if TYPE_CHECKING:
    from object_pose.simulation.render.mesh import RenderMesh

Meshes = Callable[[], Sequence["RenderMesh"]]

_LIMITS = {
    "add": np.array([ADD_SHARE]),
    "vsd": np.tile(THRESHOLDS, len(THRESHOLDS)),
    "mssd": THRESHOLDS,
    "mspd": MSPD_THRESHOLDS,
}
_DISTANCE_EDGES_M = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.25, 1.5, float("inf"))
_VISIBILITY_EDGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.01)
_EVALUATION_MODELS = ("models_eval", "models")


@dataclass(frozen=True)
class TargetResult:
    """One target, and which of each error's limits an estimate kept.

    ``passed`` has (1,) for 'add', (10,) for 'mssd' and 'mspd', and (100,) for 'vsd' where depth was measured.
    """

    class_name: str
    visibility: float
    distance_m: float
    passed: dict[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class BopGroup:
    """Recalls of some targets; ``ar_vsd`` and with it ``ar_bop`` are None where a frame had no depth."""

    targets: int
    recall_add_01d: float
    ar_bop: float | None
    ar_vsd: float | None
    ar_mssd: float
    ar_mspd: float


@dataclass(frozen=True)
class BopBin:
    """A group of targets whose distance or visibility is in [``low``, ``high``)."""

    low: float
    high: float
    group: BopGroup


@dataclass(frozen=True)
class BopScore:
    """All targets together, per object, and over their distance and their visibility; no empty bins."""

    total: BopGroup
    per_object: dict[str, BopGroup]
    by_distance_m: tuple[BopBin, ...]
    by_visibility: tuple[BopBin, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values: the totals under their own names, with ``bop_targets``, and the tables."""
        total = dataclasses.asdict(self.total)
        return {
            **{name: value for name, value in total.items() if name.startswith("ar_")},
            "bop_targets": self.total.targets,
            "bop_recall_add_01d": self.total.recall_add_01d,
            "per_object": {name: dataclasses.asdict(group) for name, group in self.per_object.items()},
            "by_distance_m": [_bin_to_json(item) for item in self.by_distance_m],
            "by_visibility": [_bin_to_json(item) for item in self.by_visibility],
        }


def _bin_to_json(item: BopBin) -> dict[str, Any]:
    high = item.high if np.isfinite(item.high) else None
    return {"from": item.low, "to": high, **dataclasses.asdict(item.group)}


class BopScorer:
    """Collects frames and scores them; ``meshes`` gives the surfaces that VSD draws, in the order of ``objects``.

    Without ``meshes`` VSD is left out.
    """

    def __init__(self, objects: Sequence[ObjectModel], meshes: Meshes | None = None) -> None:
        self._objects = tuple(objects)
        self._surfaces = [SurfaceErrors(model) for model in objects]
        self._load_meshes = meshes
        self.targets: list[TargetResult] = []

    @cached_property
    def _meshes(self) -> Sequence[RenderMesh]:
        assert self._load_meshes is not None
        return self._load_meshes()

    def add(self, frame: Frame, truths: Sequence[ObjectTruth], poses: Sequence[ObjectPose]) -> None:
        """Take in the poses of one frame, whose class ids index the objects."""
        for class_id in sorted({truth.class_id for truth in truths}):
            instances = [truth for truth in truths if truth.class_id == class_id]
            is_target = np.array([truth.visibility >= MIN_VISIBILITY for truth in instances])
            candidates = sorted((pose for pose in poses if pose.class_id == class_id), key=lambda pose: -pose.score)
            candidates = candidates[: int(np.count_nonzero(is_target))]
            errors = self._errors(frame, class_id, candidates, instances)
            found = {name: bop_errors.find_instances(table, _LIMITS[name], is_target) for name, table in errors.items()}
            for index in np.flatnonzero(is_target):
                passed = {name: table[index] for name, table in found.items()}
                self.targets.append(_target(instances[index], passed))

    def _errors(
        self, frame: Frame, class_id: int, poses: Sequence[ObjectPose], truths: Sequence[ObjectTruth]
    ) -> dict[str, Array]:
        """Return per error (E, G, T): every estimate against every instance, in the units of its limits."""
        surface, model = self._surfaces[class_id], self._objects[class_id]
        points, diameter = model.points_object, model.diameter
        scale = bop_errors.mspd_scale(frame.camera)
        mesh = self._meshes[class_id] if frame.depth_m is not None and self._load_meshes is not None else None
        names = ("add", "mssd", "mspd") if mesh is None else ("add", "mssd", "mspd", "vsd")
        tables = {name: np.empty((len(poses), len(truths), len(_LIMITS[name]))) for name in names}
        for e, pose in enumerate(poses):
            for g, truth in enumerate(truths):
                pair = pose.T_camera_object, truth.T_camera_object
                tables["add"][e, g] = add_error(*pair, points, model.symmetry) / diameter
                tables["mssd"][e, g] = surface.mssd(*pair) / diameter
                tables["mspd"][e, g] = surface.mspd(*pair, frame.camera) * scale
                if mesh is not None:
                    tables["vsd"][e, g] = np.repeat(_vsd(*pair, mesh, diameter, frame), len(THRESHOLDS))
        return tables

    def score(self) -> BopScore:
        """Summarise everything added so far; averages of nothing are NaN."""
        names = sorted({target.class_name for target in self.targets})
        return BopScore(
            _group(self.targets),
            {name: _group(target for target in self.targets if target.class_name == name) for name in names},
            _bins(self.targets, _DISTANCE_EDGES_M, lambda target: target.distance_m),
            _bins(self.targets, _VISIBILITY_EDGES, lambda target: target.visibility),
        )


def _vsd(T_estimate: Array, T_truth: Array, mesh: RenderMesh, diameter: float, frame: Frame) -> Array:
    """Return VSD for each tolerance, (10,)."""
    assert frame.depth_m is not None
    # Only here, so that the other errors do not need a renderer.
    from object_pose.simulation.render.object_views import object_depth, object_window

    windows = [object_window(mesh, pose, frame.camera) for pose in (T_estimate, T_truth)]
    rows, columns = (_joined([window[axis] for window in windows]) for axis in (0, 1))
    rays = _ray_lengths(frame.camera)[rows, columns]
    estimate, truth = (object_depth(mesh, pose, frame.camera, (rows, columns)) for pose in (T_estimate, T_truth))
    measured = np.where(np.isfinite(frame.depth_m[rows, columns]), frame.depth_m[rows, columns], np.float32(0.0))
    return bop_errors.vsd_errors(estimate * rays, truth * rays, measured * rays, THRESHOLDS * diameter)


_ray_lengths = lru_cache(maxsize=4)(bop_errors.ray_lengths)


def _joined(spans: Sequence[slice]) -> slice:
    return slice(min(span.start for span in spans), max(span.stop for span in spans))


def _target(truth: ObjectTruth, passed: dict[str, NDArray[np.bool_]]) -> TargetResult:
    distance_m = float(np.linalg.norm(truth.T_camera_object[:3, 3]))
    return TargetResult(truth.class_name, truth.visibility, distance_m, passed)


def _group(targets: Iterable[TargetResult]) -> BopGroup:
    targets = list(targets)
    add, mssd, mspd = (_average_recall(targets, name) for name in ("add", "mssd", "mspd"))
    vsd = _average_recall(targets, "vsd") if targets and all("vsd" in target.passed for target in targets) else None
    return BopGroup(
        targets=len(targets),
        recall_add_01d=add,
        ar_bop=None if vsd is None else (vsd + mssd + mspd) / 3.0,
        ar_vsd=vsd,
        ar_mssd=mssd,
        ar_mspd=mspd,
    )


def _average_recall(targets: Sequence[TargetResult], name: str) -> float:
    """Return the share of limits kept, over all targets; NaN where there are none."""
    return float(np.mean([target.passed[name].mean() for target in targets])) if targets else float("nan")


def _bins(
    targets: Sequence[TargetResult], edges: Sequence[float], value: Callable[[TargetResult], float]
) -> tuple[BopBin, ...]:
    bins = []
    for low, high in itertools.pairwise(edges):
        inside = [target for target in targets if low <= value(target) < high]
        if inside:
            bins.append(BopBin(low, high, _group(inside)))
    return tuple(bins)


def bop_models_folder(data: Path) -> Path | None:
    """Return the folder of models that belongs to a scene or data set, by BOP's layout, or None."""
    for root in (data, *data.resolve().parents[:3]):
        for name in _EVALUATION_MODELS:
            if (root / name / "models_info.json").exists():
                return root / name
    return None


def bop_meshes(models_dir: Path, names: dict[int, str]) -> Meshes | None:
    """Return what loads the meshes of the objects with these ids, in their order; None where one is not there."""
    if not names.keys() <= read_models_info(models_dir / "models_info.json").keys():
        return None

    def load() -> list[RenderMesh]:
        from object_pose.simulation.parts.objects import load_bop_objects

        loaded = {item.model.name: item.mesh for item in load_bop_objects(models_dir, names)}
        return [loaded[name] for name in names.values()]

    return load
