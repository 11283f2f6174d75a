"""Poses against the truth that a recording carries: those recorded, or those of a model on the same frames."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from object_pose.core.errors import DataError, ModelError
from object_pose.core.object_model import ObjectModel
from object_pose.evaluation.bags import evaluate_recorded_poses, labelled_bag_frames
from object_pose.evaluation.pose_runner import PoseEvaluation, evaluate_pose
from object_pose.io.bag_frames import RecordingConfig
from object_pose.io.bags import describe_bag, read_bag
from object_pose.runtime.pose_estimator import PoseEstimator
from object_pose.runtime.predictor import load_card
from object_pose.runtime.resources import find_model
from object_pose.workflows.progress import ProgressCallback, ignore_progress, reported


@dataclass(frozen=True)
class BagEvaluationConfig:
    """A bag, its topics, and what its frames are.

    ``geometry`` is a model file of the recorded objects; without it the one that ``detections_topic`` names is taken.
    """

    bag: Path
    truth_topic: str = "/ground_truth"
    poses_topic: str = "/object_poses"
    detections_topic: str = "/keypoint_detections"
    recording: RecordingConfig = field(default_factory=RecordingConfig)
    geometry: str | Path | None = None


def evaluate_estimator_on_bag(
    estimator: PoseEstimator, config: BagEvaluationConfig, progress: ProgressCallback = ignore_progress
) -> PoseEvaluation:
    """Estimate the poses of the bag's frames that have a truth and score them; raises ``DataError`` without any."""
    frames = labelled_bag_frames(config.bag, estimator.card.labels, config.truth_topic, config.recording)
    return evaluate_pose(estimator, reported(frames, progress, "evaluate"))


def evaluate_recorded_bag(config: BagEvaluationConfig) -> PoseEvaluation:
    """Score the poses that the bag holds.

    Raises ``DataError`` where a topic is missing, ``ModelError`` where the objects' geometry is not at hand.
    """
    return evaluate_recorded_poses(config.bag, _recorded_objects(config), config.truth_topic, config.poses_topic)


def _recorded_objects(config: BagEvaluationConfig) -> tuple[ObjectModel, ...]:
    try:
        model = find_model(config.geometry or _recorded_model(config))
    except ModelError as error:
        raise ModelError(error.message, "name a model file of the same objects with --geometry") from error
    objects = load_card(model).objects
    if not objects:
        raise ModelError(f"model file {model} carries no object geometry", "name another one with --geometry")
    return objects


def _recorded_model(config: BagEvaluationConfig) -> str:
    """Return the model file that the bag names, or its name alone where the file is not here."""
    bag, topic = config.bag, config.detections_topic
    if not any(item.name == topic and item.count for item in describe_bag(bag).topics):
        raise DataError(
            f"bag {bag} has no {topic}, so it does not name its model",
            "name a model file of the same objects with --geometry",
        )
    _, _, message = next(read_bag(bag, [topic]))
    recorded = Path(message.model)
    return str(recorded) if recorded.is_file() else recorded.name
