"""What the routes work with: one object, made before the app and closed after it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from object_pose.web.config import WebConfig
from object_pose.web.live.view import LiveView
from object_pose.web.metrics import Metrics
from object_pose.web.model_library import ModelLibrary
from object_pose.web.predictions import PredictionQueue
from object_pose.web.security.audit import AuditLog
from object_pose.web.security.tokens import TokenStore


@dataclass
class Services:
    """Everything that outlives a request; ``open_services`` makes it.

    ``live`` is the pipeline that the server is attached to, set before the app is made.
    """

    config: WebConfig
    tokens: TokenStore
    audit: AuditLog
    metrics: Metrics
    models: ModelLibrary
    predictions: PredictionQueue
    live: LiveView | None = None
    _opening: threading.Thread | None = field(default=None, init=False)

    def start(self) -> None:
        """Begin to open the models, so that the first request finds them open."""
        self._opening = threading.Thread(target=self.models.open_all, name="open models")
        self._opening.start()

    def close(self) -> None:
        """End what runs."""
        if self.live:
            self.live.close()
        self.models.stop_opening()
        if self._opening:
            self._opening.join()
        self.predictions.close()
        self.audit.close()


def open_services(config: WebConfig) -> Services:
    """Open the state folder and make what the routes need."""
    config.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    metrics = Metrics()
    return Services(
        config,
        TokenStore(config.state),
        AuditLog(config.state),
        metrics,
        ModelLibrary(config.state / "models", config.shipped_models, metrics.uses),
        PredictionQueue(config.workers, config.queue_size, config.deadline_s, metrics),
    )
