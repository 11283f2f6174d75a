"""The declared parameters of config dataclasses as ROS parameters, with description, range and read_only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from object_pose.core.errors import ConfigError
from object_pose.core.params import Parameter, make_config, parameters, unknown_parameter

ConfigT = TypeVar("ConfigT")
# Values by name, and the configs that were made of them.
_Values = tuple[dict[str, Any], dict[type, Any]]

_INT64_LIMIT = 2**63 - 1
_FLOAT_LIMIT = 1.7976931348623157e308
_KNOWN_TO_ROS = ("use_sim_time", "start_type_description_service", "qos_overrides.")


class NodeParameters:
    """The parameters of a node, one set of ROS parameters over several config dataclasses.

    Raises ``ConfigError`` for an override that no config declares or that does not fit. Later changes that do not fit
    are refused with the reason, and those of unknown names too where the node allows undeclared parameters, for rclpy's
    own refusal does not say which; the others call ``on_change`` with the new values in place.
    """

    def __init__(self, node: Node, config_classes: tuple[type, ...], on_change: Callable[[], None]) -> None:
        self._node = node
        self._declared = {item.name: item for config_class in config_classes for item in parameters(config_class)}
        self._on_change = on_change
        # The values and the configs made of them change together, while other threads ask for configs.
        self._current: _Values = {item.name: _declare(node, item) for item in self._declared.values()}, {}
        _refuse_unknown(node, self._declared)
        node.add_on_set_parameters_callback(self._set)

    def config(self, config_class: type[ConfigT]) -> ConfigT:
        """Return one of the configs with its current values."""
        values, configs = self._current
        if config_class not in configs:
            own = {item.name: values[item.name] for item in parameters(config_class)}
            configs[config_class] = make_config(config_class, own)
        config: ConfigT = configs[config_class]
        return config

    def _set(self, changes: list[RosParameter[Any]]) -> SetParametersResult:
        before = self._current
        values = dict(before[0])
        try:
            for change in changes:
                if change.name in self._declared:
                    values[change.name] = self._declared[change.name].check(change.value)
                elif not (change.name.startswith(_KNOWN_TO_ROS) or self._node.has_parameter(change.name)):
                    raise unknown_parameter(change.name, self._declared)
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if values != before[0]:
            self._current = values, {}
            try:
                self._on_change()
            except Exception as error:  # rclpy would end the process
                self._current = before
                return SetParametersResult(successful=False, reason=f"{type(error).__name__}: {error}")
        return SetParametersResult(successful=True)


def descriptor(item: Parameter) -> ParameterDescriptor:
    """Return what ``ros2 param describe`` shows of a parameter."""
    choices = f"one of: {', '.join(item.choices)}" if item.choices else ""
    result = ParameterDescriptor(
        name=item.name,
        description=item.description,
        additional_constraints=choices,
        read_only=item.read_only,
        # An integer where a float is meant (rate_hz: 30) is taken; the declaration checks the type.
        dynamic_typing=True,
    )
    bounded = item.minimum is not None or item.maximum is not None
    if bounded and item.type is float:
        low = -_FLOAT_LIMIT if item.minimum is None else float(item.minimum)
        high = _FLOAT_LIMIT if item.maximum is None else float(item.maximum)
        result.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    elif bounded and item.type is int:
        low = -_INT64_LIMIT if item.minimum is None else int(item.minimum)
        high = _INT64_LIMIT if item.maximum is None else int(item.maximum)
        result.integer_range = [IntegerRange(from_value=low, to_value=high, step=0)]
    return result


def _declare(node: Node, item: Parameter) -> Any:
    try:
        value = node.declare_parameter(item.name, item.default, descriptor(item)).value
    except (InvalidParameterValueException, InvalidParameterTypeException) as error:
        raise ConfigError(f"{node.get_name()}: parameter '{item.name}': {error}", item.description) from error
    try:
        return item.check(value)
    except ConfigError as error:
        raise ConfigError(f"{node.get_name()}: {error.message}", error.hint) from error


def _refuse_unknown(node: Node, declared: Mapping[str, Parameter]) -> None:
    """ROS ignores overrides that nobody declares, so a typo would be silent."""
    for name in node._parameter_overrides:  # rclpy has no public way to list them
        if name not in declared and not name.startswith(_KNOWN_TO_ROS):
            error = unknown_parameter(name, declared)
            raise ConfigError(f"{node.get_name()}: {error.message}", error.hint)
