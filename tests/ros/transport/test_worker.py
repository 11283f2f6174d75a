"""The worker takes the newest, counts the rest, and survives whatever its work raises."""

import threading

import pytest

from object_pose.ros.transport.worker import NewestWorker

LIMIT_S = 10.0


def test_the_newest_item_wins_and_the_others_are_counted():
    started, go_on, done = threading.Event(), threading.Event(), threading.Event()
    handled = []

    def handle(item):
        handled.append(item)
        started.set()
        assert go_on.wait(LIMIT_S)
        if item == 4:
            done.set()

    worker = NewestWorker("test", handle, lambda error: None)
    worker.offer(0)
    assert started.wait(LIMIT_S)
    for item in (1, 2, 3, 4):
        worker.offer(item)
    go_on.set()
    assert done.wait(LIMIT_S)
    worker.stop()
    assert handled == [0, 4]
    assert worker.dropped == 3


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
