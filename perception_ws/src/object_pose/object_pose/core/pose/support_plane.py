"""The plane that objects stand on, estimated from their poses alone, and their poses conditioned on it.

Without depth the distance is the least certain part of a pose, with independent errors. Objects on a table stand on one
plane, each in one of its stable poses: a few of them determine the plane, and it determines the distance of all
(docs/decisions/0011).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array
from object_pose.core.geometry import se3
from object_pose.core.geometry.stable_poses import StablePose, StablePoses, support
from object_pose.core.pose.confidence import PoseEstimate
from object_pose.core.pose.contour import ContourSurface
from object_pose.core.pose.contour_alignment import ColourView, ContourFit, align_again
from object_pose.core.results.detections import VisibleMasks

LEAST_BODIES = 3
_MOST_PROPOSALS = 12  # the best poses, each of whose stable poses proposes a plane
_LEAST_OFFSET_M = 0.05
_TILT_RAD = float(np.radians(30.0))  # a pose turned further than this from its nearest stable pose does not stand
_GAP_SHARE, _LEAST_GAP_M = 0.04, 0.008  # of the distance: one further off the plane does not stand on it
_ROUNDS = 6
_CONTACT_SIGMA_M = 0.008  # of models, annotations and contacts
_LEAST_INFORMATION = 1e-6 * np.eye(3)
_CONDITIONING_ROUNDS = 4
# How far off the plane poses may be, as a share of the distance, with a contour and with keypoints alone.
_CONTOUR_REACH, _KEYPOINT_REACH = 0.05, 0.1
_CONTOUR_DOUBT = 9.0  # factor on the covariance: a contour's distance is less certain than its fit
_LOST_AGREEMENT = 0.05  # the contour on the plane may agree so much less
_Belief = tuple[float, StablePose | None]


@dataclass(frozen=True)
class Body:
    """A pose ``T_camera_object``, its covariance (6, 6) of a left perturbation, its score and the object's shape."""

    T_camera_object: Array
    covariance: Array
    score: float
    shape: StablePoses


@dataclass(frozen=True)
class SupportPlane:
    """Points x of the camera frame with ``normal`` (3,) @ x = ``offset``, metres; the normal points into the table."""

    normal: Array
    offset: float

    def condition(
        self, T_camera_object: Array, covariance: Array, shape: StablePoses, reach: float
    ) -> tuple[Array, Array] | None:
        """Return a pose and its covariance (6, 6) conditioned on standing here, or None where the object does not.

        It does not where it is ``reach`` times its distance off the plane, or turned too far from its stable poses.
        """
        standing = self.standing(T_camera_object, shape)
        if standing is None:
            return None
        stable, _ = standing
        if abs(float(np.mean(self.gaps(T_camera_object, stable)))) > reach * T_camera_object[2, 3]:
            return None
        pose, moved = T_camera_object, np.zeros(6)
        for _ in range(_CONDITIONING_ROUNDS):
            gaps, jacobian = self.gaps(pose, stable), self.jacobian(pose, stable)
            gain = np.linalg.solve(_gap_covariance(jacobian, covariance), jacobian @ covariance).T
            moved = -gain @ (gaps - jacobian @ moved)
            turned = se3.exp_so3(moved[3:]) @ T_camera_object[:3, :3]
            pose = se3.make_transform(turned, T_camera_object[:3, 3] + moved[:3])
        conditioned = covariance - gain @ jacobian @ covariance
        return pose, 0.5 * (conditioned + conditioned.T)

    def standing(self, T_camera_object: Array, shape: StablePoses) -> tuple[StablePose, float] | None:
        """Return the stable pose in which an object may stand here, and its tilt, in [0, 1) of the greatest."""
        nearest = shape.nearest(T_camera_object[:3, :3], self.normal)
        if nearest is None or nearest[1] >= _TILT_RAD:
            return None
        return nearest[0], nearest[1] / _TILT_RAD

    def gaps(self, T_camera_object: Array, stable: StablePose) -> Array:
        """Return how far (K,) contacts lie beyond where they would be, in metres along the normal."""
        reached = se3.apply(T_camera_object, stable.contacts) @ self.normal
        return np.asarray(reached + stable.heights - self.offset)

    def jacobian(self, T_camera_object: Array, stable: StablePose) -> Array:
        """Return the derivative (K, 6) of the gaps by a left perturbation of the pose."""
        arms = se3.apply(T_camera_object, stable.contacts) - T_camera_object[:3, 3]
        along = np.repeat(self.normal[None], len(arms), axis=0)
        return np.concatenate([along, np.cross(arms, self.normal)], axis=1)


def find_support_plane(bodies: Sequence[Body]) -> SupportPlane | None:
    """Return the plane that most of the bodies, by score, stand on; None where fewer than ``LEAST_BODIES`` do."""
    proposals = list(_proposals(bodies))
    if len(bodies) < LEAST_BODIES or not proposals:
        return None
    plane = max(proposals, key=lambda plane: sum(_belief(plane, body)[0] for body in bodies))
    for _ in range(_ROUNDS):
        beliefs = [_belief(plane, body) for body in bodies]
        if sum(weight > 0.0 for weight, _ in beliefs) < LEAST_BODIES:
            return None
        plane = _refitted(plane, bodies, beliefs)
    return plane


def bodies_of(
    estimates: Sequence[PoseEstimate],
    rows: NDArray[np.intp],
    candidate_ids: NDArray[np.int64],
    shapes: Sequence[StablePoses],
) -> list[Body]:
    """Return the best estimate of each candidate, of the ``rows`` of all detections, as a body that may stand."""
    scores = np.array([estimates[row].score for row in rows])
    best_first = rows[np.argsort(-scores, kind="stable")]
    _, firsts = np.unique(candidate_ids[best_first], return_index=True)
    best = ((estimates[row], shapes[row]) for row in best_first[firsts])
    return [
        Body(pose.T_camera_object, pose.covariance, pose.score, shape)
        for pose, shape in best
        if pose.T_camera_object[2, 3] > 0.0
    ]


def align_on_plane(
    bodies: Sequence[Body],
    before: Sequence[PoseEstimate],
    fits: Mapping[int, ContourFit],
    shapes: Sequence[StablePoses],
    surfaces: Sequence[ContourSurface],
    view: ColourView,
    masks: VisibleMasks,
) -> dict[int, ContourFit]:
    """Align contours once more with the plane that the bodies stand on; return, by row, those that still fit there.

    ``before`` are the poses by keypoints, ``fits`` those by their contours.
    """
    plane = find_support_plane(bodies)
    if plane is None:
        return {}
    aligned = {}
    for row, fit in fits.items():
        pose, shape = before[row], shapes[row]
        by_keypoints = plane.condition(pose.T_camera_object, pose.covariance, shape, _KEYPOINT_REACH)
        if by_keypoints is None:
            continue
        by_contour = plane.condition(fit.T_camera_object, _CONTOUR_DOUBT * fit.covariance, shape, _CONTOUR_REACH)
        start, _ = by_contour or by_keypoints
        again = align_again(view, surfaces[row], start, *by_keypoints, masks[row])
        if again and again.agreement >= fit.agreement - _LOST_AGREEMENT:
            # The plane is estimated from these very poses: it adds no independent information.
            aligned[row] = replace(again, covariance=fit.covariance)
    return aligned


def _proposals(bodies: Sequence[Body]) -> Iterator[SupportPlane]:
    """Yield the planes on which the best bodies would stand, one for each stable pose."""
    for body in sorted(bodies, key=lambda body: -body.score)[:_MOST_PROPOSALS]:
        for stable in body.shape.poses:
            normal = body.T_camera_object[:3, :3] @ stable.down
            offset = support(body.T_camera_object, stable, normal)
            if offset > _LEAST_OFFSET_M:  # else the camera would be in the table
                yield SupportPlane(normal, offset)


def _belief(plane: SupportPlane, body: Body) -> _Belief:
    """Return how far a body is believed to stand on a plane, by its score, gap and tilt, and in which stable pose."""
    standing = plane.standing(body.T_camera_object, body.shape)
    if standing is None:
        return 0.0, None
    stable, tilt = standing
    gap = support(body.T_camera_object, stable, plane.normal) - plane.offset
    off = gap / float(np.hypot(_GAP_SHARE * body.T_camera_object[2, 3], _LEAST_GAP_M))
    return body.score**2 * max(1.0 - off**2, 0.0) * (1.0 - tilt**2), stable


def _refitted(plane: SupportPlane, bodies: Sequence[Body], beliefs: Sequence[_Belief]) -> SupportPlane:
    """Return a plane after one step of Gauss-Newton towards what stands on it, weighted by the poses' certainty."""
    information, gradient = _LEAST_INFORMATION.copy(), np.zeros(3)
    aside, ahead = se3.tangents(plane.normal)
    for body, (weight, stable) in zip(bodies, beliefs):
        if stable is None or weight == 0.0:
            continue
        contacts = se3.apply(body.T_camera_object, stable.contacts)
        by_plane = np.stack([contacts @ aside, contacts @ ahead, -np.ones(len(contacts))], axis=1)
        spread = _gap_covariance(plane.jacobian(body.T_camera_object, stable), body.covariance)
        certain = weight * np.linalg.solve(spread, by_plane)
        information += by_plane.T @ certain
        gradient += certain.T @ plane.gaps(body.T_camera_object, stable)
    step = -np.linalg.solve(information, gradient)
    normal = plane.normal + step[0] * aside + step[1] * ahead
    return SupportPlane(normal / np.linalg.norm(normal), plane.offset + float(step[2]))


def _gap_covariance(jacobian: Array, covariance: Array) -> Array:
    """Return the covariance (K, K) of contacts' gaps."""
    return np.asarray(jacobian @ covariance @ jacobian.T + _CONTACT_SIGMA_M**2 * np.eye(len(jacobian)))
