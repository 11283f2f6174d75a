"""Onboarding called from Python: what was not trained is not noted as trained, and another call goes on."""

from __future__ import annotations

import dataclasses
import json

import pytest

from cad_files import save_part
from object_pose.core.errors import CancelledError, ConfigError
from object_pose.core.geometry.camera import Camera
from object_pose.core.params import make_config
from object_pose.io.camera_info import write_camera
from object_pose.io.run_folder import RunFolder
from object_pose.simulation.scenes.scene import SceneConfig
from object_pose.training.tasks.pose import PoseTrainingConfig
from object_pose.workflows.onboard import onboard
from object_pose.workflows.onboard_plan import OnboardConfig, network_sizes, plan_onboarding
from small_training import NETWORK, RUN, SCENE

SMALL = {**SCENE, **NETWORK, **RUN, "max_objects": 2, "validation_frames": 1}


@pytest.fixture
def config(tmp_path):
    part = save_part(tmp_path, "bracket")
    return OnboardConfig((part,), tmp_path / "mine", steps=3, roi_head=False, test_frames=1, options=SMALL)


@pytest.mark.timeout(300)
def test_a_run_that_is_cancelled_or_runs_out_of_time_is_resumed(config):
    seen = []

    def cancel(progress):
        seen.append(progress)
        if progress.stage == "train pose" and progress.done == 1:
            raise CancelledError("enough")

    with pytest.raises(
        CancelledError, match=r"enough; kept: detector 1 step, .*is not made yet .*same command goes on"
    ):
        onboard(config, progress=cancel)
    assert seen[0].stage == "symmetries" and not config.model.exists()
    run = RunFolder(config.output / "runs" / "pose")
    assert run.steps_done == 1 and run.seconds_done > 0.0

    hurried = dataclasses.replace(config, minutes=1e-6)
    first = onboard(hurried)
    assert not first.is_complete and first.steps_done == {"pose": 1} and first.evaluation is not None
    assert "has 1 of 3 steps" in first.report.read_text() and "had time for 1 step" in first.notes[1]

    stages = []

    def interrupt(progress):
        stages.append(progress.stage)
        if progress.stage == "test":
            raise KeyboardInterrupt

    with pytest.raises(CancelledError, match=r"interrupted; kept: detector 3 steps, .*same command goes on"):
        onboard(config, progress=interrupt)
    interrupted_after = json.loads((config.output / "progress.json").read_text())["minutes"]
    assert interrupted_after > first.minutes
    assert list(dict.fromkeys(stages)) == ["symmetries", "plan", "train pose", "export", "test"]
    stages = []
    second = onboard(config, progress=lambda progress: stages.append(progress.stage))
    assert second.is_complete and second.steps_done == {"pose": 3} and second.minutes > interrupted_after
    assert list(dict.fromkeys(stages)) == ["symmetries", "export", "test"]
    assert "steps; repeat the command" not in second.report.read_text()
    third = onboard(config)
    assert third.evaluation is None and third.model == second.model


@pytest.mark.timeout(300)
def test_the_time_that_the_plan_took_is_part_of_the_onboardings(config):
    plan = plan_onboarding(config)
    assert plan.planning_s > 0.0
    late = onboard(config, dataclasses.replace(plan, planning_s=60.0 * config.minutes))
    assert late.minutes > config.minutes and late.steps_done == {"pose": 1}


@pytest.mark.timeout(300)
def test_time_is_planned_kept_and_gone_on_with_where_there_is_more(config):
    plans = []
    timed = dataclasses.replace(config, steps=0, roi_head=True, minutes=0.4, test_frames=1)
    first = onboard(timed, on_time_plan=plans.append)
    (plan,) = plans
    assert [stage.name for stage in plan.stages] == ["train pose", "train roi-head", "export", "test"]
    for stage, speed in zip(plan.stages, plan.speeds.values()):
        assert stage.steps == max(1, round(stage.seconds / speed.seconds_a_step))
    assert first.is_complete and min(first.steps_done.values()) >= 1
    assert onboard(timed, on_time_plan=plans.append).evaluation is None and len(plans) == 1

    few = {"steps": first.steps_done["pose"] + 2, "roi_head_steps": first.steps_done["roi_head"] + 1}
    longer = onboard(dataclasses.replace(timed, minutes=60.0, **few), on_time_plan=plans.append)
    assert longer.steps_done == {"pose": few["steps"], "roi_head": few["roi_head_steps"]}
    assert len(plans) == 2 and longer.minutes > first.minutes
    assert RunFolder(config.output / "runs" / "pose").description().starts == (0, first.steps_done["pose"])


def test_camera_and_distances_are_the_users_and_never_follow_the_parts_size(tmp_path):
    large = save_part(tmp_path, "bracket", scale=4.0)
    config = OnboardConfig((large,), tmp_path / "out")
    plan = plan_onboarding(config)
    assert not {"min_distance_m", "max_distance_m"} & plan.scene.keys()
    assert any("0.35 to 0.9 m away (the default, whatever the parts' size)" in note for note in plan.notes)
    assert any("fills the image from 0.35 m" in note for note in plan.notes)

    camera = tmp_path / "camera.yaml"
    write_camera(camera, Camera(1280, 720, 900.0, 900.0, 640.0, 360.0))
    asked = plan_onboarding(dataclasses.replace(config, camera=camera, distance_m=(0.8, 1.5)))
    assert {name: asked.scene[name] for name in ("width", "height", "focal_px")} == {
        "width": 640,
        "height": 360,
        "focal_px": 450.0,
    }
    assert asked.scene["min_distance_m"] == 0.8 and "0.8 to 1.5 m away (as asked for)" in asked.notes[1]
    assert len(asked.notes) == 3


def test_the_plan_says_from_how_high_training_looks(tmp_path):
    config = OnboardConfig((save_part(tmp_path, "bracket"),), tmp_path / "out")
    usual = "Training looks from 30 to 80 degrees above the table; for a camera beside it say --min-elevation-deg 5."
    assert usual in plan_onboarding(config).notes
    low = plan_onboarding(dataclasses.replace(config, options={"min_elevation_deg": 5.0}))
    assert low.scene["min_elevation_deg"] == 5.0
    assert "Training looks from 5 to 80 degrees above the table." in low.notes


@pytest.mark.parametrize(
    ("size", "rendered", "network"),
    [
        ((1920, 1080), (640, 360), (416, 256)),
        ((640, 480), (640, 480), (416, 320)),
        ((1280, 1024), (620, 496), (416, 352)),
        ((1080, 1920), (416, 739), (288, 512)),
        ((320, 240), (320, 240), (416, 320)),
    ],
)
def test_pictures_of_any_shape_cost_about_as_much(tmp_path, size, rendered, network):
    camera = tmp_path / "camera.yaml"
    write_camera(camera, Camera(*size, 900.0, 900.0, 0.5 * size[0], 0.5 * size[1]))
    config = OnboardConfig((save_part(tmp_path, "bracket"),), tmp_path / "out", camera=camera)
    scene = make_config(SceneConfig, dict(plan_onboarding(config).scene))
    assert (scene.width, scene.height) == rendered
    assert scene.focal_px == pytest.approx(900.0 * rendered[0] / size[0], rel=2e-3)
    sizes = network_sizes(scene, {})
    assert (sizes["input_width"], sizes["input_height"]) == network


def test_depth_is_measured_at_the_users_distance_and_the_plan_says_where_that_is_nearer_than_usual(tmp_path):
    config = OnboardConfig((save_part(tmp_path, "bracket"),), tmp_path / "out", distance_m=(0.15, 0.25))
    near = plan_onboarding(config)
    assert near.scene["min_depth_m"] == 0.075
    assert any("Depth is rendered from 0.075 m on" in note for note in near.notes)
    far = plan_onboarding(dataclasses.replace(config, distance_m=(0.6, 0.9)))
    assert far.scene["min_depth_m"] == 0.28 and not any("Depth is" in note for note in far.notes)
    named = plan_onboarding(dataclasses.replace(config, options={"min_depth_m": 0.2}))
    assert named.scene["min_depth_m"] == 0.2


@pytest.mark.parametrize(("scale", "is_scaled"), [(0.2, True), (1.0, False), (5.0, True)])
def test_scenes_fit_small_and_large_parts(tmp_path, scale, is_scaled):
    part = save_part(tmp_path, "bracket", scale=scale)
    scene = plan_onboarding(OnboardConfig((part,), tmp_path / "out", unit="mm")).scene
    assert ("clutter_scale" in scene) == is_scaled
    if is_scaled:
        usual = plan_onboarding(OnboardConfig((part,), tmp_path / "out", unit="mm", options={"clutter_scale": 1.0}))
        assert 0.7 * scale < scene["clutter_scale"] < 1.7 * scale and usual.scene["clutter_scale"] == 1.0


def test_materials_are_chosen_part_by_part_unless_a_share_for_all_is_given(tmp_path):
    parts = save_part(tmp_path, "bracket"), save_part(tmp_path, "gear")
    config = OnboardConfig(parts, tmp_path / "out", accept_symmetries=True)
    scene = plan_onboarding(config).scene
    assert scene["plain_repaint_share"] > 0.5 and scene["plain_printed_share"] > 0.0
    assert "repaint_share" not in scene
    given = plan_onboarding(dataclasses.replace(config, options={"repaint_share": 0.1})).scene
    assert given["repaint_share"] == 0.1 and "plain_repaint_share" not in given
    assert given["plain_printed_share"] == scene["plain_printed_share"]


def test_a_wider_input_is_higher_too_and_learned_from_larger_crops(tmp_path):
    usual = PoseTrainingConfig()
    sizes = {name: getattr(usual, name) for name in ("input_width", "input_height", "crop_width", "crop_height")}
    assert network_sizes(SceneConfig(), {}) == sizes
    wide = {"input_width": 640, "input_height": 480, "crop_width": 512, "crop_height": 384}
    assert network_sizes(SceneConfig(), {"input_width": 640}) == wide
    assert network_sizes(SceneConfig(), {"input_height": 480}) == wide
    assert network_sizes(SceneConfig(), {"input_width": 640, "crop_height": 256}) == wide | {"crop_height": 256}

    far = OnboardConfig((save_part(tmp_path, "bracket"),), tmp_path / "out", distance_m=(1.0, 4.8))
    pixels = {}
    for width in (416, 640):
        notes = plan_onboarding(dataclasses.replace(far, options={"input_width": width})).notes
        (text,) = [note for note in notes if "--input-width makes it larger" in note]
        pixels[width] = int(text.split(" has ")[1].split()[0])
        assert f"{width} pixels wide" in text
    assert pixels[640] / pixels[416] == pytest.approx(640 / 416, rel=0.1)


def test_unknown_options_and_unconfirmed_symmetries_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'batch_size'"):
        OnboardConfig((), tmp_path, options={"batchsize": 2})
    elbow = save_part(tmp_path, "pipe_elbow")
    with pytest.raises(ConfigError, match="pipe_elbow are not confirmed"):
        onboard(OnboardConfig((elbow,), tmp_path / "out"))
    assert not (tmp_path / "out").exists()
