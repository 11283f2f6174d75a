"""BOP scenes: millimetres become metres, class ids follow the wanted names, gaps are named."""

import json
import shutil

import cv2
import numpy as np
import pytest

from object_pose.core.errors import DataError
from object_pose.io.bop import read_bop_scene, read_models_info
from object_pose.io.datasets.bop_checks import check_bop
from object_pose.io.images import write_depth, write_image

ROTATION = [0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]


@pytest.fixture
def scene(tmp_path, frame):
    """Images 2 and 10; three objects in each; depth (in tenths of a millimetre) for image 10 only."""
    folder = tmp_path / "000007"
    for image_id in (2, 10):
        write_image(folder / "rgb" / f"{image_id:06d}.png", frame.rgb)
    write_depth(folder / "depth" / "000010.png", frame.depth_m * 10)
    camera = {"cam_K": frame.camera.matrix.ravel().tolist(), "depth_scale": 0.1}
    objects = [{"obj_id": i, "cam_R_m2c": ROTATION, "cam_t_m2c": [10.0 * i, -20.0, 800.0]} for i in (5, 1, 8)]
    infos = [{"bbox_visib": [3, 4, 10, 6], "visib_fract": 0.25 * i} for i in (1, 2, 3)]
    for name, value in (("scene_camera", camera), ("scene_gt", objects), ("scene_gt_info", infos)):
        (folder / f"{name}.json").write_text(json.dumps({"10": value, "2": value}))
    return folder


def test_a_scene_is_read_in_order_and_in_metres(scene, frame):
    first, second = read_bop_scene(scene, {8: "driller", 5: "can"})
    assert (first.scene_id, first.image_id, second.image_id) == (7, 2, 10)
    assert first.frame.depth_m is None
    np.testing.assert_allclose(second.frame.depth_m, frame.depth_m, atol=1e-6)
    np.testing.assert_array_equal(second.frame.rgb, frame.rgb)
    assert second.frame.camera == frame.camera
    can, driller = second.truths
    assert (can.class_name, can.class_id, driller.class_name, driller.class_id) == ("can", 1, "driller", 0)
    np.testing.assert_allclose(can.T_camera_object[:3, 3], [0.05, -0.02, 0.8])
    np.testing.assert_allclose(can.T_camera_object[:3, :3].ravel(), ROTATION)
    assert can.visibility == 0.25 and can.box_xyxy.tolist() == [3, 4, 13, 10]


def test_a_scene_without_truth_has_frames_only(scene):
    (scene / "scene_gt.json").unlink()
    assert [item.truths for item in read_bop_scene(scene, {5: "can"})] == [(), ()]


@pytest.mark.parametrize("missing", ["scene_camera.json", "scene_gt_info.json", "rgb/000002.png"])
def test_missing_files_are_named(scene, missing):
    (scene / missing).unlink()
    with pytest.raises(DataError, match=missing.replace("rgb/", "").removesuffix(".png")):
        list(read_bop_scene(scene, {5: "can"}))


@pytest.mark.parametrize("sensors", [("_cam1", "_cam2"), ("_xyz",)])
def test_each_sensor_of_a_scene_is_read_by_its_file_and_all_are_checked(scene, frame, sensors):
    """As BOP-Industrial lays out scenes: every file and folder of a sensor ends in its name."""
    for sensor in sensors:
        for name in ("rgb", "depth", "scene_camera.json", "scene_gt.json", "scene_gt_info.json"):
            source = scene / name
            target = source.with_name(f"{source.stem}{sensor}{source.suffix}")
            shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)
    for name in ("scene_camera.json", "scene_gt.json", "scene_gt_info.json"):
        (scene / name).unlink()
    for folder in ("rgb", "depth"):
        shutil.rmtree(scene / folder)
    first, second = read_bop_scene(scene / f"scene_camera{sensors[-1]}.json", {8: "driller", 5: "can"})
    assert (first.scene_id, first.image_id, len(second.truths)) == (7, 2, 2)
    np.testing.assert_allclose(second.frame.depth_m, frame.depth_m, atol=1e-6)
    if len(sensors) > 1:
        with pytest.raises(DataError, match="several sensors: cam1, cam2"):
            list(read_bop_scene(scene, {}))
    else:
        assert len(list(read_bop_scene(scene, {5: "can"}))) == 2
    summary = check_bop(scene.parent)
    assert (summary.scenes, summary.images, summary.objects) == (1, 2 * len(sensors), 6 * len(sensors))
    (scene / f"rgb{sensors[0]}" / "000002.png").unlink()
    assert any("000002 is not in rgb" in fault.problem for fault in check_bop(scene.parent).faults)


def test_depth_of_16_bits_is_checked_as_depth(scene):
    write_depth(scene / "depth" / "000002.png", np.full((24, 32), 0.7))
    assert not [fault for fault in check_bop(scene, thorough=True).faults if fault.path.parent.name == "depth"]


def test_a_matrix_written_by_columns_is_refused_and_found(scene, frame):
    cameras = json.loads((scene / "scene_camera.json").read_text())
    cameras["10"]["cam_K"] = frame.camera.matrix.T.ravel().tolist()
    (scene / "scene_camera.json").write_text(json.dumps(cameras))
    with pytest.raises(DataError, match=r"scene_camera\.json: image 10: .* written by columns"):
        list(read_bop_scene(scene, {5: "can"}))
    assert any("image 10 has a cam_K" in fault.problem for fault in check_bop(scene).faults)


@pytest.mark.parametrize(
    ("file", "field", "value"),
    [
        ("scene_gt", "obj_id", None),
        ("scene_gt", "obj_id", []),
        ("scene_gt", "cam_R_m2c", [1.0] * 8),
        ("scene_gt", "cam_t_m2c", "x"),
        ("scene_gt", "cam_t_m2c", [10**400, 0, 0]),
        ("scene_gt_info", "bbox_visib", [1, 2, 3]),
        ("scene_gt_info", "visib_fract", None),
        ("scene_camera", "cam_K", [10**400] * 9),
    ],
)
def test_a_field_that_is_not_valid_is_an_error_of_its_image(scene, file, field, value):
    entries = json.loads((scene / f"{file}.json").read_text())
    entry = entries["10"] if file == "scene_camera" else entries["10"][0]
    if value is None:
        del entry[field]
    else:
        entry[field] = value
    (scene / f"{file}.json").write_text(json.dumps(entries))
    with pytest.raises(DataError, match=r"000007.*image 10"):
        list(read_bop_scene(scene, {5: "can"}))


@pytest.mark.parametrize("content", [b"[" * 5000, b"\xff", b"[]"])
def test_a_file_that_is_no_json_object_is_named(scene, content):
    (scene / "scene_camera.json").write_bytes(content)
    with pytest.raises(DataError, match=r"scene_camera\.json"):
        list(read_bop_scene(scene, {}))
    assert any(fault.path.name == "scene_camera.json" for fault in check_bop(scene.parent).faults)


@pytest.mark.parametrize("key", ["\u00b2", "-1", "x"])
def test_an_image_id_that_is_no_number_is_a_fault(scene, key):
    cameras = json.loads((scene / "scene_camera.json").read_text())
    (scene / "scene_camera.json").write_text(json.dumps({key: cameras["2"], **cameras}))
    assert f"image id '{key}' is not a number" in [fault.problem for fault in check_bop(scene.parent).faults]
    with pytest.raises(DataError, match="image id"):
        list(read_bop_scene(scene, {}))


def test_numbers_beyond_all_bounds_are_faults(scene):
    cameras = json.loads((scene / "scene_camera.json").read_text())
    cameras["2"]["cam_K"][0] = 10**400
    (scene / "scene_camera.json").write_text(json.dumps(cameras))
    assert "image 2 has no valid cam_K of 9 numbers" in [fault.problem for fault in check_bop(scene.parent).faults]


def test_without_wanted_objects_no_truth_is_needed(scene):
    (scene / "scene_gt_info.json").unlink()
    assert [item.truths for item in read_bop_scene(scene, {})] == [(), ()]


@pytest.mark.parametrize("suffix", [".tif", ".tiff"])
def test_depth_as_tiff_in_the_unit_that_is_said(scene, frame, suffix):
    counts = np.rint(frame.depth_m * 1e4).astype(np.uint16)  # the scene says 0.1 mm
    cv2.imwrite(str(scene / "depth" / f"000002{suffix}"), counts)
    first, _ = read_bop_scene(scene, {})
    np.testing.assert_allclose(first.frame.depth_m, frame.depth_m, atol=1e-6)
    first, _ = read_bop_scene(scene, {}, depth_scale=1.0)
    np.testing.assert_allclose(first.frame.depth_m, 10.0 * frame.depth_m, rtol=1e-5)
    assert not [fault for fault in check_bop(scene).faults if "depth" in fault.problem]


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_floating_point_depth_counts_in_the_unit_that_the_scene_says(scene, frame, scale):
    cameras = json.loads((scene / "scene_camera.json").read_text())
    for camera in cameras.values():
        camera["depth_scale"] = scale
    (scene / "scene_camera.json").write_text(json.dumps(cameras))
    cv2.imwrite(str(scene / "depth" / "000002.tif"), frame.depth_m * np.float32(1e3 / scale))
    first, _ = read_bop_scene(scene, {})
    np.testing.assert_allclose(first.frame.depth_m, frame.depth_m, rtol=1e-5)


def test_broken_files_are_named(scene, frame):
    (scene / "scene_gt_info.json").write_text(json.dumps({"2": [], "10": []}))
    with pytest.raises(DataError, match="describes 0 objects"):
        list(read_bop_scene(scene, {5: "can"}))
    (scene / "scene_camera.json").write_text("{")
    with pytest.raises(DataError, match=r"scene_camera.json is not valid JSON"):
        list(read_bop_scene(scene, {5: "can"}))


def test_depth_of_another_size_is_refused(scene):
    write_depth(scene / "depth" / "000002.png", np.ones((5, 6), np.float32))
    with pytest.raises(DataError, match="6x5, its image 32x24"):
        list(read_bop_scene(scene, {5: "can"}))


def test_models_info_in_metres_with_symmetries(tmp_path):
    box = {"min_x": -10, "min_y": -20, "min_z": 0, "size_x": 20, "size_y": 40, "size_z": 60}
    flip = [-1, 0, 0, 2.0, 0, -1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]
    models = {
        "1": {"diameter": 75.0, **box},
        "10": {"diameter": 75.0, **box, "symmetries_discrete": [flip]},
        "3": {"diameter": 75.0, **box, "symmetries_continuous": [{"axis": [0, 0, 2], "offset": [1, 0, 0]}]},
    }
    (tmp_path / "models_info.json").write_text(json.dumps(models))
    infos = read_models_info(tmp_path / "models_info.json")
    assert sorted(infos) == [1, 3, 10] and infos[1].symmetry.is_trivial
    assert infos[1].diameter == pytest.approx(0.075)
    np.testing.assert_allclose(infos[1].box_center, [0.0, 0.0, 0.03])
    np.testing.assert_allclose(infos[1].box_size, [0.02, 0.04, 0.06])
    np.testing.assert_allclose(infos[10].symmetry.discrete[0, :3, 3], [0.002, 0.0, 0.0])
    np.testing.assert_allclose(infos[3].symmetry.axis, [0.0, 0.0, 1.0])
    np.testing.assert_allclose(infos[3].symmetry.offset, [0.001, 0.0, 0.0])


def test_models_info_without_a_field_is_refused(tmp_path):
    (tmp_path / "models_info.json").write_text(json.dumps({"1": {"diameter": 75.0}}))
    with pytest.raises(DataError, match=r"models_info\.json.*min_x"):
        read_models_info(tmp_path / "models_info.json")
