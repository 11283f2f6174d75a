"""Which candidates are there: evidence as a probability, and one pose for each piece of surface.

The weights are a logistic regression on candidates in simulated scenes (docs/decisions/0023-parts-without-training.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array
from object_pose.core.geometry import se3
from object_pose.core.matching import verification as counted
from object_pose.core.matching.matcher import Candidates, MatchScene
from object_pose.core.matching.part_model import PartModel
from object_pose.core.matching.verification import verify
from object_pose.core.pose.confidence import probability
from object_pose.core.pose.contour import ContourSurface
from object_pose.core.pose.contour_alignment import ColourView, contour_agreement

BIAS = -12.26
WEIGHTS = {
    "verified": -4.14,
    "verified, up to 0.85": 2.60,
    "confirmed share of what was measured": 11.35,
    "normals agree": -4.35,
    "normals agree, up to 0.75": 10.87,
    "mean square": -18.28,
    "contour ends": -0.71,
    "surface goes on beside the contour, up to 0.2": -18.56,
    "surface goes on beyond the contour, up to 0.1": -29.07,
    "holes": -5.12,
    "holes in fine details": 16.94,
    "below the plane": -19.84,
    "log of confirmed pixels": 0.47,
    "on a plane": 4.02,
    "fine details": 5.87,
}
_MOST_AGREEMENT = 1.1
_CELL_PX = 6
_SHARED = 0.35  # of a pose's cells of the image, from which on it shows what a better one does
_MOST_SUNK = 0.1  # in diameters
_LEAST_PIXELS = 30.0
_NEVER = 50.0  # log-odds against
# With colour: how many candidates are compared with it, of each part at least so many, and from which log-odds on.
_CONTOURS, _LEAST_CONTOURS, _HOPELESS = 30, 4, 12.0
# What depth, up to so much, and contours count, and how much of one speaks neither for nor against a pose.
_MOST_BY_DEPTH, _DEPTH, _CONTOUR, _HALF_AGREEMENT = 3.0, 0.7, 9.0, 0.42
_NEAR = np.diag(np.repeat([0.003, 0.03], 3) ** 2)


@dataclass(frozen=True)
class Selection:
    """What was found out about N candidates, and the rows of those that are ``chosen``, the best first.

    ``scores`` (N,) are the probabilities that they are right, ``verification`` (N,) the shares of what depth sees of
    their surface that it confirms, ``visibility`` (N,) those of all their surface, ``rms_m`` (N,) how far it is off.
    """

    chosen: tuple[int, ...]
    scores: Array
    verification: Array
    visibility: Array
    rms_m: Array


def select(
    parts: Sequence[PartModel],
    candidates: Candidates,
    scene: MatchScene,
    least_score: float,
    colour: ColourView | None = None,
) -> Selection:
    """Choose candidates of at least ``least_score``, the best first, each on surface that no better one shows.

    Where there is ``colour``, the best candidates of each part are those whose contour it shows, too.
    """
    counts, cells = _verified(parts, candidates, scene)
    agreement = np.array([part.agreement for part in parts])[candidates.class_ids]
    log_odds = BIAS + evidence_of(counts, _sunk(parts, candidates, scene), agreement) @ np.array(list(WEIGHTS.values()))
    log_odds[counts[:, counted.CONFIRMED] < _LEAST_PIXELS] = -_NEVER
    if colour is not None:
        log_odds = _with_colour(parts, candidates, cells, log_odds, colour)
    scores = np.array([probability(value) for value in log_odds])
    rows = np.argsort(-scores, kind="stable")
    chosen = _apart(rows[scores[rows] >= least_score], cells)
    confirmed, behind = counts[:, counted.CONFIRMED], counts[:, counted.BEHIND]
    return Selection(
        tuple(chosen),
        scores,
        verification=confirmed / np.maximum(confirmed + behind, 1.0),
        visibility=confirmed / np.maximum(counts[:, counted.AREA], 1.0),
        rms_m=np.sqrt(counts[:, counted.SQUARES_M2] / np.maximum(confirmed, 1.0)),
    )


def _apart(rows: NDArray[np.intp], cells: Sequence[Sequence[int]]) -> list[int]:
    """Return those rows, in their order, whose cells are mostly no earlier one's."""
    taken: set[int] = set()
    kept = []
    for row in rows:
        if sum(cell in taken for cell in cells[row]) <= _SHARED * len(cells[row]):
            taken.update(cells[row])
            kept.append(int(row))
    return kept


def _with_colour(
    parts: Sequence[PartModel],
    candidates: Candidates,
    cells: Sequence[Sequence[int]],
    log_odds: Array,
    colour: ColourView,
) -> Array:
    """Return the log-odds (N,) by depth and, of the best candidates of each part, by contour.

    Depth sensors differ, so that what the regression makes of one is believed up to ``_MOST_BY_DEPTH`` only.
    """
    # What is not compared counts as if its contour were not there.
    by_depth = np.clip(log_odds, -_MOST_BY_DEPTH, _MOST_BY_DEPTH)
    both = np.where(log_odds > -_HOPELESS, _DEPTH * by_depth - _CONTOUR * _HALF_AGREEMENT, -_NEVER)
    count = max(_LEAST_CONTOURS, _CONTOURS // len(parts))
    for class_id, part in enumerate(parts):
        rows = np.flatnonzero((candidates.class_ids == class_id) & (log_odds > -_HOPELESS))
        best = _apart(rows[np.argsort(-log_odds[rows], kind="stable")], cells)[:count]
        surface = ContourSurface.of(part.model.surface_object)
        for row in best:
            share = contour_agreement(colour, surface, candidates.poses[row], _NEAR)
            both[row] += _CONTOUR * share
    return both


def _verified(parts: Sequence[PartModel], candidates: Candidates, scene: MatchScene) -> tuple[Array, list[list[int]]]:
    """Return the counts (N, COLUMNS) of all candidates, and of each the cells of the image that confirm it."""
    counts = np.zeros((len(candidates), counted.COLUMNS))
    cells: list[list[int]] = [[]] * len(candidates)
    image_width = scene.oriented.view.camera.width
    width = image_width // _CELL_PX + 1
    for class_id, part in enumerate(parts):
        rows = np.flatnonzero(candidates.class_ids == class_id)
        found, starts, pixels = verify(
            part.mesh, part.diameter, candidates.poses[rows], scene.oriented, scene.on_plane, scene.near_plane
        )
        counts[rows] = found
        places = pixels // image_width // _CELL_PX * width + pixels % image_width // _CELL_PX
        for row, first, last in zip(rows, starts[:-1], starts[1:]):
            cells[row] = np.unique(places[first:last]).tolist()
    return counts, cells


def evidence_of(counts: Array, sunk: Array, agreement: Array) -> Array:
    """Return the evidence (N, F), in the order of ``WEIGHTS``, of candidates with ``counts`` (N, COLUMNS).

    ``sunk`` (N,) is how far each reaches below the plane, in diameters, ``agreement`` (N,) that of its part.
    """
    expected = np.maximum(counts[:, counted.EXPECTED], 1.0)
    confirmed, behind = counts[:, counted.CONFIRMED], counts[:, counted.BEHIND]
    verified = confirmed / np.maximum(confirmed + behind, 1.0)
    edges = np.maximum(counts[:, counted.EDGES], 1.0)
    oriented = counts[:, counted.ORIENTED]
    normals = np.where(oriented > 0.0, counts[:, counted.AGREEING] / np.maximum(oriented, 1.0) / agreement, 0.7)
    normals = np.minimum(normals, _MOST_AGREEMENT)
    holes = counts[:, counted.HOLES] / expected
    return np.stack(
        [
            verified,
            np.minimum(verified, 0.85),
            confirmed / np.maximum(counts[:, counted.EXPECTED] - counts[:, counted.HOLES], 1.0),
            normals,
            np.minimum(normals, 0.75),
            counts[:, counted.SQUARES] / np.maximum(confirmed, 1.0),
            counts[:, counted.ENDS] / edges,
            np.minimum(counts[:, counted.CONTINUES] / edges, 0.2),
            np.minimum(counts[:, counted.GOES_ON] / edges, 0.1),
            holes,
            holes * (1.0 - agreement),
            np.clip(sunk, 0.0, _MOST_SUNK),
            np.log(np.maximum(confirmed, 1.0)),
            np.minimum(counts[:, counted.PLANE] / expected, 0.3),
            1.0 - agreement,
        ],
        axis=1,
    )


def _sunk(parts: Sequence[PartModel], candidates: Candidates, scene: MatchScene) -> Array:
    """Return how far (N,) candidates reach below the greatest plane, in diameters."""
    sunk = np.zeros(len(candidates))
    if not scene.planes:
        return sunk
    for row, (class_id, pose) in enumerate(zip(candidates.class_ids, candidates.poses)):
        part = parts[class_id]
        lowest = scene.planes[0].height(se3.apply(pose, part.hull)).min()
        sunk[row] = np.clip(-lowest / part.diameter, 0.0, _MOST_SUNK)
    return sunk
