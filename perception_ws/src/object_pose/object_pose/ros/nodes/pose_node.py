"""Colour, depth, camera_info and, when they are ready, keypoint detections in; poses of every frame out.

Known objects are tracked from frame to frame. Detections may be late: they are registered beside that, in another
thread. Without tracking, or on request, a frame is answered when its detections have come.
"""

from __future__ import annotations

if __name__ == "__main__":  # before anything else is imported: see there
    from object_pose.ros.nodes.programs import run

    raise SystemExit(run("pose_node"))

import itertools
import queue
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from object_pose_msgs.msg import KeypointDetectionArray, ObjectPoseArray
from object_pose_msgs.srv import EstimatePoses, SetModel
from std_msgs.msg import Header

from object_pose.core.arrays import Array
from object_pose.core.errors import ConfigError, DataError
from object_pose.core.geometry.camera import Camera
from object_pose.core.params import parameter
from object_pose.core.pose.config import PoseSolverConfig
from object_pose.core.results.pose import PoseResults
from object_pose.core.tracking.tracker import TrackerConfig
from object_pose.io.messages import stamp_ns as stamp_ns_of
from object_pose.mlops.monitor import MonitorConfig
from object_pose.ros.messages.conversions import results_to_message
from object_pose.ros.nodes.monitoring import Monitoring
from object_pose.ros.nodes.pipeline_node import PipelineNode
from object_pose.ros.nodes.pose_outputs import PoseOutputs, Target
from object_pose.ros.nodes.spinning import spin_node
from object_pose.ros.transport import topics
from object_pose.ros.transport.blocking_service import BlockingService
from object_pose.ros.transport.frame_contents import PairedFrame, raw_image_wh, read_camera, read_detections
from object_pose.ros.transport.frame_inputs import (
    CAMERA_INFO,
    COLOR,
    DEPTH,
    DETECTIONS,
    FrameInputs,
    FrameInputsConfig,
    NewestImage,
    stream_source,
)
from object_pose.ros.transport.pairing import PairedSet, StampedBuffer
from object_pose.ros.transport.transform_listener import TransformListener
from object_pose.ros.transport.worker import NewestWorker
from object_pose.runtime.engine_choice import with_fastest_engine
from object_pose.runtime.model_cache import ModelCache
from object_pose.runtime.pose_estimator import FrameEstimate, PoseEstimator, needs_color
from object_pose.runtime.predictor import PredictorConfig
from object_pose.runtime.resources import find_model
from object_pose.runtime.timing import StageClock

_DEFAULT_TIMEOUT_S = 5.0
_LONGEST_TIMEOUT_S = 600.0
# After a longer pause between frames objects may be anywhere: such a frame is answered by its detections.
_LONGEST_STEP_NS = 250_000_000
_LEFT_KEPT = 512
_HANDLED_WITHIN_S = 1.0
_CONNECTED_WITHIN_S = 1.0
_FRAME_WITHIN_S = 0.1
# Tracking a frame takes less than a period of the camera: after a delay it catches up, and answers every frame.
_FRAMES_WAITING = 3


@dataclass(frozen=True)
class PoseNodeConfig(FrameInputsConfig):
    """The parameters of the pose node, its solver and its tracker."""

    model: str = parameter(
        "parts.onnx", "model whose objects are prepared at the start; the detections then name theirs", read_only=True
    )
    track: bool = parameter(True, "give objects stable ids and bridge short drop-outs", read_only=True)
    every_frame: bool = parameter(
        True,
        "track objects through every frame and register detections beside that; otherwise a frame waits for its own",
        read_only=True,
    )
    publish_tf: bool = parameter(False, "also publish tracked objects on /tf")
    fixed_frame: str = parameter(
        "",
        "frame of /tf in which the parts lie still while the camera moves; '' tracks in the camera's frame",
        read_only=True,
    )
    target_frame: str = parameter(
        "",
        "frame of /tf in which detections_3d are published, such as the robot's base; '' is the camera's",
        read_only=True,
    )
    transform_timeout_s: float = parameter(
        0.1, "how long a frame waits for the camera's transform", minimum=0.0, maximum=10.0
    )
    continuous: bool = parameter(
        True, "estimate every frame; otherwise only when ~/estimate_poses asks, and idle until then", read_only=True
    )
    solver: PoseSolverConfig = PoseSolverConfig()
    tracker: TrackerConfig = TrackerConfig()
    monitor: MonitorConfig = MonitorConfig()


@dataclass(frozen=True)
class _Request:
    """Somebody who waits for the next frame's poses, and the newest image when he asked."""

    newest: NewestImage | None
    answer: queue.SimpleQueue[ObjectPoseArray | None] = field(default_factory=queue.SimpleQueue)


class PoseNode(PipelineNode):
    """Tracks objects through every frame and registers the detections beside that; follows the detection node's model.

    Each frame is answered once. While no object is known, detections answer it.
    """

    def __init__(self, **node_options: object) -> None:
        super().__init__("pose_node", PoseNodeConfig, PredictorConfig, **node_options)
        self._outputs = PoseOutputs(self)
        self._track_ids = itertools.count()
        self._models = ModelCache(self._open)
        self._tracked_in = ""
        self._requests: list[_Request] = []
        self._publishing = threading.Lock()
        self._progress = threading.Condition()

    def configure(self) -> None:
        """Prepare the objects of the model."""
        config = self.config(PoseNodeConfig)
        self._estimator = self._models.refresh(find_model(config.model))
        self._is_tracking = config.track and config.every_frame and config.continuous
        self._monitoring = Monitoring(self, config.monitor, config.tracker.min_sure_score)
        self._monitoring.prepare(self._estimator.path, self._estimator.card.labels)

    def activate(self) -> None:
        """Listen to the detections and the camera."""
        config = self.config(PoseNodeConfig)
        # Time may run backwards, and another camera may take over: the number of the sequence whose frames arrive, its
        # newest stamp and frame_id, the last stamp of the one before, and the number of the one that is tracked.
        self._arriving = 0
        self._received_ns: int | None = None
        self._received_in = ""
        self._earlier_ns: int | None = None
        self._sequence = 0
        self._first_frame_s = time.monotonic()
        self._newest_ns: int | None = None
        self._published_ns: int | None = None
        # Stamps of frames that came after a pause, that their detections answer, and that these alone track.
        self._left: deque[int] = deque(maxlen=_LEFT_KEPT)
        self._untracked: deque[int] = deque(maxlen=_LEFT_KEPT)
        self._after_pause: deque[int] = deque(maxlen=_LEFT_KEPT)
        self._frames, self._frame_came = StampedBuffer(), threading.Condition()
        if self._is_tracking:
            self._registering = NewestWorker("registration", self._register_late, self.frame_failed)
            self._inputs = FrameInputs(
                self,
                config,
                COLOR,
                [DEPTH],
                self._track,
                needs_camera=True,
                keep=self._keep,
                waiting=_FRAMES_WAITING,
            )
            message_type, topic, profile = stream_source(DETECTIONS, config)
            self.watch(message_type, topic, self._registering.offer, profile)
        else:
            self._inputs = FrameInputs(self, config, DETECTIONS, [DEPTH, COLOR], self._register, needs_camera=True)
        self._outputs.activate(*stream_source(COLOR, config))
        self._monitoring.start()
        listens = config.target_frame or (config.track and config.fixed_frame)
        self._listener = TransformListener(self) if listens else None
        self._transforms = self._listener if config.track and config.fixed_frame else None
        self._estimator.forget_tracks()
        self._follow_streams()
        keypoints = self.resolve_topic_name(topics.KEYPOINTS)
        self._served = (
            BlockingService(self, EstimatePoses, "~/estimate_poses", self._estimate),
            BlockingService(self, SetModel, f"{keypoints}/{topics.PREPARE_MODEL}", self._prepare_model),
        )

    def deactivate(self) -> None:
        """Finish the frame in hand; who waits for another one is told."""
        for request in tuple(self._requests):
            request.answer.put(None)
        for service in self._served:
            service.close()
        self._inputs.stop()
        if self._is_tracking:
            self._registering.stop()
        self._monitoring.close()
        if self._listener:
            self._listener.close()
        self._outputs.deactivate()

    def parameters_changed(self) -> None:
        """Listen to what the new parameters need; the next frame is estimated with them."""
        self._follow_streams()

    def _follow_streams(self) -> None:
        if not self.is_active:
            return
        config = self.config(PoseNodeConfig)
        wanted = {
            DETECTIONS: not self._is_tracking and (config.continuous or bool(self._requests)),
            CAMERA_INFO: True,
            DEPTH: config.solver.use_depth,
            COLOR: self._is_tracking or needs_color(config.solver),
        }
        self._inputs.follow(*(stream for stream, is_wanted in wanted.items() if is_wanted))

    def _keep(self, paired: PairedSet) -> None:
        """Keep a frame for its detections, which may come after many others."""
        frame_id, last_ns = paired.messages[COLOR].header.frame_id, self._received_ns
        if last_ns is None:
            self._first_frame_s = time.monotonic()
        elif paired.stamp_ns - last_ns > _LONGEST_STEP_NS:
            self._after_pause.append(paired.stamp_ns)
        with self._frame_came:
            is_other = self._is_other_camera(frame_id, self._received_in)
            if last_ns is not None and (is_other or paired.stamp_ns < last_ns):
                self._arriving += 1
                self._earlier_ns = last_ns
                self._frames.clear()
            self._received_ns, self._received_in = paired.stamp_ns, frame_id
            self._frames.add(paired.stamp_ns, paired)
            self._frame_came.notify_all()

    def _is_other_camera(self, frame_id: str, before: str) -> bool:
        """Return whether tracks of one ``frame_id`` are of no use in the other."""
        return self._transforms is None and frame_id != before

    def _track(self, paired: PairedSet) -> None:
        """Answer a frame with the known objects, or leave it to its detections."""
        clock = StageClock()
        try:
            with clock.stage("total"):
                self._track_frame(paired)
        finally:
            with self._progress:
                self._newest_ns = paired.stamp_ns
                self._progress.notify_all()
        self.diagnostics.timed(total_ms=clock.timings_ms["total"])

    def _track_frame(self, paired: PairedSet) -> None:
        header, stamp_ns = paired.messages[COLOR].header, paired.stamp_ns
        estimator = self._configured(self._estimator)
        self._notice_new_sequence(header.frame_id, stamp_ns)
        frame = self._frame_of(paired, raw_image_wh(paired.messages[COLOR]))
        T_fixed_camera = self._look_up_camera(header.frame_id, stamp_ns)
        if stamp_ns in self._after_pause or (self._transforms and T_fixed_camera is None):
            self._left.append(stamp_ns)
            self._untracked.append(stamp_ns)
            return
        results = estimator.track(frame, T_fixed_camera).results
        if results.poses or results.rejections:
            self._publish(results, frame.camera, header, stamp_ns, self._inputs.dropped, self._sequence)
            self._outputs.publish_tracked(lambda: estimator.confident(results.poses), header)
            self._watch_drift(estimator, frame, results)
        else:
            self._left.append(stamp_ns)

    def _notice_new_sequence(self, frame_id: str, stamp_ns: int) -> None:
        """Forget the tracks of another camera, and of a time that has run backwards."""
        is_earlier = self._newest_ns is not None and stamp_ns < self._newest_ns
        if not is_earlier and not self._is_other_camera(frame_id, self._tracked_in):
            return
        with self._frame_came:
            # First, so that what is being registered begins no track after this.
            self._sequence = self._arriving
            self._estimator.forget_tracks()
        self._tracked_in = frame_id
        self._left.clear()
        self._untracked.clear()
        with self._publishing:
            self._published_ns = None
        with self._progress:
            self._newest_ns = None
            self._progress.notify_all()

    def _register_late(self, message: KeypointDetectionArray) -> None:
        """Register the detections of a frame beside tracking; answer the frame if nothing else does."""
        clock, stamp_ns = StageClock(), stamp_ns_of(message)
        with clock.stage("total"):
            paired, sequence = self._frame_at(stamp_ns)
            if paired is None:
                if self._is_of_earlier_sequence(message.header, stamp_ns):
                    return
                raise DataError("detections came of a frame that is not there", "lost on the way, or too long ago")
            estimator = self._configured(self._models.get(Path(message.model)))
            is_new = estimator is not self._estimator
            frame = self._frame_of(paired, (message.image_width, message.image_height))
            header = message.header
            if frame.depth_m is None and self._awaits_depth():
                return
            T_fixed_camera = self._look_up_camera(header.frame_id, stamp_ns)
            found = frame, T_fixed_camera, read_detections(message, estimator.card)
            stamp_ns = paired.stamp_ns
            if not self._wait_until_handled(stamp_ns, sequence):
                return
            is_left = stamp_ns in self._left
            if is_new:
                estimator.forget_tracks()  # of an earlier time
            if self._transforms and T_fixed_camera is None:
                # Where the camera's place is not known, poses have no ids.
                registered = estimator.register(*found, with_ids=False)
            else:
                is_tracked = stamp_ns not in self._untracked
                registered = estimator.register_late(*found, is_tracked, lambda: self._sequence <= sequence)
            with self._frame_came:
                if self._sequence > sequence:
                    return
                # Until another model's objects are found, those of the model before are tracked.
                self._estimator = estimator
            results = self._results_of(registered)
            if is_left:
                self._publish(results, frame.camera, header, stamp_ns, self._inputs.dropped, sequence)
                self._watch_drift(estimator, frame, results)
        self.diagnostics.timed(registration_ms=clock.timings_ms["total"])

    def _frame_at(self, stamp_ns: int) -> tuple[PairedSet | None, int]:
        """Return the frame that detections are of, None where it is not there, and the number of its sequence.

        A fast network finds them before the frame's depth is here.
        """
        tolerance_ns = self.config(PoseNodeConfig).pair_tolerance_ns
        with self._frame_came:
            self._frame_came.wait_for(lambda: self._frames.nearest(stamp_ns, tolerance_ns), _FRAME_WITHIN_S)
            return self._frames.nearest(stamp_ns, tolerance_ns), self._arriving

    def _is_of_earlier_sequence(self, header: Header, stamp_ns: int) -> bool:
        """Return whether detections are of a frame from before time ran back, or of the camera before this one."""
        with self._frame_came:
            if self._received_ns is None or self._earlier_ns is None:
                return False
            is_ahead = self._received_ns < stamp_ns <= self._earlier_ns
            return is_ahead or self._is_other_camera(header.frame_id, self._received_in)

    def _awaits_depth(self) -> bool:
        """Return whether the first depth is still on its way: topics of a camera connect one by one."""
        is_new = time.monotonic() - self._first_frame_s < _CONNECTED_WITHIN_S
        wants_depth = self.config(PoseNodeConfig).solver.use_depth
        return is_new and wants_depth and self.count_publishers(self.resolve_topic_name(topics.DEPTH)) > 0

    def _wait_until_handled(self, stamp_ns: int, sequence: int) -> bool:
        """Wait until tracking has taken up a frame, or passed it; return whether its sequence still goes on."""

        def is_handled() -> bool:
            newest_ns, received_ns = self._newest_ns, self._received_ns
            assert received_ns is not None
            # A newest stamp that is ahead of what arrives is of a sequence whose end is not noticed yet.
            return self._sequence > sequence or (newest_ns is not None and stamp_ns <= newest_ns <= received_ns)

        with self._progress:
            self._progress.wait_for(is_handled, _HANDLED_WITHIN_S)
        return self._sequence <= sequence

    def _register(self, paired: PairedSet) -> None:
        """Find the objects of a frame from its detections."""
        clock = StageClock()
        with clock.stage("total"):
            message: KeypointDetectionArray = paired.messages[DETECTIONS]
            estimator, header = self._estimator_of(Path(message.model)), message.header
            frame = self._frame_of(paired, (message.image_width, message.image_height))
            detections = read_detections(message, estimator.card)
            T_fixed_camera = self._look_up_camera(header.frame_id, paired.stamp_ns)
            with_ids = self._transforms is None or T_fixed_camera is not None
            self._notice_new_sequence(header.frame_id, paired.stamp_ns)
            results = self._results_of(estimator.register(frame, T_fixed_camera, detections, with_ids))
            dropped = message.dropped_frames + self._inputs.dropped
            self._publish(results, frame.camera, header, paired.stamp_ns, dropped, self._sequence)
            self._watch_drift(estimator, frame, results)
        self.diagnostics.timed(total_ms=clock.timings_ms["total"])

    def _results_of(self, found: FrameEstimate) -> PoseResults:
        """Return what registration found; say why the image and depth contradict each other, if they do."""
        if found.misalignment:
            self.diagnostics.problem("misalignment", str(found.misalignment))
        return found.results

    def _watch_drift(self, estimator: PoseEstimator, frame: PairedFrame, results: PoseResults) -> None:
        self._monitoring.offer(estimator.path, estimator.card.labels, lambda monitor: monitor.observe(frame, results))

    def _frame_of(self, paired: PairedSet, image_wh: tuple[int, int] | None) -> PairedFrame:
        """Return the frame of a set; the images have the size ``image_wh`` where it is known without unpacking them."""
        config = self.config(PoseNodeConfig)
        camera = read_camera(paired.messages[CAMERA_INFO], image_wh, config.rectified)
        return PairedFrame(paired, camera, config.depth_scale, self.diagnostics)

    def _publish(
        self, results: PoseResults, camera: Camera, header: Header, stamp_ns: int, dropped: int, sequence: int
    ) -> None:
        """Publish the answer of a frame of this sequence; those of tracked ones in the order of their stamps."""
        with self._publishing:
            is_past = self._published_ns is not None and stamp_ns < self._published_ns
            if self._sequence > sequence or (self._is_tracking and is_past):
                return
            self._published_ns = stamp_ns
            target = self._look_up_target(header, stamp_ns)
            self._outputs.publish(results, camera, header, target, dropped, self.config(PoseNodeConfig).publish_tf)
        for request in tuple(self._requests):
            if self._inputs.came_after(request.newest, stamp_ns):
                request.answer.put(results_to_message(results, header, dropped))
        self.diagnostics.processed()
        self.diagnostics.count("rejections", len(results.rejections))
        self.diagnostics.gauge("dropped_frames", dropped)

    def _estimator_of(self, model: Path) -> PoseEstimator:
        """Return the estimator of the detections' model with the current parameters; another one knows no tracks."""
        estimator = self._models.get(model)
        if estimator is not self._estimator:
            estimator.forget_tracks()
            self._estimator = estimator
        return self._configured(estimator)

    def _configured(self, estimator: PoseEstimator) -> PoseEstimator:
        config = self.config(PoseNodeConfig)
        estimator.configure(self.config(PredictorConfig), config.solver, config.tracker)
        return estimator

    def _open(self, model: Path) -> PoseEstimator:
        config = self.config(PoseNodeConfig)
        tracker = config.tracker if config.track else None
        predictor = self.config(PredictorConfig)
        # Only the second pass runs the network here; for nothing else is an engine worth measuring.
        if config.solver.second_pass:
            predictor = with_fastest_engine(model, predictor)
        estimator = PoseEstimator(model, predictor, config.solver, tracker, self._track_ids)
        estimator.prepare()
        return estimator

    def _prepare_model(self, request: SetModel.Request, response: SetModel.Response) -> SetModel.Response:
        """Make ready what the detections of another model will need, so that the first of them waits for nothing."""
        response.class_names = list(self._models.refresh(find_model(request.model)).card.labels)
        response.success = True
        return response

    def _look_up_camera(self, camera_frame_id: str, stamp_ns: int) -> Array | None:
        """Return T_fixed_camera, None where it is not wanted or not known."""
        if self._transforms is None:
            return None
        return self._look_up(self.config(PoseNodeConfig).fixed_frame, camera_frame_id, stamp_ns)

    def _look_up_target(self, header: Header, stamp_ns: int) -> Target | None:
        """Return the frame that planners want and T_target_camera at a stamp, None where that is not known."""
        frame_id = self.config(PoseNodeConfig).target_frame
        if not frame_id:
            return Target(header.frame_id, np.eye(4))
        T_target_camera = self._look_up(frame_id, header.frame_id, stamp_ns)
        if T_target_camera is None:
            self.diagnostics.count("frames_without_target")
            return None
        return Target(frame_id, T_target_camera)

    def _look_up(self, frame_id: str, camera_frame_id: str, stamp_ns: int) -> Array | None:
        assert self._listener is not None
        with self.diagnostics.reporting("transform"):
            timeout_s = self.config(PoseNodeConfig).transform_timeout_s
            return self._listener.look_up(frame_id, camera_frame_id, stamp_ns, timeout_s)
        return None

    def _estimate(self, request: EstimatePoses.Request, response: EstimatePoses.Response) -> EstimatePoses.Response:
        timeout_s = request.timeout_s or _DEFAULT_TIMEOUT_S
        if not 0.0 < timeout_s <= _LONGEST_TIMEOUT_S:
            raise ConfigError(
                f"timeout_s is {timeout_s:g}", f"give 0 to {_LONGEST_TIMEOUT_S:g} seconds, 0 for {_DEFAULT_TIMEOUT_S:g}"
            )
        waiting = _Request(self._inputs.newest)
        self._requests.append(waiting)
        try:
            self._follow_streams()
            response.result = self._wait_for_frame(waiting, timeout_s)
        finally:
            self._requests.remove(waiting)
            self._follow_streams()
        response.success = True
        return response

    def _wait_for_frame(self, waiting: _Request, timeout_s: float) -> ObjectPoseArray:
        try:
            result = waiting.answer.get(timeout=timeout_s) if self.is_active else None
        except queue.Empty:
            raise DataError("no frame came in time", "/diagnostics says what is missing") from None
        if result is None:
            raise DataError("the node was deactivated before a frame came")
        return result


def main() -> int:
    """Run the node alone."""
    return spin_node(PoseNode)
