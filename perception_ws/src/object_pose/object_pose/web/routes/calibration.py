"""Calibration with guidance: each image of the board says what is covered and what to show next."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, Path, Query, Response, UploadFile
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field

from object_pose.core.arrays import Image
from object_pose.io.images import decode_rgb, encode_image
from object_pose.web.calibrations import OpenSession, parse_robot_pose
from object_pose.web.errors import HttpError
from object_pose.web.openapi import content, documented
from object_pose.web.routes.jobs import JobModel, described
from object_pose.web.security.scopes import Scope, requires
from object_pose.web.services import Services, ServicesDep

router = APIRouter(prefix="/v1/calibration/session", tags=["calibration"])
_READ, _OPERATE = [requires(Scope.READ)], [requires(Scope.OPERATE)]
_PICTURE_QUALITY = 90
SessionId = Annotated[str, Path(max_length=64, description="id of a session")]


class SessionRequest(BaseModel):
    """What is calibrated, with which board, under which name; ``mounting`` is of hand-eye."""

    kind: Literal["intrinsics", "hand-eye"] = "intrinsics"
    board: str = Field(max_length=200, examples=["charuco:9x6:0.03:0.022:DICT_5X5_100"])
    name: str = Field(default="camera", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    mounting: Literal["eye_in_hand", "eye_to_hand"] = "eye_in_hand"


class SessionModel(BaseModel):
    """A session, and the names of the images that it keeps."""

    id: str
    kind: str
    board: str
    name: str
    images: int
    names: list[str]


class CaptureModel(BaseModel):
    """What an image shows: the board's ``corners`` in its pixels, what is covered so far, and what to show next."""

    found: bool
    useful: bool
    kept_as: str | None
    images: int
    size_wh: tuple[int, int]
    corners: list[list[float]]
    advice: str
    wanted: list[list[float]] | None
    coverage: dict[str, Any] | None
    next_poses: list[dict[str, Any]]


@router.post("", dependencies=_OPERATE, status_code=201, summary="Begin a session")
def begin(services: ServicesDep, request: SessionRequest) -> SessionModel:
    return _described(services.calibrations.open(request.kind, request.board, request.name, request.mounting))


@router.get("/{session_id}", dependencies=_READ, summary="One session", responses=documented(404))
def one_session(services: ServicesDep, session_id: SessionId) -> SessionModel:
    return _described(services.calibrations.find(session_id))


@router.post(
    "/{session_id}/capture",
    dependencies=_OPERATE,
    summary="Look at the live view, or at an image that is sent; keep it where the board is seen",
    responses=documented(404, 503),
)
async def capture(
    services: ServicesDep,
    session_id: SessionId,
    keep: Annotated[bool, Query(description="keep the image where it shows the board")] = True,
    image: Annotated[UploadFile | None, File(description="an image; without one the live view is looked at")] = None,
    robot_pose: Annotated[str, Form(description="gripper in the base: x y z qx qy qz qw", max_length=300)] = "",
) -> CaptureModel:
    session = services.calibrations.find(session_id)
    if image is None:
        rgb = await _live_image(services)
    else:
        rgb = decode_rgb(await image.read(), "image", services.config.max_image_pixels)
    taken = await run_in_threadpool(session.take, rgb, parse_robot_pose(robot_pose), keep)
    return CaptureModel.model_validate(taken)


@router.get(
    "/{session_id}/picture.jpg",
    dependencies=_READ,
    summary="The image that was looked at last, with its lens distortion: corners are pixels of it",
    response_class=Response,
    responses=content("image/jpeg") | documented(404),
)
def picture(services: ServicesDep, session_id: SessionId) -> Response:
    rgb = services.calibrations.find(session_id).looked_at
    if rgb is None:
        raise HttpError(404, "no image was looked at yet: capture one")
    return Response(encode_image(rgb, ".jpg", _PICTURE_QUALITY), media_type="image/jpeg")


@router.delete(
    "/{session_id}/images/{name}",
    dependencies=_OPERATE,
    status_code=204,
    summary="Remove an image",
    responses=documented(404),
)
def drop(services: ServicesDep, session_id: SessionId, name: Annotated[str, Path(max_length=64)]) -> None:
    services.calibrations.find(session_id).drop(name)


@router.post(
    "/{session_id}/solve",
    dependencies=_OPERATE,
    status_code=201,
    summary="Calibrate in a job",
    responses=documented(404, 409, 503),
)
def solve(services: ServicesDep, session_id: SessionId) -> JobModel:
    kind, inputs = services.calibrations.find(session_id).inputs()
    return described(services.jobs.submit_checked(kind, inputs), services.jobs)


@router.delete(
    "/{session_id}", dependencies=_OPERATE, status_code=204, summary="End a session", responses=documented(404)
)
def end(services: ServicesDep, session_id: SessionId) -> None:
    services.calibrations.close(session_id)


async def _live_image(services: Services) -> Image:
    if services.live is None:
        raise HttpError(404, "no pipeline is attached: send an image", "no_pipeline")
    shown = await services.live.frame()
    rgb = await run_in_threadpool(lambda: shown.live.frame.rgb)
    if rgb is None:
        raise HttpError(503, "the live view has no colour image", "no_frame", {"Retry-After": "2"})
    return rgb


def _described(opened: OpenSession) -> SessionModel:
    names = opened.session.names
    return SessionModel(
        id=opened.id, kind=opened.kind, board=opened.board, name=opened.name, images=len(names), names=names
    )
