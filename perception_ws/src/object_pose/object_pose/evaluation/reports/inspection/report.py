"""From a model and its run to the PDF."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from pathlib import Path

from object_pose.core.errors import DataError
from object_pose.evaluation.criteria import Criterion
from object_pose.evaluation.reports.inspection import document
from object_pose.evaluation.reports.inspection.history import RunHistory, read_history, seeds_learned_from
from object_pose.evaluation.reports.inspection.pages import story
from object_pose.evaluation.reports.inspection.phrases import Material
from object_pose.evaluation.reports.inspection.study import (
    NEW_LIGHT,
    TEST,
    TRAINING,
    VALIDATION,
    OnImage,
    image_count,
    measure,
    open_inspector,
)
from object_pose.io.files import replacing
from object_pose.simulation import seeds

_NEW_LIGHT_OFFSET = 100_000
_LEAST_IMAGES = 20
_SIDE_SHARE = 0.3


def _splits(history: RunHistory, images: int) -> dict[str, Sequence[int]]:
    """Return the seeds of every split: ``images`` for the test, a share of that for the others."""
    side = max(_LEAST_IMAGES, round(images * _SIDE_SHARE))
    return {
        TRAINING: seeds_learned_from(history, side),
        VALIDATION: seeds.VALIDATION.seeds(side),
        TEST: seeds.TEST.seeds(images),
        NEW_LIGHT: seeds.TEST.seeds(side, _NEW_LIGHT_OFFSET),
    }


def write_inspection_report(
    run_dir: Path,
    other_runs: Sequence[Path],
    model: Path,
    bars: tuple[Criterion, ...],
    images: int,
    output: Path,
    progress: Callable[[int], OnImage],
) -> None:
    """Measure the model on ``images`` test pictures and less of the other splits, and write the PDF.

    ``other_runs`` are experiments to compare with; ``progress`` is told how many pictures will be judged and gives what
    is called after each. Raises ``DataError`` where a run cannot be read or learned from
    other data, ``ModelError`` where the model is no classifier of inspections.
    """
    if images < _LEAST_IMAGES:
        raise DataError(f"{images} pictures are too few for a report", f"take {_LEAST_IMAGES} at least")
    history = read_history(run_dir)
    if history.options["data"]:
        raise DataError(f"{run_dir} learned from {history.options['data']}", "name a run on rendered inspections")
    others = tuple(read_history(path) for path in other_runs)
    inspector = open_inspector(model)
    splits = _splits(history, images)
    study = measure(inspector, splits, progress(image_count(splits)))
    material = Material(study, history, others, inspector.card, bars)
    today = datetime.date.today().isoformat()
    with replacing(output) as temporary:
        document.build(
            str(temporary),
            "Automatic inspection of springs and gears",
            f"Report to the head of engineering, {today}",
            f"object_pose, model {inspector.card.name or model.stem}, run {history.name}, {today}",
            story(material),
        )
