"""The training loop: it learns, keeps what it learned through a kill, and stops at a loss that is no number."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

import tiny_task
from object_pose.core.errors import ConfigError, DataError
from object_pose.training.loop import Trainer, load_average
from tiny_task import LineRecipe, config


def _step(run_dir: Path) -> int:
    return int(torch.load(run_dir / "last.pt", weights_only=True)["step"])


def _wait_for_checkpoint(run_dir: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not (run_dir / "last.pt").exists():
        assert process.poll() is None, "the training ended before its first checkpoint"
        assert time.monotonic() < deadline, "no checkpoint within a minute"
        time.sleep(0.02)


def _start(run_dir: Path, steps: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, tiny_task.__file__, str(run_dir), str(steps)], stderr=subprocess.PIPE)


def test_learns_the_line_and_records_the_run(tmp_path: Path) -> None:
    Trainer(LineRecipe(), config(200), tmp_path / "run").run(progress=False)
    records = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    validations = [record for record in records if record["split"] == "validation"]
    assert [record["step"] for record in validations] == [50, 100, 150, 200]
    assert validations[-1]["slope_error"] < 0.05
    description = json.loads((tmp_path / "run/run.json").read_text())
    assert description["config"]["steps"] == 200
    assert description["versions"]["torch"] == torch.__version__
    assert list((tmp_path / "run").glob("events.out.tfevents.*"))


def test_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    first = Trainer(LineRecipe(), config(30), tmp_path / "a").run(progress=False).state_dict()
    second = Trainer(LineRecipe(), config(30), tmp_path / "b").run(progress=False).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_killed_run_resumes_from_its_checkpoint(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    process = _start(run_dir, 1_000_000)
    _wait_for_checkpoint(run_dir, process)
    process.kill()
    process.wait()
    reached = _step(run_dir)
    Trainer(LineRecipe(), config(reached + 20), run_dir).run(resume=True, progress=False)
    assert _step(run_dir) == reached + 20
    assert not list(run_dir.glob("*.tmp"))


def test_interrupt_keeps_the_checkpoint_and_says_how_to_go_on(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    process = _start(run_dir, 1_000_000)
    _wait_for_checkpoint(run_dir, process)
    os.kill(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert b"--resume" in stderr
    assert _step(run_dir) > 0


def test_nan_loss_stops_with_the_last_good_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="loss became nan"):
        Trainer(LineRecipe(poison_after=16 * 25), config(100), tmp_path / "run").run(progress=False)
    network = load_average(tmp_path / "run", nn.Linear(1, 1))
    assert _step(tmp_path / "run") == 20
    assert all(torch.isfinite(parameter).all() for parameter in network.parameters())


def test_an_existing_run_is_not_overwritten(tmp_path: Path) -> None:
    Trainer(LineRecipe(), config(10), tmp_path / "run").run(progress=False)
    with pytest.raises(ConfigError, match="holds a run already"):
        Trainer(LineRecipe(), config(10), tmp_path / "run").run(progress=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_cuda_without_a_gpu_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no GPU"):
        Trainer(LineRecipe(), config(10, device="cuda"), tmp_path / "run")


def test_a_run_can_start_from_another_runs_weights(tmp_path: Path) -> None:
    Trainer(LineRecipe(), config(200), tmp_path / "first").run(progress=False)
    second = Trainer(LineRecipe(), config(1, initial=str(tmp_path / "first")), tmp_path / "second")
    assert LineRecipe().validate(second.network)["slope_error"] < 0.05


def test_starting_from_a_folder_without_a_run_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"last\.pt is missing"):
        Trainer(LineRecipe(), config(1, initial=str(tmp_path)), tmp_path / "run")
