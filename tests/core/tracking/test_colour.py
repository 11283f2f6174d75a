"""Known objects followed by contour and texture in colour: geometry, occlusion, clutter, and loss that is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import pytest

from object_pose.core.arrays import Array, Image
from object_pose.core.frame import Frame
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera, distortion_maps
from object_pose.core.geometry.symmetry import Symmetry
from object_pose.core.tracking.aligner import AlignedPoses, AlignerConfig, FrameAligner, LossReason, TrackStatus
from object_pose.core.tracking.view_model import ViewModel
from raycast import AXIS_Z, BRACKET, PLATE, SHAFT, Solid, model_of, render_depth

_CAMERA = Camera(640, 480, 600.0, 600.0, 319.5, 239.5)
_SOLIDS: tuple[Solid, ...] = (BRACKET, PLATE, SHAFT)
_BRACKET, _PLATE, _SHAFT = range(3)
_COLORS = np.array([(190, 120, 50), (60, 140, 170), (150, 60, 90)], dtype=np.float64)
_MODELS = (model_of("bracket", BRACKET), model_of("plate", PLATE), model_of("shaft", SHAFT, Symmetry(axis=AXIS_Z)))
_VIEWS = [ViewModel.of(model, 162) for model in _MODELS]
_START = se3.make_transform(se3.exp_so3((0.5, -0.7, 0.4)), (0.02, -0.01, 0.5))
_STEP = se3.make_transform(se3.exp_so3((0.02, -0.03, 0.025)), (0.004, -0.003, 0.005))
# What is known of where an object is expected: 2 cm and 0.1 rad.
_PRIOR = np.diag(np.repeat([0.02, 0.1], 3) ** -2.0)
Placed = Sequence[tuple[int, Array]]


def frame_of(
    placed: Placed, camera: Camera = _CAMERA, *, with_depth: bool = False, backdrop: Array | None = None
) -> Frame:
    """Return a picture of solids with a pattern on their surface, before a mottled grey wall or ``backdrop``."""
    ideal = replace(camera, distortion=(), distortion_model="")
    rows, columns = np.mgrid[: camera.height, : camera.width]
    pixels = np.stack([columns, rows], axis=-1).astype(np.float64)
    wall = 110.0 + 12.0 * np.sin(pixels @ (0.05, 0.11)) * np.cos(pixels @ (0.13, -0.07))
    image = np.repeat(wall[..., None], 3, axis=2) if backdrop is None else backdrop.astype(np.float64)
    nearest = np.full(wall.shape, np.inf)
    for solid, pose in placed:
        depth = render_depth([(_SOLIDS[solid], pose)], ideal)
        shown = (depth > 0.0) & (depth < nearest)
        points = se3.apply(se3.inverse(pose), ideal.backproject(pixels[shown], depth[shown].astype(np.float64)))
        pattern = np.sin(points @ (310.0, 170.0, -230.0)) + np.sin(points @ (-190.0, 280.0, 260.0) + 1.0)
        image[shown], nearest[shown] = _COLORS[solid] + 14.0 * pattern[:, None], depth[shown]
    image += np.random.default_rng(0).normal(0.0, 2.0, image.shape)
    rgb: Image = cv2.GaussianBlur(np.clip(image, 0, 255).astype(np.uint8), (0, 0), 0.7)
    if camera.is_distorted:
        rgb = cv2.remap(rgb, *distortion_maps(camera), cv2.INTER_LINEAR)
    depth_m = np.where(np.isfinite(nearest), nearest, 1.2).astype(np.float32) if with_depth else None
    return Frame(rgb, camera, depth_m)


def aligner(use_colour: str = "auto") -> FrameAligner:
    return FrameAligner(_VIEWS, AlignerConfig(use_colour=use_colour))


def learnt(placed: Placed, camera: Camera = _CAMERA, **options: bool) -> FrameAligner:
    """Return an aligner that has seen objects where they are."""
    known = aligner()
    known.learn(frame_of(placed, camera, **options), *of(placed))
    return known


def of(placed: Placed) -> tuple[np.ndarray, Array]:
    return np.array([solid for solid, _ in placed]), np.stack([pose for _, pose in placed])


def align(known: FrameAligner, frame: Frame, expected: Placed) -> AlignedPoses:
    class_ids, poses = of(expected)
    return known.align(frame, class_ids, poses, np.tile(_PRIOR, (len(expected), 1, 1)))


def errors(pose: Array, truth: Array) -> tuple[float, float]:
    """Return millimetres and degrees."""
    return 1e3 * float(np.linalg.norm(pose[:3, 3] - truth[:3, 3])), float(np.degrees(se3.rotation_angle(pose, truth)))


def moved(pose: Array, times: int = 1) -> Array:
    """Return a pose after so many steps about its own origin."""
    for _ in range(times):
        pose = se3.make_transform(_STEP[:3, :3] @ pose[:3, :3], pose[:3, 3] + _STEP[:3, 3])
    return pose


@pytest.mark.parametrize("distortion", [(), (0.12, -0.25, 0.001, -0.002, 0.1)])
def test_a_moving_object_is_followed_by_colour_alone(distortion: tuple[float, ...]) -> None:
    camera = replace(_CAMERA, distortion=distortion, distortion_model="")
    known, pose = learnt([(_BRACKET, _START)], camera), _START
    for times in range(1, 13):
        truth = moved(_START, times)
        aligned = align(known, frame_of([(_BRACKET, truth)], camera), [(_BRACKET, pose)])
        pose = aligned.T_camera_object[0]
        assert aligned.is_tracked[0]
        millimetres, degrees = errors(pose, truth)
        assert millimetres < 7.0 and degrees < 2.0  # 1.4 % of the distance, in the worst view


def with_rim(frame: Frame, pose: Array) -> Frame:
    """Return the picture of a bracket that looks a pixel larger all around than its model, as blur and hair make it."""
    assert frame.rgb is not None
    shown = (render_depth([(BRACKET, pose)], frame.camera) > 0.0).astype(np.uint8)
    rim = cv2.dilate(shown, np.ones((3, 3), np.uint8)) > shown
    rgb = frame.rgb.copy()
    rgb[rim] = _COLORS[_BRACKET].astype(np.uint8)
    return replace(frame, rgb=rgb)


def test_how_much_too_large_an_object_looks_is_learnt_where_depth_knows_its_distance() -> None:
    errors_mm = {}
    for with_depth in (False, True):
        known, pose = aligner(), _START
        known.learn(with_rim(frame_of([(_BRACKET, pose)], with_depth=with_depth), pose), *of([(_BRACKET, pose)]))
        for times in range(1, 6):
            truth = moved(_START, times)
            seen = with_rim(frame_of([(_BRACKET, truth)]), truth)
            pose = align(known, seen, [(_BRACKET, pose)]).T_camera_object[0]
        errors_mm[with_depth] = 1e3 * abs(pose[2, 3] - truth[2, 3])
    assert errors_mm[True] < 2.0 < 0.6 * errors_mm[False], errors_mm


def test_a_fast_motion_is_followed() -> None:
    truth = se3.make_transform(se3.exp_so3((0.1, -0.12, 0.15)) @ _START[:3, :3], _START[:3, 3] + (0.03, -0.02, 0.02))
    aligned = align(learnt([(_BRACKET, _START)]), frame_of([(_BRACKET, truth)]), [(_BRACKET, _START)])
    millimetres, degrees = errors(aligned.T_camera_object[0], truth)
    assert aligned.is_tracked[0] and millimetres < 4.0 and degrees < 1.5


def test_an_object_that_is_gone_is_said_to_be_lost() -> None:
    known = learnt([(_BRACKET, _START)])
    aligned = align(known, frame_of([]), [(_BRACKET, _START)])
    assert aligned.status[0] == TrackStatus.LOST and aligned.reasons[0] == LossReason.COLOUR_DISAGREES
    assert np.array_equal(aligned.T_camera_object[0], _START)
    # Nothing was learnt from a frame without it.
    assert align(known, frame_of([(_BRACKET, _START)]), [(_BRACKET, _START)]).is_tracked[0]


def test_an_object_outside_of_the_image_is_said_to_be_there() -> None:
    aside = se3.make_transform(_START[:3, :3], (0.5, 0.0, 0.5))
    aligned = align(learnt([(_BRACKET, _START)]), frame_of([(_BRACKET, aside)]), [(_BRACKET, aside)])
    assert aligned.reasons[0] == LossReason.NOT_IN_IMAGE


def test_lines_behind_another_tracked_object_are_left_out() -> None:
    in_front = se3.make_transform(np.eye(3), (0.06, -0.02, 0.4))
    placed = [(_BRACKET, _START), (_PLATE, in_front)]
    known = learnt(placed)
    shifted = [(solid, moved(pose)) for solid, pose in placed]
    aligned = align(known, frame_of(shifted), placed)
    assert aligned.appearance is not None
    hidden = aligned.appearance.region.hidden
    assert hidden[0] > 0.1 and hidden[1] == 0.0
    for pose, (_, truth) in zip(aligned.T_camera_object, shifted):
        millimetres, degrees = errors(pose, truth)
        assert millimetres < 5.0 and degrees < 3.0


def test_lines_behind_what_depth_shows_in_front_are_left_out() -> None:
    known = learnt([(_BRACKET, _START)], with_depth=True)
    arm = frame_of([(_BRACKET, _START)], with_depth=True)
    assert arm.depth_m is not None
    arm.depth_m[:, 330:400], arm.rgb[:, 330:400] = 0.3, (190, 120, 50)
    aligned = align(known, arm, [(_BRACKET, _START)])
    assert aligned.appearance is not None and aligned.appearance.region.hidden[0] > 0.2
    millimetres, degrees = errors(aligned.T_camera_object[0], _START)
    assert millimetres < 2.0 and degrees < 1.0


def test_clutter_in_the_objects_colours_weighs_less() -> None:
    wall = np.full((480, 640, 3), 110.0)
    half = wall.copy()
    half[:, 330:] = _COLORS[_BRACKET]
    known, sizes = {}, {}
    for name, backdrop in (("clean", wall), ("cluttered", half)):
        known[name] = aligner()
        frame = frame_of([(_BRACKET, _START)], backdrop=backdrop)
        known[name].learn(frame, *of([(_BRACKET, _START)]))
        region = align(known[name], frame, [(_BRACKET, _START)]).appearance
        assert region is not None
        sizes[name] = region.region
    assert sizes["cluttered"].separability[0] < sizes["clean"].separability[0] - 0.1
    assert sizes["cluttered"].agreeing[0] < sizes["clean"].agreeing[0]


def test_texture_tells_how_far_a_body_of_revolution_has_turned() -> None:
    start = se3.make_transform(se3.exp_so3((1.3, 0.2, 0.0)), (0.0, 0.0, 0.4))
    known, pose = learnt([(_SHAFT, start)]), start
    for degrees in (4.0, 8.0, 12.0, 16.0):
        truth = start @ se3.make_transform(se3.exp_so3((0.0, 0.0, np.radians(degrees))), np.zeros(3))
        aligned = align(known, frame_of([(_SHAFT, truth)]), [(_SHAFT, pose)])
        pose = aligned.T_camera_object[0]
        assert aligned.is_tracked[0] and errors(pose, truth)[1] < 3.0


def test_colour_is_asked_where_depth_leaves_a_direction_open() -> None:
    # Of a plate that lies on a table depth says nothing of where its edges are.
    lying, standing = (se3.make_transform(turn, (0.0, 0.0, 0.25)) for turn in (np.eye(3), _START[:3, :3]))
    for solid, pose, is_open in ((_PLATE, lying, True), (_BRACKET, standing, False)):
        frame = frame_of([(solid, pose)], with_depth=True)
        assert frame.depth_m is not None
        frame.depth_m[frame.depth_m > 1.0] = 0.255 if is_open else 0.5
        known = aligner()
        for _ in range(2):
            aligned = align(known, frame, [(solid, pose)])
        assert aligned.appearance is not None and aligned.uses_depth[0]
        assert aligned.appearance.was_measured[0] == is_open
    assert align(aligner("never"), frame, [(_BRACKET, standing)]).appearance is None


def test_the_looks_of_a_track_are_its_own() -> None:
    """Two objects of one class and of different colours change places in the list, and keep their ids."""
    left, right = (se3.make_transform(_START[:3, :3], (x, 0.0, 0.5)) for x in (-0.1, 0.1))
    frame = frame_of([(_BRACKET, left), (_BRACKET, right)])
    frame.rgb[:, :320] = 255 - frame.rgb[:, :320]
    known = aligner()
    ids, poses = np.array([_BRACKET, _BRACKET]), np.stack([left, right])
    known.learn(frame, ids, poses, np.array([7, 3]))
    prior = np.tile(_PRIOR, (2, 1, 1))
    aligned = known.align(frame, ids, poses[::-1], prior, np.array([3, 7]))
    assert np.all(aligned.is_tracked)
    swapped = known.align(frame, ids, poses, prior, np.array([3, 7]))
    assert not np.any(swapped.is_tracked)
