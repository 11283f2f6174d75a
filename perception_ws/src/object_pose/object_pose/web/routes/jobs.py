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

from object_pose.web.errors import HttpError, documented
from object_pose.web.jobs.runner import JobRunner
from object_pose.web.jobs.store import Job
from object_pose.web.live.streams import NewestStream, event
from object_pose.web.security.headers import REPORT_POLICY
from object_pose.web.security.scopes import Scope, requires
from object_pose.web.services import Services

JobId = Annotated[str, Path(max_length=64, description="id of a job")]
_MOST_LOG = 1 << 20
_POLL_S, _HEARTBEATS = 0.3, 33
_WRITE_TIMEOUT_S = 30.0
_TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}


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


def router(services: Services) -> APIRouter:
    """Return the routes of jobs."""
    routes = APIRouter(prefix="/v1/jobs", tags=["jobs"])
    runner = services.jobs
    read, operate = [requires(Scope.READ)], [requires(Scope.OPERATE)]

    @routes.get("", dependencies=read, summary="All jobs, the newest first")
    def all_jobs() -> list[JobModel]:
        return [described(job, runner, with_files=False) for job in reversed(runner.store.all())]

    @routes.get("/kinds", dependencies=read, summary="What can be done, with its options", responses=documented(503))
    def kinds() -> dict[Literal["kinds"], dict[str, dict[str, Any]]]:
        described_kinds = {
            name: {
                "title": kind.title,
                "description": kind.description,
                "resumes": kind.resumes,
                "schema": kind.schema(),
            }
            for name, kind in runner.kinds().items()
        }
        return {"kinds": described_kinds}

    @routes.post("", dependencies=operate, status_code=201, summary="Begin a job", responses=documented(503))
    def submit(request: JobRequest) -> JobModel:
        return described(runner.submit(request.kind, request.options), runner)

    @routes.get("/{job_id}", dependencies=read, summary="One job", responses=documented(404))
    def one_job(job_id: JobId) -> JobModel:
        return described(runner.find(job_id), runner)

    @routes.delete("/{job_id}", dependencies=operate, status_code=204, summary="Delete", responses=documented(404, 409))
    def delete(job_id: JobId) -> None:
        runner.remove(job_id)

    @routes.post("/{job_id}/cancel", dependencies=operate, summary="End a job", responses=documented(404, 409))
    def cancel(job_id: JobId) -> JobModel:
        return described(runner.cancel(job_id), runner)

    @routes.post("/{job_id}/resume", dependencies=operate, summary="Go on with a job", responses=documented(404, 409))
    def resume(job_id: JobId) -> JobModel:
        return described(runner.resume(job_id), runner)

    @routes.get(
        "/{job_id}/log",
        dependencies=read,
        summary="What the job printed, from an offset in bytes; X-Next-Offset is where to go on",
        response_class=Response,
        responses={**_TEXT, **documented(404)},
    )
    def log(job_id: JobId, offset: Annotated[int, Query(ge=0, le=1 << 50)] = 0) -> Response:
        runner.find(job_id)
        content = _log_from(runner, job_id, offset)
        headers = {"X-Next-Offset": str(offset + len(content))}
        return Response(content, media_type="text/plain; charset=utf-8", headers=headers)

    @routes.get(
        "/{job_id}/events",
        dependencies=read,
        summary="Server-sent events: 'progress', 'log' with new text, and 'end' with the state",
        response_class=Response,
        responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}, **documented(404)},
    )
    def events(job_id: JobId) -> Response:
        runner.find(job_id)
        return NewestStream(_events(services, job_id), "text/event-stream", _WRITE_TIMEOUT_S)

    @routes.get(
        "/{job_id}/files/{path:path}",
        dependencies=read,
        summary="A file that the job made",
        response_class=FileResponse,
        responses={200: {"content": {"*/*": {"schema": {}}}}, **documented(404)},
    )
    def file(job_id: JobId, path: Annotated[str, Path(max_length=1024, examples=["report.html"])]) -> FileResponse:
        found = runner.output_file(job_id, path)
        if found is None:
            raise HttpError(404, "the job has no such file")
        kind = mimetypes.guess_type(found.name)[0] or "application/octet-stream"
        return FileResponse(found, media_type=kind, headers={"Content-Security-Policy": REPORT_POLICY})

    return routes


def described(job: Job, runner: JobRunner, with_files: bool = True) -> JobModel:
    """Return a job as it is answered."""
    names = JobModel.model_fields.keys() - {"files"}
    files = runner.folder(job.id).files() if with_files else []
    return JobModel(files=files, **{name: getattr(job, name) for name in names})


def _log_from(runner: JobRunner, job_id: str, offset: int) -> bytes:
    try:
        with runner.folder(job_id).log.open("rb") as file:
            file.seek(offset)
            return file.read(_MOST_LOG)
    except FileNotFoundError:
        return b""


async def _events(services: Services, job_id: str) -> AsyncGenerator[bytes, None]:
    """Yield what is new of a job until it or the server ends: each client reads the files for himself."""
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
