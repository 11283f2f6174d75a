"""Reports: pages and files that commands have left in the folder of reports."""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter
from fastapi import Path as InPath
from fastapi.responses import FileResponse
from pydantic import BaseModel

from object_pose.web.errors import HttpError
from object_pose.web.folders import file_inside, visible_folders
from object_pose.web.openapi import documented
from object_pose.web.security.headers import REPORT_POLICY
from object_pose.web.security.scopes import Scope, requires
from object_pose.web.services import ServicesDep

router = APIRouter(prefix="/v1/reports", tags=["reports"], dependencies=[requires(Scope.READ)])
_PAGES = ("report.html", "report.pdf")
_SHOWN = (".html", ".pdf", ".png", ".jpg", ".jpeg", ".svg", ".json", ".jsonl", ".csv", ".md", ".txt", ".yaml")
_DEPTH = 3


class Report(BaseModel):
    """A report: its folder as ``id``, its page, and when it was written (seconds since 1970)."""

    id: str
    page: str
    modified_at: float


@router.get("", summary="All reports, newest first")
def all_reports(services: ServicesDep) -> list[Report]:
    root = Path(services.config.reports_folder).expanduser()
    pages = [folder / name for folder in visible_folders(root, _DEPTH) for name in _PAGES]
    found = [
        Report(
            id=page.parent.relative_to(root).as_posix().replace("/", ":"),
            page=page.name,
            modified_at=page.stat().st_mtime,
        )
        for page in pages
        if page.is_file()
    ]
    return sorted(found, key=lambda report: -report.modified_at)


@router.get(
    "/{report}/{path:path}",
    summary="A file of a report",
    response_class=FileResponse,
    responses={
        200: {"content": {"text/html": {"schema": {"type": "string"}}, "*/*": {"schema": {}}}},
        **documented(404),
    },
)
def file(
    services: ServicesDep,
    report: Annotated[str, InPath(description="id of a report", max_length=512)],
    path: Annotated[str, InPath(description="a file in its folder", max_length=512, examples=["report.html"])],
) -> FileResponse:
    root = Path(services.config.reports_folder).expanduser()
    found = file_inside(root, f"{report.replace(':', '/')}/{path}")
    if found is None or found.suffix.lower() not in _SHOWN:
        raise HttpError(404, "there is no such file in a report")
    kind = mimetypes.guess_type(found.name)[0] or "text/plain"
    return FileResponse(found, media_type=kind, headers={"Content-Security-Policy": REPORT_POLICY})
