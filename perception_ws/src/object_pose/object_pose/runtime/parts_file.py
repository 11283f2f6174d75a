"""Parts prepared for matching, as a file that is opened like a model: card and surfaces, and no network.

It is an ``.npz`` archive named ``.parts``; its engine detects nothing, since parts are matched with depth.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from object_pose.core.errors import ModelError
from object_pose.core.object_model import ObjectModel, TriangleMesh
from object_pose.core.vision.decoders import Layout, OutputFormat
from object_pose.runtime.card import METADATA_KEY, ModelCard

SUFFIX = ".parts"
_INPUT_SIDE = 32  # of the image that the engine asks for, which nothing looks at
_MOST_FACES = 1_000_000


@dataclass(frozen=True)
class PartsFile:
    """Parts by their card, and the surface of each."""

    card: ModelCard
    meshes: tuple[TriangleMesh, ...]

    @classmethod
    def of(cls, objects: Sequence[ObjectModel], meshes: Sequence[TriangleMesh], data: str) -> PartsFile:
        """Describe parts; ``data`` says in words what they were made from."""
        card = ModelCard(
            task="pose",
            layout=str(Layout.END_TO_END_POSE),
            labels=tuple(model.name for model in objects),
            input_wh=(_INPUT_SIDE, _INPUT_SIDE),
            keypoint_count=len(objects[0].keypoints_object),
            objects=tuple(objects),
            name="parts",
            data=data,
        )
        return cls(card, tuple(meshes))

    def write(self, path: Path) -> None:
        """Write the file."""
        arrays: dict[str, Any] = {METADATA_KEY: np.array(self.card.to_metadata()[METADATA_KEY])}
        for index, mesh in enumerate(self.meshes):
            arrays |= {f"vertices_{index}": mesh.vertices, f"faces_{index}": mesh.faces}
        with path.open("wb") as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def read(cls, path: Path) -> PartsFile:
        """Read a file; raises ``ModelError`` where it is damaged."""
        try:
            with np.load(path, allow_pickle=False) as kept:
                card = ModelCard.from_metadata({METADATA_KEY: str(kept[METADATA_KEY])})
                indices = range(len(card.labels))
                meshes = tuple(_mesh(kept[f"vertices_{index}"], kept[f"faces_{index}"]) for index in indices)
        except ModelError as error:
            raise ModelError(f"parts file {path}: {error.message}", error.hint) from error
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ModelError(f"parts file {path} is damaged: {error}", "prepare the parts again") from error
        return cls(card, meshes)


class PartsEngine:
    """What stands in the place of a network: it takes any small image, and detects nothing."""

    name = "none"
    takes_any_size = False
    input_shape = (1, 3, _INPUT_SIDE, _INPUT_SIDE)
    output_names = ("detections",)

    def __init__(self, path: Path) -> None:
        card = PartsFile.read(path).card
        self.metadata = card.to_metadata()
        form = OutputFormat(Layout(card.layout), len(card.labels), card.keypoint_count)
        self.output_shapes = ((1, 1, form.channels),)

    def run(self, _batch: np.ndarray[Any, np.dtype[np.float32]]) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
        """Return one candidate of score zero."""
        return [np.zeros(self.output_shapes[0], dtype=np.float32)]


def _mesh(vertices: np.ndarray[Any, Any], faces: np.ndarray[Any, Any]) -> TriangleMesh:
    shapes = vertices.ndim == 2 and faces.ndim == 2 and vertices.shape[1:] == faces.shape[1:] == (3,)
    if not shapes or not 0 < len(faces) <= _MOST_FACES or not np.issubdtype(faces.dtype, np.integer):
        raise ValueError("a surface is no list of triangles")
    if not np.isfinite(vertices).all() or faces.min() < 0 or faces.max() >= len(vertices):
        raise ValueError("a surface has corners that are not there")
    return TriangleMesh(np.ascontiguousarray(vertices, dtype=np.float32), np.ascontiguousarray(faces, dtype=np.int32))
