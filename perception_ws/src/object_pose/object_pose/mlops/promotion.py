"""From candidate to champion: the gate on the pinned test set, its report and reference kept beside the version."""

from __future__ import annotations

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path

from object_pose.core.errors import ConfigError, DataError
from object_pose.io.datasets.content_hash import data_version
from object_pose.mlops.registry import CANDIDATE, CHAMPION, RegisteredModel, Registry
from object_pose.workflows.gate_requirements import GateConfig
from object_pose.workflows.progress import ProgressCallback, ignore_progress
from object_pose.workflows.promote import GateReport, TestSet, run_gate, write_gate_report


@dataclass(frozen=True)
class Promotion:
    """What the gate said, and the model with the aliases that it has now."""

    report: GateReport
    model: RegisteredModel


def promote_candidate(
    registry: Registry,
    reference: str,
    test_set: TestSet | None = None,
    config: GateConfig | None = None,
    *,
    run_dir: Path | None = None,
    repin: bool = False,
    report_dir: Path | None = None,
    progress: ProgressCallback = ignore_progress,
) -> Promotion:
    """Measure a version, by default the candidate of its name, beside the champion; promote it where it passes.

    The first ``test_set`` of a name is pinned; another one needs ``repin``. ``run_dir`` has the candidate's weights.
    Raises ``ConfigError`` where no test set is known, ``DataError`` where the pinned one has changed.
    """
    model = registry.find(reference if set("@/") & set(reference) else f"{reference}@{CANDIDATE}")
    champion = registry.alias(model.name, CHAMPION)
    if champion and champion.version == model.version:
        raise ConfigError(f"'{model.name}' version {model.version} is the champion already", "name another version")
    pinned = _pinned(registry, model.name, test_set, repin)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        candidate_file = registry.pull(model, folder / "candidate")
        champion_file = registry.pull(champion, folder / "champion") if champion else None
        result = run_gate(candidate_file, champion_file, pinned, config or GateConfig(), run_dir, progress)
        report = dataclasses.replace(
            result.report,
            candidate=f"{model.name}/{model.version}",
            champion=f"{champion.name}/{champion.version}" if champion else "",
        )
        write_gate_report(report, folder / "gate")
        if report_dir:
            write_gate_report(report, report_dir)
        verdict = "passed" if report.passed else "refused"
        registry.keep_gate(model, folder / "gate", verdict, result.reference.to_json())
    if not report.passed:
        return Promotion(report, registry.find(f"{model.name}/{model.version}"))
    registry.pin_test_set(model.name, pinned.to_json())
    return Promotion(report, registry.promote(model))


def _pinned(registry: Registry, name: str, given: TestSet | None, repin: bool) -> TestSet:
    """Return what is measured on: the pinned test set, unless there is none or another one is wanted."""
    known = registry.test_set(name)
    if given and given.data:
        given = dataclasses.replace(given, data=given.data.resolve(), digest=data_version(given.data).digest)
    if not known or repin:
        if given is None:
            raise ConfigError(f"no test set is pinned for '{name}'", "name one with --data FOLDER or --rendered N")
        return given
    pinned = TestSet.from_json(known)
    if given and given != pinned and not (given.digest and given.digest == pinned.digest):
        raise ConfigError(f"another test set is pinned for '{name}'", "leave it out, or pin this one with --repin")
    pinned = dataclasses.replace(pinned, data=given.data) if given and given.data else pinned
    if pinned.data and not (given and given.data) and data_version(pinned.data).digest != pinned.digest:
        raise DataError(f"{pinned.data} has changed since it was pinned", "restore it, or pin it anew with --repin")
    return pinned
