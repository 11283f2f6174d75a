"""The one training loop of all tasks: mixed precision, averaged weights, cosine schedule, checkpoint and resume."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from object_pose import __version__
from object_pose.core.errors import CancelledError, ConfigError, DataError
from object_pose.io.run_folder import RunFolder
from object_pose.runtime.cpus import free_cores
from object_pose.training.callbacks import Records, TensorBoard, TrainingCallback
from object_pose.training.checkpoint import load_checkpoint, load_weights, save_checkpoint, start_from_run
from object_pose.training.config import TrainConfig
from object_pose.training.onnx.weights import load_onnx, recalibrate_batch_norm
from object_pose.training.schedule import Schedule

logger = logging.getLogger(__name__)
# Batches, and their size, that recalibrate the batch norms of an exported model.
_RECALIBRATION_BATCHES, _RECALIBRATION_BATCH_SIZE = 6, 16
_MOST_WORKERS = 16  # that are chosen by themselves
_PREFETCHED = 4  # batches that each data process makes ahead


class Recipe(Protocol):
    """What a task adds to the loop: a network, endless samples, a loss and a validation."""

    def network(self) -> nn.Module:
        """Return the untrained network."""
        ...

    def samples(self, rng: np.random.Generator) -> Iterator[Any]:
        """Yield training samples for ever; runs inside a data process."""
        ...

    def collate(self, samples: list[Any]) -> Any:
        """Stack samples into one batch, a dataclass of tensors or a tuple."""
        ...

    def loss(self, network: nn.Module, batch: Any) -> dict[str, Tensor]:
        """Return the parts of the loss; ``total`` is minimised."""
        ...

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return figures of the averaged network on held-out data."""
        ...


@runtime_checkable
class ClassifyingNetwork(Protocol):
    """A network some of whose layers belong to the classes that it tells apart."""

    @property
    def class_layers(self) -> tuple[str, ...]:
        """Their names."""
        ...


@runtime_checkable
class ScheduledRecipe(Protocol):
    """A recipe whose samples change as the training goes on."""

    def scheduled_samples(self, rng: np.random.Generator, done: Iterator[float]) -> Iterator[Any]:
        """Yield one training sample for each of ``done``, the share of the training before the step that uses it."""
        ...


@dataclass(frozen=True)
class TrainingResult:
    """How far a run is: steps done in all, over all its starts, of those that it is to have.

    ``validation`` has the figures of the averaged network on held-out data at its last step.
    """

    steps_done: int
    steps: int
    validation: Mapping[str, float]

    @property
    def is_complete(self) -> bool:
        """Whether all steps are done; a time limit, or ``Trainer.stop``, leaves some to a resumed run."""
        return self.steps_done >= self.steps


class _Samples(IterableDataset[Any]):
    """Endless samples, each data process with its own seed; a resumed run continues with fresh ones."""

    def __init__(self, recipe: Recipe, schedule: Schedule) -> None:
        self.recipe, self.schedule = recipe, schedule

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        if info:  # without data processes these are the threads that train
            torch.set_num_threads(1)
        rng = np.random.default_rng([self.schedule.config.seed, self.schedule.start_step, worker])
        if isinstance(self.recipe, ScheduledRecipe):
            return self.recipe.scheduled_samples(rng, self._done(worker, workers))
        return self.recipe.samples(rng)

    def _done(self, worker: int, workers: int) -> Iterator[float]:
        """Yield the share of the training done when each sample is used: the data processes fill batches in turn."""
        for count in itertools.count():
            batch = count // self.schedule.config.batch_size * workers + worker
            yield self.schedule.done(self.schedule.start_step + batch)


class Trainer:
    """Trains one recipe into one run folder: checkpoint, records and TensorBoard events.

    ``callbacks`` are called beside those. ``command`` is what the folder notes as having started the run. A time limit
    counts from ``started_at``, seconds of ``time.monotonic``; by default from now. ``spent_s`` seconds of it are used
    up by earlier calls.
    """

    def __init__(
        self,
        recipe: Recipe,
        config: TrainConfig,
        run_dir: Path,
        command: str = "",
        callbacks: Sequence[TrainingCallback] = (),
        started_at: float | None = None,
        spent_s: float = 0.0,
    ) -> None:
        self.recipe, self.config, self.folder, self.command = recipe, config, RunFolder(run_dir), command
        self.device = _device(config.device)
        self.autocast_dtype = _autocast_dtype(config.precision, self.device)
        cores = free_cores()
        self.threads = config.threads or cores
        torch.set_num_threads(self.threads)
        self.workers = _worker_count(config.workers, cores, self.device)
        torch.manual_seed(config.seed)
        self.network = recipe.network().to(self.device, memory_format=torch.channels_last)
        if config.initial and not self.folder.checkpoint.exists():  # a resumed run has its own
            self._start_from(Path(config.initial))
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            _parameter_groups(self.network, config.weight_decay), lr=config.learning_rate, fused=True
        )
        self.step = 0
        self._schedule = Schedule(config, 0, time.monotonic() if started_at is None else started_at, spent_s)
        self._seconds_before = 0.0
        self._callbacks = (Records(), TensorBoard(), *callbacks)
        self._stop_requested = self._was_interrupted = False

    def _start_from(self, initial: Path) -> None:
        """Take over what another run, or an exported model, has learned."""
        if initial.suffix != ".onnx":
            start_from_run(initial, self.network)
            return
        found = load_onnx(initial, self.network, () if self.config.keep_classes else _class_layers(self.network))
        samples = self.recipe.samples(np.random.default_rng(self.config.seed))
        batches = [
            self.recipe.collate(list(itertools.islice(samples, _RECALIBRATION_BATCH_SIZE)))
            for _ in range(_RECALIBRATION_BATCHES)
        ]

        def forward() -> None:
            for batch in batches:
                self.recipe.loss(self.network, _to_device(batch, self.device))

        recalibrate_batch_norm(self.network, forward)
        logger.info("%d layers start from %s", found, initial)

    def run(self, resume: bool = False) -> TrainingResult:
        """Train to the configured number of steps, or until time is up or a callback stops the run.

        ``average`` is the network.

        Raises ``CancelledError`` on Ctrl-C or where a callback does, ``ConfigError`` when the folder holds a run and
        ``resume`` is not set, ``DataError`` when the loss becomes NaN or the disk is full; the last good checkpoint is
        kept in each case.
        """
        self._open_run(resume)
        self._stop_requested = self._was_interrupted = False
        try:
            with _DeferredInterrupt(self._interrupt):
                for callback in self._callbacks:
                    callback.on_start(self)
                validation = self._train()
        finally:
            for callback in self._callbacks:
                callback.on_end(self)
        return TrainingResult(self.step, self.config.steps, validation)

    @property
    def expected_steps(self) -> int:
        """How many steps the run will have at its end: those of the config, or fewer where time runs out before."""
        return self._schedule.expected_steps(self.step)

    def stop(self) -> None:
        """End the run after this step, with a validation and a checkpoint."""
        self._stop_requested = True

    def _interrupt(self) -> None:
        self._was_interrupted = True

    def _train(self) -> dict[str, float]:
        self._schedule = dataclasses.replace(self._schedule, start_step=self.step)
        batches = self.batches()
        validation: dict[str, float] = {}
        is_over = self.step >= self.config.steps
        while not is_over:
            parts = self.train_step(next(batches))
            self.step += 1
            self._call_after_step(parts)
            is_over = self.step >= self.config.steps or self._stop_requested or self._schedule.time_used() >= 1.0
            if self.step % self.config.validate_every == 0 or is_over:
                validation = self.recipe.validate(self.average)
                for callback in self._callbacks:
                    callback.on_validation(self, validation)
            if self.step % self.config.checkpoint_every == 0:
                self.save()
        self.save()
        return validation

    def _call_after_step(self, parts: Mapping[str, float]) -> None:
        try:
            for callback in self._callbacks:
                callback.on_step(self, parts)
            if self._was_interrupted:
                raise CancelledError(f"stopped at step {self.step}", f"go on with --resume; kept in {self.folder.path}")
        except CancelledError:
            self.save()
            raise

    def train_step(self, batch: Any) -> dict[str, float]:
        """Learn from one batch; return the parts of the loss. Raises ``DataError`` where it is not finite."""
        self.network.train()
        rate = self._schedule.learning_rate(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        batch = _to_device(batch, self.device)
        with torch.autocast(self.device.type, self.autocast_dtype, enabled=self.autocast_dtype != torch.float32):
            parts = self.recipe.loss(self.network, batch)
        total = parts["total"]
        if not bool(torch.isfinite(total)):
            raise DataError(
                f"the loss became {float(total.detach())} at step {self.step}",
                f"{self.folder.checkpoint} is the last good one; lower the learning rate or check the labels",
            )
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        self.optimizer.step()
        self._update_average()
        return {name: float(value.detach()) for name, value in parts.items()} | {"learning_rate": rate}

    @torch.no_grad()
    def _update_average(self) -> None:
        # A young average must not remember the random start.
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        own, current = list(self.average.parameters()), [p.detach() for p in self.network.parameters()]
        torch._foreach_lerp_(own, current, 1.0 - decay)
        if buffers := list(self.average.buffers()):
            torch._foreach_copy_(buffers, list(self.network.buffers()))

    def batches(self) -> Iterator[Any]:
        """Return endless batches; data processes, where there are any, live as long as the iterator."""
        workers = self.workers
        loader: DataLoader[Any] = DataLoader(
            _Samples(self.recipe, self._schedule),
            batch_size=self.config.batch_size,
            collate_fn=self.recipe.collate,
            num_workers=workers,
            prefetch_factor=_PREFETCHED if workers else None,
            # A forked child would wait for ever on the thread pool that OpenCV left behind in its parent.
            multiprocessing_context="spawn" if workers else None,
        )
        return iter(loader)

    @property
    def prefetched(self) -> int:
        """How many batches the data processes make ahead of those that are used."""
        return _PREFETCHED * self.workers

    def save(self) -> None:
        """Write the checkpoint; raises ``DataError`` where that is impossible, with the one before kept."""
        seconds = self._seconds_before + time.monotonic() - self._schedule.started_at
        save_checkpoint(
            self.folder,
            {
                "step": self.step,
                "network": self.network.state_dict(),
                "average": self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "config": dataclasses.asdict(self.config),
            },
            seconds,
        )

    def _open_run(self, resume: bool) -> None:
        self.folder.check_free(resume)
        if self.folder.checkpoint.exists():
            state = load_checkpoint(self.folder, self.device)
            load_weights(self.network, state["network"], self.folder.path)
            load_weights(self.average, state["average"], self.folder.path)
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = int(state["step"])
            self._seconds_before = self.folder.seconds_done
            logger.info("resumed %s at step %d", self.folder.path, self.step)
        self.folder.start(self.step, self.command, dataclasses.asdict(self.config), _versions())


class _DeferredInterrupt:
    """Within it, the first SIGINT or SIGTERM asks for a stop after the step; a second SIGINT stops at once.

    Outside the main thread, where Python takes no signals, it does nothing.
    """

    def __init__(self, request: Callable[[], None]) -> None:
        self.request = request

    def __enter__(self) -> None:
        def handle(number: int, frame: Any) -> None:
            self.request()
            signal.signal(signal.SIGINT, signal.default_int_handler)

        is_main = threading.current_thread() is threading.main_thread()
        numbers = (signal.SIGINT, signal.SIGTERM) if is_main else ()
        self.previous = {number: signal.signal(number, handle) for number in numbers}

    def __exit__(self, *exception: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)


def _class_layers(network: nn.Module) -> tuple[str, ...]:
    """Return the layers that belong to the classes that a network tells apart."""
    return network.class_layers if isinstance(network, ClassifyingNetwork) else ()


def _versions() -> dict[str, str]:
    modules = {"torch": torch, "numpy": np, "opencv": cv2, "onnx": onnx}
    own = {"object_pose": __version__, "python": sys.version.split()[0]}
    return own | {name: module.__version__ for name, module in modules.items()}


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device 'cuda' was asked for, but torch sees no GPU", "use --device cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _worker_count(workers: int, cores: int, device: torch.device) -> int:
    """Return the data processes: as many as asked for, or as suit the cores (-1)."""
    if workers >= 0:
        return workers
    return max(1, cores // 4) if device.type == "cpu" else max(1, min(cores - 1, _MOST_WORKERS))


def _autocast_dtype(precision: str, device: torch.device) -> torch.dtype:
    if precision == "fp32":
        return torch.float32
    has_bf16 = torch.cuda.is_bf16_supported() if device.type == "cuda" else _cpu_has_bf16()
    if precision == "bf16" or has_bf16:
        return torch.bfloat16
    return torch.float32


def _cpu_has_bf16() -> bool:
    # Without the instruction bf16 is emulated and several times slower than fp32.
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and "avx512_bf16" in cpuinfo.read_text()


def _parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _to_device(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        moved = {field.name: _to_device(getattr(batch, field.name), device) for field in dataclasses.fields(batch)}
        return dataclasses.replace(batch, **moved)
    if isinstance(batch, (tuple, list)):
        return type(batch)(_to_device(item, device) for item in batch)
    return batch
