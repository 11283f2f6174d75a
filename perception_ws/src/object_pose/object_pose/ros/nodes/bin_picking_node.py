"""The service of BOP's industrial challenge: images of several cameras in, poses of the wanted objects out.

The interface is that of github.com/opencv/bpc, whose tester calls ``/get_pose_estimates``: a camera's pose is that of
the world in the camera, poses are in the world, both in millimetres; depth comes in counts of the data set.
"""

from __future__ import annotations

if __name__ == "__main__":  # before anything else is imported: see there
    from object_pose.ros.nodes.programs import run

    raise SystemExit(run("bin_picking_node"))

from dataclasses import dataclass
from typing import Any

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.errors import DataError
from object_pose.core.frame import Frame
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.core.params import parameter
from object_pose.core.pose.fusion import fuse_views
from object_pose.core.results.pose import ObjectPose
from object_pose.io.bop import bop_names
from object_pose.io.messages import depth_from_message, image_from_message, pose_from_message
from object_pose.ros.messages.conversions import pose_to_message
from object_pose.ros.messages.interfaces import optional_interface
from object_pose.ros.nodes.pipeline_node import PipelineNode
from object_pose.ros.nodes.spinning import spin_node
from object_pose.ros.transport.blocking_service import BlockingService
from object_pose.runtime.engine_choice import with_fastest_engine
from object_pose.runtime.pose_estimator import PoseEstimator
from object_pose.runtime.predictor import PredictorConfig
from object_pose.runtime.resources import find_model
from object_pose.runtime.timing import StageClock

_MM = 1e-3


@dataclass(frozen=True)
class BinPickingConfig:
    """The parameters of the challenge's service."""

    model: str = parameter("parts.onnx", "model file, or the name of a shipped model", read_only=True)
    service: str = parameter("/get_pose_estimates", "name of the service", read_only=True)
    depth_unit_mm: float = parameter(
        0.1, "millimetres in one count of depth; the challenge's IPD has 0.1", minimum=1e-3, maximum=1000.0
    )
    max_poses: int = parameter(200, "poses of an answer, the best first", minimum=1, maximum=10_000)


class BinPickingNode(PipelineNode):
    """Answers a request of the challenge: every camera's image is searched thoroughly, the poses are fused.

    A camera that cannot be used is reported and left out; requests are answered one after another.
    """

    def __init__(self, **node_options: object) -> None:
        super().__init__("bin_picking_node", BinPickingConfig, PredictorConfig, **node_options)

    def configure(self) -> None:
        """Load the model; refuse to start without the challenge's interface."""
        self._messages = optional_interface("ibpc_interfaces.msg")
        self._service_type = optional_interface("ibpc_interfaces.srv").GetPoseEstimates
        model = find_model(self.config(BinPickingConfig).model)
        detector = with_fastest_engine(model, self.config(PredictorConfig))
        self._estimator = PoseEstimator(model, detector, profile="single_image")
        self._estimator.prepare()
        self._names = bop_names(self._estimator.card.labels)

    def activate(self) -> None:
        """Serve."""
        self._service = BlockingService(self, self._service_type, self.config(BinPickingConfig).service, self._answer)

    def deactivate(self) -> None:
        """Finish the request in hand."""
        self._service.close()

    def _answer(self, request: Any, response: Any) -> Any:
        config, clock = self.config(BinPickingConfig), StageClock()
        numbers = {name: number for number, name in self._names.items()}
        unknown = sorted({int(number) for number in request.object_ids} - set(self._names))
        if unknown:
            known = ", ".join(f"{number} {name}" for number, name in self._names.items())
            self.diagnostics.problem("unknown_objects", f"the model knows no object {unknown}; it knows {known}")
        with clock.stage("total"):
            views = [self._poses_in_world(camera) for camera in (*request.cameras, request.photoneo)]
            distance = self._estimator.solver_config.acceptance.duplicate_distance
            poses = fuse_views(views, self._estimator.card.objects, distance)
        wanted = [pose for pose in poses if numbers[pose.class_name] in request.object_ids]
        best = sorted(wanted, key=lambda pose: -pose.score)[: config.max_poses]
        response.pose_estimates = [self._estimate(pose, numbers[pose.class_name]) for pose in best]
        self.diagnostics.processed(total_ms=clock.timings_ms["total"])
        return response

    def _poses_in_world(self, message: Any) -> tuple[ObjectPose, ...]:
        """Return what one camera shows, in the world; empty where it sent nothing, or nothing of use."""
        if not message.rgb.data:
            return ()
        with self.diagnostics.reporting("camera"):
            found = self._estimator.register(self._frame(message)).results
            T_camera_world = _in_metres(pose_from_message(message.pose))
            return tuple(pose.in_frame(se3.inverse(T_camera_world)) for pose in found.poses)
        return ()

    def _frame(self, message: Any) -> Frame:
        rgb = image_from_message(message.rgb)
        height, width = rgb.shape[:2]
        fx, _, cx, _, fy, cy = (float(value) for value in message.info.k[:6])
        if not (fx > 0.0 and fy > 0.0):
            raise DataError(f"camera '{message.info.header.frame_id}' has no intrinsics", "fill in info.k")
        camera = Camera(width, height, fx, fy, cx, cy)
        if not message.depth.data:
            return Frame(rgb, camera)
        depth_m = depth_from_message(message.depth, _MM * self.config(BinPickingConfig).depth_unit_mm)
        if message.depth.encoding == "32FC1":  # counts as well, of which the message's convention would make metres
            depth_m = depth_m * np.float32(_MM * self.config(BinPickingConfig).depth_unit_mm)
        return Frame(rgb, camera, depth_m)

    def _estimate(self, pose: ObjectPose, number: int) -> Any:
        T_world_object = pose.T_camera_object.copy()
        T_world_object[:3, 3] /= _MM
        return self._messages.PoseEstimate(obj_id=number, score=float(pose.score), pose=pose_to_message(T_world_object))


def _in_metres(transform_mm: Array) -> Array:
    scaled = transform_mm.copy()
    scaled[:3, 3] *= _MM
    return scaled


def main() -> int:
    """Run the node alone."""
    return spin_node(BinPickingNode)
