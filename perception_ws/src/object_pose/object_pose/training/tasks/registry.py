"""Every task that can be trained: its options, its recipe and its export, under one name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from object_pose.core.errors import ConfigError
from object_pose.simulation.scenes.scene import SceneConfig
from object_pose.training.loop import Recipe
from object_pose.training.onnx.export import Exportable
from object_pose.training.tasks.classify import ClassifyTrainingConfig, classify_recipe, exportable_classify
from object_pose.training.tasks.detect import DetectTrainingConfig, detect_recipe, exportable_detect
from object_pose.training.tasks.oriented import OrientedRecipe, exportable_oriented
from object_pose.training.tasks.pose import PoseTrainingConfig, exportable_pose, pose_recipe
from object_pose.training.tasks.roi_head import RoiTrainingConfig, exportable_roi_head, roi_recipe
from object_pose.training.tasks.segment import SegmentTrainingConfig, exportable_segment, segment_recipe


@dataclass(frozen=True)
class TaskTraining:
    """A trainable task. ``configs`` are its option dataclasses; ``recipe`` takes instances of them,
    ``exportable`` the run folder before them.

    ``defaults`` are the training options in which the task differs from ``TrainConfig``.
    """

    name: str
    summary: str
    configs: tuple[type, ...]
    recipe: Callable[..., Recipe]
    exportable: Callable[..., Exportable]
    defaults: Mapping[str, Any] = field(default_factory=dict)


TASKS: dict[str, TaskTraining] = {
    task.name: task
    for task in (
        TaskTraining(
            "detect",
            "boxes of objects in labelled photographs",
            (DetectTrainingConfig,),
            detect_recipe,
            exportable_detect,
            {"steps": 1800, "learning_rate": 1e-3, "validate_every": 300},
        ),
        TaskTraining(
            "pose",
            "keypoints of rendered parts, for 6-DoF poses",
            (PoseTrainingConfig, SceneConfig),
            pose_recipe,
            exportable_pose,
            {"steps": 8000},
        ),
        TaskTraining(
            "roi_head",
            "keypoints and classes of regions around detections: the pose detector's refinement stage",
            (RoiTrainingConfig, SceneConfig),
            roi_recipe,
            exportable_roi_head,
            {"steps": 6000, "batch_size": 64},
        ),
        TaskTraining(
            "classify",
            "whole images: rendered springs and gears, damaged or not, or a folder a class",
            (ClassifyTrainingConfig,),
            classify_recipe,
            exportable_classify,
            {"steps": 3000, "learning_rate": 1e-3},
        ),
        TaskTraining(
            "segment",
            "masks: building footprints of rendered aerial tiles, or pairs of image and mask",
            (SegmentTrainingConfig,),
            segment_recipe,
            exportable_segment,
            {"steps": 2500, "batch_size": 16},
        ),
        TaskTraining(
            "oriented",
            "oriented boxes with heading of cloaked spaceships",
            (),
            OrientedRecipe,
            exportable_oriented,
            {"steps": 5000, "batch_size": 64},
        ),
    )
}


def find_task(name: str) -> TaskTraining:
    """Return a task by name; raises ``ConfigError`` with the known names."""
    if name not in TASKS:
        raise ConfigError(f"unknown task '{name}'", f"known: {', '.join(TASKS)}")
    return TASKS[name]
