"""A model that is open: it predicts single images, and watches them for drift."""

from __future__ import annotations

import threading
from pathlib import Path

from object_pose.core.frame import Frame
from object_pose.core.pose.config import SINGLE_IMAGE
from object_pose.core.results.pose import PoseResults
from object_pose.mlops.monitor import DriftMonitor, MonitorConfig, load_reference
from object_pose.runtime.card import ModelCard
from object_pose.runtime.digests import file_sha256
from object_pose.runtime.frame_prediction import FramePrediction, predict_poses, predict_task
from object_pose.runtime.pose_estimator import PoseEstimator
from object_pose.runtime.predictor import Predictor


class OpenedModel:
    """An open model that predicts as ``object-pose predict`` does; ``predict`` may be called from several threads."""

    def __init__(self, path: Path) -> None:
        opened = Predictor(path)
        # Uploaded images have nothing to do with each other.
        self.predictor = opened.with_decoding(SINGLE_IMAGE.decoding) if opened.task.name == "pose" else opened
        self.card: ModelCard = opened.card
        self.sha256 = file_sha256(path)
        self._of_thread = threading.local()
        reference = load_reference(MonitorConfig(), path)
        min_score = SINGLE_IMAGE.solver.acceptance.min_score
        self._monitor = (
            DriftMonitor(MonitorConfig(), reference, path, self.card.labels, min_score) if reference else None
        )
        self._monitored = threading.Lock()

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return self.predictor.path.stem

    @property
    def gives_poses(self) -> bool:
        """Whether it knows its objects' geometry, so that an image needs its camera."""
        return bool(self.card.objects)

    def predict(self, frame: Frame) -> FramePrediction:
        """Return what the model says of a single frame."""
        if not self.gives_poses:
            return predict_task(self.predictor, frame)
        if not hasattr(self._of_thread, "estimator"):
            self._of_thread.estimator = PoseEstimator(self.predictor, profile="single_image")
        estimator: PoseEstimator = self._of_thread.estimator
        estimator.forget_tracks()
        found = predict_poses(estimator, frame)
        if self._monitor:
            with self._monitored:
                for results in (item for item in found.results if isinstance(item, PoseResults)):
                    self._monitor.observe(frame, results)
        return found

    @property
    def drift(self) -> dict[str, float]:
        """Share of the latest images outside the usual range of the model's reference, by statistic that drifts."""
        if self._monitor is None:
            return {}
        return {finding.statistic: finding.share for finding in self._monitor.findings}
