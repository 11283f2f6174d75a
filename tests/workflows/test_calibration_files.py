"""Files of a hand-eye calibration and of touched points: what is wrong in them is named."""

import pytest
import yaml

from object_pose.core.errors import CalibrationError, ConfigError
from object_pose.workflows.calibrate_hand_eye import read_hand_eye, read_touched_points

HUGE = 10**400


@pytest.mark.parametrize(
    "text", [".inf: [1, 2, 3]", f"0: [1, 2, {HUGE}]", "0: [1, 2]", "x: [1, 2, 3]", "0: [1, 2, .nan]", ""]
)
def test_touched_points_that_are_none(tmp_path, text):
    (tmp_path / "touched.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"touched\.yaml"):
        read_touched_points(tmp_path / "touched.yaml")


@pytest.mark.parametrize(
    "change",
    [
        {"covariance": [HUGE] * 36},
        {"noise": {}},
        {"mounting": "on a drone"},
        {"transform": {"translation": HUGE}},
        {"board": 7},
    ],
)
def test_hand_eye_files_that_are_none(tmp_path, change):
    transform = {"translation": dict.fromkeys("xyz", 0.1), "rotation": {"x": 0.0, "y": 0.0, "z": 0.0, "w": 1.0}}
    noise = dict.fromkeys(("pixel_px", "robot_m", "robot_rad"), 1e-4)
    sound = {"mounting": "eye_in_hand", "verdict": "passed", "board": "chessboard:9x6:0.025", "noise": noise}
    document = sound | {"covariance": [0.0] * 36, "transform": transform} | change
    (tmp_path / "wrist.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises((CalibrationError, ConfigError)):
        read_hand_eye(tmp_path / "wrist.yaml")
