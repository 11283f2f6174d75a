"""Simulated RGB-D cameras: procedural parts, renderer, random scenes, depth sensor, BOP data sets."""
