"""Images in, the result of a task out: the same that ``object-pose predict`` gives."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Path, Query, Request, Response, UploadFile
from pydantic import BaseModel

from object_pose.core.results.schema import json_schema
from object_pose.tasks.registry import TASKS
from object_pose.web.openapi import documented
from object_pose.web.security.scopes import Scope, requires
from object_pose.web.services import Services, ServicesDep

router = APIRouter(prefix="/v1", tags=["predict"])
_EXAMPLE = {
    "detections": [],
    "poses": [
        {
            "class_id": 0,
            "class_name": "hex_bolt",
            "score": 0.97,
            "position": [0.021, -0.043, 0.612],
            "quat_wxyz": [0.7071, 0.0, 0.7071, 0.0],
        }
    ],
    "rejections": [],
    "model": "parts",
    "inference_ms": 84.1,
    "size_wh": [640, 480],
}


class TaskInfo(BaseModel):
    """A task: what it gives, which files ``/v1/predict`` takes for it, and its model, if it has one."""

    name: str
    description: str
    inputs: list[str]
    model: str | None


def _result_description() -> dict[str, Any]:
    """Return the OpenAPI description of all tasks' results."""
    added = {
        "model": {"type": "string", "description": "name of the model"},
        "inference_ms": {"type": "number"},
        "size_wh": json_schema(list[int]) | {"description": "width and height of the image"},
    }
    matrix = json_schema(list[list[float]]) | {"description": "K (3 x 3) of the image; where there are poses"}
    schemas = []
    for task in TASKS.values():
        schema = task.schema
        schemas.append(
            {
                **schema,
                "title": f"Result of {task.name}",
                "properties": schema["properties"] | added | ({"camera_matrix": matrix} if task.name == "pose" else {}),
                "required": [*schema["required"], *added],
            }
        )
    return {
        "description": "The result in pixels of the image and metres of the camera, or with `annotated` the picture.",
        "content": {
            "application/json": {"schema": {"anyOf": schemas}, "example": _EXAMPLE},
            "image/jpeg": {"schema": {"type": "string", "format": "binary"}},
        },
    }


@router.get("/tasks", dependencies=[requires(Scope.READ)], summary="Tasks and their models")
def tasks(services: ServicesDep) -> list[TaskInfo]:
    return [_task_info(services, name) for name in TASKS]


@router.post(
    "/predict/{task}",
    dependencies=[requires(Scope.PREDICT)],
    summary="Predict an image, with depth and camera where there are any",
    response_class=Response,
    responses={200: _result_description(), **documented(404, 503)},
)
async def predict(
    services: ServicesDep,
    request: Request,
    task: Annotated[str, Path(description=", ".join(TASKS), examples=list(TASKS))],
    image: Annotated[UploadFile, File(description="PNG, JPEG, BMP, TIFF or WebP")],
    depth: Annotated[
        UploadFile | None, File(description="depth aligned to it: 16-bit PNG or TIFF, float TIFF or EXR, NPY")
    ] = None,
    camera: Annotated[
        UploadFile | None, File(description="intrinsics: camera_info YAML, OpenCV's or BOP's camera.json")
    ] = None,
    depth_scale: Annotated[
        float | None, Form(gt=0.0, le=1000.0, description="millimetres in one count of 16-bit depth, in 1.0 of floats")
    ] = None,
    annotated: Annotated[bool, Query(description="answer with the annotated picture (JPEG)")] = False,
) -> Response:
    services.models.expect_task(task)
    given = {"image": image, "depth": depth, "camera": camera}
    files = {name: file for name, file in given.items() if file is not None}
    head = {"depth_scale": depth_scale, "annotated": annotated, "most_pixels": services.config.max_image_pixels}

    def predicted() -> Response:
        contents = [file.file.read() for file in files.values()]
        answer = services.models.ask(task, "predict", {"files": list(files), **head}, contents)
        return Response(answer.blobs[0], media_type=answer.head["media_type"])

    return await services.predictions.run(task, predicted, request)


def _task_info(services: Services, name: str) -> TaskInfo:
    inputs = ["image", "depth", "camera"] if name == "pose" else ["image"]
    return TaskInfo(name=name, description=TASKS[name].summary, inputs=inputs, model=services.models.active_name(name))
