"""Views of objects, for the tracker and for the search for poses: drawn once and kept in the user's cache folder."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from object_pose.core.geometry import se3
from object_pose.core.object_model import ObjectModel
from object_pose.core.pose import candidates
from object_pose.core.pose.candidates import ModelViews, build_views
from object_pose.core.tracking import view_model
from object_pose.core.tracking.view_model import ViewModel
from object_pose.runtime.cpus import available_cores
from object_pose.runtime.engine_choice import default_cache

logger = logging.getLogger(__name__)

_KEPT_S = 60 * 24 * 3600.0  # that views are kept without being used: of objects and versions that are gone

ViewsT = TypeVar("ViewsT", ViewModel, ModelViews)


def cached_view_models(objects: Sequence[ObjectModel], folder: Path | None = None) -> list[ViewModel]:
    """Return the views by which each object is tracked, from ``folder`` (default: the user's cache) where it has them.

    Others are drawn now, several at a time: a second an object and core.
    """

    def read(arrays: dict[str, Any], model: ObjectModel) -> ViewModel:
        return ViewModel(**arrays, name=model.name, diameter=model.diameter)

    return _cached(objects, "tracking", ViewModel.of, read, folder)


def cached_search_views(objects: Sequence[ObjectModel], folder: Path | None = None) -> list[ModelViews]:
    """Return the views by which poses of each object are searched, as ``cached_view_models`` does."""
    return _cached(objects, "search", build_views, lambda arrays, _: ModelViews(**arrays), folder)


def _cached(
    objects: Sequence[ObjectModel],
    kind: str,
    draw: Callable[[ObjectModel], ViewsT],
    read: Callable[[dict[str, Any], ObjectModel], ViewsT],
    folder: Path | None,
) -> list[ViewsT]:
    folder = folder or default_cache().parent / "views"
    files = [folder / f"{kind}_{_key(model)}.npz" for model in objects]
    known = [_read(file, model, read) for model, file in zip(objects, files)]
    missing = [row for row, views in enumerate(known) if views is None]
    if missing:
        logger.info("drawing the views of %d classes, once; they are kept in %s", len(missing), folder)
        start = time.perf_counter()
        with ThreadPoolExecutor(available_cores()) as pool:
            drawn = dict(zip(missing, pool.map(draw, [objects[row] for row in missing])))
        for row, views in drawn.items():
            _keep(views, files[row], objects[row].name)
        _forget_unused(folder)
        logger.info("drew them in %.1f s", time.perf_counter() - start)
        known = [drawn.get(row, views) for row, views in enumerate(known)]
    return [views for views in known if views is not None]


def _read(file: Path, model: ObjectModel, read: Callable[[dict[str, Any], ObjectModel], ViewsT]) -> ViewsT | None:
    """Return the views in a file, None where there are none or they are spoilt."""
    try:
        with np.load(file) as kept:
            views = read({name: kept[name] for name in kept.files}, model)
        with suppress(OSError):  # a cache that cannot be written can be read
            os.utime(file)
        return views
    except Exception:  # what is spoilt stops NumPy and zip in many ways, and is drawn again
        return None


def _keep(views: ViewModel | ModelViews, file: Path, name: str) -> None:
    values = ((item.name, getattr(views, item.name)) for item in dataclasses.fields(views))
    arrays: dict[str, Any] = {field: value for field, value in values if isinstance(value, np.ndarray)}
    temporary = file.with_name(f".{os.getpid()}.{file.name}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(temporary, **arrays)
        temporary.replace(file)
    except OSError as error:
        logger.warning("the views of %s are drawn again next time: %s", name, error)


def _forget_unused(folder: Path) -> None:
    with suppress(OSError):  # another process may have removed one
        for file in folder.glob("*"):
            if time.time() - file.stat().st_mtime > _KEPT_S:
                file.unlink()


@cache
def _drawing() -> bytes:
    """Return the sources of what draws views."""
    return b"".join(Path(str(module.__file__)).read_bytes() for module in (view_model, candidates, se3))


def _key(model: ObjectModel) -> str:
    """Return what the views depend on, as one word: the geometry, and how they are drawn."""
    digest = hashlib.sha256(_drawing())
    for values in (model.points_object, model.normals_object, model.surface_object, model.box_center):
        digest.update(np.ascontiguousarray(values).tobytes())
    digest.update(f"{model.diameter} {model.symmetry.axis} {model.symmetry.offset}".encode())
    return digest.hexdigest()[:24]
