"""The folder of a training run, read where torch is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from object_pose.core.errors import ConfigError, DataError
from object_pose.io.run_folder import RunFolder, RunSettings

WITHOUT_TORCH = """
import sys
from pathlib import Path
sys.modules["torch"] = None  # importing it is an ImportError
from object_pose.io.run_folder import RunFolder
folder = RunFolder(Path(sys.argv[1]))
print(folder.settings().task, folder.description().training["steps"], folder.records()[-1]["recall"])
"""


def _run(folder: Path) -> RunFolder:
    run = RunFolder(folder)
    run.write_settings(RunSettings("pose", {"SceneConfig": {"width": 640}}, 3, "object-pose train pose"))
    run.start(0, "object-pose train pose", {"steps": 40}, {"python": "3.11"})
    run.record(20, "train", {"total": 1.5})
    run.record(40, "validation", {"recall": 0.75})
    return run


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    run = _run(tmp_path / "run")
    assert run.settings() == RunSettings("pose", {"SceneConfig": {"width": 640}}, 3, "object-pose train pose")
    assert run.steps_done == 0  # no checkpoint yet
    run.checkpoint.touch()
    run.note_steps(40, 12.5)
    assert run.steps_done == 40
    run.start(20, "object-pose train pose --resume", {"steps": 60}, {"python": "3.11"})
    description = run.description()
    assert (description.starts, description.training, description.steps_done) == ((0, 20), {"steps": 60}, 20)
    assert [(record["step"], record["split"]) for record in run.records()] == [(20, "train")]


def test_a_run_is_read_without_torch(tmp_path: Path) -> None:
    _run(tmp_path / "run")
    command = [sys.executable, "-c", WITHOUT_TORCH, str(tmp_path / "run")]
    outcome = subprocess.run(command, capture_output=True, text=True, check=True)
    assert outcome.stdout.split() == ["pose", "40", "0.75"]


def test_a_folder_without_a_run_says_what_to_name(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for read in (run.settings, run.description, run.records):
        with pytest.raises(DataError, match="name the --output of 'object-pose train'"):
            read()
    run.check_free(resume=False)
    run.checkpoint.touch()
    with pytest.raises(ConfigError, match="--resume"):
        run.check_free(resume=False)
