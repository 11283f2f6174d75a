"""Pure array code: geometry, decoding, pose solving, tracking and metrics (numpy, OpenCV, SciPy only)."""
