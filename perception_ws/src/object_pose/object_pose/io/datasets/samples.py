"""What readers of data sets give: the samples that can be used, and every fault with its file and line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array
from object_pose.core.errors import DataError

Severity = Literal["error", "warning"]
_FIRST_FAULTS = 3


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a data set; with an error the data cannot be learned from as they are."""

    path: Path
    line: int | None
    problem: str
    severity: Severity = "error"

    def __str__(self) -> str:
        place = self.path if self.line is None else f"{self.path}:{self.line}"
        return f"{place}: {self.problem}"


@dataclass(frozen=True)
class LabelledBoxes:
    """An image file of ``image_wh`` pixels and its true boxes, (N, 4) pixels, with (N,) class ids; N may be 0.

    Boxes span the outer edges of their pixels, whose centres are integers: the whole image is
    (-0.5, -0.5, width - 0.5, height - 0.5).
    """

    path: Path
    image_wh: tuple[int, int]
    boxes_xyxy: Array
    class_ids: NDArray[np.int64]

    def __post_init__(self) -> None:
        count = len(self.class_ids)
        if self.boxes_xyxy.shape != (count, 4) or self.class_ids.ndim != 1:
            raise ValueError(f"boxes_xyxy must have shape ({count}, 4), got {self.boxes_xyxy.shape}")


@dataclass(frozen=True)
class BoxDataset:
    """Images with boxes of the classes ``labels``."""

    labels: tuple[str, ...]
    samples: tuple[LabelledBoxes, ...]
    faults: tuple[Fault, ...] = ()

    def __post_init__(self) -> None:
        for sample in self.samples:
            if len(sample.class_ids) and not 0 <= sample.class_ids.min() <= sample.class_ids.max() < len(self.labels):
                raise ValueError(f"{sample.path} has a class id outside 0..{len(self.labels) - 1}")


@dataclass(frozen=True)
class LabelledImage:
    """An image file and the class of the whole image."""

    path: Path
    class_id: int


@dataclass(frozen=True)
class ClassDataset:
    """Images, each of one of the classes ``labels``."""

    labels: tuple[str, ...]
    samples: tuple[LabelledImage, ...]
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True)
class MaskPair:
    """An image file and the mask file of the same size, 0 where the object is not."""

    image_path: Path
    mask_path: Path


@dataclass(frozen=True)
class MaskDataset:
    """Images with their masks."""

    samples: tuple[MaskPair, ...]
    faults: tuple[Fault, ...] = ()


Dataset = BoxDataset | ClassDataset | MaskDataset
DatasetT = TypeVar("DatasetT", bound=Dataset)


def image_paths(dataset: Dataset) -> list[Path]:
    """Return the image files of a data set's samples, in their order."""
    return [sample.image_path if isinstance(sample, MaskPair) else sample.path for sample in dataset.samples]


def of_severity(faults: Sequence[Fault], severity: Severity) -> tuple[Fault, ...]:
    """Return the faults of one severity."""
    return tuple(fault for fault in faults if fault.severity == severity)


def require_usable(dataset: DatasetT) -> DatasetT:
    """Return the data set where nothing in it is an error; raises ``DataError`` naming the first faults if not."""
    errors = of_severity(dataset.faults, "error")
    if errors:
        first = "; ".join(str(fault) for fault in errors[:_FIRST_FAULTS])
        more = f"; and {len(errors) - _FIRST_FAULTS} more" if len(errors) > _FIRST_FAULTS else ""
        raise DataError(
            f"the data set has {_count(len(errors), 'error')}: {first}{more}",
            "'object-pose dataset check FOLDER' lists them all",
        )
    if not dataset.samples:
        raise DataError("the data set holds no samples")
    return dataset


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
