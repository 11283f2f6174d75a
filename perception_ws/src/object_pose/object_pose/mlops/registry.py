"""The registry of models: versions of a name, of which one is the candidate, one the champion, one the previous one.

A version is a model file with what it comes from: the training run, the versions of data and code, the report of the
gate that it passed or not, and what its input and answers look like where it is right (``reference.json``). Aliases are
MLflow's; a champion's tag names the version that it replaced, so that ``rollback`` goes back as often as there were
promotions.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow.entities.model_registry import ModelVersion as StoredVersion
from mlflow.exceptions import MlflowException

from object_pose.core.errors import ConfigError, DataError
from object_pose.io.files import new_folder, replacing
from object_pose.io.run_folder import RUN_SETTINGS, RunFolder
from object_pose.io.writers import write_json
from object_pose.mlops.store import (
    CODE_TAG,
    DATA_TAG,
    EXPERIMENT,
    TASK_TAG,
    Store,
    StoreError,
    code_version,
    store_errors,
)
from object_pose.runtime.card import ModelCard, describe_card
from object_pose.runtime.digests import file_sha256
from object_pose.runtime.predictor import load_card

CANDIDATE, CHAMPION, PREVIOUS = "candidate", "champion", "previous"
REFERENCE = "reference.json"
_SHA, _GATE, _REPLACED, _TEST_SET = (f"object_pose.{name}" for name in ("sha256", "gate", "replaced", "test_set"))
_MODEL, _CARD, _GATE_FOLDER = "model.onnx", "card.json", "gate"


@dataclass(frozen=True)
class RegisteredModel:
    """One version of a model. ``gate`` is 'passed', 'refused', 'skipped' or ''; ``data`` maps names to digests."""

    name: str
    version: int
    aliases: tuple[str, ...]
    task: str
    sha256: str
    gate: str
    run_id: str
    code: str
    data: Mapping[str, str]
    created_ms: int
    source: str = field(repr=False)
    replaced: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the version as JSON values."""
        return {
            "name": self.name,
            "version": self.version,
            "aliases": list(self.aliases),
            "task": self.task,
            "sha256": self.sha256,
            "gate": self.gate,
            "run_id": self.run_id,
            "code": self.code,
            "data": dict(self.data),
            "created_ms": self.created_ms,
            "replaced": self.replaced,
        }


class Registry:
    """The models of a store. Every call may raise ``StoreError``, and ``ConfigError`` for a name that is unknown."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def add(self, name: str, model: Path, run_id: str = "", data: Mapping[str, str] | None = None) -> RegisteredModel:
        """Keep a model file as the newest version of ``name`` and its candidate; the same file twice is one version.

        ``run_id`` is the training run in the store that it comes from, whose data it then has. Raises ``ModelError``
        where the file is no model.
        """
        card, sha256 = load_card(model), file_sha256(model)
        with store_errors(self.store):
            client = self.store.client
            same = [item for item in self.versions(name) if item.sha256 == sha256]
            if not same:
                self._make_name(name)
                if not run_id:
                    run_id = client.create_run(self.store.experiment(EXPERIMENT), run_name=name).info.run_id
                    client.set_terminated(run_id, "FINISHED")
                run = client.get_run(run_id)
                tags = {_SHA: sha256, TASK_TAG: card.task, CODE_TAG: run.data.tags.get(CODE_TAG) or code_version()}
                tags[DATA_TAG] = json.dumps(dict(data)) if data else run.data.tags.get(DATA_TAG, "{}")
                folder = f"models/{sha256[:12]}"
                self._keep_model(run_id, folder, model, card)
                source = f"{run.info.artifact_uri}/{folder}"
                added = client.create_model_version(name, source, run_id, tags, description=card.data or None)
                same = [_version(added, [])]
            client.set_registered_model_alias(name, CANDIDATE, str(same[0].version))
        return self.find(f"{name}/{same[0].version}")

    def names(self) -> list[str]:
        """Return the names of all models."""
        with store_errors(self.store):
            return sorted(item.name for item in self.store.client.search_registered_models())

    def versions(self, name: str) -> list[RegisteredModel]:
        """Return a model's versions, the newest first; none for an unknown name."""
        with store_errors(self.store):
            found = self.store.client.search_model_versions(f"name = {_quoted(name)}")
            aliases = self._aliases(name) if found else {}
        models = [
            _version(item, [alias for alias, number in aliases.items() if number == int(item.version)])
            for item in found
        ]
        return sorted(models, key=lambda item: -item.version)

    def find(self, reference: str) -> RegisteredModel:
        """Return a version: ``NAME@ALIAS``, ``NAME/VERSION``, or ``NAME`` for its champion."""
        name, version, alias = parse_reference(reference)
        versions = self.versions(name)
        if not versions:
            raise ConfigError(f"the store has no model '{name}'", f"it has: {', '.join(self.names()) or 'none'}")
        for item in versions:
            if item.version == version or (not version and alias in item.aliases):
                return item
        known = "; ".join(f"{item.version} {' '.join(item.aliases)}".strip() for item in versions)
        raise ConfigError(f"'{name}' has no {f'version {version}' if version else alias}", f"versions: {known}")

    def alias(self, name: str, alias: str) -> RegisteredModel | None:
        """Return the version that an alias names, None where there is none."""
        return next((item for item in self.versions(name) if alias in item.aliases), None)

    def promote(self, model: RegisteredModel) -> RegisteredModel:
        """Make a version the champion, and the champion until now the previous one."""
        champion = self.alias(model.name, CHAMPION)
        if champion and champion.version == model.version:
            return champion
        with store_errors(self.store):
            client = self.store.client
            replaced = str(champion.version) if champion else "0"
            client.set_model_version_tag(model.name, str(model.version), _REPLACED, replaced)
            client.set_registered_model_alias(model.name, CHAMPION, str(model.version))
            if champion:
                client.set_registered_model_alias(model.name, PREVIOUS, replaced)
            if CANDIDATE in model.aliases:
                client.delete_registered_model_alias(model.name, CANDIDATE)
        return self.find(f"{model.name}/{model.version}")

    def rollback(self, name: str) -> RegisteredModel:
        """Make the version that the champion replaced the champion again, and return it."""
        champion = self.find(f"{name}@{CHAMPION}")
        if not champion.replaced:
            raise ConfigError(
                f"'{name}' version {champion.version} replaced no other", "there is nothing to go back to"
            )
        earlier = self.find(f"{name}/{champion.replaced}")
        with store_errors(self.store):
            client = self.store.client
            client.set_registered_model_alias(name, CHAMPION, str(earlier.version))
            if earlier.replaced:
                client.set_registered_model_alias(name, PREVIOUS, str(earlier.replaced))
            else:
                client.delete_registered_model_alias(name, PREVIOUS)
        return self.find(f"{name}/{earlier.version}")

    def keep_gate(self, model: RegisteredModel, folder: Path, verdict: str, reference: Mapping[str, Any]) -> None:
        """Keep the gate's report (a folder), its verdict and the reference beside a version."""
        kept = model.source.rpartition("/models/")[2]
        with store_errors(self.store), tempfile.TemporaryDirectory() as temporary:
            client = self.store.client
            client.log_artifacts(model.run_id, str(folder), f"models/{kept}/{_GATE_FOLDER}")
            write_json(Path(temporary) / REFERENCE, reference)
            client.log_artifact(model.run_id, str(Path(temporary) / REFERENCE), f"models/{kept}")
            client.set_model_version_tag(model.name, str(model.version), _GATE, verdict)

    def test_set(self, name: str) -> dict[str, Any]:
        """Return the pinned test set of a model, empty before the first is pinned."""
        with store_errors(self.store):
            return dict(json.loads(self.store.client.get_registered_model(name).tags.get(_TEST_SET, "{}")))

    def pin_test_set(self, name: str, test_set: Mapping[str, Any]) -> None:
        """Pin what candidates of a model are measured on."""
        with store_errors(self.store):
            self.store.client.set_registered_model_tag(name, _TEST_SET, json.dumps(dict(test_set)))

    def pull(self, model: RegisteredModel, folder: Path) -> Path:
        """Copy a version into ``folder``: NAME.onnx, NAME.json that says where it comes from, and NAME.reference.json.

        Returns the model file, which appears last. Raises ``DataError`` where what came is not what was kept.
        """
        with tempfile.TemporaryDirectory() as temporary:
            files = self.store.download(model.source, Path(temporary))
            found = files / _MODEL
            if file_sha256(found) != model.sha256:
                raise DataError(f"{model.source} is not the file that was kept", "pull it again, or check the store")
            card = json.loads((files / _CARD).read_text())
            write_json(folder / f"{model.name}.json", model.to_json() | {"card": card, "store": self.store.uri})
            if (files / REFERENCE).exists():
                with replacing(folder / f"{model.name}.{REFERENCE}") as target:
                    shutil.copyfile(files / REFERENCE, target)
            with replacing(folder / f"{model.name}.onnx") as target:
                shutil.copyfile(found, target)
        return folder / f"{model.name}.onnx"

    def training_options(self, model: RegisteredModel) -> dict[str, Any]:
        """Return the options of the task that a version was trained with, none where its run does not say them."""
        with tempfile.TemporaryDirectory() as temporary, store_errors(self.store):
            files = {item.path for item in self.store.client.list_artifacts(model.run_id)}
            if RUN_SETTINGS not in files:
                return {}
            self.store.client.download_artifacts(model.run_id, RUN_SETTINGS, temporary)
            configs = RunFolder(Path(temporary)).settings().configs
        return {name: value for values in configs.values() for name, value in values.items()}

    def pull_gate(self, model: RegisteredModel, folder: Path) -> Path:
        """Copy the gate's report of a version into a new ``folder``; raises ``ConfigError`` where it has none."""
        if not model.gate:
            raise ConfigError(f"'{model.name}' version {model.version} has been through no gate")
        with tempfile.TemporaryDirectory() as temporary, new_folder(folder) as target:
            files = self.store.download(f"{model.source}/{_GATE_FOLDER}", Path(temporary))
            shutil.copytree(files, target, dirs_exist_ok=True)
        return folder

    def _make_name(self, name: str) -> None:
        if not name or any(letter in name for letter in "/:@. \\"):
            raise ConfigError(f"'{name}' is no name of a model", "use letters, digits, '-' and '_'")
        try:
            self.store.client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _keep_model(self, run_id: str, folder: str, model: Path, card: ModelCard) -> None:
        with tempfile.TemporaryDirectory() as temporary:
            shutil.copyfile(model, Path(temporary) / _MODEL)
            write_json(Path(temporary) / _CARD, describe_card(card))
            self.store.client.log_artifacts(run_id, temporary, folder)

    def _aliases(self, name: str) -> dict[str, int]:
        try:
            aliases = self.store.client.get_registered_model(name).aliases
        except MlflowException as error:
            raise StoreError(f"{self.store.uri}: {error.message}") from error
        return {alias: int(version) for alias, version in aliases.items()}


def parse_reference(reference: str) -> tuple[str, int, str]:
    """Return name, version (0 for none) and alias of ``NAME@ALIAS``, ``NAME/VERSION`` or ``NAME``."""
    if "/" in reference:
        name, _, number = reference.partition("/")
        if not number.isdecimal():
            raise ConfigError(f"'{reference}' names no version", "write NAME, NAME@ALIAS or NAME/VERSION")
        return name, int(number), ""
    name, _, alias = reference.partition("@")
    return name, 0, alias or CHAMPION


def _quoted(name: str) -> str:
    return "'" + name.replace("'", "") + "'"


def _version(item: StoredVersion, aliases: list[str]) -> RegisteredModel:
    tags = item.tags
    return RegisteredModel(
        name=item.name,
        version=int(item.version),
        aliases=tuple(sorted(aliases)),
        task=tags.get(TASK_TAG, ""),
        sha256=tags.get(_SHA, ""),
        gate=tags.get(_GATE, ""),
        run_id=item.run_id or "",
        code=tags.get(CODE_TAG, ""),
        data=json.loads(tags.get(DATA_TAG, "{}")),
        created_ms=int(item.creation_timestamp),
        source=item.source or "",
        replaced=int(tags.get(_REPLACED, 0)),
    )
