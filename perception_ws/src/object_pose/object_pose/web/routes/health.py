"""Whether the server is alive, whether it is ready, and what it counts."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from object_pose.web.security.scopes import Scope, public, requires
from object_pose.web.services import Services


class Alive(BaseModel):
    """The server answers."""

    status: Literal["alive"] = "alive"


class Readiness(BaseModel):
    """Whether every task that has a model can predict, and if not, why."""

    status: Literal["ready", "not_ready"]
    reasons: list[str]


def router(services: Services) -> APIRouter:
    """Return the routes of health and metrics."""
    routes = APIRouter(tags=["health"])

    @routes.get("/healthz", dependencies=[public()], summary="The process is alive")
    async def alive() -> Alive:
        return Alive()

    @routes.get(
        "/readyz",
        dependencies=[public()],
        summary="The models are loaded",
        responses={503: {"model": Readiness, "description": "Some model is not loaded."}},
    )
    def ready(response: Response) -> Readiness:
        reasons = services.models.problems()
        response.status_code = 503 if reasons else 200
        return Readiness(status="not_ready" if reasons else "ready", reasons=reasons)

    @routes.get(
        "/metrics",
        dependencies=[requires(Scope.READ)],
        summary="Metrics in Prometheus' text format",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    def metrics() -> Response:
        services.metrics.predictor_takes(services.predictor.memory_bytes())
        services.metrics.drifts(services.models.drift())
        return Response(services.metrics.text(), media_type=services.metrics.content_type)

    return routes
