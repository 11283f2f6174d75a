"""What a training step of the nano detector costs here, beside the rate of a plain matrix product."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.table import Table

from benchmarks.harness import Benchmark, median_ms, report
from object_pose.training.config import TrainConfig
from object_pose.training.data.augmentation import DetectionSample
from object_pose.training.loop import Trainer
from object_pose.training.tasks.detect import DetectionRecipe

_MATRIX = 2048
_CLASSES = 17
_BOXES = 6


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--size", type=int, default=320, help="side of the images, pixels, a multiple of 32")
    parser.add_argument("--batch-size", type=int, default=16, help="images a step")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")


def run(options: argparse.Namespace) -> int:
    """Measure in both precisions and print a row each."""
    speeds = [
        training_speed(options.size, options.batch_size, options.threads, precision) for precision in ("fp32", "bf16")
    ]
    title = f"nano detector, {options.size}x{options.size}, {options.threads} threads"
    table = Table("precision", "training, ms an image", "matrix product, GFLOP/s", title=title)
    for speed in speeds:
        table.add_row(speed.precision, f"{speed.image_ms:.1f}", f"{speed.matrix_gflops:.0f}")
    report(options, [dataclasses.asdict(speed) for speed in speeds], options.output / "training.json", table)
    return 0


@dataclass(frozen=True)
class TrainingSpeed:
    """Median milliseconds an image of a step (forward, loss, backward, optimiser, averaging), and GFLOP/s."""

    threads: int
    precision: str
    image_ms: float
    matrix_gflops: float


def training_speed(size: int, batch_size: int, threads: int, precision: str, repeats: int = 5) -> TrainingSpeed:
    """Measure the nano detector on images of ``size`` x ``size``; ``precision`` is fp32 or bf16."""
    config = TrainConfig(batch_size=batch_size, threads=threads, precision=precision, device="cpu", workers=0)
    rng = np.random.default_rng(0)
    recipe = DetectionRecipe(_CLASSES, 0, lambda _: iter(()), (), (size, size), (1.0, 1.0))
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(recipe, config, Path(folder))
        batch = recipe.collate([_sample(size, rng) for _ in range(batch_size)])
        step_ms = median_ms(lambda: trainer.train_step(batch), repeats)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    matrix = torch.ones((_MATRIX, _MATRIX), dtype=dtype)
    product_ms = median_ms(lambda: matrix @ matrix, repeats)
    return TrainingSpeed(threads, precision, step_ms / batch_size, 2.0 * _MATRIX**3 / product_ms / 1e6)


def _sample(size: int, rng: np.random.Generator) -> DetectionSample:
    image = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
    low = rng.uniform(0.0, 0.7 * size, (_BOXES, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.05, 0.3, (_BOXES, 2)) * size], axis=1)
    return DetectionSample(image, boxes, rng.integers(0, _CLASSES, _BOXES), np.zeros((_BOXES, 0, 2)))


BENCHMARK = Benchmark("bench_train", "what a training step costs here", add_options, run, Path("out/bench"))

if __name__ == "__main__":
    sys.exit(BENCHMARK.main())
