"""A workflow's progress as bars in the terminal."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

from object_pose.workflows.progress import Progress


class ProgressBar:
    """Draws a bar on stderr for each stage; a workflow's callback within a ``with`` block.

    With ``terminal_only`` there is none where stderr is a file or a pipe.
    """

    def __init__(self, terminal_only: bool = False) -> None:
        self._disable = None if terminal_only else False
        self._stage = ""
        self._bar: Any = None

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()

    def __call__(self, progress: Progress) -> None:
        """Draw how far a stage is."""
        if self._bar is None or progress.stage != self._stage:
            self._close()
            self._stage = progress.stage
            self._bar = tqdm(
                desc=progress.stage,
                initial=progress.done,
                total=progress.total or None,
                unit=progress.unit,
                file=sys.stderr,
                disable=self._disable,
            )
        self._bar.total = progress.total or None  # of a limited time: as many steps as it will have
        figures = {name: f"{value:.3g}" for name, value in progress.figures.items()}
        self._bar.set_postfix(figures, refresh=False)
        self._bar.update(progress.done - self._bar.n)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
