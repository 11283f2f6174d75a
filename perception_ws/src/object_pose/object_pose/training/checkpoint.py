"""Checkpoints of training runs, and weights of other runs or exported models as a start."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from object_pose.core.errors import ConfigError, DataError
from object_pose.io.run_folder import RunFolder

logger = logging.getLogger(__name__)


def save_checkpoint(folder: RunFolder, state: Mapping[str, Any], seconds: float = 0.0) -> None:
    """Write the checkpoint beside the last one, then over it: a kill or a full disk never costs both.

    ``state`` has the ``step`` and the state dictionaries of ``network``, ``average`` and ``optimizer``; ``seconds`` is
    how long the run took up to it. Raises ``DataError`` where it cannot be written.
    """
    temporary = folder.checkpoint.with_name(f"{folder.checkpoint.name}.tmp")
    try:
        torch.save(state, temporary)
        os.replace(temporary, folder.checkpoint)
    except (OSError, RuntimeError) as error:  # torch says of a full disk that its writer failed
        temporary.unlink(missing_ok=True)
        kept = "the last good one is kept; " if folder.checkpoint.exists() else ""
        raise DataError(
            f"{folder.checkpoint} cannot be written: {_first_line(error)}",
            f"is the disk full? {kept}make room and go on with --resume",
        ) from error
    folder.note_steps(state["step"], seconds)


def load_checkpoint(folder: RunFolder, device: torch.device) -> dict[str, Any]:
    """Return the checkpoint; raises ``DataError`` where there is none or it is damaged."""
    if not folder.checkpoint.exists():
        raise DataError(f"{folder.checkpoint} is missing", "train first, or name another run folder")
    try:
        state: dict[str, Any] = torch.load(folder.checkpoint, map_location=device, weights_only=True)
    except Exception as error:  # a damaged file raises whatever its damage leads to
        raise DataError(f"{folder.checkpoint} cannot be read: {_first_line(error)}", "train again") from error
    return state


def load_average(run_dir: Path, network: nn.Module) -> nn.Module:
    """Load the averaged weights of a run into ``network`` and return it in evaluation mode.

    Raises ``DataError`` where there are none or they are of another network.
    """
    load_weights(network, _average_of(run_dir), run_dir)
    return network.eval()


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], run_dir: Path) -> None:
    """Load a run's state dictionary into ``network``; raises ``DataError`` where it is of another network."""
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise DataError(
            f"the run {run_dir} is of another network", "its options or the code changed since: train in a new folder"
        ) from error


def start_from_run(run_dir: Path, network: nn.Module) -> None:
    """Copy the averaged weights of another run into the layers that it shares with ``network``."""
    own = network.state_dict()
    shared = {
        name: value for name, value in _average_of(run_dir).items() if name in own and own[name].shape == value.shape
    }
    if not shared:
        raise ConfigError(f"the run {run_dir} shares no layer with this network", "name a run of the same task")
    network.load_state_dict(own | shared)
    logger.info("%d of %d layers start from %s", len(shared), len(own), run_dir)


def _average_of(run_dir: Path) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = load_checkpoint(RunFolder(run_dir), torch.device("cpu"))["average"]
    return weights


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
