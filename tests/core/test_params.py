"""Parameters: one declaration gives defaults, bounds, descriptions and errors that help."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from object_pose.core.errors import ConfigError
from object_pose.core.params import flatten, make_config, parameter, parameters, replace_values
from object_pose.core.pose.config import PROFILES, DepthConfig, PoseSolverConfig
from object_pose.core.tracking.tracker import TrackerConfig


@dataclass(frozen=True)
class Config:
    """An example."""

    rate_hz: float = parameter(15.0, "frames per second", minimum=1.0, maximum=60.0)
    device: str = parameter("cpu", "where to run", choices=("cpu", "cuda"), read_only=True)
    enabled: bool = parameter(True, "whether to run at all")
    internal: int = 3


@dataclass(frozen=True)
class Robot:
    """A config of configs, one of which has other defaults and one of which may be missing."""

    name: str = parameter("left", "which of them")
    camera: Config = Config(rate_hz=30.0)
    spare: Config | None = None


def test_the_declaration_is_all_there_is_to_know() -> None:
    rate, device, enabled = parameters(Config)
    assert (rate.name, rate.type, rate.default, rate.minimum, rate.maximum) == ("rate_hz", float, 15.0, 1.0, 60.0)
    assert device.read_only and device.choices == ("cpu", "cuda")
    assert enabled.description == "whether to run at all"


def test_values_reach_the_config_and_whole_numbers_count_as_floats() -> None:
    config = make_config(Config, {"rate_hz": 30, "device": "cuda"})
    assert config == Config(30.0, "cuda")
    assert isinstance(config.rate_hz, float)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"rate_hz": 0.5}, "outside"),
        ({"rate_hz": float("nan")}, "outside"),
        ({"rate_hz": True}, "must be float"),
        ({"enabled": 1}, "must be bool"),
        ({"device": "tpu"}, "choose one of cpu, cuda"),
        ({"rate": 15.0}, "did you mean 'rate_hz'"),
        ({"internal": 4}, "unknown parameter"),
    ],
)
def test_wrong_values_are_refused_with_a_hint(values: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make_config(Config, values)


@pytest.mark.parametrize("config_class", [PoseSolverConfig, TrackerConfig])
def test_every_default_lies_within_its_own_bounds_and_is_explained(config_class: type) -> None:
    for item in parameters(config_class):
        assert item.check(item.default) == item.default
        assert len(item.description) > 10


def test_nested_configs_have_dotted_names_and_their_own_defaults() -> None:
    items = {item.name: item for item in parameters(Robot)}
    assert list(items)[:2] == ["name", "camera.rate_hz"]
    assert (items["camera.rate_hz"].default, items["spare.rate_hz"].default) == (30.0, 15.0)


@pytest.mark.parametrize("values", [{"camera": {"device": "cuda"}}, {"camera.device": "cuda"}])
def test_values_nest_or_have_dotted_names(values: dict[str, object]) -> None:
    assert flatten(values) == {"camera.device": "cuda"}
    assert make_config(Robot, values) == Robot(camera=Config(30.0, "cuda"))


def test_what_is_not_given_stays() -> None:
    robot = Robot("right", Config(enabled=False), Config(rate_hz=5.0))
    changed = replace_values(robot, {"camera": {"rate_hz": 20}, "name": "middle"})
    assert changed == Robot("middle", Config(20.0, enabled=False), Config(rate_hz=5.0))
    assert replace_values(Robot(), {"spare.rate_hz": 20}).spare == Config(20.0)
    assert Robot().spare is None


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"camera": {"rate_hz": 0.5}}, "'camera.rate_hz' is 0.5, outside"),
        ({"camera": {"rate": 5.0}}, "did you mean 'camera.rate_hz'"),
        ({"enabled": False}, "did you mean '(camera|spare).enabled'"),
        ({"camera": 3}, "unknown parameter 'camera'"),
        ({"name": {"first": "a"}}, "unknown parameter 'name.first'"),
    ],
)
def test_wrong_nested_values_are_refused_under_their_full_name(values: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make_config(Robot, values)


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_is_made_of_values_that_a_user_could_give(name: str) -> None:
    for config in (PROFILES[name].solver, PROFILES[name].decoding):
        given = {item.name: _value(config, item.name) for item in parameters(type(config))}
        assert make_config(type(config), given) == config


def _value(config: object, name: str) -> object:
    for part in name.split("."):
        config = getattr(config, part)
    return config


def test_the_solvers_parameters_nest() -> None:
    config = make_config(PoseSolverConfig, {"depth": {"noise_floor_m": 0.001}})
    assert config == PoseSolverConfig(depth=DepthConfig(noise_floor_m=0.001))
