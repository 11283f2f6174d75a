"""The queue in front of the models: bounded, with refusals that say when to come again."""

from __future__ import annotations

import asyncio
import threading

import pytest
from starlette.requests import Request

from object_pose.core.errors import DataError
from object_pose.web.errors import HttpError
from object_pose.web.metrics import Metrics
from object_pose.web.predictions import PredictionQueue


@pytest.fixture
def make_queue():
    made = []

    def make(workers=1, capacity=2, answer_within_s=60.0, deadline_s=60.0):
        made.append(PredictionQueue(workers, capacity, answer_within_s, deadline_s, Metrics()))
        return made[-1]

    yield make
    for queue in made:
        queue.close()


def test_work_is_done_and_its_error_reaches_the_caller(make_queue):
    queue = make_queue()
    assert asyncio.run(queue.run("a", lambda: 6 * 7)) == 42

    def fail():
        raise DataError("no such image")

    with pytest.raises(DataError, match="no such image"):
        asyncio.run(queue.run("a", fail))
    assert asyncio.run(queue.run("a", lambda: 1)) == 1


def test_a_full_queue_refuses_at_once_and_says_when_to_come_again(make_queue):
    queue, go_on = make_queue(capacity=2), threading.Event()

    async def fill():
        await queue.run("slow", int)
        waiting = [asyncio.ensure_future(queue.run("slow", go_on.wait)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(HttpError) as refused:
            await queue.run("slow", go_on.wait)
        go_on.set()
        return refused.value, await asyncio.gather(*waiting)

    refused, results = asyncio.run(fill())
    assert (refused.status_code, refused.code) == (429, "queue_full")
    assert int(refused.headers["Retry-After"]) >= 1
    assert results == [True] * 3


def test_what_is_not_expected_to_be_answered_in_time_is_not_kept_waiting(make_queue):
    # Nothing was measured yet, so that work is only begun, and taken for all of the time.
    queue, go_on = make_queue(capacity=100, answer_within_s=5.5), threading.Event()

    async def fill():
        begun = asyncio.ensure_future(queue.run("slow", go_on.wait))
        await asyncio.sleep(0)
        with pytest.raises(HttpError) as refused:
            await queue.run("slow", go_on.wait)
        go_on.set()
        await begun
        # From now on it is known to take next to no time.
        return refused.value, await asyncio.gather(*(queue.run("slow", go_on.wait) for _ in range(50)))

    refused, results = asyncio.run(fill())
    assert refused.status_code == 429 and refused.headers["Retry-After"] == "6"
    assert results == [True] * 50


def test_slow_work_is_done_when_nothing_else_waits(make_queue):
    queue, go_on = make_queue(answer_within_s=0.001), threading.Event()

    async def slow_then_two():
        assert await queue.run("slow", lambda: threading.Event().wait(0.02)) is False
        first = asyncio.ensure_future(queue.run("slow", go_on.wait))
        await asyncio.sleep(0)
        with pytest.raises(HttpError):
            await queue.run("slow", go_on.wait)
        go_on.set()
        return await first

    assert asyncio.run(slow_then_two())


def test_who_has_an_answer_may_ask_again_at_once(make_queue):
    """The thread that answered may not be back at the queue yet."""
    queue = make_queue(answer_within_s=0.0)

    async def one_after_the_other():
        return [await queue.run("slow", lambda: True) for _ in range(300)]

    assert asyncio.run(one_after_the_other()) == [True] * 300


def test_what_nobody_waits_for_any_more_is_left_out(make_queue):
    queue, go_on, done = make_queue(), threading.Event(), []

    async def receive():
        return {"type": "http.disconnect"}

    async def leave():
        await queue.run("a", int)
        first = asyncio.ensure_future(queue.run("a", go_on.wait))
        await asyncio.sleep(0)
        left = Request({"type": "http"}, receive)
        with pytest.raises(HttpError) as gone:
            await queue.run("a", lambda: done.append(True), left)
        go_on.set()
        await first
        return gone.value

    assert asyncio.run(leave()).code == "client_gone"
    queue.close()
    assert not done


def test_the_deadline_ends_the_wait_of_work_that_has_not_begun(make_queue):
    queue, go_on, done = make_queue(deadline_s=0.2), threading.Event(), []

    async def late():
        await queue.run("a", int)  # takes no time, as far as the queue knows from now on
        first = asyncio.ensure_future(queue.run("a", go_on.wait))
        await asyncio.sleep(0)
        with pytest.raises(HttpError) as late:
            await queue.run("a", lambda: done.append(True))
        go_on.set()
        return late.value, await first

    error, first = asyncio.run(late())
    assert (error.status_code, error.code) == (503, "deadline") and first is True
    queue.close()
    assert not done


def test_several_workers_work_at_a_time(make_queue):
    queue, both = make_queue(workers=2), threading.Barrier(2)

    async def two():
        return await asyncio.gather(queue.run("a", both.wait), queue.run("a", both.wait))

    assert sorted(asyncio.run(two())) == [0, 1]


def test_over_http_too_many_predictions_are_refused_with_retry_after(serve):
    server = serve(queue_size=1)
    go_on, busy = threading.Event(), []

    async def hold():
        await server.services.predictions.run("slow", int)
        await asyncio.gather(*(server.services.predictions.run("slow", go_on.wait) for _ in range(2)))

    thread = threading.Thread(target=lambda: busy.append(asyncio.run(hold())))
    thread.start()
    try:
        while True:
            answer = server.client.post("/predict", files={"file": b"0"})
            if answer.status_code == 429:
                break
            assert answer.status_code == 400
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["error"]["code"] == "queue_full"
        assert 'object_pose_rejections_total{reason="queue_full"}' in server.client.get("/metrics").text
    finally:
        go_on.set()
        thread.join()


def test_what_waits_when_the_server_ends_is_told_so(make_queue):
    queue, began, go_on = make_queue(), threading.Event(), threading.Event()

    def begin():
        began.set()
        return go_on.wait()

    async def end():
        await queue.run("a", int)
        loop = asyncio.get_running_loop()
        first = asyncio.ensure_future(queue.run("a", begin))
        await loop.run_in_executor(None, began.wait)
        second = asyncio.ensure_future(queue.run("a", go_on.wait))
        await asyncio.sleep(0)
        closing = loop.run_in_executor(None, queue.close)
        with pytest.raises(HttpError) as told:
            await second
        go_on.set()
        await closing
        return told.value.status_code, await first

    assert asyncio.run(end()) == (503, True)
