"""CAD files of the procedural parts."""

from __future__ import annotations

from pathlib import Path

from object_pose.simulation.parts.procedural import build_part


def save_part(folder: Path, name: str, scale: float = 1.0) -> Path:
    """Write a part as STL in millimetres, larger by ``scale``, and return the file."""
    mesh = build_part(name).mesh.copy()
    mesh.apply_scale(1000.0 * scale)
    path = folder / f"{name}.stl"
    mesh.export(path)
    return path
