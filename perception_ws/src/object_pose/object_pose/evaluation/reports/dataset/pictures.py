"""Small pictures for a page: images with the boxes in question, as JPEG inside the HTML."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure

from object_pose.core.arrays import Array, Image
from object_pose.io.datasets.mask_pairs import read_mask
from object_pose.io.images import read_image

_SIDE = 220
_QUALITY = 78
_MARK = (255, 64, 96)
_PLOT_DPI = 110


def thumbnail(path: Path, boxes_xyxy: Array | None = None) -> str:
    """Return an image, made small, with boxes (N, 4) drawn, as a data URL."""
    rgb = _read(path)
    small, scale = _resized(rgb, _SIDE)
    for box in np.zeros((0, 4)) if boxes_xyxy is None else boxes_xyxy:
        x0, y0, x1, y1 = (round(float(value) * scale) for value in box)
        cv2.rectangle(small, (x0, y0), (x1, y1), (255, 255, 255), 3)
        cv2.rectangle(small, (x0, y0), (x1, y1), _MARK, 1)
    return _jpeg(small)


def mask_thumbnail(path: Path, mask_path: Path) -> str:
    """Return an image, made small, with its mask tinted, as a data URL."""
    rgb, mask = _read(path).copy(), read_mask(mask_path)
    rgb[mask] = (0.55 * rgb[mask] + 0.45 * np.array(_MARK)).astype(np.uint8)
    return picture_url(rgb)


def picture_url(rgb: Image, side: int = _SIDE) -> str:
    """Return an (H, W, 3) image, its longer side brought to ``side`` pixels, as a data URL."""
    return _jpeg(_resized(rgb, side)[0])


def plot_png(figure: Figure) -> str:
    """Return a plot as a data URL."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=_PLOT_DPI)
    return _data_url("png", buffer.getvalue())


@lru_cache(maxsize=64)
def _read(path: Path) -> Image:
    return read_image(path)


def _resized(rgb: Image, side: int) -> tuple[Image, float]:
    """Return an image with a longer side of ``side`` pixels, and the scale."""
    scale = side / max(rgb.shape[:2])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=method), dtype=np.uint8), scale


def _jpeg(rgb: Image) -> str:
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return _data_url("jpeg", encoded.tobytes())


def _data_url(kind: str, content: bytes | Sequence[int]) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(bytes(content)).decode()}"
