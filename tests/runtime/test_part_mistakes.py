"""Files of parts that are not what is in the scene: another size, a mirrored part, a twin, a part that is not there."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import trimesh

from cad_files import save_part
from object_pose.core.metrics.pose import match_frame
from object_pose.core.pose.config import PROFILES
from object_pose.runtime.pose_estimator import PoseEstimator
from object_pose.simulation.parts.cad import read_parts
from object_pose.simulation.parts.objects import part_objects
from object_pose.simulation.parts.symmetry import find_symmetry
from object_pose.simulation.scenes.scene import TEST_SCENES, FrameStream
from object_pose.workflows.prepare_parts import PreparePartsConfig, prepare_parts

pytestmark = pytest.mark.timeout(300)  # views of a part take seconds, more on a busy machine
BENCH = replace(
    TEST_SCENES,
    bin_share=0.0,
    occluder_share=0.0,
    min_objects=2,
    max_objects=3,
    max_distractors=2,
    min_distance_m=0.4,
    max_distance_m=0.5,
    views_per_scene=1,
)
SURE = 0.5


def block(*boxes):
    """Return the union of boxes, each by its least and greatest corner, in millimetres."""
    solids = [trimesh.creation.box(bounds=np.array(corners, dtype=float)) for corners in boxes]
    return trimesh.boolean.union(solids) if len(solids) > 1 else solids[0]


def save(folder, name, mesh):
    path = folder / f"{name}.stl"
    mesh.export(path)
    return path


def scenes_of(files, count, seed):
    parts = read_parts(files)
    objects = tuple(part.scene_object(find_symmetry(part.mesh).symmetry) for part in parts)
    stream = FrameStream(objects, BENCH, depth=True, seed=seed)
    return [scene for _, scene in zip(range(count), stream)]


def found(estimator, scene):
    return estimator.register(scene.frame).results


@pytest.fixture(scope="module")
def handed(tmp_path_factory):
    """A part with a step at one side, and its mirror image."""
    folder = tmp_path_factory.mktemp("handed")
    part = block([(0, 0, 0), (90, 50, 14)], [(0, 0, 14), (25, 50, 40)], [(60, 0, 14), (90, 18, 30)])
    mirrored = part.copy()
    mirrored.apply_transform(np.diag([1.0, -1.0, 1.0, 1.0]))
    mirrored.apply_translation((0.0, 50.0, 0.0))
    return save(folder, "left", part), save(folder, "right", mirrored)


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """A part, and the same with a hole through it."""
    folder = tmp_path_factory.mktemp("twins")
    part = block([(0, 0, 0), (90, 55, 12)], [(0, 0, 12), (22, 55, 45)])
    drill = trimesh.creation.cylinder(radius=11.0, height=80.0)
    drill.apply_translation((60.0, 27.0, 0.0))
    return save(folder, "whole", part), save(folder, "drilled", trimesh.boolean.difference([part, drill]))


def test_a_part_in_another_unit_is_found_in_the_scene_and_said(tmp_path, caplog):
    (tmp_path / "true").mkdir()
    scenes = scenes_of([save_part(tmp_path / "true", "bracket", 1.3)], 1, seed=3)
    in_cm = save_part(tmp_path, "bracket", 0.13)
    estimator = PoseEstimator(prepare_parts(PreparePartsConfig((in_cm,))).path)
    with caplog.at_level(logging.WARNING):
        results = found(estimator, scenes[0])
    assert not results.poses
    assert "bracket" in caplog.text and "may be in cm, not mm" in caplog.text
    (said,) = (rejection for rejection in results.rejections if "in cm" in rejection.detail)
    low, high = said.box_xyxy[:2], said.box_xyxy[2:]
    middles = [0.5 * (truth.box_xyxy[:2] + truth.box_xyxy[2:]) for truth in scenes[0].truths]
    assert any(np.all((low < middle) & (middle < high)) for middle in middles)


def test_a_part_that_is_not_in_view_is_never_found_and_its_unit_not_doubted(tmp_path, caplog):
    names = ("bracket", "bushing", "pipe_elbow", "spring")
    files = tuple(save_part(tmp_path, name) for name in names)
    estimator = PoseEstimator(prepare_parts(PreparePartsConfig(files)).path)
    for seed, present in enumerate((("gear", "hex_bolt"), ("gear", "spring"), ("hex_bolt", "bracket", "bushing"))):
        stream = FrameStream(part_objects(present), replace(BENCH, max_objects=4), depth=True, seed=20 + seed)
        absent = [pose for pose in found(estimator, next(iter(stream))).poses if pose.class_name not in present]
        assert not [pose for pose in absent if pose.score >= SURE]
    assert "may be in" not in caplog.text


def test_a_mirrored_part_is_not_taken_for_the_part_where_that_is_seen(handed):
    left, right = handed
    estimator = PoseEstimator(prepare_parts(PreparePartsConfig((left,))).path)
    results = [found(estimator, scene) for scene in scenes_of([right], 2, seed=5)]
    assert not [pose for result in results for pose in result.poses if pose.score >= SURE]
    assert any("mirror image" in rejection.detail for result in results for rejection in result.rejections)


@pytest.mark.parametrize("kind", ["handed", "twins"])
def test_parts_that_differ_little_are_told_apart_or_both_are_named(kind, request):
    files = request.getfixturevalue(kind)
    path = prepare_parts(PreparePartsConfig(files)).path
    profile = PROFILES["single_image"]
    estimator = PoseEstimator(path, solver_config=profile.solver, profile="single_image")
    right = wrong = 0
    for present in range(2):
        for scene in scenes_of([files[present]], 2, seed=7 + present):
            truths = [replace(truth, class_id=present) for truth in scene.truths]
            results = found(estimator, scene)
            wrong += sum(pose.class_id != present and pose.score >= SURE for pose in results.poses)
            sure = [pose for pose in results.poses if pose.score >= SURE]
            matches = match_frame(sure, truths, estimator.card.objects, min_visibility=0.7)
            right += sum(match.is_correct for match in matches.matches)
    assert wrong == 0 and right >= 3
