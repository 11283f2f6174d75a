"""The drift monitor in a node: every n-th frame goes to a thread of its own; the frame's way pays a counter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from object_pose.io.retraining_request import RetrainingRequest
from object_pose.mlops.monitor import DriftMonitor, MonitorConfig, load_reference
from object_pose.ros.nodes.pipeline_node import PipelineNode
from object_pose.ros.transport.worker import NewestWorker

# Shows a frame to the monitor of its model.
Observe = Callable[[DriftMonitor], RetrainingRequest | None]
_Item = tuple[Path, Sequence[str], Observe]


class Monitoring:
    """Watches the frames of a node; each model that it is told of has the reference beside its file."""

    def __init__(self, node: PipelineNode, config: MonitorConfig, min_score: float) -> None:
        self._node, self._config, self._min_score = node, config, min_score
        self._monitors: dict[Path, DriftMonitor | None] = {}
        self._monitor: DriftMonitor | None = None
        self._count = self._requests = 0
        self._worker: NewestWorker[_Item] | None = None

    def prepare(self, model: Path, labels: Sequence[str]) -> None:
        """Read the reference of a model; raises ``ConfigError`` where the file is none."""
        reference = load_reference(self._config, model)
        made = DriftMonitor(self._config, reference, model, labels, self._min_score) if reference else None
        self._monitors[model] = made

    def start(self) -> None:
        """Begin to watch frames."""
        self._worker = NewestWorker("monitoring", self._observe, self._node.frame_failed)
        self._node.add_check(self._report)

    def offer(self, model: Path, labels: Sequence[str], observe: Observe) -> None:
        """Take every n-th frame."""
        self._count += 1
        if self._worker and self._count % self._config.every == 0:
            self._worker.offer((model, labels, observe))

    def close(self) -> None:
        """Finish the frame in hand."""
        if self._worker:
            self._worker.stop()

    def _observe(self, item: _Item) -> None:
        model, labels, observe = item
        if model not in self._monitors:
            self._monitors[model] = None
            with self._node.diagnostics.reporting("monitor"):
                self.prepare(model, labels)
        self._monitor = self._monitors[model]
        if self._monitor is not None and (request := observe(self._monitor)):
            self._requests += 1
            self._node.diagnostics.gauge("retraining_request", str(request.path))

    def _report(self) -> None:
        """Say what drifts, once a second, and keep the file for Prometheus up to date."""
        monitor = self._monitor
        if monitor is None:
            return
        if monitor.findings:
            self._node.diagnostics.problem("drift", "; ".join(map(str, monitor.findings)))
        if self._config.metrics:
            figures = {
                f"object_pose_pipeline_{name}": value for name, value in self._node.diagnostics.figures().items()
            }
            with self._node.diagnostics.reporting("monitor"):
                monitor.write_metrics(figures | {"object_pose_monitor_requests_total": float(self._requests)})
