"""The installed wheel: predicts with its base and one engine, and names the extra that a verb lacks."""

from __future__ import annotations

import ast
import json
import re
import shutil
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import numpy as np
import pytest

import object_pose
from object_pose.io.images import read_image, write_image

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "perception_ws" / "src" / "object_pose"
IMAGE, DEPTH = ROOT / "examples" / "parts.jpg", ROOT / "examples" / "parts_depth.png"
CAMERA = ROOT / "calibration" / "intrinsics" / "simulated.yaml"
SIMULATION = ("trimesh", "manifold3d", "networkx", "shapely")
OPTIONAL = {*SIMULATION, "torch", "onnx", "matplotlib", "jinja2", "reportlab", "rosbags", "rclpy"}
# Modules whose distribution has another name.
DISTRIBUTIONS = {
    "cv2": "opencv-python-headless",
    "google": "protobuf",
    "PIL": "pillow",
    "backports": "backports.zstd",
    "yaml": "PyYAML",
}
# Those of a camera's driver, a ROS installation or Python 3.14.
FROM_ELSEWHERE = {"compression", "rclpy", "rosidl_runtime_py", "ament_index_python", "object_pose"}


def test_wheel_holds_what_it_needs(wheel):
    names = [name.partition("data/data/share/object_pose/")[2] for name in zipfile.ZipFile(wheel).namelist()]
    for folder in (ROOT / "launch", ROOT / "models", ROOT / "calibration", PACKAGE / "config"):
        files = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        assert {str(path.relative_to(folder.parent)) for path in files} <= set(names)
    assert "package.xml" in names
    page = PACKAGE / "object_pose" / "web" / "static"
    # Where its libraries could be fetched here, they could for the wheel.
    files = [path for path in page.rglob("[!.]*") if path.is_file()]
    assert {str(path.relative_to(PACKAGE)) for path in files} <= set(zipfile.ZipFile(wheel).namelist())


@pytest.mark.network
@pytest.mark.timeout(600)
def test_installed_wheel_predicts_without_what_it_does_not_need(installation):
    program = f"""
import sys
from object_pose.cli.main import main
code = main(["predict", "{IMAGE}", "--depth", "{DEPTH}", "--camera", "{CAMERA}", "--json"])
print(sorted({OPTIONAL!r} & set(sys.modules)), file=sys.stderr)
print(sorted(name for name in sys.modules if name.startswith("object_pose.simulation")), file=sys.stderr)
sys.exit(code)
"""
    done = installation.run("python", "-c", program)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("[")] == ["[]", "[]"]
    record = json.loads(done.stdout)
    assert {"hex_bolt", "spring", "bracket", "pipe_elbow", "bushing", "gear"} == {
        p["class_name"] for p in record["poses"]
    }


@pytest.mark.network
@pytest.mark.timeout(600)
def test_installed_wheel_evaluates_data_on_disk(installation):
    for name in ("images", "masks"):
        (installation.folder / "tiles" / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(IMAGE, installation.folder / "tiles" / "images" / "1.jpg")
    height, width = read_image(IMAGE).shape[:2]
    write_image(installation.folder / "tiles" / "masks" / "1.png", np.full((height, width), 255, np.uint8))
    done = installation.run("object-pose", "evaluate", "segment", "--data", "tiles", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["samples"] == 1


@pytest.mark.network
@pytest.mark.timeout(600)
def test_installed_wheel_brings_the_messages_that_ros_lacks(installation):
    program = "from object_pose.runtime.resources import message_packages as find; print(*(p.name for p in find()))"
    assert installation.run("python", "-c", program).stdout.split() == ["vision_msgs", "object_pose_msgs"]


@pytest.mark.network
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "arguments, hint",
    [
        (["generate", "--output", "out"], "pip install 'object-pose[simulation]'"),
        (["evaluate", "segment", "--rendered", "1"], "pip install 'object-pose[simulation]'"),
        (["train", "detect", "--output", "out"], "pip install 'object-pose[train]'"),
        (["bag", "info", "recording.bag"], "pip install 'object-pose[bags]'"),
        (["dataset", "report", "photos", "--output", "out"], "pip install 'object-pose[reports]'"),
        (["run"], "source a ROS 2 workspace"),
        (["predict", str(IMAGE), "--camera", str(CAMERA), "--engine", "openvino"], "object-pose[openvino]"),
    ],
)
def test_a_verb_that_lacks_an_extra_names_it(installation, arguments, hint):
    (installation.folder / "recording.bag").touch()
    for name in ("parts", "nothing"):
        (installation.folder / "photos" / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(IMAGE, installation.folder / "photos" / name / f"{name}.jpg")
    done = installation.run("object-pose", *arguments)
    assert done.returncode == 2
    (sentence,) = done.stderr.splitlines()
    assert hint in sentence


@pytest.fixture(scope="module")
def extras(wheel) -> dict[str, set[str]]:
    """Distributions that the base ("") and every extra ask for, in lower case."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        description = message_from_bytes(archive.read(name))
    found: dict[str, set[str]] = {"": set()} | {extra: set() for extra in description.get_all("Provides-Extra")}
    for line in description.get_all("Requires-Dist"):
        extra = re.search(r"""extra == ['"](.*?)['"]""", line)
        found[extra.group(1) if extra else ""].add(re.match(r"[\w.-]+(\[.*\])?", line).group().lower())
    return found


def test_rosdep_and_the_readme_install_what_the_extras_name(extras):
    manifest = (PACKAGE / "package.xml").read_text()
    keys = re.findall(r"<exec_depend>python3-(.*?)(?:-pip)?</exec_depend>", manifest)
    (line,) = re.findall(r"^pip install (.*?) *# what rosdep has no key for$", (ROOT / "README.md").read_text(), re.M)
    names = {"opencv": "opencv-python-headless", "pil": "pillow", "yaml": "pyyaml"}
    installed = {names.get(key, key) for key in keys} | set(line.split())
    brought_by_rosbags = {"lz4", "backports.zstd"}
    assert installed | brought_by_rosbags == extras[""].union(
        *(extras[name] for name in ("cpu", "bags", "simulation", "reports"))
    )


def test_the_manifest_names_every_message_package_that_is_imported():
    depends = set(re.findall(r"<depend>(.*?)</depend>", (PACKAGE / "package.xml").read_text()))
    sources = [path.read_text() for path in (Path(object_pose.__path__[0]) / "ros").rglob("*.py")]
    used = {name for text in sources for name in re.findall(r"^from (\w+)\.(?:msg|srv) import", text, re.M)}
    assert len(used) > 10 and used <= depends, used - depends


def imported(package: str) -> dict[str, str]:
    """Third-party modules that the files of a package import, each with one of the files."""
    found = {}
    for path in (Path(object_pose.__path__[0]) / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            found |= {name.partition(".")[0]: path.name for name in names}
    return {
        name: file
        for name, file in found.items()
        if name not in sys.stdlib_module_names | FROM_ELSEWHERE and not name.endswith(("_msgs", "_srvs", "_interfaces"))
    }


@pytest.mark.parametrize(
    "package, needed",
    [
        ("core", []),
        ("tasks", []),
        ("runtime", []),
        ("cli", []),
        ("io", ["bags"]),
        ("simulation", ["simulation"]),
        ("training", ["train", "simulation", "cpu"]),
        ("evaluation", ["reports", "simulation"]),
        ("workflows", ["reports", "train", "simulation"]),
        ("ros", []),
    ],
)
def test_extras_are_complete(extras, package, needed):
    known = extras[""].union(*(extras[extra] for extra in needed))
    missing = {name for name in imported(package) if DISTRIBUTIONS.get(name, name).lower() not in known}
    assert not missing


def test_all_is_every_extra_but_those_that_exclude_another(extras):
    assert extras["all"] == {"object-pose[bags,cpu,ops,realsense,reports,simulation,train,web]"}
