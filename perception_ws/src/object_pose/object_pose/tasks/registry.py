"""Every task that the package knows, by name."""

from __future__ import annotations

from typing import Any

from object_pose.core.errors import ConfigError, ModelError
from object_pose.tasks.classify import CLASSIFY
from object_pose.tasks.detect import DETECT
from object_pose.tasks.oriented import ORIENTED, ORIENTED_LIST
from object_pose.tasks.pose import POSE
from object_pose.tasks.segment import SEGMENT
from object_pose.tasks.task import Task

TASKS: dict[str, Task[Any, Any]] = {task.name: task for task in (DETECT, POSE, ORIENTED, CLASSIFY, SEGMENT)}


def find_task(name: str) -> Task[Any, Any]:
    """Return a task by name; raises ``ConfigError`` with the known names."""
    if name not in TASKS:
        raise ConfigError(f"unknown task '{name}'", f"known: {', '.join(TASKS)}")
    return TASKS[name]


def json_schema(task: str) -> dict[str, Any]:
    """Return the JSON schema of a task's results; raises ``ConfigError`` for an unknown task."""
    return find_task(task).schema


def task_of_card(name: str, layout: str) -> Task[Any, Any]:
    """Return the task that a model card names; raises ``ModelError`` where it, or its layout, is none of ours."""
    if name not in TASKS:
        raise ModelError(f"its task '{name}' is unknown", f"known: {', '.join(TASKS)}")
    variants = [task for task in (*TASKS.values(), ORIENTED_LIST) if task.name == name]
    for task in variants:
        if layout in task.layouts:
            return task
    known = ", ".join(known for task in variants for known in task.layouts)
    raise ModelError(f"its layout '{layout}' is none of the task {name}", f"known: {known}")
