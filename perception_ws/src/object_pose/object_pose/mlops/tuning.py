"""Search for better training options with Optuna: trials in SQLite, pruned at their validations, resumable."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from object_pose.core.errors import ConfigError
from object_pose.core.params import Parameter, parameters, unknown_parameter
from object_pose.io.files import replacing
from object_pose.io.run_folder import RunFolder
from object_pose.tasks.registry import TASKS as METRICS
from object_pose.training.callbacks import TrainingCallback
from object_pose.training.config import TrainConfig
from object_pose.training.loop import Trainer
from object_pose.training.tasks.registry import find_task
from object_pose.workflows.parallel import Runner, run_here
from object_pose.workflows.progress import Progress, ProgressCallback, ignore_progress
from object_pose.workflows.train import make_job, train

_STUDY, _BEST = "study.db", "best.yaml"
_RUN = "run"
_DONE = (TrialState.COMPLETE, TrialState.PRUNED)
# Validations of the first trials before any is compared with them.
_STARTUP_TRIALS = 4
# Tasks whose validation has another figure than the evaluation.
_METRICS = {"pose": "recall", "roi_head": "accuracy"}


@dataclass(frozen=True)
class TuneConfig:
    """What is tuned: a task, its fixed ``options``, and the ``space`` of those that vary, by name.

    Every trial trains for the task's number of steps and is measured by ``metric``, a figure of its validation, which
    ``minimise`` wants small. ``output`` holds the study, a run folder a trial, and the best recipe.
    """

    task: str
    output: Path
    trials: int
    space: Mapping[str, BaseDistribution]
    options: Mapping[str, Any] = field(default_factory=dict)
    metric: str = ""
    minimise: bool = False
    seed: int = 0


@dataclass(frozen=True)
class TuneResult:
    """The best trial's figure and options, how many trials ended how, and the recipe that trains with these options."""

    value: float
    options: dict[str, Any]
    complete: int
    pruned: int
    failed: int
    recipe: Path


def parse_space(task_name: str, text: str) -> tuple[str, BaseDistribution]:
    """Read ``NAME=LOW..HIGH``, ``NAME=LOW..HIGH:log`` or ``NAME=A,B,C`` for an option of a task.

    Raises ``ConfigError`` for an unknown option, or values that it does not take.
    """
    name, separator, values = text.partition("=")
    item = _known_options(task_name).get(name.replace("-", "_"))
    if not separator or item is None:
        raise unknown_parameter(name, _known_options(task_name))
    try:
        if ".." in values:
            bounds, _, scale = values.partition(":")
            low, high = (item.check(_value(item, bound)) for bound in bounds.split(".."))
            if scale not in ("", "log"):
                raise ValueError(f"'{scale}' is no scale")
            kind = IntDistribution if item.type is int else FloatDistribution
            return item.name, kind(low, high, log=scale == "log")
        return item.name, CategoricalDistribution([item.check(_value(item, value)) for value in values.split(",")])
    except ValueError as error:
        raise ConfigError(
            f"'{text}' is no range of {item.name}: {error}", "say NAME=LOW..HIGH, NAME=LOW..HIGH:log or NAME=A,B,C"
        ) from error


def default_space(task_name: str) -> dict[str, BaseDistribution]:
    """Return what is usually worth varying: learning rate and decay around the task's own, and the batch."""
    defaults = make_job(task_name, Path(), {}).training
    rate, batch = defaults.learning_rate, defaults.batch_size
    return {
        "learning_rate": FloatDistribution(rate / 4, rate * 4, log=True),
        "weight_decay": FloatDistribution(1e-4, 0.2, log=True),
        "batch_size": CategoricalDistribution(sorted({max(1, batch // 2), batch, batch * 2})),
    }


def tune(config: TuneConfig, progress: ProgressCallback = ignore_progress, runner: Runner = run_here) -> TuneResult:
    """Run trials until the study has ``config.trials`` of them, and write the best options as a recipe.

    The same call goes on with an interrupted study: a trial that was under way is trained on. Trials that are clearly
    worse than the median at the same step are ended. ``runner`` says where trials train; they share the folder. Raises
    ``ConfigError`` where the folder holds another study or no trial came to an end.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = replace(config, metric=config.metric or _metric(config.task))
    make_job(config.task, config.output, config.options)  # whatever is wrong with the options is said now
    study = _open_study(config)
    jobs = _jobs(study, config)
    done = sum(trial.state in _DONE for trial in study.get_trials(deepcopy=False))
    progress(Progress("tune", done, config.trials, "trial"))
    for _, best in runner(_run_trial, jobs):
        done += 1
        figures = {} if math.isnan(best) else {config.metric: best}
        progress(Progress("tune", min(done, config.trials), config.trials, "trial", figures))
    return _result(study, config)


@dataclass(frozen=True)
class _TrialJob:
    config: TuneConfig
    trial_id: int
    options: dict[str, Any]
    run_dir: Path


def _jobs(study: optuna.Study, config: TuneConfig) -> Iterator[_TrialJob]:
    """Yield the trials that were interrupted, then new ones as they are asked for."""
    trials = study.get_trials(deepcopy=False)
    for trial in trials:
        if trial.state is TrialState.RUNNING:
            yield _job(config, trial)
    for _ in range(config.trials - len(trials)):
        asked = study.ask(dict(config.space))
        yield _job(config, study.get_trials(deepcopy=False)[asked.number])


def _job(config: TuneConfig, trial: FrozenTrial) -> _TrialJob:
    return _TrialJob(
        config, trial._trial_id, dict(trial.params), config.output / "trials" / f"{trial.number:04d}" / _RUN
    )


def _run_trial(job: _TrialJob) -> float:
    """Train one trial; returns the study's best figure until now, or NaN."""
    config = job.config
    study = _open_study(config)
    trial = optuna.Trial(study, job.trial_id)
    training = make_job(config.task, job.run_dir, {**config.options, **job.options}, _command(config))
    follower = _Follower(trial, config.metric)
    try:
        train(training, resume=RunFolder(job.run_dir).checkpoint.exists(), callbacks=[follower])
    except (ConfigError, ArithmeticError) as error:
        trial.set_user_attr("error", str(error))
        study.tell(trial, state=TrialState.FAIL)
    else:
        state = TrialState.PRUNED if follower.is_pruned else TrialState.COMPLETE
        study.tell(trial, None if follower.is_pruned else follower.last(), state)
    values = [
        t.value for t in study.get_trials(deepcopy=False) if t.state is TrialState.COMPLETE and t.value is not None
    ]
    return (min if config.minimise else max)(values, default=math.nan)


class _Follower(TrainingCallback):
    """Tells Optuna the figure of each validation, and ends the run where it is not worth going on."""

    def __init__(self, trial: optuna.Trial, metric: str) -> None:
        self._trial, self._metric = trial, metric
        self._values: list[float] = []
        self.is_pruned = False

    def on_validation(self, trainer: Trainer, figures: Mapping[str, float]) -> None:
        """Report the figure."""
        if self._metric not in figures:
            raise ConfigError(
                f"the validation has no figure '{self._metric}'", f"it has {', '.join(figures) or 'none'}"
            )
        self._values.append(figures[self._metric])
        self._trial.report(figures[self._metric], trainer.step)
        if self._trial.should_prune() and trainer.step < trainer.config.steps:
            self.is_pruned = True
            trainer.stop()

    def last(self) -> float:
        """Return the figure of the weights that the run ends with."""
        return self._values[-1]


def _open_study(config: TuneConfig) -> optuna.Study:
    config.output.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=f"sqlite:///{(config.output / _STUDY).resolve()}",
        study_name=config.task,
        direction=StudyDirection.MINIMIZE if config.minimise else StudyDirection.MAXIMIZE,
        sampler=optuna.samplers.TPESampler(seed=config.seed, constant_liar=True),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_STARTUP_TRIALS, n_warmup_steps=0),
        load_if_exists=True,
    )
    about = {"metric": config.metric, "options": {name: str(value) for name, value in sorted(config.options.items())}}
    known = study.user_attrs.get("about")
    if known is None:
        study.set_user_attr("about", about)
    elif known != about:
        raise ConfigError(f"{config.output} holds a study of other options or another metric", "name another folder")
    return study


def _result(study: optuna.Study, config: TuneConfig) -> TuneResult:
    trials = study.get_trials(deepcopy=False)
    counts = {state: sum(trial.state is state for trial in trials) for state in TrialState}
    if not counts[TrialState.COMPLETE]:
        errors = [trial.user_attrs["error"] for trial in trials if "error" in trial.user_attrs]
        raise ConfigError(f"none of {len(trials)} trials came to an end", errors[0] if errors else "raise --trials")
    options = {**config.options, **study.best_params}
    recipe = config.output / _BEST
    _write_recipe(recipe, config, options, study.best_value)
    return TuneResult(
        study.best_value,
        dict(study.best_params),
        counts[TrialState.COMPLETE],
        counts[TrialState.PRUNED],
        counts[TrialState.FAIL],
        recipe,
    )


def _write_recipe(path: Path, config: TuneConfig, options: Mapping[str, Any], value: float) -> None:
    stages = [{"name": "network", "train": config.task, "options": dict(options)}]
    if config.task != "roi_head":  # which goes into a detector's file
        stages.append({"name": "model", "export": "network"})
    with replacing(path) as partial:
        partial.write_text(
            f"# The best of {config.trials} trials of {config.task}: {config.metric} {value:.4f} in validation.\n"
            + yaml.safe_dump({"stages": stages}, sort_keys=False)
        )


def _known_options(task_name: str) -> dict[str, Parameter]:
    kinds = (TrainConfig, *find_task(task_name).configs)
    return {item.name: item for kind in kinds for item in parameters(kind)}


def _value(item: Parameter, text: str) -> Any:
    """Return an option's value that a text names; raises ``ValueError`` where it names none."""
    text = text.strip()
    if item.type is bool:
        return {"true": True, "false": False}.get(text.lower(), text)  # the declaration refuses any other text
    return item.type(text)


def _metric(task_name: str) -> str:
    return _METRICS.get(task_name) or METRICS[task_name].metric


def _command(config: TuneConfig) -> str:
    return f"object-pose tune {config.task} --output {config.output}"
