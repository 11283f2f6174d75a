"""Parameters: one declaration gives defaults, bounds, descriptions and errors that help."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from object_pose.core.errors import ConfigError
from object_pose.core.params import make_config, parameter, parameters
from object_pose.core.pose.config import PoseSolverConfig
from object_pose.core.tracking.tracker import TrackerConfig


@dataclass(frozen=True)
class Config:
    """An example."""

    rate_hz: float = parameter(15.0, "frames per second", minimum=1.0, maximum=60.0)
    device: str = parameter("cpu", "where to run", choices=("cpu", "cuda"), read_only=True)
    enabled: bool = parameter(True, "whether to run at all")
    internal: int = 3


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
