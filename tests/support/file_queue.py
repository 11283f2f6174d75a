"""Several pytest processes over the same tests: each takes the next file that none has taken (scripts/run_tests)."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

FOLDER_VARIABLE = "OBJECT_POSE_TEST_QUEUE"


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Run the files that this process takes; without a queue, or where collecting failed, leave it to pytest."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder or session.config.option.collectonly or session.testsfailed:
        return None
    items = _taken(session.items, Path(folder))
    item = next(items, None)
    while item is not None:
        following = next(items, None)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        item = following
    return True


def _taken(items: Sequence[pytest.Item], folder: Path) -> Iterator[pytest.Item]:
    """Yield the tests of one file after the other, as far as no other process has taken it."""
    for path, tests in itertools.groupby(items, key=lambda item: item.location[0]):
        try:
            (folder / path.replace(os.sep, "+")).touch(exist_ok=False)
        except FileExistsError:
            continue
        yield from tests
