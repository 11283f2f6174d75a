"""The server's models: list, upload, switch, delete, and the parts that a model of poses knows."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Annotated

from fastapi import APIRouter, Body, File, Form, Path, Response, UploadFile
from pydantic import BaseModel, ConfigDict

from object_pose.web.errors import HttpError
from object_pose.web.model_library import NAME_PATTERN, ModelDescription
from object_pose.web.openapi import content, documented
from object_pose.web.parts import PartDescription, describe_parts, part_glb
from object_pose.web.promotion import roll_back
from object_pose.web.routes.jobs import JobModel, described
from object_pose.web.security.scopes import Scope, requires
from object_pose.web.services import ServicesDep

router = APIRouter(prefix="/v1/models", tags=["models"])
Name = Annotated[str, Path(pattern=NAME_PATTERN, description="name of a model", examples=["parts"])]
GateOptions = dict[str, str | bool | int | float]
_READ, _OPERATE = [requires(Scope.READ)], [requires(Scope.OPERATE)]
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


@router.get("", dependencies=_READ, summary="All models")
def all_models(services: ServicesDep) -> list[ModelDescription]:
    return [services.models.describe(file) for file in services.models.files().values()]


@router.post("", dependencies=_OPERATE, status_code=201, summary="Upload a model", responses=documented(409))
def upload(
    services: ServicesDep,
    model: Annotated[UploadFile, File(description="one ONNX file with its card")],
    name: Annotated[str, Form(description="its name; '' takes the file's", max_length=64)] = "",
) -> ModelDescription:
    chosen = name or PurePath(model.filename or "").stem
    if not re.match(NAME_PATTERN, chosen):
        raise HttpError(422, f"'{chosen[:64]}' cannot name a model: use letters, digits, '.', '_' and '-'")
    services.models.add(chosen, model.file)
    return services.models.describe(services.models.file(chosen))


@router.post(
    "/rollback",
    dependencies=_OPERATE,
    summary="Go back to a task's earlier champion",
    responses=documented(409, 503),
)
def rollback(services: ServicesDep, request: Annotated[RollBack | None, Body()] = None) -> Switched:
    model = roll_back(services.models, services.config.model_store, request.task if request else None)
    return Switched(task=model.task, model=model.name)


@router.get("/{name}", dependencies=_READ, summary="One model", responses=documented(404))
def one_model(services: ServicesDep, name: Name) -> ModelDescription:
    return services.models.describe(services.models.file(name))


@router.delete(
    "/{name}", dependencies=_OPERATE, status_code=204, summary="Delete a model", responses=documented(404, 409)
)
def delete(services: ServicesDep, name: Name) -> None:
    services.models.remove(name)


@router.post("/{name}/activate", dependencies=_OPERATE, summary="Use a model", responses=documented(404))
def activate(services: ServicesDep, name: Name) -> Switched:
    return Switched(task=services.models.activate(name).task, model=name)


@router.post(
    "/{name}/promote",
    dependencies=_OPERATE,
    status_code=202,
    summary="Measure a model beside the one in use, and use it where it passes: a job",
    responses=documented(404, 409, 503),
)
def promote(services: ServicesDep, name: Name, options: Annotated[GateOptions | None, _GATE_BODY] = None) -> JobModel:
    return described(services.promotions.begin(name, options or {}), services.jobs)


@router.get("/{name}/parts", dependencies=_READ, summary="The parts it knows", responses=documented(404))
def parts(services: ServicesDep, name: Name) -> list[PartDescription]:
    return describe_parts(services.models.objects(name))


@router.get(
    "/{name}/parts/{part}.glb",
    dependencies=_READ,
    summary="A part's surface, in metres",
    response_class=Response,
    responses=content("model/gltf-binary") | documented(404, 503),
)
def mesh(services: ServicesDep, name: Name, part: Annotated[str, Path(max_length=128, examples=["gear"])]) -> Response:
    glb = part_glb(services.models.objects(name), part)
    return Response(glb, media_type="model/gltf-binary", headers={"Cache-Control": "private, max-age=3600"})
