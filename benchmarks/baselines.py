"""What others would do with the same detections: PnP alone, and Open3D's FPFH + RANSAC + ICP on the box's points."""

from __future__ import annotations

import dataclasses
import importlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray

from object_pose.core.errors import ConfigError
from object_pose.core.frame import Frame
from object_pose.core.metrics.pose import FrameMatches, PoseScore, match_frame, score_frames
from object_pose.core.object_model import ObjectModel
from object_pose.core.pose.config import PoseSolverConfig
from object_pose.core.pose.solver import PoseSolver
from object_pose.core.results.detections import Detections
from object_pose.core.results.pose import ObjectPose
from object_pose.evaluation.pose_runner import LabelledFrame
from object_pose.simulation.parts.objects import SceneObject

Array = NDArray[np.float64]
PoseMethod = Callable[[Detections, Frame], Sequence[ObjectPose]]

_VOXEL_M = 0.003
_MIN_POINTS = 30
_MODEL_POINTS = 5000
_MIN_FITNESS = 0.3
_APART_M, _NEIGHBOURS = 0.012, 8  # of clusters
_FAR_VOXELS = 4.0  # between a start and the points that it is first aligned with


@dataclass(frozen=True)
class MethodScore:
    """How one method did on all frames: the score of its poses and the median time that it took for a frame."""

    name: str
    score: PoseScore
    milliseconds_p50: float


def compare_methods(
    frames: Iterable[LabelledFrame],
    detect: Callable[[Frame], Detections],
    methods: Mapping[str, PoseMethod],
    objects: Sequence[ObjectModel],
) -> list[MethodScore]:
    """Give every method the same detections of the same frames, one after the other, so that times are comparable."""
    matches: dict[str, list[FrameMatches]] = {name: [] for name in methods}
    times: dict[str, list[float]] = {name: [] for name in methods}
    for item in frames:
        detections = detect(item.frame)
        for name, method in methods.items():
            start = time.perf_counter()
            poses = method(detections, item.frame)
            times[name].append((time.perf_counter() - start) * 1e3)
            matches[name].append(match_frame(poses, item.truths, objects))
    return [MethodScore(name, score_frames(matches[name]), float(np.median(times[name]))) for name in methods]


def solver_method(objects: Sequence[ObjectModel], config: PoseSolverConfig) -> PoseMethod:
    """Return our pose head as a method; ``use_depth=False`` makes it PnP alone."""
    solver = PoseSolver(objects, config)

    def solve(detections: Detections, frame: Frame) -> Sequence[ObjectPose]:
        return solver.solve(detections, frame.camera, frame.depth_m).poses

    return solve


class Open3dMethod:
    """Global registration as Open3D's own tutorial does it, between the model and the points inside each box.

    It gets a dense cloud of each mesh. Rusu et al., "Fast point feature histograms", 2009. Raises ``ConfigError`` when
    Open3D is not installed.
    """

    def __init__(self, objects: Sequence[SceneObject]) -> None:
        try:
            self._open3d: Any = importlib.import_module("open3d")
        except (ImportError, OSError) as error:
            raise ConfigError(
                f"Open3D cannot be imported: {error}", "make setup-bench; Debian: apt install libusb-1.0-0 libgl1"
            ) from error
        self._open3d.utility.set_verbosity_level(self._open3d.utility.VerbosityLevel.Error)
        self._objects = tuple(item.model for item in objects)
        self._models = [self._features(self._cloud(*_dense_cloud(item))) for item in objects]

    def __call__(self, detections: Detections, frame: Frame) -> Sequence[ObjectPose]:
        """Return a pose for every detection whose registration fits."""
        poses = (self._register(detections.select(np.array([i])), frame) for i in range(len(detections)))
        return [pose for pose in poses if pose is not None]

    def _register(self, detection: Detections, frame: Frame) -> ObjectPose | None:
        class_id = int(detection.class_ids[0])
        points = _points_in_box(detection.boxes_xyxy[0], frame)
        transform, fitness = self.register(class_id, points)
        return self._pose(detection, class_id, transform, fitness) if fitness >= _MIN_FITNESS else None

    def register(self, class_id: int, points: Array) -> tuple[Array, float]:
        """Return the pose (4, 4) of an object in points (N, 3), and its fitness, which is 0 where there is none."""
        if len(points) < _MIN_POINTS:
            return np.eye(4), 0.0
        scene = self._cloud(points)
        scene.estimate_normals(self._open3d.geometry.KDTreeSearchParamHybrid(radius=2 * _VOXEL_M, max_nn=30))
        scene.orient_normals_towards_camera_location(np.zeros(3))
        scene, scene_features = self._features(scene)
        model, model_features = self._models[class_id]
        registration = self._open3d.pipelines.registration
        coarse = registration.registration_ransac_based_on_feature_matching(
            model,
            scene,
            model_features,
            scene_features,
            True,
            1.5 * _VOXEL_M,
            registration.TransformationEstimationPointToPoint(False),
            3,
            [
                registration.CorrespondenceCheckerBasedOnEdgeLength(0.9),
                registration.CorrespondenceCheckerBasedOnDistance(1.5 * _VOXEL_M),
            ],
            registration.RANSACConvergenceCriteria(100_000, 0.999),
        )
        return self._aligned(model, scene, coarse.transformation, 1.0)

    def clusters(self, points: Array) -> list[Array]:
        """Return points (N, 3) in the pieces that lie apart."""
        labels = np.asarray(self._cloud(points).cluster_dbscan(_APART_M, _NEIGHBOURS))
        return [points[labels == label] for label in range(labels.max(initial=-1) + 1)]

    def align(self, class_id: int, points: Array, start: Array) -> tuple[Array, float]:
        """Return an object's pose (4, 4) aligned with points (N, 3) from a start near it, and its fitness."""
        if len(points) < _MIN_POINTS:
            return start, 0.0
        scene = self._cloud(points).voxel_down_sample(_VOXEL_M)
        scene.estimate_normals(self._open3d.geometry.KDTreeSearchParamHybrid(radius=2 * _VOXEL_M, max_nn=30))
        near, _ = self._aligned(self._models[class_id][0], scene, start, _FAR_VOXELS)
        return self._aligned(self._models[class_id][0], scene, near, 1.0)

    def _aligned(self, model: Any, scene: Any, start: Array, reach_voxels: float) -> tuple[Array, float]:
        registration = self._open3d.pipelines.registration
        to_plane = registration.TransformationEstimationPointToPlane()
        fine = registration.registration_icp(model, scene, reach_voxels * _VOXEL_M, start, to_plane)
        return np.asarray(fine.transformation), float(fine.fitness)

    def _pose(self, detection: Detections, class_id: int, transform: Array, fitness: float) -> ObjectPose:
        model = self._objects[class_id]
        return ObjectPose(
            class_id=class_id,
            class_name=model.name,
            score=float(np.clip(detection.scores[0] * fitness, 0.0, 1.0)),
            T_camera_object=transform,
            covariance=np.full((6, 6), np.nan),
            box_center=model.box_center,
            box_size=model.box_size,
            box_xyxy=detection.boxes_xyxy[0],
            reprojection_rms_px=float("nan"),
            depth_rms_m=float("nan"),
            visibility=float("nan"),
            depth_used=True,
        )

    def _cloud(self, points: Array, normals: Array | None = None) -> Any:
        cloud = self._open3d.geometry.PointCloud()
        cloud.points = self._open3d.utility.Vector3dVector(points)
        if normals is not None:
            cloud.normals = self._open3d.utility.Vector3dVector(normals)
        return cloud

    def _features(self, cloud: Any) -> tuple[Any, Any]:
        small = cloud.voxel_down_sample(_VOXEL_M)
        search = self._open3d.geometry.KDTreeSearchParamHybrid(radius=5 * _VOXEL_M, max_nn=100)
        return small, self._open3d.pipelines.registration.compute_fpfh_feature(small, search)


def _dense_cloud(item: SceneObject) -> tuple[Array, Array]:
    """Return (P, 3) points on the mesh and their normals."""
    mesh = trimesh.Trimesh(np.asarray(item.mesh.vertices, dtype=np.float64), np.asarray(item.mesh.faces), process=False)
    points, faces = trimesh.sample.sample_surface(mesh, _MODEL_POINTS, seed=0)
    return np.asarray(points), np.asarray(mesh.face_normals[faces])


def _points_in_box(box_xyxy: Array, frame: Frame) -> Array:
    """Return the (N, 3) measured points of a frame inside a box, camera frame, metres."""
    assert frame.depth_m is not None
    left, top = np.maximum(np.floor(box_xyxy[:2]), 0).astype(int)
    right, bottom = np.ceil(box_xyxy[2:]).astype(int) + 1
    patch = frame.depth_m[top:bottom, left:right]
    rows, columns = np.nonzero(np.isfinite(patch) & (patch > 0.0))
    pixels = np.stack([columns + left, rows + top], axis=1).astype(np.float64)
    return frame.camera.backproject(frame.camera.undistort(pixels), patch[rows, columns].astype(np.float64))


def as_json(scores: Sequence[MethodScore]) -> dict[str, Any]:
    """Return plain values, and how much faster the first method is than each other one."""
    first = scores[0]
    return {
        item.name: dataclasses.asdict(item.score)
        | {
            "milliseconds_p50": item.milliseconds_p50,
            "times_slower_than_first": item.milliseconds_p50 / max(first.milliseconds_p50, 1e-9),
        }
        for item in scores
    }
