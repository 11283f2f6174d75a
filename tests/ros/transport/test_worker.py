"""The worker takes the newest, counts the rest, and survives whatever its work raises."""

import queue
import threading
import time

import pytest

from object_pose.ros.transport.worker import NewestWorker

LIMIT_S = 10.0


def test_an_error_is_handed_over_and_the_next_item_is_tried():
    errors, done = [], threading.Event()

    def handle(item):
        if item == "bad":
            raise ValueError(item)
        done.set()

    failed = threading.Event()
    worker = NewestWorker("test", handle, lambda error: (errors.append(error), failed.set()))
    worker.offer("bad")
    assert failed.wait(LIMIT_S)
    worker.offer("good")
    assert done.wait(LIMIT_S)
    worker.stop()
    assert [str(error) for error in errors] == ["bad"]


def test_stopping_waits_for_the_item_in_hand():
    started, finished = threading.Event(), []

    def handle(item):
        started.set()
        finished.append(item)

    worker = NewestWorker("test", handle, lambda error: None)
    worker.offer(1)
    assert started.wait(LIMIT_S)
    worker.stop()
    assert finished == [1]


@pytest.mark.parametrize("attempt", range(20))
def test_an_idle_worker_loses_none_of_two_that_come_at_once(attempt):
    handled, done = [], threading.Event()

    def handle(item):
        handled.append(item)
        if item == (attempt, "second"):
            done.set()

    worker = NewestWorker("test", handle, lambda error: None)
    worker.offer((attempt, "first"))
    worker.offer((attempt, "second"))
    assert done.wait(LIMIT_S)
    worker.stop()
    assert handled == [(attempt, "first"), (attempt, "second")]
    assert worker.dropped == 0


@pytest.mark.parametrize(("waiting", "kept"), [({}, [4]), ({"waiting": 3}, [2, 3, 4]), ({"waiting": 9}, [1, 2, 3, 4])])
def test_after_a_delay_the_newest_that_may_wait_win_and_the_others_are_counted(waiting, kept):
    started, go_on, done = threading.Event(), threading.Event(), threading.Event()
    handled = []

    def handle(item):
        handled.append(item)
        started.set()
        assert go_on.wait(LIMIT_S)
        if item == 4:
            done.set()

    worker = NewestWorker("test", handle, lambda error: None, now=lambda: 0.0, **waiting)
    worker.offer(0)
    assert started.wait(LIMIT_S)
    for item in (1, 2, 3, 4):
        worker.offer(item)
    go_on.set()
    assert done.wait(LIMIT_S)
    worker.stop()
    assert handled == [0, *kept]
    assert worker.dropped == 4 - len(kept)


def test_a_worker_that_is_too_slow_keeps_only_the_newest_until_it_was_idle():
    time_s, begun, go_on = [0.0], queue.SimpleQueue(), threading.Semaphore(0)

    def handle(item):
        begun.put(item)
        assert go_on.acquire(timeout=LIMIT_S)

    worker = NewestWorker("test", handle, lambda error: None, waiting=3, now=lambda: time_s[0])

    def begun_of_five(busy_s):
        worker.offer(0)
        items = [begun.get(timeout=LIMIT_S)]
        for item in (1, 2, 3):
            worker.offer(item)
        time_s[0] += busy_s
        worker.offer(4)
        go_on.release()
        while items[-1] != 4:
            items.append(begun.get(timeout=LIMIT_S))
            go_on.release()
        return items

    assert begun_of_five(busy_s=0.0) == [0, 2, 3, 4]
    assert begun_of_five(busy_s=60.0) == [0, 4]
    deadline = time.monotonic() + LIMIT_S
    while begun_of_five(busy_s=0.0) != [0, 2, 3, 4]:
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)  # it may have had no time to be idle
    worker.stop()
