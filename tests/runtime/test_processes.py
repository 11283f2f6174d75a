"""A process keeps the memory of images that come and go, and ends on SIGINT wherever that comes."""

import os
import platform
import signal
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


IN_A_FINALIZER = """
import time

class Busy:
    def __del__(self):
        print("here", flush=True)
        time.sleep(60)
"""
IN_A_CALLBACK = """
import time, weakref

class Object:
    pass

def gone(_):
    print("here", flush=True)
    time.sleep(60)

class Busy:
    def __init__(self):
        held = Object()
        self.reference = weakref.ref(held, gone)
        del held
"""
ENDING = """
import sys
from object_pose.cli.main import exit_code

def call():
    Busy()
    time.sleep({seconds})
    print("lost", flush=True)
    return 0

sys.exit({called})
"""


def interrupted(place, called, seconds):
    """Return exit code and output of a process that SIGINT reaches where Python only reports what is raised.

    Its work goes on for some ``seconds`` after that.
    """
    command = [sys.executable, "-c", place + ENDING.format(called=called, seconds=seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rest, said = process.communicate(timeout=60)
    return process.returncode, first + rest, said


@pytest.mark.parametrize("place", [IN_A_FINALIZER, IN_A_CALLBACK])
def test_an_interruption_is_not_lost_in_finalizers_and_callbacks(place):
    assert interrupted(place, "call()", 0)[:2] == (0, "here\nlost\n")
    assert interrupted(place, "exit_code('p', call)", 30) == (130, "here\n", "p: interrupted\n")
    # The work may have ended before it can be raised again.
    code, printed, said = interrupted(place, "exit_code('p', call)", 0)
    assert (code, said) == (130, "p: interrupted\n") and printed.startswith("here\n")
