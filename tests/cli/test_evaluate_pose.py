"""``evaluate pose`` as BOP does it: a data set's own models and depth give AR, and without depth none is made up."""

from __future__ import annotations

import json
import shutil

import pytest

HEADER = "scene_id,im_id,obj_id,score,R,t,time"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    from object_pose.cli.main import main

    root = tmp_path_factory.mktemp("bop") / "set"
    scene = ["--max-distance-m", "0.6", "--max-objects", "4", "--max-distractors", "1"]
    assert main(["generate", "--output", str(root), "--scenes", "1", "--frames", "2", "--seed", "11", *scene]) == 0
    return root


def test_bop_recalls_are_printed_and_written(cli, data, tmp_path):
    outcome = cli("evaluate", "pose", "--data", data, "--times", "--output", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert "BOP average recall" in outcome.out and "MSPD" in outcome.out
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    mean = (summary["ar_vsd"] + summary["ar_mssd"] + summary["ar_mspd"]) / 3
    assert summary["ar_bop"] == pytest.approx(mean) and 0.0 < summary["ar_bop"] <= 1.0
    for table in ("by_distance_m", "by_visibility"):
        assert sum(row["targets"] for row in summary[table]) == summary["bop_targets"] > 0
    assert (tmp_path / "out" / "recall.png").stat().st_size > 10_000
    header, *rows = (tmp_path / "out" / "results.csv").read_text().splitlines()
    assert header == HEADER and rows
    scene, image, number, score, rotation, translation, seconds = rows[0].split(",")
    assert (scene, len(rotation.split()), len(translation.split())) == ("0", 9, 3)
    assert int(image) in (0, 1) and 1 <= int(number) <= 6 and 0.0 < float(score) <= 1.0 and float(seconds) > 0.0
    assert 200.0 < float(translation.split()[2]) < 1000.0


def test_without_depth_there_is_no_vsd_and_no_ar(cli, data):
    outcome = cli("evaluate", "pose", "--data", data, "--no-depth", "--json")
    summary = json.loads(outcome.out)
    assert (summary["ar_vsd"], summary["ar_bop"]) == (None, None)
    assert summary["ar_mssd"] >= 0.0 and summary["ar_mspd"] >= 0.0


def test_scenes_of_several_sensors_are_evaluated_with_a_result_file_of_each(cli, data, tmp_path):
    (single,) = {file.parent for file in data.rglob("scene_camera.json")}
    scene = tmp_path / "set" / single.relative_to(data)
    for sensor in ("cam1", "cam2"):
        for place in single.iterdir():
            copied = scene / f"{place.stem}_{sensor}{place.suffix}"
            if place.is_dir():
                shutil.copytree(place, copied)
            else:
                copied.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(place, copied)
    for kind in ("camera", "gt", "gt_info"):  # the second sensor saw one frame
        file = scene / f"scene_{kind}_cam2.json"
        file.write_text(json.dumps({"1": json.loads(file.read_text())["1"]}))
    for folder in data.iterdir():
        if folder not in single.parents:
            (shutil.copytree if folder.is_dir() else shutil.copy)(folder, tmp_path / "set" / folder.name)
    outcomes = {
        name: cli("evaluate", "pose", "--data", place, "--json", "--output", tmp_path / name)
        for name, place in {
            "single": data,
            "set": tmp_path / "set",
            "folder": scene,
            "cam2": scene / "scene_camera_cam2.json",
        }.items()
    }
    assert all(outcome.code == 0 for outcome in outcomes.values()), [outcome.err for outcome in outcomes.values()]
    targets = {name: json.loads(outcome.out)["bop_targets"] for name, outcome in outcomes.items()}
    assert targets["set"] == targets["folder"] == targets["single"] + targets["cam2"]
    assert targets["single"] > targets["cam2"] > 0
    header, *rows = (tmp_path / "single" / "results.csv").read_text().splitlines(keepends=True)
    second = [row for row in rows if row.split(",")[1] == "1"]
    assert 0 < len(second) < len(rows)
    of_sensors = {"results_cam1.csv": header + "".join(rows), "results_cam2.csv": header + "".join(second)}
    for name in ("set", "folder"):
        assert {file.name: file.read_text() for file in (tmp_path / name).glob("results*.csv")} == of_sensors
    assert (tmp_path / "cam2" / "results_cam2.csv").read_text() == of_sensors["results_cam2.csv"]
    for place in (tmp_path / "set", scene / "scene_camera_cam1.json"):
        checked = cli("dataset", "check", place)
        assert checked.code == 0 and "BOP" in checked.out.upper(), checked.err


def test_splits_whose_scenes_have_equal_numbers_share_no_file_and_no_track(cli, data, tmp_path):
    (scene,) = {file.parent for file in data.rglob("scene_camera.json")}
    for split in ("train", "test"):
        shutil.copytree(scene, tmp_path / "set" / split / scene.name)
    shutil.copytree(data / "models", tmp_path / "set" / "models")
    outcomes = {
        name: cli("evaluate", "pose", "--data", place, "--track", "--json", "--output", tmp_path / name)
        for name, place in {"single": data, "both": tmp_path / "set"}.items()
    }
    assert all(outcome.code == 0 for outcome in outcomes.values()), [outcome.err for outcome in outcomes.values()]
    alone = (tmp_path / "single" / "results.csv").read_text()
    written = {file.name: file.read_text() for file in (tmp_path / "both").glob("results*.csv")}
    assert written == {"results_train.csv": alone, "results_test.csv": alone}
    pictures = [len(list((tmp_path / name).glob("worst_*.png"))) for name in ("single", "both")]
    assert 0 < 2 * pictures[0] == pictures[1]


def test_a_set_without_truth_is_refused(cli, data, tmp_path):
    shutil.copytree(data, tmp_path / "set")
    for file in (tmp_path / "set").rglob("scene_gt.json"):
        file.unlink()
    outcome = cli("evaluate", "pose", "--data", tmp_path / "set")
    assert outcome.code == 2 and "no BOP scene with a scene_gt.json" in outcome.err
