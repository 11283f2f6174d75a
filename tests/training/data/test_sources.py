"""Rendered frames as training samples: photographs behind the objects, and what a camera does to a picture."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from object_pose.core.errors import DataError
from object_pose.core.frame import Frame
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.core.results.pose import ObjectTruth
from object_pose.core.vision.image import Letterbox
from object_pose.io.bop_writing import LabelledFrame, write_labelled_scene
from object_pose.simulation.parts.objects import part_objects
from object_pose.simulation.scenes.scene import SceneConfig
from object_pose.simulation.scenes.truth import SimulatedFrame
from object_pose.simulation.seeds import VALIDATION
from object_pose.training.data.augmentation import DetectionSample, photometric, uneven_light
from object_pose.training.data.sources import LabelledScenes, PhotoBackgrounds, validation_frames, validation_samples
from object_pose.training.tasks.detect import DetectionRecipe
from object_pose.training.tasks.pose import PoseTrainingConfig, pose_recipe
from small_training import NETWORK, SCENE

_CAMERA = Camera(160, 120, 150.0, 150.0, 79.5, 59.5)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder of plain photographs, none like another, of several sizes."""
    for index in range(8):
        picture = np.full((90 + 20 * index, 200, 3), 20 + 25 * index, np.uint8)
        assert cv2.imwrite(str(tmp_path / f"{index}.png"), picture)
    return tmp_path


def _frame() -> SimulatedFrame:
    """Return a frame with one bright object in the middle of black."""
    instance_ids = np.full((120, 160), -1, np.int32)
    instance_ids[40:80, 60:100] = 0
    rgb = np.where(instance_ids[..., None] >= 0, 250, 0).astype(np.uint8).repeat(3, axis=2)
    return SimulatedFrame(Frame(rgb, _CAMERA), (), instance_ids)


def _backgrounds(folder: Path, count: int = 40) -> list[np.ndarray]:
    backgrounds, rng = PhotoBackgrounds.from_folder(str(folder), 1.0), np.random.default_rng(0)
    return [backgrounds.replace_background(_frame(), rng).frame.rgb for _ in range(count)]


def test_photographs_lie_behind_the_objects(photos: Path) -> None:
    for picture in _backgrounds(photos):
        assert picture.shape == (120, 160, 3)
        assert np.all(picture[46:74, 66:94] == 250)
        assert np.all(picture[:30] > 10)


def test_one_or_several_photographs_make_a_background(photos: Path) -> None:
    levels = {len(np.unique(picture[:30])) for picture in _backgrounds(photos)}
    assert 1 in levels
    assert max(levels) > 1


def test_the_seam_is_as_soft_as_a_cameras(photos: Path) -> None:
    for picture in _backgrounds(photos):
        across = picture[60, 52:68, 0].astype(float)
        step = np.abs(np.diff(across)) / np.ptp(across)
        assert 0.1 < step.max() < 0.99


def test_share_0_leaves_frames_as_they_are(photos: Path) -> None:
    frame = _frame()
    assert PhotoBackgrounds.from_folder(str(photos), 0.0).replace_background(frame, np.random.default_rng(0)) is frame


def test_a_broken_photograph_is_named(tmp_path: Path) -> None:
    (tmp_path / "torn.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"torn\.jpg.*"):
        _backgrounds(tmp_path, 1)


def test_cameras_blur_and_sharpen_but_strength_0_changes_nothing() -> None:
    rng = np.random.default_rng(1)
    edge = np.full((64, 64, 3), 90, np.uint8)
    edge[:, 32:] = 150
    np.testing.assert_array_equal(photometric(edge, rng, 0.0), edge)
    overshoot, widths = [], []
    for _ in range(200):
        row = photometric(edge, rng, 1.0).astype(float).mean(axis=(0, 2))
        low, high = row[2:24].mean(), row[40:62].mean()
        overshoot.append((row[28:36].max() - high) / max(high - low, 1.0))
        widths.append(np.count_nonzero(np.abs(row - 0.5 * (low + high)) < 0.3 * (high - low)))
    assert np.quantile(overshoot, 0.9) > 0.1  # some pictures are sharpened,
    assert max(widths) >= 2  # some blurred,
    assert np.median(overshoot) < 0.1  # most are neither


def test_light_changes_across_a_picture_but_strength_0_changes_nothing() -> None:
    grey = np.full((96, 128, 3), 100, np.uint8)
    assert np.array_equal(uneven_light(grey, np.random.default_rng(0), 0.0), grey)
    ratios = []
    for seed in range(40):
        lit = uneven_light(grey, np.random.default_rng(seed), 1.0)
        assert lit.shape == grey.shape and lit.dtype == np.uint8
        assert np.array_equal(lit[..., 0], lit[..., 1]), "light has no colour of its own"
        quarters = [float(part.mean()) for half in np.split(lit, 2) for part in np.split(half, 2, axis=1)]
        ratios.append(max(quarters) / min(quarters))
    assert np.median(ratios) > 1.2
    assert min(ratios) > 1.0


def test_a_detector_learns_what_is_left_when_objects_are_erased() -> None:
    """Two objects of their own grey: what is a label is seen, what is none is not."""
    levels = (50, 200)
    image, owners = np.zeros((120, 160, 3), np.uint8), np.full((120, 160), -1, np.int8)
    boxes = np.array([[10.0, 40.0, 49.0, 79.0], [100.0, 40.0, 139.0, 79.0]])
    for index, (level, box) in enumerate(zip(levels, boxes.astype(int))):
        area = slice(box[1], box[3] + 1), slice(box[0], box[2] + 1)
        image[area], owners[area] = level, index
    sample = DetectionSample(image, boxes, np.array([0, 1]), np.zeros((2, 0, 2)), owners=owners)
    recipe = DetectionRecipe(2, 0, lambda rng: iter([sample] * 60), (), (160, 120), (1.0, 1.0), erased_share=1.0)
    recipe = dataclasses.replace(recipe, patch_probability=0.0, photometric_strength=0.0)
    labels = []
    for crop in recipe.samples(np.random.default_rng(0)):
        seen = {index for index, level in enumerate(levels) if np.any(crop.image == level)}
        assert seen == set(crop.class_ids.tolist())
        labels.append(len(crop.class_ids))
    assert set(labels) == {0, 1, 2}


@pytest.mark.parametrize("input_wh", [(128, 96), (224, 96), (128, 160)])
def test_held_out_objects_are_as_large_as_the_letterbox_makes_them(input_wh: tuple[int, int]) -> None:
    objects = part_objects(("bracket",))
    scene = SceneConfig(width=160, height=120, focal_px=150.0, min_objects=1, max_objects=1, max_distractors=0)
    scale = Letterbox.fit((160, 120), input_wh).scale.max()
    for number in range(3):
        seed = VALIDATION.seed(number)
        (frame,) = validation_frames(objects, scene, 1, seed)
        (sample,) = validation_samples(objects, scene, input_wh, 1, seed)
        assert sample.image.shape == (input_wh[1], input_wh[0], 3) and len(sample.class_ids) == 1
        np.testing.assert_allclose(np.ptp(sample.keypoints, axis=1), scale * np.ptp(frame.keypoints, axis=1))


def _write_scene(folder: Path, image_wh: tuple[int, int], frame_count: int = 1) -> list[ObjectTruth]:
    """Write frames of two parts, each a box of its own colour, as a BOP scene; return the truth of all of them."""
    width, height = image_wh
    camera = Camera(width, height, 1.0 * width, 1.0 * width, 0.5 * (width - 1), 0.5 * (height - 1))
    rgb, truths = np.zeros((height, width, 3), np.uint8), []
    for class_id, (item, x, y) in enumerate(zip(part_objects(), (0.0, 0.05), (0.0, 0.04))):
        place = se3.make_transform(np.eye(3), (x, y, 0.3))
        corners = camera.project(se3.apply(place, item.model.keypoints_object))
        box = np.concatenate([corners.min(axis=0), corners.max(axis=0)]).round()
        left, top, right, bottom = box.astype(int)
        rgb[top : bottom + 1, left : right + 1, class_id] = 255
        truths.append(ObjectTruth(class_id, item.model.name, place, 1.0, box))
    depth_m = np.full((height, width), 0.3, np.float32)
    frames = [
        LabelledFrame(np.clip(rgb, number, 255), depth_m + 0.001 * number, camera, tuple(truths))
        for number in range(frame_count)
    ]
    write_labelled_scene(folder / "000000", [item.model.name for item in part_objects()], frames)
    return truths


@pytest.mark.parametrize("image_wh", [(384, 256), (160, 120), (96, 64), (60, 40), (64, 120)])
def test_frames_of_any_camera_are_learned_at_the_scale_at_which_the_model_sees_them(
    tmp_path: Path, image_wh: tuple[int, int]
) -> None:
    truths = _write_scene(tmp_path, image_wh)
    config = PoseTrainingConfig(
        **NETWORK, data=str(tmp_path), data_share=1.0, validation_frames=1, photometric=0.0, erased_share=0.3
    )
    recipe = dataclasses.replace(pose_recipe(config, SceneConfig(**SCENE)), patch_probability=0.0)
    models = [item.model for item in part_objects()]
    width, height = image_wh
    camera = Camera(width, height, 1.0 * width, 1.0 * width, 0.5 * (width - 1), 0.5 * (height - 1))
    widths = []
    for truth, model in zip(truths, models):
        canonical = model.symmetry.canonical(truth.T_camera_object)
        widths.append(np.ptp(camera.project(se3.apply(canonical, model.keypoints_object))[:, 0]))
    scales = []
    for crop, _ in zip(recipe.samples(np.random.default_rng(0)), range(80)):
        for class_id, keypoints, box in zip(crop.class_ids, crop.keypoints, crop.boxes_xyxy):
            scales.append(np.ptp(keypoints[:, 0]) / widths[class_id])
            # The label lies where the picture shows its object.
            column, row = np.rint(0.5 * (box[:2] + box[2:])).astype(int)
            assert crop.image[row, column, class_id] > 200
    expected = Letterbox.fit(image_wh, config.input_wh).scale.mean()
    assert min(scales) == pytest.approx(expected / config.scale_jitter, rel=0.08)
    assert max(scales) == pytest.approx(expected * config.scale_jitter, rel=0.08)


def test_frames_that_are_not_kept_in_memory_are_read_again_and_are_the_same(tmp_path: Path) -> None:
    _write_scene(tmp_path, (96, 64), 3)

    def passes(kept_pixels: int) -> list[DetectionSample]:
        source = LabelledScenes(part_objects(), tmp_path, 1.0, lambda rng: iter(()), kept_pixels=kept_pixels)
        return [sample for sample, _ in zip(source(np.random.default_rng(0)), range(9))]

    kept, read_again, one_kept = passes(3 * 96 * 64), passes(0), passes(2 * 96 * 64 - 1)
    assert len({id(sample) for sample in kept}) == 3
    assert len({id(sample) for sample in read_again}) == 9
    assert len({id(sample) for sample in one_kept}) == 1 + 6
    for samples in (read_again, one_kept):
        for one, other in zip(kept, samples):
            np.testing.assert_array_equal(one.image, other.image)
            np.testing.assert_array_equal(one.keypoints, other.keypoints)
            assert one.depth is not None and other.depth is not None
            np.testing.assert_array_equal(one.depth.depth_m, other.depth.depth_m)


def test_frames_of_scenes_of_several_sensors_are_learned_from_all_of_them(tmp_path: Path) -> None:
    _write_scene(tmp_path, (96, 64), 3)
    for place in sorted((tmp_path / "000000").iterdir()):
        for sensor in ("cam1", "cam2"):
            copied = place.with_name(f"{place.stem}_{sensor}{place.suffix}")
            (shutil.copytree if place.is_dir() else shutil.copy)(place, copied)
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    source = LabelledScenes(part_objects(), tmp_path, 1.0, lambda rng: iter(()))
    samples = [sample for sample, _ in zip(source(np.random.default_rng(0)), range(6))]
    levels = sorted(int(sample.image.min()) for sample in samples)
    assert levels == [0, 0, 1, 1, 2, 2]  # each frame of each sensor once
