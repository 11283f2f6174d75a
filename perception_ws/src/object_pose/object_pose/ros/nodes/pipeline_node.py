"""What the nodes of the pipeline share: parameters, lifecycle, diagnostics, errors that do not stop it."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

from rclpy.lifecycle import LifecycleNode, LifecyclePublisher, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile

from object_pose.core.errors import ConfigError, ObjectPoseError
from object_pose.ros.diagnostics import NodeDiagnostics
from object_pose.ros.params import NodeParameters
from object_pose.ros.transport import qos, topics
from object_pose.ros.transport.inputs import WatchedInput

ConfigT = TypeVar("ConfigT")


class PipelineNode(LifecycleNode):
    """A lifecycle node that subclasses fill in: ``configure``, ``activate``, ``deactivate``, ``cleanup``.

    An ``ObjectPoseError`` in a transition is logged and fails it; ``failure`` keeps it. An error while a frame is
    handled is counted, logged now and then, and the next frame is tried.
    """

    def __init__(self, name: str, *config_classes: type, **node_options: Any) -> None:
        super().__init__(name, allow_undeclared_parameters=True, **node_options)
        self.failure: ObjectPoseError | None = None
        self.diagnostics = NodeDiagnostics(self, self._check)
        self.is_active = False
        self._is_configured = False
        self._announced: list[str] = []
        self._watched: list[WatchedInput] = []
        self._checks: list[Callable[[], None]] = []
        try:
            self._declared = NodeParameters(self, config_classes, self._parameters_changed)
        except ConfigError:
            self.destroy_node()
            raise

    def destroy_node(self) -> None:
        """Release what the middleware holds, its shared memory too; rclpy leaves that to the garbage collector."""
        super().destroy_node()
        self._state_machine.destroy_when_not_in_use()

    def config(self, config_class: type[ConfigT]) -> ConfigT:
        """Return one of the node's configs with its current values."""
        return self._declared.config(config_class)

    def configure(self) -> None:
        """Load what the node needs; raises ``ObjectPoseError``."""

    def activate(self) -> None:
        """Start."""

    def deactivate(self) -> None:
        """Stop, and wait until the work in hand is done."""

    def cleanup(self) -> None:
        """Release what ``configure`` loaded."""

    def parameters_changed(self) -> None:
        """Use the new parameter values; until ``configure`` was called, it will find them."""

    def announce(self, message_type: type, topic: str, profile: QoSProfile) -> LifecyclePublisher:
        """Publish while active; a subscriber whose QoS does not match is reported."""
        publisher = self.create_lifecycle_publisher(message_type, topic, profile, **qos.publisher_events())
        self._announced.append(publisher.topic_name)
        return publisher

    def watch(
        self, message_type: type, topic: str, callback: Any, profile: QoSProfile, is_state: bool = False
    ) -> WatchedInput:
        """Subscribe until the node is deactivated; a topic that stays silent is reported with the reason.

        One that ``is_state`` may be sent once. What ``callback`` raises is reported, too: it would end the executor.
        """

        def receive(message: Any) -> None:
            try:
                callback(message)
            except Exception as error:  # whatever one message did, the next one is worth trying
                self.frame_failed(error)

        watched = WatchedInput(self, message_type, topic, receive, profile, is_state)
        self._watched.append(watched)
        return watched

    def unwatch(self, watched: WatchedInput) -> None:
        """Unsubscribe now."""
        if watched in self._watched:
            self._watched.remove(watched)
            watched.close()

    def check_topics(self) -> None:
        """Report what does not arrive, here or at a subscriber; runs every second while the node is active.

        What a check raises is reported, too: it would end the executor.
        """
        for check in (self._check_connections, *self._checks):
            try:
                check()
            except Exception as error:
                self.frame_failed(error)

    def _check_connections(self) -> None:
        for watched in tuple(self._watched):
            if reason := watched.explain_silence():
                self.diagnostics.problem("silent_input", reason)
        for topic in self._announced:
            if reason := qos.explain_deafness(self, topic):
                self.diagnostics.problem("deaf_subscriber", reason)
        ours = {*self._announced, *(watched.topic_name for watched in self._watched)}
        shared = {self.resolve_topic_name(topic) for topic in topics.SHARED}
        if reason := qos.explain_second_publishers(self, ours - shared):
            self.diagnostics.problem("several_publishers", reason)

    def add_check(self, check: Callable[[], None]) -> None:
        """Call ``check`` every second, which may report problems, until the node is deactivated."""
        self._checks.append(check)

    def frame_failed(self, error: Exception) -> None:
        """Count and report what went wrong with one frame, unless ROS is ending and nothing can be published."""
        if not self.context.ok():
            return
        if isinstance(error, ObjectPoseError):
            self.diagnostics.problem(type(error).__name__, str(error))
            return
        self.get_logger().debug("".join(traceback.format_exception(error)))
        self.diagnostics.problem("unexpected", f"{type(error).__name__}: {error}")

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lifecycle callback."""
        return self._guard(self._configure) or super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lifecycle callback; publishers are ready before the first frame comes."""
        result = super().on_activate(state)
        return self._guard(self._start) or result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lifecycle callback."""
        return self._guard(self.stop) or super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lifecycle callback."""
        return self._guard(self._clean_up) or super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lifecycle callback."""
        return self._guard(self.stop) or self._guard(self._clean_up) or super().on_shutdown(state)

    def _check(self) -> None:
        if self.is_active:
            self.check_topics()

    def stop(self) -> None:
        """Deactivate whatever state ROS is in; does nothing on a node that is not active."""
        if not self.is_active:
            return
        self.is_active = False
        for watched in self._watched:
            watched.close()
        self._watched.clear()
        self._checks.clear()
        self.deactivate()

    def _configure(self) -> None:
        self.configure()
        self._is_configured = True

    def _clean_up(self) -> None:
        self._is_configured = False
        self.cleanup()

    def _parameters_changed(self) -> None:
        if self._is_configured:
            self.parameters_changed()

    def _start(self) -> None:
        self.is_active = True
        self.activate()

    def _guard(self, step: Callable[[], None]) -> TransitionCallbackReturn | None:
        """Run one step of a transition; return how it failed, or None. rclpy would swallow the exception."""
        try:
            step()
        except ObjectPoseError as error:
            self.failure = error
            self.get_logger().error(str(error))
            return TransitionCallbackReturn.FAILURE
        except Exception:
            self.get_logger().error(traceback.format_exc())
            return TransitionCallbackReturn.ERROR
        return None

    def bring_up(self) -> None:
        """Configure and activate; raises what stopped it."""
        self.make_ready()
        self.make_active()

    def make_ready(self) -> None:
        """Configure; raises what stopped it."""
        self._demand(self.trigger_configure())

    def make_active(self) -> None:
        """Activate; raises what stopped it."""
        self._demand(self.trigger_activate())

    def _demand(self, result: TransitionCallbackReturn) -> None:
        if result != TransitionCallbackReturn.SUCCESS:
            raise self.failure or ObjectPoseError(f"{self.get_name()} did not start", "its log says why")


class RosoutHandler(logging.Handler):
    """Sends the package's log records to a node's logger, and so to /rosout."""

    def __init__(self, node: LifecycleNode) -> None:
        super().__init__()
        self._logger = node.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        """Forward one record at its level."""
        text = f"{record.name}: {record.getMessage()}"
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        elif record.levelno >= logging.INFO:
            self._logger.info(text)
        else:
            self._logger.debug(text)
