"""A camera: the simulated one, or recorded frames played as one, on realsense-ros's topics."""

from __future__ import annotations

if __name__ == "__main__":  # before anything else is imported: see there
    from object_pose.ros.nodes.programs import run

    raise SystemExit(run("camera_node"))

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from object_pose_msgs.msg import ObjectTruthArray
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from object_pose.core.errors import ConfigError
from object_pose.core.params import parameter
from object_pose.io.bag_frames import RecordingConfig
from object_pose.io.camera_info import read_camera
from object_pose.io.cameras.realsense import RealSenseCamera, RealSenseConfig
from object_pose.io.cameras.usb import UsbCamera, UsbCameraConfig
from object_pose.ros.messages.conversions import camera_transform, truths_to_message
from object_pose.ros.messages.images import camera_to_message, depth_to_message, make_header, rgb_to_message
from object_pose.ros.nodes.camera_feeds import CameraFeed, DeviceFeed, RecordedFeed, SimulatedFeed, View
from object_pose.ros.nodes.pipeline_node import PipelineNode
from object_pose.ros.nodes.spinning import spin_node
from object_pose.ros.transport import qos, topics
from object_pose.ros.transport.blocking_service import BlockingService
from object_pose.simulation.scenes.live import LiveConfig

SIMULATION, REALSENSE = "simulation", "realsense"


@dataclass(frozen=True)
class CameraNodeConfig:
    """What the camera shows, how often, and how."""

    source: str = parameter(
        SIMULATION,
        "'simulation', 'realsense', a device such as /dev/video0, or an image, folder, video, BOP scene, bag or SDK's "
        "recording",
        read_only=True,
    )
    depth_source: str = parameter("", "depth file of an image, or folder of depth files", read_only=True)
    intrinsics: str = parameter("", "camera file of images and videos (calibration/intrinsics)", read_only=True)
    loop: bool = parameter(True, "start again at the end of a recording", read_only=True)
    objects: str = parameter("parts", "what the simulation shows: 'parts', or a folder of BOP models", read_only=True)
    seed: int = parameter(0, "scene of the simulation", minimum=0, maximum=2**31 - 1, read_only=True)
    prerendered_s: float = parameter(
        4.0,
        "seconds of the simulation that are rendered at the start and played to and fro; 0 renders every frame anew",
        minimum=0.0,
        maximum=60.0,
        read_only=True,
    )
    rate_hz: float = parameter(30.0, "frames a second", minimum=0.1, maximum=120.0)
    paused: bool = parameter(False, "take no frames but those that ~/step asks for")
    frame_id: str = parameter("camera_color_optical_frame", "optical frame of the images", read_only=True)
    world_frame_id: str = parameter(
        "world", "frame in which the simulation publishes the camera's pose on /tf", read_only=True
    )
    depth_encoding: str = parameter(
        "16UC1", "millimetres or metres (REP-118)", choices=("16UC1", "32FC1"), read_only=True
    )
    realsense: RealSenseConfig = RealSenseConfig()
    usb: UsbCameraConfig = UsbCameraConfig()


class CameraNode(PipelineNode):
    """Publishes colour, camera_info, aligned depth and, where it is known, the truth; in a thread of its own.

    ``realsense_devices`` returns the SDK's devices, by default those on USB.
    """

    def __init__(self, realsense_devices: Callable[[], Sequence[Any]] | None = None, **node_options: object) -> None:
        self._realsense_devices = realsense_devices
        super().__init__("camera_node", CameraNodeConfig, RecordingConfig, LiveConfig, **node_options)
        self._color = self.announce(Image, topics.COLOR, qos.DRIVER_OUTPUT)
        self._info = self.announce(CameraInfo, topics.CAMERA_INFO, qos.DRIVER_OUTPUT)
        self._depth = self.announce(Image, topics.DEPTH, qos.DRIVER_OUTPUT)
        self._transforms = self.announce(TFMessage, topics.TF, qos.TRANSFORMS)
        self._truth = self.announce(ObjectTruthArray, topics.GROUND_TRUTH, qos.RESULT)

    def configure(self) -> None:
        """Open the recording, or build the scene and compile its renderer."""
        config = self.config(CameraNodeConfig)
        self._feed: CameraFeed
        if config.source == SIMULATION:
            live = self.config(LiveConfig)
            self._feed = SimulatedFeed(config.seed, config.objects, live, config.prerendered_s)
        elif config.source == REALSENSE:
            self._feed = DeviceFeed(RealSenseCamera(config.realsense, self._realsense_devices))
        elif config.source.startswith("/dev/"):
            camera = read_camera(config.intrinsics) if config.intrinsics else None
            self._feed = DeviceFeed(UsbCamera(config.source, config.usb, camera))
        else:
            recording = self.config(RecordingConfig)
            self._feed = RecordedFeed(config.source, config.depth_source, config.intrinsics, config.loop, recording)

    def activate(self) -> None:
        """Start the camera."""
        self._stopped = threading.Event()
        self._resumed, self._steps = threading.Condition(), 0
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)
        self._thread.start()
        self._service = BlockingService(self, Trigger, "~/step", self._step)
        self.parameters_changed()

    def deactivate(self) -> None:
        """Stop the camera."""
        self._service.close()
        self._stopped.set()
        with self._resumed:
            self._resumed.notify_all()
        self._thread.join()
        if isinstance(self._feed, DeviceFeed):
            self._feed.close()

    def parameters_changed(self) -> None:
        """Stop or go on; the rate is read before every frame."""
        if not self.is_active:
            return
        self.diagnostics.gauge("paused", self.config(CameraNodeConfig).paused)
        with self._resumed:
            self._resumed.notify_all()

    def _step(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Let a paused camera take one frame."""
        if not self.config(CameraNodeConfig).paused:
            raise ConfigError("the camera is not paused", "set its parameter 'paused' first")
        with self._resumed:
            self._steps += 1
            self._resumed.notify_all()
        response.success = True
        return response

    def _wait_while_paused(self) -> float:
        """Wait until a frame may be taken or the camera is stopped; return for how many seconds."""
        began = time.monotonic()
        with self._resumed:
            self._resumed.wait_for(
                lambda: self._steps or self._stopped.is_set() or not self.config(CameraNodeConfig).paused
            )
            self._steps = max(self._steps - 1, 0)
        return time.monotonic() - began

    def _run(self) -> None:
        start = due = time.monotonic()
        while not self._stopped.wait(max(0.0, due - time.monotonic())) and self.context.ok():
            # What a simulation shows stands still while it is paused.
            start += self._wait_while_paused()
            if self._stopped.is_set():
                return
            try:
                view = self._feed.view(time.monotonic() - start)
                if view is None:
                    self.get_logger().info("the recording is over")
                    return
                self._publish(view)
            except Exception as error:  # a file that cannot be read, or ROS that ends: the next frame is worth trying
                self.frame_failed(error)
            # A camera that cannot keep its rate skips frames instead of catching up; a live one keeps its own.
            period_s = 0.0 if self._feed.is_live else 1.0 / self.config(CameraNodeConfig).rate_hz
            due = max(due + period_s, time.monotonic())

    def _publish(self, view: View) -> None:
        """Publish one frame with the camera's stamp, or as if its picture had been taken now."""
        config, frame = self.config(CameraNodeConfig), view.frame
        stamp_ns = frame.stamp_ns if self._feed.is_live else self.get_clock().now().nanoseconds
        header = make_header(stamp_ns, config.frame_id)
        if view.T_world_camera is not None:
            world = make_header(stamp_ns, config.world_frame_id)
            self._transforms.publish(camera_transform(view.T_world_camera, world, config.frame_id))
        self._color.publish(rgb_to_message(frame.rgb, header))
        self._info.publish(camera_to_message(frame.camera, header))
        if frame.depth_m is not None:
            self._depth.publish(depth_to_message(frame.depth_m, header, config.depth_encoding))
        if view.truths:
            self._truth.publish(truths_to_message(view.truths, header))
        self.diagnostics.processed()


def main() -> int:
    """Run the node alone."""
    return spin_node(CameraNode)
