"""Messages of one frame meet; a partner that never comes costs nothing but itself, and is named."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from object_pose.ros.transport.pairing import FramePairer, StampedBuffer

MS = 1_000_000
FRAME_NS = 50 * MS
SECOND_NS = 1000 * MS


@dataclass(frozen=True)
class Sized:
    """A message that holds data."""

    data: bytes


def make(tolerance_ms=2):
    return FramePairer("detections", ["depth"], tolerance_ms * MS)


def add_all(pairer, messages):
    return [paired for stream, stamp in messages for paired in pairer.add(stream, stamp, (stream, stamp))]


@given(st.permutations(["detections", "depth"]), st.integers(-2 * MS, 2 * MS))
def test_a_frame_is_complete_whatever_order_it_comes_in(order, jitter_ns):
    stamps = {"detections": FRAME_NS, "depth": FRAME_NS - jitter_ns}
    pairer = make()
    pairer.add("depth", 0, "the depth camera is alive")
    (paired,) = add_all(pairer, [(stream, stamps[stream]) for stream in order])
    assert paired.stamp_ns == FRAME_NS
    assert set(paired.messages) == {"detections", "depth"}


def test_without_a_depth_camera_nothing_waits():
    (paired,) = add_all(make(), [("detections", 0)])
    assert (set(paired.messages), paired.missing) == ({"detections"}, ())


@pytest.mark.parametrize(("rate_hz", "latency_ms"), [(60, 150), (30, 300), (30, 2000), (5, 4500)])
def test_however_late_detections_are_they_find_their_depth(rate_hz, latency_ms):
    period_ns = SECOND_NS // rate_hz
    late = latency_ms * MS // period_ns
    pairer, sets = make(), []
    for frame in range(late + 100):
        sets += pairer.add("depth", frame * period_ns, frame)
        if frame >= late:
            sets += pairer.add("detections", (frame - late) * period_ns, "found")
    assert [paired.messages.get("depth") for paired in sets] == list(range(100))


def test_a_depth_frame_that_is_lost_delays_by_one_frame_only():
    first, second = add_all(
        make(),
        [("depth", 0), ("detections", FRAME_NS)] + [(stream, 2 * FRAME_NS) for stream in ("depth", "detections")],
    )
    assert (first.stamp_ns, "depth" in first.messages) == (FRAME_NS, False)
    assert (second.stamp_ns, "depth" in second.messages) == (2 * FRAME_NS, True)


def test_a_depth_camera_that_stops_is_not_waited_for():
    pairer = make()
    pairer.add("depth", 0, "last")
    (paired,) = add_all(pairer, [("detections", 40 * FRAME_NS)])
    assert "depth" not in paired.messages


def test_only_what_may_still_be_asked_for_is_kept():
    buffer = StampedBuffer(kept_ns=SECOND_NS, most_bytes=1000)
    for frame in range(100):
        buffer.add(frame * FRAME_NS, Sized(bytes(10)))
    assert buffer.nearest(79 * FRAME_NS) and not buffer.nearest(78 * FRAME_NS)
    assert buffer.gone_until_ns == 78 * FRAME_NS
    for frame in range(100, 110):
        buffer.add(frame * FRAME_NS, Sized(bytes(100)))
    assert buffer.nearest(100 * FRAME_NS) and not buffer.nearest(99 * FRAME_NS)
    for frame in range(110, 120):
        buffer.add(frame * FRAME_NS, Sized(bytes(5000)))
    assert [bool(buffer.nearest(frame * FRAME_NS)) for frame in (111, 112, 119)] == [False, True, True]
    buffer.drop_before(119 * FRAME_NS)
    assert not buffer.nearest(118 * FRAME_NS) and buffer.nearest(119 * FRAME_NS)


def test_a_recording_that_starts_again_is_paired_again():
    pairer = make()
    add_all(pairer, [(stream, 100 * SECOND_NS + i * FRAME_NS) for i in range(20) for stream in ("depth", "detections")])
    again = add_all(pairer, [(stream, i * FRAME_NS) for i in range(1, 5) for stream in ("depth", "detections")])
    assert all("depth" in paired.messages for paired in again) and len(again) == 4


def test_stamps_that_never_meet_are_explained():
    pairer = make()
    add_all(pairer, [("detections", 0), ("depth", 17 * MS)])
    assert pairer.explain("depth") == (
        "the stamps of depth and detections differ by at least 17.0 ms, more than pair_tolerance_ms = 2"
    )
    add_all(pairer, [("detections", FRAME_NS), ("depth", FRAME_NS)])
    assert pairer.explain("depth") == ""


def test_detections_that_are_later_than_depth_is_kept_are_explained():
    pairer = make()
    add_all(pairer, [("depth", index * FRAME_NS) for index in range(200)])
    (paired,) = add_all(pairer, [("detections", 10 * FRAME_NS)])
    assert paired.missing == ("depth",)
    assert pairer.explain("depth") == "detections come 9.4 s later than depth, which is not kept as long"


def test_what_an_image_lacks_of_a_camera_that_runs_is_said():
    messages = [("detections", 0), ("depth", 0), ("detections", FRAME_NS)]
    first, second = add_all(make(), [*messages, ("depth", 2 * FRAME_NS)])
    assert (first.missing, second.missing) == ((), ("depth",))


def test_however_slow_the_camera_is_its_depth_is_waited_for():
    pairer = make()
    sets = [
        add_all(pairer, [(stream, frame * 3 * SECOND_NS) for stream in ("detections", "depth")]) for frame in range(3)
    ]
    assert ["depth" in paired.messages for (paired,) in sets] == [False, True, True]


def test_a_stream_that_has_gone_past_is_not_waited_for():
    (paired,) = add_all(make(), [("depth", 17 * MS), ("detections", 0)])
    assert paired.missing == ("depth",)


def test_what_waits_for_a_stream_goes_on_when_it_is_forgotten():
    pairer = make()
    assert add_all(pairer, [("depth", 0), ("detections", FRAME_NS)]) == []
    (paired,) = pairer.forget("depth")
    assert (paired.stamp_ns, paired.missing) == (FRAME_NS, ())
    assert pairer.explain("depth") == ""
