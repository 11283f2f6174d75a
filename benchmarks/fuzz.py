"""Spoilt inputs of every kind that users bring: each is read, or refused with an ``ObjectPoseError``, within bounds.

Inputs are numbered within their kind, and kind, number and ``--seed`` make the same input again. The product's readers
run in processes of limited memory; what takes too long, or ends its process, is noted and another process goes on. A
run that was interrupted goes on with ``--resume``.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import logging
import multiprocessing
import os
import queue
import random
import resource
import shutil
import signal
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
from rich.table import Table
from tqdm import tqdm

from benchmarks.fuzz_kinds.kind import Kind
from benchmarks.fuzz_kinds.registry import KINDS
from benchmarks.fuzz_mutation import Files
from benchmarks.harness import Benchmark, choose, report
from object_pose.core.errors import DataError, ObjectPoseError

VALUE, REFUSED, TRACEBACK, CRASH, HANG = "values", "refused", "tracebacks", "crashes", "hangs"
SOUND = (VALUE, REFUSED)
OUTCOMES = (*SOUND, TRACEBACK, CRASH, HANG)
_CHUNK = 50
_PATIENCE = 20  # a busy machine gives a process a part of its time
_MB = 1 << 20
_READERS_MB = 512  # what the readers take before any input


@dataclass(frozen=True)
class Limits:
    """What one input may take: seconds of processor time, and megabytes beside what the readers themselves take."""

    seconds: float
    memory_mb: int


@dataclass(frozen=True)
class Source:
    """What inputs are made of: the kinds by name, sound examples of each, and the seed."""

    kinds: Mapping[str, Kind]
    examples: Mapping[str, Sequence[Files]]
    seed: int = 0

    @staticmethod
    def of(names: Sequence[str], seed: int = 0) -> Source:
        """Return the source of some of ``KINDS``."""
        return Source({name: KINDS[name] for name in names}, {name: KINDS[name].seeds() for name in names}, seed)


@dataclass(frozen=True)
class Outcome:
    """What became of one input; ``peak_mb`` is the most memory that its process has had so far."""

    kind: str
    number: int
    outcome: str
    detail: str = ""
    peak_mb: float = 0.0


def make_input(kind: str, number: int, source: Source) -> Files:
    """Return the files of an input; equal arguments give equal files."""
    return source.kinds[kind].make(random.Random(f"{source.seed}/{kind}/{number}"), source.examples[kind])


def write_input(folder: Path, files: Files) -> None:
    """Write the files of an input into a new folder."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def read_input(kind: Kind, folder: Path) -> tuple[str, str]:
    """Read an input; return what became of it and the refusal or the traceback."""
    try:
        kind.read(folder)
    except ObjectPoseError as error:
        return REFUSED, str(error)
    except Exception:
        return TRACEBACK, traceback.format_exc()
    return VALUE, ""


def _serve(connection: Connection, source: Source, limits: Limits, work: Path) -> None:
    """Read one input after the other, until ``connection`` is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for stream in (1, 2):  # libraries print what they think of damaged files
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    logging.disable()
    cv2.setNumThreads(1)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + limits.memory_mb * _MB,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    folder = work / str(os.getpid())
    while True:
        try:
            kind, number = connection.recv()
        except EOFError:
            return
        write_input(folder, make_input(kind, number, source))
        signal.setitimer(signal.ITIMER_PROF, limits.seconds)  # ends the process, also within a library
        outcome, detail = read_input(source.kinds[kind], folder)
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        shutil.rmtree(folder)
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        connection.send(Outcome(kind, number, outcome, detail, peak_mb))


class _Reader:
    """A process that reads inputs; another one takes its place when it ends."""

    def __init__(self, source: Source, limits: Limits, work: Path) -> None:
        self._arguments = source, limits, work
        self._limits = limits
        self._start()

    def _start(self) -> None:
        # A server that has the readers imported forks quickly, and without the threads of this process.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["benchmarks.fuzz_kinds.registry"])
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, *self._arguments), daemon=True)
        self._process.start()
        other.close()

    def read(self, kind: str, number: int) -> Outcome:
        """Return what became of an input."""
        try:
            self._connection.send((kind, number))
            if self._connection.poll(_PATIENCE * self._limits.seconds):
                found: Outcome = self._connection.recv()
                return found
            outcome, detail = HANG, "it waits without end"
        except (EOFError, OSError):
            self._process.join()
            ended_by = -(self._process.exitcode or 0)
            is_slow = ended_by == signal.SIGPROF
            outcome = HANG if is_slow else CRASH
            detail = f"more than {self._limits.seconds:g} s" if is_slow else f"the process ended: {-ended_by}"
        self.close()
        self._start()
        return Outcome(kind, number, outcome, detail)

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.kill()
        self._process.join()


def outcomes(inputs: Sequence[tuple[str, int]], source: Source, limits: Limits, workers: int) -> Iterator[Outcome]:
    """Yield what became of each (kind, number), in no order."""
    chunks = [inputs[first : first + _CHUNK] for first in range(0, len(inputs), _CHUNK)]
    readers: queue.SimpleQueue[_Reader] = queue.SimpleQueue()

    def read(chunk: Sequence[tuple[str, int]]) -> list[Outcome]:
        reader = readers.get()
        try:
            return [reader.read(kind, number) for kind, number in chunk]
        finally:
            readers.put(reader)

    with tempfile.TemporaryDirectory() as work:
        started = [_Reader(source, limits, Path(work)) for _ in range(workers)]
        for reader in started:
            readers.put(reader)
        pool = ThreadPoolExecutor(workers)
        try:
            for done in as_completed([pool.submit(read, chunk) for chunk in chunks]):
                yield from done.result()
        finally:
            pool.shutdown(cancel_futures=True)
            for reader in started:
                reader.close()


def _share_out(count: int, kinds: Sequence[str]) -> list[tuple[str, int]]:
    """Return (kind, number) of ``count`` inputs by the kinds' shares, mixed."""
    total = sum(KINDS[kind].share for kind in kinds)
    inputs = [(kind, number) for kind in kinds for number in range(max(1, -(-count * KINDS[kind].share // total)))]
    random.Random(0).shuffle(inputs)
    return inputs


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)} (default: all)")
    parser.add_argument("--inputs", type=int, default=100_000, help="how many, over all kinds (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other inputs (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes that read")
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="processor time for one input (default: %(default)s)"
    )
    parser.add_argument("--memory-mb", type=int, default=2048, help="memory for one input (default: %(default)s)")
    parser.add_argument("--resume", action="store_true", help="go on with a run of the same seed that was interrupted")
    parser.add_argument("--repeat", type=Path, metavar="FOLDER", help="read a saved input KIND/NUMBER again, here")


class _Journal:
    """The outcomes so far, a JSON line each below one of the seed, from which an interrupted run goes on."""

    def __init__(self, path: Path, seed: int) -> None:
        self._path, self._seed = path, seed

    def begin(self) -> None:
        """Start anew."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(f"{json.dumps({'seed': self._seed})}\n")

    def read(self) -> list[Outcome]:
        """Return what is noted; raises ``DataError`` where nothing is, or of another seed."""
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        if not lines or json.loads(lines[0]) != {"seed": self._seed}:
            raise DataError(f"{self._path} has no run of seed {self._seed}", "leave out --resume, or name its --output")
        whole = [line for line in lines[1:] if line.endswith("}")]  # a killed run may leave a half one
        return [Outcome(**json.loads(line)) for line in whole]

    @contextlib.contextmanager
    def open(self) -> Iterator[Callable[[Outcome], None]]:
        """Yield a function that notes an outcome."""
        with self._path.open("a") as file:
            file.write("\n")  # ends what may be half a line
            yield lambda item: print(json.dumps(dataclasses.asdict(item)), file=file, flush=True)


def run(options: argparse.Namespace) -> int:
    """Read every input; return 1 where one is neither read nor refused, or the memory goes beyond its bound."""
    if options.repeat:
        return _repeat(options.repeat)
    kinds = choose(options.kinds, KINDS)
    source, failures = Source.of(kinds, options.seed), options.output / "failures"
    journal = _Journal(options.output / "outcomes.jsonl", options.seed)
    inputs = _share_out(options.inputs, kinds)
    done: dict[tuple[str, int], Outcome] = {}
    if options.resume:
        noted = {(item.kind, item.number): item for item in journal.read()}
        done = {key: noted[key] for key in inputs if key in noted}
    else:
        journal.begin()
        shutil.rmtree(failures, ignore_errors=True)
    left = [key for key in inputs if key not in done]
    found = outcomes(left, source, Limits(options.seconds, options.memory_mb), options.workers)
    with journal.open() as note:
        for item in tqdm(found, "fuzz", len(inputs), initial=len(done), unit="input"):
            note(item)
            done[item.kind, item.number] = item
            if item.outcome not in SOUND:
                folder = failures / item.kind / str(item.number)
                write_input(folder, make_input(item.kind, item.number, source))
                folder.with_suffix(".txt").write_text(f"python -m benchmarks.fuzz --repeat {folder}\n\n{item.detail}\n")
    return _report(options, kinds, list(done.values()))


def _repeat(folder: Path) -> int:
    kind = folder.parent.name
    if kind not in KINDS or not folder.is_dir():
        raise DataError(f"{folder} is no saved input", "name a folder KIND/NUMBER, as failures/ holds them")
    outcome, detail = read_input(KINDS[kind], folder)
    print(f"{outcome}: {detail}")
    return 0 if outcome in SOUND else 1


def _report(options: argparse.Namespace, kinds: Sequence[str], done: Sequence[Outcome]) -> int:
    counts = {kind: Counter(item.outcome for item in done if item.kind == kind) for kind in kinds}
    total = sum(counts.values(), Counter[str]())
    peak = max(done, key=lambda item: item.peak_mb)
    is_bounded = peak.peak_mb <= _READERS_MB + options.memory_mb
    summary: dict[str, Any] = {"inputs": total.total(), **{name: total[name] for name in OUTCOMES}}
    summary |= {"peak_memory_mb": round(peak.peak_mb), "memory_bound_mb": _READERS_MB + options.memory_mb}
    summary |= {"is_memory_bounded": is_bounded, "peak_input": f"{peak.kind}/{peak.number}", "seed": options.seed}
    summary["kinds"] = {
        kind: {"inputs": found.total(), **{name: found[name] for name in OUTCOMES}} for kind, found in counts.items()
    }
    table = Table("kind", "inputs", *OUTCOMES)
    for kind, found in (*counts.items(), ("all", total)):
        table.add_row(kind, *(f"{number:,}" for number in (found.total(), *(found[name] for name in OUTCOMES))))
    failed = [item for item in done if item.outcome not in SOUND]
    lines = [f"{item.kind}/{item.number}: {item.outcome}: {_first_line(item.detail)}" for item in failed]
    memory = f"memory at most {peak.peak_mb:,.0f} of {summary['memory_bound_mb']:,} MB, in {summary['peak_input']}"
    report(options, summary, options.output / "summary.json", table, memory, *lines)
    return 1 if failed or not is_bounded else 0


def _first_line(detail: str) -> str:
    """Return the first line of a message; of a traceback, the one that names the error."""
    lines = [line for line in detail.splitlines() if line and not line[0].isspace()]
    return lines[min(1, len(lines) - 1)][:200]


BENCHMARK = Benchmark(
    "fuzz",
    "Spoilt inputs of every kind: each is read or refused, without a traceback, a hang, or more memory than is allowed",
    add_options,
    run,
    Path("out/fuzz"),
)

if __name__ == "__main__":
    raise SystemExit(BENCHMARK.main())
