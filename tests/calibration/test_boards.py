"""Boards: what describes them, where their points are found, and where they are before a camera."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from object_pose.calibration.boards import Board, board_pose, detect, parse_board
from object_pose.calibration.simulated import board_picture, exact_view, pose_before
from object_pose.core.errors import ConfigError
from object_pose.core.geometry.camera import Camera
from object_pose.core.geometry.se3 import apply, inverse, log

PINHOLE = Camera(640, 480, 560.0, 560.0, 319.5, 239.5)
DISTORTED = Camera(640, 480, 420.0, 425.0, 325.0, 236.0, (-0.28, 0.11, 0.001, -0.0005, -0.02))
FISHEYE = Camera(640, 480, 260.0, 260.0, 320.0, 240.0, (0.02, -0.01, 0.004, -0.001), "equidistant")
KINDS = ("chessboard:9x6:0.025", "charuco:8x6:0.03:0.022", "apriltag:5x4:0.04:0.012", "circles:7x5:0.03")


def expected_pixels(camera, points, T):
    return camera.distort(camera.project(apply(T, points)))


def nearest_error(camera, view, T):
    """Return the largest error of the points in pixels, under the numbering that fits best."""
    return min(np.abs(expected_pixels(camera, own, T) - view.pixels).max() for own in view.hypotheses)


@given(
    kind=st.sampled_from(["chessboard", "circles", "asymmetric_circles", "charuco", "apriltag"]),
    columns=st.integers(2, 12),
    rows=st.integers(2, 12),
    spacing=st.integers(5, 200),
)
def test_a_board_is_read_as_it_is_written(kind, columns, rows, spacing):
    board = Board(kind, columns, rows, spacing / 1000, spacing / 2000)
    read = parse_board(str(board))
    assert (read.kind, read.columns, read.rows, read.dictionary) == (kind, columns, rows, board.dictionary)
    np.testing.assert_allclose(read.points_m, board.points_m)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "chessboard",
        "chessboard:9:0.02",
        "chessboard:9x6:-1",
        "charuco:9x6:0.02:0.03",
        "cube:3x3:0.1",
        "charuco:4x4:0.03:0.02:DICT_9",
    ],
)
def test_a_board_that_cannot_be_is_refused(text):
    with pytest.raises(ConfigError):
        parse_board(text)


@given(
    camera=st.sampled_from([PINHOLE, DISTORTED, FISHEYE]),
    tilt=st.tuples(st.floats(-0.7, 0.7), st.floats(-0.7, 0.7)),
    roll=st.floats(-3.1, 3.1),
    distance=st.floats(0.4, 2.0),
)
def test_a_pose_is_found_from_its_projection(camera, tilt, roll, distance):
    board = parse_board("chessboard:9x6:0.025")
    T = pose_before(board, distance, np.array(tilt), roll)
    found = board_pose(camera, expected_pixels(camera, board.points_m, T), board.points_m)
    assert np.abs(log(inverse(found) @ T)).max() < 1e-5


@pytest.mark.parametrize("text", KINDS)
def test_every_kind_of_board_is_found_in_a_picture(text):
    board = parse_board(text)
    T = pose_before(board, 0.45, np.array([0.3, -0.25]), 0.15)
    views, missed = detect(board, [("a", board_picture(board, DISTORTED, T)), ("b", np.full((480, 640), 90, np.uint8))])
    assert missed == ["b"]
    assert len(views[0].pixels) == len(board.points_m)
    assert nearest_error(DISTORTED, views[0], T) < 0.5


@pytest.mark.parametrize("text", ["chessboard:8x6:0.025", "charuco:8x6:0.03:0.022", "apriltag:5x4:0.04:0.012"])
def test_a_part_of_a_board_is_found(text):
    board = parse_board(text)
    T = pose_before(board, 0.42, np.array([0.2, -0.2]), 0.1, np.array([0.19, 0.02]))
    views, _ = detect(board, [("a", board_picture(board, PINHOLE, T))])
    visible = len(exact_view(board, PINHOLE, T).pixels)
    assert visible < len(board.points_m)
    assert 0.5 * visible < len(views[0].pixels) <= visible
    assert nearest_error(PINHOLE, views[0], T) < 0.5


def test_a_chessboard_with_one_even_side_has_one_numbering():
    for text, count in (("chessboard:9x6:0.025", 1), ("chessboard:9x7:0.025", 2)):
        board = parse_board(text)
        for roll in (0.1, 3.0):
            T = pose_before(board, 0.5, np.array([0.1, 0.2]), roll)
            (view,), _ = detect(board, [("a", board_picture(board, PINHOLE, T))])
            assert len(view.hypotheses) == count
            assert nearest_error(PINHOLE, view, T) < 0.5
