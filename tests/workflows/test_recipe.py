"""Recipes: one call goes from nothing to a model file, goes on where it was broken off, and is checked before."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import onnx
import pytest
import yaml

from object_pose.core.errors import CancelledError, ConfigError, DataError, ObjectPoseError
from object_pose.io.run_folder import RunFolder
from object_pose.runtime.predictor import Predictor
from object_pose.runtime.resources import DATA_VARIABLE, find
from object_pose.workflows.progress import Progress
from object_pose.workflows.recipe import TrainStage, check_recipe, read_recipe, run_recipe

SHIPPED = sorted(path.stem for path in find("models", "recipes").glob("*.yaml"))
MACHINE = {"threads": 1, "workers": 0, "device": "cpu"}
SCENE = {"width": 96, "height": 64, "focal_px": 90.0, "max_objects": 3, "validation_frames": 1, "reuse": 4}
TINY = {"steps": 3, "batch_size": 2, "precision": "fp32", **SCENE}
NETWORK = {"input_width": 64, "input_height": 64, "crop_width": 64, "crop_height": 64}
STAGES = [
    {"name": "detector", "train": "pose", "options": TINY | NETWORK},
    {"name": "head", "train": "roi_head", "options": TINY},
    {"name": "longer", "train": "roi_head", "options": TINY | {"initial": "stage:head", "steps": 1}},
    {"name": "one", "export": "detector", "roi_head": "head", "card": {"licence": "Apache-2.0", "metric": "none"}},
    {"name": "two", "export": "detector", "roi_head": "longer"},
    {"name": "tiny", "average": ["one", "two"]},
]


def write(folder: Path, stages: list[dict[str, Any]], name: str = "tiny") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"stages": stages}))
    return path


def test_a_recipe_goes_from_nothing_to_a_model_and_goes_on_where_it_was_broken_off(tmp_path: Path) -> None:
    recipe, output = read_recipe(write(tmp_path, STAGES)), tmp_path / "out"

    def break_off(progress: Progress) -> None:
        if (progress.stage, progress.done) == ("head", 2):
            raise CancelledError("enough")

    with pytest.raises(CancelledError, match=r"stage 'head': enough .*the same call goes on"):
        run_recipe(recipe, output, machine=MACHINE, progress=break_off)
    assert [RunFolder(output / name).steps_done for name in ("detector", "head", "longer")] == [3, 2, 0]

    seen: list[tuple[str, int]] = []
    result = run_recipe(recipe, output, machine=MACHINE, progress=lambda p: seen.append((p.stage, p.done)))
    files = [(name, done) for name in ("one", "two", "tiny") for done in (0, 1)]
    assert list(dict.fromkeys(seen)) == [("head", 2), ("head", 3), ("longer", 0), ("longer", 1), *files]
    assert result.model is not None and result.model.path == output / "tiny.onnx"
    detector = Predictor(result.model.path)
    assert detector.reads_depth
    assert (detector.card.licence, detector.card.command) == ("Apache-2.0", "object-pose train --recipe tiny.yaml")

    before = {path: path.stat().st_mtime_ns for path in output.glob("*.onnx")}
    again = run_recipe(recipe, output, machine=MACHINE | {"threads": 2})
    assert again.model is not None and again.model.sha256 == result.model.sha256
    assert {path: path.stat().st_mtime_ns for path in before} == before

    changed = read_recipe(write(tmp_path, [STAGES[0] | {"options": TINY | NETWORK | {"steps": 9}}, *STAGES[1:]]))
    with pytest.raises(ConfigError, match="was begun with another stage 'detector'"):
        run_recipe(changed, output, machine=MACHINE)


def test_time_that_is_up_leaves_the_stage_unfinished_for_the_next_call(tmp_path: Path) -> None:
    stages = [
        {"name": "network", "train": "pose", "options": TINY | NETWORK | {"steps": 2, "max_minutes": 1e-9}},
        {"name": "tiny", "export": "network"},
    ]
    recipe = read_recipe(write(tmp_path, stages))
    first = run_recipe(recipe, tmp_path / "out", machine=MACHINE)
    assert (first.model, first.unfinished) == (None, "network")
    second = run_recipe(recipe, tmp_path / "out", machine=MACHINE)
    assert second.model is not None
    assert onnx.load(str(second.model.path)).graph.output[0].name == "detections"


@pytest.mark.parametrize(
    ("stages", "problem"),
    [
        ([], "has no stages"),
        ([{"train": "pose"}], "stage 1 has no name"),
        ([{"name": "../a", "train": "pose"}], "stage 1 has no name"),
        ([{"name": "a", "train": ["pose"]}], "'train' is .*must be a text"),
        ([{"name": "a", "train": "pose", "options": 3}], "'options' is 3.*must be a mapping"),
        ([{"name": "a", "average": "b"}], "'average' is 'b'.*must be a list"),
        ([{"name": "a"}], "'a' does not say what it does"),
        ([{"name": "a", "train": "pose", "optoins": {}}], "unknown entry 'optoins'.*did you mean 'options'"),
        ([{"name": "a", "train": "pose", "options": {"stepz": 2}}, {"name": "b", "export": "a"}], "mean 'steps'"),
        ([{"name": "a", "train": "poze"}, {"name": "b", "export": "a"}], "stage 'a': unknown task 'poze'"),
        ([{"name": "a", "train": "pose", "options": {"steps": 0}}, {"name": "b", "export": "a"}], "'steps' is 0"),
        ([{"name": "a", "train": "pose"}], "ends with a training"),
        ([{"name": "a", "train": "pose"}, {"name": "a", "export": "a"}], "'a' comes twice"),
        ([{"name": "a", "train": "pose"}, {"name": "b", "export": "c"}], "'b' needs a stage 'c' before it.*use: a"),
        ([{"name": "a", "train": "pose"}, {"name": "b", "export": "a", "roi_head": "a"}], "'a' trains no RoI head"),
        ([{"name": "a", "train": "pose"}, {"name": "b", "export": "a", "card": {"licens": ""}}], "mean 'licence'"),
        ([{"name": "a", "train": "pose", "options": {"objects": "./none"}}, {"name": "b", "export": "a"}], "relative"),
        ([{"name": "a", "train": "pose", "options": {"initial": "stage:b"}}, {"name": "b", "export": "a"}], "before"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(tmp_path: Path, stages: list[Any], problem: str) -> None:
    path = write(tmp_path, stages)
    with pytest.raises(ObjectPoseError, match=rf"tiny\.yaml.*{problem}|{problem}"):
        run_recipe(read_recipe(path), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_data_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    recipe = read_recipe("lmo")
    with pytest.raises(DataError, match=r"lmo\.yaml, stage 'detector_first': data/lmo/models was not found"):
        check_recipe(recipe, tmp_path / "out")


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_recipe_is_valid_and_makes_its_model(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    for data in ("lmo/models", "workplace/train"):
        (tmp_path / data).mkdir(parents=True)
    recipe = read_recipe(name)
    jobs = check_recipe(recipe, tmp_path / "out")
    assert [job.stage for job in jobs] == [stage.name for stage in recipe.stages if isinstance(stage, TrainStage)]
    assert recipe.stages[-1].name == name
    assert find("models", f"{name}.onnx").exists()
    assert not re.search(r"(?<![\w.:])/\w", recipe.path.read_text()), "a recipe names no absolute path"


def test_every_shipped_model_has_its_recipe() -> None:
    assert sorted(path.stem for path in find("models", "recipes").parent.glob("*.onnx")) == SHIPPED
