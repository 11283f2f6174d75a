"""Which candidates are there: evidence as a probability, and one pose for each piece of surface.

The weights are a logistic regression on candidates in simulated scenes (docs/decisions/0023-parts-without-training.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array
from object_pose.core.geometry import se3
from object_pose.core.matching import verification as counted
from object_pose.core.matching.alternatives import differing_pixels
from object_pose.core.matching.matcher import Candidates, MatchScene
from object_pose.core.matching.part_model import PartModel
from object_pose.core.matching.verification import verify
from object_pose.core.pose.confidence import probability
from object_pose.core.pose.depth_evidence import DepthView

BIAS = -0.45
WEIGHTS = {
    "verified": -1.20,
    "verified, up to 0.85": -6.05,
    "confirmed share of what was measured": 7.07,
    "normals agree": -3.28,
    "normals agree, up to 0.75": 4.26,
    "mean square": -15.72,
    "contour ends": -0.32,
    "surface goes on beside the contour, up to 0.2": -21.96,
    "surface goes on beyond the contour, up to 0.1": -29.41,
    "holes": -2.64,
    "holes in fine details": 12.45,
    "below the plane": -20.17,
    "log of confirmed pixels": 0.57,
    "on a plane": 0.41,
    "fine details": 2.67,
    "missing in one piece, up to 0.1": -34.89,
}
_MOST_AGREEMENT = 1.1
_CELL_PX = 6
_SHARED = 0.35  # of a pose's cells of the image, from which on it shows what a better one does
_MOST_SUNK = 0.1  # in diameters
_LEAST_PIXELS = 30.0
_NEVER = 50.0  # log-odds against
# With colour: how many candidates are compared with it, of each part at least so many, and from which log-odds on.
_CONTOURS, _LEAST_CONTOURS, _HOPELESS = 60, 5, 30.0
# Depth sensors differ in what they make of edges and gaps: log-odds by depth count up to the first against a pose and
# up to the second for it. Contours count the third, and speak neither for nor against it where they agree by the last.
_MOST_AGAINST, _MOST_FOR, _CONTOUR, _NEUTRAL_AGREEMENT = 3.0, 8.0, 11.0, 0.53
# Other parts on the same surface, of which they share so much: how much less likely they are at most, what a pixel
# tells, what log-odds of two parts differ by although it is either, and from which share on it may be the second.
_SAME_SURFACE, _MOST_BEHIND, _PER_PIXEL, _BY_CHANCE, _UNDECIDED = 0.6, 6.0, 0.3, 3.0, 0.1
# A mirror image of the part: the samples by which it fits better, and what is left of the score then.
_LEAST_DIFFERENCE, _MIRRORED = 12, 0.1


# Says how much of the contours of classes (N,) at poses (N, 4, 4) colour shows, shares (N,); see ``ContourJudge``.
ContourAgreement = Callable[[NDArray[np.intp], Array], Array]


@dataclass(frozen=True)
class Selection:
    """What was found out about N candidates, and the rows of those that are ``chosen``, the best first.

    ``scores`` (N,) are the probabilities that they are right, ``verification`` (N,) the shares of what depth sees of
    their surface that it confirms, ``visibility`` (N,) those of all their surface, ``rms_m`` (N,) how far it is off.
    ``alternatives`` are rows of other parts that the surface of a chosen one may as well be, ``mirrored`` those rows
    whose surface is their part's mirror image.
    """

    chosen: tuple[int, ...]
    alternatives: Mapping[int, int]
    mirrored: frozenset[int]
    scores: Array
    verification: Array
    visibility: Array
    rms_m: Array


def select(
    parts: Sequence[PartModel],
    candidates: Candidates,
    scene: MatchScene,
    least_score: float,
    contour_agreement: ContourAgreement | None = None,
    pool: ThreadPoolExecutor | None = None,
) -> Selection:
    """Choose candidates of at least ``least_score``, the best first, each on surface that no better one shows.

    Where there is colour, ``contour_agreement`` says how much of a contour it shows, of the best candidates of each
    part. Depth is looked at in the threads of a pool.
    """
    counts, cells = _verified(parts, candidates, scene, pool)
    agreement = np.array([part.agreement for part in parts])[candidates.class_ids]
    log_odds = BIAS + evidence_of(counts, _sunk(parts, candidates, scene), agreement) @ np.array(list(WEIGHTS.values()))
    log_odds[counts[:, counted.CONFIRMED] < _LEAST_PIXELS] = -_NEVER
    if contour_agreement is not None:
        log_odds = _with_contours(len(parts), candidates, cells, log_odds, contour_agreement)
    scores = np.array([probability(value) for value in log_odds])
    rows = np.argsort(-scores, kind="stable")
    chosen = _apart(rows[scores[rows] >= least_score], cells)
    mirrored = _mirrored(parts, candidates, scene.oriented.view, chosen)
    scores[mirrored] *= _MIRRORED
    chosen, alternatives = _among_parts(parts, candidates, scene.oriented.view, chosen, cells, log_odds, scores)
    confirmed, behind = counts[:, counted.CONFIRMED], counts[:, counted.BEHIND]
    return Selection(
        tuple(chosen),
        alternatives,
        frozenset(mirrored),
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


def _mirrored(parts: Sequence[PartModel], candidates: Candidates, view: DepthView, chosen: Sequence[int]) -> list[int]:
    """Return the ``chosen`` rows where the mirror image of the part is there, not the part."""
    rows = []
    for row in chosen:
        part, pose = parts[candidates.class_ids[row]], candidates.poses[row]
        for mesh in part.mirrored:
            ours, theirs = differing_pixels(part.mesh, pose, mesh, pose, view)
            if theirs > ours + _LEAST_DIFFERENCE:
                rows.append(row)
                break
    return rows


def _among_parts(
    parts: Sequence[PartModel],
    candidates: Candidates,
    view: DepthView,
    chosen: Sequence[int],
    cells: Sequence[Sequence[int]],
    log_odds: Array,
    scores: Array,
) -> tuple[list[int], dict[int, int]]:
    """Decide between parts that explain the same surface, and share the score (N,) where nothing seen decides.

    Returns the ``chosen`` rows and, of those of a shared score, the row of the most likely other part.
    """
    decided, alternatives = list[int](), dict[int, int]()
    for row in chosen:
        rows, gains = [row], [0.0]
        for rival in _rivals(row, candidates, cells, log_odds):
            pair = [(parts[candidates.class_ids[k]].mesh, candidates.poses[k]) for k in (row, rival)]
            ours, theirs = differing_pixels(*pair[0], *pair[1], view)
            ahead = log_odds[rival] - log_odds[row]
            rows.append(rival)
            gains.append(_PER_PIXEL * (theirs - ours) + np.sign(ahead) * max(abs(ahead) - _BY_CHANCE, 0.0))
        shares = np.exp(np.array(gains) - max(gains))
        shares /= shares.sum()
        order = np.argsort(-shares, kind="stable")
        best = rows[order[0]]
        scores[rows] = scores[best] * shares
        decided.append(best)
        if len(rows) > 1 and shares[order[1]] > _UNDECIDED:
            alternatives[best] = rows[order[1]]
    return sorted(decided, key=lambda row: -scores[row]), alternatives


def _rivals(row: int, candidates: Candidates, cells: Sequence[Sequence[int]], log_odds: Array) -> list[int]:
    """Return the best rows of other parts, one of each, whose surface is mostly that of a row."""
    rivals, surface = dict[int, int](), set(cells[row])
    near = (log_odds > log_odds[row] - _MOST_BEHIND) & (candidates.class_ids != candidates.class_ids[row])
    for other in sorted(np.flatnonzero(near).tolist(), key=lambda other: -log_odds[other]):
        class_id = int(candidates.class_ids[other])
        if class_id not in rivals and len(surface.intersection(cells[other])) > _SAME_SURFACE * len(cells[other]):
            rivals[class_id] = other
    return list(rivals.values())


def _with_contours(
    part_count: int,
    candidates: Candidates,
    cells: Sequence[Sequence[int]],
    log_odds: Array,
    contour_agreement: ContourAgreement,
) -> Array:
    """Return the log-odds (N,) by depth and, of the best candidates of each part, by contour."""
    most = max(_LEAST_CONTOURS, _CONTOURS // part_count)
    compared = list[int]()
    for class_id in range(part_count):
        rows = np.flatnonzero((candidates.class_ids == class_id) & (log_odds > -_HOPELESS))
        compared += _apart(rows[np.argsort(-log_odds[rows], kind="stable")], cells)[:most]
    # What is not compared counts as if its contour were not there.
    agreement = np.zeros(len(candidates))
    if compared:
        agreement[compared] = contour_agreement(candidates.class_ids[compared], candidates.poses[compared])
    both = np.clip(log_odds, -_MOST_AGAINST, _MOST_FOR) + _CONTOUR * (agreement - _NEUTRAL_AGREEMENT)
    return np.where(log_odds > -_HOPELESS, both, -_NEVER)


def _verified(
    parts: Sequence[PartModel], candidates: Candidates, scene: MatchScene, pool: ThreadPoolExecutor | None
) -> tuple[Array, list[list[int]]]:
    """Return the counts (N, COLUMNS) of all candidates, and of each the cells of the image that confirm it."""
    counts = np.zeros((len(candidates), counted.COLUMNS))
    cells: list[list[int]] = [[]] * len(candidates)
    image_width = scene.oriented.view.camera.width
    width = image_width // _CELL_PX + 1

    def verified(class_id: int) -> tuple[NDArray[np.intp], Array, NDArray[np.int64], NDArray[np.int32]]:
        part, rows = parts[class_id], np.flatnonzero(candidates.class_ids == class_id)
        planes = scene.on_plane, scene.near_plane
        return rows, *verify(part.mesh, part.diameter, candidates.poses[rows], scene.oriented, *planes)

    for rows, found, starts, pixels in (
        pool.map(verified, range(len(parts))) if pool else map(verified, range(len(parts)))
    ):
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
            np.minimum(counts[:, counted.MISSING] / expected, 0.1),
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
