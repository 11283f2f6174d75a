"""What every benchmark shares: its command line, progress, the table of criteria, summary.json and the exit code."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from threading import RLock
from typing import Any, TypeVar

from rich.console import Console, RenderableType
from rich.table import Table
from tqdm import tqdm

from object_pose.cli.main import Parser, exit_code, set_up_logging
from object_pose.core.errors import ConfigError
from object_pose.evaluation.criteria import Criterion
from object_pose.io.writers import write_json

ItemT = TypeVar("ItemT")
Verdicts = Mapping[str, Mapping[str, Any]]

_DIGITS = 5
_SIGNS = {"below": "<", "at_most": "<=", "at_least": ">="}


@dataclass(frozen=True)
class Benchmark:
    """A benchmark as a command: ``run`` gets the options that ``add_options`` and this class add.

    ``output`` is the default of ``--output``.
    """

    name: str
    summary: str
    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    output: Path

    def main(self, arguments: Sequence[str] | None = None) -> int:
        """Run; return 0, 1 for a criterion that is not met, 2 for bad input, 130 when interrupted."""
        program = f"benchmarks.{self.name}"
        parser = Parser(prog=program, description=self.summary)
        self.add_options(parser)
        parser.add_argument("--output", type=Path, default=self.output, help="folder of results (default: %(default)s)")
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.add_argument("-v", "--verbose", action="store_true", help="log details")

        def call() -> int:
            options = parser.parse_args(arguments)
            set_up_logging(options.verbose)
            return self.run(options)

        return exit_code(program, call)


def choose(names: Sequence[str], known: Iterable[str]) -> list[str]:
    """Return the names that the user gave, or all; raises ``ConfigError`` for one that is not known."""
    everything = list(known)
    for name in names:
        if name not in everything:
            raise ConfigError(f"there is no task {name} here", f"known: {', '.join(everything)}")
    return list(names) or everything


def progress(items: Iterable[ItemT], title: str, total: int | None = None, unit: str = "frame") -> Iterable[ItemT]:
    """Show on standard error how many of the items have passed."""
    tqdm.set_lock(RLock())  # its own lock is a semaphore, which a worker process that is ended would leak
    bar: Iterable[ItemT] = tqdm(items, total=total, desc=title, unit=unit)
    return bar


def median_ms(work: Callable[[], object], repeats: int = 15) -> float:
    """Return the median time of ``work`` in milliseconds, after one call that is not counted."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1e3 * median(times)


def check(
    figures: Mapping[str, Any], criteria: Sequence[Criterion], required: bool = True
) -> dict[str, dict[str, Any]]:
    """Compare figures with their criteria; a figure 'a.b' is looked up in nested mappings.

    ``met`` of a figure that was not measured is False where it is ``required``, None otherwise.
    """
    verdicts = {}
    for criterion in criteria:
        value: Any = figures
        for key in criterion.figure.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        met = None if value is None and not required else criterion.is_met(value)
        verdicts[criterion.figure] = {"value": value, "bound": criterion.bound, "kind": criterion.kind, "met": met}
    return verdicts


def checked(figures: Mapping[str, float], criteria: Sequence[Criterion]) -> dict[str, Any]:
    """Return figures as JSON values, under ``bars`` what each was compared with, and whether all were ``met``."""
    verdicts = check(figures, criteria)
    met = all(verdict["met"] for verdict in verdicts.values())
    return {**plain(figures, _DIGITS), "bars": plain(verdicts, _DIGITS), "met": met}


def failed(problem: str, criteria: Sequence[Criterion]) -> dict[str, Any]:
    """Return what is said of a check that could not be done: no criterion is met."""
    return {"problem": problem, **checked({}, criteria)}


def plain(value: Any, digits: int) -> Any:
    """Return JSON values: floats rounded to ``digits``, those that are no numbers null."""
    if isinstance(value, Mapping):
        return {key: plain(item, digits) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item, digits) for item in value]
    if isinstance(value, float):
        return round(value, digits) if math.isfinite(value) else None
    return value


def criteria_table(groups: Mapping[str, Verdicts]) -> Table:
    """Return a row for each criterion; figures of a named group are shown as 'group.figure'."""
    table = Table("figure", "measured", "criterion", "")
    for group, verdicts in groups.items():
        for figure, verdict in verdicts.items():
            name = f"{group}.{figure}" if group else figure
            bound = f"{_SIGNS[verdict['kind']]} {verdict['bound']:,g}"
            met = {True: "met", False: "MISSED", None: "not measured"}[verdict["met"]]
            table.add_row(name, _shown(verdict["value"]), bound, met)
        table.add_section()
    return table


def report_checks(options: argparse.Namespace, checks: Mapping[str, Mapping[str, Any]], path: Path) -> int:
    """Report several ``checked`` or ``failed`` checks; return 0 where all are met, otherwise 1."""
    table = criteria_table({name: item["bars"] for name, item in checks.items()})
    problems = [f"{name}: {item['problem']}" for name, item in checks.items() if "problem" in item]
    report(options, checks, path, table, *problems)
    return 0 if all(item["met"] for item in checks.values()) else 1


def report(options: argparse.Namespace, summary: Any, path: Path, *shown: RenderableType) -> None:
    """Write the summary, and print it as JSON or as what is to be ``shown``."""
    write_json(path, summary)
    if options.json:
        print(json.dumps(summary))
        return
    console = Console()
    for item in shown:
        console.print(item, markup=False)
    print(f"wrote {path}")


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value > 1e3 else f"{value:.4f}"
