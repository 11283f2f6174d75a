"""What the launch files start: executables, parameters and files that exist, with parameter files that reach the nodes.

ROS 2's launch is no Python package that can be installed everywhere: without it a recorder of the few calls that the
files make takes its place.
"""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml

from object_pose.core.params import flatten, parameters
from object_pose.io.bag_frames import RecordingConfig
from object_pose.ros.nodes.calibration_node import CalibrationNodeConfig
from object_pose.ros.nodes.camera_node import CameraNodeConfig
from object_pose.ros.nodes.detection_node import DetectionNodeConfig
from object_pose.ros.nodes.pose_node import PoseNodeConfig
from object_pose.ros.nodes.web_bridge import WebBridgeConfig
from object_pose.runtime.predictor import PredictorConfig
from object_pose.runtime.resources import find
from object_pose.simulation.scenes.live import LiveConfig

ROOT = Path(__file__).parents[2]
HAS_LAUNCH = importlib.util.find_spec("launch_ros") is not None
DECLARED = {
    node: {item.name: item for config_class in classes for item in parameters(config_class)}
    for node, classes in {
        "camera_node": (CameraNodeConfig, RecordingConfig, LiveConfig),
        "detection_node": (DetectionNodeConfig, PredictorConfig),
        "pose_node": (PoseNodeConfig, PredictorConfig),
        "web_bridge": (WebBridgeConfig,),
        "calibration_node": (CalibrationNodeConfig,),
    }.items()
}
without_launch = pytest.mark.skipif(HAS_LAUNCH, reason="launch itself is installed")


class Recorded(SimpleNamespace):
    """A call that a launch file makes, with its arguments."""

    def __init__(self, *arguments, **named):
        super().__init__(kind=type(self).__name__, values=arguments, **named)

    def perform(self, context):
        """The value of a LaunchConfiguration."""
        return context[self.values[0]]


def recorder(*names):
    module = ModuleType("recorder")
    for name in names:
        setattr(module, name, type(name, (Recorded,), {}))
    return module


@pytest.fixture
def load(monkeypatch):
    """Give the entities of a launch file."""
    fakes = {
        "launch": recorder("LaunchDescription", "LaunchContext"),
        "launch.actions": recorder("DeclareLaunchArgument", "IncludeLaunchDescription", "OpaqueFunction"),
        "launch.substitutions": recorder("LaunchConfiguration"),
        "launch.launch_description_sources": recorder("PythonLaunchDescriptionSource"),
        "launch_ros": ModuleType("launch_ros"),
        "launch_ros.actions": recorder("Node"),
    }
    for name, module in fakes.items():
        monkeypatch.setitem(sys.modules, name, module)

    def run(name):
        spec = importlib.util.spec_from_file_location("launch_file", find("launch", name))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.generate_launch_description().values[0]

    return run


def arguments_of(entities):
    return {item.values[0]: item for item in entities if item.kind == "DeclareLaunchArgument"}


def nodes_of(entities, **given):
    context = {name: getattr(item, "default_value", None) for name, item in arguments_of(entities).items()} | given
    return [node for item in entities if item.kind == "OpaqueFunction" for node in item.function(context)]


def executables():
    setup = (ROOT / "perception_ws" / "src" / "object_pose" / "setup.py").read_text()
    return {line.split('"')[1].split(" = ")[0] for line in setup.splitlines() if " = object_pose." in line}


def overrides(node):
    words = node.ros_arguments
    given = [words[index + 1] for index, word in enumerate(words) if word == "-p"]
    return dict(item.split(":=") for item in given)


@without_launch
@pytest.mark.parametrize("processes", ["false", "true"])
def test_every_executable_file_and_parameter_exists(load, processes):
    given = {"processes": processes, "model": "parts.onnx", "source": "007", "rate": "5.0", "rviz": "true"}
    *nodes, rviz = nodes_of(load("pipeline.launch.py"), **given)
    assert rviz.package == "rviz2" and Path(rviz.arguments[1]).is_file()
    assert {node.executable for node in nodes} <= executables() and {node.package for node in nodes} == {"object_pose"}
    for node in nodes:
        for name, text in overrides(node).items():
            owner, _, parameter = name.partition(":")
            DECLARED[owner][parameter].check(yaml.safe_load(text))
    assert overrides(nodes[0]) == {
        "detection_node:model": '"parts.onnx"',
        "pose_node:model": '"parts.onnx"',
        "camera_node:source": '"007"',
        "camera_node:rate_hz": "5.0",
    }


@without_launch
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, [("object-pose", ["run", "--camera"])]),
        ({"camera": "false"}, [("object-pose", ["run", "--no-camera"])]),
        ({"processes": "true"}, [("object-pose", ["run", "--camera", "--processes"])]),
        ({"web": "true"}, [("object-pose", ["run", "--camera", "--web"])]),
        ({"processes": "true", "camera": "false"}, [("object-pose", ["run", "--no-camera", "--processes"])]),
    ],
)
def test_the_parameter_file_reaches_every_node_of_both_compositions(load, given, expected):
    entities = load("pipeline.launch.py")
    nodes = nodes_of(entities, **given, params_file="mine.yaml")
    assert [(node.executable, node.arguments) for node in nodes] == expected
    assert all(node.ros_arguments == ["--params-file", "mine.yaml"] for node in nodes)


@without_launch
def test_the_usual_parameter_file_is_of_declared_parameters_and_is_not_overridden(load):
    nodes = nodes_of(load("pipeline.launch.py"))
    (words,) = (node.ros_arguments for node in nodes)
    assert words[0] == "--params-file" and len(words) == 2
    for node, values in yaml.safe_load(Path(words[1]).read_text()).items():
        assert set(flatten(values["ros__parameters"])) <= set(DECLARED[node.removeprefix("/**/")])


@without_launch
def test_arguments_are_described_as_their_parameters_are(load):
    described = {name: item.description for name, item in arguments_of(load("pipeline.launch.py")).items()}
    assert described["model"] == DECLARED["detection_node"]["model"].description
    assert described["source"] == DECLARED["camera_node"]["source"].description
    assert described["rate"] == DECLARED["camera_node"]["rate_hz"].description
    limited = {
        name: item.choices
        for name, item in arguments_of(load("pipeline.launch.py")).items()
        if hasattr(item, "choices")
    }
    assert limited["engine"] == ["", *DECLARED["detection_node"]["engine"].choices]
    assert limited["register_depth"] == ["", "true", "false"]


@without_launch
def test_every_argument_sets_its_parameters(load):
    given = {
        "engine": "openvino",
        "intrinsics": "mine.yaml",
        "serial": "0123",
        "register_depth": "true",
        "fixed_frame": "base_link",
        "target_frame": "base_link",
    }
    (node,) = nodes_of(load("pipeline.launch.py"), use_sim_time="true", **given)
    found = overrides(node)
    assert found.pop("use_sim_time") == "true"
    for name, text in found.items():
        owner, _, parameter = name.partition(":")
        DECLARED[owner][parameter].check(yaml.safe_load(text))
    assert found["camera_node:realsense.serial"] == '"0123"'
    assert found["pose_node:register_depth"] == found["detection_node:register_depth"] == "true"
    assert found["pose_node:target_frame"] == '"base_link"'


@without_launch
@pytest.mark.parametrize(("model", "parameters"), [("lmo.onnx", [{"model": "lmo.onnx"}]), ("", [])])
def test_the_planning_scene_knows_the_pipeline_s_model(load, model, parameters):
    _, node = nodes_of(load("pipeline.launch.py"), planning_scene="true", model=model, namespace="cell")
    assert node.executable == "planning_scene_node" and node.executable in executables()
    assert (node.namespace, node.parameters) == ("cell", parameters)


@without_launch
@pytest.mark.parametrize("camera", ["true", "false"])
def test_a_calibration_records_the_camera(load, camera):
    nodes = nodes_of(load("calibrate.launch.py"), camera=camera, output="samples", namespace="cell")
    assert {node.executable for node in nodes} <= executables()
    assert nodes[0].arguments == ["bag", "record", "samples", "--image-rate", "2.0"]
    assert len(nodes) == (2 if camera == "true" else 1)
    for node in nodes[1:]:
        (values,) = node.parameters
        for name, value in values.items():
            DECLARED["camera_node"][name].check(value)
    assert all(node.namespace == "cell" for node in nodes)


@without_launch
def test_a_calibration_with_a_board_is_guided(load):
    entities = load("calibrate.launch.py")
    *_, node = nodes_of(entities, board="charuco:7x5:0.04:0.03", kind="hand_eye", tool_frame="flange")
    assert node.executable == "calibration_node" and node.executable in executables()
    (values,) = node.parameters
    assert values == {
        "board": "charuco:7x5:0.04:0.03",
        "kind": "hand_eye",
        "base_frame": "base_link",
        "tool_frame": "flange",
    }
    for name, value in values.items():
        DECLARED["calibration_node"][name].check(value)
    assert arguments_of(entities)["kind"].choices == ["intrinsics", "hand_eye"]


@without_launch
def test_a_replay_is_the_pipeline_with_other_defaults(load):
    entities = load("replay.launch.py")
    (include,) = (item for item in entities if item.kind == "IncludeLaunchDescription")
    pipeline = Path(include.values[0].values[0])
    passed = dict(include.launch_arguments)
    assert set(passed) <= set(arguments_of(load(pipeline.name)))
    assert set(passed) == set(arguments_of(entities)) == {"source", "rate", "rviz"}
    assert not hasattr(arguments_of(entities)["source"], "default_value")


@pytest.mark.skipif(not HAS_LAUNCH, reason="launch is not installed")
@pytest.mark.parametrize("name", ["pipeline.launch.py", "replay.launch.py"])
def test_launch_itself_reads_the_file(name):
    command = [shutil.which("ros2") or "ros2", "launch", str(find("launch", name)), "--show-args"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert all(argument in shown for argument in ("params_file", "model", "source", "rate", "processes"))
