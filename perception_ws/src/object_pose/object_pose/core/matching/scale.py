"""Parts whose file is in another unit than was said: they are in the scene, but of another size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.frame import Frame
from object_pose.core.geometry.symmetry import Symmetry
from object_pose.core.matching.matcher import MatchScene, PartMatcher
from object_pose.core.matching.part_model import PartModel
from object_pose.core.matching.selection import select
from object_pose.core.object_model import ObjectModel, TriangleMesh
from object_pose.core.pose.config import DepthConfig
from object_pose.core.pose.contour_judge import ContourJudge
from object_pose.core.tracking.view_model import BACKGROUND_RUN, FOREGROUND_RUN, ViewModel

_SMALLEST, _LARGEST = 0.5, 1.1  # sides of a segment that may be a part, in its diameters
_LEAST_PX = 24.0
_LEAST_SCORE = 0.8


@dataclass(frozen=True)
class OtherScale:
    """A part that is in the scene ``factor`` times as large as it should be, at ``T_camera_object`` (4, 4)."""

    factor: float
    part: PartModel
    T_camera_object: Array
    score: float


def find_scale(
    part: PartModel,
    factors: Sequence[float],
    scene: MatchScene,
    colour: Frame | None = None,
    depth: DepthConfig | None = None,
) -> OtherScale | None:
    """Return the one of some ``factors`` by which the part has to grow to be in the scene, None where it is not.

    Only those are tried that make it as large as a segment of the scene, so that most cost nothing. ``colour`` is the
    frame where it has some.
    """
    found = []
    for factor in factors:
        if not _may_be_seen(factor * part.diameter, scene):
            continue
        scaled = scaled_part(part, factor)
        matcher = PartMatcher([scaled], depth)
        again = matcher.prepare(scene.oriented.view)
        candidates = matcher.propose(again)
        contours = partial(ContourJudge([scaled.views]).agreement, colour) if colour else None
        selection = select([scaled], candidates, again, _LEAST_SCORE, contours)
        for row in selection.chosen[:1]:
            found.append(OtherScale(factor, scaled, candidates.poses[row], float(selection.scores[row])))
    return max(found, key=lambda other: other.score, default=None)


def scaled_part(part: PartModel, factor: float) -> PartModel:
    """Return a part ``factor`` times as large."""
    size = np.float32(factor)
    return replace(
        part,
        model=_scaled_model(part.model, factor),
        views=_scaled_views(part.views, factor),
        mesh=TriangleMesh(part.mesh.vertices * size, part.mesh.faces),
        pairs=replace(part.pairs, points=part.pairs.points * size, diameter=part.pairs.diameter * factor),
        shapes=replace(part.shapes, extents=part.shapes.extents * factor),
        hull=part.hull * factor,
    )


def _may_be_seen(diameter: float, scene: MatchScene) -> bool:
    camera = scene.oriented.view.camera
    for segment in scene.segments:
        longest_px = float((segment.box_xyxy[2:] - segment.box_xyxy[:2]).max())
        longest = longest_px * segment.near_m / camera.fx
        if not segment.is_wire and longest_px > _LEAST_PX and _SMALLEST * diameter < longest < _LARGEST * diameter:
            return True
    return False


def _scaled_model(model: ObjectModel, factor: float) -> ObjectModel:
    discrete = model.symmetry.discrete.copy()
    discrete[:, :3, 3] *= factor
    return replace(
        model,
        keypoints_object=model.keypoints_object * factor,
        points_object=model.points_object * factor,
        box_center=model.box_center * factor,
        box_size=model.box_size * factor,
        diameter=model.diameter * factor,
        symmetry=Symmetry(discrete, model.symmetry.axis, model.symmetry.offset * factor),
        surface_object=model.surface_object * factor,
    )


def _scaled_views(views: ViewModel, factor: float) -> ViewModel:
    size = np.float32(factor)
    surface, contours, axis = views.surface.copy(), views.contours.copy(), views.axis.copy()
    surface[:, :3] *= size
    contours[..., :3] *= size
    contours[..., [FOREGROUND_RUN, BACKGROUND_RUN]] *= size
    axis[0] *= size
    return replace(
        views,
        diameter=views.diameter * factor,
        center=views.center * size,
        surface=surface,
        contours=contours,
        contour_spacings=views.contour_spacings * size,
        areas=views.areas * size**2,
        axis=axis,
    )
