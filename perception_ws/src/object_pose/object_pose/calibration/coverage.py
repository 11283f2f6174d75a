"""What images of a board cover: image regions, tilts and distances; and what to show the camera next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.calibration.boards import Board, BoardView, board_pose
from object_pose.core.arrays import Array
from object_pose.core.errors import CalibrationError
from object_pose.core.geometry.camera import Camera
from object_pose.core.geometry.se3 import exp_so3

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
_TILT_DEG, _SHARE = 32.0, 0.2  # of a view that is asked for in its other respects
_BORDER = 0.03  # of the image, which such a view leaves free
_BLURRED = 1.6  # times the median width of an edge
_SAME_PX = 0.03  # of the image's width by which a new view must differ


@dataclass(frozen=True)
class WantedView:
    """A view that is missing: what to do, and how the board is then seen.

    ``centre`` (2,) is where its middle is in the image, from 0 to 1, ``tilt_deg`` (2,) how it is turned about the
    image's horizontal and vertical axis, ``share`` how much of the image it takes. ``place`` names the region that it
    is to cover, if that is what is missing.
    """

    advice: str
    centre: tuple[float, float] = (0.5, 0.5)
    tilt_deg: tuple[float, float] = (0.0, 0.0)
    share: float = _SHARE
    place: str = ""

    def contour(self, board: Board, image_wh: tuple[int, int]) -> Array:
        """Return the corners (4, 2) in pixels between which the board's points are then seen, within the image."""
        camera = _usual_camera(image_wh)
        low, high = board.points_m[:, :2].min(axis=0), board.points_m[:, :2].max(axis=0)
        half_wh = 0.5 * (high - low)
        distance = float(np.sqrt(camera.fx * camera.fy * np.prod(2.0 * half_wh) / (self.share * np.prod(image_wh))))
        flat = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * [*half_wh, 0.0]
        corners = flat @ exp_so3(np.deg2rad([*self.tilt_deg, 0.0])).T + [0.0, 0.0, distance]
        pixels = camera.project(corners)
        size = np.array(image_wh) - 1.0
        pixels += np.array(self.centre) * size - pixels.mean(axis=0)
        border = _BORDER * size
        pixels += np.maximum(border - pixels.min(axis=0), 0.0)
        return np.asarray(pixels - np.maximum(pixels.max(axis=0) - (size - border), 0.0))


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
    def is_covered(self) -> NDArray[np.bool_]:
        """Which regions (rows, columns) of the image have enough points."""
        return np.asarray(self.points >= MIN_POINTS_A_REGION)

    @property
    def seen_share(self) -> float:
        """The share of the image's regions with enough points."""
        return float(np.mean(self.is_covered))

    def missing(self) -> list[WantedView]:
        """Return a view for each region, tilt and distance that no view has yet; empty where all is covered."""
        rows, columns = self.points.shape
        found: dict[str, WantedView] = {}
        for row, column in np.argwhere(~self.is_covered):
            vertical = "top" if row == 0 else "bottom" if row == rows - 1 else "middle"
            side = "left" if column == 0 else "right" if column == columns - 1 else "centre"
            advice = f"show the board at the {vertical} {side} of the image"
            centre = (float((column + 0.5) / columns), float((row + 0.5) / rows))
            found.setdefault(advice, WantedView(advice, centre, place=f"{vertical} {side}"))
        wanted = list(found.values())
        for name, (axis, sign) in _TILTS.items():
            if not np.any(sign * self.tilts_deg[:, axis] > _LEAST_TILT_DEG):
                tilt = (sign * _TILT_DEG, 0.0) if axis == 0 else (0.0, sign * _TILT_DEG)
                wanted.append(WantedView(f"tilt the board by 20 to 45 degrees, {name}", tilt_deg=tilt))
        if not np.any(self.shares > _NEAR_SHARE):
            advice = "bring the board nearer: it takes less than half of the image in all views"
            wanted.append(WantedView(advice, share=1.15 * _NEAR_SHARE))
        if not np.any(self.shares < _FAR_SHARE):
            wanted.append(WantedView("move the board away: it is near in all views", share=0.6 * _FAR_SHARE))
        return wanted


def coverage(views: Sequence[BoardView], camera: Camera | None = None) -> Coverage:
    """Measure what views of one camera cover; without a ``camera`` tilts are those of a usual lens."""
    width, height = views[0].image_wh
    camera = camera or _usual_camera(views[0].image_wh)
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


@dataclass(frozen=True)
class Guidance:
    """What the newest image is worth beside those taken: whether it ``is_useful``, advice, and the view to show next.

    ``advice`` says why it is of no use, or what to show next; it is empty where nothing is missing.
    """

    is_useful: bool
    advice: str = ""
    wanted: WantedView | None = None


def guidance(view: BoardView | None, taken: Sequence[BoardView], camera: Camera | None = None) -> Guidance:
    """Compare the newest image with those that were ``taken``; ``view`` is None where it does not show the board."""
    known = [*taken, *([view] if view else [])]
    missing = coverage(known, camera).missing() if known else []
    wanted = missing[0] if missing else None
    if view is None:
        return Guidance(False, "the board is not visible: show at least a third of it, without glare", wanted)
    if taken and view.edge_width_px > _BLURRED * float(np.median([own.edge_width_px for own in taken])):
        return Guidance(False, "the image is blurred: hold still, add light or shorten the exposure", wanted)
    for own in taken:
        if _distance(view, own) < _SAME_PX * view.image_wh[0]:
            return Guidance(False, f"this view is like {own.name}: {wanted.advice if wanted else 'move on'}", wanted)
    return Guidance(True, wanted.advice if wanted else "", wanted)


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


def _usual_camera(image_wh: tuple[int, int]) -> Camera:
    width, height = image_wh
    return Camera(width, height, width, width, 0.5 * (width - 1), 0.5 * (height - 1))
