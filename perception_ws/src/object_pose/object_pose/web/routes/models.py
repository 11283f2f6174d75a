"""The server's models: list, upload, switch, delete, and the parts that a model of poses knows."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Annotated

from fastapi import APIRouter, Body, File, Form, Path, Response, UploadFile
from pydantic import BaseModel, ConfigDict

from object_pose.web.errors import HttpError, documented
from object_pose.web.model_library import NAME_PATTERN, ModelDescription
from object_pose.web.parts import PartDescription, describe_parts, part_glb
from object_pose.web.promotion import roll_back
from object_pose.web.routes.jobs import JobModel, described
from object_pose.web.security.scopes import Scope, requires
from object_pose.web.services import Services

Name = Annotated[str, Path(pattern=NAME_PATTERN, description="name of a model", examples=["parts"])]


GateOptions = dict[str, str | bool | int | float]
_GATE_BODY = Body(
    description="options of the job 'promote', see /v1/jobs/kinds; without, the pinned or simulated test set",
    examples=[{"rendered": 200}, {"data": "dataset:parts-test"}],
)


class Switched(BaseModel):
    """The task whose model was switched, and the model that it uses now."""

    task: str
    model: str


class RollBack(BaseModel):
    """The task whose champion is taken back; without, the one that has an earlier champion."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"task": "pose"}]})
    task: str | None = None


def router(services: Services) -> APIRouter:
    """Return the routes of models."""
    routes = APIRouter(prefix="/v1/models", tags=["models"])
    models = services.models
    read, operate = [requires(Scope.READ)], [requires(Scope.OPERATE)]

    @routes.get("", dependencies=read, summary="All models")
    def all_models() -> list[ModelDescription]:
        return [models.describe(file) for file in models.files().values()]

    @routes.post("", dependencies=operate, status_code=201, summary="Upload a model", responses=documented(409))
    def upload(
        model: Annotated[UploadFile, File(description="one ONNX file with its card")],
        name: Annotated[str, Form(description="its name; '' takes the file's", max_length=64)] = "",
    ) -> ModelDescription:
        chosen = name or PurePath(model.filename or "").stem
        if not re.match(NAME_PATTERN, chosen):
            raise HttpError(422, f"'{chosen[:64]}' cannot name a model: use letters, digits, '.', '_' and '-'")
        models.add(chosen, model.file)
        return models.describe(models.file(chosen))

    @routes.post(
        "/rollback",
        dependencies=operate,
        summary="Go back to a task's earlier champion",
        responses=documented(409, 503),
    )
    def rollback(request: Annotated[RollBack | None, Body()] = None) -> Switched:
        model = roll_back(models, services.config.model_store, request.task if request else None)
        return Switched(task=model.task, model=model.name)

    @routes.get("/{name}", dependencies=read, summary="One model", responses=documented(404))
    def one_model(name: Name) -> ModelDescription:
        return models.describe(models.file(name))

    @routes.delete(
        "/{name}", dependencies=operate, status_code=204, summary="Delete a model", responses=documented(404, 409)
    )
    def delete(name: Name) -> None:
        models.remove(name)

    @routes.post("/{name}/activate", dependencies=operate, summary="Use a model", responses=documented(404))
    def activate(name: Name) -> Switched:
        return Switched(task=models.activate(name).task, model=name)

    @routes.post(
        "/{name}/promote",
        dependencies=operate,
        status_code=202,
        summary="Measure a model beside the one in use, and use it where it passes: a job",
        responses=documented(404, 409, 503),
    )
    def promote(name: Name, options: Annotated[GateOptions | None, _GATE_BODY] = None) -> JobModel:
        return described(services.promotions.begin(name, options or {}), services.jobs)

    @routes.get("/{name}/parts", dependencies=read, summary="The parts it knows", responses=documented(404))
    def parts(name: Name) -> list[PartDescription]:
        return describe_parts(models.objects(name))

    @routes.get(
        "/{name}/parts/{part}.glb",
        dependencies=read,
        summary="A part's surface, in metres",
        response_class=Response,
        responses={
            200: {"content": {"model/gltf-binary": {"schema": {"type": "string", "format": "binary"}}}},
            **documented(404, 503),
        },
    )
    def mesh(name: Name, part: Annotated[str, Path(max_length=128, examples=["gear"])]) -> Response:
        content = part_glb(models.objects(name), part)
        return Response(content, media_type="model/gltf-binary", headers={"Cache-Control": "private, max-age=3600"})

    return routes
