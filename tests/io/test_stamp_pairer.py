"""Pairing by stamp: sets are complete, agree on their stamp, and come at most once."""

from hypothesis import given
from hypothesis import strategies as st

from object_pose.io.bag_frames import StampPairer

ARRIVALS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 200)), max_size=60)


@given(ARRIVALS, st.integers(0, 5))
def test_sets_agree_and_nothing_is_used_twice(arrivals, tolerance):
    pairer = StampPairer("abc", tolerance, capacity=5)
    newest = dict.fromkeys("abc", 0)
    emitted = []
    for number, (stream, step) in enumerate(arrivals):
        newest[stream] += step % 7
        joined = pairer.add(stream, newest[stream], (newest[stream], number))
        if joined:
            assert set(joined) == set("abc")
            stamps = [stamp for stamp, _ in joined.values()]
            assert all(abs(stamp - newest[stream]) <= tolerance for stamp in stamps)
            emitted += [number for _, number in joined.values()]
    assert len(emitted) == len(set(emitted))


def test_late_depth_is_joined():
    pairer = StampPairer(["color", "depth"])
    assert pairer.add("color", 1, "c1") is None
    assert pairer.add("color", 2, "c2") is None
    assert pairer.add("depth", 2, "d2") == {"color": "c2", "depth": "d2"}


def test_what_waits_is_bounded():
    pairer = StampPairer(["color", "depth"], capacity=3)
    for stamp in range(10):
        assert pairer.add("color", stamp, stamp) is None
    assert pairer.add("depth", 6, "d") is None
    assert pairer.add("depth", 7, "d") == {"color": 7, "depth": "d"}


def test_the_nearest_within_tolerance_wins():
    pairer = StampPairer(["color", "depth"], tolerance_ns=5)
    pairer.add("color", 10, "c10")
    pairer.add("color", 14, "c14")
    assert pairer.add("depth", 13, "d") == {"color": "c14", "depth": "d"}
