"""Image files of a data set, checked without decoding what need not be decoded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
from PIL import Image, UnidentifiedImageError

from object_pose.core.errors import DataError
from object_pose.io.datasets.samples import Fault
from object_pose.io.images import IMAGE_SUFFIXES, decode_image, read_image
from object_pose.runtime.digests import file_sha256

_ORIENTATION_TAG = 0x0112
_QUARTER_TURNS = (5, 6, 7, 8)
# The last bytes of whole files; what follows them is seldom more than a few hundred bytes of a camera's own.
_TAIL_BYTES = 4096
_END_MARKS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}


@dataclass(frozen=True)
class ImageHeader:
    """What the first bytes of an image file say: size in pixels as ``read_image`` returns it, and the channels."""

    wh: tuple[int, int]
    mode: str


def read_header(path: Path, thorough: bool = False, is_picture: bool = True) -> ImageHeader:
    """Read an image's size and make sure that its file is whole; decode it only where ``thorough`` or in doubt.

    In doubt are also pictures of 16 bits, whose values tell how many are used; masks and depth are none. Raises
    ``DataError`` saying what is wrong, without the path.
    """
    try:
        if path.stat().st_size == 0:
            raise DataError("the file is empty")
        with Image.open(path) as image:
            width, height = image.size
            # Pillow turns TIFF files itself.
            if image.format != "TIFF" and image.getexif().get(_ORIENTATION_TAG, 1) in _QUARTER_TURNS:
                width, height = height, width
            header = ImageHeader((width, height), image.mode)
            if thorough or not _has_end(path, image.format or ""):
                image.load()
            thorough = thorough or (is_picture and image.mode.startswith("I"))
    except UnidentifiedImageError as error:
        raise DataError("the file is damaged or no image") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(_reason(error)) from error
    if thorough:
        try:
            read_image(path) if is_picture else decode_image(path.read_bytes(), cv2.IMREAD_UNCHANGED, str(path))
        except DataError as error:
            raise DataError(error.message.removeprefix(f"{path} "), error.hint) from error
    return header


def image_files(folder: Path, nested: bool = False) -> list[Path]:
    """Return the image files of a folder, and of those in it where ``nested``, sorted; hidden files are left out."""
    return sorted(
        path
        for path in (folder.rglob("*") if nested else folder.iterdir())
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )


def files_by_stem(paths: Iterable[Path], folder: Path, faults: list[Fault]) -> dict[str, Path]:
    """Return files by their path in ``folder`` without suffix; a second file of one name is a fault."""
    files: dict[str, Path] = {}
    for path in paths:
        stem = path.relative_to(folder).with_suffix("").as_posix()
        if stem in files:
            faults.append(Fault(path, None, f"has the same name as {files[stem].name}"))
        else:
            files[stem] = path
    return files


def headers(
    paths: Iterable[Path], thorough: bool, faults: list[Fault], is_picture: bool = True
) -> dict[Path, ImageHeader]:
    """Read the headers of image files; what cannot be used is left out and noted in ``faults``; see ``read_header``."""
    found = {}
    for path in paths:
        try:
            found[path] = read_header(path, thorough, is_picture)
        except DataError as error:
            faults.append(Fault(path, None, error.message))
    return found


def equal_files(paths: Sequence[Path]) -> list[list[Path]]:
    """Return groups of two and more files with equal contents; only files of equal size are read."""
    by_size: dict[int, list[Path]] = defaultdict(list)
    for path in paths:
        by_size[path.stat().st_size].append(path)
    by_content: dict[str, list[Path]] = defaultdict(list)
    for group in by_size.values():
        if len(group) > 1:
            for path in group:
                by_content[file_sha256(path)].append(path)
    return [group for group in by_content.values() if len(group) > 1]


def duplicate_faults(paths: Sequence[Path]) -> list[Fault]:
    """Return a warning for every file whose contents an earlier one has, too."""
    return [
        Fault(path, None, f"has the same contents as {group[0].name}", "warning")
        for group in equal_files(paths)
        for path in group[1:]
    ]


def _has_end(path: Path, image_format: str) -> bool:
    """Whether a file ends as its format does; true for formats that mark no end."""
    mark = _END_MARKS.get(image_format)
    if mark is None:
        return True
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        return mark in file.read()


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"the file cannot be opened: {error.strerror}"
    return f"the image is damaged: {error}"
