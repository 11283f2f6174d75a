"""A process keeps the memory of images that come and go, unless its user chose otherwise."""

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
from object_pose.runtime.processes import reuse_freed_memory
{call}
def receive():
    images = [bytearray(1 << 20) for _ in range(12)]
receive(), receive()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    receive()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 240)
"""
PAGES = (1 << 20) / 4096


def faults_an_image(call, **environment):
    """Return how many pages of an image of 1 MiB a process has to fetch anew."""
    usual = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", FAULTS.format(call=call)]
    done = subprocess.run(command, env=usual | environment, capture_output=True, text=True, timeout=60, check=True)
    return float(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_images_that_come_and_go_fetch_no_memory_anew():
    assert faults_an_image("") > 0.5 * PAGES
    assert faults_an_image("reuse_freed_memory()") < 0.02 * PAGES


def test_what_the_user_told_the_c_library_holds():
    assert faults_an_image("reuse_freed_memory()", MALLOC_MMAP_THRESHOLD_="65536") > 0.5 * PAGES
