"""The report on a calibration: what it says, residuals, maps over the image, tables; one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from object_pose.core.arrays import Array, Image
from object_pose.evaluation.reports.page import figure_url, picture_url, write_page

_PICTURE_SIDE = 720
_FOUND, _EXPECTED = (40, 200, 80), (230, 60, 60)


@dataclass(frozen=True)
class ReportTable:
    """A table: a row for each item, already as text."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class CalibrationPage:
    """What a report holds: figures of merit, sentences, pictures as (data URL, caption), tables."""

    title: str
    subtitle: str
    cards: Sequence[tuple[str, str]]
    findings: Sequence[str] = ()
    figures: Sequence[tuple[str, str]] = ()
    tables: Sequence[ReportTable] = field(default=())
    commands: Sequence[str] = ()


def write_report(path: Path, page: CalibrationPage) -> None:
    """Write the report as one HTML file."""
    write_page(path, "calibration/page.html", kind="calibration report", **vars(page))


def map_picture(values: Array, wh: tuple[int, int], unit: str, largest: float | None = None) -> str:
    """Draw values (rows, columns) over an image; NaN is left white."""
    figure = Figure(figsize=(5.6, 4.2), layout="constrained")
    axes = figure.add_subplot()
    extent = (-0.5, wh[0] - 0.5, wh[1] - 0.5, -0.5)
    picture = axes.imshow(values, extent=extent, cmap="viridis", vmax=largest, aspect="equal")
    figure.colorbar(picture, ax=axes, label=unit, shrink=0.8)
    axes.set(xlabel="x, px", ylabel="y, px")
    return figure_url(figure)


def residual_picture(pixels: Sequence[Array], residuals: Sequence[Array], wh: tuple[int, int]) -> str:
    """Draw each point's error as an arrow where it is in the image, and all errors about one origin."""
    where, errors = np.concatenate(pixels), np.concatenate(residuals)
    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    field_axes, cloud = figure.subplots(1, 2, width_ratios=(1.5, 1.0))
    scale = max(float(np.percentile(np.linalg.norm(errors, axis=1), 95)), 1e-6)
    drawn = field_axes.quiver(
        *where.T, *errors.T, angles="xy", scale_units="xy", scale=scale / (0.04 * wh[0]), width=0.002
    )
    field_axes.quiverkey(drawn, 0.9, 1.04, scale, f"{scale:.2f} px", labelpos="E")
    field_axes.set(xlim=(0, wh[0]), ylim=(wh[1], 0), aspect="equal", xlabel="x, px", ylabel="y, px")
    cloud.plot(*errors.T, ".", markersize=2, alpha=0.5)
    cloud.set(xlabel="error in x, px", ylabel="error in y, px", aspect="equal")
    cloud.grid(alpha=0.3)
    return figure_url(figure)


def points_picture(pixels: Sequence[Array], counts: NDArray[np.int64], wh: tuple[int, int]) -> str:
    """Draw where points were seen, a colour a view, over the counts of the image's regions."""
    figure = Figure(figsize=(5.6, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(counts, extent=(0, wh[0], wh[1], 0), cmap="Greens", alpha=0.6, aspect="equal", vmin=0)
    for own in pixels:
        axes.plot(*own.T, ".", markersize=2)
    axes.set(xlim=(0, wh[0]), ylim=(wh[1], 0), xlabel="x, px", ylabel="y, px")
    return figure_url(figure)


def bars_picture(names: Sequence[str], values: Sequence[float], is_good: Sequence[bool], unit: str) -> str:
    """Draw a bar a sample; those that are not used are red."""
    figure = Figure(figsize=(max(4.5, 0.28 * len(names)), 3.2), layout="constrained")
    axes = figure.add_subplot()
    axes.bar(range(len(names)), values, color=["#0072b2" if good else "#c8303f" for good in is_good])
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=8)
    axes.set(ylabel=unit)
    axes.grid(alpha=0.3, axis="y")
    return figure_url(figure)


def correlation_picture(correlations: Array, names: Sequence[str]) -> str:
    """Draw a matrix of correlations."""
    figure = Figure(figsize=(5.6, 5.0), layout="constrained")
    axes = figure.add_subplot()
    picture = axes.imshow(correlations, cmap="RdBu", vmin=-1.0, vmax=1.0)
    figure.colorbar(picture, ax=axes, shrink=0.8)
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    return figure_url(figure)


def points_on_image(rgb: Image, found: Array, expected: Array | None = None) -> str:
    """Draw points that were found (green circles) and where they were expected (red crosses) on an image."""
    picture = rgb.copy()
    size = max(3, round(rgb.shape[1] / 220))
    for pixel in found:
        cv2.circle(picture, np.rint(pixel).astype(int).tolist(), size, _FOUND, max(1, size // 3), cv2.LINE_AA)
    for pixel in () if expected is None else expected:
        where = np.rint(pixel).astype(int).tolist()
        cv2.drawMarker(picture, where, _EXPECTED, cv2.MARKER_CROSS, 2 * size, max(1, size // 3), cv2.LINE_AA)
    return picture_url(picture, _PICTURE_SIDE)
