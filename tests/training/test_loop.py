"""The training loop: it learns, keeps what it learned through a kill, and stops at a loss that is no number."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import tiny_task
from object_pose.core.errors import CancelledError, ConfigError, DataError
from object_pose.io.run_folder import RunFolder
from object_pose.runtime.cpus import available_cores
from object_pose.training.callbacks import TrainingCallback
from object_pose.training.checkpoint import load_average
from object_pose.training.loop import Trainer
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
    Trainer(LineRecipe(), config(200), tmp_path / "run").run()
    records = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    validations = [record for record in records if record["split"] == "validation"]
    assert [record["step"] for record in validations] == [50, 100, 150, 200]
    assert validations[-1]["slope_error"] < 0.05
    description = json.loads((tmp_path / "run/run.json").read_text())
    assert description["config"]["steps"] == 200
    assert description["versions"]["torch"] == torch.__version__
    assert list((tmp_path / "run").glob("events.out.tfevents.*"))


def test_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    trainers = [Trainer(LineRecipe(), config(30), tmp_path / name) for name in "ab"]
    for trainer in trainers:
        trainer.run()
    first, second = (trainer.average.state_dict() for trainer in trainers)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_killed_run_resumes_from_its_checkpoint(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    process = _start(run_dir, 1_000_000)
    _wait_for_checkpoint(run_dir, process)
    process.kill()
    process.wait()
    reached = _step(run_dir)
    Trainer(LineRecipe(), config(reached + 20), run_dir).run(resume=True)
    assert _step(run_dir) == reached + 20
    assert not list(run_dir.glob("*.tmp"))


def test_a_resumed_run_has_each_step_recorded_once_and_knows_its_commands(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    Trainer(LineRecipe(), config(50), run_dir, "object-pose train line --output 'my run'").run()
    with (run_dir / "metrics.jsonl").open("a") as file:  # as a kill leaves it: beyond the checkpoint, and half a line
        file.write('{"time": 1.0, "step": 60, "split": "train", "total": 1.0}\n{"time": 1.0, "st')
    Trainer(LineRecipe(), config(80), run_dir, "object-pose train line --resume").run(resume=True)
    steps = [r["step"] for r in map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())]
    assert steps == [20, 40, 50, 60, 80, 80]
    description = json.loads((run_dir / "run.json").read_text())
    assert description["starts"] == [
        {"step": 0, "command": "object-pose train line --output 'my run'"},
        {"step": 50, "command": "object-pose train line --resume"},
    ]


def test_a_full_disk_is_a_clear_error_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    Trainer(LineRecipe(), config(20), run_dir).run()
    (run_dir / "last.pt.tmp").symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"last\.pt cannot be written.*disk full.*--resume"):
        Trainer(LineRecipe(), config(60), run_dir).run(resume=True)
    assert _step(run_dir) == 20
    assert not (run_dir / "last.pt.tmp").is_symlink()
    Trainer(LineRecipe(), config(60), run_dir).run(resume=True)
    assert _step(run_dir) == 60


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half of it"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "last.pt").write_bytes(content)
    with pytest.raises(DataError, match=r"last\.pt cannot be read"):
        Trainer(LineRecipe(), config(20), run_dir).run(resume=True)


def test_a_run_of_another_network_is_not_gone_on_with(tmp_path: Path) -> None:
    Trainer(LineRecipe(), config(10), tmp_path / "run").run()
    with pytest.raises(DataError, match="another network"):
        load_average(tmp_path / "run", nn.Linear(2, 2))


def test_time_that_is_up_ends_a_run_well_and_the_result_says_how_many_steps_are_done(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    for done in (1, 2):
        result = Trainer(LineRecipe(), config(1_000_000, max_minutes=1e-9), run_dir).run(resume=True)
        assert (result.steps_done, result.steps, result.is_complete) == (done, 1_000_000, False)
        assert RunFolder(run_dir).steps_done == _step(run_dir) == done
        record = RunFolder(run_dir).records()[-1]
        assert (record["split"], record["step"]) == ("validation", done)
    result = Trainer(LineRecipe(), config(30), run_dir).run(resume=True)
    assert result.is_complete and result.validation == LineRecipe().validate(load_average(run_dir, nn.Linear(1, 1)))


class _Recorder(TrainingCallback):
    """Notes what it is called with, and cancels or ends the run after some steps."""

    def __init__(self, cancel_at: int = 0, stop_at: int = 0) -> None:
        self.calls: list[tuple[str, int]] = []
        self.cancel_at, self.stop_at = cancel_at, stop_at

    def on_start(self, trainer: Trainer) -> None:
        self.calls.append(("start", trainer.step))

    def on_step(self, trainer: Trainer, figures: Mapping[str, float]) -> None:
        assert figures["total"] >= 0.0 < figures["learning_rate"]
        if trainer.step == self.cancel_at:
            raise CancelledError("enough")
        if trainer.step == self.stop_at:
            trainer.stop()

    def on_validation(self, trainer: Trainer, figures: Mapping[str, float]) -> None:
        assert "slope_error" in figures
        self.calls.append(("validation", trainer.step))

    def on_end(self, trainer: Trainer) -> None:
        self.calls.append(("end", trainer.step))


def test_a_callback_is_called_ends_a_run_and_cancels_it_with_the_checkpoint_kept(tmp_path: Path) -> None:
    run_dir, recorder = tmp_path / "run", _Recorder(stop_at=7)
    Trainer(LineRecipe(), config(60), run_dir, callbacks=[recorder]).run()
    assert recorder.calls == [("start", 0), ("validation", 7), ("end", 7)]
    recorder = _Recorder(cancel_at=53)
    with pytest.raises(CancelledError):
        Trainer(LineRecipe(), config(60), run_dir, callbacks=[recorder]).run(resume=True)
    assert recorder.calls == [("start", 7), ("validation", 50), ("end", 53)]
    assert _step(run_dir) == RunFolder(run_dir).steps_done == 53


def test_a_recipe_that_draws_is_seen_in_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    class Drawing(LineRecipe):
        def pictures(self, network: nn.Module) -> dict[str, np.ndarray]:
            return {"line": np.full((4, 6, 3), 200, np.uint8)}

    Trainer(Drawing(), config(50), tmp_path / "run").run()
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    (picture,) = events.Images("line")
    assert (picture.step, picture.width, picture.height) == (50, 6, 4)


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
        Trainer(LineRecipe(poison_after=16 * 25), config(100), tmp_path / "run").run()
    network = load_average(tmp_path / "run", nn.Linear(1, 1))
    assert _step(tmp_path / "run") == 20
    assert all(torch.isfinite(parameter).all() for parameter in network.parameters())


def test_an_existing_run_is_not_overwritten(tmp_path: Path) -> None:
    Trainer(LineRecipe(), config(10), tmp_path / "run").run()
    with pytest.raises(ConfigError, match="holds a run already"):
        Trainer(LineRecipe(), config(10), tmp_path / "run").run()


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_cuda_without_a_gpu_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no GPU"):
        Trainer(LineRecipe(), config(10, device="cuda"), tmp_path / "run")


def test_a_run_can_start_from_another_runs_weights(tmp_path: Path) -> None:
    Trainer(LineRecipe(), config(200), tmp_path / "first").run()
    second = Trainer(LineRecipe(), config(1, initial=str(tmp_path / "first")), tmp_path / "second")
    assert LineRecipe().validate(second.network)["slope_error"] < 0.05


def test_starting_from_a_folder_without_a_run_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"last\.pt is missing"):
        Trainer(LineRecipe(), config(1, initial=str(tmp_path)), tmp_path / "run")


def test_a_run_in_another_thread_takes_no_signals(tmp_path: Path) -> None:
    with ThreadPoolExecutor() as pool:
        result = pool.submit(Trainer(LineRecipe(), config(20), tmp_path / "run").run).result()
    assert result.is_complete


def test_data_processes_are_chosen_by_the_cores(tmp_path: Path) -> None:
    result = Trainer(LineRecipe(), config(20, workers=-1, threads=0), tmp_path / "run").run()
    assert result.is_complete and 1 <= torch.get_num_threads() <= available_cores()


@pytest.mark.parametrize("workers", [0, 1])
def test_data_in_the_same_process_take_no_thread_from_training(tmp_path: Path, workers: int) -> None:
    usual = torch.get_num_threads()
    try:
        Trainer(LineRecipe(), config(3, workers=workers, threads=2), tmp_path / "run").run()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(usual)
