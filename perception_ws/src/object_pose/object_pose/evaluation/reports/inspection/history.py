"""A training run as the inspection report reads it: options, recorded figures, and the seeds it was trained on."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from object_pose.core.errors import DataError
from object_pose.io.run_folder import RunFolder
from object_pose.simulation.generators.inspection import SEEDS_PER_LOT, lot_seeds, training_lots


@dataclass(frozen=True)
class RunHistory:
    """One run: ``options`` of the task and of the training by name, ``records`` as metrics.jsonl has them.

    ``last_start`` is the step at which it was started or resumed last.
    """

    name: str
    command: str
    options: dict[str, Any]
    versions: dict[str, str]
    last_start: int
    records: tuple[dict[str, Any], ...]

    def series(self, split: str, figure: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the steps and the values of a figure of 'train' or 'validation'."""
        rows = [r for r in self.records if r["split"] == split and isinstance(r.get(figure), (int, float))]
        return np.array([r["step"] for r in rows], dtype=float), np.array([r[figure] for r in rows], dtype=float)

    @property
    def steps(self) -> int:
        """The last step that was recorded."""
        return max(int(record["step"]) for record in self.records)

    @property
    def last_validation(self) -> dict[str, float]:
        """The figures of the last validation, empty where there was none."""
        rows = [r for r in self.records if r["split"] == "validation" and len(r) > 3]
        return {k: v for k, v in rows[-1].items() if k not in ("time", "step", "split")} if rows else {}

    @property
    def hours(self) -> float:
        """Time between the first and the last record."""
        return float(self.records[-1]["time"] - self.records[0]["time"]) / 3600.0


def read_history(run_dir: Path) -> RunHistory:
    """Read a run of the task classify; raises ``DataError`` where it is none, or has recorded nothing yet."""
    folder = RunFolder(run_dir)
    settings, description = folder.settings(), folder.description()
    if settings.task != "classify":
        raise DataError(f"{run_dir} is a run of the task {settings.task}", "name a run of 'train classify'")
    options = {name: value for config in settings.configs.values() for name, value in config.items()}
    return RunHistory(
        run_dir.name,
        settings.command,
        dict(description.training) | options,
        dict(description.versions),
        description.starts[-1],
        tuple(folder.records()),
    )


def seeds_learned_from(history: RunHistory, count: int) -> list[int]:
    """Return ``count`` seeds, or as many as there were, of pictures that a run on rendered inspections learned from.

    They are those of the first data process since the last start, spread over all lots that it drew.
    """
    options = history.options
    pictures = (history.steps - history.last_start) * options["batch_size"] // options["reuse"]
    scenes = options.get("lot_scenes", SEEDS_PER_LOT)  # runs before this option took all of a lot
    lots_drawn = max(1, pictures // (2 * scenes * max(1, options["workers"])))
    lots = training_lots(np.random.default_rng([options["seed"], history.last_start, 0]))
    drawn = [seed for number in itertools.islice(lots, lots_drawn) for seed in lot_seeds(number)[:scenes]]
    return drawn[:: max(1, len(drawn) // count)][:count]
