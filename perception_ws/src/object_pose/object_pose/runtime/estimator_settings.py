"""What a predictor or a pose estimator is opened with, as one value that can be handed to another process."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from object_pose.core.pose.config import PoseSolverConfig
from object_pose.core.tracking.tracker import TrackerConfig
from object_pose.runtime.pose_estimator import PoseEstimator
from object_pose.runtime.predictor import Predictor, PredictorConfig


@dataclass(frozen=True)
class PredictorSettings:
    """A model file of any task and how it is used."""

    model: Path
    config: PredictorConfig = field(default_factory=PredictorConfig)

    def open(self) -> Predictor:
        """Open the model; raises ``ModelError`` where it cannot be used."""
        return Predictor(self.model, self.config)


@dataclass(frozen=True)
class EstimatorSettings:
    """A model file and how it is used; without ``tracker`` objects have no ids."""

    model: Path
    detector: PredictorConfig = field(default_factory=PredictorConfig)
    solver: PoseSolverConfig = field(default_factory=PoseSolverConfig)
    tracker: TrackerConfig | None = None
    profile: str = "live"

    def open(self) -> PoseEstimator:
        """Open the model; raises ``ModelError`` where it cannot be used."""
        return PoseEstimator(self.model, self.detector, self.solver, self.tracker, profile=self.profile)
