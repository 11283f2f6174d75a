"""Views of classes for the tracker, drawn once and kept in the user's cache folder."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from object_pose.core.object_model import ObjectModel
from object_pose.core.tracking import view_model
from object_pose.core.tracking.view_model import ViewModel
from object_pose.runtime.cpus import available_cores
from object_pose.runtime.engine_choice import default_cache

logger = logging.getLogger(__name__)


def cached_view_models(objects: Sequence[ObjectModel], folder: Path | None = None) -> list[ViewModel]:
    """Return the views of each class, from ``folder`` (default: the user's cache) where they were drawn before.

    Others are drawn now, several at a time: a second a class and core.
    """
    folder = folder or default_cache().parent / "views"
    files = [folder / f"{_key(model)}.npz" for model in objects]
    known = [_read(model, file) for model, file in zip(objects, files)]
    missing = [row for row, views in enumerate(known) if views is None]
    if missing:
        logger.info("drawing the views of %d classes for the tracker, once; they are kept in %s", len(missing), folder)
        start = time.perf_counter()
        with ThreadPoolExecutor(available_cores()) as pool:
            drawn = dict(zip(missing, pool.map(ViewModel.of, [objects[row] for row in missing])))
        for row, views in drawn.items():
            _keep(views, files[row])
        logger.info("drew them in %.1f s", time.perf_counter() - start)
        known = [drawn.get(row, views) for row, views in enumerate(known)]
    return [views for views in known if views is not None]


def _read(model: ObjectModel, file: Path) -> ViewModel | None:
    """Return the views in a file, None where there are none or they are spoilt."""
    try:
        with np.load(file) as kept:
            fields = {name: kept[name] for name in kept.files}
        return ViewModel(**fields | {"name": model.name, "diameter": model.diameter})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _keep(views: ViewModel, file: Path) -> None:
    values = ((item.name, getattr(views, item.name)) for item in dataclasses.fields(views))
    arrays: dict[str, Any] = {name: value for name, value in values if isinstance(value, np.ndarray)}
    temporary = file.with_name(f".{os.getpid()}.{file.name}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(temporary, **arrays)
        temporary.replace(file)
    except OSError as error:
        logger.warning("the views of %s are drawn again next time: %s", views.name, error)


def _key(model: ObjectModel) -> str:
    """Return what the views depend on, as one word: the geometry, and how they are drawn."""
    digest = hashlib.sha256(Path(view_model.__file__).read_bytes())
    for values in (model.points_object, model.normals_object, model.surface_object, model.box_center):
        digest.update(np.ascontiguousarray(values).tobytes())
    digest.update(f"{model.diameter} {model.symmetry.axis} {model.symmetry.offset}".encode())
    return digest.hexdigest()[:24]
