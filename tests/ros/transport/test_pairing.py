"""Messages of one frame meet; a partner that never comes costs nothing but itself, and is named."""

from hypothesis import given
from hypothesis import strategies as st

from object_pose.ros.transport.pairing import FramePairer

MS = 1_000_000
FRAME_NS = 50 * MS


def make(tolerance_ms=2):
    return FramePairer("detections", ["info"], ["depth"], tolerance_ms * MS)


def add_all(pairer, messages):
    return [paired for stream, stamp in messages for paired in pairer.add(stream, stamp, (stream, stamp))]


@given(st.permutations(["detections", "info", "depth"]), st.integers(-2 * MS, 2 * MS))
def test_a_frame_is_complete_whatever_order_it_comes_in(order, jitter_ns):
    stamps = {"detections": FRAME_NS, "info": FRAME_NS + jitter_ns, "depth": FRAME_NS - jitter_ns}
    pairer = make()
    pairer.add("depth", 0, "the depth camera is alive")
    (paired,) = add_all(pairer, [(stream, stamps[stream]) for stream in order])
    assert paired.stamp_ns == FRAME_NS
    assert set(paired.messages) == {"detections", "info", "depth"}


def test_without_a_depth_camera_nothing_waits():
    (paired,) = add_all(make(), [("info", 0), ("detections", 0)])
    assert "depth" not in paired.messages


def test_a_depth_frame_that_is_lost_delays_by_one_frame_only():
    first, second = add_all(
        make(),
        [("depth", 0), *((stream, FRAME_NS) for stream in ("info", "detections"))]
        + [(stream, 2 * FRAME_NS) for stream in ("info", "depth", "detections")],
    )
    assert (first.stamp_ns, "depth" in first.messages) == (FRAME_NS, False)
    assert (second.stamp_ns, "depth" in second.messages) == (2 * FRAME_NS, True)


def test_a_depth_camera_that_stops_is_not_waited_for():
    pairer = make()
    pairer.add("depth", 0, "last")
    late = 40 * FRAME_NS
    (paired,) = add_all(pairer, [("info", late), ("detections", late)])
    assert "depth" not in paired.messages


def test_anchors_without_a_required_partner_are_counted():
    pairer = make()
    add_all(pairer, [("detections", index * FRAME_NS) for index in range(3)])
    add_all(pairer, [("info", 2 * FRAME_NS)])
    assert pairer.lost == 2


def test_nothing_is_kept_for_ever():
    pairer = make()
    assert add_all(pairer, [("detections", index * FRAME_NS) for index in range(100)]) == []
    assert pairer.lost == 92


def test_stamps_that_never_meet_are_explained():
    pairer = make()
    add_all(pairer, [("detections", 0), ("info", 17 * MS)])
    assert pairer.explain("info") == (
        "the stamps of info and detections differ by at least 17.0 ms, more than pair_tolerance_ms = 2"
    )
    assert pairer.explain("depth") == ""


def test_what_an_image_lacks_of_a_camera_that_runs_is_said():
    messages = [("info", 0), ("detections", 0), ("depth", 0), ("info", FRAME_NS), ("detections", FRAME_NS)]
    first, second = add_all(make(), [*messages, ("depth", 2 * FRAME_NS)])
    assert (first.missing, second.missing) == ((), ("depth",))


def test_however_slow_the_camera_is_its_depth_is_waited_for():
    pairer, second_ns = make(), 1000 * MS
    sets = [
        add_all(pairer, [(stream, frame * 3 * second_ns) for stream in ("info", "detections", "depth")])
        for frame in range(3)
    ]
    assert ["depth" in paired.messages for (paired,) in sets] == [False, True, True]


def test_a_stream_that_has_gone_past_is_not_waited_for():
    (paired,) = add_all(make(), [("depth", 17 * MS), ("info", 0), ("detections", 0)])
    assert paired.missing == ("depth",)


def test_what_waits_for_a_stream_goes_on_when_it_is_forgotten():
    pairer = make()
    assert add_all(pairer, [("depth", 0), ("info", FRAME_NS), ("detections", FRAME_NS)]) == []
    (paired,) = pairer.forget("depth")
    assert (paired.stamp_ns, paired.missing) == (FRAME_NS, ())
    assert pairer.explain("depth") == ""
