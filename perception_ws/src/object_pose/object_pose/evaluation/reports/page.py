"""What all HTML reports share: one page style, one file that needs nothing else, pictures and plots inside it."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np
from matplotlib.figure import Figure

from object_pose.core.arrays import Image
from object_pose.io.files import replacing
from object_pose.io.images import encode_image

_JPEG_QUALITY = 82
_DPI = 110


def write_page(path: Path, template: str, **values: Any) -> None:
    """Render a template of this package, which extends ``base.html``, into one HTML file."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("object_pose.evaluation.reports", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(template).render(**values)
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def figure_url(figure: Figure) -> str:
    """Return a plot as a data URL (PNG)."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    return _data_url("png", buffer.getvalue())


def picture_url(rgb: Image, side: int = 0) -> str:
    """Return an (H, W, 3) image as a data URL (JPEG), with a longer side of ``side`` pixels where that is given."""
    shown = resized(rgb, side)[0] if side else rgb
    return _data_url("jpeg", encode_image(shown, ".jpg", _JPEG_QUALITY))


def resized(rgb: Image, side: int) -> tuple[Image, float]:
    """Return an image whose longer side has ``side`` pixels, and its scale."""
    scale = side / max(rgb.shape[:2])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=method), dtype=np.uint8), scale


def _data_url(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
