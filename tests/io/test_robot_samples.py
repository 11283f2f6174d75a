"""Robot poses as users bring them, and static transforms as files."""

from __future__ import annotations

import ast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from object_pose.core.errors import CalibrationError, DataError
from object_pose.core.geometry.se3 import exp, inverse, log, log_so3, quat_wxyz_from_rotation
from object_pose.io.images import write_grey
from object_pose.io.robot_samples import BASE_IN_GRIPPER, read_samples
from object_pose.io.static_transforms import (
    transform_from_mapping,
    transform_to_mapping,
    write_static_transform_launch,
)

POSE = exp([0.3, -0.2, 0.5, 0.4, -1.2, 0.7])


def quat_text(pose, separator=", "):
    w, x, y, z = quat_wxyz_from_rotation(pose[:3, :3])
    return separator.join(str(value) for value in (*pose[:3, 3], x, y, z, w))


@pytest.fixture
def folder(tmp_path):
    write_grey(tmp_path / "image-7.png", np.zeros((4, 4), np.uint8))
    return tmp_path


ROWS = [list(map(float, row)) for row in POSE]
TURN = [row[:3] for row in ROWS[:3]]
W, X, Y, Z = (float(value) for value in quat_wxyz_from_rotation(POSE[:3, :3]))
FORMS = {
    "comma.txt": quat_text(POSE),
    "space.txt": quat_text(POSE, " "),
    "vector.txt": " ".join(str(v) for v in (*POSE[:3, 3], *log_so3(POSE[:3, :3]))),
    "matrix.txt": "\n".join(" ".join(map(str, row)) for row in ROWS),
    "visp.yaml": "rows: 6\ncols: 1\ndata:\n" + "".join(f"  - [{v}]\n" for v in (*POSE[:3, 3], *log_so3(POSE[:3, :3]))),
    "matrix.json": str(ROWS),
    "echo.yaml": f"header: {{}}\ntransform:\n  translation: {{x: 0.3, y: -0.2, z: 0.5}}\n"
    f"  rotation: {{x: {X}, y: {Y}, z: {Z}, w: {W}}}\n---\nheader: {{}}\n---\n",
    "tf2_echo.txt": "At time 0.0\n- Translation: [0.3, -0.2, 0.5]\n"
    f"- Rotation: in Quaternion (xyzw) [{X}, {Y}, {Z}, {W}]\n"
    "- Rotation: in RPY (radian) [0.1, 0.2, 0.3]\n",
    "rows.json": str({"translation": [row[3] for row in ROWS[:3]], "rotation": TURN}).replace("'", '"'),
    "nine.json": str(
        {"position": [row[3] for row in ROWS[:3]], "orientation": [value for row in TURN for value in row]}
    ).replace("'", '"'),
    "pose.yaml": f"position: {{x: 0.3, y: -0.2, z: 0.5}}\norientation: {{x: {X}, y: {Y}, z: {Z}, w: {W}}}",
}


@pytest.mark.parametrize("form", FORMS)
def test_poses_are_read_in_every_form(folder, form):
    expected = POSE.copy()
    if form in ("pose.yaml", "echo.yaml", "tf2_echo.txt"):
        expected[:3, 3] = (0.3, -0.2, 0.5)
    name, _, suffix = form.partition(".")
    (folder / f"{name}_7.{suffix}").write_text(FORMS[form])
    (sample,) = read_samples(folder)
    assert sample.name == "image-7"
    assert np.abs(log(inverse(sample.T_base_gripper) @ expected)).max() < 1e-6


def test_a_list_names_images_poses_and_joints(folder):
    (folder / "samples.yaml").write_text(
        f"samples:\n- image: image-7.png\n  pose: [{quat_text(POSE)}]\n  joints: [0.1, 0.2]\n"
    )
    (sample,) = read_samples(folder, BASE_IN_GRIPPER)
    assert sample.joints is not None and sample.joints.tolist() == [0.1, 0.2]
    assert np.abs(log(sample.T_base_gripper @ POSE)).max() < 1e-9


@pytest.mark.parametrize(
    "text, words",
    [
        ("1 2 3", "holds 3 numbers"),
        ("0 0 0 0 0 0 2", "quaternion"),
        ("0 0 nan 0 0 0 1", "not finite"),
        ("500 20 30 0 0 0 1", "millimetres"),
        ("1 0 0 0 0 2 0 0 0 0 1 0", "no rotation"),
        ("a b c", "must hold numbers"),
        ("0.3 0.1 0.4 10 20 -90", r"rotation vector's norm is 92\.7 radians .*are these degrees\?"),
    ],
)
def test_a_pose_that_cannot_be_is_named(folder, text, words):
    (folder / "pose_7.txt").write_text(text)
    with pytest.raises(DataError, match=words) as error:
        read_samples(folder)
    assert "pose_7.txt" in str(error.value)


def test_of_a_trajectory_the_images_at_rest_are_taken(tmp_path):
    poses = [POSE] * 20 + [exp([0.002 * step, 0, 0, 0, 0, 0]) @ POSE for step in range(20)]
    lines = ["# stamp x y z qx qy qz qw"]
    lines += [f"{100 + 0.05 * index:.3f} {quat_text(pose, ' ')}" for index, pose in enumerate(poses)]
    (tmp_path / "trajectory.txt").write_text("\n".join(lines))
    for stamp in ("100.500", "101.500", "100.010"):  # at rest, moving, and before it is known to rest
        write_grey(tmp_path / f"{stamp}.png", np.zeros((4, 4), np.uint8))
    (sample,) = read_samples(tmp_path)
    assert sample.name == "100.500"
    assert np.abs(log(inverse(sample.T_base_gripper) @ POSE)).max() < 1e-9
    (tmp_path / "100.500.png").unlink()
    with pytest.raises(DataError, match="stands still at no image"):
        read_samples(tmp_path)


def test_an_image_without_a_pose_is_named(folder):
    with pytest.raises(DataError, match="no images with pose files"):
        read_samples(folder)
    for hidden in ("._image-7.png", "._pose_8.txt"):  # as macOS leaves them
        (folder / hidden).write_bytes(b"\0\5\x16\7")
    (folder / "pose_8.txt").write_text(quat_text(POSE))
    write_grey(folder / "image-8.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(DataError, match=r"image-7\.png has no pose file"):
        read_samples(folder)


@given(st.lists(st.floats(-3.0, 3.0), min_size=6, max_size=6))
def test_a_transform_survives_its_file(twist):
    T = exp(np.array(twist))
    np.testing.assert_allclose(transform_from_mapping(transform_to_mapping(T), "here"), T, atol=1e-9)


def test_a_broken_transform_is_named():
    with pytest.raises(CalibrationError, match="here must hold"):
        transform_from_mapping({"translation": {"x": 1}}, "here")


def test_the_launch_file_holds_the_transform(tmp_path):
    path = tmp_path / "wrist.launch.py"
    write_static_transform_launch(path, "tool0", "camera", POSE, 'A "quoted" comment.')
    tree = ast.parse(path.read_text())
    words = next(
        ast.literal_eval(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg == "arguments"
    )
    values = dict(zip(words[::2], words[1::2]))
    assert values["--frame-id"] == "tool0" and values["--child-frame-id"] == "camera"
    assert [float(values[f"--{axis}"]) for axis in "xyz"] == pytest.approx(POSE[:3, 3].tolist())
    assert float(values["--qw"]) == pytest.approx(W, abs=1e-6)
