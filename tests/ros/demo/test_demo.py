"""One command shows the whole pipeline and leaves a summary, pictures and a bag."""

import json
import os
import subprocess
import sys

import pytest

from object_pose.io.bags import read_bag
from object_pose.ros.transport import topics

from .test_observations import KEYS

LIMIT_S = 240.0


@pytest.mark.timeout(LIMIT_S + 10.0)
def test_the_demo_ends_by_itself_and_leaves_its_results(domain_id, tmp_path):
    output = tmp_path / "demo"
    command = [sys.executable, "-m", "object_pose.cli.main", "demo", "--seconds", "12", "--output", str(output)]
    environment = os.environ | {"ROS_DOMAIN_ID": str(domain_id), "ROS_LOG_DIR": str(tmp_path / "log")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((output / "summary.json").read_text())
    assert list(summary) == KEYS
    assert summary["arrays_received"] > 0 and summary["targets"] > 0
    assert len(list((output / "pictures").glob("*.png"))) >= 2
    recorded = {topic for topic, _, _ in read_bag(output / "bag")}
    wanted = (topics.COLOR, topics.DEPTH, topics.CAMERA_INFO, topics.DETECTIONS_3D, topics.GROUND_TRUTH)
    assert recorded >= set(map(topics.recorded, wanted))
