"""Long work in the background: what there is, jobs with their progress, log and files."""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import AsyncGenerator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from pydantic import BaseModel

from object_pose.web.errors import HttpError
from object_pose.web.jobs.options import KindDescription
from object_pose.web.jobs.runner import JobRunner
from object_pose.web.jobs.store import Job
from object_pose.web.live.streams import NewestStream, event
from object_pose.web.openapi import content, documented
from object_pose.web.security.headers import REPORT_POLICY
from object_pose.web.security.scopes import Scope, requires
from object_pose.web.services import Services, ServicesDep

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
JobId = Annotated[str, Path(max_length=64, description="id of a job")]
_READ, _OPERATE = [requires(Scope.READ)], [requires(Scope.OPERATE)]
_MOST_LOG = 1 << 20
_POLL_S, _HEARTBEATS = 0.3, 33
_WRITE_TIMEOUT_S = 30.0


class JobRequest(BaseModel):
    """What is to be done; ``GET /v1/jobs/kinds`` says which kinds and options there are."""

    kind: str
    options: dict[str, Any] = {}

    model_config = {
        "json_schema_extra": {"examples": [{"kind": "check-dataset", "options": {"data": "dataset:workplace"}}]}
    }


class JobModel(BaseModel):
    """A job; ``fraction`` is of its ``stage``. Times are seconds since 1970, ``files`` are read below ``files/``."""

    id: str
    kind: str
    options: dict[str, Any]
    state: Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
    fraction: float | None
    stage: str | None
    message: str | None
    created_at: float
    started_at: float | None
    ended_at: float | None
    error: str | None
    result: dict[str, Any] | None
    files: list[str]


@router.get("", dependencies=_READ, summary="All jobs, the newest first")
def all_jobs(services: ServicesDep) -> list[JobModel]:
    return [described(job, services.jobs, with_files=False) for job in reversed(services.jobs.store.all())]


@router.get("/kinds", dependencies=_READ, summary="What can be done, with its options", responses=documented(503))
def kinds(services: ServicesDep) -> dict[Literal["kinds"], dict[str, dict[str, Any]]]:
    return {"kinds": {name: _described_kind(kind) for name, kind in services.jobs.kinds().items()}}


@router.post("", dependencies=_OPERATE, status_code=201, summary="Begin a job", responses=documented(503))
def submit(services: ServicesDep, request: JobRequest) -> JobModel:
    return described(services.jobs.submit(request.kind, request.options), services.jobs)


@router.get("/{job_id}", dependencies=_READ, summary="One job", responses=documented(404))
def one_job(services: ServicesDep, job_id: JobId) -> JobModel:
    return described(services.jobs.find(job_id), services.jobs)


@router.delete("/{job_id}", dependencies=_OPERATE, status_code=204, summary="Delete", responses=documented(404, 409))
def delete(services: ServicesDep, job_id: JobId) -> None:
    services.jobs.remove(job_id)


@router.post("/{job_id}/cancel", dependencies=_OPERATE, summary="End a job", responses=documented(404, 409))
def cancel(services: ServicesDep, job_id: JobId) -> JobModel:
    return described(services.jobs.cancel(job_id), services.jobs)


@router.post("/{job_id}/resume", dependencies=_OPERATE, summary="Go on with a job", responses=documented(404, 409))
def resume(services: ServicesDep, job_id: JobId) -> JobModel:
    return described(services.jobs.resume(job_id), services.jobs)


@router.get(
    "/{job_id}/log",
    dependencies=_READ,
    summary="What the job printed, from an offset in bytes; X-Next-Offset is where to go on",
    response_class=Response,
    responses=content("text/plain") | documented(404),
)
def log(services: ServicesDep, job_id: JobId, offset: Annotated[int, Query(ge=0, le=1 << 50)] = 0) -> Response:
    services.jobs.find(job_id)
    text = _log_from(services.jobs, job_id, offset)
    headers = {"X-Next-Offset": str(offset + len(text))}
    return Response(text, media_type="text/plain; charset=utf-8", headers=headers)


@router.get(
    "/{job_id}/events",
    dependencies=_READ,
    summary="Server-sent events: 'progress', 'log' with new text, and 'end' with the state",
    response_class=Response,
    responses=content("text/event-stream") | documented(404),
)
def events(services: ServicesDep, job_id: JobId) -> Response:
    services.jobs.find(job_id)
    return NewestStream(_events(services, job_id), "text/event-stream", _WRITE_TIMEOUT_S)


@router.get(
    "/{job_id}/files/{path:path}",
    dependencies=_READ,
    summary="A file that the job made",
    response_class=FileResponse,
    responses={200: {"content": {"*/*": {"schema": {}}}}, **documented(404)},
)
def file(
    services: ServicesDep, job_id: JobId, path: Annotated[str, Path(max_length=1024, examples=["report.html"])]
) -> FileResponse:
    found = services.jobs.output_file(job_id, path)
    if found is None:
        raise HttpError(404, "the job has no such file")
    kind = mimetypes.guess_type(found.name)[0] or "application/octet-stream"
    return FileResponse(found, media_type=kind, headers={"Content-Security-Policy": REPORT_POLICY})


def described(job: Job, runner: JobRunner, with_files: bool = True) -> JobModel:
    """Return a job as it is answered."""
    names = JobModel.model_fields.keys() - {"files"}
    files = runner.folder(job.id).files() if with_files else []
    return JobModel(files=files, **{name: getattr(job, name) for name in names})


def _described_kind(kind: KindDescription) -> dict[str, Any]:
    return {
        "title": kind.title,
        "description": kind.description,
        "resumes": kind.resumes,
        "schema": kind.schema(),
    }


def _log_from(runner: JobRunner, job_id: str, offset: int) -> bytes:
    try:
        with runner.folder(job_id).log.open("rb") as file:
            file.seek(offset)
            return file.read(_MOST_LOG)
    except FileNotFoundError:
        return b""


async def _events(services: Services, job_id: str) -> AsyncGenerator[bytes, None]:
    """Yield what is new of a job until it or the server ends: the files are read for each client."""
    runner = services.jobs
    log = runner.folder(job_id).log
    # What the log holds already is read at once, as text.
    offset, shown, silent = log.stat().st_size if log.exists() else 0, None, 0
    while not services.is_ending:
        job = await run_in_threadpool(runner.store.find, job_id)
        text = await run_in_threadpool(_log_from, runner, job_id, offset)
        offset += len(text)
        parts = [event("log", {"text": text.decode("utf-8", "replace")})] if text else []
        progress = None if job is None else {name: getattr(job, name) for name in ("fraction", "stage", "message")}
        if progress is not None and progress != shown:
            parts.append(event("progress", progress))
            shown = progress
        is_over = job is None or job.is_over
        if is_over:
            parts.append(event("end", {"state": job.state if job else "deleted", "error": job.error if job else None}))
        silent = 0 if parts else silent + 1
        if silent == _HEARTBEATS:
            parts, silent = [b": still here\n\n"], 0
        if parts:
            yield b"".join(parts)
        if is_over:
            return
        await asyncio.sleep(_POLL_S)
