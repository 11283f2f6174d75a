"""What the routes work with: one object, made before the app and closed after it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from object_pose.web.calibrations import CalibrationSessions
from object_pose.web.config import WebConfig
from object_pose.web.jobs.inputs import InputFinder
from object_pose.web.jobs.runner import JobRunner
from object_pose.web.jobs.uploads import UploadStore
from object_pose.web.live.view import LiveView
from object_pose.web.metrics import Metrics
from object_pose.web.model_library import ModelLibrary
from object_pose.web.predictions import PredictionQueue
from object_pose.web.predictor.process import PredictorProcess
from object_pose.web.promotion import Promotions
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
    predictor: PredictorProcess
    models: ModelLibrary
    predictions: PredictionQueue
    uploads: UploadStore
    jobs: JobRunner
    promotions: Promotions
    calibrations: CalibrationSessions
    live: LiveView | None = None
    is_ending: bool = field(default=False, init=False)
    _opening: threading.Thread | None = field(default=None, init=False)

    def start(self) -> None:
        """Begin to open the models, so that the first request finds them open."""
        self._opening = threading.Thread(target=self.models.open_all, name="open models")
        self._opening.start()
        self.jobs.start()
        self.promotions.start()

    def end_streams(self) -> None:
        """Let the clients of streams go, in the streams' own thread."""
        self.is_ending = True
        if self.live:
            self.live.streams.close()

    def close(self) -> None:
        """End what runs."""
        if self.live:
            self.live.close()
        self.promotions.close()
        self.jobs.close()
        self.models.stop_opening()
        self.predictor.close()
        if self._opening:
            self._opening.join()
        self.predictions.close()
        self.audit.close()


def open_services(config: WebConfig) -> Services:
    """Open the state folder and make what the routes need."""
    config.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    metrics = Metrics()
    limits = config.predictor.nice, config.predictor.memory_mb, config.predictor.limit_s
    predictor = PredictorProcess(config.workers, *limits, metrics.predictor_started)
    models = ModelLibrary(config.state / "models", config.shipped_models, predictor, metrics.uses)
    uploads = UploadStore(config.state / "uploads", config.max_uploads_mb << 20)
    jobs = _open_jobs(config, models, uploads)
    return Services(
        config,
        TokenStore(config.state),
        AuditLog(config.state),
        metrics,
        predictor,
        models,
        PredictionQueue(config.workers, config.queue_size, config.answer_within_s, config.deadline_s, metrics),
        uploads,
        jobs,
        Promotions(models, jobs),
        CalibrationSessions(config.state / "calibrations"),
    )


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


# The parameter of a route that works with them.
ServicesDep = Annotated[Services, Depends(_services)]


def _open_jobs(config: WebConfig, models: ModelLibrary, uploads: UploadStore) -> JobRunner:
    def model_path(name: str) -> Path | None:
        found = models.files().get(name)
        return found.path if found else None

    def job_file(job_id: str, path: str) -> Path | None:
        return runner.output_file(job_id, path)

    datasets = Path(config.datasets_folder).expanduser()
    finder = InputFinder(uploads, job_file, model_path, config.state / "recordings", datasets)
    runner = JobRunner(config.state / "jobs", finder, config.jobs, config.model_store)
    return runner
