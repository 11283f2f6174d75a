"""Options with which a network of poses trains in seconds: small pictures, a small network, one thread."""

from __future__ import annotations

SCENE = {"width": 96, "height": 64, "focal_px": 90.0}
NETWORK = {"input_width": 96, "input_height": 64, "crop_width": 64, "crop_height": 64}
RUN = {"batch_size": 2, "workers": 0, "threads": 1, "device": "cpu"}
