"""Rigid transforms, cameras, symmetries, stable poses and timed frames."""
