"""Symmetries as people write and read them: 'z' is round about z, 'z6' six-fold, 'z,x2' round with a half turn."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from object_pose.core.errors import ConfigError
from object_pose.core.geometry import se3
from object_pose.core.geometry.symmetry import Symmetry, group_of, turn_about

Array = NDArray[np.float64]

GRAMMAR = "'none', or of x, y, z those the part is round about, and x2..z64 those of so many folds: 'z', 'z6', 'z,x2'"
_TERM = re.compile(r"([xyz])(\d*)")
_MOST_FOLDS = 64


def parse_symmetry(text: str, centre: Array) -> Symmetry:
    """Return the symmetry that ``text`` means, about lines through ``centre`` (3,) metres along the part's own axes.

    Raises ``ConfigError`` for anything that ``GRAMMAR`` does not have.
    """
    if text.strip() == "none":
        return Symmetry()
    axis: Array | None = None
    turns: list[Array] = []
    for term in text.split(","):
        match = _TERM.fullmatch(term.strip())
        folds = int(match[2] or 1) if match else 0
        if match is None or (match[2] and not 2 <= folds <= _MOST_FOLDS) or (not match[2] and axis is not None):
            raise ConfigError(f"symmetry '{text}' cannot be understood", GRAMMAR)
        direction = np.eye(3)["xyz".index(match[1])]
        if match[2]:
            turns.append(turn_about(direction, 2.0 * np.pi / folds, centre))
        else:
            axis = direction
    return Symmetry(group_of(turns), axis, centre if axis is not None else np.zeros(3))


def describe_symmetry(symmetry: Symmetry) -> str:
    """Say a symmetry in words: 'round about z, half turn about x', '4-fold about z, ...', or 'none'."""
    if symmetry.is_trivial:
        return "none"
    words = [] if symmetry.axis is None else [f"round about {_direction(symmetry.axis)}"]
    folds: dict[str, int] = {}
    for transform in symmetry.discrete:
        turn = se3.log_so3(transform[:3, :3])
        angle = float(np.linalg.norm(turn))
        name = _direction(turn / angle)
        folds[name] = max(folds.get(name, 0), round(2.0 * np.pi / angle))
    ordered = sorted(folds.items(), key=lambda item: (-item[1], len(item[0]), item[0]))
    words += [f"half turn about {name}" if count == 2 else f"{count}-fold about {name}" for name, count in ordered[:4]]
    if len(ordered) > 4:
        words.append(f"and about {len(ordered) - 4} more axes")
    return ", ".join(words)


def _direction(axis: Array) -> str:
    """Name a coordinate axis, or write out a direction whose first component of any size is positive."""
    largest = int(np.argmax(np.abs(axis)))
    if abs(axis[largest]) > 0.999:
        return "xyz"[largest]
    first = axis[np.flatnonzero(np.abs(axis) > 0.01)[0]]
    return "(" + " ".join(f"{value + 0.0:.2f}" for value in axis * np.sign(first)) + ")"
