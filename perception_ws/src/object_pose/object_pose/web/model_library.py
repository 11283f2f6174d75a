"""The server's models: shipped and uploaded ones, and which of them each task uses."""

from __future__ import annotations

import json
import logging
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import onnx
from google.protobuf.message import DecodeError
from pydantic import BaseModel

from object_pose.core.errors import ModelError, ObjectPoseError
from object_pose.core.object_model import ObjectModel
from object_pose.io.writers import write_json
from object_pose.runtime.card import METADATA_KEY, ModelCard
from object_pose.runtime.digests import file_sha256
from object_pose.runtime.engine import check_model_file
from object_pose.runtime.model_cache import ModelCache
from object_pose.runtime.predictor import load_card
from object_pose.runtime.resources import shipped_models
from object_pose.tasks.registry import TASKS
from object_pose.web.errors import HttpError
from object_pose.web.model_check import check_upload
from object_pose.web.predictor.process import PredictorProcess
from object_pose.web.predictor.wire import Message

logger = logging.getLogger(__name__)

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_CARDS = 200


@dataclass(frozen=True)
class UsedModel:
    """A model file that the predictor has opened."""

    name: str
    path: Path
    task: str
    sha256: str


def reference_name(name: str) -> str:
    """Return the file name of a model's reference for drift, which lies beside it."""
    return f"{name}.reference.json"


class ModelDescription(BaseModel):
    """A model as the API shows it: its file, and what its card says; ``problem`` is why it cannot be used."""

    name: str
    task: str = ""
    classes: list[str] = []
    active: bool = False
    shipped: bool
    sha256: str = ""
    bytes: int = 0
    gives_poses: bool = False
    input_wh: list[int] = []
    version: str = ""
    data: str = ""
    metric: str = ""
    licence: str = ""
    problem: str = ""


@dataclass(frozen=True)
class _KnownCard:
    card: ModelCard
    sha256: str
    bytes: int

    @classmethod
    def read(cls, path: Path) -> _KnownCard:
        check_model_file(path)
        return cls(_card(path), file_sha256(path), path.stat().st_size)


def _card(path: Path) -> ModelCard:
    """Return a model's card without running it, where it has one of ours."""
    try:
        properties = onnx.load_model(str(path), load_external_data=False).metadata_props
    except DecodeError as error:
        raise ModelError(f"model file {path} cannot be read: it is no ONNX model") from error
    metadata = {item.key: item.value for item in properties}
    return ModelCard.from_metadata(metadata) if METADATA_KEY in metadata else load_card(path)


@dataclass(frozen=True)
class ModelFile:
    """A model file that the server knows."""

    name: str
    path: Path
    is_shipped: bool


class ModelLibrary:
    """Models by name, and one active model a task, kept over restarts in ``folder``; thread-safe.

    The ``predictor`` opens and runs them. ``on_use`` is called with the (name, SHA-256) of every task's model when one
    has been opened or switched.
    """

    def __init__(
        self,
        folder: Path,
        with_shipped: bool,
        predictor: PredictorProcess,
        on_use: Callable[[dict[str, tuple[str, str]]], None],
    ) -> None:
        self._folder, self._with_shipped, self._predictor, self._on_use = folder, with_shipped, predictor, on_use
        self._choice_file = folder / "active.json"
        self._cards = ModelCache(_KnownCard.read, _CARDS)
        self._lock = threading.Lock()
        self._chosen = self._read_choice()
        self._active: dict[str, UsedModel] = {}
        self._drift: dict[str, Mapping[str, float]] = {}
        self._problems: dict[str, str] = {}
        self._stopped = threading.Event()
        # Called with the task and the model file after a switch.
        self.listeners: list[Callable[[str, Path], None]] = []

    def files(self) -> dict[str, ModelFile]:
        """Return all model files by name, shipped ones first."""
        shipped = shipped_models() if self._with_shipped else []
        uploaded = sorted(path for path in self._folder.glob("*.onnx") if re.match(NAME_PATTERN, path.stem))
        found = {path.stem: ModelFile(path.stem, path, False) for path in uploaded}
        return {path.stem: ModelFile(path.stem, path, True) for path in shipped} | found

    def file(self, name: str) -> ModelFile:
        """Return the file of a name; raises ``HttpError`` 404 where there is none."""
        files = self.files()
        if name not in files:
            raise HttpError(404, f"there is no model '{name}': known are {', '.join(files) or 'none'}")
        return files[name]

    def opened(self, name: str) -> UsedModel:
        """Return a model by name, opened where it is not; raises ``ModelError`` where it cannot be."""
        path = self.file(name).path
        return UsedModel(path=path, **self._predictor.open(path))

    def ask(self, task: str, kind: str, head: Mapping[str, Any], blobs: Sequence[bytes]) -> Message:
        """Return the predictor's answer with a task's model; raises as ``active``, and for what cannot be used."""
        model = self.active(task)
        answer = self._predictor.ask(kind, model.path, head, blobs)
        self._drift[model.name] = answer.head.get("drift", {})
        return answer

    def active_name(self, task: str) -> str | None:
        """Return the name of the model that a task uses, None where it has none."""
        files = self.files()
        names = (self._chosen.get(task, ""), Path(TASKS[task].default_model).stem)
        return next((name for name in names if name in files), None)

    def active(self, task: str) -> UsedModel:
        """Return the model of a task; raises ``HttpError`` 404 for an unknown task, 400 where it has no model."""
        self.expect_task(task)
        with self._lock:
            found = self._active.get(task)
        return found or self._open_active(task)

    def expect_task(self, task: str) -> None:
        """Raise ``HttpError`` 404 for a task that does not exist."""
        if task not in TASKS:
            raise HttpError(404, f"there is no task '{task[:64]}': known are {', '.join(TASKS)}")

    def activate(self, name: str) -> UsedModel:
        """Make a model its task's: it is opened first, then swapped, and requests under way finish with the old one."""
        model = self.opened(name)
        task = model.task
        with self._lock:
            self._active[task] = model
            self._chosen[task] = name
            self._problems.pop(task, None)
            self._folder.mkdir(parents=True, exist_ok=True)
            write_json(self._choice_file, self._chosen)
        self._tell_use()
        for listener in self.listeners:
            listener(task, model.path)
        return model

    def open_all(self) -> None:
        """Open the active model of every task; what fails is told by ``problems``."""
        for task in TASKS:
            if self.active_name(task) is not None and not self._stopped.is_set():
                try:
                    self.active(task)
                except (ObjectPoseError, HttpError) as error:
                    logger.error("task %s: %s", task, error)

    def describe(self, file: ModelFile) -> ModelDescription:
        """Return what a model's card and file say; of one that cannot be opened, why."""
        try:
            known = self._cards.refresh(file.path)
        except ObjectPoseError as error:
            return ModelDescription(name=file.name, shipped=file.is_shipped, problem=str(error))
        card = known.card
        return ModelDescription(
            name=file.name,
            task=card.task,
            classes=list(card.labels),
            active=self.active_name(card.task) == file.name,
            shipped=file.is_shipped,
            sha256=known.sha256,
            bytes=known.bytes,
            gives_poses=bool(card.objects),
            input_wh=list(card.input_wh),
            version=card.version,
            data=card.data,
            metric=card.metric,
            licence=card.licence,
        )

    def objects(self, name: str) -> tuple[ObjectModel, ...]:
        """Return the geometry of a model's objects, empty where it knows none."""
        return self._cards.refresh(self.file(name).path).card.objects

    def add(self, name: str, content: BinaryIO, reference: Path | None = None) -> None:
        """Keep an uploaded file as a model, once a process of its own has opened it, and its ``reference`` for drift.

        Raises ``HttpError`` 409 for a name that is taken, ``ModelError`` for what is no model of ours.
        """
        self._check_is_free(name)
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".upload-", dir=self._folder) as folder:
            # Under another name than that of the model, in a folder without any other file.
            file = Path(folder) / f"{name}.onnx"
            with file.open("wb") as target:
                shutil.copyfileobj(content, target)
            check_upload(file)
            with self._lock:
                self._check_is_free(name)
                if reference:
                    shutil.copyfile(reference, self._folder / reference_name(name))
                file.rename(self._folder / file.name)

    def remove(self, name: str) -> None:
        """Delete an uploaded model; raises ``HttpError`` 409 for one that is shipped or in use."""
        file = self.file(name)
        if file.is_shipped:
            raise HttpError(409, f"the model '{name}' is shipped and stays")
        with self._lock:
            used = [task for task in TASKS if self.active_name(task) == name]
            if used:
                raise HttpError(409, f"the model '{name}' is that of {', '.join(used)}: activate another one first")
            file.path.unlink(missing_ok=True)
            (self._folder / reference_name(name)).unlink(missing_ok=True)

    def _check_is_free(self, name: str) -> None:
        if name in self.files():
            raise HttpError(409, f"there is a model '{name}' already: choose another name, or delete it first")

    def stop_opening(self) -> None:
        """Open no further models."""
        self._stopped.set()

    def problems(self) -> list[str]:
        """Return why not every task that has a model is ready; empty where all are."""
        with self._lock:
            open_tasks, problems = set(self._active), dict(self._problems)
        waiting = [task for task in TASKS if task not in open_tasks and self.active_name(task) is not None]
        return [f"{task}: {problems.get(task, 'the model is being opened')}" for task in waiting]

    def drift(self) -> dict[tuple[str, str], float]:
        """Return the drift of the models in use by (model, statistic); see ``OpenedModel.drift``."""
        with self._lock:
            used = [model.name for model in self._active.values()]
        return {(name, statistic): share for name in used for statistic, share in self._drift.get(name, {}).items()}

    def is_open(self, task: str) -> bool:
        """Whether a task's model is open."""
        with self._lock:
            return task in self._active

    def _open_active(self, task: str) -> UsedModel:
        name = self.active_name(task)
        if name is None:
            raise HttpError(400, f"the task {task} has no model: upload and activate one", "no_model")
        try:
            model = self.opened(name)
        except (ModelError, HttpError) as error:
            with self._lock:
                self._problems[task] = str(error)
            raise
        with self._lock:
            self._active.setdefault(task, model)
            self._problems.pop(task, None)
        self._tell_use()
        return model

    def _tell_use(self) -> None:
        with self._lock:
            uses = {task: (model.name, model.sha256) for task, model in self._active.items()}
        self._on_use(uses)

    def _read_choice(self) -> dict[str, str]:
        try:
            chosen = json.loads(self._choice_file.read_text())
        except (OSError, ValueError):
            return {}
        is_valid = isinstance(chosen, Mapping) and all(isinstance(name, str) for name in chosen.values())
        return dict(chosen) if is_valid else {}
