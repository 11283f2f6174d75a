"""The routes of two systems that clients exist for, exactly as those call them."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, File, Request, Response, UploadFile
from pydantic import BaseModel

from object_pose.web.errors import HttpError
from object_pose.web.openapi import documented
from object_pose.web.security.scopes import Scope, public, requires
from object_pose.web.services import Services, ServicesDep

router = APIRouter(tags=["source contracts"])
_PIXEL = {"type": "integer", "minimum": 0, "maximum": 255}
_IMAGE_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["image"],
                "properties": {
                    "image": {
                        "description": "rows of pixels of red, green and blue; all rows are equally long",
                        "type": "array",
                        "minItems": 1,
                        "items": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "array", "minItems": 3, "maxItems": 3, "items": _PIXEL},
                        },
                    }
                },
            },
            "example": {"image": [[[91, 102, 88], [90, 100, 87]], [[93, 104, 90], [92, 101, 88]]]},
        }
    },
}


class Health(BaseModel):
    """``model_loaded``, or ``model_not_loaded`` while it is being opened and where there is none."""

    status: str


class Corners(BaseModel):
    """A box in pixels of the image."""

    x1: float
    y1: float
    x2: float
    y2: float


class Detected(BaseModel):
    """A detection: index of its class, and its box."""

    cls_id: int
    bbox: Corners


class DetectedList(BaseModel):
    """The detections of an image, best first."""

    detections: list[Detected]


class MaskRows(BaseModel):
    """A mask: rows of 0 and 1."""

    prediction: list[list[int]]


@router.get("/health", dependencies=[public()], summary="The detector is loaded")
def health(services: ServicesDep) -> Health:
    return Health(status="model_loaded" if services.models.is_open("detect") else "model_not_loaded")


@router.post(
    "/predict",
    dependencies=[requires(Scope.PREDICT)],
    summary="Detect the objects of an image",
    response_class=Response,
    response_model=None,
    responses={200: {"model": DetectedList}, **documented(503)},
)
async def predict(
    services: ServicesDep, request: Request, file: Annotated[UploadFile, File(description="JPEG or PNG")]
) -> Response:
    def detected() -> Response:
        return _answered(services, "detect", "detections", file.file.read())

    return await services.predictions.run("detect", detected, request)


@router.post(
    "/inference",
    dependencies=[requires(Scope.PREDICT)],
    summary="Find the building footprints of an aerial image",
    response_class=Response,
    response_model=None,
    responses={200: {"model": MaskRows}, **documented(415, 503)},
    openapi_extra={"requestBody": _IMAGE_BODY},
)
async def inference(services: ServicesDep, request: Request) -> Response:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HttpError(415, f"the body is '{kind[:64]}': send application/json")
    body = await request.body()
    return await services.predictions.run("segment", partial(_answered, services, "segment", "mask", body), request)


def _answered(services: Services, task: str, kind: str, content: bytes) -> Response:
    answer = services.models.ask(task, kind, {"most_pixels": services.config.max_image_pixels}, [content])
    return Response(answer.blobs[0], media_type=answer.head["media_type"])
