"""What stamps, frame_ids and counts say about a stream of frames."""

from __future__ import annotations

import pytest

from object_pose.ros.transport.frame_flow import FrameFlow

FRAME_NS = 50_000_000


def receive(flow, stamps_ns, frame_id="camera"):
    for stamp_ns in stamps_ns:
        flow.received("color", stamp_ns, frame_id)


def test_a_good_stream_is_not_complained_of():
    flow = FrameFlow()
    receive(flow, range(0, 20 * FRAME_NS, FRAME_NS))
    for _ in range(20):
        flow.handled(latency_s=0.05)
    assert not list(flow.problems(dropped=4))


@pytest.mark.parametrize(
    ("stamps_ns", "text"),
    [
        ([0] * 10, "stand still"),
        ([5_000_000_000, 2_000_000_000, 2_050_000_000], "jumped back by 3.0 s"),
        ([0, FRAME_NS, 60_000_000_000 + FRAME_NS], "jumped ahead by 60.0 s"),
    ],
)
def test_stamps_that_stand_still_or_jump_are_named(stamps_ns, text):
    flow = FrameFlow()
    receive(flow, stamps_ns)
    ((_, problem),) = flow.problems(dropped=0)
    assert text in problem


def test_a_camera_that_is_triggered_once_a_minute_does_not_jump():
    time_s = [0.0]
    flow = FrameFlow(now=lambda: time_s[0])
    for minute in range(3):
        time_s[0] = 60.0 * minute
        receive(flow, [minute * 60_000_000_000])
    assert not list(flow.problems(dropped=0))


def test_a_repeated_stamp_is_remembered_until_it_moves_on():
    flow = FrameFlow()
    receive(flow, [0] * 10)
    assert list(flow.problems(dropped=0))
    receive(flow, [0])
    assert list(flow.problems(dropped=0))
    receive(flow, [FRAME_NS])
    assert not list(flow.problems(dropped=0))


def test_another_frame_id_is_named_once():
    flow = FrameFlow()
    receive(flow, [0, FRAME_NS])
    receive(flow, [2 * FRAME_NS], "other")
    ((_, problem),) = flow.problems(dropped=0)
    assert "changed from 'camera' to 'other'" in problem
    assert not list(flow.problems(dropped=0))


def test_drops_of_half_of_the_frames_are_named():
    flow = FrameFlow()
    for _ in range(10):
        flow.handled(latency_s=0.05)
    assert not list(flow.problems(dropped=9))
    for _ in range(10):
        flow.handled(latency_s=0.05)
    ((_, problem),) = flow.problems(dropped=29)
    assert "29 of 49 frames were dropped" in problem


def test_drops_of_a_slow_camera_are_counted_over_some_seconds():
    flow, found = FrameFlow(), []
    for second in range(1, 4):
        flow.handled(latency_s=0.05)
        found.append([kind for kind, _ in flow.problems(dropped=2 * second)])
    assert found == [[], [], ["drops"]]


@pytest.mark.parametrize(("latency_s", "is_named"), [(0.2, False), (3.0, True), (-3.0, True), (1.7e9, False)])
def test_seconds_of_latency_are_named_and_stamps_of_another_epoch_are_not(latency_s, is_named):
    flow = FrameFlow()
    flow.handled(latency_s)
    assert ["latency" in kind for kind, _ in flow.problems(dropped=0)] == [True] * is_named
