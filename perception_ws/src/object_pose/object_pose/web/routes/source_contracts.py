"""The routes of two systems that clients exist for, exactly as those call them."""

from __future__ import annotations

import json
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, File, Request, Response, UploadFile
from pydantic import BaseModel

from object_pose.core.arrays import Image
from object_pose.core.errors import DataError
from object_pose.core.results.detections import Detections
from object_pose.core.results.segmentation import Segmentation
from object_pose.io.images import decode_rgb
from object_pose.web.errors import HttpError, documented
from object_pose.web.security.scopes import Scope, public, requires
from object_pose.web.services import Services

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


def router(services: Services) -> APIRouter:
    """Return the routes of the industrial detector and of the building footprints."""
    routes = APIRouter(tags=["source contracts"])
    largest_pixels = services.config.max_image_mp * 1_000_000

    @routes.get("/health", dependencies=[public()], summary="The detector is loaded")
    def health() -> Health:
        return Health(status="model_loaded" if services.models.is_open("detect") else "model_not_loaded")

    def detected(content: bytes) -> Response:
        model = services.models.active("detect")
        found: Detections = model.predictor.predict(decode_rgb(content, "file", largest_pixels))
        corners = found.boxes_xyxy.round(3).tolist()
        detections = [
            {"cls_id": int(class_id), "bbox": dict(zip(("x1", "y1", "x2", "y2"), box))}
            for class_id, box in zip(found.class_ids, corners)
        ]
        return _json({"detections": detections})

    @routes.post(
        "/predict",
        dependencies=[requires(Scope.PREDICT)],
        summary="Detect the objects of an image",
        response_class=Response,
        response_model=None,
        responses={200: {"model": DetectedList}, **documented(503)},
    )
    async def predict(file: Annotated[UploadFile, File(description="JPEG or PNG")]) -> Response:
        return await services.predictions.run("detect", lambda: detected(file.file.read()))

    def segmented(body: bytes) -> Response:
        image = _image_of(body, largest_pixels)
        found: Segmentation = services.models.active("segment").predictor.predict(image)
        return _json({"prediction": found.mask.astype(np.uint8).tolist()})

    @routes.post(
        "/inference",
        dependencies=[requires(Scope.PREDICT)],
        summary="Find the building footprints of an aerial image",
        response_class=Response,
        response_model=None,
        responses={200: {"model": MaskRows}, **documented(415, 503)},
        openapi_extra={"requestBody": _IMAGE_BODY},
    )
    async def inference(request: Request) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise HttpError(415, f"the body is '{kind[:64]}': send application/json")
        body = await request.body()
        return await services.predictions.run("segment", lambda: segmented(body))

    return routes


def _image_of(body: bytes, largest_pixels: int) -> Image:
    """Return the image in a JSON body; raises ``DataError`` saying what it holds instead."""
    try:
        values = json.loads(body)
        pixels = np.asarray(values["image"])
    except (ValueError, RecursionError, TypeError, KeyError) as error:
        expected = 'expected {"image": rows of [red, green, blue], all equally long}'
        raise DataError(f"the body holds no image: {expected}", str(error)[:200]) from error
    if pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size or not np.issubdtype(pixels.dtype, np.integer):
        raise DataError(f"'image' has shape {pixels.shape} of {pixels.dtype}", "expected (H, W, 3) whole numbers")
    if pixels.min() < 0 or pixels.max() > 255:
        raise DataError(f"'image' has values from {pixels.min()} to {pixels.max()}", "expected 0 to 255")
    if pixels.shape[0] * pixels.shape[1] > largest_pixels:
        raise DataError(f"'image' of shape {pixels.shape} is larger than the {largest_pixels} pixels that are read")
    return pixels.astype(np.uint8)


def _json(value: Any) -> Response:
    return Response(json.dumps(value, allow_nan=False, separators=(",", ":")), media_type="application/json")
