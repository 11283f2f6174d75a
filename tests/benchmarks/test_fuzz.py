"""``fuzz``: sound inputs of every kind are read, spoilt ones are read or refused, and what fails is saved."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import fuzz
from benchmarks.fuzz_kinds.registry import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_every_sound_input_is_read(kind, tmp_path):
    for number, files in enumerate(KINDS[kind].seeds()):
        fuzz.write_input(tmp_path / str(number), files)
        assert fuzz.read_input(KINDS[kind], tmp_path / str(number)) == ("values", "")


def test_spoilt_inputs_are_read_or_refused(start, tmp_path):
    outcome = start(fuzz.BENCHMARK, "--inputs", 300, "--workers", 1, "--output", tmp_path)
    assert outcome.code == 0, outcome.out
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["inputs"] >= 300 and set(summary["kinds"]) == set(KINDS)
    assert summary["tracebacks"] == summary["crashes"] == summary["hangs"] == 0
    assert summary["values"] > 40 and summary["refused"] > 40
    assert 0 < summary["peak_memory_mb"] <= summary["memory_bound_mb"] and summary["is_memory_bounded"]


def _fail(folder: Path) -> None:
    raise KeyError("nothing names this")


def _take_memory(folder: Path) -> None:
    np.ones(1 << 30)


def _compute(folder: Path) -> None:
    while True:
        pass


def _wait(folder: Path) -> None:
    time.sleep(3600)


def _abort(folder: Path) -> None:
    os.abort()


@pytest.mark.parametrize(
    ("read", "outcome", "seconds"),
    [
        (_fail, "tracebacks", 1.0),
        (_take_memory, "tracebacks", 1.0),
        (_compute, "hangs", 0.5),
        (_wait, "hangs", 0.1),
        (_abort, "crashes", 1.0),
    ],
)
def test_what_fails_is_counted_and_saved(start, tmp_path, monkeypatch, read, outcome, seconds):
    monkeypatch.setitem(KINDS, "card", dataclasses.replace(KINDS["card"], read=read))
    limits = ["--seconds", seconds, "--memory-mb", 500, "--workers", 1]
    assert start(fuzz.BENCHMARK, "card", "--inputs", 2, *limits, "--output", tmp_path).code == 1
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary[outcome] == 2 and summary["kinds"]["card"][outcome] == 2
    saved = sorted((tmp_path / "failures/card").glob("*/card.json"))
    assert len(saved) == 2
    text = saved[0].parent.with_suffix(".txt").read_text()
    assert text.startswith(f"python -m benchmarks.fuzz --repeat {saved[0].parent}")


def test_a_saved_input_is_repeated(start, tmp_path):
    fuzz.write_input(tmp_path / "card/7", {"card.json": b"{}"})
    outcome = start(fuzz.BENCHMARK, "--repeat", tmp_path / "card/7")
    assert outcome.code == 0 and outcome.out.startswith("refused: model card field 'format' is missing")
    assert "no saved input" in start(fuzz.BENCHMARK, "--repeat", tmp_path).err


def test_a_number_makes_the_same_input_again():
    names = ["message", "labels"]
    source, other = fuzz.Source.of(names, seed=3), fuzz.Source.of(names, seed=4)
    for name in names:
        made = [fuzz.make_input(name, number, source) for number in range(20)]
        assert made == [fuzz.make_input(name, number, source) for number in range(20)]
        assert made != [fuzz.make_input(name, number, other) for number in range(20)]


def test_an_interrupted_run_goes_on_where_it_was(start, tmp_path):
    arguments = ["card", "--workers", 1, "--output", tmp_path / "run"]
    assert "no run of seed 0" in start(fuzz.BENCHMARK, *arguments, "--inputs", 5, "--resume").err
    assert start(fuzz.BENCHMARK, *arguments, "--inputs", 5).code == 0
    journal = tmp_path / "run/outcomes.jsonl"
    journal.write_text(journal.read_text().rstrip()[:-3])  # as a kill leaves it: half a line
    assert start(fuzz.BENCHMARK, *arguments, "--inputs", 9, "--resume").code == 0
    assert json.loads((tmp_path / "run/summary.json").read_text())["inputs"] == 9
    whole = [line for line in journal.read_text().splitlines()[1:] if line.endswith("}")]
    assert sorted(json.loads(line)["number"] for line in whole) == list(range(9))
