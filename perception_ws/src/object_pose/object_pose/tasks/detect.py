"""Boxes of objects, with keypoints where the network gives some: any number in an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from object_pose.core.errors import ModelError
from object_pose.core.metrics.detection import score_boxes
from object_pose.core.results.detections import Detections, DetectionsJson
from object_pose.core.vision.boxes import box_area
from object_pose.core.vision.decoders import DecodeOptions, Layout, OutputFormat, decode
from object_pose.core.vision.drawing import draw_detections
from object_pose.core.vision.image import Letterbox
from object_pose.tasks.task import Array32, Interface, Prepared, Task, prepare_rgb


def check_detector(interface: Interface) -> None:
    """Raise ``ModelError`` where a network's output is not laid out as its card says."""
    shapes = interface.output_shapes
    if len(shapes) != 1:
        raise ModelError(f"the network has {len(shapes)} outputs, a detector has one")
    OutputFormat(Layout(interface.layout), len(interface.labels), interface.keypoint_count).check(shapes[0])


def decode_detections(
    outputs: Sequence[Array32], prepared: Prepared, labels: tuple[str, ...], options: DecodeOptions
) -> Detections:
    """Return the detections in pixels of the image, best first."""
    form = OutputFormat(Layout(options.layout), len(labels), options.keypoint_count)
    return _to_image(decode(form, outputs[0], options), prepared.box)


def _to_image(detections: Detections, box: Letterbox) -> Detections:
    """Map detections from the canvas to the image; boxes are clipped to it, and gone when they lie outside."""
    corners = box.to_image(detections.boxes_xyxy.reshape(-1, 2, 2))
    boxes = np.clip(corners, 0.0, np.subtract(box.image_wh, 1.0)).reshape(-1, 4)
    inside = Detections(
        boxes,
        detections.scores,
        detections.class_ids,
        box.to_image(detections.keypoints),
        detections.keypoint_sigmas / float(np.sqrt(np.prod(box.scale))),
    )
    return inside.select(box_area(boxes) > 0)


def summarise_detections(result: Detections, labels: Sequence[str]) -> str:
    """Return the names and scores of the likeliest detections."""
    found = result.likeliest()
    named = (f"{labels[class_id]} {score:.2f}" for class_id, score in zip(found.class_ids, found.scores))
    return ", ".join(named) or "nothing"


DETECT = Task[Detections, Detections](
    name="detect",
    summary="boxes of objects",
    layouts=(Layout.YOLOV8_DETECT, Layout.YOLOV5, Layout.END_TO_END, Layout.OBJECT_POSE_KEYPOINTS),
    metric="map50",
    json_type=DetectionsJson,
    default_model="workplace.onnx",
    prepare=prepare_rgb,
    decode=decode_detections,
    to_json=Detections.to_json,
    summarise=summarise_detections,
    draw=draw_detections,
    score=score_boxes,
    check=check_detector,
    options=DecodeOptions(),
    scored_options=DecodeOptions(score_threshold=0.01),
)
