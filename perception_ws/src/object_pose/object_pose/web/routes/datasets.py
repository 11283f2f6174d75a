"""Data sets in the folder of data sets."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from pydantic import BaseModel

from object_pose.core.errors import DataError
from object_pose.io.datasets.opening import find_layout
from object_pose.web.folders import visible_folders
from object_pose.web.security.scopes import Scope, requires
from object_pose.web.services import ServicesDep

router = APIRouter(prefix="/v1/datasets", tags=["datasets"], dependencies=[requires(Scope.READ)])


class DatasetInfo(BaseModel):
    """A data set: its folder as ``id``, its format (yolo, coco, voc, masks, classes or bop), and its splits."""

    id: str
    format: str
    splits: list[str]


@router.get("", summary="All data sets")
def all_datasets(services: ServicesDep) -> list[DatasetInfo]:
    root = Path(services.config.datasets_folder).expanduser()
    found = (_described(folder) for folder in visible_folders(root, 1))
    return [info for info in found if info is not None]


def _described(folder: Path) -> DatasetInfo | None:
    try:
        layout = find_layout(folder)
    except (DataError, OSError):
        return None
    return DatasetInfo(id=folder.name, format=layout.kind, splits=[name for name in layout.splits if name])
