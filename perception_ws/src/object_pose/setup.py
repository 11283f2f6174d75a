"""Installs object_pose both as a ROS 2 package (ament_python) and with pip, without ROS."""

import os
from pathlib import Path

from setuptools import find_packages, setup

NAME = "object_pose"
HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[2]


def shared_files(root: Path) -> list[tuple[str, list[str]]]:
    """List what goes to share/object_pose from one folder, as data_files wants it: relative, one entry per folder."""
    return [
        (
            os.path.join("share", NAME, root.name, os.path.relpath(folder, root)).rstrip("/."),
            [os.path.relpath(os.path.join(folder, name), HERE) for name in sorted(names)],
        )
        for folder, _, names in os.walk(root)
        if names
    ]


setup(
    name=NAME,
    version="0.1.0",
    description="6-DoF object poses from RGB-D on a CPU, as vision_msgs",
    license="Apache-2.0",
    maintainer="object_pose maintainers",
    maintainer_email="object-pose@example.org",
    python_requires=">=3.10",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: ["py.typed", "evaluation/*/*.html"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        *shared_files(HERE / "config"),
        *(entry for folder in ("calibration", "launch", "models") for entry in shared_files(CHECKOUT / folder)),
    ],
    install_requires=[
        "setuptools",
        "numpy",
        "scipy",
        "opencv-python-headless",
        "numba",
        "trimesh",
        "manifold3d",
        "pyyaml",
        "rich",
        "tqdm",
        "rosbags",
    ],
    extras_require={
        "cpu": ["onnxruntime"],
        "gpu": ["onnxruntime-gpu"],
        "openvino": ["openvino"],
        "train": ["torch", "onnx", "onnxscript", "tensorboard"],
        "test": ["pytest", "pytest-timeout", "hypothesis"],
    },
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "object-pose = object_pose.cli.main:main",
            "camera_node = object_pose.ros.nodes.camera_node:main",
            "detection_node = object_pose.ros.nodes.detection_node:main",
            "pose_node = object_pose.ros.nodes.pose_node:main",
        ],
    },
)
