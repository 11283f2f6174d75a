"""Files for jobs: CAD, images, recordings, data sets, calibrations."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, File, Path, UploadFile
from pydantic import BaseModel

from object_pose.web.errors import HttpError
from object_pose.web.openapi import documented
from object_pose.web.security.scopes import Scope, requires
from object_pose.web.services import ServicesDep

router = APIRouter(prefix="/v1/uploads", tags=["jobs"], dependencies=[requires(Scope.OPERATE)])


class UploadInfo(BaseModel):
    """An uploaded file, which options of jobs name as ``upload:ID``; of a zip, the folder that it held."""

    id: str
    name: str
    bytes: int


@router.post("", status_code=201, summary="Upload a file, or a zip that is unpacked")
def upload(
    services: ServicesDep, file: Annotated[UploadFile, File(description="the file; its name's suffix counts")]
) -> UploadInfo:
    added = services.uploads.add(file.filename or "", file.file)
    return UploadInfo(id=added.id, name=added.name, bytes=added.bytes)


@router.delete("/{upload_id}", status_code=204, summary="Delete an uploaded file", responses=documented(404))
def delete(services: ServicesDep, upload_id: Annotated[str, Path(max_length=64)]) -> None:
    if not services.uploads.remove(upload_id):
        raise HttpError(404, f"there is no upload '{upload_id}'")
