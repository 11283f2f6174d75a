"""Options that every training run shares."""

from __future__ import annotations

from dataclasses import dataclass

from object_pose.core.params import parameter


@dataclass(frozen=True)
class TrainConfig:
    """One training run; every task's recipe starts from its own defaults of these."""

    steps: int = parameter(6000, "optimiser steps", minimum=1, maximum=10_000_000)
    max_minutes: float = parameter(
        0.0,
        "shorten the learning-rate schedule to this time and stop after it, 0 for no limit",
        minimum=0.0,
        maximum=1e6,
    )
    batch_size: int = parameter(16, "images a step", minimum=1, maximum=4096)
    learning_rate: float = parameter(2e-3, "peak learning rate of AdamW", minimum=1e-7, maximum=1.0)
    weight_decay: float = parameter(0.02, "decay of weights (not of biases or norms)", minimum=0.0, maximum=1.0)
    warmup_steps: int = parameter(200, "steps of linear warm-up", minimum=0, maximum=1_000_000)
    ema_decay: float = parameter(
        0.998, "decay of the averaged weights that are evaluated", minimum=0.0, maximum=0.99999
    )
    clip_norm: float = parameter(10.0, "gradients are scaled down to this norm", minimum=1e-3, maximum=1e6)
    initial: str = parameter(
        "", "run folder or exported model whose weights are the start, where they fit; '' for random ones"
    )
    keep_classes: bool = parameter(
        True, "of an exported model also the layers of its classes are taken; not where this one has other classes"
    )
    seed: int = parameter(0, "seed of weights, data and order", minimum=0, maximum=2**31 - 1)
    device: str = parameter("auto", "where to train", choices=("auto", "cpu", "cuda"))
    precision: str = parameter("auto", "bf16 where the hardware has it, or fp32", choices=("auto", "fp32", "bf16"))
    threads: int = parameter(
        0, "CPU threads of the network; 0 for the cores that other work leaves free", minimum=0, maximum=1024
    )
    workers: int = parameter(
        -1, "data processes; -1 for a quarter of the free cores, on a GPU for all but one", minimum=-1, maximum=256
    )
    validate_every: int = parameter(1000, "steps between validations", minimum=1, maximum=10_000_000)
    checkpoint_every: int = parameter(250, "steps between checkpoints", minimum=1, maximum=10_000_000)
