"""Whether the server is alive, whether it is ready, and what it counts."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from object_pose.web.openapi import content
from object_pose.web.security.scopes import Scope, public, requires
from object_pose.web.services import ServicesDep

router = APIRouter(tags=["health"])


class Alive(BaseModel):
    """The server answers."""

    status: Literal["alive"] = "alive"


class Readiness(BaseModel):
    """Whether every task that has a model can predict, and if not, why."""

    status: Literal["ready", "not_ready"]
    reasons: list[str]


@router.get("/healthz", dependencies=[public()], summary="The process is alive")
async def alive() -> Alive:
    return Alive()


@router.get(
    "/readyz",
    dependencies=[public()],
    summary="The models are loaded",
    responses={503: {"model": Readiness, "description": "Some model is not loaded."}},
)
def ready(services: ServicesDep, response: Response) -> Readiness:
    reasons = services.models.problems()
    response.status_code = 503 if reasons else 200
    return Readiness(status="not_ready" if reasons else "ready", reasons=reasons)


@router.get(
    "/metrics",
    dependencies=[requires(Scope.READ)],
    summary="Metrics in Prometheus' text format",
    response_class=Response,
    responses=content("text/plain"),
)
def metrics(services: ServicesDep) -> Response:
    services.metrics.predictor_takes(services.predictor.memory_bytes())
    services.metrics.drifts(services.models.drift())
    return Response(services.metrics.text(), media_type=services.metrics.content_type)
