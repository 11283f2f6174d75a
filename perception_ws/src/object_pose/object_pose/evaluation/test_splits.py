"""The fixed test split of every task, the shipped model that is tested on it, and the bars that it must reach.

Simulated test samples have seeds from 2,000,000,000 up; training stays below 1,900,000,000, validation between.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from object_pose.core.errors import ConfigError
from object_pose.evaluation.criteria import Criterion
from object_pose.evaluation.samples import Samples, read_samples, rendered_samples
from object_pose.runtime.card import ModelCard
from object_pose.runtime.resources import find_data

TEST_SEED = 2_000_000_000
POSE_FRAMES = 200


@dataclass(frozen=True)
class Split:
    """What a shipped ``model`` is tested on, and its ``bars``; ``samples`` raises ``DataError`` for missing data."""

    model: str
    description: str
    samples: Callable[[ModelCard], Samples]
    bars: tuple[Criterion, ...]


def find_split(task: str) -> Split:
    """Return a task's test split; raises ``ConfigError`` for a task without one."""
    if task not in TEST_SPLITS:
        raise ConfigError(f"the task {task} has no test split", f"known: {', '.join(TEST_SPLITS)}")
    return TEST_SPLITS[task]


def _rendered(task: str, count: int) -> Callable[[ModelCard], Samples]:
    return lambda card: rendered_samples(task, count, TEST_SEED, card)


TEST_SPLITS: dict[str, Split] = {
    "detect": Split(
        "workplace.onnx",
        "56 photographs of workplace/val",
        lambda card: read_samples("detect", find_data("workplace/val"), card),
        (Criterion("map50_forklift", 0.70), Criterion("map50_person", 0.45)),
    ),
    "pose": Split(
        "parts.onnx",
        f"{POSE_FRAMES} rendered frames, unseen seed, light of a kind that training never draws",
        _rendered("pose", POSE_FRAMES),
        (Criterion("recall_add_01d", 0.93),),
    ),
    "oriented": Split(
        "oriented.onnx",
        "3 x 1000 images of the published generator, unseen seeds",
        _rendered("oriented", 3000),
        (
            Criterion("score_iou07", 0.93),
            Criterion("heading_within_15deg", 0.97),
            Criterion("parameters", 2_000_000, below=True),
        ),
    ),
    "classify": Split(
        "inspection.onnx",
        "1000 rendered images, unseen seeds and part instances",
        _rendered("classify", 1000),
        (Criterion("accuracy", 0.97), Criterion("recall_damaged", 0.97)),
    ),
    "segment": Split(
        "buildings.onnx",
        "300 rendered tiles, unseen seeds",
        _rendered("segment", 300),
        (Criterion("precision", 0.95), Criterion("recall", 0.95), Criterion("iou", 0.85)),
    ),
}
