"""The pipeline as programs: a clean end on SIGINT, one process or three, and exit code 2 for what a user can cure."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from object_pose_msgs.msg import ObjectPoseArray
from vision_msgs.msg import Detection3DArray

from object_pose.ros.nodes.spinning import prepare_process, transport_variables
from object_pose.ros.transport import qos, topics
from process_state import runs

LIMIT_S = 60.0


@pytest.fixture
def start(ros, domain_id, tmp_path):
    """Start ``object-pose`` with arguments in the test's domain; what still runs at the end is interrupted."""
    started = []

    def run(*arguments, module="object_pose.cli.main", **environment):
        variables = os.environ | {"ROS_DOMAIN_ID": str(domain_id), "ROS_LOG_DIR": str(tmp_path / "log")} | environment
        command = [sys.executable, "-m", module, *map(str, arguments)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=variables)
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=LIMIT_S)


@pytest.fixture
def arguments(cube_model, recording):
    return ["run", "--model", cube_model, "--source", recording["source"], "--intrinsics", recording["intrinsics"]]


@pytest.mark.parametrize("options", [[], ["--processes"]], ids=["one process", "processes"])
def test_detections_come_and_sigint_ends_it_cleanly(ros, start, arguments, options):
    detections = ros.collect(Detection3DArray, topics.DETECTIONS_3D, qos.RESULT)
    process = start(*arguments, *options)
    ros.wait_for(lambda: [message for message in detections if message.detections], "a detection", LIMIT_S)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, output
    assert "Traceback" not in output


@pytest.mark.parametrize("options", [[], ["--processes"]], ids=["one process", "processes"])
def test_options_reach_the_nodes_of_a_namespace(ros, start, arguments, options):
    poses = ros.collect(ObjectPoseArray, "/cell/object_poses", qos.RESULT)
    start(*arguments, *options, "--ros-args", "-r", "__ns:=/cell")
    found = ros.wait_for(lambda: [pose for message in poses for pose in message.poses], "a pose", LIMIT_S)
    assert found[0].class_name == "cube"


@pytest.mark.parametrize("library", ["librcl.so", "_rclpy_pybind11", "vision_msgs", "librmw_fastrtps", "onnxruntime"])
def test_sigint_while_modules_are_imported_is_not_lost(ros, start, arguments, library):
    process = start(*arguments)
    maps = Path(f"/proc/{process.pid}/maps")
    ros.wait_for(lambda: library in maps.read_text(), f"import of {library}", LIMIT_S)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode in (0, 130), output


@pytest.mark.parametrize("library", ["librcl.so", "_rclpy_pybind11", "librmw_fastrtps"])
@pytest.mark.parametrize("node", ["camera_node", "detection_node", "pose_node"])
def test_sigint_while_a_node_is_imported_is_not_lost(ros, start, node, library):
    process = start(module=f"object_pose.ros.nodes.{node}")
    maps = Path(f"/proc/{process.pid}/maps")
    ros.wait_for(lambda: library in maps.read_text(), f"import of {library}", LIMIT_S)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode in (0, 130), output
    assert "Traceback" not in output


def test_depth_reaches_the_pose_node_in_another_process(ros, start, arguments):
    poses = ros.collect(ObjectPoseArray, topics.OBJECT_POSES, qos.RESULT)
    start(*arguments, "--processes")
    ros.wait_for(
        lambda: [p for message in poses for p in message.poses if p.depth_used], "a pose that used depth", LIMIT_S
    )


def children_of(process):
    found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
    return [int(child) for child in found.stdout.split()]


def shared_memory():
    """The segments of this process and of all whom it hears; those of ports are used again by whoever comes next."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    files = {Path(line.split()[-1]) for line in lines if "/dev/shm/fastdds_" in line}
    return {file for file in files if "port" not in file.name and file.exists()}


def test_no_program_leaves_shared_memory_behind(ros, start, arguments, tmp_path):
    """Each run would keep some ten megabytes until the machine starts anew, and the last one finds none left."""
    own = shared_memory()
    processes = [
        start(*arguments, "--processes", "--web", "--web-port", "0"),
        start("bag", "record", tmp_path / "bag", "--seconds", "600"),
        start("--seconds", "600", module="object_pose.ros.demo.planner_probe"),
        start("doctor", "--topics", "--seconds", "600"),
    ]
    participants = len(processes) + 3  # the pipeline's are camera, detection, pose and page
    segments = ros.wait_for(
        lambda: found if len(found := shared_memory() - own) == participants else None, "all programs", LIMIT_S
    )
    for process in reversed(processes):
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=LIMIT_S)
    assert [file.name for file in segments if file.exists()] == []


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL], ids=lambda number: number.name)
def test_children_end_with_their_parent(ros, start, arguments, number):
    detections = ros.collect(Detection3DArray, topics.DETECTIONS_3D, qos.RESULT)
    process = start(*arguments, "--processes")
    ros.wait_for(lambda: detections, "a detection", LIMIT_S)
    children = children_of(process)
    assert len(children) == 3
    process.send_signal(number)
    ros.wait_for(lambda: not any(map(runs, children)), "the end of the children", LIMIT_S)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL], ids=lambda number: number.name)
def test_what_the_demo_starts_ends_with_it(ros, start, tmp_path, number):
    process = start("demo", "--seconds", 3600, "--no-bag", "--output", tmp_path / "demo")
    names = {"pose_node", "detection_node"}
    ros.wait_for(lambda: names <= set(ros.node.get_node_names()), "the nodes", LIMIT_S)
    children = children_of(process)
    assert len(children) == 2
    process.send_signal(number)
    ros.wait_for(lambda: not any(map(runs, children)), "the end of the children", LIMIT_S)


BUSY = """
import time
from object_pose.ros.nodes.pipeline_node import PipelineNode
from object_pose.ros.nodes.spinning import spin_node

class BusyNode(PipelineNode):
    def __init__(self):
        super().__init__("busy_node")

    def {step}(self):
        print("busy", flush=True)
        while True:
            time.sleep(0.1)

raise SystemExit(spin_node(BusyNode))
"""


@pytest.mark.parametrize("step", ["configure", "deactivate"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_node_that_is_busy_does_not_keep_the_program(ros, domain_id, tmp_path, step, number):
    """A model in preparation, or a frame in hand, may take longer than ros2 launch waits."""
    variables = os.environ | {"ROS_DOMAIN_ID": str(domain_id), "ROS_LOG_DIR": str(tmp_path)}
    words = [sys.executable, "-c", BUSY.format(step=step)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=variables)
    if step == "configure":
        assert process.stdout.readline() == "busy\n"
    else:
        ros.wait_for(lambda: "busy_node" in ros.node.get_node_names(), "the node", LIMIT_S)
    process.send_signal(number)
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0


FAILING = """
from object_pose.ros.nodes.pipeline_node import PipelineNode
from object_pose.ros.nodes.spinning import spin

class GoodNode(PipelineNode):
    def deactivate(self):
        print("stopped", flush=True)

class FailingNode(PipelineNode):
    def deactivate(self):
        raise ValueError("no way out")

spin([lambda: GoodNode("good_node"), lambda: FailingNode("failing_node")])
"""


def test_a_node_that_cannot_stop_keeps_no_other_from_it(ros, domain_id, tmp_path):
    variables = os.environ | {"ROS_DOMAIN_ID": str(domain_id), "ROS_LOG_DIR": str(tmp_path)}
    words = [sys.executable, "-c", FAILING]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=variables)
    diagnostics = ros.collect(DiagnosticArray, topics.DIAGNOSTICS, qos.RESULT)
    ros.wait_for(lambda: "failing_node" in str(diagnostics), "the nodes at work", LIMIT_S)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, output
    assert "no way out" in output and "stopped" in output


def test_a_model_that_cannot_be_used_ends_all_processes(start, arguments, tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"not a model at all" * 9)
    process = start(*arguments, "--model", tmp_path / "broken.onnx", "--processes")
    output, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 2, output
    assert "broken.onnx" in output
    assert "node cannot start" in output
    assert "Traceback" not in output


def test_a_node_that_dies_is_started_again(ros, start, arguments):
    detections = ros.collect(Detection3DArray, topics.DETECTIONS_3D, qos.RESULT)
    process = start(*arguments, "--processes")
    ros.wait_for(lambda: detections, "a detection", LIMIT_S)
    children = subprocess.run(
        ["pgrep", "-P", str(process.pid), "-f", "pose_node"], capture_output=True, text=True, check=True
    )
    for child in children.stdout.split():
        os.kill(int(child), signal.SIGKILL)
    killed_at = len(detections)
    ros.wait_for(lambda: len(detections) > killed_at + 5, "detections of the new process", LIMIT_S)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--model", "absent.onnx"], "models/absent.onnx was not found"),
        (["--rate", "-5"], "rate_hz"),
        (["--source", "absent"], "absent does not exist"),
        (["--ros-args", "-p", "pose_node:max_reprojection:=1.0"], "unknown parameter 'max_reprojection'"),
        (["--params-file", "absent.yaml"], "absent.yaml"),
    ],
)
def test_what_a_user_can_cure_is_one_line_and_exit_code_2(start, arguments, options, text):
    process = start(*arguments, *options)
    output, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 2
    assert text in output
    assert "Traceback" not in output


def test_without_home_there_is_one_sentence(start, arguments, monkeypatch):
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("ROS_LOG_DIR")
    process = subprocess.run(
        [sys.executable, "-c", "from object_pose.ros.nodes.spinning import prepare_process; prepare_process()"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "neither HOME nor ROS_LOG_DIR is set" in process.stderr


def test_a_profile_of_the_users_own_is_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", str(tmp_path / "mine.xml"))
    prepare_process()
    assert os.environ["FASTDDS_DEFAULT_PROFILES_FILE"] == str(tmp_path / "mine.xml")


def test_shared_memory_that_is_too_small_is_said_and_not_used(caplog, tmp_path):
    plenty = transport_variables(2, tmp_path)
    assert Path(plenty["FASTDDS_DEFAULT_PROFILES_FILE"]).name == "fastdds_shared_memory.xml"
    assert not caplog.text
    # A file system without a free byte.
    assert transport_variables(2, Path("/proc")) == {"FASTDDS_BUILTIN_TRANSPORTS": "UDPv4"}
    (record,) = caplog.records
    assert "/proc has 0 MiB free" in record.getMessage()
    assert "--shm-size" in record.getMessage()


def test_in_the_64_mb_of_docker_segments_are_smaller_and_that_is_said_once():
    """It takes the right to mount a file system."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("FASTDDS")}
    program = (
        "import os; from object_pose.ros.nodes.spinning import prepare_process as f; f(3); f(1); print(os.environ)"
    )
    mount = "mount -t tmpfs -o size=64m tmpfs /dev/shm || exit 77"
    command = ["unshare", "--mount", "sh", "-c", f'{mount}; exec "$@"', "sh", sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
    if done.returncode == 77 or "unshare: " in done.stderr:
        pytest.skip(f"no right to mount: {done.stderr}")
    assert "fastdds_small_shared_memory.xml" in done.stdout
    assert done.stderr.count("/dev/shm has 64 MiB free") == 1
