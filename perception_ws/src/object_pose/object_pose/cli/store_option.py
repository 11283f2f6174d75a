"""The option ``--store`` of verbs that may log what they do, and the store that it means."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from object_pose.mlops.store import Store

_VARIABLE = "OBJECT_POSE_STORE"


def add_store_option(parser: argparse._ActionsContainer, destination: str) -> None:
    """Add ``--store [STORE]``."""
    parser.add_argument(
        "--store",
        dest=destination,
        nargs="?",
        const="",
        metavar="STORE",
        help="log options, versions of data and code, figures and pictures in the store of 'object-pose models', or "
        f"in this folder or MLflow server (default: only where ${_VARIABLE} names one)",
    )


def chosen_store(where: str | None) -> Store | None:
    """Return the store that the option names, without it the environment's, or None."""
    if where is None and not os.environ.get(_VARIABLE):
        return None
    from object_pose.mlops.store import open_store  # only here: MLflow is an extra

    return open_store(where or "")
