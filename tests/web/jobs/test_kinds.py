"""Every kind of job, done once with a tiny input: its options are checked, its workflow runs, its result is JSON.

``promote`` is done over HTTP, where it leads to a switch of the model: ``tests/web/test_models.py``.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.calibration_check import write_samples
from cad_files import save_part
from cube import cube_frame, save_cube_model
from object_pose.calibration.boards import parse_board
from object_pose.calibration.simulated import board_picture, pose_before, simulate_hand_eye
from object_pose.core.geometry.camera import Camera
from object_pose.io.bag_frames import write_frame
from object_pose.io.bags import make_typestore, write_bag
from object_pose.io.camera_info import read_camera, write_camera
from object_pose.io.images import write_depth, write_grey
from object_pose.web.jobs.kinds.registry import KINDS
from small_training import NETWORK, RUN, SCENE
from tiles import save_mask_model, save_tiles

BOARD = "charuco:7x5:0.04:0.03:DICT_5X5_100"
CAMERA = Camera(320, 240, 280.0, 281.0, 161.0, 118.0, (-0.1, 0.02, 0.0, 0.0, 0.0))


@pytest.fixture
def do(tmp_path, monkeypatch):
    """Do a job as the worker does; return its result and the folder with its files."""
    reported = []

    def done(kind, /, **options):
        inputs = KINDS[kind].description.check(options, lambda file, _suffixes: str(file))
        output = tmp_path / "output"
        output.mkdir(exist_ok=True)
        monkeypatch.chdir(output)
        result = KINDS[kind].run(inputs, output, reported.append)
        assert json.loads(json.dumps(result, allow_nan=False)) == result
        return result, output

    return done


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Images of the board, its depth, and the camera's file."""
    folder = tmp_path_factory.mktemp("pictures")
    board, generator = parse_board(BOARD), np.random.default_rng(0)
    y, x = np.mgrid[:240, :320].astype(np.float64)
    rays = CAMERA.backproject(CAMERA.undistort(np.stack([x, y], axis=-1)), np.ones(y.shape))
    for kind in ("rgb", "depth"):
        (folder / "frames" / kind).mkdir(parents=True)
    for index in range(10):
        T = pose_before(board, 0.35 + 0.02 * index, generator.uniform(-0.5, 0.5, 2), 0.3 * index)
        true_m = (T[:3, 2] @ T[:3, 3]) / (rays @ T[:3, 2])
        write_grey(folder / "frames" / "rgb" / f"{index}.png", board_picture(board, CAMERA, T, seed=index))
        write_depth(folder / "frames" / "depth" / f"{index}.tiff", (true_m / 1.02).astype(np.float32))
    write_camera(folder / "camera.yaml", CAMERA)
    return folder


def test_all_kinds_are_done_here():
    here = {"onboard", "onboard-plan", "train", "evaluate", "evaluate-bag", "check-dataset", "promote"}
    assert set(KINDS) == here | {f"calibrate-{name}" for name in ("intrinsics", "hand-eye", "depth", "verify")}


@pytest.mark.timeout(240)
def test_train(do):
    options = {**RUN, "input_size": 64, "validation_tiles": 4}
    result, output = do("train", task="segment", name="tiles", steps=2, options=options)
    assert result["is_complete"] and result["steps_done"] == 2
    assert result["model"] == "tiles.onnx" and (output / "tiles.onnx").stat().st_size > 1000


@pytest.mark.timeout(240)
def test_onboard_after_its_plan(do, tmp_path):
    part = str(save_part(tmp_path, "bracket"))
    plan, output = do("onboard-plan", parts=[part], unit="mm")
    assert [item["name"] for item in plan["parts"]] == ["bracket"]
    assert (output / plan["parts"][0]["file"]).read_bytes().startswith(b"glTF")
    options = {"parts": [part], "accept_symmetries": True, "steps": 2, "roi_head": False, "test_frames": 1}
    result, output = do(
        "onboard", **options, name="mine", options={**SCENE, **NETWORK, **RUN, "max_objects": 2, "validation_frames": 1}
    )
    assert (output / result["model"]).exists() and (output / result["report"]).exists()


@pytest.mark.timeout(240)
def test_evaluate(do, tmp_path):
    model, data = save_mask_model(tmp_path / "mask.onnx"), save_tiles(tmp_path / "tiles")
    result, output = do("evaluate", task="segment", model=str(model), data=str(data))
    assert result["figures"] and (output / result["report"]).exists()


@pytest.mark.timeout(240)
def test_evaluate_bag(do, tmp_path):
    with write_bag(tmp_path / "bag", make_typestore()) as bag:
        for index in range(2):
            write_frame(bag, cube_frame(1_000_000_000 + index * 50_000_000))
    model = save_cube_model(tmp_path / "cube.onnx")
    result, output = do("evaluate-bag", bags=[str(tmp_path / "bag")], model=str(model))
    (summary,) = result["bags"].values()
    assert (summary["frames"], summary["poses"]) == (2, 2) and list(output.rglob("report.html"))


@pytest.mark.timeout(240)
def test_check_dataset(do, tmp_path):
    data = save_tiles(tmp_path / "tiles")
    (data / "masks" / "0-0.png").unlink()
    result, output = do("check-dataset", data=str(data), thorough=True)
    assert result["faults"] >= 1 and "0-0" in "".join(result["first_faults"])
    assert (output / result["report"]).exists()


def test_calibrate_intrinsics(do, pictures):
    images = [str(file) for file in sorted((pictures / "frames" / "rgb").iterdir())]
    result, output = do("calibrate-intrinsics", images=images, board=BOARD, name="wrist")
    assert result["images"] == 10 and result["rms_px"] < 0.3
    assert read_camera(output / result["camera"]).fx == pytest.approx(280.0, rel=0.02)


def test_calibrate_depth(do, pictures):
    camera = str(pictures / "camera.yaml")
    result, output = do("calibrate-depth", source=str(pictures / "frames"), board=BOARD, camera=camera)
    assert result["scale"] == pytest.approx(1.02, abs=0.01) and (output / result["file"]).exists()


def test_calibrate_hand_eye_then_verify(do, tmp_path):
    samples, board = tmp_path / "samples", parse_board(BOARD)
    samples.mkdir()
    truth = simulate_hand_eye(board, CAMERA, samples=10, seed=1)
    write_samples(samples, board, CAMERA, truth)
    write_camera(samples / "camera.yaml", CAMERA)
    camera = str(samples / "camera.yaml")
    given = {"samples": str(samples), "board": BOARD, "camera": camera, "min_samples": 8}
    result, output = do("calibrate-hand-eye", **given)
    assert result["samples"] == 10 and result["held_out_mm"] < 3.0
    verified, _ = do("calibrate-verify", calibration=str(output / result["file"]), distance_m=0.5)
    assert verified["verdict"] == result["verdict"] and len(verified["expected"]) == 1
