"""``object-pose models``: the models at hand, and those of the registry: from candidate to champion and back."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from object_pose.cli.options import add_config_options, config_from_options
from object_pose.cli.progress_bar import ProgressBar
from object_pose.core.errors import ModelError
from object_pose.runtime.card import describe_card
from object_pose.runtime.digests import file_sha256
from object_pose.runtime.predictor import load_card
from object_pose.runtime.resources import find_model, shipped_models
from object_pose.workflows.gate_requirements import GateConfig

if TYPE_CHECKING:
    from object_pose.mlops.registry import RegisteredModel, Registry

EXAMPLES = """examples:
  object-pose models
  object-pose models show models/parts.onnx --json
  object-pose models add runs/parts/parts.onnx --name parts --run runs/parts/detector
  object-pose models promote parts --rendered 200            (the candidate, through the gate)
  object-pose models rollback parts
  object-pose models pull parts@champion --output robot/
  object-pose models deploy parts@champion --to /left        (into a running pipeline, which goes back if it fails)

NAME@ALIAS (candidate, champion, previous), NAME/VERSION and NAME, its champion, name versions of the registry. The
store is a folder or the URI of an MLflow server: --store, or else OBJECT_POSE_STORE, MLFLOW_TRACKING_URI, runs/store.
"""

_SHOWN_SHA = 12


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add a sub-command for each step of a model's way."""
    parser.set_defaults(action=_list, json=False, store="")
    steps = parser.add_subparsers(metavar="STEP")
    step = _step(steps, "list", "list the shipped models, and those of the registry", _list)
    step.add_argument("name", nargs="?", default="", help="only this model of the registry")
    step = _step(steps, "show", "describe a model file, or a version of the registry", _show)
    step.add_argument("model", help="ONNX file, name of a shipped model, or version of the registry")
    step = _step(steps, "add", "keep a model file as the candidate of a name", _add)
    step.add_argument("model", type=Path, help="ONNX file")
    step.add_argument("--name", required=True, help="name in the registry")
    step.add_argument("--run", type=Path, help="run folder of 'train' that it was exported from")
    step.add_argument("--data", type=Path, help="data that it learned from, where no run says so")
    step = _step(steps, "log", "copy a run folder to the store, as far as it is not there", _log)
    step.add_argument("run", type=Path, help="run folder of 'train'")
    _add_promote_options(_step(steps, "promote", "promote a version, if it passes the gate", _promote))
    step = _step(steps, "rollback", "make the version that the champion replaced the champion again", _rollback)
    step.add_argument("name", help="name in the registry")
    step = _step(steps, "pull", "copy a version with its card into a folder", _pull)
    step.add_argument("model", help="version of the registry")
    step.add_argument("--output", type=Path, default=Path(), metavar="FOLDER", help="folder (default: this one)")
    step.add_argument("--report", type=Path, metavar="FOLDER", help="new folder for the report that the gate left")
    step = _step(steps, "deploy", "switch a running pipeline to a model, and hear how its trial ends", _deploy)
    step.add_argument("model", help="ONNX file, name of a shipped model, or version of the registry")
    step.add_argument("--to", default="", metavar="NAMESPACE", help="namespace of the pipeline (default: none)")
    step.add_argument(
        "--output", type=Path, default=Path("runs/deployed"), metavar="FOLDER", help="where versions of the registry go"
    )
    step.add_argument("--timeout", type=float, default=300.0, metavar="S", help="how long to wait for the trial's end")


def _step(steps: Any, name: str, summary: str, action: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = steps.add_parser(name, help=summary, description=summary)
    parser.add_argument("--store", default="", help="folder, or URI of an MLflow server")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(action=action)
    return parser


def _add_promote_options(step: argparse.ArgumentParser) -> None:
    step.add_argument("model", help="version of the registry; NAME is its candidate")
    source = step.add_mutually_exclusive_group()
    source.add_argument("--data", type=Path, help="labelled data to measure on (default: the pinned test set)")
    source.add_argument("--rendered", type=int, default=0, metavar="N", help="measure on N simulated samples")
    step.add_argument("--seed", type=int, help="seed of the simulated samples (default: that of the test split)")
    step.add_argument("--objects", default="parts", help="objects to render: 'parts' or a folder of BOP models")
    step.add_argument("--repin", action="store_true", help="pin this test set in place of the one before")
    step.add_argument("--run", type=Path, help="run folder with the candidate's weights, to compare torch and ONNX")
    step.add_argument("--output", type=Path, metavar="FOLDER", help="folder for report.html and report.json")
    add_config_options(step, GateConfig, "gate")


def run(options: argparse.Namespace) -> int:
    """Do the step that is asked for; without one, list."""
    return int(options.action(options))


def _list(options: argparse.Namespace) -> int:
    cards = [describe_model(path) for path in shipped_models()]
    versions = _known_versions(options)
    if options.json:
        print(json.dumps({"shipped": cards, "registry": [item.to_json() for item in versions]}, indent=2))
        return 0
    if not cards and not versions:
        raise ModelError("no models are at hand", "train and export one, or name a --store")
    if not getattr(options, "name", ""):
        _print_shipped(cards)
    if versions:
        _print_versions(versions)
    return 0


def _known_versions(options: argparse.Namespace) -> list[RegisteredModel]:
    """Return what the registry holds; a usual store that is not there yet holds nothing."""
    name = getattr(options, "name", "")
    try:
        from object_pose.mlops.store import configured_store, open_store
    except ModuleNotFoundError:
        if options.store or name:
            raise
        return []
    store = open_store(options.store)
    is_there = store.folder is None or store.folder.is_dir()
    if not is_there and not (options.store or configured_store() or name):
        return []
    registry = _registry(options)
    return [item for known in ([name] if name else registry.names()) for item in registry.versions(known)]


def _show(options: argparse.Namespace) -> int:
    path = find_model(options.model) if options.model.endswith(".onnx") else None
    described = describe_model(path) if path else _registry(options).find(options.model).to_json()
    if options.json:
        print(json.dumps(described, indent=2))
        return 0
    table = Table("", "", show_header=False)
    for name, value in described.items():
        table.add_row(name, ", ".join(map(str, value)) if isinstance(value, list) else str(value))
    Console().print(table)
    return 0


def _add(options: argparse.Namespace) -> int:
    from object_pose.io.datasets.content_hash import data_version
    from object_pose.mlops.tracking import log_run

    registry = _registry(options)
    run_id = log_run(registry.store, options.run) if options.run else ""
    data = {"data": data_version(options.data).digest} if options.data else None
    model = registry.add(options.name, options.model, run_id, data)
    return _said(
        options, model.to_json(), f"{_named(model)} is the candidate; 'models promote {model.name}' measures it"
    )


def _log(options: argparse.Namespace) -> int:
    from object_pose.mlops.tracking import log_run

    store = _registry(options).store
    run_id = log_run(store, options.run)
    return _said(options, {"run_id": run_id, "store": store.uri}, f"{options.run} is run {run_id} of {store.uri}")


def _promote(options: argparse.Namespace) -> int:
    from object_pose.evaluation.samples import TEST_SEED
    from object_pose.mlops.promotion import promote_candidate
    from object_pose.workflows.promote import TestSet

    test_set = None
    if options.data or options.rendered:
        seed = TEST_SEED if options.seed is None else options.seed
        test_set = TestSet(options.data, options.rendered, seed, options.objects)
    config = config_from_options(options, GateConfig)
    with ProgressBar() as bar:
        promotion = promote_candidate(
            _registry(options),
            options.model,
            test_set,
            config,
            run_dir=options.run,
            repin=options.repin,
            report_dir=options.output,
            progress=bar,
        )
    report = promotion.report
    if options.json:
        print(json.dumps({"model": promotion.model.to_json(), "gate": report.to_json()}, indent=2))
    else:
        table = Table("requirement", "", "", title=f"{report.samples} samples")
        for check in report.checks:
            met = {True: "met", False: "MISSED", None: "not looked at"}[check.is_met]
            table.add_row(check.name, met, check.text)
        Console().print(table)
        print(f"{_named(promotion.model)} is {'the champion' if report.passed else 'refused'}")
    return 0 if report.passed else 1


def _rollback(options: argparse.Namespace) -> int:
    model = _registry(options).rollback(options.name)
    return _said(options, model.to_json(), f"{_named(model)} is the champion again")


def _pull(options: argparse.Namespace) -> int:
    registry = _registry(options)
    model = registry.find(options.model)
    path = registry.pull(model, options.output)
    if options.report:
        registry.pull_gate(model, options.report)
    return _said(options, model.to_json() | {"file": str(path)}, f"{path}: {_named(model)}, sha256 {model.sha256}")


def _deploy(options: argparse.Namespace) -> int:
    from object_pose.ros.deployment import deploy_model  # only here: it needs ROS
    from object_pose.runtime.model_trial import TrialState

    if options.model.endswith(".onnx"):
        path = find_model(options.model)
    else:
        registry = _registry(options)
        model = registry.find(options.model)
        # A running pipeline keeps the file that it has open: each version has a folder of its own.
        path = registry.pull(model, options.output / model.name / str(model.version))
    console = Console(stderr=True)
    ended = deploy_model(path, options.to, options.timeout, lambda text: console.print(text, markup=False))
    values = {"model": str(path), "state": ended.state.value, "text": ended.text}
    _said(options, values, f"{path}: {ended.text}")
    return 0 if ended.state is TrialState.PASSED else 1


def _said(options: argparse.Namespace, values: dict[str, Any], text: str) -> int:
    print(json.dumps(values, indent=2) if options.json else text)
    return 0


def _registry(options: argparse.Namespace) -> Registry:
    from object_pose.mlops.registry import Registry
    from object_pose.mlops.store import open_store

    return Registry(open_store(options.store))


def _named(model: RegisteredModel) -> str:
    return f"{model.name}/{model.version}"


def describe_model(path: Path) -> dict[str, Any]:
    """Return what the card of a model file says, with the file's size and digest."""
    return {
        "file": str(path),
        **describe_card(load_card(path)),
        "size_mb": round(path.stat().st_size / 1e6, 2),
        "sha256": file_sha256(path),
    }


def _print_shipped(cards: list[dict[str, Any]]) -> None:
    table = Table("model", "task", "labels", "input", "metric", "MB", "licence")
    for card in cards:
        size = "x".join(map(str, card["input_wh"]))
        labels = ", ".join(card["labels"])
        table.add_row(
            Path(card["file"]).name, card["task"], labels, size, card["metric"], str(card["size_mb"]), card["licence"]
        )
    Console().print(table)


def _print_versions(versions: list[RegisteredModel]) -> None:
    table = Table("name", "version", "aliases", "task", "gate", "made", "sha256", title="registry")
    for item in versions:
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(item.created_ms / 1e3))
        table.add_row(
            item.name, str(item.version), " ".join(item.aliases), item.task, item.gate, made, item.sha256[:_SHOWN_SHA]
        )
    Console().print(table)
