"""Topics, in one place, relative to the node's namespace but for those that ROS shares between all of them.

The inputs are realsense-ros's names, so its driver drops in.
"""

COLOR = "camera/camera/color/image_raw"
CAMERA_INFO = "camera/camera/color/camera_info"
DEPTH = "camera/camera/aligned_depth_to_color/image_raw"
# Of a depth camera whose images are not aligned with colour's.
DEPTH_CAMERA_INFO = "camera/camera/depth/camera_info"
GROUND_TRUTH = "ground_truth"

KEYPOINTS = "keypoint_detections"
# The service by which those who read keypoints prepare a model, below their topic's name.
PREPARE_MODEL = "prepare_model"
DETECTIONS_2D = "detections_2d"
TRACKED_2D = "tracked_2d"
VISION_INFO = "vision_info"

CALIBRATION_STATUS = "calibration/status"
CALIBRATION_IMAGE = "calibration/image"

DETECTIONS_3D = "detections_3d"
OBJECT_POSES = "object_poses"
DETECTIONS_IMAGE = "detections_image"
OBJECT_MARKERS = "object_markers"
# MoveIt's, relative to move_group's namespace.
COLLISION_OBJECT = "collision_object"
MONITORED_PLANNING_SCENE = "monitored_planning_scene"
TF = "/tf"
TF_STATIC = "/tf_static"
DIAGNOSTICS = "/diagnostics"
# Topics with many publishers; any other has one source.
SHARED = frozenset({TF, TF_STATIC, DIAGNOSTICS})


def recorded(topic: str) -> str:
    """Return what a topic is called in a recording that was made without a namespace."""
    return f"/{topic.lstrip('/')}"
