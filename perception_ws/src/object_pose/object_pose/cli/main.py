"""``object-pose``: one entry for every verb; a user's mistake is one clear line and exit code 2."""

from __future__ import annotations

import argparse
import importlib
import logging
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from typing import NoReturn

import cv2

from object_pose import __version__
from object_pose.core.errors import CancelledError, ObjectPoseError
from object_pose.core.params import nearest_name
from object_pose.runtime.cpus import leave_cores_to_others
from object_pose.runtime.processes import INTERRUPTED, interrupted_at_once, interruptions_kept, reuse_freed_memory

logger = logging.getLogger(__name__)

# Verb -> one line for the overview; the module object_pose.cli.<verb> adds options and runs.
VERBS = {
    "run": "run camera, detection and pose nodes",
    "demo": "run the whole pipeline on the simulated camera, with a separate planner process",
    "predict": "run a model of any task on images, RGB-D files, folders, videos or bags",
    "dataset": "check, report on, convert, split and render data sets",
    "generate": "render a BOP data set of the procedural parts or of your own meshes",
    "train": "train a task's network",
    "tune": "search for better training options, and write the best as a recipe",
    "evaluate": "measure a model on a data set or on simulated samples",
    "report": "write a PDF report on a part-inspection model",
    "export": "turn a training run into an ONNX model with its card",
    "bag": "describe, replay and evaluate recorded bags",
    "serve": "answer over HTTP: all tasks, models, and a page to look at",
    "tokens": "create, list and revoke the tokens of the HTTP API",
    "models": "list the models at hand; add, promote, roll back, pull and deploy those of the registry",
    "retrain": "train a model on with the frames of a drift monitor's request",
    "doctor": "say what this machine, camera and robot lack, with the cure of each",
    "onboard": "train a pose model of your own parts from CAD files, with a report",
    "calibrate": "calibrate intrinsics, depth and hand-eye from images of a board",
}

# Modules whose distribution has another name.
_DISTRIBUTIONS = {
    "backports": "backports.zstd",
    "cv2": "opencv-python-headless",
    "google": "protobuf",
    "PIL": "pillow",
    "yaml": "PyYAML",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (0 fine, 1 failed check, 2 bad input, 130 interrupted)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    verb = arguments[0] if arguments else ""
    leave_cores_to_others()
    reuse_freed_memory()

    def call() -> int:
        options = make_parser(verb).parse_args(arguments)
        options.command = shlex.join(["object-pose", *arguments])
        set_up_logging(options.verbose)
        return int(options.handler(options) or 0)

    return exit_code(f"object-pose {verb}", call)


def exit_code(program: str, call: Callable[[], int]) -> int:
    """Return what ``call`` returns; a user's mistake is one line on standard error and 2, an interruption 130."""
    try:
        with interruptions_kept():
            return call()
    except CancelledError as error:
        return _fail(program, str(error), INTERRUPTED)
    except ObjectPoseError as error:
        return _fail(program, str(error))
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("object_pose."):
            raise
        return _fail(program, f"the Python package '{error.name}' is not installed ({_install_hint(error.name or '')})")
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:
        return _fail(program, str(error))
    except KeyboardInterrupt:
        return _fail(program, "interrupted", INTERRUPTED)


def _flags(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the long options of a parser and its sub-commands."""
    for action in parser._actions:
        yield from (flag for flag in action.option_strings if flag.startswith("--"))
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                yield from _flags(sub)


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with the arguments."""

    def error(self, message: str) -> NoReturn:
        """End the program with exit code 2; an unknown option is told with the nearest known one."""
        if message.startswith("unrecognized arguments: --"):
            typed = message.split()[2].partition("=")[0]
            near = nearest_name(typed.removeprefix("--"), [flag.removeprefix("--") for flag in _flags(self)])
            message += f", did you mean --{near}?" if near else ""
        self.exit(2, f"{self.prog}: {message} (--help shows the options)\n")


def make_parser(verb: str) -> argparse.ArgumentParser:
    """Return the parser of the whole command line, with the options of ``verb`` alone."""
    parser = Parser(
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
            with interrupted_at_once(f"object-pose {name}"):
                module = importlib.import_module(f"object_pose.cli.{name.replace('-', '_')}")
            sub.epilog = module.EXAMPLES
            module.add_options(sub)
            sub.set_defaults(handler=module.run)
    return parser


def _fail(program: str, message: str, code: int = 2) -> int:
    """Say in one line what went wrong; with --verbose also where."""
    print(f"{program}: {' '.join(message.split())}", file=sys.stderr)
    logger.info("raised here", exc_info=True)
    return code


def set_up_logging(verbose: bool) -> None:
    """Log to standard error: warnings, with ``verbose`` details, too."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    # What OpenCV says of a damaged image we say ourselves.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)


def _install_hint(module: str) -> str:
    """Return how to install a module: with the extra of ours that brings it along."""
    if module == "rclpy" or module.endswith("_msgs"):
        return "run 'make setup', or source a ROS 2 workspace that has it"
    try:
        requirements = metadata.requires("object-pose") or []
    except metadata.PackageNotFoundError:
        requirements = []
    distribution = _DISTRIBUTIONS.get(module, module)
    for requirement in requirements:
        name, _, marker = requirement.partition(";")
        if name.strip().lower() == distribution.lower():
            extra = re.search(r"extra == ['\"](.+?)['\"]", marker)
            return f"pip install 'object-pose[{extra.group(1)}]'" if extra else "pip install object-pose"
    return f"pip install {distribution}"


def _overview_epilog() -> str:
    return "'object-pose VERB --help' shows a verb's options with examples."


if __name__ == "__main__":
    sys.exit(main())
