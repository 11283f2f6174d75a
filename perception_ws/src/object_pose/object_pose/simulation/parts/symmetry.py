"""Finds the symmetries of a mesh: which turns about its centre map its surface onto itself.

A discrete symmetry is made on purpose and holds exactly, so it may hardly move the surface. An axis of revolution is
often an approximation - teeth, flats, a coil - and is measured as BOP does, by how far the surface moves in diameters;
BOP's tenth would also call a bolt the same from both ends, so the default is tighter.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import trimesh
from scipy.optimize import minimize
from scipy.spatial import cKDTree

from object_pose.core.arrays import Array
from object_pose.core.errors import ConfigError
from object_pose.core.geometry import se3
from object_pose.core.geometry.symmetry import Symmetry, group_of, turn_about
from object_pose.simulation.parts.objects import mesh_diameter

ROUND_TOLERANCE = 0.06
EXACT_TOLERANCE = 0.02
NEAR_TOLERANCE = 0.1  # BOP's, in diameters: a turn that moves the surface by less is a symmetry there
# With an exact turn of few folds, an axis is one of revolution only if other turns hardly show either.
_HARDLY_SHOWS = 0.03
_FEW_FOLDS = 8
_MOST_FOLDS = 64
_EQUAL_MOMENTS = 0.05
_COARSE_TOLERANCE = 0.07
_PLANE_DIRECTIONS = 180
_SPHERE_DIRECTIONS = 1500
_KEPT_DIRECTIONS = 24
_ROUND_ANGLES = np.linspace(2.0 * np.pi / 23.7, 2.0 * np.pi * 23.0 / 23.7, 23)
_NEAR_CENTRE = 0.01
_SAME_TURN_RAD = np.radians(4.0)
_NEAR_AXIS_COS = np.cos(np.radians(3.0))
_APART_COS = np.cos(np.radians(10.0))
_SIMPLE_AXES = np.array(
    sorted((axis for axis in itertools.product((0, 1, -1), repeat=3) if axis > (0, 0, 0)), key=np.count_nonzero)
).astype(np.float64)
_SIMPLE_AXES /= np.linalg.norm(_SIMPLE_AXES, axis=1, keepdims=True)


@dataclass(frozen=True)
class FoundSymmetry:
    """A symmetry and how far the worst of its turns moves the surface, in diameters."""

    symmetry: Symmetry
    deviation: float


def find_symmetry(
    mesh: trimesh.Trimesh, round_tolerance: float = ROUND_TOLERANCE, exact_tolerance: float = EXACT_TOLERANCE
) -> FoundSymmetry:
    """Return the symmetries of a mesh: an axis of revolution with its half turn, or turns of two to eight folds.

    An axis is one of revolution when no angle about it moves the surface by more than ``round_tolerance`` diameters;
    ``exact_tolerance`` is that of every other turn. A ball gets one of its axes. The result is deterministic.
    """
    surface = _Surface(mesh)
    for axes in _candidate_axes(surface):
        found = _about_round_axis(surface, axes, round_tolerance, exact_tolerance)
        found = found or _about_folds(surface, axes, exact_tolerance)
        if found:
            return found
    return FoundSymmetry(Symmetry(), 0.0)


@dataclass(frozen=True)
class SymmetryAxis:
    """An axis through ``point`` along ``direction``, each (3,), with its turns: ``folds``, or 0 where it is round.

    ``residual_m`` is how far the worst of the turns moves the surface, and ``worst`` (4, 4) is that turn. Where a round
    axis is an approximation, as of a gear, ``exact_folds`` are those that hold exactly, 1 for none.
    """

    direction: Array
    point: Array
    folds: int
    residual_m: float
    worst: Array
    exact_folds: int = 1

    @property
    def text(self) -> str:
        """The turns in words."""
        return _turns_in_words(_direction(self.direction), self.folds)

    @property
    def term(self) -> str:
        """How ``parse_symmetry`` is told of the turns; '' where the axis is none of the part's own."""
        name = _direction(self.direction)
        return f"{name}{self.folds or ''}" if name in "xyz" else ""


def measured_axes(mesh: trimesh.Trimesh, symmetry: Symmetry) -> list[SymmetryAxis]:
    """Return the axes of a symmetry, stated or found, with how far their turns move the surface of a mesh."""
    surface = _Surface(mesh)
    axes = []
    if symmetry.axis is not None:
        revolution = [turn_about(symmetry.axis, angle, symmetry.offset) for angle in _ROUND_ANGLES]
        measured = surface.measured(symmetry.axis, symmetry.offset, 0, revolution)
        if measured.residual_m > EXACT_TOLERANCE * surface.diameter:
            folds = _folds(surface, symmetry.axis, _MOST_FOLDS, EXACT_TOLERANCE)
            measured = dataclasses.replace(measured, exact_folds=folds)
        axes.append(measured)
    for direction, folds, turns in _axes_of(symmetry.discrete):
        # The point of the axis that is nearest to the origin.
        point = np.linalg.pinv(np.eye(3) - turns[0][:3, :3], rcond=1e-6) @ turns[0][:3, 3]
        axes.append(surface.measured(direction, point, folds, turns))
    return axes


def near_axes(mesh: trimesh.Trimesh, symmetry: Symmetry, tolerance: float = NEAR_TOLERANCE) -> list[SymmetryAxis]:
    """Return those of the part's own axes about which turns that are no symmetry move its surface but little.

    Turns are about the middle of the box, as ``parse_symmetry`` has them: any turn, or else four, three or two folds.
    """
    surface, middle, known = _Surface(mesh), mesh.bounds.mean(axis=0), symmetry.transforms
    axes = []
    for direction in np.eye(3):
        for folds, angles in ((0, _ROUND_ANGLES), *((folds, _multiples(folds)) for folds in (4, 3, 2))):
            turns = [turn_about(direction, angle, middle) for angle in angles]
            if all(_is_among(turn, known) for turn in turns):
                continue
            measured = surface.measured(direction, middle, folds, turns, tolerance)
            if measured.residual_m <= tolerance * surface.diameter:
                axes.append(measured)
                known = np.concatenate([known, *(turn @ known for turn in turns)])
                break
    return axes


def _is_among(turn: Array, known: Array) -> bool:
    """Return whether a turn (4, 4) is one of those known (M, 4, 4): the trace of a rotation is 1 + 2 cos(angle)."""
    traces = np.einsum("mij,ij->m", known[:, :3, :3], turn[:3, :3])
    return bool(traces.max() > 1.0 + 2.0 * np.cos(_SAME_TURN_RAD))


def turn_residual_m(mesh: trimesh.Trimesh, direction: Array, angle_deg: float) -> float:
    """Return how far a turn about the line through the middle of the box along ``direction`` moves the surface."""
    surface, middle = _Surface(mesh), mesh.bounds.mean(axis=0)
    turn = turn_about(direction, float(np.radians(angle_deg)), middle)
    return surface.measured(direction, middle, 0, [turn]).residual_m


def surface_motion(mesh: trimesh.Trimesh, transform: Array, probes: int = 3000) -> tuple[Array, Array]:
    """Return points (N, 3) spread over a mesh, and how far from its surface ``transform`` (4, 4) moves each, (N,)."""
    surface = _Surface(mesh, probes=probes)
    return surface.probes, surface.distances(se3.apply(transform, surface.probes))


def _about_round_axis(
    surface: _Surface, axes: Sequence[Array], round_tolerance: float, exact_tolerance: float
) -> FoundSymmetry | None:
    for axis in axes:
        deviation = surface.deviation(axis, _ROUND_ANGLES, round_tolerance)
        if deviation > round_tolerance:
            continue
        if deviation > _HARDLY_SHOWS and 2 < _folds(surface, axis, _MOST_FOLDS, exact_tolerance) <= _FEW_FOLDS:
            continue
        return FoundSymmetry(Symmetry(_best_flip(surface, axis, exact_tolerance), axis, surface.centre), deviation)
    return None


def _best_flip(surface: _Surface, axis: Array, exact_tolerance: float) -> Array:
    """Return the half turn (1, 4, 4) across an axis of revolution that moves the surface least, if little enough."""
    across = [simple for simple in _SIMPLE_AXES if abs(simple @ axis) < 1e-9] + _half_turn_axes(surface, axis)
    deviations = np.array([surface.deviation(flip, [np.pi], exact_tolerance) for flip in across])
    if deviations.size == 0 or deviations.min() > exact_tolerance:
        return np.zeros((0, 4, 4))
    best = int(np.argmax(deviations <= deviations.min() + 0.25 * exact_tolerance))
    return surface.turn(across[best], np.pi)[None]


def _about_folds(surface: _Surface, axes: Sequence[Array], exact_tolerance: float) -> FoundSymmetry | None:
    turns, deviations = [], []
    for axis in axes:
        folds = _folds(surface, axis, _FEW_FOLDS, exact_tolerance)
        if folds > 1:
            turns.append(surface.turn(axis, 2.0 * np.pi / folds))
            deviations.append(surface.deviation(axis, _multiples(folds), exact_tolerance))
    return FoundSymmetry(Symmetry(group_of(turns)), max(deviations)) if turns else None


def _folds(surface: _Surface, axis: Array, most: int, exact_tolerance: float) -> int:
    """Return the greatest number of folds, up to ``most``, that the surface has about an axis; 1 is none."""
    every = range(most, 1, -1)
    return next((n for n in every if surface.deviation(axis, _multiples(n), exact_tolerance) <= exact_tolerance), 1)


def _multiples(folds: int) -> Array:
    return np.asarray(np.arange(1, folds // 2 + 1) * (2.0 * np.pi / folds), dtype=np.float64)


class _Surface:
    """Even samples of a mesh's surface, about which distances can be asked."""

    def __init__(self, mesh: trimesh.Trimesh, samples: int = 60_000, probes: int = 1500) -> None:
        self.triangles = np.asarray(mesh.triangles, dtype=np.float64)
        self.diameter = mesh_diameter(np.asarray(mesh.vertices, dtype=np.float64))
        self.centre, self.moments, self.principal_axes = self._mass(np.asarray(mesh.area_faces))
        points, self._face_of = trimesh.sample.sample_surface(mesh, samples, seed=0)
        self._tree = cKDTree(points)
        # The samples are in random order, so any first few are spread over the surface.
        self.probes = np.asarray(points[:probes])

    def _mass(self, areas: Array) -> tuple[Array, Array, Array]:
        """Return centre (3,), second moments (3,) and their axes (3, 3) of the surface as a thin shell."""
        weights = areas / areas.sum()
        centre = weights @ self.triangles.mean(axis=1)
        corners = self.triangles.reshape(-1, 3)
        middle_of_box = 0.5 * (corners.min(axis=0) + corners.max(axis=0))
        centre = np.where(np.abs(centre - middle_of_box) < _NEAR_CENTRE * self.diameter, middle_of_box, centre)
        spokes = self.triangles - centre
        spokes = np.concatenate([spokes, spokes.sum(axis=1, keepdims=True)], axis=1)
        moments, axes = np.linalg.eigh(np.einsum("f,fki,fkj->ij", weights / 12.0, spokes, spokes))
        return centre, moments, axes.T

    def turn(self, axis: Array, angle: float) -> Array:
        """Return the (4, 4) turn about the line through the centre along ``axis``."""
        return turn_about(axis, angle, self.centre)

    def mean_motion(self, axis: Array, angle: float, probes: int) -> float:
        """Return the mean distance of turned samples from the nearest ones, in diameters."""
        distances, _ = self._tree.query(se3.apply(self.turn(axis, angle), self.probes[:probes]))
        return float(distances.mean()) / self.diameter

    def deviation(self, axis: Array, angles: Sequence[float] | Array, enough: float) -> float:
        """Return the greatest distance of the surface turned by any of ``angles`` from itself, in diameters.

        It is infinite as soon as a turn moves the surface by much more than ``enough``.
        """
        greatest = 0.0
        for angle in angles:
            greatest = max(greatest, self._deviation(self.turn(axis, angle), enough))
            if greatest > enough:
                return greatest
        return greatest

    def measured(
        self, direction: Array, point: Array, folds: int, turns: Sequence[Array], enough: float = np.inf
    ) -> SymmetryAxis:
        """Return an axis with the one of its ``turns`` (4, 4) that moves the surface most; see ``deviation``."""
        deviations = [self._deviation(turn, enough) for turn in turns]
        worst = int(np.argmax(deviations))
        return SymmetryAxis(direction, point, folds, deviations[worst] * self.diameter, turns[worst])

    def distances(self, points: Array, neighbours: int = 8) -> Array:
        """Return the distances of points (N, 3) from the surface in metres, (N,)."""
        _, nearest = self._tree.query(points, neighbours)
        triangles = self.triangles[self._face_of[nearest]].reshape(-1, 3, 3)
        repeated = np.repeat(points, neighbours, axis=0)
        gaps = np.linalg.norm(trimesh.triangles.closest_point(triangles, repeated) - repeated, axis=1)
        return np.asarray(gaps.reshape(-1, neighbours).min(axis=1))

    def _deviation(self, transform: Array, enough: float, worst: int = 48) -> float:
        moved = se3.apply(transform, self.probes)
        few, _ = self._tree.query(moved[:100])
        if few.max() > 2.0 * (enough + 0.02) * self.diameter:
            return np.inf
        distances, _ = self._tree.query(moved)
        # Samples are never nearer than the surface, so the worst probes by samples are looked at exactly.
        return float(self.distances(moved[np.argsort(distances)[-worst:]]).max()) / self.diameter


def _candidate_axes(surface: _Surface) -> Iterator[list[Array]]:
    """Yield lists of axes (3,) that may be of symmetry: principal ones, and others where equal moments allow them."""
    low, high = np.diff(surface.moments) < _EQUAL_MOMENTS * surface.moments[-1]
    if low and high:
        yield list(_SIMPLE_AXES)
        directions = _half_sphere(_SPHERE_DIRECTIONS)
        yield _with_simple(axis for folds in (2, 3, 4, 5) for axis in _best_axes(surface, directions, folds))
    elif low or high:
        unique = surface.principal_axes[2 if low else 0]
        refined = _refine(surface, unique, np.pi)
        yield [*_with_simple([refined]), *_half_turn_axes(surface, unique)]
    else:
        yield _with_simple(surface.principal_axes)


def _half_turn_axes(surface: _Surface, across: Array) -> list[Array]:
    """Return the axes across ``across`` about which half a turn moves the surface least."""
    first = np.linalg.svd(across[None])[2][1]
    angles = np.arange(_PLANE_DIRECTIONS) * (np.pi / _PLANE_DIRECTIONS)
    directions = np.stack([se3.exp_so3(across * angle) @ first for angle in angles])
    return _with_simple(_best_axes(surface, directions, 2)[:4])


def _best_axes(surface: _Surface, directions: Array, folds: int) -> list[Array]:
    """Return the refined axes, best first, of the directions that nearly are ``folds``-fold."""
    angle = 2.0 * np.pi / folds
    motions = np.array([surface.mean_motion(direction, angle, 60) for direction in directions])
    kept: list[Array] = []
    for index in np.argsort(motions):
        if motions[index] > _COARSE_TOLERANCE or len(kept) == _KEPT_DIRECTIONS:
            break
        if all(abs(directions[index] @ other) < _APART_COS for other in kept):
            kept.append(directions[index])
    return [_refine(surface, axis, angle) for axis in kept]


def _refine(surface: _Surface, axis: Array, angle: float) -> Array:
    """Tilt an axis to where its turn moves the surface least."""
    across = np.linalg.svd(axis[None])[2][1:]

    def tilted(tilt: Array) -> Array:
        return np.asarray(se3.exp_so3(tilt @ across) @ axis)

    start = np.array([[0.0, 0.0], [0.03, 0.0], [0.0, 0.03]])
    found = minimize(
        lambda tilt: surface.mean_motion(tilted(tilt), angle, 200),
        start[0],
        method="Nelder-Mead",
        options={"initial_simplex": start, "xatol": 1e-3, "fatol": 1e-5, "maxfev": 45},
    )
    return tilted(found.x)


def _with_simple(axes: Iterable[Array]) -> list[Array]:
    """Put before every axis the coordinate axis or diagonal that it nearly is."""
    result = []
    for axis in axes:
        cosines = _SIMPLE_AXES @ axis
        nearest = int(np.argmax(np.abs(cosines)))
        if abs(cosines[nearest]) > _NEAR_AXIS_COS:
            result.append(_SIMPLE_AXES[nearest])
        result.append(axis)
    return result


def _half_sphere(count: int) -> Array:
    """Return (count, 3) unit vectors spread evenly over half a sphere (Fibonacci lattice)."""
    index = np.arange(count) + 0.5
    z = 1.0 - index / count
    angle = np.pi * (1.0 + np.sqrt(5.0)) * index
    return np.stack([np.sqrt(1.0 - z * z) * np.cos(angle), np.sqrt(1.0 - z * z) * np.sin(angle), z], axis=1)


FOUND = "found"
NAMED_AXES = 4  # of discrete turns
GRAMMAR = (
    "'found', 'none', or of x, y, z those the part is round about, and x2..z64 those of so many folds: 'z', 'z6', "
    "'z,x2'"
)
_TERM = re.compile(r"([xyz])(\d*)")


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
    words = [] if symmetry.axis is None else [_turns_in_words(_direction(symmetry.axis), 0)]
    axes = _axes_of(symmetry.discrete)
    words += [_turns_in_words(_direction(direction), folds) for direction, folds, _ in axes[:NAMED_AXES]]
    if len(axes) > NAMED_AXES:
        words.append(f"and about {len(axes) - NAMED_AXES} more axes")
    return ", ".join(words)


def _axes_of(discrete: Array) -> list[tuple[Array, int, list[Array]]]:
    """Return the axes of turns (S, 4, 4), those of most folds first: direction (3,), folds and the turns about it."""
    axes: dict[str, tuple[Array, int, list[Array]]] = {}
    for transform in discrete:
        turn = se3.log_so3(transform[:3, :3])
        angle = float(np.linalg.norm(turn))
        name = _direction(turn / angle)
        direction, folds, turns = axes.get(name, (turn / angle, 0, []))
        axes[name] = direction, max(folds, round(2.0 * np.pi / angle)), [*turns, transform]
    return [axes[name] for name in sorted(axes, key=lambda name: (-axes[name][1], len(name), name))]


def _turns_in_words(axis: str, folds: int) -> str:
    return {0: f"round about {axis}", 2: f"half turn about {axis}"}.get(folds, f"{folds}-fold about {axis}")


def _direction(axis: Array) -> str:
    """Name a coordinate axis, or write out a direction whose first component of any size is positive."""
    largest = int(np.argmax(np.abs(axis)))
    if abs(axis[largest]) > 0.999:
        return "xyz"[largest]
    first = axis[np.flatnonzero(np.abs(axis) > 0.01)[0]]
    return "(" + " ".join(f"{value + 0.0:.2f}" for value in axis * np.sign(first)) + ")"
