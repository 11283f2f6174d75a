"""Corners of a plain chessboard, of which an image may show only a part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, Image

_SEED_SIZES = ((5, 5), (4, 4), (3, 3))
_PARTIAL = cv2.CALIB_CB_EXHAUSTIVE | cv2.CALIB_CB_LARGER
_ENOUGH = 0.75  # of the corners; where fewer are seen, more contrast is tried
_REFINE = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_COUNT, 40, 0.005)
_CONTRASTS = (None, 2.0, 4.0)  # limits of CLAHE that are tried; None stretches the brightness alone
_LEAST_CONTRAST = 0.3  # of the squares around a corner, as a share of the board's; none at its outer edge
_BESIDE = 0.25  # squares from a corner at which its four squares are looked at: outer ones may be narrow
_LEAST_SEEN = 0.4  # of the corners of a new row
_FARTHEST_MOVE = 0.25  # of a new corner from where it was expected, in squares
_FIT_LINES = 4
_MOST_IRREGULAR = 0.45  # share of a row's squares; glare spoils some
_LEAST_SHARE = 0.25  # of half the board's contrast, by which a square is darker or brighter than its middle


@dataclass(frozen=True)
class ChessboardGrid:
    """Corners (rows, columns, 2) of a part of a board in image pixels, and which of them were ``seen`` (rows, columns).

    Rows and columns run as the board's do in its image, to the right and down or turned by a multiple of 90 degrees.
    ``first_is_dark``: the square between the first four corners.
    """

    pixels: Array
    seen: NDArray[np.bool_]
    first_is_dark: bool

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of corners."""
        return self.seen.shape[0], self.seen.shape[1]

    def hypotheses(self, columns: int, rows: int, first_is_dark: bool) -> NDArray[np.int64]:
        """Return which corners of a board the seen ones may be: (H, N) ids, by rows.

        The board's first square is dark, if ``first_is_dark``. A board that half a turn maps on its negative has one
        way to be numbered; then its first square is dark by definition.
        """
        own_rows, own_columns = np.nonzero(self.seen)
        found = []
        for turns in range(4):
            height, width = self.shape if turns % 2 == 0 else self.shape[::-1]
            i, j = _turned(own_rows, own_columns, self.shape, turns)
            # The square before the first corner after the turn, in the detected grid.
            dark = self.first_is_dark ^ bool(_first_square_shift(self.shape, turns) % 2)
            for row in range(rows - height + 1):
                for column in range(columns - width + 1):
                    if dark ^ bool((row + column) % 2) == (first_is_dark or (rows + columns) % 2 == 1):
                        found.append((i + row) * columns + j + column)
        return np.array(found, dtype=np.int64).reshape(len(found), int(self.seen.sum()))


def first_square_is_dark(grids: Sequence[ChessboardGrid], columns: int, rows: int) -> bool:
    """Return whether a board's first square is dark, as most grids say that show the whole board; True if none does."""
    votes = 0
    for grid in grids:
        if sorted(grid.shape) == sorted((columns, rows)):
            votes += bool(len(grid.hypotheses(columns, rows, True))) - bool(len(grid.hypotheses(columns, rows, False)))
    return votes >= 0


def find_grid(gray: Image, columns: int, rows: int) -> ChessboardGrid | None:
    """Find the corners of a board of ``columns`` x ``rows`` inner corners, or of a part of it; None where none is."""
    best: ChessboardGrid | None = None
    border = max(8, min(gray.shape) // 8)  # without it, boards that the image's border cuts are missed
    for contrast in _CONTRASTS:
        image = np.asarray(cv2.normalize(gray, None, 0, 255, cv2.NORM_MINMAX), dtype=np.uint8)
        if contrast is not None:
            image = np.asarray(cv2.createCLAHE(contrast, (8, 8)).apply(image), dtype=np.uint8)
        padded = cv2.copyMakeBorder(image, border, border, border, border, cv2.BORDER_REPLICATE)
        for size, flags in (((columns, rows), cv2.CALIB_CB_EXHAUSTIVE), *((seed, _PARTIAL) for seed in _SEED_SIZES)):
            found, corners, meta = cv2.findChessboardCornersSBWithMeta(padded, size, flags)
            if not found or min(meta.shape) < 3:
                continue
            pixels = np.asarray(corners, dtype=np.float64).reshape(*meta.shape, 2) - border
            grid = _grown(image, _right_handed(pixels), max(columns, rows), min(columns, rows))
            if grid is not None and (best is None or grid.seen.sum() > best.seen.sum()):
                best = grid
            if best is not None and best.seen.sum() == columns * rows:
                return best
        if best is not None and best.seen.sum() >= _ENOUGH * columns * rows:
            return best
    return best


def _turned(
    i: NDArray[np.int64], j: NDArray[np.int64], shape: tuple[int, int], turns: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return row and column of corners after quarter turns of a grid of ``shape``."""
    rows, columns = shape
    return ((i, j), (columns - 1 - j, i), (rows - 1 - i, columns - 1 - j), (j, rows - 1 - i))[turns]


def _first_square_shift(shape: tuple[int, int], turns: int) -> int:
    """Return how many squares lie between the grid's first square and the one that is first after quarter turns."""
    rows, columns = shape[0] - 2, shape[1] - 2
    return (0, columns, rows + columns, rows)[turns]


def _right_handed(pixels: Array) -> Array:
    """Return the grid with rows and columns such that a camera before the board sees it, not a mirror image."""
    along, down = (
        pixels[:, -1].mean(axis=0) - pixels[:, 0].mean(axis=0),
        pixels[-1].mean(axis=0) - pixels[0].mean(axis=0),
    )
    return pixels if along[0] * down[1] - along[1] * down[0] > 0 else pixels[:, ::-1]


def _grown(gray: Image, pixels: Array, longer: int, shorter: int) -> ChessboardGrid | None:
    """Return the grid with the rows beside it that the image also shows, without those at the board's outer edge.

    None where it is too large.
    """
    smooth = cv2.boxFilter(gray, cv2.CV_32F, (3, 3))
    regular = _regular_part(smooth, pixels)
    if regular is None:
        return None
    pixels = regular
    seen = np.ones(pixels.shape[:2], dtype=bool)
    for turns in range(4):
        turned, turned_seen = np.rot90(pixels, turns), np.rot90(seen, turns)
        if len(turned) > 3 and _next_row(gray, smooth, turned[:-1], turned_seen[:-1])[1].mean() < _LEAST_SEEN:
            pixels, seen = np.rot90(turned[:-1], -turns), np.rot90(turned_seen[:-1], -turns)
    turns = failures = 0
    while failures < 4:
        turned, turned_seen = np.rot90(pixels, turns), np.rot90(seen, turns)
        rows, columns = len(turned), turned.shape[1]
        failures += 1
        if max(rows + 1, columns) <= longer and min(rows + 1, columns) <= shorter:
            row, row_seen = _next_row(gray, smooth, turned, turned_seen)
            if row_seen.sum() >= max(2.0, _LEAST_SEEN * columns):
                pixels = np.rot90(np.concatenate([turned, row[None]]), -turns)
                seen = np.rot90(np.concatenate([turned_seen, row_seen[None]]), -turns)
                failures = 0
        turns += 1
    if max(seen.shape) > longer or min(seen.shape) > shorter:
        return None
    return ChessboardGrid(pixels, seen, _contrast(smooth, pixels, seen) < 0.0)


def _regular_part(smooth: Array, pixels: Array) -> Array | None:
    """Return the grid without rows at its sides beside which the detector left one out; None where little is left."""
    while _irregularity(smooth, pixels) > _MOST_IRREGULAR:
        smaller = [np.rot90(np.rot90(pixels, turns)[:-1], -turns) for turns in range(4)]
        parts = [part for part in smaller if min(part.shape[:2]) >= 3]
        if not parts:
            return None
        pixels = min(parts, key=lambda part: _irregularity(smooth, part))
    return pixels


def _irregularity(smooth: Array, pixels: Array) -> float:
    """Return the share of squares that have not their colour, in the row or column where it is largest."""
    values = _sampled(smooth, _middles(pixels).reshape(-1, 2)).reshape(len(pixels) - 1, -1)
    sign = np.where(np.add.outer(*(np.arange(size) for size in values.shape)) % 2 == 0, 1.0, -1.0)
    first, other = float(np.median(values[sign > 0])), float(np.median(values[sign < 0]))
    share = sign * (values - 0.5 * (first + other)) / ((first - other) or 1.0)
    is_bad = share < _LEAST_SHARE
    return float(max(is_bad.mean(axis=0).max(), is_bad.mean(axis=1).max()))


def _middles(pixels: Array) -> Array:
    """Return the middles (rows - 1, columns - 1, 2) of the squares between corners."""
    return np.asarray(0.25 * (pixels[:-1, :-1] + pixels[1:, :-1] + pixels[:-1, 1:] + pixels[1:, 1:]))


def _next_row(gray: Image, smooth: Array, pixels: Array, seen: NDArray[np.bool_]) -> tuple[Array, NDArray[np.bool_]]:
    """Return the corners (columns, 2) that follow the last row, and which of them the image shows."""
    rows, columns = seen.shape
    first = max(0, rows - _FIT_LINES)
    i, j = np.nonzero(seen[first:])
    homography, _ = cv2.findHomography(np.stack([j, i + first], axis=-1).astype(np.float64), pixels[first:][i, j])
    expected = _mapped(homography, np.arange(columns), rows)
    spacing = np.linalg.norm(expected - _mapped(homography, np.arange(columns), rows - 1), axis=-1)
    height, width = gray.shape
    margin = 0.5 * spacing
    is_inside = np.all((expected > margin[:, None]) & (expected < (width, height) - margin[:, None]), axis=-1)
    row = expected.copy()
    if is_inside.any():
        half = max(2, int(0.25 * np.median(spacing)))
        inside = expected[is_inside].astype(np.float32).reshape(-1, 1, 2)
        row[is_inside] = cv2.cornerSubPix(gray, inside, (half, half), (-1, -1), _REFINE).reshape(-1, 2)
    # Two dark and two bright squares meet in a corner, as the known part goes on; at the board's outer edge not so.
    contrast = _contrast(smooth, pixels, seen)
    bright, dark = np.full(columns, np.inf), np.full(columns, -np.inf)
    for di, dj in ((-_BESIDE, -_BESIDE), (-_BESIDE, _BESIDE), (_BESIDE, -_BESIDE), (_BESIDE, _BESIDE)):
        around = _sampled(smooth, _mapped(homography, np.arange(columns) + dj, rows + di))
        is_first = (np.floor(rows + di) + np.floor(np.arange(columns) + dj)) % 2 == 0
        is_bright = is_first == (contrast > 0.0)
        bright = np.where(is_bright, np.minimum(bright, around), bright)
        dark = np.where(is_bright, dark, np.maximum(dark, around))
    near = np.linalg.norm(row - expected, axis=-1) < _FARTHEST_MOVE * spacing
    return row, is_inside & near & (bright - dark > _LEAST_CONTRAST * abs(contrast))


def _contrast(smooth: Array, pixels: Array, seen: NDArray[np.bool_]) -> float:
    """Return how much brighter the first square and those of its colour are than the others."""
    is_whole = seen[:-1, :-1] & seen[1:, :-1] & seen[:-1, 1:] & seen[1:, 1:]
    values = _sampled(smooth, _middles(pixels)[is_whole])
    is_first = np.add.outer(np.arange(is_whole.shape[0]), np.arange(is_whole.shape[1]))[is_whole] % 2 == 0
    return float(values[is_first].mean() - values[~is_first].mean())


def _mapped(homography: Array, columns: NDArray[np.number], row: float) -> Array:
    points = np.stack([columns, np.full(len(columns), row)], axis=-1).astype(np.float64)
    return np.asarray(cv2.perspectiveTransform(points[None], homography)[0])


def _sampled(smooth: Array, pixels: Array) -> Array:
    """Return the values of an image at the nearest pixels (N, 2)."""
    x, y = np.rint(pixels).astype(int).T
    return np.asarray(smooth[np.clip(y, 0, smooth.shape[0] - 1), np.clip(x, 0, smooth.shape[1] - 1)])
