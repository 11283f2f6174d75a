"""Colour and depth images on disk; a depth image's unit follows its encoding."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import DepthImage, Image
from object_pose.core.errors import DataError
from object_pose.core.vision.image import to_rgb
from object_pose.io.files import replacing

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
DEPTH_SUFFIXES = (".png", ".tif", ".tiff", ".npy")
_MILLIMETRE = 1e-3


def read_image(path: str | Path) -> Image:
    """Read an image file, colour or grey, as (H, W, 3) uint8 RGB; raises ``DataError`` where that is impossible."""
    decoded = _decode(Path(path), cv2.IMREAD_COLOR)
    return to_rgb(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB))


def write_image(path: str | Path, rgb: Image) -> None:
    """Write an (H, W, 3) RGB image; the suffix says the format."""
    _write(Path(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))


def write_grey(path: str | Path, plane: NDArray[np.uint8]) -> None:
    """Write an (H, W) grey image or mask; the suffix says the format."""
    _write(Path(path), plane)


def read_depth(path: str | Path, unit_m: float = _MILLIMETRE) -> DepthImage:
    """Read (H, W) metres along z, 0 where there is none.

    16-bit files (PNG, TIFF, NPY) hold multiples of ``unit_m``, by convention millimetres; floating-point ones (TIFF,
    NPY) hold metres. Raises ``DataError`` for any other pixel type or shape.
    """
    file = Path(path)
    raw = _load_npy(file) if file.suffix.lower() == ".npy" else _decode(file, cv2.IMREAD_UNCHANGED)
    try:
        return depth_in_metres(raw, unit_m)
    except DataError as error:
        raise DataError(f"{file}: {error.message}", error.hint) from error


def write_depth(path: str | Path, depth_m: DepthImage) -> None:
    """Write (H, W) metres as 16-bit millimetres (PNG), or as float32 metres (TIFF)."""
    file = Path(path)
    if file.suffix.lower() == ".png":
        _write(file, depth_in_millimetres(depth_m))
    else:
        _write(file, np.asarray(depth_m, dtype=np.float32))


def depth_in_metres(raw: NDArray[np.generic], unit_m: float = _MILLIMETRE) -> DepthImage:
    """Return raw (H, W) depth as float32 metres: uint16 counts ``unit_m``, floats are metres; not finite becomes 0."""
    if raw.ndim != 2:
        raise DataError(f"a depth image must have shape (H, W), got {raw.shape}", "is it a colour image?")
    if raw.dtype == np.uint16:
        return raw.astype(np.float32) * np.float32(unit_m)
    if raw.dtype in (np.float32, np.float64):
        metres = raw.astype(np.float32)
        return np.where(np.isfinite(metres) & (metres > 0), metres, np.float32(0.0))
    raise DataError(
        f"a depth image of {raw.dtype} pixels has no known unit", "use uint16 millimetres or float32 metres"
    )


def depth_in_millimetres(depth_m: DepthImage) -> NDArray[np.uint16]:
    """Return metres as whole millimetres; what is not finite, negative or beyond 65.535 m becomes 0."""
    millimetres = np.rint(np.nan_to_num(depth_m, nan=0.0, posinf=0.0, neginf=0.0) / _MILLIMETRE)
    valid = (millimetres > 0) & (millimetres <= np.iinfo(np.uint16).max)
    return np.where(valid, millimetres, 0).astype(np.uint16)


def list_images(folder: str | Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> list[Path]:
    """Return the image files of a folder, sorted by name; raises ``DataError`` when there are none."""
    directory = Path(folder)
    if not directory.is_dir():
        raise DataError(f"folder {directory} does not exist")
    files = sorted(path for path in directory.iterdir() if path.suffix.lower() in suffixes)
    if not files:
        raise DataError(f"folder {directory} holds no images", f"known suffixes: {', '.join(suffixes)}")
    return files


def _decode(path: Path, flags: int) -> NDArray[np.uint8]:
    content = _read_bytes(path)
    image = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), flags) if content else None
    if image is None:
        raise DataError(f"{path} cannot be read as an image", "it is empty, truncated or of another format")
    return np.asarray(image)


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"image {path} does not exist") from error
    except OSError as error:
        raise DataError(f"image {path} cannot be opened: {error.strerror}") from error


def _load_npy(path: Path) -> NDArray[np.generic]:
    try:
        return np.asarray(np.load(BytesIO(_read_bytes(path)), allow_pickle=False))
    except (ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read as a NumPy array: {error}") from error


def _write(path: Path, image: NDArray[np.generic]) -> None:
    with replacing(path) as temporary:
        try:
            written = cv2.imwrite(str(temporary), image)
        except cv2.error as error:
            raise DataError(f"{path} cannot be written: {error.err}", "is the suffix an image format?") from error
        if not written:
            raise DataError(f"{path} cannot be written")
