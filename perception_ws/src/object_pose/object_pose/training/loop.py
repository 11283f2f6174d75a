"""The one training loop of all tasks: mixed precision, averaged weights, cosine schedule, checkpoint and resume."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import logging
import math
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from tqdm import tqdm

from object_pose.core.errors import ConfigError, DataError, ObjectPoseError
from object_pose.training.config import TrainConfig
from object_pose.training.onnx.weights import load_onnx, recalibrate_batch_norm
from object_pose.training.run_folder import RunFolder

logger = logging.getLogger(__name__)
_SHOWN_EVERY = 20
# Batches and their size by which the norms of an exported model find their statistics again.
_SETTLING, _SETTLING_BATCH = 6, 16


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
class ScheduledRecipe(Protocol):
    """A recipe whose samples change as the training goes on."""

    def scheduled_samples(self, rng: np.random.Generator, done: Iterator[float]) -> Iterator[Any]:
        """Yield one training sample for each of ``done``, the share of the training before the step that uses it."""
        ...


@runtime_checkable
class IllustratedRecipe(Protocol):
    """A recipe that can show what its network does."""

    def pictures(self, network: nn.Module) -> Mapping[str, NDArray[np.uint8]]:
        """Return named (H, W, 3) pictures of the averaged network on held-out data, for TensorBoard."""
        ...


class TrainingInterruptedError(ObjectPoseError):
    """The user stopped the run; the checkpoint is written and ``resume`` goes on from it."""


class _Samples(IterableDataset[Any]):
    """Endless samples, each data process with its own seed; a resumed run continues with fresh ones."""

    def __init__(self, recipe: Recipe, config: TrainConfig, start_step: int) -> None:
        self.recipe, self.config, self.start_step = recipe, config, start_step

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        torch.set_num_threads(1)
        rng = np.random.default_rng([self.config.seed, self.start_step, worker])
        if isinstance(self.recipe, ScheduledRecipe):
            return self.recipe.scheduled_samples(rng, self._done(worker, workers))
        return self.recipe.samples(rng)

    def _done(self, worker: int, workers: int) -> Iterator[float]:
        """Yield the share of the training done when each sample is used: the data processes fill batches in turn."""
        for count in itertools.count():
            batch = count // self.config.batch_size * workers + worker
            yield (self.start_step + batch) / self.config.steps


class Trainer:
    """Trains one recipe into one run folder (checkpoint, metrics.jsonl, run.json, TensorBoard events)."""

    def __init__(self, recipe: Recipe, config: TrainConfig, run_dir: Path, command: str = "") -> None:
        self.recipe, self.config, self.folder = recipe, config, RunFolder(run_dir)
        self.command = command or shlex.join(sys.argv)
        self.device = _device(config.device)
        self.autocast_dtype = _autocast_dtype(config.precision, self.device)
        if config.threads:
            torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.network = recipe.network().to(self.device, memory_format=torch.channels_last)
        if config.initial and not self.folder.checkpoint.exists():  # a resumed run has its own
            self._start_from(Path(config.initial))
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            _parameter_groups(self.network, config.weight_decay), lr=config.learning_rate, fused=True
        )
        self.step = 0
        self._writer: Any = None
        self._stop_requested = False

    def _start_from(self, initial: Path) -> None:
        """Take over what another run, or an exported model, has learned."""
        if initial.suffix != ".onnx":
            _start_from_run(initial, self.network)
            return
        found = load_onnx(initial, self.network)
        samples = self.recipe.samples(np.random.default_rng(self.config.seed))
        batches = [self.recipe.collate(list(itertools.islice(samples, _SETTLING_BATCH))) for _ in range(_SETTLING)]

        def look() -> None:
            for batch in batches:
                self.recipe.loss(self.network, _to_device(batch, self.device))

        recalibrate_batch_norm(self.network, look)
        logger.info("%d layers start from %s", found, initial)

    def run(self, resume: bool = False, progress: bool = True) -> nn.Module:
        """Train to the configured number of steps and return the averaged network.

        Raises ``TrainingInterruptedError`` on Ctrl-C, ``ConfigError`` when the folder holds a run and ``resume`` is not
        set, ``DataError`` when the loss becomes NaN or the disk is full; the last good checkpoint is kept in each case.
        """
        self._open_run(resume)
        with _DeferredInterrupt(self._request_stop), self._open_writer() as self._writer:
            self._train(progress)
        return self.average

    def _request_stop(self) -> None:
        self._stop_requested = True

    def _train(self, progress: bool) -> None:
        batches = iter(self._loader())
        bar = tqdm(total=self.config.steps, initial=self.step, disable=not progress, unit="step", file=sys.stderr)
        ends_at = time.monotonic() + 60.0 * (self.config.max_minutes or math.inf)
        is_over = self.step >= self.config.steps
        with bar:
            while not is_over:
                parts = self.train_step(next(batches))
                self.step += 1
                bar.update()
                is_over = self.step >= self.config.steps or time.monotonic() >= ends_at
                self._after_step(parts, bar, is_over)
        self.save()

    def train_step(self, batch: Any) -> dict[str, float]:
        """Learn from one batch; return the parts of the loss. Raises ``DataError`` where it is not finite."""
        self.network.train()
        rate = self._learning_rate()
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

    def _after_step(self, parts: dict[str, float], bar: Any, is_over: bool) -> None:
        if self.step % _SHOWN_EVERY == 0:
            bar.set_postfix({name: f"{value:.3g}" for name, value in parts.items() if name != "learning_rate"})
            self._record("train", parts)
        if self.step % self.config.validate_every == 0 or is_over:
            self._record("validation", self.recipe.validate(self.average))
            self._show()
        if self.step % self.config.checkpoint_every == 0:
            self.save()
        if self._stop_requested:
            self.save()
            raise TrainingInterruptedError(
                f"stopped at step {self.step}", f"go on with --resume; kept in {self.folder.path}"
            )

    def _learning_rate(self) -> float:
        if self.step < self.config.warmup_steps:
            return self.config.learning_rate * (self.step + 1) / self.config.warmup_steps
        done = (self.step - self.config.warmup_steps) / max(1, self.config.steps - self.config.warmup_steps)
        return self.config.learning_rate * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done))))

    @torch.no_grad()
    def _update_average(self) -> None:
        # A young average must not remember the random start.
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        own, current = list(self.average.parameters()), [p.detach() for p in self.network.parameters()]
        torch._foreach_lerp_(own, current, 1.0 - decay)
        for mine, theirs in zip(self.average.buffers(), self.network.buffers()):
            mine.copy_(theirs)

    def _loader(self) -> DataLoader[Any]:
        workers = self.config.workers
        return DataLoader(
            _Samples(self.recipe, self.config, self.step),
            batch_size=self.config.batch_size,
            collate_fn=self.recipe.collate,
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            # A forked child would wait for ever on the thread pool that OpenCV left behind in its parent.
            multiprocessing_context="spawn" if workers else None,
        )

    def save(self) -> None:
        """Write the checkpoint; raises ``DataError`` where that is impossible, with the one before kept."""
        self.folder.save(
            {
                "step": self.step,
                "network": self.network.state_dict(),
                "average": self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "config": dataclasses.asdict(self.config),
            }
        )

    def _open_run(self, resume: bool) -> None:
        self.folder.check_free(resume)
        if self.folder.checkpoint.exists():
            state = self.folder.load(self.device)
            _load(self.network, state["network"], self.folder.path)
            _load(self.average, state["average"], self.folder.path)
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = int(state["step"])
            logger.info("resumed %s at step %d", self.folder.path, self.step)
        self.folder.start(self.step, self.command, self.config)

    def _open_writer(self) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(self.folder.path), purge_step=self.step)

    def _record(self, split: str, figures: dict[str, float]) -> None:
        self.folder.record(self.step, split, figures)
        for name, value in figures.items():
            self._writer.add_scalar(f"{split}/{name}", value, self.step)

    def _show(self) -> None:
        if isinstance(self.recipe, IllustratedRecipe):
            for name, picture in self.recipe.pictures(self.average).items():
                self._writer.add_image(name, picture, self.step, dataformats="HWC")


def load_average(run_dir: Path, network: nn.Module) -> nn.Module:
    """Load the averaged weights of a run into ``network`` and return it in evaluation mode.

    Raises ``DataError`` where there are none or they are of another network.
    """
    _load(network, _average_of(run_dir), run_dir)
    return network.eval()


def _load(network: nn.Module, weights: dict[str, Tensor], run_dir: Path) -> None:
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise DataError(
            f"the run {run_dir} is of another network", "its options or the code changed since: train in a new folder"
        ) from error


def _average_of(run_dir: Path) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = RunFolder(run_dir).load(torch.device("cpu"))["average"]
    return weights


def _start_from_run(run_dir: Path, network: nn.Module) -> None:
    """Copy the averaged weights of another run into the layers that it shares with ``network``."""
    own = network.state_dict()
    shared = {
        name: value for name, value in _average_of(run_dir).items() if name in own and own[name].shape == value.shape
    }
    if not shared:
        raise ConfigError(f"the run {run_dir} shares no layer with this network", "name a run of the same task")
    network.load_state_dict(own | shared)
    logger.info("%d of %d layers start from %s", len(shared), len(own), run_dir)


class _DeferredInterrupt:
    """Within it, the first SIGINT or SIGTERM asks for a stop after the step; a second SIGINT stops at once."""

    def __init__(self, request: Callable[[], None]) -> None:
        self.request = request

    def __enter__(self) -> None:
        def handle(number: int, frame: Any) -> None:
            self.request()
            signal.signal(signal.SIGINT, signal.default_int_handler)

        self.previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}

    def __exit__(self, *exception: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device 'cuda' was asked for, but torch sees no GPU", "use --device cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


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
