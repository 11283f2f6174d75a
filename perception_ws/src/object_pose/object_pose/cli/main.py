"""``object-pose``: one entry for every verb; a user's mistake is one clear line and exit code 2."""

from __future__ import annotations

import argparse
import importlib
import logging
import shlex
import sys
from collections.abc import Sequence
from typing import NoReturn

import cv2

from object_pose import __version__
from object_pose.core.errors import ObjectPoseError

logger = logging.getLogger(__name__)

# Verb -> one line for the overview; the module object_pose.cli.<verb> adds options and runs.
VERBS = {
    "run": "run camera, detection and pose nodes",
    "demo": "the whole pipeline on the simulated camera, watched by a separate planner process",
    "predict": "images, RGB-D files, folders or videos to what a model of any task says of them",
    "dataset": "check, report on, convert, split and render data sets",
    "generate": "render a BOP data set of the procedural parts or of your own meshes",
    "train": "train a task's network",
    "evaluate": "measure a model on a data set",
    "report": "tell those who decide what a model is worth, as PDF",
    "export": "turn a training run into an ONNX model with its card",
    "bag": "look into recorded bags, replay and evaluate them offline",
    "models-check": "every shipped model on its test split, each figure beside its bar",
    "real-folds": "cross-validation on real photographs: trains, tests, each figure beside its bar",
    "train-smoke": "train every task for a minute and export it",
    "bench-train": "what a training step costs, beside the machine's matrix product",
    "models": "list and describe the models at hand",
    "pose-check": "accuracy, honesty and steadiness of poses, each figure beside its bar",
    "onboard": "your own parts, from CAD files to a ready model with its report",
    "bench-pose": "the pose head beside PnP alone and Open3D, on the same frames",
    "real-check": "the LM-O model on real frames, through the ROS pipeline",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (0 fine, 1 failed check, 2 bad input, 130 interrupted)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    verb = arguments[0] if arguments else ""
    try:
        options = make_parser(verb).parse_args(arguments)
        options.command = shlex.join(["object-pose", *arguments])
        _set_up_logging(logging.INFO if options.verbose else logging.WARNING)
        return int(options.handler(options) or 0)
    except ObjectPoseError as error:
        return _fail(verb, str(error))
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("object_pose."):
            raise
        return _fail(verb, f"the Python package '{error.name}' is not installed ({_install_hint(error.name or '')})")
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:
        return _fail(verb, str(error))
    except KeyboardInterrupt:
        return _fail(verb, "interrupted", 130)


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with the arguments."""

    def error(self, message: str) -> NoReturn:
        """End the program with exit code 2."""
        self.exit(2, f"{self.prog}: {message} (--help shows the options)\n")


def make_parser(verb: str) -> argparse.ArgumentParser:
    """Return the parser of the whole command line, with the options of ``verb`` alone."""
    parser = _Parser(
        prog="object-pose", description="RGB-D frames in, typed 6-DoF detections out.", epilog=_overview_epilog()
    )
    parser.add_argument("--version", action="version", version=f"object-pose {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, summary in VERBS.items():
        sub = verbs.add_parser(
            name, help=summary, description=summary, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        sub.add_argument("-v", "--verbose", action="store_true", help="log details")
        if name == verb:
            # Only the chosen verb is imported: --help stays quick and torch stays out of the way.
            module = importlib.import_module(f"object_pose.cli.{name.replace('-', '_')}")
            sub.epilog = module.EXAMPLES
            module.add_options(sub)
            sub.set_defaults(handler=module.run)
    return parser


def _fail(verb: str, message: str, code: int = 2) -> int:
    """Say in one line what went wrong; with --verbose also where."""
    print(f"object-pose {verb}: {' '.join(message.split())}", file=sys.stderr)
    logger.info("raised here", exc_info=True)
    return code


def _set_up_logging(level: int) -> None:
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    # What OpenCV says of a damaged image we say ourselves.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)


def _install_hint(package: str) -> str:
    if package == "rclpy" or package.endswith("_msgs"):
        return "run 'make setup', or source a ROS 2 workspace that has it"
    return "run 'make setup-train', or install it with pip"


def _overview_epilog() -> str:
    return "'object-pose VERB --help' shows a verb's options with examples."


if __name__ == "__main__":
    sys.exit(main())
