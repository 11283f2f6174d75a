"""Parameters are declared once; ROS shows them with their meaning and refuses what does not fit."""

import threading
from dataclasses import dataclass

import pytest
import yaml
from rcl_interfaces.srv import DescribeParameters, GetParameters, SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from object_pose.core.errors import ConfigError
from object_pose.core.params import flatten, parameter, parameters
from object_pose.io.bag_frames import RecordingConfig
from object_pose.ros.nodes.camera_node import CameraNode, CameraNodeConfig
from object_pose.ros.nodes.detection_node import DetectionNode, DetectionNodeConfig
from object_pose.ros.nodes.pose_node import PoseNode, PoseNodeConfig
from object_pose.ros.nodes.web_bridge import WebBridgeConfig
from object_pose.ros.params import NodeParameters
from object_pose.runtime.predictor import PredictorConfig
from object_pose.runtime.resources import find
from object_pose.simulation.scenes.live import LiveConfig

NODES = {
    "camera_node": (CameraNodeConfig, RecordingConfig, LiveConfig),
    "detection_node": (DetectionNodeConfig, PredictorConfig),
    "pose_node": (PoseNodeConfig,),
    "web_bridge": (WebBridgeConfig,),
}


@dataclass(frozen=True)
class Lens:
    focus_m: float = parameter(1.0, "distance in focus", minimum=0.1, maximum=10.0)


@dataclass(frozen=True)
class Config:
    rate_hz: float = parameter(10.0, "frames a second", minimum=1.0, maximum=100.0)
    count: int = parameter(3, "how many", minimum=1)
    lens: Lens = Lens()
    mode: str = parameter("fast", "what matters", choices=("fast", "good"))
    seed: int = parameter(0, "start of the random numbers", read_only=True)


def make(ros, changes=None, **overrides):
    values = [RosParameter(name, value=value) for name, value in overrides.items()]
    node = ros.add(Node("node", parameter_overrides=values, allow_undeclared_parameters=True))
    changed = [] if changes is None else changes
    declared = NodeParameters(node, (Config,), lambda: changed.append(1))
    return node, declared


def test_defaults_and_overrides_become_the_config(ros):
    _, declared = make(ros, rate_hz=20, mode="good")
    assert declared.config(Config) == Config(rate_hz=20.0, mode="good")


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        ({"rate": 20.0}, "unknown parameter 'rate' .*did you mean 'rate_hz'"),
        ({"rate_hz": 1000.0}, "rate_hz"),
        ({"count": 0}, "count"),
        ({"count": "many"}, "'count' must be int, got 'many'"),
        ({"mode": "slow"}, "'mode' is 'slow' .*fast, good"),
    ],
)
def test_what_does_not_fit_stops_the_node_with_a_clear_error(ros, overrides, text):
    with pytest.raises(ConfigError, match=text) as caught:
        make(ros, **overrides)
    assert "node: " in str(caught.value)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"rate_hz": 0.5}, "rate_hz"),
        ({"count": 1.5}, "'count' must be int"),
        ({"mode": "slow"}, "choose one of fast, good"),
        ({"seed": 4}, "read-only"),
        ({"rate": 4}, "did you mean 'rate_hz'?"),
    ],
)
def test_a_change_that_does_not_fit_is_refused_with_the_reason(ros, change, text):
    changed = []
    _, declared = make(ros, changed)
    ((name, value),) = change.items()
    request = SetParameters.Request(parameters=[RosParameter(name, value=value).to_parameter_msg()])
    (result,) = ros.call(SetParameters, "/node/set_parameters", request).results
    assert not result.successful
    assert text in result.reason
    assert changed == []
    assert declared.config(Config) == Config()


def test_a_change_that_fits_is_taken_and_told(ros):
    changed = []
    node, declared = make(ros, changed)
    (result,) = node.set_parameters([RosParameter("rate_hz", value=30.0)])
    assert result.successful
    assert declared.config(Config).rate_hz == 30.0
    assert changed == [1]
    request = GetParameters.Request(names=["rate_hz"])
    assert ros.call(GetParameters, "/node/get_parameters", request).values[0].double_value == 30.0


def test_a_change_that_cannot_take_effect_is_refused_and_the_node_goes_on(ros):
    node = ros.add(Node("node", allow_undeclared_parameters=True))
    declared = NodeParameters(node, (Config,), lambda: 1 // 0)
    request = SetParameters.Request(parameters=[RosParameter("rate_hz", value=30.0).to_parameter_msg()])
    for _ in range(2):
        (result,) = ros.call(SetParameters, "/node/set_parameters", request).results
        assert "ZeroDivisionError" in result.reason
    assert declared.config(Config) == Config()


def test_values_and_configs_change_together_whenever_another_thread_asks(ros):
    """The first config after a change may be made while the next change comes."""
    node, declared = make(ros)
    seen, is_over = [], threading.Event()

    def ask():
        while not is_over.is_set():
            seen.append(declared.config(Config).count)

    asking = threading.Thread(target=ask)
    asking.start()
    for count in range(3, 200):
        node.set_parameters([RosParameter("count", value=count)])
        assert declared.config(Config).count == count
    is_over.set()
    asking.join()
    assert seen == sorted(seen)


def test_nested_parameters_have_dotted_names(ros):
    node, declared = make(ros, **{"lens.focus_m": 2})
    assert declared.config(Config).lens == Lens(2.0)
    (result,) = node.set_parameters([RosParameter("lens.focus_m", value=3.0)])
    assert result.successful
    assert declared.config(Config) == Config(lens=Lens(3.0))


def test_parameter_files_nest_as_names_do(ros, tmp_path):
    file = tmp_path / "node.yaml"
    file.write_text("node:\n  ros__parameters:\n    count: 7\n    lens:\n      focus_m: 2.0\n")
    arguments = ["--ros-args", "--params-file", str(file)]
    node = ros.add(Node("node", cli_args=arguments, allow_undeclared_parameters=True))
    assert NodeParameters(node, (Config,), lambda: None).config(Config) == Config(count=7, lens=Lens(2.0))


@pytest.mark.parametrize("node_class", [CameraNode, DetectionNode, PoseNode])
def test_the_shipped_parameter_file_changes_nothing(ros, node_class):
    node = ros.add(node_class(cli_args=["--ros-args", "--params-file", str(find("config", "nodes.yaml"))]))
    for config_class in NODES[node.get_name()]:
        assert parameter_values(node.config(config_class)) == {
            item.name: item.default for item in parameters(config_class)
        }


def parameter_values(config):
    values = {}
    for item in parameters(type(config)):
        value = config
        for part in item.name.split("."):
            value = getattr(value, part)
        values[item.name] = value
    return values


def test_ros_shows_description_range_and_read_only(ros):
    make(ros)
    request = DescribeParameters.Request(names=["rate_hz", "count", "mode", "seed"])
    rate, count, mode, seed = ros.call(DescribeParameters, "/node/describe_parameters", request).descriptors
    assert rate.description == "frames a second"
    assert (rate.floating_point_range[0].from_value, rate.floating_point_range[0].to_value) == (1.0, 100.0)
    assert count.integer_range[0].from_value == 1
    assert mode.additional_constraints == "one of: fast, good"
    assert seed.read_only and not rate.read_only


@pytest.mark.parametrize("name", NODES)
def test_no_two_configs_of_a_node_share_a_name(name):
    declared = [item.name for config_class in NODES[name] for item in parameters(config_class)]
    assert sorted(set(declared)) == sorted(declared)


@pytest.mark.parametrize("name", NODES)
def test_the_shipped_parameter_file_holds_the_declared_defaults(name):
    values = yaml.safe_load(find("config", "nodes.yaml").read_text())[f"/**/{name}"]["ros__parameters"]
    declared = {item.name: item for config_class in NODES[name] for item in parameters(config_class)}
    for key, value in flatten(values).items():
        assert declared[key].check(value) == declared[key].default
