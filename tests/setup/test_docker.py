"""The images make their environments with the commands of Makefile and README; files name what exists."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "docker" / "Dockerfile"
TEXT = DOCKERFILE.read_text()
STAGES = re.findall(r"^FROM (\S+) AS (\S+)$", TEXT, re.MULTILINE)


def test_the_images_are_those_that_the_readme_names():
    assert [name for _, name in STAGES] == ["core", "train", "web", "gpu", "ros"]
    assert all(":" in base or base in [name for _, name in STAGES] for base, _ in STAGES), "a base without a version"


def test_make_targets_extras_and_copied_files_exist():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"^RUN make ([a-z-]+)", TEXT, re.MULTILINE)) == {"setup", "setup-all"} <= set(targets)
    extras = re.findall(r"object_pose\[([a-z,]+)\]", TEXT)
    setup = (ROOT / "perception_ws" / "src" / "object_pose" / "setup.py").read_text()
    assert len(extras) == 2
    assert all(f'"{extra}": [' in setup for extra in ",".join(extras).split(","))
    for source in re.findall(r"^COPY (?:--\S+ )?(\S+) ", TEXT, re.MULTILINE):
        assert (ROOT / source).exists()
    assert os.access(ROOT / "docker" / "ros_entrypoint.sh", os.X_OK)


def test_what_readme_says_of_colcon_is_what_the_image_does():
    readme = (ROOT / "README.md").read_text()
    for command in ("rosdep install --from-paths", "pip install manifold3d", "colcon build"):
        assert command in readme and command in TEXT


def test_compose_builds_every_image():
    services = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]
    assert {service["build"]["target"] for service in services.values()} == {name for _, name in STAGES}
    for service in services.values():
        build = service["build"]
        assert ((ROOT / "docker" / build["context"]).resolve() / build["dockerfile"]) == DOCKERFILE


def test_pixi_has_an_environment_for_each_distribution():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")
    pixi = tomllib.loads((ROOT / "docker" / "pixi.toml").read_text())
    assert set(pixi["environments"]) == set(pixi["feature"]) == {"jazzy", "kilted", "lyrical"}
    for name, feature in pixi["feature"].items():
        assert all(package.startswith(f"ros-{name}-") for package in feature["dependencies"])
    for task in pixi["tasks"].values():
        assert (ROOT / "docker" / task["cwd"]).is_dir()


def test_dockerfile_and_scripts_are_linted():
    linter = shutil.which("hadolint", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if linter is None:
        pytest.skip("hadolint is not installed (make setup-all)")
    done = subprocess.run(
        [linter, "--failure-threshold", "warning", DOCKERFILE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    for script in [*(ROOT / "docker").glob("*.sh"), *(ROOT / "scripts").iterdir(), ROOT / ".ci" / "run"]:
        if script.read_text().startswith(("#!/usr/bin/env bash", "#!/bin/sh")):
            assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
