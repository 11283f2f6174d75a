"""Gears and springs of any size by formula, whole or damaged; millimetres, z the axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from manifold3d import CrossSection, Manifold

from object_pose.core.arrays import Array
from object_pose.simulation.parts import solids

GEAR_DAMAGES = ("missing_teeth", "bent_teeth", "worn_teeth")
_FLANK_POINTS = 6


@dataclass(frozen=True)
class GearShape:
    """One gear: ``module``, face ``width``, ``bore`` diameter and hub in mm, ``helix_deg`` the twist over the width.

    ``recess`` is the share of the width that the web loses on either side, ``holes`` the number of holes in the web.
    """

    teeth: int
    module: float
    width: float
    bore: float
    hub_diameter: float
    hub_height: float
    helix_deg: float
    recess: float
    holes: int
    keyway: bool

    @property
    def root_radius(self) -> float:
        """Radius at the bottom of the teeth, in mm."""
        return 0.5 * self.module * self.teeth - 1.25 * self.module

    @property
    def tip_radius(self) -> float:
        """Radius at the top of the teeth, in mm."""
        return 0.5 * self.module * self.teeth + self.module


@dataclass(frozen=True)
class ToothDamage:
    """What happened to ``count`` neighbouring teeth from ``first`` on.

    ``severity`` is in [0, 1], from subtle to obvious; ``slant`` in [-1, 1] is the side to which they lean or broke.
    """

    kind: str
    first: int
    count: int
    severity: float
    slant: float

    def __post_init__(self) -> None:
        if self.kind not in GEAR_DAMAGES:
            raise ValueError(f"kind must be one of {GEAR_DAMAGES}, got '{self.kind}'")


def draw_gear(rng: np.random.Generator) -> GearShape:
    """Draw a gear of 36 to 80 mm."""
    module = float(rng.uniform(2.2, 4.2))
    outer = float(rng.uniform(36.0, 80.0))
    teeth = int(np.clip(round(outer / module) - 2, 10, 30))
    root = 0.5 * module * teeth - 1.25 * module
    bore = float(rng.uniform(0.2, 0.45) * root)
    hub = float(rng.uniform(bore + 2.5, max(0.72 * root, bore + 3.0)))
    has_web = root - hub > 6.0
    return GearShape(
        teeth=teeth,
        module=module,
        width=float(rng.uniform(5.0, 14.0)),
        bore=2.0 * bore,
        hub_diameter=2.0 * hub,
        hub_height=float(rng.uniform(1.0, 9.0)) if rng.random() < 0.5 else 0.0,
        helix_deg=float(rng.uniform(-12.0, 12.0)) if rng.random() < 0.3 else 0.0,
        recess=float(rng.uniform(0.1, 0.35)) if has_web and rng.random() < 0.5 else 0.0,
        holes=int(rng.integers(3, 8)) if has_web and rng.random() < 0.35 else 0,
        keyway=bool(rng.random() < 0.5),
    )


def draw_tooth_damage(shape: GearShape, rng: np.random.Generator) -> ToothDamage:
    """Draw a damage of any kind and strength."""
    kind = GEAR_DAMAGES[int(rng.integers(len(GEAR_DAMAGES)))]
    most = {"missing_teeth": 3, "bent_teeth": 2, "worn_teeth": max(3, shape.teeth // 3)}[kind]
    least = 3 if kind == "worn_teeth" else 1
    return ToothDamage(
        kind,
        int(rng.integers(shape.teeth)),
        int(rng.integers(least, most + 1)),
        float(rng.random()),
        float(rng.choice([-1.0, 1.0]) * rng.uniform(0.3, 1.0)),
    )


def gear_solid(shape: GearShape, damage: ToothDamage | None = None) -> Manifold:
    """Build the gear about z, its face width centred on z = 0, the hub on +z."""
    teeth = _damaged_teeth(shape, damage)
    turns = np.arange(shape.teeth)[:, None] * (2.0 * np.pi / shape.teeth)
    angles, radii = teeth[..., 1] + turns, teeth[..., 0]
    contour = np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=-1).reshape(-1, 2)
    low, high = -0.5 * shape.width, 0.5 * shape.width
    divisions = 6 if shape.helix_deg else 1
    body = Manifold.extrude(CrossSection([contour]), shape.width, divisions, shape.helix_deg)
    return _with_web_and_bore(body.translate((0.0, 0.0, low)), shape, high)


def _with_web_and_bore(body: Manifold, shape: GearShape, high: float) -> Manifold:
    hub, rim, bore = 0.5 * shape.hub_diameter, shape.root_radius - 2.0, 0.5 * shape.bore
    if shape.recess:
        depth = shape.recess * shape.width
        ring = solids.revolve([(hub, high - depth), (rim, high - depth), (rim, high + 1.0), (hub, high + 1.0)], 40)
        body = body - ring - ring.mirror((0.0, 0.0, 1.0))
    if shape.holes:
        middle, radius = 0.5 * (hub + rim), min(0.36 * (rim - hub), 0.3 * (hub + rim) * np.sin(np.pi / shape.holes))
        for turn in np.arange(shape.holes) * (2.0 * np.pi / shape.holes):
            center = (middle * np.cos(turn), middle * np.sin(turn), 0.0)
            body = body - solids.cylinder(radius, (-50.0, 50.0), 20).translate(center)
    if shape.hub_height:
        body = body + solids.cylinder(hub, (0.0, high + shape.hub_height), 40, chamfer=0.6)
    body = body - solids.cylinder(bore, (-50.0, 50.0), 32)
    if shape.keyway:
        half = 0.3 * bore
        body = body - solids.box((0.0, -half, -50.0), (bore + min(half, 0.5 * (hub - bore)), half, 50.0))
    return body


def involute_tooth(teeth: int, module: float, flank_points: int = _FLANK_POINTS) -> tuple[Array, Array]:
    """Return radii and angles of one tooth's contour about its middle, root to root (pressure angle 20 degrees)."""
    pitch_radius = 0.5 * module * teeth
    base_radius = pitch_radius * np.cos(np.radians(20.0))
    tip_radius, root_radius = pitch_radius + module, pitch_radius - 1.25 * module
    radii = np.linspace(max(base_radius, root_radius), tip_radius, flank_points)

    def involute_angle(radius: Array) -> Array:
        roll = np.sqrt(np.maximum((radius / base_radius) ** 2 - 1.0, 0.0))
        return np.asarray(roll - np.arctan(roll))

    at_pitch = float(involute_angle(np.array([pitch_radius]))[0])
    half_width = np.pi / (2.0 * teeth) + at_pitch - involute_angle(radii)
    radius = np.concatenate([[root_radius], radii, radii[::-1], [root_radius]])
    angle = np.concatenate([[-half_width[0] - 0.02], -half_width, half_width[::-1], [half_width[0] + 0.02]])
    return radius, angle


def _damaged_teeth(shape: GearShape, damage: ToothDamage | None) -> Array:
    """Return (teeth, P, 2) radii and angles about each tooth's middle."""
    teeth = np.tile(np.stack(involute_tooth(shape.teeth, shape.module), axis=-1), (shape.teeth, 1, 1))
    if damage is not None:
        change = {"missing_teeth": _break_off, "bent_teeth": _bend, "worn_teeth": _wear}[damage.kind]
        for step in range(damage.count):
            index = (damage.first + step) % shape.teeth
            teeth[index] = change(teeth[index], shape, damage, step)
    return teeth


def _break_off(tooth: Array, shape: GearShape, damage: ToothDamage, step: int) -> Array:
    """Cut the tooth to a slanted stub; a severe break leaves nothing of it."""
    root, height = shape.root_radius, shape.tip_radius - shape.root_radius
    stub = 0.45 * (1.0 - damage.severity) * (1.0 if step % 2 == 0 else 0.6)
    lean = damage.slant * 0.6 * stub * tooth[:, 1] / np.abs(tooth[:, 1]).max()
    cut = root + height * np.maximum(stub + lean, 0.0)
    return np.stack([np.minimum(tooth[:, 0], np.maximum(cut, root)), tooth[:, 1]], axis=1)


def _bend(tooth: Array, shape: GearShape, damage: ToothDamage, step: int) -> Array:
    """Lean the tooth over to one side, towards its neighbour."""
    height = shape.tip_radius - shape.root_radius
    along = np.clip((tooth[:, 0] - shape.root_radius) / height, 0.0, 1.0)
    share = (0.3 + 0.28 * damage.severity) * (1.0 if step == 0 else 0.8)
    angle = tooth[:, 1] + np.sign(damage.slant) * share * (2.0 * np.pi / shape.teeth) * along**1.3
    return np.stack([tooth[:, 0] - 0.45 * share * height * along, angle], axis=1)


def _wear(tooth: Array, shape: GearShape, damage: ToothDamage, step: int) -> Array:
    """Take height and width off the tooth, less at the ends of the worn stretch."""
    height = shape.tip_radius - shape.root_radius
    inside = min(step, damage.count - 1 - step)
    share = (0.32 + 0.33 * damage.severity) * (0.75 if inside == 0 else 1.0)
    along = np.clip((tooth[:, 0] - shape.root_radius) / height, 0.0, 1.0)
    middle = 1.0 - np.abs(tooth[:, 1]) / np.abs(tooth[:, 1]).max()
    radius = shape.root_radius + height * along * (1.0 - share * (1.0 - 0.15 * middle))
    return np.stack([radius, tooth[:, 1] * (1.0 - 0.6 * share * along)], axis=1)


def tooth_zones(shape: GearShape, damage: ToothDamage) -> Array:
    """Return (count, 8, 3) corners in mm of boxes about the damaged teeth, as they were and as they are."""
    pitch = 2.0 * np.pi / shape.teeth
    low, high = shape.root_radius - 0.3 * shape.module, shape.tip_radius + 0.2 * shape.module
    boxes = []
    for step in range(damage.count):
        middle = (damage.first + step) * pitch
        corners = [
            (radius * np.cos(angle), radius * np.sin(angle), z)
            for radius in (low, high)
            for angle in (middle - 0.55 * pitch, middle + 0.55 * pitch)
            for z in (-0.5 * shape.width, 0.5 * shape.width)
        ]
        boxes.append(corners)
    return np.asarray(boxes)


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
    opening = np.clip((np.minimum(turn, shape.turns - turn) - 0.75) / 0.5, 0.0, 1.0)
    pitch = 1.04 * shape.wire + (shape.pitch - 1.04 * shape.wire) * opening
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
