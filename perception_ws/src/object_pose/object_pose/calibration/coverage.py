"""What images of a board cover: image regions, tilts and distances; and what to show the camera next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.calibration.boards import BoardView, board_pose
from object_pose.core.arrays import Array
from object_pose.core.errors import CalibrationError
from object_pose.core.geometry.camera import Camera

REGIONS_WH = (5, 4)
MIN_POINTS_A_REGION = 15
_LEAST_TILT_DEG = 15.0
_TILTS = {
    "its left side nearer": (1, 1),
    "its right side nearer": (1, -1),
    "its top nearer": (0, -1),
    "its bottom nearer": (0, 1),
}
_NEAR_SHARE, _FAR_SHARE = 0.4, 0.15  # of the image that the board takes
_BLURRED = 1.6  # times the median width of an edge
_SAME_PX = 0.03  # of the image's width by which a new view must differ


@dataclass(frozen=True)
class Coverage:
    """What a set of views covers.

    ``points`` (rows, columns) counts points in regions of the image, ``tilts_deg`` (N, 2) is how the board is turned
    about the image's horizontal and vertical axis, ``shares`` (N,) how much of the image it takes, ``edge_width_px``
    (N,) how sharp it is.
    """

    image_wh: tuple[int, int]
    points: NDArray[np.int64]
    tilts_deg: Array
    shares: Array
    edge_width_px: Array

    @property
    def seen_share(self) -> float:
        """The share of the image's regions with enough points."""
        return float(np.mean(self.points >= MIN_POINTS_A_REGION))

    def missing(self) -> list[str]:
        """Say which regions, tilts and distances no view has yet; empty where all is covered."""
        rows, columns = self.points.shape
        found = []
        for row, column in np.argwhere(self.points < MIN_POINTS_A_REGION):
            vertical = "top" if row == 0 else "bottom" if row == rows - 1 else "middle"
            side = "left" if column == 0 else "right" if column == columns - 1 else "centre"
            found.append(f"show the board at the {vertical} {side} of the image")
        found = list(dict.fromkeys(found))
        for name, (axis, sign) in _TILTS.items():
            if not np.any(sign * self.tilts_deg[:, axis] > _LEAST_TILT_DEG):
                found.append(f"tilt the board by 20 to 45 degrees, {name}")
        if not np.any(self.shares > _NEAR_SHARE):
            found.append("bring the board nearer: it takes less than half of the image in all views")
        if not np.any(self.shares < _FAR_SHARE):
            found.append("move the board away: it is near in all views")
        return found


def coverage(views: Sequence[BoardView], camera: Camera | None = None) -> Coverage:
    """Measure what views of one camera cover; without a ``camera`` tilts are those of a usual lens."""
    width, height = views[0].image_wh
    camera = camera or Camera(width, height, width, width, 0.5 * (width - 1), 0.5 * (height - 1))
    pixels = np.concatenate([view.pixels for view in views])
    columns, rows = REGIONS_WH
    counts, _, _ = np.histogram2d(
        pixels[:, 1], pixels[:, 0], (rows, columns), ((-0.5, height - 0.5), (-0.5, width - 0.5))
    )
    tilts, shares = [], []
    for view in views:
        hull = cv2.convexHull(view.pixels.astype(np.float32))
        shares.append(cv2.contourArea(hull) / (width * height))
        try:
            normal = board_pose(camera, view.pixels, view.points_m)[:3, 2]
        except CalibrationError:  # of the usual lens, not of this one
            normal = np.array([0.0, 0.0, 1.0])
        tilts.append(np.rad2deg([np.arctan2(-normal[1], normal[2]), np.arctan2(normal[0], normal[2])]))
    widths = np.array([view.edge_width_px for view in views])
    return Coverage((width, height), counts.astype(np.int64), np.stack(tilts), np.array(shares), widths)


def guidance(view: BoardView | None, taken: Sequence[BoardView]) -> str:
    """Say, of the newest image beside those that were ``taken``, why it is of no use or what to show next.

    Empty where nothing is missing. ``view`` is None where the image does not show the board.
    """
    if view is None:
        return "the board is not visible: show at least a third of it, without glare"
    if taken and view.edge_width_px > _BLURRED * float(np.median([own.edge_width_px for own in taken])):
        return "the image is blurred: hold still, add light or shorten the exposure"
    for own in taken:
        if _distance(view, own) < _SAME_PX * view.image_wh[0]:
            return f"this view is like {own.name}: move on"
    missing = coverage([*taken, view]).missing()
    return missing[0] if missing else ""


def blurred(views: Sequence[BoardView]) -> list[str]:
    """Return the names of views whose edges are much wider than those of most."""
    widths = np.array([view.edge_width_px for view in views])
    return [view.name for view, is_wide in zip(views, widths > _BLURRED * np.median(widths)) if is_wide]


def _distance(first: BoardView, second: BoardView) -> float:
    """Return how far in pixels points move between two views of a board; large where they share too few."""
    shared = np.all(np.abs(first.points_m[:, None] - second.points_m[None]) < 1e-6, axis=-1)
    i, j = np.nonzero(shared)
    if len(i) < 4:
        return float("inf")
    return float(np.median(np.linalg.norm(first.pixels[i] - second.pixels[j], axis=-1)))
