"""Pictures of a recorded run: the images of a bag with the poses that were published for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from object_pose.core.vision.drawing import draw_poses
from object_pose.io.bags import read_bag
from object_pose.io.camera_info import info_from_message
from object_pose.io.images import write_image
from object_pose.io.messages import image_from_message, stamp_ns
from object_pose.ros.messages.conversions import detections_3d_from_message
from object_pose.ros.transport import topics


def write_pictures(bag: Path, folder: Path, count: int) -> int:
    """Draw up to ``count`` frames, evenly spread over the bag, as PNG files; return how many there were."""
    detections, cameras, stamps = {}, {}, []
    for topic, _, message in read_bag(bag, [topics.DETECTIONS_3D, topics.CAMERA_INFO, topics.COLOR]):
        stamp = stamp_ns(message)
        if topic == topics.DETECTIONS_3D:
            detections[stamp] = message
        elif topic == topics.CAMERA_INFO:
            cameras[stamp] = info_from_message(message).camera()
        else:
            stamps.append(stamp)
    class_names = sorted({_name(item) for message in detections.values() for item in message.detections})
    complete = [stamp for stamp in stamps if stamp in detections and stamp in cameras]
    chosen = complete[:: max(1, len(complete) // count)][:count]
    for _, _, message in read_bag(bag, [topics.COLOR]):
        stamp = stamp_ns(message)
        if stamp in chosen:
            poses = detections_3d_from_message(detections[stamp], class_names)
            folder.mkdir(parents=True, exist_ok=True)
            picture = draw_poses(image_from_message(message), poses, cameras[stamp])
            write_image(folder / f"{chosen.index(stamp):02d}.png", picture)
    return len(chosen)


def _name(detection: Any) -> str:
    return str(detection.results[0].hypothesis.class_id)
