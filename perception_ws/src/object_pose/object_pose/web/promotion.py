"""The server's models and the registry: a task's champion there, by the task's name, is the model that it uses here."""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from object_pose.core.errors import ObjectPoseError
from object_pose.tasks.registry import TASKS
from object_pose.web.errors import HttpError
from object_pose.web.jobs.runner import JobRunner
from object_pose.web.jobs.store import Job
from object_pose.web.model_library import ModelLibrary, UsedModel, reference_name

if TYPE_CHECKING:
    from object_pose.mlops.registry import RegisteredModel, Registry


logger = logging.getLogger(__name__)

KIND = "promote"
_POLL_S = 1.0


class Promotions:
    """Begins promotions as jobs; a model that passed the gate is the one that its task uses from then on."""

    def __init__(self, models: ModelLibrary, jobs: JobRunner) -> None:
        self._models, self._jobs = models, jobs
        self._closed = threading.Event()
        self._followers: list[threading.Thread] = []

    def start(self) -> None:
        """Follow the promotions that the last server left."""
        for job in self._jobs.store.all():
            if job.kind == KIND and not job.is_over:
                self._follow(job)

    def close(self) -> None:
        """Leave the promotions to themselves."""
        self._closed.set()
        for follower in self._followers:
            follower.join()

    def begin(self, name: str, options: Mapping[str, Any]) -> Job:
        """Queue the gate of a model with further options of the job; raises ``HttpError`` 409 for the model in use."""
        task = self._models.describe(self._models.file(name)).task
        used = self._models.active_name(task)
        if used == name:
            raise HttpError(409, f"the model '{name}' is in use already")
        job = self._jobs.submit(KIND, {**options, "model": name} | ({"in_use": used} if used else {}))
        self._follow(job)
        return job

    def _follow(self, job: Job) -> None:
        thread = threading.Thread(target=self._activate_when_passed, args=(job.id,), name=f"promotion {job.id}")
        self._followers = [follower for follower in self._followers if follower.is_alive()] + [thread]
        thread.start()

    def _activate_when_passed(self, job_id: str) -> None:
        while not self._closed.wait(_POLL_S):
            job = self._jobs.store.find(job_id)
            if job is None or job.is_over:
                if job is not None and job.result and job.result.get("passed"):
                    self._activate(str(job.options["model"]))
                return

    def _activate(self, name: str) -> None:
        try:
            self._models.activate(name)
        except (ObjectPoseError, HttpError) as error:
            logger.error("the promoted model %s cannot be used: %s", name, error)


def roll_back(models: ModelLibrary, store: str, task: str | None) -> UsedModel:
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
