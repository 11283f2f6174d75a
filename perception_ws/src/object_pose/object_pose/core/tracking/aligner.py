"""Known objects carried to the next frame: a few Gauss-Newton steps from where they are expected to be.

Depth, and contour and texture in colour, are modalities, each of which adds its least squares to those of every object,
as in M3T (Stoiber, Elsayed, Reichert et al., "Fusing visual appearance and geometry for multi-modality 6DoF object
tracking", 2023). All objects are aligned at once, in arrays.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, Mask, expect_shape
from object_pose.core.frame import CameraFrame
from object_pose.core.geometry.lens import rotated
from object_pose.core.geometry.linear import move_by, step_beside_prior, turn_between
from object_pose.core.kernels import kernel
from object_pose.core.params import parameter
from object_pose.core.pose.config import DepthConfig
from object_pose.core.pose.depth_evidence import DepthNoise
from object_pose.core.tracking.appearance import AppearanceEvidence, AppearanceModality
from object_pose.core.tracking.depth_modality import DepthEvidence, DepthModality
from object_pose.core.tracking.modality import STAGES, Modality, Objects, Systems
from object_pose.core.tracking.view_model import Floats, Ints, ViewModel, ViewTables

_STILL_M, _STILL_RAD = 2e-5, 2e-4  # steps below which a pose has arrived
_FAR_M, _NEVER_M = 0.002, 1e6  # a step from which on an object is measured coarsely once more, where there is depth
_LEAST_INFORMATION = 1e-6
# Positions expected to so many metres need no search as wide as in the first stages.
_EXPECTED_WELL_M, _FIRST_STAGE_THEN = 0.002, 2
_PRIOR_SCALE = 18.0  # of the prior's squared Mahalanobis distance, from which on it gives way
# Objects that rest on colour alone go on where less agrees, at most so often.
_DOUBTFUL_AGREEMENT, _MOST_REPEATS = 0.6, 2
# Objects are searched for where depth sees through this share of their surface, and of what it sees of them. What is
# found counts where it is sure and clearly better.
_DOUBTFUL_SHARE, _DOUBTFUL_RATIO = 0.1, 0.2
_SURE_SHARE, _CLEARLY_BETTER = 0.5, 0.2


class TrackStatus(IntEnum):
    """What became of an object: aligned, hidden so that its pose is the expected one, or not there any more."""

    TRACKED = 0
    OCCLUDED = 1
    LOST = 2


class LossReason(IntEnum):
    """Why an object is not tracked."""

    NONE = 0
    NOT_IN_IMAGE = 1
    NOT_MEASURED = 2
    OCCLUDED = 3
    SEEN_THROUGH = 4
    COLOUR_DISAGREES = 5


@dataclass(frozen=True)
class AlignerConfig:
    """How known objects are carried from frame to frame, and when one is lost."""

    use_depth: bool = parameter(True, "align known objects with depth where there is any")
    use_colour: str = parameter(
        "auto",
        "align known objects with their contour and texture in colour: 'auto' where depth is missing or leaves a "
        "direction open, 'always', or 'never'",
        choices=("auto", "always", "never"),
    )
    open_direction_m: float = parameter(
        0.0005,
        "depth leaves an object open where it knows its surface to no better than this standard deviation in some "
        "direction, in metres",
        minimum=0.0,
        maximum=1.0,
    )
    min_agreement: float = parameter(
        0.4,
        "without depth an object is lost where less than this share of its contour and texture agrees with colour",
        minimum=0.0,
        maximum=1.0,
    )
    rounds: int = parameter(6, "greatest number of Gauss-Newton steps a frame", minimum=1, maximum=50)
    min_in_image: float = parameter(
        0.3,
        "an object is tracked while at least this share of its visible surface is in the image",
        minimum=0.0,
        maximum=1.0,
    )
    min_confirmed: float = parameter(
        0.15,
        "an object of whose visible surface depth confirms less than this share is occluded, and not measured",
        minimum=0.0,
        maximum=1.0,
    )
    max_seen_through: float = parameter(
        0.3,
        "an object is lost where depth sees through more than this share of what it measures of its surface",
        minimum=0.0,
        maximum=1.0,
    )
    depth: DepthConfig = DepthConfig()


@dataclass(frozen=True)
class AlignedPoses:
    """N objects in one frame.

    ``T_camera_object`` (N, 4, 4) with ``covariance`` (N, 6, 6) of (dt, dr) in t' = t + dt, R' = exp(dr) R are the
    aligned poses of those ``TRACKED``, of others the expected ones. ``status`` (N,) are values of ``TrackStatus``,
    ``reasons`` (N,) of ``LossReason``. The evidence of ``depth`` is None without depth, that of ``appearance`` without
    colour; ``colour_agreement`` (N,), the share of contour and texture that agrees with colour, is NaN where that was
    not measured. ``uses_depth`` (N,) are objects that depth confirms, the other tracked ones rest on colour alone.
    ``rounds`` (N,) are steps taken.
    """

    T_camera_object: Array
    covariance: Array
    status: NDArray[np.int8]
    reasons: NDArray[np.int8]
    rounds: NDArray[np.int32]
    uses_depth: Mask
    colour_agreement: Array
    depth: DepthEvidence | None = None
    appearance: AppearanceEvidence | None = None

    def __len__(self) -> int:
        return len(self.status)

    @property
    def is_tracked(self) -> NDArray[np.bool_]:
        """Which objects were aligned (N,)."""
        return np.asarray(self.status == TrackStatus.TRACKED)


class FrameAligner:
    """Aligns known objects of the classes ``models`` with frame after frame."""

    def __init__(self, models: Sequence[ViewModel], config: AlignerConfig | None = None) -> None:
        self.tables = ViewTables.of(models)
        self._no_track = itertools.count(-2, -1)
        self._config = config or AlignerConfig()
        noise = DepthNoise(self._config.depth.noise_floor_m, self._config.depth.noise_at_1m)
        self._depth = DepthModality(self.tables, noise)
        always = self._config.use_colour == "always"
        self._appearance = AppearanceModality(self.tables, always, self._config.open_direction_m)
        chosen = ((self._depth, self._config.use_depth), (self._appearance, self._config.use_colour != "never"))
        self._modalities: tuple[Modality, ...] = tuple(modality for modality, is_used in chosen if is_used)

    def learn(
        self,
        frame: CameraFrame,
        class_ids: NDArray[np.intp],
        T_camera_object: Array,
        track_ids: NDArray[np.intp] | None = None,
    ) -> None:
        """Take the looks of N objects, found in ``frame`` at ``T_camera_object`` (N, 4, 4), for the frames to come.

        Without it an object's looks are taken where it is first tracked with depth, or expected where there is none.
        """
        if self._appearance in self._modalities:
            prior = np.zeros((len(class_ids), 6, 6))
            self._appearance.learn(frame, self._objects(class_ids, T_camera_object, prior, track_ids))

    def align(
        self,
        frame: CameraFrame,
        class_ids: NDArray[np.intp],
        T_camera_object: Array,
        prior_information: Array,
        track_ids: NDArray[np.intp] | None = None,
    ) -> AlignedPoses:
        """Align N objects that are expected at ``T_camera_object`` (N, 4, 4), known to ``prior_information`` (N, 6, 6).

        The information is of a left perturbation, as ``covariance`` of the result is. ``track_ids`` (N,) tell objects
        of one class apart where a modality learns how each looks; they are the row numbers where not given. An object
        whose id is negative has no track yet.
        """
        count = len(class_ids)
        expect_shape("T_camera_object", T_camera_object, (count, 4, 4))
        expect_shape("prior_information", prior_information, (count, 6, 6))
        objects = self._objects(class_ids, T_camera_object, prior_information, track_ids)
        # Copies, because kernels are compiled for arrays that are contiguous and may be written to.
        expected, prior = (np.array(item, np.float64, order="C") for item in (T_camera_object, prior_information))
        return self._run(frame, objects, expected, prior)

    def _objects(
        self, class_ids: NDArray[np.intp], T_camera_object: Array, prior: Array, track_ids: NDArray[np.intp] | None
    ) -> Objects:
        class_ids = np.array(class_ids, dtype=np.intp)
        rotation, translation = T_camera_object[:, :3, :3].copy(), T_camera_object[:, :3, 3].copy()
        variance = 1.0 / np.maximum(np.trace(prior[:, :3, :3], axis1=1, axis2=2) / 3.0, _LEAST_INFORMATION)
        return Objects(
            class_ids=class_ids,
            track_ids=self._known_ids(np.arange(len(class_ids)) if track_ids is None else track_ids),
            rotation=rotation,
            translation=translation,
            views=self.tables.nearest(class_ids, rotation, translation),
            stages=np.where(variance < _EXPECTED_WELL_M**2, _FIRST_STAGE_THEN, 0).astype(np.int32),
            active=np.ones(len(class_ids), dtype=np.bool_),
        )

    def _known_ids(self, track_ids: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the ids with ones that no object had in place of those below zero."""
        return np.array([next(self._no_track) if track < 0 else track for track in track_ids], dtype=np.intp)

    def _run(self, frame: CameraFrame, objects: Objects, expected: Array, prior: Array) -> AlignedPoses:
        modalities = [modality for modality in self._modalities if modality.start(frame, objects)]
        far_m = _FAR_M if self._depth in modalities else _NEVER_M
        descent = _Descent(objects, self.tables, modalities, expected, prior, far_m)
        if modalities:
            descent.run(self._config.rounds)
        if self._depth in modalities:
            self._recover(objects, expected, descent)
        if self._appearance in modalities:
            self._go_on(objects, descent, self._confirmed_by_depth(len(objects), modalities))
        aligned = self._describe(objects, expected, descent, modalities)
        for modality in modalities:
            modality.finish(objects, aligned.is_tracked)
        return aligned

    def _recover(self, objects: Objects, expected: Array, descent: _Descent) -> None:
        """Search for objects that depth contradicts around where they are expected, and align them once more."""
        evidence = self._depth.evidence()
        doubtful = (evidence.seen_through > _DOUBTFUL_SHARE) & (evidence.contradicted > _DOUBTFUL_RATIO)
        if not np.any(doubtful):
            return
        before = objects.rotation.copy(), objects.translation.copy(), objects.views.copy()
        objects.rotation[doubtful], objects.translation[doubtful] = (
            expected[doubtful, :3, :3],
            expected[doubtful, :3, 3],
        )
        objects.active[:], objects.stages[:] = doubtful, 0
        objects.views[:] = self.tables.nearest(objects.class_ids, objects.rotation, objects.translation)
        objects.translation += self._depth.search(objects)
        descent.run(self._config.rounds, doubtful)
        found = self._depth.evidence()
        is_sure = (found.confirmed > _SURE_SHARE) & (found.contradicted < _DOUBTFUL_RATIO)
        worse = doubtful & ~(is_sure & (found.support > evidence.support + _CLEARLY_BETTER))
        objects.rotation[worse], objects.translation[worse] = before[0][worse], before[1][worse]
        objects.views[worse] = before[2][worse]
        descent.measure(np.ones(len(objects), dtype=np.bool_))

    def _go_on(self, objects: Objects, descent: _Descent, by_depth: Mask) -> None:
        """Align objects on that rest on colour alone and do not agree with it yet."""
        for repeat in range(_MOST_REPEATS + 1):
            evidence = self._appearance.evidence()
            doubtful = ~by_depth & (evidence.agreement < _DOUBTFUL_AGREEMENT)
            if not np.any(doubtful) or repeat == _MOST_REPEATS:
                break
            objects.active[:], objects.stages[:] = doubtful, 0
            descent.run(self._config.rounds, doubtful)
        if repeat > 0:
            descent.measure(np.ones(len(objects), dtype=np.bool_))

    def _confirmed_by_depth(self, count: int, modalities: Sequence[Modality]) -> Mask:
        """Return which objects depth confirms (N,)."""
        if self._depth not in modalities:
            return np.zeros(count, dtype=np.bool_)
        return np.asarray(self._depth.evidence().confirmed >= self._config.min_confirmed)

    def _describe(
        self,
        objects: Objects,
        expected: Array,
        descent: _Descent,
        modalities: Sequence[Modality],
    ) -> AlignedPoses:
        count = len(objects)
        depth = self._depth.evidence() if self._depth in modalities else None
        appearance = self._appearance.evidence() if self._appearance in modalities else None
        reasons = self._reasons(count, depth, appearance)
        status = np.where(reasons == LossReason.NONE, TrackStatus.TRACKED, TrackStatus.LOST)
        hidden = np.isin(reasons, (LossReason.OCCLUDED, LossReason.NOT_MEASURED))
        status = np.where(hidden, TrackStatus.OCCLUDED, status).astype(np.int8)
        tracked = status == TrackStatus.TRACKED
        poses = expected.copy()
        poses[tracked, :3, :3], poses[tracked, :3, 3] = objects.rotation[tracked], objects.translation[tracked]
        information = descent.prior + _LEAST_INFORMATION * np.eye(6)
        information[tracked] = descent.information[tracked]
        return AlignedPoses(
            T_camera_object=poses,
            covariance=np.asarray(np.linalg.inv(information), dtype=np.float64),
            status=status,
            reasons=reasons,
            rounds=descent.rounds,
            uses_depth=tracked & self._confirmed_by_depth(count, modalities),
            colour_agreement=appearance.agreement if appearance else np.full(count, np.nan),
            depth=depth,
            appearance=appearance,
        )

    def _reasons(
        self, count: int, depth: DepthEvidence | None, appearance: AppearanceEvidence | None
    ) -> NDArray[np.int8]:
        """Return why each object is not tracked; ``NONE`` where it is."""
        reasons = np.full(count, LossReason.NOT_MEASURED, dtype=np.int8)
        config = self._config
        if depth is not None:
            reasons[:] = LossReason.NONE
            is_thin = depth.confirmed < config.min_confirmed
            hidden = np.where(depth.holes > depth.occluded, LossReason.NOT_MEASURED, LossReason.OCCLUDED)
            reasons[is_thin] = hidden[is_thin]
        if appearance is not None:
            # Colour alone says where objects are that depth does not measure.
            asked = appearance.can_tell & (reasons == LossReason.NOT_MEASURED)
            agrees = appearance.agreement >= config.min_agreement
            reasons[asked] = np.where(agrees, LossReason.NONE, LossReason.COLOUR_DISAGREES)[asked]
            is_hidden = appearance.region.hidden > 1.0 - config.min_confirmed
            reasons[asked & ~agrees & is_hidden] = LossReason.OCCLUDED
        if depth is not None:
            is_seen_through = depth.contradicted > config.max_seen_through
            reasons[is_seen_through & (depth.seen_through > _DOUBTFUL_SHARE)] = LossReason.SEEN_THROUGH
            reasons[depth.in_image < config.min_in_image] = LossReason.NOT_IN_IMAGE
        elif appearance is not None:
            reasons[appearance.region.outside > 1.0 - config.min_in_image] = LossReason.NOT_IN_IMAGE
        return reasons


class _Descent:
    """Gauss-Newton on ``objects``, expected at ``expected`` (N, 4, 4) with the information ``prior`` (N, 6, 6).

    ``rounds`` (N,) are steps taken. Steps of more than ``far_m`` lead back to the first stage. The prior is Cauchy's:
    what moves by many sigmas is held back by none of them.
    """

    def __init__(
        self,
        objects: Objects,
        tables: ViewTables,
        modalities: Sequence[Modality],
        expected: Array,
        prior: Array,
        far_m: float,
    ) -> None:
        self._objects, self._tables, self._modalities = objects, tables, modalities
        self._expected, self.prior, self._far_m = expected, prior, far_m
        self._systems, self._prior_weights = Systems.zeros(len(objects)), np.ones(len(objects))
        self.rounds = np.zeros(len(objects), dtype=np.int32)

    @property
    def information(self) -> Array:
        """The information (N, 6, 6) of the poses that were measured last, the prior's included."""
        weighted = self._prior_weights[:, None, None] * self.prior
        return np.asarray(self._systems.symmetric + weighted + _LEAST_INFORMATION * np.eye(6))

    def run(self, rounds: int, which: Mask | None = None) -> None:
        """Take at most so many steps with the active objects, then measure ``which`` (N,), or all, where they are."""
        objects, systems, tables = self._objects, self._systems, self._tables
        for _ in range(rounds):
            if not np.any(objects.active):
                break
            self.rounds += objects.active
            systems.clear()
            for modality in self._modalities:
                modality.add(objects, systems)
            _step(
                systems.information,
                systems.gradient,
                self.prior,
                self._prior_weights,
                self._far_m,
                self._expected,
                objects.rotation,
                objects.translation,
                objects.stages,
                objects.active,
                objects.views,
                objects.class_ids,
                tables.directions,
                tables.centers,
            )
        self.measure(np.ones(len(objects), dtype=np.bool_) if which is None else which)

    def measure(self, which: Mask) -> None:
        """Measure objects where they are, in the last stage."""
        self._objects.active[:], self._objects.stages[:] = which, STAGES - 1
        self._systems.clear()
        for modality in self._modalities:
            modality.add(self._objects, self._systems)


@kernel
def _step(
    information: Array,
    gradient: Array,
    prior: Array,
    prior_weights: Array,
    far_m: float,
    expected: Array,
    rotations: Array,
    translations: Array,
    stages: Ints,
    active: Mask,
    views: Ints,
    class_ids: NDArray[np.intp],
    directions: Floats,
    centers: Floats,
) -> None:
    """Move all active objects by one Gauss-Newton step, find their nearest views, and say what is next for each."""
    a, step = np.empty((6, 6)), np.empty(6)
    offset, turn = np.empty(6), np.empty((3, 3))
    for i in range(len(active)):
        if not active[i]:
            continue
        r, t = rotations[i], translations[i]
        for row in range(3):
            offset[row] = t[row] - expected[i, row, 3]
        turn_between(expected[i], r, offset)
        surprise = 0.0
        for row in range(6):
            for column in range(6):
                surprise += offset[row] * prior[i, row, column] * offset[column]
        weight = 1.0 / (1.0 + surprise / _PRIOR_SCALE)
        prior_weights[i] = weight
        step_beside_prior(information[i], gradient[i], prior[i], weight, offset, step, a)
        move_by(step, r, t, turn)
        moved = math.sqrt(step[0] ** 2 + step[1] ** 2 + step[2] ** 2)
        turned_by = math.sqrt(step[3] ** 2 + step[4] ** 2 + step[5] ** 2)
        has_arrived = moved < _STILL_M and turned_by < _STILL_RAD
        if stages[i] < STAGES - 1:
            if has_arrived:
                stages[i] = STAGES - 1
            elif moved > far_m:
                stages[i] = 0
            else:
                stages[i] += 1
        elif has_arrived:
            active[i] = False
        views[i] = _nearest_view(r, t, centers[class_ids[i]], directions)


@kernel
def _nearest_view(r: Array, t: Array, center: Floats, directions: Floats) -> int:
    """Return the index of the direction (V, 3) from the centre to the camera that is nearest to a pose's."""
    x, y, z = rotated(r, center[0], center[1], center[2])
    x, y, z = x + t[0], y + t[1], z + t[2]
    dx = -(r[0, 0] * x + r[1, 0] * y + r[2, 0] * z)
    dy = -(r[0, 1] * x + r[1, 1] * y + r[2, 1] * z)
    dz = -(r[0, 2] * x + r[1, 2] * y + r[2, 2] * z)
    best, best_cosine = 0, -1e30
    for index in range(len(directions)):
        cosine = directions[index, 0] * dx + directions[index, 1] * dy + directions[index, 2] * dz
        if cosine > best_cosine:
            best, best_cosine = index, cosine
    return best
