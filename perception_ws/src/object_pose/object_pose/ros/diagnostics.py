"""What a node says about itself on /diagnostics, once a second: rate, latency, drops, problems."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter

from object_pose.core.errors import ObjectPoseError
from object_pose.core.frame import NS_PER_S
from object_pose.ros.transport import qos, topics

_CLOCK_STEP_S = 0.5
_PERIOD_S = 1.0
_LOG_EVERY_S = 5.0


class ClockWatch:
    """Compares a node's clock with one that never jumps."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._last: tuple[int, float] | None = None

    def problem(self, clock_ns: int, is_simulated: bool) -> str:
        """Say what is wrong with the clock since the last call; empty where nothing is.

        A simulated clock may run at any speed, but neither stand still nor go back.
        """
        now = self._now()
        last, self._last = self._last, (clock_ns, now)
        if clock_ns == 0:
            return "use_sim_time is set, but nothing comes on /clock: ros2 bag play --clock sends it"
        if last is None or last[0] == 0:
            return ""
        step_s = (clock_ns - last[0]) / NS_PER_S
        if is_simulated and step_s == 0.0:
            return f"/clock stands still at {clock_ns / NS_PER_S:.1f} s: is the simulation or the recording paused?"
        if is_simulated:
            jump_s, cause = min(step_s, 0.0), "does a recording loop, are there two sources of /clock?"
        else:
            jump_s, cause = step_s - (now - last[1]), "was it set?"
            jump_s = jump_s if abs(jump_s) > _CLOCK_STEP_S else 0.0
        return (
            f"the clock jumped {'back' if jump_s < 0.0 else 'ahead'} by {abs(jump_s):.1f} s: {cause}" if jump_s else ""
        )


class NodeDiagnostics:
    """Counts and times of a node, published at 1 Hz (REP-107); thread-safe.

    A problem in the last period makes the status WARN, or ERROR when nothing came out in it. The same kind of problem
    is logged at most every five seconds, but always counted. ``check`` runs before each message and may report some.
    """

    def __init__(self, node: Node, check: Callable[[], None]) -> None:
        self._node = node
        self._check = check
        self._lock = threading.Lock()
        self._totals: Counter[str] = Counter()
        self._timings: dict[str, list[float]] = {}
        self._problems: dict[str, str] = {}
        self._gauges: dict[str, Any] = {}
        self._latest: dict[str, float] = {}
        self._processed = 0
        self._last_log: dict[str, float] = {}
        self._last_publish = time.monotonic()
        self._clock = ClockWatch()
        self._publisher = node.create_publisher(
            DiagnosticArray, topics.DIAGNOSTICS, qos.RESULT, **qos.publisher_events()
        )
        # Not the node's clock: it stands still where nobody publishes /clock.
        self._timer = node.create_timer(_PERIOD_S, self.publish, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def processed(self, **timings_ms: float) -> None:
        """Count one frame that came out, with how long its stages took."""
        with self._lock:
            self._processed += 1
            self._totals["frames"] += 1
        self.timed(**timings_ms)

    def timed(self, **timings_ms: float) -> None:
        """Note how long something took."""
        with self._lock:
            for name, value in timings_ms.items():
                self._timings.setdefault(name, []).append(value)

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a total."""
        with self._lock:
            self._totals[name] += amount

    def gauge(self, name: str, value: Any) -> None:
        """Show a value as it is now."""
        with self._lock:
            self._gauges[name] = value

    def problem(self, kind: str, text: str) -> None:
        """Count a problem of a kind, show it, and log it unless its kind was logged just now."""
        now = time.monotonic()
        with self._lock:
            self._totals[f"problem.{kind}"] += 1
            self._problems[kind] = text
            is_due = now - self._last_log.get(kind, -_LOG_EVERY_S) >= _LOG_EVERY_S
            if is_due:
                self._last_log[kind] = now
        if is_due:
            self._node.get_logger().error(f"{kind}: {text}")

    @contextmanager
    def reporting(self, kind: str) -> Iterator[None]:
        """Make an ``ObjectPoseError`` within a problem of a kind, and go on after it."""
        try:
            yield
        except ObjectPoseError as error:
            self.problem(kind, str(error))

    def figures(self) -> dict[str, float]:
        """Return the rate, the median times of the last period and the totals, by names of Prometheus' kind."""
        with self._lock:
            errors = sum(count for name, count in self._totals.items() if name.startswith("problem."))
            totals = {"frames_total": self._totals["frames"], "errors_total": errors}
            totals["rejections_total"] = self._totals["rejections"]
            return {**self._latest, **{name: float(value) for name, value in totals.items()}}

    def publish(self) -> None:
        """Publish the status and begin a new period."""
        self._check()
        now = self._node.get_clock().now()
        if problem := self._clock.problem(now.nanoseconds, self._is_simulated()):
            self.problem("clock", problem)
        status = self._take_status()
        stamp = now.to_msg()
        message = DiagnosticArray(status=[status])
        message.header.stamp = stamp
        self._publisher.publish(message)

    def _is_simulated(self) -> bool:
        return bool(self._node.get_parameter_or("use_sim_time", Parameter("use_sim_time", value=False)).value)

    def close(self) -> None:
        """Stop publishing."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_publisher(self._publisher)

    def _take_status(self) -> DiagnosticStatus:
        now = time.monotonic()
        with self._lock:
            elapsed, self._last_publish = now - self._last_publish, now
            processed, self._processed = self._processed, 0
            timings, self._timings = self._timings, {}
            problems, self._problems = self._problems, {}
            values: dict[str, Any] = {"rate_hz": f"{processed / max(elapsed, 1e-9):.1f}"}
            medians = {name: median(times) for name, times in timings.items()}
            values |= {f"{name}_p50": f"{time_ms:.2f}" for name, time_ms in medians.items()}
            self._latest = {"rate_hz": processed / max(elapsed, 1e-9)}
            self._latest |= {name.replace("_ms", "_milliseconds"): time_ms for name, time_ms in medians.items()}
            values |= self._gauges
            values |= self._totals
        level, text = DiagnosticStatus.OK, "running"
        if problems:
            level = DiagnosticStatus.WARN if processed else DiagnosticStatus.ERROR
            text = "; ".join(problems.values())
        elif not processed:
            text = "idle"
        return DiagnosticStatus(
            level=level,
            name=f"object_pose: {self._node.get_fully_qualified_name().lstrip('/')}",
            message=text,
            hardware_id="object_pose",
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
        )
