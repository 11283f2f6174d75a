"""A recording's report as one HTML page: figures, poses and errors over time, and the frames with most errors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from object_pose.evaluation.bags import BagRun
from object_pose.evaluation.reports.evaluation.report import pose_cards
from object_pose.evaluation.reports.page import figure_url, picture_url, write_page


def write_bag_report(run: BagRun, summary: Mapping[str, Any], output: Path) -> None:
    """Write report.html into ``output``; ``summary`` is the run's JSON."""
    evaluation = run.evaluation()
    cards: list[tuple[str, object]] = [("frames", summary["frames"]), ("seconds", f"{summary['seconds']:.1f}")]
    cards += pose_cards(evaluation) if evaluation else [("poses", summary["poses"])]
    if summary["tracks"]:
        cards.append(("objects with an id", summary["tracks"]))
    if summary["speed_over_realtime"]:
        cards.append(("speed over real time", f"{summary['speed_over_realtime']:.2f}"))
    reason = "most errors" if run.has_truth else "fewest poses"
    captions = [
        (picture_url(picture), f"frame {index}" + (f": {errors} errors" if run.has_truth else ""))
        for errors, index, picture in run.pictures
    ]
    plots = {"Poses over time": figure_url(_timeline(run))}
    if run.matches:
        plots["Errors over time"] = figure_url(_errors(run))
    write_page(
        output / "report.html",
        "bag/page.html",
        kind="recording",
        title=f"Recording: {run.name}",
        subtitle="Every frame once, in order.",
        cards=cards,
        classes=summary["poses_per_class"],
        recall=evaluation.score.recall_per_class if evaluation else {},
        rejections=summary["rejections"],
        plots=plots,
        galleries={f"Frames with {reason}": captions},
    )


def _timeline(run: BagRun) -> Figure:
    """Draw how many poses a frame has, of how many targets, and how long it took."""
    figure = Figure(figsize=(9.0, 4.6), layout="constrained")
    counts, times = figure.subplots(2, 1, sharex=True)
    seconds = _seconds(run, run.stamps_ns)
    counts.step(seconds, run.counts, where="mid", label="poses", linewidth=1.0)
    if run.matches:
        targets = [len(frame.matches) + len(frame.missed) for frame in run.matches]
        at = _seconds(run, run.match_stamps_ns)
        counts.step(at, targets, where="mid", label="targets", color="0.6", linewidth=1.0)
        counts.legend(fontsize=8)
    counts.set(ylabel="in a frame")
    times.plot(seconds, run.frame_ms, ".", markersize=4)
    times.set(ylabel="ms a frame", xlabel="seconds")
    for axes in (counts, times):
        axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
        axes.grid(alpha=0.3)
    return figure


def _errors(run: BagRun) -> Figure:
    """Draw the errors of translation and rotation of every matched pose, a colour a class."""
    figure = Figure(figsize=(9.0, 4.6), layout="constrained")
    translation, rotation = figure.subplots(2, 1, sharex=True)
    at = _seconds(run, run.match_stamps_ns)
    points: dict[str, list[tuple[float, float, float]]] = {}
    for second, frame in zip(at, run.matches):
        for match in frame.matches:
            errors = (second, 1e3 * match.translation_error_m, float(np.degrees(match.rotation_error_rad)))
            points.setdefault(match.truth.class_name, []).append(errors)
    for name, rows in sorted(points.items()):
        columns = np.array(rows).T
        translation.plot(columns[0], columns[1], ".", markersize=2, label=name)
        rotation.plot(columns[0], columns[2], ".", markersize=2)
    translation.set(ylabel="translation, mm", yscale="log")
    rotation.set(ylabel="rotation, degrees", yscale="log", xlabel="seconds")
    translation.legend(fontsize=8, ncols=4)
    for axes in (translation, rotation):
        axes.grid(alpha=0.3)
    return figure


def _seconds(run: BagRun, stamps_ns: list[int]) -> list[float]:
    return [(stamp - run.stamps_ns[0]) * 1e-9 for stamp in stamps_ns]
