"""The server as an ASGI app: routes, and the middleware that stands before them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.responses import FileResponse, Response

from object_pose import __version__
from object_pose.web import errors
from object_pose.web.observation import Observation
from object_pose.web.openapi import documented
from object_pose.web.routes import (
    calibration,
    datasets,
    health,
    jobs,
    live,
    models,
    predict,
    reports,
    session,
    source_contracts,
    uploads,
)
from object_pose.web.security.access import Access, AccessTable
from object_pose.web.security.headers import security_headers
from object_pose.web.security.limits import BodyLimit
from object_pose.web.security.scopes import declared_scopes
from object_pose.web.services import Services

STATIC = Path(__file__).resolve().parent / "static"
# Each has a ``router``; the order is that of the documentation.
_SUBJECTS = (health, session, predict, models, live, jobs, uploads, calibration, source_contracts, datasets, reports)
# What any route may answer; what else one answers stands with it.
_USUAL_ERRORS = documented(400, 401, 403, 413, 422, 429)


def create_app(services: Services) -> FastAPI:
    """Return the app; its start opens the models, its end closes the services."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        services.start()
        yield
        services.close()

    app = FastAPI(
        title="object_pose",
        version=__version__,
        summary="6-DoF object poses and four further tasks of perception",
        lifespan=lifespan,
        openapi_url="/v1/openapi.json",
        docs_url=None,  # their scripts come from elsewhere
        redoc_url=None,
    )
    app.state.services = services
    routers = [subject.router for subject in _SUBJECTS]
    for router in routers:
        app.include_router(router, responses=_USUAL_ERRORS)
    _add_page(app)
    errors.install(app)
    table = AccessTable(
        [declared for router in routers for declared in declared_scopes(router)], ("/static/",), frozenset({"/"})
    )
    _add_middleware(app, services, table)
    return app


def _add_page(app: FastAPI) -> None:
    """Serve the page, which holds no data, and what it loads."""
    if not STATIC.is_dir():
        return

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    app.mount("/static", _PageFiles(directory=STATIC), name="static")


class _PageFiles(StaticFiles):
    """What the page loads: browsers keep it, and ask each time whether it changed."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


def _add_middleware(app: FastAPI, services: Services, table: AccessTable) -> None:
    """Add the middleware; what is added last sees a request first."""
    config = services.config
    app.add_middleware(BodyLimit, max_upload=config.max_upload_mb << 20, max_other=config.max_json_mb << 20)
    app.add_middleware(Access, config=config, tokens=services.tokens, table=table)
    headers = security_headers(config.has_tls)
    app.add_middleware(Observation, headers=headers, metrics=services.metrics, audit=services.audit)
