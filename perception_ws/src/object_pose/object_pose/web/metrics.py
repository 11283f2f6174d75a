"""What the server counts, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


class Metrics:
    """The metrics of one server; ``registry`` takes further ones."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "object_pose_requests", "Requests answered", ("route", "method", "status"), registry=self.registry
        )
        self._latency = Histogram(
            "object_pose_request_seconds",
            "Time until an answer begins",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._queue_wait = Histogram(
            "object_pose_queue_wait_seconds",
            "Time that predictions wait for a worker",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._inference = Histogram(
            "object_pose_inference_seconds",
            "Time that predictions take",
            ("task",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._rejections = Counter("object_pose_rejections", "Predictions refused", ("reason",), registry=self.registry)
        self._waiting = Gauge("object_pose_queue_length", "Predictions that wait", registry=self.registry)
        self._starts = Counter(
            "object_pose_predictor_starts", "Starts of the predictor's process", registry=self.registry
        )
        self._memory = Gauge(
            "object_pose_predictor_memory_bytes", "Memory of the predictor's process", registry=self.registry
        )
        self._model = Gauge(
            "object_pose_model_info", "Models in use", ("task", "name", "sha256"), registry=self.registry
        )
        self._drift = Gauge(
            "object_pose_drift",
            "Share of the latest images outside the usual range of the model's reference",
            ("model", "statistic"),
            registry=self.registry,
        )

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request of a route's template."""
        self._requests.labels(route, method, str(status)).inc()
        self._latency.labels(route).observe(seconds)

    def began(self, wait_s: float) -> None:
        """Note how long a prediction waited."""
        self._queue_wait.observe(wait_s)

    def predicted(self, task: str, seconds: float) -> None:
        """Note how long a prediction took."""
        self._inference.labels(task).observe(seconds)

    def refused(self, reason: str) -> None:
        """Count a prediction that was refused, or not waited for: queue_full, deadline or client_gone."""
        self._rejections.labels(reason).inc()

    def waiting(self, count: int) -> None:
        """Note how many predictions wait."""
        self._waiting.set(count)

    def predictor_started(self) -> None:
        """Count a start of the predictor's process; more than one says that it had ended."""
        self._starts.inc()

    def predictor_takes(self, memory_bytes: float) -> None:
        """Note the memory of the predictor's process."""
        self._memory.set(memory_bytes)

    def uses(self, models: dict[str, tuple[str, str]]) -> None:
        """Note the (name, SHA-256) of the model of each task."""
        self._model.clear()
        for task, (name, digest) in models.items():
            self._model.labels(task, name, digest).set(1)

    def drifts(self, shares: Mapping[tuple[str, str], float]) -> None:
        """Note the share of images outside the usual range by (model, statistic); what is not named does not drift."""
        self._drift.clear()
        for labels, share in shares.items():
            self._drift.labels(*labels).set(share)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)
