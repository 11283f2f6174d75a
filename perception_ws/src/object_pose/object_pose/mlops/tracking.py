"""Training runs and evaluations in the store: options, versions of data and code, figures, pictures.

A run folder is complete without the store, which gets a copy: what could not be copied now is copied later.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow.entities import Dataset, DatasetInput, Metric, Param, RunTag

from object_pose.core.errors import ObjectPoseError
from object_pose.core.params import flatten
from object_pose.io.datasets.content_hash import data_version
from object_pose.io.images import write_image
from object_pose.io.run_folder import RunFolder
from object_pose.io.writers import write_json
from object_pose.mlops.store import CODE_TAG, DATA_TAG, EXPERIMENT, TASK_TAG, Store, code_version, store_errors
from object_pose.runtime.digests import file_sha256
from object_pose.training.callbacks import IllustratedRecipe, TrainingCallback

if TYPE_CHECKING:
    from object_pose.training.loop import Trainer

logger = logging.getLogger(__name__)

_STATE, _PICTURES = "tracking.json", "pictures"
_COPIED = ("task.json", "run.json", "metrics.jsonl")
_DATA_OPTIONS = ("data", "backgrounds", "objects")
_LONGEST_VALUE = 5000  # characters
_BATCH = 500  # metrics a request
_WAITED_S = 60.0


class RunLog:
    """The copy of one run folder in the store; each ``sync`` adds what is new. ``run_id`` is MLflow's."""

    def __init__(self, store: Store, run_dir: Path) -> None:
        self._store, self._folder = store, RunFolder(run_dir)
        self._state_file = run_dir / _STATE
        state = json.loads(self._state_file.read_text()) if self._state_file.exists() else {}
        self._state: dict[str, Any] = (
            state if state.get("store") == store.uri else {"store": store.uri, "run_id": "", "lines": 0}
        )
        self._lock = threading.Lock()

    @property
    def run_id(self) -> str:
        """MLflow's id of the run, '' before the first ``sync``."""
        return str(self._state["run_id"])

    def sync(self, status: str = "") -> None:
        """Copy the figures that are new; with a final ``status`` also the files, and end the run.

        Raises ``StoreError``; the next call goes on where this one ended.
        """
        with self._lock, store_errors(self._store):
            if not self.run_id:
                self._begin()
            self._copy_figures()
            if status:
                self._copy_files()
                self._store.client.set_terminated(self.run_id, status)

    def _begin(self) -> None:
        client, settings, description = self._store.client, self._folder.settings(), self._folder.description()
        options = flatten({**description.training, **{k: v for c in settings.configs.values() for k, v in c.items()}})
        run = client.create_run(self._store.experiment(EXPERIMENT), run_name=self._folder.path.name)
        tags = {TASK_TAG: settings.task, CODE_TAG: code_version(), "object_pose.command": settings.command}
        tags |= {f"object_pose.version.{name}": version for name, version in description.versions.items()}
        datasets = list(_datasets(settings.task, options, tags[CODE_TAG]))
        tags[DATA_TAG] = json.dumps({item.name: item.digest for item in datasets})
        client.log_batch(
            run.info.run_id,
            params=[Param(name, str(value)[:_LONGEST_VALUE]) for name, value in options.items()],
            tags=[RunTag(name, value[:_LONGEST_VALUE]) for name, value in tags.items()],
        )
        client.log_inputs(run.info.run_id, [DatasetInput(item) for item in datasets])
        self._note(run_id=run.info.run_id, lines=0)

    def _copy_figures(self) -> None:
        try:
            records = self._folder.records()
        except ObjectPoseError:  # none yet
            return
        # A resumed run drops what was recorded after its checkpoint; figures of a step that come again do no harm.
        done = min(int(self._state["lines"]), len(records))
        figures = [
            Metric(f"{record['split']}/{name}", value, int(1e3 * record["time"]), record["step"])
            for record in records[done:]
            for name, value in record.items()
            if name not in ("time", "step", "split")
        ]
        for start in range(0, len(figures), _BATCH):
            self._store.client.log_batch(self.run_id, metrics=figures[start : start + _BATCH])
        self._note(lines=len(records))

    def _copy_files(self) -> None:
        for name in _COPIED:
            if (self._folder.path / name).exists():
                self._store.client.log_artifact(self.run_id, str(self._folder.path / name))
        if (self._folder.path / _PICTURES).is_dir():
            self._store.client.log_artifacts(self.run_id, str(self._folder.path / _PICTURES), _PICTURES)

    def _note(self, **values: Any) -> None:
        self._state |= values
        write_json(self._state_file, self._state)


class TrackedTraining(TrainingCallback):
    """Copies each run that it sees to a store while it trains; a store that is away never holds up or ends a run."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._log: RunLog | None = None
        self._thread: threading.Thread | None = None
        self._error: str | None = None

    def on_start(self, trainer: Trainer) -> None:
        """Begin the copy."""
        self._log, self._error = RunLog(self._store, trainer.folder.path), None
        self._sync()

    def on_validation(self, trainer: Trainer, figures: Mapping[str, float]) -> None:
        """Copy the figures so far."""
        self._sync()

    def on_end(self, trainer: Trainer) -> None:
        """Copy the rest, waiting for the store for a while; say how to copy what it does not take."""
        if isinstance(trainer.recipe, IllustratedRecipe) and trainer.step:
            for name, picture in trainer.recipe.pictures(trainer.average).items():
                path = trainer.folder.path / _PICTURES / f"{name.replace('/', '_')}.png"
                path.parent.mkdir(exist_ok=True)
                write_image(path, picture)
        self._wait()
        self._sync("FINISHED" if trainer.step >= trainer.config.steps else "KILLED")
        self._wait()
        if self._error or self._is_busy():
            reason = self._error or "the store does not answer"
            logger.warning("%s; 'object-pose models log %s' copies the run later", reason, trainer.folder.path)

    def _sync(self, status: str = "") -> None:
        """Copy in a thread of its own, unless the copy before is not done: the next one takes everything along."""
        if self._log is not None and not self._is_busy():
            self._thread = threading.Thread(target=self._try, args=(self._log, status), daemon=True)
            self._thread.start()

    def _try(self, log: RunLog, status: str) -> None:
        try:
            log.sync(status)
            self._error = None
        except Exception as error:  # whatever the store does, the training goes on
            self._error = str(error)

    def _is_busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _wait(self) -> None:
        if self._thread is not None:
            self._thread.join(_WAITED_S)


def log_run(store: Store, run_dir: Path) -> str:
    """Copy a run folder to the store, as far as it is not there; return MLflow's id of the run."""
    log, description = RunLog(store, run_dir), RunFolder(run_dir).description()
    log.sync("FINISHED" if description.steps_done >= int(description.training["steps"]) else "KILLED")
    return log.run_id


def log_evaluation(
    store: Store,
    task: str,
    figures: Mapping[str, Any],
    options: Mapping[str, Any],
    model: Path,
    data: Path | None,
    report: Path | None,
) -> str:
    """Log what an evaluation of a model found, with its report folder if any; return MLflow's id of the run."""
    with store_errors(store):
        client, code = store.client, code_version()
        dataset = next(_datasets(task, {"data": str(data or ""), **options}, code))
        tags = {TASK_TAG: task, CODE_TAG: code, DATA_TAG: json.dumps({dataset.name: dataset.digest})}
        tags |= {"object_pose.model.sha256": file_sha256(model)}
        run_id: str = client.create_run(store.experiment(EXPERIMENT), run_name=f"evaluate {model.name}").info.run_id
        now = int(1e3 * time.time())
        numbers = {name: v for name, v in flatten(figures).items() if isinstance(v, (int, float))}
        client.log_batch(
            run_id,
            [Metric(f"test/{_metric_name(name)}", float(value), now, 0) for name, value in numbers.items()],
            [Param(name, str(value)[:_LONGEST_VALUE]) for name, value in {"model": model, **options}.items()],
            [RunTag(name, value) for name, value in tags.items()],
        )
        client.log_inputs(run_id, [DatasetInput(dataset)])
        if report:
            client.log_artifacts(run_id, str(report), "report")
        client.set_terminated(run_id, "FINISHED")
        return run_id


def _metric_name(name: str) -> str:
    """Return a name with those characters alone that MLflow takes."""
    return "".join(letter if letter.isalnum() or letter in "_-./ " else "_" for letter in name)


def _datasets(task: str, options: Mapping[str, Any], code: str) -> Iterator[Dataset]:
    """Yield the files and folders among a run's options, or its simulation: what draws the samples is their version."""
    paths = {name: Path(str(options[name])) for name in _DATA_OPTIONS if options.get(name)}
    paths = {name: path for name, path in paths.items() if path.exists()}
    for name, path in paths.items():
        yield Dataset(name, data_version(path).digest, "local", json.dumps({"uri": path.resolve().as_uri()}))
    if "data" not in paths:
        drawn = json.dumps({"task": task, "code": code, **options}, sort_keys=True, default=str)
        digest = hashlib.md5(drawn.encode(), usedforsecurity=False).hexdigest()
        yield Dataset("simulation", digest, "code", json.dumps({"task": task, "commit": code}))
