"""Result files: JSON that parses anywhere, BOP's CSV to the letter."""

import json

import jsonschema
import numpy as np
import pytest

from object_pose.core.errors import DataError
from object_pose.core.geometry import se3
from object_pose.core.results.detections import Detections
from object_pose.core.results.pose import ObjectPose, PoseRejection, PoseResults, RejectionReason
from object_pose.io.writers import FrameRecord, bop_csv, frame_schema, json_lines, write_json


@pytest.fixture
def pose():
    return ObjectPose(
        class_id=1,
        class_name="gear",
        score=0.875,
        T_camera_object=se3.make_transform(se3.exp_so3([0.0, 0.0, np.pi / 2]), [0.1, -0.2, 0.5]),
        covariance=np.diag([1e-6, 1e-6, 4e-6, 1e-4, 1e-4, 1e-4]),
        box_center=np.zeros(3),
        box_size=np.full(3, 0.04),
        box_xyxy=np.array([10.0, 20.0, 50.0, 60.0]),
        reprojection_rms_px=0.5,
        depth_rms_m=float("nan"),
        visibility=float("nan"),
        depth_used=False,
    )


@pytest.fixture
def record(pose):
    detections = Detections(
        np.array([[10.0, 20.0, 50.0, 60.0]]), np.array([0.875]), np.array([1]), np.full((1, 2, 2), 3.0), np.ones((1, 2))
    )
    rejection = PoseRejection(0, "bolt", 0.5, np.zeros(4), RejectionReason.PNP_FAILED, "no inliers")
    results = PoseResults((pose,), (rejection,))
    return FrameRecord("a", 5, (detections, results), {"total": 1.23456}).to_json(("bolt", "gear"))


def test_a_record_is_strict_json_with_null_for_what_is_not_known(record, pose):
    back = json.loads(json.dumps(record, allow_nan=False))
    (detection,), (found,), (rejection,) = back["detections"], back["poses"], back["rejections"]
    assert detection["class_name"] == "gear" and detection["keypoints_px"] == [[3.0, 3.0, 1.0]] * 2
    assert found["visibility"] is None and found["depth_rms_m"] is None
    assert found["position"] == [0.1, -0.2, 0.5]
    rotation = se3.rotation_from_quat_wxyz(found["quat_wxyz"])
    np.testing.assert_allclose(rotation, pose.T_camera_object[:3, :3], atol=1e-5)
    np.testing.assert_array_equal(found["covariance"], pose.covariance)
    assert rejection["reason"] == "pnp_failed" and back["timings_ms"] == {"total": 1.235}


def test_a_record_keeps_its_schema(record):
    jsonschema.validate(record, frame_schema("pose"), jsonschema.Draft202012Validator)
    for broken in (record | {"positions": []}, {k: v for k, v in record.items() if k != "stamp_ns"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, frame_schema("pose"))


def test_poses_and_detections_are_read_back(record, tmp_path):
    with json_lines(tmp_path / "results.jsonl") as writer:
        writer.write(record)
    back = json.loads((tmp_path / "results.jsonl").read_text())
    labels = ("bolt", "gear")
    results = (Detections.from_json(back), PoseResults.from_json(back))
    assert FrameRecord("a", 5, results, {"total": 1.23456}).to_json(labels) == record


def test_a_record_of_a_detector_has_no_poses():
    record = FrameRecord("a", 5, (Detections.empty(8),)).to_json(("gear",))
    assert record == {"name": "a", "stamp_ns": 5, "detections": []}


def test_json_lines(tmp_path, record):
    with json_lines(tmp_path / "results.jsonl") as writer:
        writer.write(record)
        writer.write(record)
        assert not (tmp_path / "results.jsonl").exists()
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [record, record]


def test_json_never_holds_nan(tmp_path):
    with pytest.raises(DataError, match="not finite"):
        write_json(tmp_path / "summary.json", {"value": float("nan")})
    assert list(tmp_path.iterdir()) == []
    write_json(tmp_path / "summary.json", {"value": 1})
    assert json.loads((tmp_path / "summary.json").read_text()) == {"value": 1}


def test_bop_rows(tmp_path, pose):
    with bop_csv(tmp_path / "results.csv", {"gear": 12}) as writer:
        writer.write(2, 3, [pose], 0.25)
        writer.write(2, 38, [pose])
    header, first, second = (tmp_path / "results.csv").read_text().splitlines()
    assert header == "scene_id,im_id,obj_id,score,R,t,time"
    scene_id, image_id, object_id, score, rotation, translation, seconds = first.split(",")
    assert (scene_id, image_id, object_id, float(score), float(seconds)) == ("2", "3", "12", 0.875, 0.25)
    np.testing.assert_allclose([float(v) for v in rotation.split()], pose.T_camera_object[:3, :3].ravel(), atol=1e-8)
    np.testing.assert_allclose([float(v) for v in translation.split()], [100.0, -200.0, 500.0])
    assert second.startswith("2,38,12,") and float(second.split(",")[-1]) == -1


def test_a_class_without_bop_id_is_named(tmp_path, pose):
    with pytest.raises(DataError, match="'gear' has no BOP object id"), bop_csv(tmp_path / "r.csv", {}) as writer:
        writer.write(2, 3, [pose])
    assert list(tmp_path.iterdir()) == []
