"""The MLflow store of experiments and models: a folder with SQLite in it, or any server or workspace by its URI."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import urlparse

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.telemetry import set_telemetry_client

from object_pose import __version__
from object_pose.core.errors import ConfigError, ObjectPoseError

EXPERIMENT = "object_pose"
DATA_TAG, CODE_TAG, TASK_TAG = "object_pose.data", "object_pose.code", "object_pose.task"
STORE_VARIABLE = "OBJECT_POSE_STORE"
_MLFLOW_VARIABLE = "MLFLOW_TRACKING_URI"
_DEFAULT_FOLDER = "runs/store"
_DATABASE, _ARTIFACTS = "mlflow.db", "artifacts"
# A server that is away must not hold up whoever logs to it for minutes. What the environment says wins.
_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


class StoreError(ObjectPoseError):
    """The store cannot be reached, or refuses what is asked of it."""


@dataclass(frozen=True)
class Store:
    """An MLflow store. ``uri`` is what MLflow tracks by, ``folder`` that of a local store, None for others."""

    uri: str
    folder: Path | None = None

    @cached_property
    def client(self) -> MlflowClient:
        """The client of experiments and of the registry; a local store is made when it is first needed."""
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        set_telemetry_client()  # type: ignore[no-untyped-call]  # none, now that the settings say so
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        if self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)
        return MlflowClient(self.uri, self.uri)

    def experiment(self, name: str) -> str:
        """Return the id of an experiment, which is made where there is none of this name."""
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        location = (self.folder / _ARTIFACTS / name).resolve().as_uri() if self.folder else None
        return str(self.client.create_experiment(name, artifact_location=location))

    def download(self, uri: str, folder: Path) -> Path:
        """Copy the files of an artifact URI into ``folder`` and return where they lie."""
        with store_errors(self):
            return Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(folder), tracking_uri=self.uri))


def open_store(where: str = "") -> Store:
    """Return a store: a folder, an MLflow URI (``http://``, ``azureml://``, ``sqlite:///``), or '' for the usual one.

    That is what ``OBJECT_POSE_STORE`` or ``MLFLOW_TRACKING_URI`` say, otherwise ``runs/store``. Nothing is connected.
    """
    where = where or configured_store() or _DEFAULT_FOLDER
    if urlparse(where).scheme and "://" in where:
        return Store(where)
    folder = Path(where).expanduser()
    if folder.is_file():
        raise ConfigError(f"the store {folder} is a file", "name a folder, or the URI of an MLflow server")
    return Store(f"sqlite:///{(folder / _DATABASE).resolve()}", folder)


def configured_store() -> str:
    """Return the store that the environment names, '' where it names none."""
    return os.environ.get(STORE_VARIABLE) or os.environ.get(_MLFLOW_VARIABLE) or ""


def code_version() -> str:
    """Return the git commit that the package runs from, with ``-dirty`` where files differ, or its version."""
    folder = Path(__file__).parent
    try:
        commit, changed = (
            subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True).stdout
            for arguments in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.CalledProcessError):
        return __version__
    return commit.strip() + ("-dirty" if changed.strip() else "")


@contextmanager
def store_errors(store: Store) -> Iterator[None]:
    """Turn what MLflow and the network raise into a ``StoreError`` that names the store."""
    try:
        yield
    except MlflowException as error:
        raise StoreError(f"{store.uri}: {error.message}", "check --store and that the server runs") from error
    except OSError as error:  # also what requests raises
        raise StoreError(f"{store.uri}: {error}", "check --store and that it can be read and written") from error
