"""Errors of poses, detections and uncertainties."""
