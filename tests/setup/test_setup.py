"""A machine that cannot work gets one sentence and exit code 2, before anything is downloaded."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "setup"
TOOLS = ("bash", "dirname", "uname", "mkdir", "flock", "grep")


@pytest.fixture
def checkout(tmp_path):
    """An empty checkout with the script, and a folder of tools that is all its PATH."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in TOOLS:
        (tools / name).symlink_to(shutil.which(name))
    (tmp_path / "scripts").mkdir()
    shutil.copy(SCRIPT, tmp_path / "scripts" / "setup")
    return tmp_path


def put(checkout, name, output="", code=0):
    """Put a program in the PATH that says one thing, or nothing."""
    path = checkout / "bin" / name
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/sh\nprintf '{output}'\nexit {code}\n")
    path.chmod(0o755)


def run(checkout, **environment):
    variables = {"PATH": str(checkout / "bin"), "HOME": str(checkout)} | environment
    variables = {name: value for name, value in variables.items() if value is not None}
    return subprocess.run(
        [checkout / "scripts" / "setup"], env=variables, capture_output=True, text=True, timeout=60, check=False
    )


def assert_refused(done, *words):
    assert done.returncode == 2
    assert done.stdout == ""
    (sentence,) = done.stderr.splitlines()
    for word in words:
        assert word in sentence


def test_no_home(checkout):
    assert_refused(run(checkout, HOME=None), "HOME is not set", "export HOME=")


def test_arm(checkout):
    put(checkout, "uname", "Linux aarch64")
    assert_refused(run(checkout), "x86-64", "Linux aarch64", "colcon")


def test_no_python(checkout):
    assert_refused(run(checkout), "3.14 3.13 3.12 3.11 3.10", "apt install python3")


def test_only_a_python_that_is_too_old(checkout):
    put(checkout, "python3", "3.9")
    assert_refused(run(checkout), "3.14 3.13 3.12 3.11 3.10", "apt install python3")


def test_named_python_is_too_old(checkout):
    put(checkout, "python3", "3.12")
    put(checkout, "python3.9", "3.9")
    assert_refused(run(checkout, PYTHON="python3.9"), "PYTHON=python3.9 is Python 3.9", "3.14 3.13 3.12 3.11 3.10")


@pytest.mark.parametrize("system, chosen", [("3.12", "python3"), ("3.9", "python3.13"), ("3.15", "python3.13")])
def test_system_python_is_preferred_then_the_newest(checkout, system, chosen):
    put(checkout, "python3", system)
    for name in ("3.10", "3.13"):
        put(checkout, f"python{name}", name)
    script = checkout / "scripts" / "setup"
    script.write_text(script.read_text().replace('main "$@"', "find_python"))
    assert run(checkout).stdout.strip() == chosen


def test_no_compiler(checkout):
    """The environment is there, and only the messages remain to be built."""
    root = SCRIPT.parents[1]
    for name in ("requirements", "perception_ws/src/object_pose_msgs", "perception_ws/stand_ins"):
        shutil.copytree(root / name, checkout / name)
    package = checkout / "perception_ws" / "src" / "object_pose"
    package.mkdir()
    for name in ("setup.py", "setup.cfg"):
        shutil.copy(root / "perception_ws" / "src" / "object_pose" / name, package / name)
    for name in ("find", "sort", "xargs", "sha256sum", "cut", "basename"):
        (checkout / "bin" / name).symlink_to(shutil.which(name))
    venv = checkout / ".venv"
    (venv / "bin").mkdir(parents=True)
    put(checkout, "../.venv/bin/python", "3.11")
    (venv / "bin" / "activate").write_text(f'VIRTUAL_ENV="{venv}"\n')
    script = checkout / "scripts" / "setup"
    stamp_everything = 'is_current() { [[ $1 != *messages* ]]; }\nmain "$@"'
    script.write_text(script.read_text().replace('main "$@"', stamp_everything))
    done = run(checkout, PATH=f"{checkout / 'bin'}", LC_ALL=os.environ.get("LC_ALL", "C"))
    assert_refused(done, "g++", "apt install g++")
