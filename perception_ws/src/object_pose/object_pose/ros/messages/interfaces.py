"""Message packages that only some users need: those of planners and of the bin-picking challenge."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from object_pose.core.errors import ConfigError


def optional_interface(module: str) -> Any:
    """Return a module such as ``moveit_msgs.msg``; raises ``ConfigError`` where its package is not installed."""
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ConfigError(
            f"the message package {package} is not installed ({error})",
            f"'scripts/setup planning' makes it; on a ROS 2 machine install {package} and source its workspace",
        ) from error
