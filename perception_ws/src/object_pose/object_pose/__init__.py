"""object_pose: RGB-D frames in, typed 6-DoF detections with honest confidences out."""

__version__ = "0.1.0"
