"""ROS domains of tests: what runs in one does not hear what runs in another."""

from __future__ import annotations

import itertools
import os

# Linux hands the ports of higher domains to other programs.
_LAST_DOMAIN = 100
_domains = itertools.count(os.getpid())


def next_domain() -> int:
    """Return a ROS domain that no other test uses, nor the other process of scripts/run_tests."""
    share, shares = map(int, os.environ.get("OBJECT_POSE_TEST_SHARE", "0/1").split("/"))
    return next(_domains) * shares % (_LAST_DOMAIN - _LAST_DOMAIN % shares) + share + 1
