"""Inference: model files in, validated detections and poses out; the only path from image to result."""
