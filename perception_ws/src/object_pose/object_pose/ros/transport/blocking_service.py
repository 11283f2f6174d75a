"""Services that answer whatever happens, and may wait without holding up anybody else."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from object_pose.core.errors import ObjectPoseError

_POLL_S = 0.05


class BlockingService:
    """Serves ``service_type`` in a thread of its own, ``name`` being resolved as ``owner`` would.

    rclpy has no deferred responses, and a waiting callback in the owner's executor would hold up what it waits for. A
    request whose callback raises is answered with ``success`` false and the reason as its ``message``; by an empty
    response and a line in the log where the service has no such fields.
    """

    def __init__(self, owner: Node, service_type: type, name: str, callback: Callable[[Any, Any], Any]) -> None:
        node_name = f"{owner.get_name()}_{name.rpartition('/')[2]}"
        self._node = Node(
            node_name, context=owner.context, namespace=owner.get_namespace(), start_parameter_services=False
        )
        self._owner, self._callback = owner, callback
        self._node.create_service(service_type, owner.resolve_service_name(name), self._answer)
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

    def _answer(self, request: Any, response: Any) -> Any:
        try:
            return self._callback(request, response)
        except ObjectPoseError as error:
            text = str(error)
        except Exception as error:  # rclpy would end the thread, and with it the service
            self._owner.get_logger().error(traceback.format_exc())
            text = f"{type(error).__name__}: {error}"
        answer = type(response)()
        if not hasattr(answer, "message"):
            self._owner.get_logger().error(text)
            return answer
        answer.message = text.encode("utf-8", "replace").decode()
        return answer

    def _run(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return
        except Exception:
            # ROS, or this service, may end between the executor's look at it and its wait, which then fails.
            if self._node.context.ok() and not self._closing:
                raise


def call_service(
    owner: Node, service_type: Any, name: str, request: Any, timeout_s: float, is_wanted: Callable[[], bool]
) -> Any:
    """Call a service from a thread that may wait, and return its response.

    Raises ``ObjectPoseError`` where none comes in time, or ``is_wanted`` no more.
    """
    node = Node(
        f"{owner.get_name()}_client",
        context=owner.context,
        namespace=owner.get_namespace(),
        start_parameter_services=False,
    )
    executor = SingleThreadedExecutor(context=owner.context)
    executor.add_node(node)
    try:
        client, deadline = node.create_client(service_type, name), time.monotonic() + timeout_s
        future = None
        while future is None or not future.done():
            if time.monotonic() > deadline or not (is_wanted() and owner.context.ok()):
                raise ObjectPoseError(f"{name} did not answer", "is its node still running?")
            if future is None and client.service_is_ready():
                future = client.call_async(request)
            executor.spin_once(timeout_sec=_POLL_S)
        return future.result()
    finally:
        executor.shutdown()
        node.destroy_node()
