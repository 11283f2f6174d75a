"""The server's models and the registry: a task's champion there, by the task's name, is the model that it uses here."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from object_pose.tasks.registry import TASKS
from object_pose.web.errors import HttpError
from object_pose.web.model_library import ModelLibrary, OpenedModel, reference_name

if TYPE_CHECKING:
    from object_pose.mlops.registry import RegisteredModel, Registry


def roll_back(models: ModelLibrary, store: str, task: str | None) -> OpenedModel:
    """Make the version that a task's champion replaced the champion again, and the model that the server uses.

    Without a task it is the one that has such a version. Raises ``HttpError`` 409 where there is nothing to go back to.
    """
    from object_pose.mlops.registry import Registry  # of the extra 'mlops'
    from object_pose.mlops.store import open_store

    registry = Registry(open_store(store))
    possible = _tasks_to_roll_back(registry)
    if task is None and len(possible) > 1:
        raise HttpError(422, f"name a task: {', '.join(possible)} have an earlier champion")
    chosen = task or next(iter(possible), None)
    if chosen not in possible:
        raise HttpError(409, f"there is no earlier champion of {task or 'any task'} to go back to")
    # Opened before the registry changes, so that both change or neither does.
    earlier = registry.find(f"{chosen}/{possible[chosen]}")
    model = models.opened(_kept(models, registry, earlier))
    registry.rollback(chosen)
    return models.activate(model.name)


def _tasks_to_roll_back(registry: Registry) -> dict[str, int]:
    """Return the version that each task's champion replaced, where it replaced one."""
    from object_pose.mlops.registry import CHAMPION

    champions = {name: registry.alias(name, CHAMPION) for name in registry.names() if name in TASKS}
    return {name: model.replaced for name, model in champions.items() if model and model.replaced}


def _kept(models: ModelLibrary, registry: Registry, version: RegisteredModel) -> str:
    """Return the name under which the server has a version's file, fetched from the store where it has none."""
    for file in models.files().values():
        if models.describe(file).sha256 == version.sha256:
            return file.name
    name = f"{version.name}-v{version.version}"
    with tempfile.TemporaryDirectory() as folder:
        pulled = registry.pull(version, Path(folder))
        reference = pulled.with_name(reference_name(pulled.stem))
        with pulled.open("rb") as content:
            models.add(name, content, reference if reference.exists() else None)
    return name
