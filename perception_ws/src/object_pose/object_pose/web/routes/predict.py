"""Images in, the result of a task out: the same that ``object-pose predict`` gives."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Path, Query, Response, UploadFile
from pydantic import BaseModel

from object_pose.core.errors import CalibrationError
from object_pose.core.frame import Frame
from object_pose.core.results.schema import json_schema
from object_pose.io.camera_info import parse_camera_info
from object_pose.io.cameras.recorded import make_frame
from object_pose.io.images import decode_depth, decode_rgb, encode_image
from object_pose.tasks.registry import TASKS
from object_pose.web.errors import documented
from object_pose.web.model_library import OpenedModel
from object_pose.web.security.scopes import Scope, requires
from object_pose.web.services import Services

_MM_PER_COUNT = 1.0
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


@dataclass(frozen=True)
class _Upload:
    """The files of a request; they are read when it is their turn."""

    image: UploadFile
    depth: UploadFile | None
    camera: UploadFile | None
    depth_scale: float | None

    def frame(self, model: OpenedModel, largest_pixels: int) -> Frame:
        """Return them as a frame; raises ``DataError`` or ``CalibrationError`` naming the field that is wrong."""
        rgb = decode_rgb(self.image.file.read(), "image", largest_pixels)
        camera, said = None, None
        if self.camera is not None:
            info = parse_camera_info(self.camera.file.read(), "camera")
            camera, said = info.camera(), info.depth_scale
        elif model.gives_poses:
            raise CalibrationError("'camera' is missing, without which there are no poses", "send its intrinsics")
        unit_m = (self.depth_scale or said or _MM_PER_COUNT) * 1e-3
        depth_m = None
        if self.depth is not None:
            depth_m = decode_depth(self.depth.file.read(), "depth", unit_m, largest_pixels=largest_pixels)
        return make_frame("image", rgb, depth_m, camera, 0)


def router(services: Services) -> APIRouter:
    """Return the routes of predictions."""
    routes = APIRouter(prefix="/v1", tags=["predict"])
    largest_pixels = services.config.max_image_mp * 1_000_000

    @routes.get("/tasks", dependencies=[requires(Scope.READ)], summary="Tasks and their models")
    def tasks() -> list[TaskInfo]:
        return [_task_info(services, name) for name in TASKS]

    def predicted(task: str, upload: _Upload, annotated: bool) -> Response:
        model = services.models.active(task)
        frame = upload.frame(model, largest_pixels)
        found = model.predict(frame)
        if annotated:
            return Response(encode_image(found.draw(), ".jpg"), media_type="image/jpeg")
        record = found.to_json(model.card.labels)
        record |= {
            "model": model.name,
            "inference_ms": round(found.timings_ms["total"], 3),
            "size_wh": list(frame.camera.wh),
            # Poses are drawn with it.
            **({"camera_matrix": frame.camera.matrix.tolist()} if model.gives_poses else {}),
        }
        return Response(json.dumps(record, allow_nan=False), media_type="application/json")

    @routes.post(
        "/predict/{task}",
        dependencies=[requires(Scope.PREDICT)],
        summary="Predict an image, with depth and camera where there are any",
        response_class=Response,
        responses={200: _result_description(), **documented(404, 503)},
    )
    async def predict(
        task: Annotated[str, Path(description=", ".join(TASKS), examples=list(TASKS))],
        image: Annotated[UploadFile, File(description="PNG, JPEG, BMP, TIFF or WebP")],
        depth: Annotated[
            UploadFile | None, File(description="depth aligned to it: 16-bit PNG or TIFF, float TIFF or EXR, NPY")
        ] = None,
        camera: Annotated[
            UploadFile | None, File(description="intrinsics: camera_info YAML, OpenCV's or BOP's camera.json")
        ] = None,
        depth_scale: Annotated[
            float | None, Form(gt=0.0, le=1000.0, description="millimetres in one count of 16-bit depth")
        ] = None,
        annotated: Annotated[bool, Query(description="answer with the annotated picture (JPEG)")] = False,
    ) -> Response:
        services.models.expect_task(task)
        upload = _Upload(image, depth, camera, depth_scale)
        return await services.predictions.run(task, lambda: predicted(task, upload, annotated))

    return routes


def _task_info(services: Services, name: str) -> TaskInfo:
    inputs = ["image", "depth", "camera"] if name == "pose" else ["image"]
    return TaskInfo(name=name, description=TASKS[name].summary, inputs=inputs, model=services.models.active_name(name))


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
