"""Two pytest processes over the same tests: each takes the next file that none has taken (scripts/run_tests).

One begins with the first, the other with the last: files of a folder, which share what they set up, mostly meet in one
process, and both end at the same time.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

FOLDER_VARIABLE = "OBJECT_POSE_TEST_QUEUE"
SHARE_VARIABLE = "OBJECT_POSE_TEST_SHARE"


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
    files = [(path, list(tests)) for path, tests in itertools.groupby(items, key=lambda item: item.location[0])]
    if not os.environ[SHARE_VARIABLE].startswith("0/"):
        files.reverse()
    for path, tests in files:
        try:
            (folder / path.replace(os.sep, "+")).touch(exist_ok=False)
        except FileExistsError:
            continue
        yield from tests
