"""Frame sources: whatever the path is, frames come out; what does not fit together is named."""

import json

import cv2
import numpy as np
import pytest

from object_pose.core.errors import CalibrationError, DataError
from object_pose.io.bag_frames import RecordingConfig, write_frame
from object_pose.io.bags import make_typestore, write_bag
from object_pose.io.cameras.recorded import brings_camera, open_frames
from object_pose.io.images import write_depth, write_image


def test_an_rgbd_pair(tmp_path, frame):
    write_image(tmp_path / "shot.png", frame.rgb)
    write_depth(tmp_path / "shot.tiff", frame.depth_m)
    (item,) = open_frames(tmp_path / "shot.png", tmp_path / "shot.tiff", frame.camera)
    assert item.name == "shot" and item.frame.camera == frame.camera
    np.testing.assert_array_equal(item.frame.rgb, frame.rgb)
    np.testing.assert_array_equal(item.frame.depth_m, frame.depth_m)


def test_depth_counts_what_the_camera_file_says(recording, frame):
    image, depth = recording / "rgb" / "000000.png", recording / "depth" / "000000.png"
    for config, scale in ((RecordingConfig(), 0.1), (RecordingConfig(depth_scale=0.1), 1.0)):
        (named,) = open_frames(image, depth, frame.camera, config, depth_scale=scale)
        np.testing.assert_allclose(named.frame.depth_m, 0.1 * frame.depth_m, atol=1e-6)


def test_a_depth_scale_of_the_user_counts_for_floats_one_of_the_camera_file_does_not(tmp_path, frame):
    write_image(tmp_path / "shot.png", frame.rgb)
    np.save(tmp_path / "metres.npy", frame.depth_m)
    np.save(tmp_path / "millimetres.npy", 1000.0 * frame.depth_m)
    said_by_user = RecordingConfig(depth_scale=1.0)
    for name, config, said in (("metres", RecordingConfig(), 0.1), ("millimetres", said_by_user, None)):
        (item,) = open_frames(tmp_path / "shot.png", tmp_path / f"{name}.npy", frame.camera, config, said)
        np.testing.assert_allclose(item.frame.depth_m, frame.depth_m, rtol=1e-6)
    with pytest.raises(DataError, match="are these millimetres"):
        list(open_frames(tmp_path / "shot.png", tmp_path / "millimetres.npy", frame.camera))


def test_a_plain_image_gets_a_nominal_camera(tmp_path, frame):
    write_image(tmp_path / "shot.jpg", frame.rgb)
    (item,) = open_frames(tmp_path / "shot.jpg")
    assert item.frame.depth_m is None and item.frame.camera.wh == (32, 24)


def make_folder(folder, frame, names=("b", "a", "c")):
    for name in names:
        write_image(folder / "rgb" / f"{name}.png", frame.rgb)
        write_depth(folder / "depth" / f"{name}.png", frame.depth_m)


def test_a_folder_of_pairs_in_order_with_rising_stamps(tmp_path, frame):
    make_folder(tmp_path, frame)
    for items in (
        list(open_frames(tmp_path, camera=frame.camera)),
        list(open_frames(tmp_path / "rgb", tmp_path / "depth", frame.camera)),
    ):
        assert [item.name for item in items] == ["a", "b", "c"]
        assert np.all(np.diff([item.frame.stamp_ns for item in items]) > 0)
        assert all(item.frame.depth_m is not None for item in items)
    assert all(item.frame.depth_m is None for item in open_frames(tmp_path / "rgb", camera=frame.camera))


def test_a_missing_depth_file_is_named(tmp_path, frame):
    make_folder(tmp_path, frame)
    (tmp_path / "depth" / "b.png").unlink()
    with pytest.raises(DataError, match=r"no depth for b\.png"):
        list(open_frames(tmp_path))


def test_sizes_must_agree(tmp_path, frame):
    write_image(tmp_path / "shot.png", frame.rgb[:12])
    write_depth(tmp_path / "depth.png", frame.depth_m)
    with pytest.raises(CalibrationError, match="is 32x12, its camera 32x24"):
        list(open_frames(tmp_path / "shot.png", camera=frame.camera))
    with pytest.raises(DataError, match="is 32x12, its depth 32x24"):
        list(open_frames(tmp_path / "shot.png", tmp_path / "depth.png"))


def test_a_video(tmp_path, frame):
    video = cv2.VideoWriter(str(tmp_path / "film.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for level in (0, 100, 200):
        video.write(np.full((48, 64, 3), (0, 0, level), np.uint8))
    video.release()
    items = list(open_frames(tmp_path / "film.avi"))
    assert [item.name for item in items] == ["000000", "000001", "000002"]
    assert [item.frame.stamp_ns for item in items] == [0, 100_000_000, 200_000_000]
    np.testing.assert_allclose([item.frame.rgb[20, 20, 0] for item in items], [0, 100, 200], atol=4)


def test_a_bop_scene(tmp_path, frame):
    write_image(tmp_path / "rgb" / "000004.png", frame.rgb)
    camera = {"4": {"cam_K": frame.camera.matrix.ravel().tolist()}}
    (tmp_path / "scene_camera.json").write_text(json.dumps(camera))
    (item,) = open_frames(tmp_path)
    assert item.name == "000004" and item.frame.camera == frame.camera


def test_one_sensor_of_a_bop_scene_is_named_by_its_file(tmp_path, frame):
    for sensor in ("cam1", "cam2"):
        write_image(tmp_path / f"rgb_{sensor}" / "000004.png", frame.rgb)
        camera = {"4": {"cam_K": frame.camera.matrix.ravel().tolist()}}
        (tmp_path / f"scene_camera_{sensor}.json").write_text(json.dumps(camera))
    with pytest.raises(DataError, match=r"several sensors: cam1, cam2 .*such as .*scene_camera_cam1\.json"):
        list(open_frames(tmp_path))
    (item,) = open_frames(tmp_path / "scene_camera_cam2.json")
    assert item.name == "000004" and item.frame.camera == frame.camera
    assert brings_camera(tmp_path / "scene_camera_cam2.json")


def test_a_bag(tmp_path, frame):
    with write_bag(tmp_path / "bag", make_typestore()) as writer:
        write_frame(writer, frame)
    (item,) = open_frames(tmp_path / "bag")
    assert item.frame.stamp_ns == frame.stamp_ns and item.frame.camera == frame.camera


@pytest.mark.parametrize("name", ["missing.png", "notes.txt", "empty", "broken.mp4", "broken.png"])
def test_what_is_no_source_is_named(tmp_path, name):
    (tmp_path / "empty").mkdir()
    for broken in ("notes.txt", "broken.mp4", "broken.png"):
        (tmp_path / broken).write_text("nothing to see")
    with pytest.raises(DataError, match=name):
        list(open_frames(tmp_path / name))
