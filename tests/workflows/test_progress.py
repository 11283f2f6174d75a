"""The progress that a caller sees, and how it ends a workflow early."""

from __future__ import annotations

import pytest

from object_pose.cli.progress_bar import ProgressBar
from object_pose.core.errors import CancelledError
from object_pose.workflows.progress import Progress, reported


def test_each_item_is_reported_when_the_next_is_asked_for() -> None:
    seen: list[Progress] = []
    assert list(reported("abc", seen.append, "letters", 3, "letter")) == ["a", "b", "c"]
    assert [(item.stage, item.done, item.total, item.unit) for item in seen] == [
        ("letters", done, 3, "letter") for done in range(4)
    ]


def test_the_callback_cancels_by_raising() -> None:
    def callback(progress: Progress) -> None:
        if progress.done == 2:
            raise CancelledError("enough")

    handled: list[str] = []
    with pytest.raises(CancelledError):
        handled += reported("abc", callback, "letters")
    assert handled == ["a", "b"]


def test_a_bar_for_each_stage_with_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar() as bar:
        bar(Progress("train", 5, 10))
        bar(Progress("train", 10, 10, figures={"total": 0.25}))
        bar(Progress("test", 1, 2, "frame"))
    shown = capsys.readouterr().err
    assert "train" in shown and "10/10" in shown and "total=0.25" in shown
    assert "test" in shown and "1/2" in shown
