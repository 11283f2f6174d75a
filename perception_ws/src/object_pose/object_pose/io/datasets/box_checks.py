"""What every reader of boxes checks of a box, whatever its file format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from object_pose.core.arrays import Array
from object_pose.io.datasets.samples import Fault, LabelledBoxes

# Labels are written with a few digits, so an edge may lie beyond the image's by this much.
_EDGE_TOLERANCE_PX = 1.0


class BoxChecker:
    """Collects the good boxes of one image and the faults of the others."""

    def __init__(self, path: Path, image_wh: tuple[int, int], class_count: int | None, faults: list[Fault]) -> None:
        self.path = path
        self._wh = np.array(image_wh, dtype=np.float64)
        self._class_count = class_count
        self._faults = faults
        self._seen: dict[tuple[float, ...], int | None] = {}
        self.boxes: list[Array] = []
        self.class_ids: list[int] = []

    def add(self, class_id: int, low_high: Sequence[float], line: int | None, name: str = "box") -> None:
        """Check a box given as x0, y0, x1, y1 in pixels from the image's outer corner, and keep it if it is good."""
        box = np.array(low_high, dtype=np.float64)
        problem = self._problem(class_id, box, name)
        if problem:
            self._faults.append(Fault(self.path, line, problem))
            return
        key = (class_id, *low_high)
        if key in self._seen:
            first = f" of line {self._seen[key]}" if self._seen[key] else ""
            self._faults.append(Fault(self.path, line, f"{name} is a repetition{first}", "warning"))
            return
        self._seen[key] = line
        inside = np.clip(box, 0.0, np.tile(self._wh, 2))
        self.boxes.append(inside - 0.5)
        self.class_ids.append(class_id)

    def sample(self, image: Path, image_wh: tuple[int, int]) -> LabelledBoxes:
        """Return the image with its good boxes."""
        boxes = np.array(self.boxes, dtype=np.float64).reshape(-1, 4)
        return LabelledBoxes(image, image_wh, boxes, np.array(self.class_ids, dtype=np.int64))

    def _problem(self, class_id: int, box: Array, name: str) -> str:
        if not np.isfinite(box).all():
            return f"{name} has a number that is not finite"
        if class_id < 0 or (self._class_count is not None and class_id >= self._class_count):
            return f"class id {class_id} is not in 0..{(self._class_count or 1) - 1}"
        if (box[2:] <= box[:2]).any():
            return f"{name} has no area"
        outside = max((-box[:2]).max(), (box[2:] - self._wh).max())
        clipped = np.clip(box, 0.0, np.tile(self._wh, 2))
        if (clipped[2:] <= clipped[:2]).any():
            return f"{name} lies wholly outside the image"
        if outside > _EDGE_TOLERANCE_PX:
            return f"{name} reaches {outside:.0f} px beyond the image of {self._wh[0]:.0f}x{self._wh[1]:.0f}"
        return ""


def empty_class_faults(path: Path, labels: Sequence[str], samples: Sequence[LabelledBoxes]) -> list[Fault]:
    """Return a warning for every class without a box, or one error where there is no box at all."""
    counts = Counter(int(class_id) for sample in samples for class_id in sample.class_ids)
    if not counts:
        return [Fault(path, None, "no image has a box")]
    return [
        Fault(path, None, f"class '{label}' has no box", "warning")
        for class_id, label in enumerate(labels)
        if not counts[class_id]
    ]
