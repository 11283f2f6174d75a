"""The predictor as a program: it answers on each of its sockets in a thread, and ends with the server.

``python -m object_pose.web.predictor.worker LIFELINE SOCKET...`` takes file descriptors; ``process`` starts it.
"""

from __future__ import annotations

import argparse
import logging
import os
import resource
import socket
import threading

import cv2

from object_pose.core.errors import ObjectPoseError
from object_pose.runtime.priority import yield_cores
from object_pose.web.predictor.answers import Answers
from object_pose.web.predictor.wire import Message, receive, send

logger = logging.getLogger(__name__)


def serve(connection: socket.socket, answers: Answers) -> None:
    """Answer one request after the other until the server closes its end."""
    while True:
        try:
            request = receive(connection)
        except (EOFError, OSError):
            return
        answer = _answer(request, answers)
        try:
            send(connection, answer.head, answer.blobs)
        except OSError:
            return


def _answer(request: Message, answers: Answers) -> Message:
    """Return the answer, or what went wrong: ``error`` is the exception's name."""
    try:
        return answers.of(request)
    except ObjectPoseError as error:
        return Message({"error": type(error).__name__, "message": error.message, "hint": error.hint})
    except MemoryError:
        return Message({"error": "MemoryError"})
    except Exception:
        logger.exception("a request cannot be answered")
        return Message({"error": "Exception"})


def main() -> None:
    """Serve until the lifeline is closed, which the kernel does where the server is killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lifeline", type=int)
    parser.add_argument("sockets", type=int, nargs="+")
    parser.add_argument("--nice", type=int, required=True)
    parser.add_argument("--memory-mb", type=int, required=True)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    # What OpenCV says of a damaged image we say ourselves.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    if options.nice:
        yield_cores(options.nice)
    resource.setrlimit(resource.RLIMIT_DATA, (options.memory_mb << 20,) * 2)
    answers = Answers()
    for number in options.sockets:
        connection = socket.socket(fileno=number)
        threading.Thread(target=serve, args=(connection, answers), name=f"requests {number}", daemon=True).start()
    socket.socket(fileno=options.lifeline).recv(1)
    os._exit(0)  # whatever the threads are at, nobody waits for it


if __name__ == "__main__":
    main()
