"""Generated data sets: what is written can be read, evaluated and gone on with; nothing is ever half there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from object_pose.io.bop import read_bop_scene, read_models_info
from object_pose.simulation.parts.procedural import PART_NAMES

SMALL = ["--width", "96", "--height", "64", "--focal-px", "90", "--max-objects", "3", "--max-distractors", "1"]
NAMES = dict(enumerate(PART_NAMES, start=1))


def content(root):
    """Every file below a folder, with its bytes."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def generate(cli, output, *options):
    return cli("generate", "--output", output, "--frames", "2", "--seed", "3", *SMALL, *options)


def test_a_data_set_is_read_back(cli, tmp_path):
    root = tmp_path / "set"
    outcome = generate(cli, root, "--scenes", "2")
    assert outcome.code == 0, outcome.err
    assert "2 scenes of 2 frames, 6 object models" in outcome.out
    assert len(read_models_info(root / "models" / "models_info.json")) == 6
    for scene in ("000000", "000001"):
        items = list(read_bop_scene(root / "train" / scene, NAMES))
        assert len(items) == 2
        for item in items:
            assert item.frame.rgb.shape == (64, 96, 3) and item.frame.depth_m is not None
            assert {truth.class_name for truth in item.truths} <= set(PART_NAMES)
    assert any(item.truths for item in items)


def test_without_depth_there_is_none(cli, tmp_path):
    generate(cli, tmp_path, "--scenes", "1", "--no-depth")
    assert all(item.frame.depth_m is None for item in read_bop_scene(tmp_path / "train" / "000000", NAMES))


def test_equal_seeds_give_equal_files_however_often_it_is_begun(cli, tmp_path):
    generate(cli, tmp_path / "once", "--scenes", "2")
    generate(cli, tmp_path / "twice", "--scenes", "1")
    generate(cli, tmp_path / "twice", "--scenes", "2")
    assert content(tmp_path / "once") == content(tmp_path / "twice")


def test_a_killed_run_leaves_whole_scenes_and_is_gone_on_with(cli, tmp_path):
    root = tmp_path / "set"
    options = ["--output", root, "--scenes", "1000", "--frames", "2", "--seed", "3", *SMALL]
    process = subprocess.Popen([sys.executable, "-m", "object_pose.cli.main", "generate", *map(str, options)])
    deadline = time.monotonic() + 100
    while not (root / "train" / "000001").exists():
        assert process.poll() is None and time.monotonic() < deadline, "no second scene"
        time.sleep(0.01)
    process.kill()
    process.wait()
    done = len([path for path in (root / "train").iterdir() if not path.name.startswith(".")])
    assert generate(cli, root, "--scenes", str(done + 1)).code == 0
    scenes = sorted(path.name for path in (root / "train").iterdir())
    assert scenes == [f"{index:06d}" for index in range(done + 1)]
    assert all(len(list(read_bop_scene(root / "train" / scene, NAMES))) == 2 for scene in scenes)


def test_ctrl_c_is_one_line_and_leaves_nothing_half_written(tmp_path):
    root = tmp_path / "set"
    options = ["--output", root, "--scenes", "1000", "--frames", "2", *SMALL]
    command = [sys.executable, "-m", "object_pose.cli.main", "generate", *map(str, options)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 100
    while not (root / "train" / "000000").exists():
        assert process.poll() is None and time.monotonic() < deadline, "no scene"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "object-pose generate: interrupted\n")
    assert not [path for path in root.rglob("*") if path.name.startswith(".")]
    for scene in (root / "train").iterdir():
        assert len(list(read_bop_scene(scene, NAMES))) == 2


@pytest.mark.parametrize("change", [["--seed", "4"], ["--width", "128"], ["--no-depth"]])
def test_other_options_do_not_mix_into_a_data_set(cli, tmp_path, change):
    generate(cli, tmp_path / "set", "--scenes", "1")
    before = content(tmp_path / "set")
    assert "was made with" in generate(cli, tmp_path / "set", "--scenes", "2", *change).problem
    assert content(tmp_path / "set") == before


def test_files_of_something_else_are_left_alone(cli, tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    assert "holds files of something else" in generate(cli, tmp_path, "--scenes", "1").problem
    assert list(content(tmp_path)) == ["thesis.txt"]


def test_its_models_are_objects_for_another_data_set(cli, tmp_path):
    generate(cli, tmp_path / "first", "--scenes", "1")
    outcome = generate(cli, tmp_path / "second", "--scenes", "1", "--objects", tmp_path / "first" / "models")
    assert outcome.code == 0, outcome.err
    settings = json.loads((tmp_path / "second" / "generate.json").read_text())
    assert settings["objects"] == str(tmp_path / "first" / "models")
    assert len(list(read_bop_scene(tmp_path / "second" / "train" / "000000", NAMES))) == 2
