"""``object-pose retrain``: what the monitor asks for, from its frames to a model that the gate lets pass or not."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from object_pose.cli.options import add_config_options, config_from_options, read_yaml
from object_pose.cli.progress_bar import ProgressBar
from object_pose.core.errors import CancelledError, DataError, ObjectPoseError
from object_pose.io.retraining_request import open_requests
from object_pose.mlops.registry import Registry
from object_pose.mlops.retraining import RetrainConfig, RetrainJob, retrain
from object_pose.mlops.store import open_store

EXAMPLES = """examples:
  object-pose retrain requests/20260801-120000 --name parts --output runs/retrained
  object-pose retrain requests/ --name parts --max-minutes 60   (all that are open, as a timer calls it)
  object-pose retrain requests/ --name parts --truth labelled/
  object-pose retrain requests/ --name workplace --truth workplace/train   (a detector)
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``retrain``."""
    parser.add_argument("request", type=Path, help="request of the monitor, or a folder of them")
    parser.add_argument("--name", required=True, help="model in the registry whose champion is trained on")
    parser.add_argument("--truth", type=Path, help="BOP scenes, or labelled boxes, of the same kind")
    parser.add_argument(
        "--training", type=Path, metavar="YAML", help="options of the training, over those of the champion's run"
    )
    parser.add_argument("--store", default="", help="folder, or URI of an MLflow server")
    parser.add_argument("--output", type=Path, default=Path("runs/retrained"), help="folder with one for each request")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_config_options(parser, RetrainConfig, "retraining")


def run(options: argparse.Namespace) -> int:
    """Handle each request that is open; 1 where a model was refused.

    One that cannot be handled does not stop the others; raises ``DataError`` in the end where there was one.
    """
    registry = Registry(open_store(options.store))
    training = read_yaml(options.training) if options.training else {}
    results, problems = [], []
    for request in open_requests(options.request):
        try:
            with ProgressBar() as bar:
                output = options.output / request.path.name
                job = RetrainJob(options.name, request, output, options.truth, training)
                promotion = retrain(registry, job, config_from_options(options, RetrainConfig), progress=bar)
        except CancelledError:
            raise
        except ObjectPoseError as error:
            problems.append(str(error))
            continue
        verdict = "is the champion" if promotion.report.passed else "is refused"
        results.append({"request": str(request.path), **promotion.model.to_json()})
        if not options.json:
            print(f"{request.path}: {options.name}/{promotion.model.version} {verdict}")
    if options.json:
        print(json.dumps(results, indent=2))
    elif not results and not problems:
        print(f"no request is open in {options.request}")
    if problems:
        raise DataError("; ".join(problems))
    return 0 if all(item["gate"] == "passed" for item in results) else 1
