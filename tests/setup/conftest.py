"""A wheel built from the checkout's files, and a fresh environment with nothing but what a robot needs to predict."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path("perception_ws/src/object_pose")


def run(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program outside this environment; what it says is on the failed test."""
    variables = {
        name: value
        for name, value in os.environ.items()
        if name not in {"PYTHONPATH", "LD_LIBRARY_PATH", "AMENT_PREFIX_PATH", "_ROS_WHEELS_BOOTSTRAP_COMPLETE"}
    }
    return subprocess.run(command, env=variables, cwd=cwd, capture_output=True, text=True, timeout=600, check=False)


@dataclass(frozen=True)
class Installation:
    """A virtual environment, and a folder outside the checkout to work in."""

    prefix: Path
    folder: Path

    def run(self, name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment."""
        return run(self.prefix / "bin" / name, *arguments, cwd=self.folder)

    def install(self, *requirements: str | Path) -> None:
        """Install with the versions of a checkout."""
        pins = ROOT / "requirements" / "constraints.txt"
        done = self.run("python", "-m", "pip", "install", "--quiet", "--constraint", pins, *requirements)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of what git knows, built where no earlier build left anything."""
    checkout = tmp_path_factory.mktemp("checkout")
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in filter(None, listed.stdout.split("\0")):
        if not name.startswith("tests/") and (ROOT / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, checkout / name)
    options = ["--quiet", "--no-deps", "--use-pep517", "--no-build-isolation", "--wheel-dir", checkout]
    built = run(sys.executable, "-m", "pip", "wheel", *options, checkout / PACKAGE)
    assert built.returncode == 0, built.stderr
    (path,) = checkout.glob("*.whl")
    return path


@pytest.fixture(scope="session")
def installation(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """A fresh environment with the wheel and one inference engine."""
    folder = tmp_path_factory.mktemp("installed")
    fresh = Installation(folder / "venv", folder)
    assert run(sys.executable, "-m", "venv", fresh.prefix).returncode == 0
    fresh.install(f"object-pose[cpu] @ {wheel.as_uri()}")
    return fresh
