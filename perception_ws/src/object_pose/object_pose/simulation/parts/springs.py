"""Compression springs of any size by formula, whole or broken, stretched or crushed; millimetres, z the axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from manifold3d import Manifold
from numpy.typing import NDArray

from object_pose.simulation.parts import solids

Array = NDArray[np.float64]

SPRING_DAMAGES = ("broken_coil", "stretched_coils", "crushed_coils")
_STEPS_PER_TURN = 20
_SIDES = 8


@dataclass(frozen=True)
class SpringShape:
    """One spring: ``wire`` diameter, mean ``coil_radius`` and free ``pitch`` in mm; its ends are closed and ground."""

    wire: float
    coil_radius: float
    pitch: float
    turns: float
    left_handed: bool


@dataclass(frozen=True)
class CoilDamage:
    """What happened to ``turns`` turns around turn ``middle``.

    ``severity`` is in [0, 1], from subtle to obvious; ``sideways`` (2,) in [-1, 1] says which way coils were pushed.
    """

    kind: str
    middle: float
    turns: float
    severity: float
    sideways: tuple[float, float]

    def __post_init__(self) -> None:
        if self.kind not in SPRING_DAMAGES:
            raise ValueError(f"kind must be one of {SPRING_DAMAGES}, got '{self.kind}'")


def draw_spring(rng: np.random.Generator) -> SpringShape:
    """Draw a spring of 35 to 90 mm."""
    wire = float(rng.uniform(1.9, 4.0))
    radius = float(np.clip(wire * rng.uniform(2.3, 4.5), 6.0, 14.0))
    pitch = float(np.clip(wire * rng.uniform(1.75, 2.8), wire + 1.6, 9.0))
    turns = float(np.clip(2.0 + rng.uniform(32.0, 80.0) / pitch, 6.5, 13.0))
    return SpringShape(wire, radius, pitch, turns, bool(rng.random() < 0.3))


def draw_coil_damage(shape: SpringShape, rng: np.random.Generator) -> CoilDamage:
    """Draw a damage of any kind and strength, away from the closed ends."""
    kind = SPRING_DAMAGES[int(rng.integers(len(SPRING_DAMAGES)))]
    severity = float(rng.random())
    turns = {
        "broken_coil": 0.3 + 0.8 * severity,
        "stretched_coils": rng.uniform(1.0, 2.2),
        "crushed_coils": rng.uniform(2.0, min(4.0, shape.turns - 4.0)),
    }[kind]
    margin = 1.5 + 0.5 * turns
    middle = rng.uniform(min(margin, 0.5 * shape.turns), max(shape.turns - margin, 0.5 * shape.turns))
    sideways = rng.uniform(-1.0, 1.0, 2)
    return CoilDamage(kind, float(middle), float(turns), severity, (float(sideways[0]), float(sideways[1])))


def spring_solid(shape: SpringShape, damage: CoilDamage | None = None) -> Manifold:
    """Build the spring about z, centred on z = 0."""
    turn, path = _path(shape, damage)
    if damage is None or damage.kind != "broken_coil":
        return _ground(solids.sweep(path, 0.5 * shape.wire, _SIDES), path, shape)
    before = turn <= damage.middle - 0.5 * damage.turns
    after = turn >= damage.middle + 0.5 * damage.turns
    pieces = [solids.sweep(path[part], 0.5 * shape.wire, _SIDES) for part in (before, after)]
    return _ground(pieces[0] + pieces[1], path, shape)


def coil_zone(shape: SpringShape, damage: CoilDamage) -> Array:
    """Return (1, 8, 3) corners in mm of the box about the damaged turns."""
    turn, path = _path(shape, damage)
    inside = path[np.abs(turn - damage.middle) <= 0.5 * damage.turns]
    reach = 0.5 * shape.wire + 0.5
    low, high = inside.min(axis=0) - reach, inside.max(axis=0) + reach
    if damage.kind == "broken_coil":
        # Only where the wire is gone.
        return np.array([[(x, y, z) for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])]])
    side = shape.coil_radius + shape.wire
    return np.array([[(x, y, z) for x in (-side, side) for y in (-side, side) for z in (low[2], high[2])]])


def gap_direction(shape: SpringShape, damage: CoilDamage) -> float:
    """Return the angle about z, in radians, at which the middle of the damaged wire lies."""
    hand = -1.0 if shape.left_handed else 1.0
    return float(hand * 2.0 * np.pi * (damage.middle - 0.5 * shape.turns))


def _path(shape: SpringShape, damage: CoilDamage | None) -> tuple[Array, Array]:
    """Return the turn (N,) and the point (N, 3) of every step along the wire's middle."""
    turn = np.linspace(0.0, shape.turns, round(shape.turns * _STEPS_PER_TURN) + 1)
    # The pitch opens over half a turn at both ends, so that the wire has no kink.
    ambient_occlusion = np.clip((np.minimum(turn, shape.turns - turn) - 0.75) / 0.5, 0.0, 1.0)
    pitch = 1.04 * shape.wire + (shape.pitch - 1.04 * shape.wire) * ambient_occlusion
    radius = np.full_like(turn, shape.coil_radius)
    offset = np.zeros((len(turn), 2))
    if damage is not None:
        inside = np.clip((0.5 * damage.turns - np.abs(turn - damage.middle)) / 0.25 + 0.5, 0.0, 1.0)
        if damage.kind == "stretched_coils":
            pitch = pitch * (1.0 + (0.8 + 1.2 * damage.severity) * inside)
            radius = radius * (1.0 - 0.08 * inside)
        elif damage.kind == "crushed_coils":
            pitch = pitch + (1.03 * shape.wire - pitch) * inside
            radius = radius * (1.0 + 0.06 * damage.severity * inside)
            offset = 0.3 * damage.severity * shape.coil_radius * inside[:, None] * np.asarray(damage.sideways)
        else:
            # Past the break the spring is free to spring open and aside.
            pitch = pitch + 0.5 * damage.severity * shape.pitch * (np.abs(turn - damage.middle) < 0.5)
            after = np.clip((turn - damage.middle) / max(shape.turns - damage.middle, 1e-6), 0.0, 1.0)
            offset = 0.5 * damage.severity * shape.coil_radius * after[:, None] * np.asarray(damage.sideways)
    z = np.concatenate([[0.0], np.cumsum(0.5 * (pitch[1:] + pitch[:-1]) * np.diff(turn))])
    angle = (-1.0 if shape.left_handed else 1.0) * 2.0 * np.pi * (turn - 0.5 * shape.turns)
    points = np.stack([radius * np.cos(angle) + offset[:, 0], radius * np.sin(angle) + offset[:, 1], z], axis=1)
    return turn, points - (0.0, 0.0, 0.5 * z[-1])


def _ground(solid: Manifold, path: Array, shape: SpringShape) -> Manifold:
    """Grind both ends flat."""
    side = 3.0 * shape.coil_radius
    return solid ^ solids.box((-side, -side, path[0, 2]), (side, side, path[-1, 2]))
