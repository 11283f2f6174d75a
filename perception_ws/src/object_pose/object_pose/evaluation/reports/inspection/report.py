"""The PDF report on an inspection model: data and split, experiments, generalisation, failures, monitoring, next steps.

``text.jinja`` holds the text; this module measures and computes what it is filled with.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from object_pose.core.errors import DataError
from object_pose.evaluation.criteria import Criterion
from object_pose.evaluation.reports.inspection import document, figures, study
from object_pose.evaluation.reports.inspection.document import Part, Pictures
from object_pose.evaluation.reports.inspection.history import RunHistory, read_history, seeds_learned_from
from object_pose.evaluation.reports.inspection.study import (
    CONFIDENT,
    NEW_LIGHT,
    TEST,
    TRAINING,
    VALIDATION,
    OnImage,
    Outcome,
    Picture,
    Proportion,
    Study,
)
from object_pose.io.files import replacing
from object_pose.runtime.card import ModelCard
from object_pose.simulation import seeds
from object_pose.simulation.generators.inspection import (
    IMAGE_WH,
    MIN_CHANGED_PIXELS,
    SEEDS_PER_LOT,
    VISIBLE_LEVELS,
    inspection_twins,
)
from object_pose.simulation.parts.twins import DAMAGES, KINDS, PARTS_PER_KIND

_NEW_LIGHT_OFFSET = 100_000
_LEAST_IMAGES = 20
_SIDE_SHARE = 0.3
_SAFER_RECALL = 0.99
_WANTED_RECALLS = (0.95, 0.98, 0.99, 0.995)
_BATCHES_A_SHIFT = 200
_SIGMAS = 3.0
# Options that say nothing about how two experiments differ.
_SAME_EXPERIMENT = frozenset(
    ("threads", "workers", "validate_every", "checkpoint_every", "validation_images", "max_minutes", "steps")
)


@dataclass(frozen=True)
class _Material:
    """All that the report is made from."""

    study: Study
    history: RunHistory
    others: tuple[RunHistory, ...]
    card: ModelCard
    criteria: tuple[Criterion, ...]


def write_inspection_report(
    run_dir: Path,
    other_runs: Sequence[Path],
    model: Path,
    criteria: tuple[Criterion, ...],
    images: int,
    output: Path,
    progress: Callable[[int], OnImage],
) -> None:
    """Measure the model on ``images`` test images and fewer of the other splits, and write the PDF.

    ``other_runs`` are experiments to compare with; ``progress`` is told how many images there will be and returns what
    is called after each. Raises ``DataError`` where a run cannot be read or was trained on other data, ``ModelError``
    where the model is no classifier of inspections.
    """
    if images < _LEAST_IMAGES:
        raise DataError(f"{images} pictures are too few for a report", f"take {_LEAST_IMAGES} at least")
    history = read_history(run_dir)
    if history.options["data"]:
        raise DataError(f"{run_dir} learned from {history.options['data']}", "name a run on rendered inspections")
    others = tuple(read_history(path) for path in other_runs)
    inspector = study.open_inspector(model)
    splits = _splits(history, images)
    measured = study.measure(inspector, splits, progress(study.image_count(splits)))
    material = _Material(measured, history, others, inspector.card, criteria)
    today = datetime.date.today().isoformat()
    with replacing(output) as temporary:
        document.build(
            str(temporary),
            "Automatic inspection of springs and gears",
            f"Report on the part-inspection model, {today}",
            f"object_pose, model {inspector.card.name or model.stem}, run {history.name}, {today}",
            document.layout(_markup(material), _parts(material)),
        )


def _splits(history: RunHistory, images: int) -> dict[str, Sequence[int]]:
    """Return the seeds of every split: ``images`` for the test, a share of that for the others."""
    side = max(_LEAST_IMAGES, round(images * _SIDE_SHARE))
    return {
        TRAINING: seeds_learned_from(history, side),
        VALIDATION: seeds.VALIDATION.seeds(side),
        TEST: seeds.TEST.seeds(images),
        NEW_LIGHT: seeds.TEST.seeds(side, _NEW_LIGHT_OFFSET),
    }


def _markup(material: _Material) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("object_pose.evaluation.reports.inspection", "."),
        autoescape=True,
        line_statement_prefix="%%",
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(percent=_percent, interval=_interval, decimal=_decimal, named=_named, listed=_listed)
    return environment.get_template("text.jinja").render(
        **_setup_values(material), **_result_values(material), **_failure_values(material), **_outlook_values(material)
    )


def _setup_values(material: _Material) -> dict[str, Any]:
    """Return what the sections on data, preprocessing and experiments say."""
    runs = [run for run in (material.history, *material.others) if run.last_validation]
    return {
        "card": material.card,
        "criteria": material.criteria,
        "history": material.history,
        "options": material.history.options,
        "image_wh": IMAGE_WH,
        "damages": DAMAGES,
        "parts_per_kind": PARTS_PER_KIND,
        "min_changed_pixels": MIN_CHANGED_PIXELS,
        "visible_levels": VISIBLE_LEVELS,
        "splits": [_split_row(name, outcomes) for name, outcomes in material.study.splits.items()],
        "experiments": [_experiment_row(run, material.history) for run in runs],
    }


def _split_row(name: str, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    lots = len({item.seed // SEEDS_PER_LOT for item in outcomes})
    return {
        "name": name,
        "images": len(outcomes),
        "damaged": Proportion(sum(item.is_damaged for item in outcomes), len(outcomes)).value,
        "lots": lots,
        "instances": lots * PARTS_PER_KIND * len(KINDS),
        "lowest_seed": min(item.seed for item in outcomes),
        "accuracy": study.accuracy(outcomes),
        "figures": study.figures_of(outcomes),
    }


def _experiment_row(run: RunHistory, reference: RunHistory) -> dict[str, Any]:
    final = {name: run.last_validation.get(name, math.nan) for name in ("accuracy", "recall_damaged", "roc_auc")}
    changed = [
        f"{_named(name)} {Path(str(value)).name if name in ('data', 'initial') else value}"
        for name, value in run.options.items()
        if name not in _SAME_EXPERIMENT and reference.options.get(name) != value
    ]
    differences = "reference" if run is reference else ", ".join(changed) or "number of steps"
    return {"name": run.name, "differences": differences, "steps": run.steps, **final}


def _result_values(material: _Material) -> dict[str, Any]:
    """Return what the summary and the sections on generalisation and calibration say."""
    measured, test = material.study, material.study.test
    test_figures, by_damage, by_parts = (
        study.figures_of(test),
        study.recall_by_damage(test),
        study.accuracy_by_parts(test),
    )
    confident = [item for item in test if max(item.probability, 1.0 - item.probability) >= CONFIDENT]
    known, unseen, light = (study.accuracy(measured.splits[name]) for name in (TRAINING, TEST, NEW_LIGHT))
    return {
        "test": test,
        "test_figures": test_figures,
        "all_met": all(item.is_met(test_figures.get(item.figure)) for item in material.criteria),
        "recall": study.recall(test),
        "false_alarms": study.false_alarms(test),
        "pointing": study.pointing(test),
        "by_damage": by_damage,
        "weakest": list(by_damage),
        "safer": _threshold_row(measured.splits[VALIDATION], test, _SAFER_RECALL),
        "known": known,
        "unseen": unseen,
        "new_light": light,
        "by_size": study.recall_by_size(test),
        "by_parts": by_parts,
        "hardest": min(by_parts, key=lambda count: by_parts[count].value),
        "easiest": max(by_parts, key=lambda count: by_parts[count].value),
        "calibration_error": study.calibration_error(test),
        "brier": float(np.mean((study.probabilities(test) - study.truths(test)) ** 2)),
        "confident": CONFIDENT,
        "confident_share": len(confident) / len(test),
        "confident_accuracy": study.accuracy(confident),
        "thresholds": [_threshold_row(measured.splits[VALIDATION], test, wanted) for wanted in _WANTED_RECALLS],
    }


def _threshold_row(chosen_on: Sequence[Outcome], test: Sequence[Outcome], wanted: float) -> dict[str, Any]:
    """Return the threshold that gives a recall on one split, with recall and false alarms of the test."""
    threshold, _, _ = study.threshold_for_recall(chosen_on, wanted)
    called = [item.probability >= threshold for item in test]
    damaged = sum(item.is_damaged for item in test)
    found = sum(is_called and item.is_damaged for is_called, item in zip(called, test))
    return {
        "wanted": wanted,
        "threshold": threshold,
        "recall": Proportion(found, damaged),
        "false_alarms": Proportion(sum(called) - found, len(test) - damaged),
    }


def _failure_values(material: _Material) -> dict[str, Any]:
    """Return what the sections on failures and on degraded images say."""
    test, degradations = material.study.test, material.study.degradations
    wrong = [item for item in test if not item.is_right]
    missed = [item for item in wrong if item.is_damaged]
    kinds = [damage for item in missed for damage in item.damages]
    commonest = max(sorted(set(kinds)), key=kinds.count) if kinds else ""
    reference = degradations[0].accuracy
    harmful = sorted(degradations[1:], key=lambda item: item.accuracy.value)
    beyond = [item.kind for item in harmful if item.accuracy.interval[1] < reference.interval[0]]
    return {
        "wrong": wrong,
        "missed": missed,
        "missed_pixels": _median_pixels(missed),
        "usual_pixels": _median_pixels([item for item in test if item.is_damaged]),
        "commonest": (commonest, kinds.count(commonest)),
        "has_missed": bool(material.study.missed),
        "has_alarms": bool(material.study.alarms),
        "reference": reference,
        "harmful": harmful,
        "harmful_kinds": list(dict.fromkeys(beyond)),
    }


def _median_pixels(outcomes: Sequence[Outcome]) -> float:
    return float(np.median([item.changed_pixels for item in outcomes])) if outcomes else math.nan


def _outlook_values(material: _Material) -> dict[str, Any]:
    """Return what the sections on monitoring and next steps say."""
    test = material.study.test
    bounds = {item.figure: item.bound for item in material.criteria}
    recall_bound = bounds.get("recall_damaged", _SAFER_RECALL)
    called = Proportion(sum(item.probability >= 0.5 for item in test), len(test)).value
    spread = _SIGMAS * math.sqrt(called * (1 - called) / _BATCHES_A_SHIFT)
    unsure = sum(max(item.probability, 1.0 - item.probability) < CONFIDENT for item in test) / len(test)
    unsure_spread = _SIGMAS * math.sqrt(max(unsure * (1 - unsure), 1e-4) / _BATCHES_A_SHIFT)
    watched = (
        ("mean grey level", [item.brightness for item in test], "a lamp ages, exposure was changed"),
        ("sharpness", [item.sharpness for item in test], "dirt on the lens, focus moved"),
    )
    return {
        "recall_bound": recall_bound,
        "needed": math.ceil(math.log(0.05) / math.log(recall_bound)),
        "monitored": {
            "called": called,
            "called_limits": (max(0.0, called - spread), min(1.0, called + spread)),
            "unsure": unsure,
            "unsure_limit": min(1.0, unsure + unsure_spread),
            "sigmas": _SIGMAS,
            "batches": _BATCHES_A_SHIFT,
            "images": [
                dict(zip(("low", "median", "high"), np.percentile(values, [1, 50, 99])), name=name, cause=cause)
                for name, values, cause in watched
            ],
        },
    }


def _parts(material: _Material) -> Mapping[str, Part]:
    """Return the figures and pictures of the report by their names in the text."""
    measured, test = material.study, material.study.test
    bounds = {item.figure: item.bound for item in material.criteria}
    by_damage = {_named(kind): share for kind, share in study.recall_by_damage(test).items()}
    by_parts = {f"{count} part" + "s" * (count > 1): s for count, s in study.accuracy_by_parts(test).items()}
    recall, accuracy = bounds.get("recall_damaged"), bounds.get("accuracy")
    return {
        "hits": _with_attention(measured.hits[:3], "predicted damaged"),
        "twins": _twins([item.seed for item in measured.splits[TRAINING][:3]]),
        "learning_curves": figures.learning_curves(material.history),
        "roc": figures.roc_and_tradeoff(test),
        "recall_by_damage": figures.proportions_chart(by_damage, "recall by damage, one damage in the batch", recall),
        "recall_by_size": figures.recall_over_size(test),
        "accuracy_by_parts": figures.proportions_chart(by_parts, "accuracy by number of parts", accuracy),
        "calibration": figures.calibration_chart(test),
        "missed": _missed(measured.missed),
        "alarms": _with_attention(measured.alarms, "probability of damage"),
        "degradations": figures.degradation_chart(measured.degradations),
    }


def _with_attention(items: Sequence[Picture], words: str) -> Pictures:
    return Pictures([(figures.with_attention(item), f"{words}: {item.result.probabilities[0]:.2f}") for item in items])


def _twins(chosen: Sequence[int]) -> Pictures:
    twins = [inspection_twins(seed) for seed in chosen]
    shown = [(figures.with_truth(damaged), _listed([_named(kind) for kind in damaged.damages])) for damaged, _ in twins]
    return Pictures([*shown, *((whole.image, "the same batch, undamaged") for _, whole in twins)])


def _missed(items: Sequence[Picture]) -> Pictures:
    shown = []
    for item in items:
        pair = np.concatenate([figures.with_truth(item.drawn), figures.with_attention(item)], axis=1)
        names = _listed([_named(kind) for kind in item.drawn.damages])
        shown.append((pair, f"{names}; probability of damage {item.result.probabilities[0]:.2f}"))
    return Pictures(shown, columns=2)


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100.0 * value:.1f} %"


def _decimal(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _interval(share: Proportion) -> str:
    low, high = share.interval
    return f"{_percent(share.value)} ({100 * low:.1f} to {100 * high:.1f})"


def _named(kind: str) -> str:
    return kind.replace("_", " ")


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
