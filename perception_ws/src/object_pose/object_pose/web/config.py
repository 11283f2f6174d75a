"""What the web server is started with."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from object_pose.core.params import parameter
from object_pose.web.live.hub import StreamConfig

STATE_VARIABLE = "OBJECT_POSE_STATE"


@dataclass(frozen=True)
class PredictorConfig:
    """What the process that holds the models may take."""

    nice: int = parameter(
        0,
        "niceness of the predictor: 0 takes a usual share of the cores, 19 the rest",
        minimum=0,
        maximum=19,
        read_only=True,
    )
    memory_mb: int = parameter(8192, "memory of its own that it may take", minimum=256, maximum=1 << 24, read_only=True)
    limit_s: float = parameter(
        120.0,
        "seconds after which it is ended with a prediction that is not done",
        minimum=0.1,
        maximum=3600.0,
        read_only=True,
    )


@dataclass(frozen=True)
class JobsConfig:
    """How many jobs run and wait, and how they share the cores with what else runs."""

    at_once: int = parameter(1, "jobs that run at a time", minimum=1, maximum=64, read_only=True)
    most_waiting: int = parameter(32, "jobs that may wait; more are refused", minimum=1, maximum=10_000, read_only=True)
    nice: int = parameter(
        10, "niceness of jobs: 0 takes a usual share of the cores, 19 the rest", minimum=0, maximum=19, read_only=True
    )


@dataclass(frozen=True)
class WebConfig:
    """Where the server listens, what it keeps where, and what one request may cost."""

    host: str = parameter("127.0.0.1", "address to listen on; other than loopback, tokens are needed", read_only=True)
    port: int = parameter(8080, "TCP port; 0 takes a free one", minimum=0, maximum=65535, read_only=True)
    certificate: str = parameter("", "TLS certificate chain (PEM); with key it makes HTTPS", read_only=True)
    key: str = parameter("", "private key (PEM) of the certificate", read_only=True)
    state_folder: str = parameter(
        "", "folder of tokens, uploaded models, jobs and the audit log; '' for the user's own", read_only=True
    )
    datasets_folder: str = parameter("datasets", "folder whose data sets are listed", read_only=True)
    reports_folder: str = parameter("out", "folder whose reports are shown", read_only=True)
    store: str = parameter(
        "", "model registry: a folder or an MLflow URI; '' for that of the environment, or runs/store", read_only=True
    )
    shipped_models: bool = parameter(True, "serve the shipped models where no other was chosen", read_only=True)
    workers: int = parameter(1, "predictions at a time", minimum=1, maximum=64, read_only=True)
    queue_size: int = parameter(
        8, "predictions that may wait; more are refused", minimum=1, maximum=4096, read_only=True
    )
    answer_within_s: float = parameter(
        4.0,
        "seconds within which predictions are to be answered; those that are expected to take longer are refused",
        minimum=0.1,
        maximum=3600.0,
        read_only=True,
    )
    deadline_s: float = parameter(
        30.0, "seconds that an admitted prediction may wait for its turn", minimum=0.1, maximum=3600.0, read_only=True
    )
    requests_per_second: float = parameter(
        200.0, "requests that one caller may send in the long run", minimum=0.1, maximum=1e5, read_only=True
    )
    burst: int = parameter(400, "requests that one caller may send at once", minimum=1, maximum=100_000, read_only=True)
    max_upload_mb: int = parameter(256, "largest body of a request with files", minimum=1, maximum=4096, read_only=True)
    max_json_mb: int = parameter(32, "largest body of a request in JSON", minimum=1, maximum=512, read_only=True)
    max_image_mp: int = parameter(32, "largest image, in millions of pixels", minimum=1, maximum=134, read_only=True)
    max_uploads_mb: int = parameter(
        8192, "files for jobs that are kept, all together", minimum=1, maximum=1 << 24, read_only=True
    )
    predictor: PredictorConfig = PredictorConfig()
    jobs: JobsConfig = JobsConfig()
    streams: StreamConfig = StreamConfig()

    @property
    def model_store(self) -> str:
        """The model registry, a folder by its full path: jobs run in other folders."""
        named = os.environ.get("OBJECT_POSE_STORE") or os.environ.get("MLFLOW_TRACKING_URI") or "runs/store"
        where = self.store or named
        return where if "://" in where else str(Path(where).expanduser().resolve())

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches the server."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def has_tls(self) -> bool:
        """Whether the server speaks HTTPS."""
        return bool(self.certificate)

    @property
    def max_image_pixels(self) -> int:
        """Pixels of the largest image."""
        return self.max_image_mp * 1_000_000

    @property
    def state(self) -> Path:
        """The folder of what the server keeps."""
        return Path(self.state_folder).expanduser() if self.state_folder else default_state_folder()


def default_state_folder() -> Path:
    """Return the folder that the environment names, or the user's state folder of object_pose."""
    named = os.environ.get(STATE_VARIABLE)
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(named) if named else Path(state) / "object_pose"
