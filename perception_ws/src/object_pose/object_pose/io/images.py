"""Colour and depth images on disk; a depth image's unit follows its encoding."""

from __future__ import annotations

import math
import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import DepthImage, Image
from object_pose.core.errors import DataError
from object_pose.core.vision.image import to_rgb
from object_pose.io import exr
from object_pose.io.files import replacing

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
DEPTH_SUFFIXES = (".png", ".tif", ".tiff", ".exr", ".npy")
LARGEST_IMAGE_PIXELS = 1 << 27
_MILLIMETRE = 1e-3
# (Place, bytes, name) of formats that users have, too, such as photographs of telephones that are called .jpg.
_OTHER_FORMATS = (
    *((4, b"ftyp" + brand, "HEIC") for brand in (b"heic", b"heix", b"mif1", b"msf1")),
    (4, b"ftypavif", "AVIF"),
    (4, b"jP  \r\n\x87\n", "JPEG 2000"),
    (0, b"GIF8", "GIF"),
    (0, b"%PDF", "PDF"),
    (0, b"<", "SVG, XML or a web page"),
    *((0, b"P%d" % kind, "PNM") for kind in range(1, 8)),
)
_NPY_MAGIC = b"\x93NUMPY"
FEWEST_LEVELS = 1 << 12  # the largest value of 16 bits lies above it, unless they hold 12 bits, 10 or 8
_FARTHEST_M = 100.0  # half of an image's depth is nearer, or not in metres


def read_image(path: str | Path) -> Image:
    """Read an image file, colour or grey, of 8 or 16 bits, as (H, W, 3) uint8 RGB; see ``decode_rgb``."""
    return decode_rgb(_read_bytes(Path(path)), str(path))


def decode_rgb(content: bytes, name: str, largest_pixels: int = LARGEST_IMAGE_PIXELS) -> Image:
    """Return the bytes of an image file as (H, W, 3) uint8 RGB: of 16 bits the upper 8.

    Raises ``DataError`` as ``decode_image`` does, and where 16 bits hold so few levels that a camera of 12 or 10 bits
    must have counted them: files do not say how many, and the upper 8 would be almost black.
    """
    decoded = decode_image(content, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH, name, largest_pixels)
    if decoded.dtype == np.uint16:
        largest = int(decoded.max())
        if 0 < largest < FEWEST_LEVELS:
            raise DataError(
                f"{name} has 16 bits, but its values reach only {largest} of 65535",
                "scale it to 8 bits: divide by 16 what a camera of 12 bits counted, by 4 of one of 10",
            )
        decoded = decoded >> 8
    elif decoded.dtype != np.uint8:
        raise DataError(f"{name} has colours of {decoded.dtype}, whose range is not known", "scale it to 8 bits")
    return to_rgb(cv2.cvtColor(decoded.astype(np.uint8, copy=False), cv2.COLOR_BGR2RGB))


def write_image(path: str | Path, rgb: Image) -> None:
    """Write an (H, W, 3) RGB image; the suffix says the format."""
    _write(Path(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))


def write_grey(path: str | Path, plane: NDArray[np.uint8]) -> None:
    """Write an (H, W) grey image or mask; the suffix says the format."""
    _write(Path(path), plane)


def read_depth(path: str | Path, unit_m: float = _MILLIMETRE, float_unit_m: float = 1.0) -> DepthImage:
    """Read (H, W) metres along z, 0 where there is none.

    16-bit files (PNG, TIFF, NPY) hold multiples of ``unit_m``, by convention millimetres; floating-point ones (TIFF,
    EXR, NPY) those of ``float_unit_m``, by convention metres. Raises ``DataError`` for any other pixel type or shape,
    and for floating-point depth that cannot be of that unit.
    """
    return decode_depth(_read_bytes(Path(path)), str(path), unit_m, float_unit_m)


def decode_depth(
    content: bytes,
    name: str,
    unit_m: float = _MILLIMETRE,
    float_unit_m: float = 1.0,
    largest_pixels: int = LARGEST_IMAGE_PIXELS,
) -> DepthImage:
    """Return the bytes of a depth file as (H, W) metres; see ``read_depth``."""
    try:
        raw = _raw_depth(content, name, largest_pixels)
        depth_m = depth_in_metres(raw, unit_m, float_unit_m)
        if raw.dtype != np.uint16 and (median_m := _median(depth_m)) > _FARTHEST_M:
            problem = f"half of the floating-point depth lies beyond {median_m:.0f} m"
            raise DataError(problem, "are these millimetres? say so with depth_scale 1 (--depth-scale 1)")
        return depth_m
    except DataError as error:
        if name in error.message:
            raise
        raise DataError(f"{name}: {error.message}", error.hint) from error


def _median(depth_m: DepthImage) -> float:
    """Return the median of depth that was measured, without the far plane at which renderers put what is empty."""
    measured = depth_m[depth_m > 0.0]
    if not measured.size:
        return 0.0
    nearer = measured[measured < measured.max()]
    return float(np.median(nearer if nearer.size else measured))


def _raw_depth(content: bytes, name: str, largest_pixels: int) -> NDArray[np.generic]:
    if content.startswith(_NPY_MAGIC) or name.lower().endswith(".npy"):
        return decode_array(content, name)
    if content.startswith(exr.MAGIC):
        _check_pixels(name, exr.declared_wh(content), largest_pixels)
        return exr.decode_depth(content)
    return decode_image(content, cv2.IMREAD_UNCHANGED, name, largest_pixels)


def write_depth(path: str | Path, depth_m: DepthImage) -> None:
    """Write (H, W) metres as 16-bit millimetres (PNG), or as float32 metres (TIFF)."""
    file = Path(path)
    if file.suffix.lower() == ".png":
        _write(file, depth_in_millimetres(depth_m))
    else:
        _write(file, np.asarray(depth_m, dtype=np.float32))


def depth_in_metres(raw: NDArray[np.generic], unit_m: float = _MILLIMETRE, float_unit_m: float = 1.0) -> DepthImage:
    """Return raw (H, W) depth as float32 metres: uint16 counts ``unit_m``, floats ``float_unit_m``.

    What is not finite becomes 0.
    """
    if raw.ndim != 2:
        raise DataError(f"a depth image must have shape (H, W), got {raw.shape}", "is it a colour image?")
    if raw.dtype == np.uint16:
        return raw.astype(np.float32) * np.float32(unit_m)
    if raw.dtype in (np.float32, np.float64):
        metres = raw.astype(np.float32) * np.float32(float_unit_m)
        return np.where(np.isfinite(metres) & (metres > 0), metres, np.float32(0.0))
    raise DataError(
        f"a depth image of {raw.dtype} pixels has no known unit", "use uint16 millimetres or float32 metres"
    )


def depth_in_millimetres(depth_m: DepthImage) -> NDArray[np.uint16]:
    """Return metres as whole millimetres; what is not finite, negative or beyond 65.535 m becomes 0."""
    millimetres = np.rint(depth_m / _MILLIMETRE)
    millimetres[~((millimetres > 0) & (millimetres <= np.iinfo(np.uint16).max))] = 0  # NaN is neither
    return millimetres.astype(np.uint16)


def encode_image(rgb: Image, suffix: str, quality: int = 95) -> bytes:
    """Return an (H, W, 3) RGB image as the bytes of a file of this suffix, of this ``quality`` where that is ``.jpg``.

    Raises ``DataError`` where the image cannot be encoded.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == ".jpg" else []
    is_done, encoded = cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
    if not is_done:
        raise DataError(f"a picture could not be encoded as {suffix}")
    return bytes(encoded)


def list_images(folder: str | Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> list[Path]:
    """Return the image files of a folder, sorted by name, without hidden ones, as macOS leaves.

    Raises ``DataError`` when there are none.
    """
    directory = Path(folder)
    if not directory.is_dir():
        raise DataError(f"folder {directory} does not exist")
    files = sorted(
        path for path in directory.iterdir() if path.suffix.lower() in suffixes and not path.name.startswith(".")
    )
    if not files:
        raise DataError(f"folder {directory} holds no images", f"known suffixes: {', '.join(suffixes)}")
    return files


def decode_image(
    content: bytes, flags: int, name: str = "an image", largest_pixels: int = LARGEST_IMAGE_PIXELS
) -> NDArray[Any]:
    """Return the pixels of an encoded image as ``cv2.imdecode`` gives them.

    Raises ``DataError`` where it is none, or larger than ``largest_pixels``, before memory is taken for it.
    """
    size = declared_wh(content)
    if size is not None:
        _check_pixels(name, size, largest_pixels)
    image = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), flags) if size else None
    if image is None:
        kind = next((kind for place, mark, kind in _OTHER_FORMATS if content[place:].startswith(mark)), "")
        hint = f"it is {kind}: convert it to PNG or JPEG" if kind else "it is empty, truncated or of another format"
        raise DataError(f"{name} cannot be read as an image", hint)
    return np.asarray(image)


def _check_pixels(name: str, wh: tuple[int, int], largest: int) -> None:
    if wh[0] * wh[1] > largest:
        raise DataError(f"{name} of {wh[0]}x{wh[1]} pixels is larger than the {largest} pixels that are read")


def declared_wh(content: bytes) -> tuple[int, int] | None:
    """Return the size that the header of a PNG, JPEG, BMP, WebP or TIFF declares, None where there is none."""
    try:
        if content.startswith(b"\x89PNG\r\n\x1a\n"):
            return struct.unpack_from(">II", content, 16)
        if content.startswith(b"\xff\xd8"):
            return _jpeg_wh(content)
        if content.startswith(b"BM"):
            width, height = struct.unpack_from("<ii", content, 18)
            return width, abs(height)
        if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
            return _webp_wh(content)
        if content[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return _tiff_wh(content, "<" if content[:2] == b"II" else ">", is_big=b"+" in content[:4])
    except (struct.error, IndexError, KeyError):
        return None
    return None


def _jpeg_wh(content: bytes) -> tuple[int, int] | None:
    """Walk over the segments to the frame header (SOF)."""
    place = 2
    while content[place] == 0xFF:
        marker = content[place + 1]
        if marker == 0xFF or 0xD0 <= marker <= 0xD8 or marker == 0x01:  # fill byte, or a marker without content
            place += 1 if marker == 0xFF else 2
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", content, place + 5)
            return width, height
        place += 2 + struct.unpack_from(">H", content, place + 2)[0]
    return None


def _webp_wh(content: bytes) -> tuple[int, int] | None:
    kind = content[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(content[24:27], "little"), 1 + int.from_bytes(content[27:30], "little")
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", content, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", content, 26)
    return width & 0x3FFF, height & 0x3FFF


_TIFF_TYPES = {3: "H", 4: "I", 16: "Q"}  # of widths and heights


def _tiff_wh(content: bytes, order: str, is_big: bool) -> tuple[int, int]:
    """Return width and height of the first image, tags 256 and 257; BigTIFF has offsets and counts of 8 bytes."""
    # Where the first offset stands, the types of offsets and of the number of entries, and bytes of an entry.
    at, offset, number, entry = (8, "Q", "Q", 20) if is_big else (4, "I", "H", 12)
    (start,) = struct.unpack_from(f"{order}{offset}", content, at)
    (count,) = struct.unpack_from(f"{order}{number}", content, start)
    found = {}
    for index in range(count):
        place = start + struct.calcsize(f"={number}") + entry * index
        tag, kind = struct.unpack_from(f"{order}HH", content, place)
        if tag in (256, 257):
            value_at = place + entry - struct.calcsize(f"={offset}")
            (found[tag],) = struct.unpack_from(f"{order}{_TIFF_TYPES[kind]}", content, value_at)
        if len(found) == 2:
            break
    return found[256], found[257]


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"image {path} does not exist") from error
    except OSError as error:
        raise DataError(f"image {path} cannot be opened: {error.strerror}") from error


def decode_array(content: bytes, name: str) -> NDArray[np.generic]:
    """Return the array in the bytes of a .npy file; raises ``DataError`` where it is damaged or says to be larger."""
    try:
        stream = BytesIO(content)
        first = np.lib.format.read_magic(stream) == (1, 0)
        read_header = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(stream)
        if math.prod(shape) * dtype.itemsize > len(content):
            raise ValueError(f"it declares the shape {shape}, for which its {len(content)} bytes are too few")
        return np.asarray(np.load(BytesIO(content), allow_pickle=False))
    except Exception as error:  # the header is Python text, and stops NumPy's parser in many ways
        raise DataError(f"{name} cannot be read as a NumPy array: {error}") from error


def _write(path: Path, image: NDArray[np.generic]) -> None:
    with replacing(path) as temporary:
        try:
            written = cv2.imwrite(str(temporary), image)
        except cv2.error as error:
            raise DataError(f"{path} cannot be written: {error.err}", "is the suffix an image format?") from error
        if not written:
            raise DataError(f"{path} cannot be written")
