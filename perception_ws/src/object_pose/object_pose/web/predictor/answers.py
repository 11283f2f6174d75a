"""What the predictor's process answers: it opens models, reads images and returns results as a route sends them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from object_pose.core.arrays import Image
from object_pose.core.errors import CalibrationError, DataError
from object_pose.core.frame import Frame
from object_pose.core.results.detections import Detections
from object_pose.core.results.segmentation import Segmentation
from object_pose.io.camera_info import parse_camera_info
from object_pose.io.cameras.recorded import make_frame
from object_pose.io.images import decode_depth, decode_rgb, encode_image
from object_pose.runtime.model_cache import ModelCache
from object_pose.tasks.registry import TASKS
from object_pose.web.predictor.opened_model import OpenedModel
from object_pose.web.predictor.wire import Message

_OPENED = 2 * len(TASKS)
_MM_PER_COUNT = 1.0
JSON, JPEG = "application/json", "image/jpeg"


class Answers:
    """Answers requests with the models that they name by their files; ``of`` may be called from several threads."""

    def __init__(self) -> None:
        self._models = ModelCache(OpenedModel, _OPENED)
        self._kinds: dict[str, Callable[[Message], Message]] = {
            "open": self._open,
            "predict": self._predict,
            "detections": self._detections,
            "mask": self._mask,
        }

    def of(self, request: Message) -> Message:
        """Return the answer to a request; raises ``ObjectPoseError`` for what cannot be used."""
        return self._kinds[request.head["kind"]](request)

    def _model(self, request: Message) -> OpenedModel:
        return self._models.get(Path(request.head["model"]))

    def _open(self, request: Message) -> Message:
        model = self._models.refresh(Path(request.head["model"]))
        return Message({"name": model.name, "task": model.predictor.task.name, "sha256": model.sha256})

    def _predict(self, request: Message) -> Message:
        """Answer with the result of the model's task, or the annotated picture."""
        model = self._model(request)
        frame = _frame(request, model.gives_poses)
        found = model.predict(frame)
        if request.head["annotated"]:
            return Message({"media_type": JPEG, "drift": model.drift}, (encode_image(found.draw(), ".jpg"),))
        record = found.to_json(model.card.labels)
        record |= {
            "model": model.name,
            "inference_ms": round(found.timings_ms["total"], 3),
            "size_wh": list(frame.camera.wh),
            # Poses are drawn with it.
            **({"camera_matrix": frame.camera.matrix.tolist()} if model.gives_poses else {}),
        }
        return _json(record, drift=model.drift)

    def _detections(self, request: Message) -> Message:
        """Answer as the industrial detector does."""
        image = decode_rgb(request.blobs[0], "file", request.head["most_pixels"])
        found: Detections = self._model(request).predictor.predict(image)
        corners = found.boxes_xyxy.round(3).tolist()
        detections = [
            {"cls_id": int(class_id), "bbox": dict(zip(("x1", "y1", "x2", "y2"), box))}
            for class_id, box in zip(found.class_ids, corners)
        ]
        return _json({"detections": detections})

    def _mask(self, request: Message) -> Message:
        """Answer as the building footprints do."""
        image = _image_in_json(request.blobs[0], request.head["most_pixels"])
        found: Segmentation = self._model(request).predictor.predict(image)
        return _json({"prediction": found.mask.astype(np.uint8).tolist()})


def _json(record: Mapping[str, Any], **head: Any) -> Message:
    text = json.dumps(record, allow_nan=False, separators=(",", ":"))
    return Message({"media_type": JSON, **head}, (text.encode(),))


def _frame(request: Message, needs_camera: bool) -> Frame:
    """Return uploaded files as a frame; raises ``DataError`` or ``CalibrationError`` naming the field that is wrong."""
    head, files = request.head, dict(zip(request.head["files"], request.blobs))
    rgb = decode_rgb(files["image"], "image", head["most_pixels"])
    camera, said = None, None
    if "camera" in files:
        info = parse_camera_info(files["camera"], "camera")
        camera, said = info.camera(), info.depth_scale
    elif needs_camera:
        raise CalibrationError("'camera' is missing, without which there are no poses", "send its intrinsics")
    unit_m = (head["depth_scale"] or said or _MM_PER_COUNT) * 1e-3
    float_unit_m = head["depth_scale"] * 1e-3 if head["depth_scale"] else 1.0
    depth_m = None
    if "depth" in files:
        depth_m = decode_depth(files["depth"], "depth", unit_m, float_unit_m, head["most_pixels"])
    return make_frame("image", rgb, depth_m, camera, 0)


def _image_in_json(body: bytes, most_pixels: int) -> Image:
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
    if pixels.shape[0] * pixels.shape[1] > most_pixels:
        raise DataError(f"'image' of shape {pixels.shape} is larger than the {most_pixels} pixels that are read")
    return pixels.astype(np.uint8)
