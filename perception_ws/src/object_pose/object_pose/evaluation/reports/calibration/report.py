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
_HIGHEST_BAR = 3.0  # times the largest of those that are used
_MARGIN, _LONGEST_ERROR = 0.1, 0.06  # of the side of what a picture of points shows


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
    figure = Figure(figsize=(5.6, 7.4), layout="constrained")
    field_axes, cloud = figure.subplots(2, 1, height_ratios=(1.3, 1.0))
    factor = 0.04 * wh[0] / max(float(np.percentile(np.linalg.norm(errors, axis=1), 95)), 1e-6)
    field_axes.quiver(*where.T, *errors.T, angles="xy", scale_units="xy", scale=1.0 / factor, width=0.002)
    field_axes.set_title(f"errors {factor:.0f} times as long", fontsize=9)
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
    """Draw a bar a sample; those that are not used are red, and cut off, with their value, where they tower."""
    figure = Figure(figsize=(max(5.6, 0.28 * len(names)), 3.4), layout="constrained")
    axes = figure.add_subplot()
    top = _HIGHEST_BAR * max((abs(value) for value, good in zip(values, is_good) if good), default=np.inf)
    shown = np.clip(values, -top, top)
    axes.bar(range(len(names)), shown, color=["#0072b2" if good else "#c8303f" for good in is_good])
    for index, (value, good) in enumerate(zip(values, is_good)):
        if not good and value > top:
            axes.annotate(f"{value:.3g}", (index, top), ha="center", va="bottom", fontsize=7)
            axes.set_ylim(top=1.1 * top)
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


def points_on_image(rgb: Image, found: Array, expected: Array) -> tuple[str, str]:
    """Draw points that were found (green) and the way from there to where they are expected (red), much enlarged.

    The picture shows the points' part of the image. Returns it with the words for its caption.
    """
    low, high = found.min(axis=0), found.max(axis=0)
    margin = _MARGIN * float((high - low).max())
    left, top = np.maximum(np.floor(low - margin), 0).astype(int)
    right, bottom = np.ceil(high + margin).astype(int) + 1
    part = rgb[top:bottom, left:right]
    scale = _PICTURE_SIDE / max(part.shape[:2])
    picture = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    longest = max(float(np.linalg.norm(expected - found, axis=1).max()), 1e-6)
    factor = max(1, round(_LONGEST_ERROR * max(part.shape[:2]) / longest))
    for start, error in zip(found, expected - found):
        here, there = (np.rint((pixel - (left, top)) * scale).astype(int) for pixel in (start, start + factor * error))
        cv2.line(picture, here.tolist(), there.tolist(), _EXPECTED, 2, cv2.LINE_AA)
        cv2.circle(picture, here.tolist(), 4, _FOUND, 2, cv2.LINE_AA)
    return picture_url(np.ascontiguousarray(picture), _PICTURE_SIDE), f"errors in red, {factor} times as long"
