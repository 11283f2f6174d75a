"""Pose estimation: PnP, depth alignment, contour alignment, occlusion and confidence."""
