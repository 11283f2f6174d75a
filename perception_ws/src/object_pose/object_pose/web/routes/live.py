"""The running pipeline: state, events, pictures, point cloud, and what operators do with it."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel

from object_pose.web.errors import HttpError
from object_pose.web.live import encoding
from object_pose.web.live.hub import LiveHub
from object_pose.web.live.view import LiveView
from object_pose.web.openapi import content, documented
from object_pose.web.security.scopes import Scope, requires
from object_pose.web.services import ServicesDep

router = APIRouter(prefix="/v1/live", tags=["live"])
_READ, _OPERATE = [requires(Scope.READ)], [requires(Scope.OPERATE)]
_NO_PIPELINE = documented(404, 503)
_CHANGES: dict[str, Any] = {"dependencies": _OPERATE, "responses": documented(404, 409)}


async def _view(services: ServicesDep) -> LiveView:
    if services.live is None:
        raise HttpError(404, "no pipeline is attached: start 'object-pose run --web' or 'serve --live'", "no_pipeline")
    return services.live


ViewDep = Annotated[LiveView, Depends(_view)]


class LatencyModel(BaseModel):
    """Age of a frame when its poses are here, milliseconds."""

    p50: float | None
    p95: float | None


class NodeModel(BaseModel):
    """What a node of the pipeline says about itself."""

    name: str
    level: Literal["ok", "warning", "error"]
    message: str


class StatusModel(BaseModel):
    """How the pipeline does; also the data of the event ``status``. ``model`` is null while it is not known."""

    available: bool
    paused: bool
    model: str | None
    rate_hz: float | None
    latency_ms: LatencyModel
    dropped: int
    rejected: dict[str, int]
    detector_hz: float | None
    load: float
    nodes: list[NodeModel]


class PoseModel(BaseModel):
    """An object in the camera's optical frame, in metres; ``covariance`` is 6 x 6 by rows: translation, rotation."""

    id: int
    class_id: int
    class_name: str
    score: float
    position: list[float]
    quat_xyzw: list[float]
    covariance: list[float]
    state: Literal["tracked", "registered", "lost"]
    box_2d: list[float] | None


class FrameModel(BaseModel):
    """The frame that is shown; ``K`` is of pictures of the size ``size_wh``, which have no lens distortion."""

    stamp_ns: str
    frame_id: str
    size_wh: tuple[int, int]
    K: list[list[float]]
    T_base_camera: list[list[float]] | None


class LiveModel(BaseModel):
    """The live view; without a pipeline ``available`` is false and there is no frame."""

    available: bool
    paused: bool = False
    recording: str | None = None
    model: str | None = None
    frame: FrameModel | None = None
    poses: list[PoseModel] = []
    status: StatusModel | None = None


class PausedModel(BaseModel):
    """Whether the live view is paused."""

    paused: bool


class RecordingRequest(BaseModel):
    """``name`` of a new recording; without one it is named after the time."""

    action: Literal["start", "stop"]
    name: str | None = None


class RecordingModel(BaseModel):
    """The recording that was begun or ended, to be named ``recording:NAME`` in the options of jobs."""

    name: str
    recording: bool


@router.get("", dependencies=_READ, summary="State of the running pipeline, with the newest frame's poses")
async def state(services: ServicesDep) -> LiveModel:
    live = services.live
    if live is None:
        return LiveModel(available=False)
    return LiveModel.model_validate(_state(live))


@router.get(
    "/events",
    dependencies=_READ,
    summary="Server-sent events: 'frame' for each frame that is shown, 'status' once a second",
    response_class=Response,
    responses=content("text/event-stream") | _NO_PIPELINE,
)
async def events(live: ViewDep) -> Response:
    return live.streams.events()


@router.get(
    "/stream.mjpeg",
    dependencies=_READ,
    summary="The picture as MJPEG, without lens distortion; each part has the header X-Stamp-Ns",
    response_class=Response,
    responses=content("multipart/x-mixed-replace") | _NO_PIPELINE,
)
async def pictures(
    live: ViewDep,
    width: Annotated[int, Query(ge=0, le=4096, description="pixels, rounded up to 160; 0: the camera's own")] = 0,
) -> Response:
    return live.streams.pictures(width)


@router.get(
    "/snapshot.jpg",
    dependencies=_READ,
    summary="The newest picture",
    response_class=Response,
    responses=content("image/jpeg") | _NO_PIPELINE,
)
async def snapshot(live: ViewDep, annotated: bool = False) -> Response:
    shown = await live.frame()
    picture = await run_in_threadpool(encoding.picture, shown, annotated=annotated)
    return Response(picture, media_type="image/jpeg", headers={"X-Stamp-Ns": str(shown.stamp_ns)})


@router.get(
    "/cloud",
    dependencies=_READ,
    summary="Points of the newest depth image: uint32 n, float32 xyz * n in metres, uint8 rgb * n",
    response_class=Response,
    responses=content("application/octet-stream") | _NO_PIPELINE,
)
async def cloud(live: ViewDep, points: Annotated[int, Query(ge=1, le=400_000)] = 20_000) -> Response:
    shown = await live.frame()
    points_bytes = await run_in_threadpool(encoding.cloud, shown, points)
    return Response(points_bytes, media_type="application/octet-stream", headers={"X-Stamp-Ns": str(shown.stamp_ns)})


@router.post("/pause", summary="Keep the picture, and stop the camera where it is ours", **_CHANGES)
def pause(live: ViewDep) -> PausedModel:
    live.pause()
    return PausedModel(paused=True)


@router.post("/resume", summary="Go on", **_CHANGES)
def resume(live: ViewDep) -> PausedModel:
    live.resume()
    return PausedModel(paused=False)


@router.post("/step", summary="One frame more while paused", **_CHANGES)
def step(live: ViewDep) -> PausedModel:
    live.step()
    return PausedModel(paused=True)


@router.post("/recording", summary="Start or stop recording the pipeline's topics into a bag", **_CHANGES)
def recording(live: ViewDep, request: RecordingRequest) -> RecordingModel:
    if request.action == "stop":
        return RecordingModel(name=live.stop_recording().name, recording=False)
    name = request.name or f"recording-{datetime.now(timezone.utc):%Y%m%d-%H%M%S}"
    return RecordingModel(name=live.record(name).name, recording=True)


def _state(live: LiveView) -> dict[str, Any]:
    hub: LiveHub = live.hub
    shown, recording = hub.newest() if hub.is_watched or hub.is_frozen else None, live.control.recording
    hub.want()
    status = hub.status()
    return {
        "available": hub.is_available,
        "paused": hub.is_frozen,
        "recording": recording.name if recording else None,
        "model": status["model"],
        "frame": encoding.frame_description(shown) if shown else None,
        "poses": encoding.frame_event(shown)["poses"] if shown else [],
        "status": status,
    }
