"""What make wheel builds can be installed elsewhere; workflows call make targets that exist."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def test_wheels_of_package_and_messages(tmp_path):
    subprocess.run([sys.executable, ROOT / "scripts" / "build_wheels", tmp_path / "dist"], check=True)
    wheels = {wheel.name.partition("-")[0]: wheel for wheel in (tmp_path / "dist").glob("*.whl")}
    assert {"object_pose", "ros_object_pose_msgs"} <= set(wheels)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--prefix", tmp_path / "there"]
    subprocess.run([*pip, wheels["ros_object_pose_msgs"]], check=True)
    assert list((tmp_path / "there").glob("lib/python*/site-packages/object_pose_msgs/msg/__init__.py"))
    assert list((tmp_path / "there" / "lib").glob("libobject_pose_msgs__*.so"))
    with zipfile.ZipFile(wheels["object_pose"]) as archive:
        assert "object_pose/py.typed" in archive.namelist()


def test_workflows_call_what_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    called: set[str] = set()
    for file in (ROOT / ".github" / "workflows").glob("*.yml"):
        text = file.read_text()
        jobs = yaml.safe_load(text)["jobs"]
        for job in jobs.values():
            checks = job.get("strategy", {}).get("matrix", {}).get("check", [])
            assert job["timeout-minutes"] > 0
            called |= {*checks, *re.findall(r"make ([a-z-]+)", yaml.dump(job))}
        for program in re.findall(r"\b(deploy/\w+)", text):
            assert (ROOT / program).exists()
    assert {"lint", "test", "demo", "wheel", "docs"} <= called <= targets
