"""Images made smaller by averaging: what OpenCV's ``INTER_AREA`` gives, to the bit and in half its time."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.kernels import exact_kernel, for_kernels

_TAPS = 3  # the most pixels that one covers which is less than twice as wide
_RING = 4  # lines that are kept, a power of two
_NEGLIGIBLE = 1e-3  # of a pixel: a smaller share of one is left out, as OpenCV does


def shrunk(image: NDArray[np.uint8], wh: tuple[int, int]) -> NDArray[np.uint8]:
    """Return an image (H, W[, C]) at no larger a width and height, each pixel the mean of the area that it covers."""
    height, width = image.shape[:2]
    shape = wh[1], wh[0], *image.shape[2:]
    if not (wh[0] < width < 2 * wh[0] and wh[1] < height < 2 * wh[1]):
        return np.asarray(cv2.resize(image, wh, interpolation=cv2.INTER_AREA), dtype=np.uint8).reshape(shape)
    small = np.empty(shape, dtype=np.uint8)
    _shrink(for_kernels(image, np.uint8).reshape(height, width, -1), small.reshape(wh[1], wh[0], -1))
    return small


@exact_kernel
def _shrink(image: NDArray[np.uint8], small: NDArray[np.uint8]) -> None:
    """Fill ``small`` (h, w, C): across first, then down, each sum in OpenCV's order."""
    height, width, channels = image.shape
    starts, line_shares = _taps(height, len(small))
    columns, column_shares = _taps(width, small.shape[1])
    count = channels * small.shape[1]
    places = np.empty((_TAPS, count), dtype=np.uint64)
    shares = np.empty((_TAPS, count), dtype=np.float32)
    for x in range(count):
        for tap in range(_TAPS):
            column = min(columns[x // channels] + tap, width - 1)
            places[tap, x] = column * channels + x % channels
            shares[tap, x] = column_shares[tap, x // channels]
    left, middle, right = places[0], places[1], places[2]
    of_left, of_middle, of_right = shares[0], shares[1], shares[2]
    values = np.empty(width * channels, dtype=np.float32)
    lines = np.zeros((_RING, count), dtype=np.float32)
    done = 0
    for y in range(len(small)):
        while done < min(starts[y] + _TAPS, height):
            source, line = image[done].reshape(-1), lines[done % _RING]
            for x in range(width * channels):
                values[x] = source[x]
            for x in range(count):
                line[x] = (
                    of_left[x] * values[left[x]] + of_middle[x] * values[middle[x]] + of_right[x] * values[right[x]]
                )
            done += 1
        upper, line, lower = lines[starts[y] % _RING], lines[(starts[y] + 1) % _RING], lines[(starts[y] + 2) % _RING]
        of_upper, of_line, of_lower = line_shares[0, y], line_shares[1, y], line_shares[2, y]
        target = small[y].reshape(-1)
        for x in range(count):
            target[x] = np.uint8(np.rint(of_upper * upper[x] + of_line * line[x] + of_lower * lower[x]))


@exact_kernel
def _taps(size: int, smaller: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return the first pixel (N,) that each of N is the mean of, and the shares (3, N) of this and the next two."""
    first, shares = np.zeros(smaller, dtype=np.intp), np.zeros((_TAPS, smaller), dtype=np.float32)
    scale = size / smaller
    for i in range(smaller):
        start = i * scale
        end = start + scale
        covered = min(scale, size - start)
        last = min(math.floor(end), size - 1)
        whole = min(math.ceil(start), last)
        tap = 0
        first[i] = whole
        if whole - start > _NEGLIGIBLE:
            first[i] = whole - 1
            shares[tap, i] = (whole - start) / covered
            tap += 1
        for _ in range(whole, last):
            shares[tap, i] = 1.0 / covered
            tap += 1
        if end - last > _NEGLIGIBLE and tap < _TAPS:
            shares[tap, i] = min(end - last, 1.0, covered) / covered
    return first, shares
