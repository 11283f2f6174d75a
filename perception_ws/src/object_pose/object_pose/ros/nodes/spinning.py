"""Running nodes until they are told to stop, with a clean end and an exit code."""

from __future__ import annotations

import gc
import logging
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import rclpy
from rclpy.exceptions import NotInitializedException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.task import Future

from object_pose.core.errors import ConfigError, ObjectPoseError
from object_pose.ros.nodes.pipeline_node import PipelineNode, RosoutHandler
from object_pose.runtime.processes import SHARED_MEMORY, free_mebibytes, reuse_freed_memory
from object_pose.runtime.resources import find

_NODE_PARAMETER = re.compile(r"(\w+):([\w./]+):=(.*)")
logger = logging.getLogger(__name__)

_PROFILE_VARIABLE = "FASTDDS_DEFAULT_PROFILES_FILE"
_TRANSPORT_VARIABLE = "FASTDDS_BUILTIN_TRANSPORTS"
_POLL_S, _END_WITHIN_S = 0.1, 3.5
_SWITCH_INTERVAL_S = 0.0005
_ENDING = signal.SIGINT, signal.SIGTERM
# Profile and what one process takes of the shared memory with it, in MiB: its segment, and some for ports.
_PROFILES = (("fastdds_shared_memory.xml", 34), ("fastdds_small_shared_memory.xml", 11))


def prepare_process(processes: int = 1) -> None:
    """Set what a process with nodes needs before its first one, in the environment of those that it starts, too.

    Images of another process are lost with Fast DDS's default transport, hence a shared-memory profile, unless the user
    has chosen one. ``processes`` with nodes of ours will run.
    """
    if "HOME" not in os.environ and "ROS_LOG_DIR" not in os.environ:
        raise ConfigError("neither HOME nor ROS_LOG_DIR is set, and ROS 2 writes its logs there", "export HOME")
    if _PROFILE_VARIABLE not in os.environ and _TRANSPORT_VARIABLE not in os.environ:
        os.environ |= transport_variables(processes + 1)  # a driver or a planner may use the profile as well
    reuse_freed_memory()
    # The cores are shared by camera, network and pose solver; OpenCV's threads would only get in their way.
    cv2.setNumThreads(1)
    # A thread that tracks waits at most so long for one that registers: Python's 5 ms are a sixth of a frame.
    sys.setswitchinterval(_SWITCH_INTERVAL_S)


def transport_variables(processes: int, shared_memory: Path = SHARED_MEMORY) -> dict[str, str]:
    """Return the environment in which Fast DDS hands images to other processes as well as the shared memory allows.

    Where it is too small for all ``processes`` that is logged: Fast DDS would lose images in silence.
    """
    free_mib = free_mebibytes(shared_memory)
    for profile, needed_mib in _PROFILES:
        if free_mib >= processes * needed_mib:
            variables = {_PROFILE_VARIABLE: str(find("config", profile))}
            break
    else:
        variables = {_TRANSPORT_VARIABLE: "UDPv4"}
    usual, usual_mib = _PROFILES[0]
    if usual not in variables.get(_PROFILE_VARIABLE, ""):
        instead = Path(*variables.values()).name
        logger.warning(
            "%s has %.0f MiB free, images between %d processes take %d: using %s instead, which may lose large images "
            "(docker: --shm-size=512m or --ipc=host; or run all nodes in one process)",
            *(shared_memory, free_mib, processes, processes * usual_mib, instead),
        )
    return variables


@contextmanager
def executor_of(node: Node) -> Iterator[SingleThreadedExecutor]:
    """Return an executor of a node that ends with the block: what is left of one when ROS ends gives a traceback."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        yield executor
    finally:
        executor.shutdown()


def spin(make_nodes: Iterable[Callable[[], PipelineNode]], ros_arguments: Sequence[str] | None = None) -> None:
    """Make nodes, configure all, activate them in order, and serve them until SIGINT, SIGTERM or ``rclpy.shutdown``.

    ``ros_arguments`` defaults to those of the command line. A signal deactivates the nodes while ROS still runs: they
    may have something to take back. The process ends soon after, whatever the nodes are at. Raises ``ObjectPoseError``
    when a node cannot start.
    """
    prepare_process()
    asked: Future[None] = Future()
    with sigint_left_to_ros() as interrupted:
        _initialize(ros_arguments)
        if interrupted.is_set():
            rclpy.try_shutdown()
        if not rclpy.ok():  # without ROS nothing can be made, not even an executor
            return
        with _end_in_time(asked), ExitStack() as signals:
            _serve(make_nodes, asked, signals, interrupted)


def _serve(
    make_nodes: Iterable[Callable[[], PipelineNode]],
    asked: Future[None],
    signals: ExitStack,
    interrupted: threading.Event,
) -> None:
    nodes: list[PipelineNode] = []
    # Callbacks only hand frames to workers; rclpy's multi-threaded executor took twice the time of a core for that.
    executor: SingleThreadedExecutor | None = None
    try:
        executor = SingleThreadedExecutor()
        for make_node in make_nodes:
            nodes.append(make_node())
            executor.add_node(nodes[-1])
        _bridge_logging(nodes[0])
        for node in nodes:
            node.make_ready()
        for node in nodes:
            node.make_active()
        # A full collection of garbage looks at all that was imported, 60 ms long, while no thread goes on.
        gc.collect()
        gc.freeze()
        signals.enter_context(_signals_ask(asked))
        if interrupted.is_set():  # rclpy takes no notice of a signal while it sets up its handler
            asked.set_result(None)
        executor.spin_until_future_complete(asked)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (RuntimeError, NotInitializedException, ObjectPoseError):
        # ROS may have ended while a node was started, or between the executor's look at the context and its wait.
        if rclpy.ok():
            raise
    finally:
        _close(nodes, executor)


@contextmanager
def _signals_ask(asked: Future[None]) -> Iterator[None]:
    """Let SIGINT and SIGTERM ask for the end; until here, while nodes are made, they end ROS at once.

    Python calls handlers in the main thread, which waits for messages: another one hears of signals through a pipe.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def listen() -> None:
        with open(reading, "rb", buffering=0) as pipe:
            while number := pipe.read(1):
                if number[0] in _ENDING and not asked.done():
                    asked.set_result(None)

    threading.Thread(target=listen, name="signals", daemon=True).start()
    usual_pipe = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    usual = {number: signal.signal(number, lambda _signal, _frame: None) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(usual_pipe)
        os.close(writing)


@contextmanager
def _end_in_time(asked: Future[None]) -> Iterator[None]:
    """End the process where ROS has ended, or should, and the block has not for some seconds.

    ros2 launch kills it after five. A model in preparation, or a frame in hand on a busy machine, may take longer.
    """
    context, is_over = rclpy.get_default_context(), threading.Event()

    def watch() -> None:
        while not is_over.wait(_POLL_S):
            if (asked.done() or not context.ok()) and not is_over.wait(_END_WITHIN_S):
                os._exit(0)

    threading.Thread(target=watch, name="end in time", daemon=True).start()
    try:
        yield
    finally:
        is_over.set()


@contextmanager
def sigint_left_to_ros() -> Iterator[threading.Event]:
    """Let SIGINT end the context alone: an exception in the midst of an import becomes that module's ImportError.

    ``rclpy.init`` sets a handler of its own and calls this one; the event says that SIGINT came, also before that.
    """
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return
    usual = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, lambda _signal, _frame: interrupted.set())
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, usual)


def _initialize(ros_arguments: Sequence[str] | None) -> None:
    arguments = sys.argv if ros_arguments is None else ros_arguments
    try:
        with TemporaryDirectory(prefix="object_pose_") as folder:
            rclpy.init(args=for_any_namespace(arguments, Path(folder)))
    except RuntimeError as error:  # rclpy's errors for ROS arguments and parameter files that it cannot read
        raise ConfigError(f"ROS 2 refuses its arguments: {str(error).splitlines()[0]}") from error


def for_any_namespace(arguments: Sequence[str], folder: Path) -> list[str]:
    """Return ROS arguments whose ``-p node:name:=value`` reach the node in every namespace, as files in ``folder``.

    ROS takes ``node`` for one without namespace, and says nothing where there is none.
    """
    result: list[str] = []
    for word in arguments:
        assignment = _NODE_PARAMETER.fullmatch(word)
        if assignment and "--ros-args" in result and result[-1] in ("-p", "--param"):
            node, name, value = assignment.groups()
            file = folder / f"{len(result)}.yaml"
            file.write_text(f"/**/{node}:\n  ros__parameters:\n    {name}: {value}\n")
            result[-1:] = "--params-file", str(file)
        else:
            result.append(word)
    return result


def spin_node(make_node: Callable[[], PipelineNode]) -> int:
    """Run one node as a program; returns the exit code."""
    try:
        spin([make_node])
    except ObjectPoseError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _bridge_logging(node: PipelineNode) -> None:
    logger = logging.getLogger("object_pose")
    logger.handlers = [RosoutHandler(node)]
    logger.propagate = False


def _close(nodes: Sequence[PipelineNode], executor: SingleThreadedExecutor | None) -> None:
    """End the threads of the nodes first, then ROS; one that cannot stop keeps no other from it."""
    for node in reversed(nodes):
        try:
            node.stop()
        except Exception:
            if rclpy.ok():  # otherwise nothing can be published any more
                node.get_logger().error(traceback.format_exc())
    if executor is not None:
        executor.shutdown()
    for node in nodes:
        node.destroy_node()
    rclpy.try_shutdown()
