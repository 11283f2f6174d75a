"""How many threads a program takes: what it may use, and what others leave."""

from __future__ import annotations

import os

import pytest

from object_pose.runtime.cpus import available_cores, free_cores


@pytest.mark.parametrize(
    ("quota", "cores"), [("100000 100000", 1), ("50000 100000", 1), ("max 100000", None), ("", None), (None, None)]
)
def test_the_quota_of_a_container_counts(tmp_path, quota, cores):
    if quota is not None:
        (tmp_path / "cpu.max").write_text(quota)
    assert available_cores(tmp_path / "cpu.max") == (cores or len(os.sched_getaffinity(0)))


def test_at_least_one_core_is_free():
    assert 1 <= free_cores() <= available_cores()
