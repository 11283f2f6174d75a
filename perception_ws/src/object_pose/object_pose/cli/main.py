"""``object-pose``: one entry for every verb; a user's mistake is one clear line and exit code 2."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence

from object_pose import __version__
from object_pose.core.errors import ObjectPoseError

# Verb -> one line for the overview; the module object_pose.cli.<verb> adds options and runs.
VERBS = {
    "run": "run camera, detection and pose nodes",
    "demo": "the whole pipeline on the simulated camera, watched by a separate planner process",
    "predict": "images, RGB-D files, folders or videos to detections and poses",
    "generate": "render a BOP data set of the procedural parts or of your own meshes",
    "train": "train a task's network",
    "evaluate": "measure a model on a data set",
    "export": "turn a training run into an ONNX model with its card",
    "bag": "look into recorded bags, replay and evaluate them offline",
    "models": "list and describe the models at hand",
    "real-check": "the LM-O model on real frames, through the ROS pipeline",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (0 fine, 1 failed check, 2 bad input, 130 interrupted)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    parser = _parser(arguments[0] if arguments else "")
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.INFO, format="%(levelname)s %(name)s: %(message)s"
    )
    try:
        return int(options.handler(options) or 0)
    except ObjectPoseError as error:
        print(f"object-pose {options.verb}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"object-pose {options.verb}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0


def _parser(verb: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
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


def _overview_epilog() -> str:
    return "'object-pose VERB --help' shows a verb's options with examples."


if __name__ == "__main__":
    sys.exit(main())
