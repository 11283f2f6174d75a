"""Images of a board and, for hand-eye, the robot's transforms in; guidance out, and a calibration on request."""

from __future__ import annotations

if __name__ == "__main__":  # before anything else is imported: see there
    from object_pose.ros.nodes.programs import run

    raise SystemExit(run("calibration_node"))

import threading
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from object_pose_msgs.msg import CalibrationStatus
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from object_pose.calibration.boards import parse_board
from object_pose.calibration.hand_eye import REFUSED, HandEyeConfig
from object_pose.calibration.intrinsics import IntrinsicsConfig
from object_pose.core.arrays import Array
from object_pose.core.errors import CalibrationError, ConfigError, DataError
from object_pose.core.params import parameter
from object_pose.io.messages import image_from_message, stamp_ns
from object_pose.io.robot_samples import STILL_S, still_pose
from object_pose.ros.messages.images import rgb_to_message
from object_pose.ros.nodes.pipeline_node import PipelineNode
from object_pose.ros.nodes.spinning import spin_node
from object_pose.ros.transport import qos, topics
from object_pose.ros.transport.blocking_service import BlockingService
from object_pose.ros.transport.transform_listener import TransformListener
from object_pose.ros.transport.worker import NewestWorker
from object_pose.workflows.calibrate_hand_eye import HandEyeJob, HandEyeResult
from object_pose.workflows.calibrate_intrinsics import IntrinsicsJob
from object_pose.workflows.calibration_session import CalibrationSession, Capture, draw_capture

INTRINSICS, HAND_EYE = "intrinsics", "hand_eye"
_STEPS = 11  # in the time about an image at which the robot's pose is looked up
_LATE_S = 1.0  # by which a transform may come after its time


@dataclass(frozen=True)
class CalibrationNodeConfig:
    """What is calibrated, with which board, and where the results go."""

    board: str = parameter("", "the board, as 'object-pose calibrate board' takes it", read_only=True)
    kind: str = parameter(INTRINSICS, "what is calibrated", choices=(INTRINSICS, HAND_EYE), read_only=True)
    name: str = parameter("camera", "name of the result's files", read_only=True)
    output: str = parameter("calibration", "folder of the results, and of the images that are kept", read_only=True)
    automatic: bool = parameter(True, "keep useful images by itself; otherwise ~/capture keeps the newest")
    intrinsics: str = parameter(
        "", "camera_info file for hand-eye, which names the next pose then; '' calibrates it, too", read_only=True
    )
    base_frame: str = parameter("base_link", "the robot's base on /tf", read_only=True)
    tool_frame: str = parameter("tool0", "the robot's tool on /tf", read_only=True)


class CalibrationNode(PipelineNode):
    """Looks for the board in the newest image, says what to show next, and keeps what is useful.

    For hand-eye an image counts only where the robot stands still. Services: ``~/capture`` keeps the next image,
    ``~/drop`` removes the latest, ``~/solve`` calibrates. A folder that holds images already is continued.
    """

    def __init__(self, **node_options: object) -> None:
        super().__init__("calibration_node", CalibrationNodeConfig, IntrinsicsConfig, HandEyeConfig, **node_options)
        self._status = self.announce(CalibrationStatus, topics.CALIBRATION_STATUS, qos.RESULT)
        self._picture = self.announce(Image, topics.CALIBRATION_IMAGE, qos.RESULT)
        self._lock = threading.Lock()  # of the session

    def configure(self) -> None:
        """Take up the images that were kept before."""
        config = self.config(CalibrationNodeConfig)
        if not config.board:
            raise ConfigError("the parameter 'board' is not set", "such as charuco:9x6:0.03:0.022:DICT_5X5_100")
        board, output = parse_board(config.board), Path(config.output) / config.kind
        self._job: IntrinsicsJob | HandEyeJob
        if config.kind == INTRINSICS:
            images = output / f"{config.name}_images"
            self._job = IntrinsicsJob(images, board, config.name, output, self.config(IntrinsicsConfig))
        else:
            self._job = HandEyeJob(
                output / f"{config.name}_samples",
                board,
                Path(config.intrinsics) if config.intrinsics else None,
                name=config.name,
                output=output,
                base_frame=config.base_frame,
                tool_frame=config.tool_frame,
                config=self.config(HandEyeConfig),
            )
        self._session = CalibrationSession(self._job)

    def activate(self) -> None:
        """Look at the camera's images."""
        self._wanted: list[threading.Event] = []
        self._outcome = ""
        self._listener = TransformListener(self) if self._session.is_hand_eye else None
        self._worker = NewestWorker("calibration", self._look, self.frame_failed)
        self.watch(Image, topics.COLOR, self._worker.offer, qos.SENSOR_INPUT)
        self._served = [
            BlockingService(self, Trigger, f"~/{name}", callback)
            for name, callback in (("capture", self._capture), ("drop", self._drop), ("solve", self._solve))
        ]

    def deactivate(self) -> None:
        """Finish the image in hand."""
        for service in self._served:
            service.close()
        self._worker.stop()
        if self._listener:
            self._listener.close()

    def _look(self, message: Image) -> None:
        rgb, header = image_from_message(message), message.header
        wanted, self._wanted = self._wanted, []
        with self._lock:
            capture = self._session.look(rgb)
        advice = ""
        if capture.found and (wanted or (capture.is_useful and self.config(CalibrationNodeConfig).automatic)):
            try:
                T_base_tool = self._robot_pose(stamp_ns(message)) if self._listener else None
                with self._lock:
                    capture = self._session.keep(replace(capture, T_base_gripper=T_base_tool))
                self.get_logger().info(f"image {capture.kept_as} is kept, {capture.images} in all")
            except (CalibrationError, DataError) as error:
                advice = str(error)
        self._outcome = advice or ("" if capture.found else capture.advice)
        for event in wanted:
            event.set()
        self._publish(capture, advice, header)

    def _robot_pose(self, stamp: int) -> Array:
        """Return T_base_tool at a stamp; raises ``DataError`` where it is not known, or the robot moves."""
        config = self.config(CalibrationNodeConfig)
        assert self._listener is not None
        frames = config.base_frame, config.tool_frame
        # The last first: when it is there, all are.
        offsets = np.linspace(STILL_S, -STILL_S, _STEPS)
        poses = [self._listener.look_up(*frames, stamp + int(step * 1e9), _LATE_S + STILL_S) for step in offsets]
        pose = still_pose(np.stack(poses))
        if pose is None:
            raise DataError("the robot moves", f"let it stand for {2 * STILL_S:g} s")
        return pose

    def _publish(self, capture: Capture, advice: str, header: object) -> None:
        wh = capture.rgb.shape[1], capture.rgb.shape[0]
        contour = np.zeros((0, 2)) if capture.wanted is None else capture.wanted.contour(self._job.board, wh)
        status = CalibrationStatus(
            header=header,
            found=capture.found,
            useful=capture.is_useful,
            images=capture.images,
            covered=capture.coverage.seen_share if capture.coverage else 0.0,
            advice=advice or capture.advice,
            points_px=capture.pixels.astype(np.float32).ravel(),
            wanted_px=contour.astype(np.float32).ravel(),
        )
        self._status.publish(status)
        if self._picture.get_subscription_count():
            self._picture.publish(rgb_to_message(draw_capture(capture, self._job, status.advice), header))
        self.diagnostics.gauge("images", capture.images)
        self.diagnostics.gauge("advice", status.advice)
        self.diagnostics.processed()

    def _capture(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        event, before = threading.Event(), len(self._session.names)
        self._wanted.append(event)
        if not event.wait(10.0):
            raise DataError("no image came in time", "/diagnostics says what is missing")
        response.success = len(self._session.names) > before
        response.message = f"{len(self._session.names)} images" if response.success else self._outcome
        return response

    def _drop(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        with self._lock:
            if not self._session.names:
                raise CalibrationError("no image was kept")
            name = self._session.names[-1]
            self._session.drop(name)
        response.success, response.message = True, f"{name} is removed, {len(self._session.names)} images are left"
        return response

    def _solve(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        with self._lock:
            result = self._session.solve()
        if isinstance(result, HandEyeResult):
            response.success = result.gate.verdict != REFUSED
            response.message = f"{result.gate.verdict}: {result.calibration.held_out_mm:.2f} mm, {result.report}"
        else:
            response.success = True
            response.message = f"{result.calibration.fit.rms_px:.3f} px, {result.camera_file}, {result.report}"
        return response


def main() -> int:
    """Run the node alone."""
    return spin_node(CalibrationNode)
