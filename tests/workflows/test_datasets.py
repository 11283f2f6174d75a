"""Data sets rendered, split and generated from Python: progress is told, and cancelling leaves nothing half-written."""

from __future__ import annotations

import pytest

from labelled import write_yolo_set
from object_pose.core.errors import CancelledError
from object_pose.simulation.scenes.scene import SceneConfig
from object_pose.workflows.datasets import (
    DatasetConfig,
    GenerateConfig,
    RenderedConfig,
    SplitConfig,
    check_dataset,
    generate_bop_dataset,
    render_dataset,
    report_on_dataset,
    split_into,
)

SMALL = SceneConfig(width=96, height=64, focal_px=90.0, max_objects=2)


def cancel_at(done):
    def callback(progress):
        if progress.done == done:
            raise CancelledError("enough")

    return callback


def test_a_cancelled_rendering_leaves_no_folder(tmp_path):
    with pytest.raises(CancelledError):
        render_dataset("oriented", RenderedConfig(count=5), tmp_path / "out", progress=cancel_at(2))
    assert not list(tmp_path.iterdir())
    seen = []
    render_dataset("oriented", RenderedConfig(count=2), tmp_path / "out", progress=seen.append)
    assert [(item.done, item.total) for item in seen] == [(0, 2), (1, 2), (2, 2)]


def test_a_cancelled_generation_keeps_whole_scenes_and_goes_on(tmp_path):
    config = GenerateConfig(scenes=2, frames=2)
    with pytest.raises(CancelledError):
        generate_bop_dataset(config, SMALL, tmp_path / "out", cancel_at(4))
    assert [path.name for path in (tmp_path / "out" / "train").iterdir()] == ["000000"]
    seen = []
    assert generate_bop_dataset(config, SMALL, tmp_path / "out", seen.append) == 6
    assert seen[0].done == 2 and seen[-1].done == seen[-1].total == 4
    assert sorted(path.name for path in (tmp_path / "out" / "train").iterdir()) == ["000000", "000001"]


def test_data_are_checked_split_and_reported_on(tmp_path):
    data = write_yolo_set(tmp_path / "set", {f"hall_{index}": "0 0.5 0.5 0.5 0.5\n" for index in range(4)})
    config = DatasetConfig(data)
    check = check_dataset(config)
    assert check.holds == "4 images, 4 boxes, 2 classes (yolo)"
    assert [fault.problem for fault in check.faults] == ["class 'dog' has no box"]
    result = split_into(config, SplitConfig(shares="train=0.5,test=0.5", group="none"), tmp_path / "halves")
    assert sum(result.counts.values()) == 4
    report = report_on_dataset(DatasetConfig(tmp_path / "halves"), tmp_path / "report")
    assert report.figures["boxes"]["boxes"] == 4 and (tmp_path / "report" / "report.html").exists()
