"""Models made by one command: a recipe names the stages from nothing to the ONNX file, with all their options.

A recipe is a YAML file with a list of ``stages``, each with a ``name`` and one of three kinds of work::

    - name: detector
      train: pose                 # a task, with options as 'object-pose train pose' has them
      options: {steps: 8000, objects: data:lmo/models}
    - name: head
      train: roi_head
      options: {initial: stage:detector}
    - name: parts
      export: detector            # a stage that trains; 'roi_head' names another, whose head goes into the file
      roi_head: head
      card: {licence: Apache-2.0}
    - name: mean
      average: [parts, others]    # stages that export; their weights' mean
    - name: together
      ensemble: [first, second]   # likewise, of masks; both run, and their answers' mean counts

In options ``./PATH`` is relative to the recipe, ``data:PATH`` lies in the data folder (``runtime.resources.find_data``)
and ``stage:NAME`` is what an earlier stage made. The last stage's model is what the recipe makes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from object_pose.core.errors import CancelledError, ConfigError, DataError
from object_pose.core.params import flatten, nearest_name
from object_pose.io.files import load_yaml
from object_pose.io.run_folder import RunFolder
from object_pose.io.writers import write_json
from object_pose.runtime.resources import find, find_data
from object_pose.training.callbacks import TrainingCallback
from object_pose.workflows.export import (
    CardText,
    ExportedModel,
    describe_file,
    export_average,
    export_ensemble,
    export_run,
)
from object_pose.workflows.progress import Progress, ProgressCallback, ignore_progress
from object_pose.workflows.train import TrainingJob, make_job, train

# Options that depend on the machine: a recipe may be run, and resumed, with others.
MACHINE_OPTIONS = ("threads", "workers", "device")
_NOTED = "recipe.json"
_JOINING = {"average": export_average, "ensemble": export_ensemble}
_KINDS = ("train", "export", *_JOINING)
_TYPE_NAMES: dict[type, str] = {str: "text", dict: "mapping", list: "list"}

EntryT = TypeVar("EntryT", str, dict[str, Any], list[Any])


@dataclass(frozen=True)
class TrainStage:
    """Trains a network into the folder ``name`` of the output."""

    name: str
    task: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class ExportStage:
    """Exports the run of the stage ``run``, with the head of the stage ``roi_head`` inside unless that is empty."""

    name: str
    run: str
    roi_head: str
    card: CardText


@dataclass(frozen=True)
class JoiningStage:
    """Makes one model of those of earlier stages, as ``kind`` says: one of ``_JOINING``."""

    name: str
    kind: str
    models: tuple[str, ...]
    card: CardText


Stage: TypeAlias = TrainStage | ExportStage | JoiningStage


@dataclass(frozen=True)
class ModelRecipe:
    """The stages that make the model ``name``, in order; ``path`` is the file they were read from."""

    name: str
    path: Path
    stages: tuple[Stage, ...]


@dataclass(frozen=True)
class RecipeResult:
    """The model, or None where ``unfinished`` names a stage whose time limit ended it before its last step."""

    model: ExportedModel | None
    unfinished: str = ""


def read_recipe(name: str | Path) -> ModelRecipe:
    """Read a recipe: the path of one, or the name of a shipped one.

    Raises ``ConfigError`` where it is none; ``check_recipe`` looks at the options.
    """
    path = Path(name) if Path(name).is_file() else find("models", f"recipes/{Path(name).stem}.yaml")
    document = load_yaml(path, ConfigError)
    stages = document.get("stages") if isinstance(document, dict) else None
    if not isinstance(stages, list) or not stages:
        raise ConfigError(f"{path} has no stages", "a recipe is a mapping with a list 'stages'")
    _check_keys(document, ("stages",), str(path))
    recipe = ModelRecipe(path.stem, path, tuple(_stage(item, number, path) for number, item in enumerate(stages)))
    _check_references(recipe)
    return recipe


def check_recipe(recipe: ModelRecipe, output: Path, machine: Mapping[str, Any] | None = None) -> list[TrainingJob]:
    """Return the recipe's training jobs below ``output``, with the options of ``machine`` over the recipe's.

    Raises ``ConfigError`` or ``DataError`` for whatever would end the recipe later: an unknown task or option, a value
    out of range, data that is not there.
    """
    jobs = []
    for stage in recipe.stages:
        if isinstance(stage, TrainStage):
            try:
                options = {name: _resolved(value, recipe, output) for name, value in stage.options.items()}
                job = make_job(stage.task, output / stage.name, options | dict(machine or {}), _command(recipe))
            except (ConfigError, DataError) as error:
                where = f"{recipe.path}, stage '{stage.name}'"
                raise type(error)(f"{where}: {error.message}", error.hint) from error
            jobs.append(dataclasses.replace(job, stage=stage.name))
    return jobs


def run_recipe(
    recipe: ModelRecipe,
    output: Path,
    *,
    machine: Mapping[str, Any] | None = None,
    progress: ProgressCallback = ignore_progress,
    callbacks: Sequence[TrainingCallback] = (),
) -> RecipeResult:
    """Run the stages that are not done yet, going on with one that was broken off, into ``output``.

    ``callbacks`` are called in each training beside ``progress``.

    Raises ``ConfigError`` or ``DataError`` before anything starts where ``check_recipe`` does, and where ``output``
    was begun with other options. Raises ``CancelledError`` on Ctrl-C or where ``progress`` does: the same call goes on.
    """
    jobs = {job.stage: job for job in check_recipe(recipe, output, machine)}
    _claim(recipe, output)
    model: ExportedModel | None = None
    for stage in recipe.stages:
        if isinstance(stage, TrainStage):
            job = jobs[stage.name]
            if RunFolder(job.run_dir).steps_done >= job.training.steps:
                continue
            try:
                result = train(job, resume=True, progress=progress, callbacks=callbacks)
            except CancelledError as error:
                raise CancelledError(f"stage '{stage.name}': {error.message}", "the same call goes on") from error
            if not result.is_complete:
                return RecipeResult(None, stage.name)
        else:
            progress(Progress(stage.name, 0, 1, "model"))
            model = _exported(stage, output)
            progress(Progress(stage.name, 1, 1, "model"))
    return RecipeResult(model)


def _stage(item: Any, number: int, path: Path) -> Stage:
    where = f"{path}, stage {number + 1}"
    name = _entry(item, "name", str, where) if isinstance(item, dict) else ""
    if not name or Path(name).name != name:
        raise ConfigError(f"{where} has no name", "a stage is a mapping with a 'name', which may not have a '/'")
    where = f"{path}, stage '{name}'"
    kinds = [kind for kind in _KINDS if kind in item]
    if len(kinds) != 1:
        raise ConfigError(f"{where} does not say what it does", f"give it one of {', '.join(_KINDS)}")
    if kinds[0] == "train":
        _check_keys(item, ("name", "train", "options"), where)
        return TrainStage(name, _entry(item, "train", str, where), flatten(_entry(item, "options", dict, where)))
    _check_keys(item, ("name", kinds[0], "card", *(["roi_head"] if kinds[0] == "export" else [])), where)
    card = _entry(item, "card", dict, where)
    _check_keys(card, [field.name for field in dataclasses.fields(CardText)], f"{where}, card")
    text = CardText(**{key: str(value) for key, value in card.items()})
    if kinds[0] == "export":
        return ExportStage(name, _entry(item, "export", str, where), _entry(item, "roi_head", str, where), text)
    return JoiningStage(name, kinds[0], tuple(map(str, _entry(item, kinds[0], list, where))), text)


def _entry(item: Mapping[str, Any], key: str, kind: type[EntryT], where: str) -> EntryT:
    """Return an entry of a stage, empty where there is none; raises ``ConfigError`` where it is of another type."""
    value = item.get(key)
    if value is not None and not isinstance(value, kind):
        raise ConfigError(f"{where}: '{key}' is {value!r}", f"it must be a {_TYPE_NAMES[kind]}")
    return kind() if value is None else value


def _check_keys(item: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in item:
        if key not in known:
            near = nearest_name(str(key), known)
            hint = f"did you mean '{near}'?" if near else f"known: {', '.join(known)}"
            raise ConfigError(f"{where}: unknown entry '{key}'", hint)


def _check_references(recipe: ModelRecipe) -> None:
    """Raise ``ConfigError`` where a stage needs what no earlier stage makes, or the last one makes no model."""
    before: dict[str, Stage] = {}
    for stage in recipe.stages:
        where = f"{recipe.path}, stage '{stage.name}'"
        if stage.name in before:
            raise ConfigError(f"{where} comes twice", "give each stage another name")
        for name, kinds in _references(stage):
            if not isinstance(before.get(name), kinds):
                earlier = ", ".join(other for other, made in before.items() if isinstance(made, kinds)) or "none"
                raise ConfigError(f"{where} needs a stage '{name}' before it", f"those that it can use: {earlier}")
        if isinstance(stage, ExportStage) and stage.roi_head:
            head = before[stage.roi_head]
            if not isinstance(head, TrainStage) or head.task != "roi_head":
                raise ConfigError(f"{where}: '{stage.roi_head}' trains no RoI head", "name a stage 'train: roi_head'")
        before[stage.name] = stage
    if isinstance(recipe.stages[-1], TrainStage):
        raise ConfigError(f"{recipe.path} ends with a training", "let the last stage export a model")


def _references(stage: Stage) -> Iterable[tuple[str, tuple[type, ...]]]:
    """Yield the earlier stages that a stage needs, each with the kinds that it may be of."""
    if isinstance(stage, TrainStage):
        for value in stage.options.values():
            if isinstance(value, str) and value.startswith("stage:"):
                yield value.removeprefix("stage:"), (TrainStage, ExportStage, JoiningStage)
    elif isinstance(stage, ExportStage):
        yield from ((name, (TrainStage,)) for name in (stage.run, stage.roi_head) if name)
    else:
        yield from ((name, (ExportStage,)) for name in stage.models)


def _resolved(value: Any, recipe: ModelRecipe, output: Path) -> Any:
    """Return an option's value with what it refers to in place of the reference."""
    if not isinstance(value, str):
        return value
    if value.startswith("data:"):
        return str(find_data(value.removeprefix("data:")))
    if value.startswith("stage:"):
        name = value.removeprefix("stage:")
        is_run = any(stage.name == name and isinstance(stage, TrainStage) for stage in recipe.stages)
        return str(output / name if is_run else _model_path(output, name))
    if value.startswith(("./", "../")):
        path = recipe.path.parent / value
        if not path.exists():
            raise DataError(f"{path} does not exist", f"'{value}' is relative to the recipe")
        return str(path)
    return value


def _claim(recipe: ModelRecipe, output: Path) -> None:
    """Note the stages in the output folder; raise ``ConfigError`` where it was begun with others."""
    stages = {stage.name: _noted(stage) for stage in recipe.stages}
    path = output / _NOTED
    if not path.exists():
        if output.is_dir() and any(output.iterdir()):
            raise ConfigError(f"{output} holds files of something else", "name an empty or new folder")
        write_json(path, stages)
        return
    begun = json.loads(path.read_text())
    for name in {**begun, **stages}:
        if begun.get(name) != stages.get(name):
            raise ConfigError(
                f"{output} was begun with another stage '{name}' than {recipe.path} has now", "name another --output"
            )


def _noted(stage: Stage) -> dict[str, Any]:
    """Return what a stage does, as JSON, without what may change between two calls."""
    noted = dataclasses.asdict(stage)
    if isinstance(stage, TrainStage):
        noted["options"] = {name: value for name, value in stage.options.items() if name not in MACHINE_OPTIONS}
    elif isinstance(stage, JoiningStage):
        noted["models"] = list(stage.models)
    return noted


def _exported(stage: ExportStage | JoiningStage, output: Path) -> ExportedModel:
    """Return the stage's model, made anew where it is not there or older than what it is made of."""
    path = _model_path(output, stage.name)
    if isinstance(stage, JoiningStage):
        models = [_model_path(output, name) for name in stage.models]
        return describe_file(path) if _is_newer(path, models) else _JOINING[stage.kind](models, path, text=stage.card)
    run_dir, roi_head = output / stage.run, output / stage.roi_head if stage.roi_head else None
    checkpoints = [RunFolder(folder).checkpoint for folder in (run_dir, roi_head) if folder]
    if _is_newer(path, checkpoints):
        return describe_file(path)
    return export_run(run_dir, path, roi_head=roi_head, text=stage.card)


def _is_newer(path: Path, sources: Iterable[Path]) -> bool:
    return path.exists() and all(path.stat().st_mtime >= source.stat().st_mtime for source in sources)


def _model_path(output: Path, name: str) -> Path:
    return output / f"{name}.onnx"


def _command(recipe: ModelRecipe) -> str:
    return f"object-pose train --recipe {recipe.path.name}"
