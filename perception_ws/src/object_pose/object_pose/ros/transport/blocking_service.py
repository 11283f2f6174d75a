"""A service whose callback may wait without holding up anybody else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node


class BlockingService:
    """Serves ``service_type`` under ``owner``'s private name ``name`` in a thread of its own.

    rclpy has no deferred responses, and a waiting callback in the owner's executor would hold up what it waits for.
    """

    def __init__(self, owner: Node, service_type: type, name: str, callback: Callable[[Any, Any], Any]) -> None:
        node_name = f"{owner.get_name()}_{name}"
        self._node = Node(
            node_name, context=owner.context, namespace=owner.get_namespace(), start_parameter_services=False
        )
        self._node.create_service(service_type, f"{owner.get_fully_qualified_name()}/{name}", callback)
        self._closing = False
        self._executor = SingleThreadedExecutor(context=owner.context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._run, name=node_name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving; an answer in hand is waited for."""
        self._closing = True
        self._executor.shutdown()
        self._thread.join()
        self._node.destroy_node()

    def _run(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return
        except Exception:
            # ROS, or this service, may end between the executor's look at it and its wait, which then fails.
            if self._node.context.ok() and not self._closing:
                raise
