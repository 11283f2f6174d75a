"""Data sets of images with masks: ``images/`` and ``masks/`` with files of equal stems; masks are 0 and 255."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.errors import DataError
from object_pose.io.datasets.image_files import ImageHeader, duplicate_faults, files_by_stem, headers, image_files
from object_pose.io.datasets.samples import Fault, MaskDataset, MaskPair
from object_pose.io.images import decode_image

_FULL = 255


def read_mask_pairs(folder: str | Path, thorough: bool = False) -> MaskDataset:
    """Read and check a folder with ``images/`` and ``masks/``; every mask is decoded, with ``thorough`` images, too.

    Raises ``DataError`` where the folders or all images are missing; other faults stand in the result.
    """
    root = Path(folder)
    image_folder, mask_folder = mask_folders(root)
    faults: list[Fault] = []
    images, masks = (
        files_by_stem(image_files(image_folder), image_folder, faults),
        files_by_stem(image_files(mask_folder), mask_folder, faults),
    )
    if not images:
        raise DataError(f"{image_folder} holds no images")
    faults += [Fault(path, None, "image without mask") for stem, path in images.items() if stem not in masks]
    faults += [Fault(path, None, "mask without image") for stem, path in masks.items() if stem not in images]
    common = [stem for stem in images if stem in masks]
    image_headers = headers([images[stem] for stem in common], thorough, faults)
    pairs, has_object = [], False
    for stem in common:
        mask = _checked_mask(masks[stem], image_headers.get(images[stem]), faults)
        if mask is not None:
            has_object = has_object or bool(mask.any())
            pairs.append(MaskPair(images[stem], masks[stem]))
    if pairs and not has_object:
        faults.append(Fault(mask_folder, None, "every mask is empty"))
    faults += duplicate_faults([pair.image_path for pair in pairs])
    return MaskDataset(tuple(pairs), tuple(faults))


def mask_folders(root: Path) -> tuple[Path, Path]:
    """Return ``images/`` and ``masks/`` in ``root``, or ``root`` with the folder ``root_labels`` or ``root_masks``.

    Raises ``DataError`` where one is missing.
    """
    if not root.is_dir():
        raise DataError(f"folder {root} does not exist")
    beside = [root.with_name(f"{root.name}_{kind}") for kind in ("labels", "masks")]
    if not (root / "images").is_dir() and image_files(root):
        masks = next((place for place in beside if place.is_dir() and image_files(place)), None)
        if masks is not None:
            return root, masks
    for name in ("images", "masks"):
        if not (root / name).is_dir():
            raise DataError(f"{root} has no folder {name}/", "expected images/ and masks/ with files of equal names")
    return root / "images", root / "masks"


def read_mask(path: str | Path) -> NDArray[np.bool_]:
    """Read a mask file as (H, W) bool; raises ``DataError`` where it has other values than 0 and 255 (or 0 and 1)."""
    file = Path(path)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"mask {file} cannot be opened: {error.strerror}") from error
    raw = decode_image(content, cv2.IMREAD_UNCHANGED, f"mask {file}")
    try:
        return mask_of_pixels(raw)
    except DataError as error:
        raise DataError(f"mask {file} {error.message}", error.hint) from error


def mask_of_pixels(raw: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Return decoded pixels as a mask (H, W) bool; raises ``DataError`` saying what about them is no mask."""
    grey = raw if raw.ndim == 2 else raw[:, :, 0]
    if raw.ndim == 3 and raw.shape[2] >= 3 and not (raw[:, :, :3] == grey[:, :, None]).all():
        raise DataError("is coloured", "a mask is 0 for background and 255 for the object")
    values = np.unique(grey)
    if not (np.isin(values, (0, _FULL)).all() or np.isin(values, (0, 1)).all()):
        odd = ", ".join(str(value) for value in values[~np.isin(values, (0, _FULL))][:3])
        raise DataError(f"has values other than 0 and 255: {odd}", "was it resized with smoothing, or saved as JPEG?")
    return np.asarray(grey != 0)


def _checked_mask(path: Path, header: ImageHeader | None, faults: list[Fault]) -> NDArray[np.bool_] | None:
    """Return a mask that fits its image, or None with the fault noted."""
    mask_header = headers([path], False, faults, is_picture=False).get(path)
    if header is None or mask_header is None:
        return None
    if mask_header.wh != header.wh:
        mask_wh, image_wh = f"{mask_header.wh[0]}x{mask_header.wh[1]}", f"{header.wh[0]}x{header.wh[1]}"
        faults.append(Fault(path, None, f"mask is {mask_wh}, its image {image_wh}"))
        return None
    try:
        return read_mask(path)
    except DataError as error:
        faults.append(Fault(path, None, error.message.removeprefix(f"mask {path} ")))
        return None
