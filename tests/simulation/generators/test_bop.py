"""BOP data sets: what is written is read back the same, an interruption leaves no half, models come back as objects."""

import itertools
import json

import cv2
import numpy as np
import pytest

from object_pose.core.errors import DataError
from object_pose.core.geometry import se3
from object_pose.io.bop import read_bop_scene
from object_pose.simulation.generators.bop import write_bop_dataset
from object_pose.simulation.parts.objects import load_bop_objects, part_objects, simplify
from object_pose.simulation.scenes.scene import FrameStream, SceneConfig

CONFIG = SceneConfig(width=160, height=120, focal_px=152.5, focal_jitter=0.0)
OBJECTS = part_objects()
NAMES = {class_id + 1: item.model.name for class_id, item in enumerate(OBJECTS)}


def scene_frames(scene_id):
    return FrameStream(OBJECTS, CONFIG, depth=True, seed=(7, scene_id))


def test_frames_come_back_as_they_were(tmp_path):
    (folder,) = write_bop_dataset(tmp_path, OBJECTS, scene_frames, scene_count=1, frames_per_scene=3)
    written = list(itertools.islice(scene_frames(0), 3))
    read = list(read_bop_scene(folder, NAMES))
    assert len(read) == 3
    for simulated, item in zip(written, read):
        np.testing.assert_array_equal(item.frame.rgb, simulated.frame.rgb)
        np.testing.assert_allclose(item.frame.depth_m, simulated.frame.depth_m, atol=1e-6)
        assert item.frame.camera == simulated.frame.camera
        assert len(item.truths) == len(simulated.truths)
        for truth, expected in zip(item.truths, simulated.truths):
            assert (truth.class_id, truth.class_name) == (expected.class_id, expected.class_name)
            np.testing.assert_allclose(truth.T_camera_object, expected.T_camera_object, atol=1e-12)
            np.testing.assert_allclose(truth.box_xyxy, expected.box_xyxy, atol=0.51)
            assert truth.visibility == pytest.approx(expected.visibility)


def test_masks_and_counts_agree(tmp_path):
    (folder,) = write_bop_dataset(tmp_path, OBJECTS, scene_frames, scene_count=1, frames_per_scene=2)
    info = json.loads((folder / "scene_gt_info.json").read_text())
    for image_id, entries in info.items():
        for index, entry in enumerate(entries):
            name = f"{int(image_id):06d}_{index:06d}.png"
            alone = cv2.imread(str(folder / "mask" / name), cv2.IMREAD_GRAYSCALE) > 0
            visible = cv2.imread(str(folder / "mask_visib" / name), cv2.IMREAD_GRAYSCALE) > 0
            assert visible.sum() == entry["px_count_visib"] and not np.any(visible & ~alone)
            assert alone.sum() <= entry["px_count_all"]
            assert entry["visib_fract"] == pytest.approx(visible.sum() / entry["px_count_all"], abs=0.02)


def test_an_interrupted_scene_leaves_nothing_and_the_next_run_goes_on(tmp_path):
    def breaking(scene_id):
        if scene_id == 1:
            yield next(iter(scene_frames(1)))
            raise KeyboardInterrupt
        yield from scene_frames(scene_id)

    with pytest.raises(KeyboardInterrupt):
        list(write_bop_dataset(tmp_path, OBJECTS, breaking, scene_count=2, frames_per_scene=2))
    assert [path.name for path in (tmp_path / "train").iterdir()] == ["000000"]
    before = (tmp_path / "train" / "000000" / "scene_gt.json").stat().st_mtime_ns
    folders = list(write_bop_dataset(tmp_path, OBJECTS, scene_frames, scene_count=2, frames_per_scene=2))
    assert [path.name for path in folders] == ["000000", "000001"] and all(path.is_dir() for path in folders)
    assert (tmp_path / "train" / "000000" / "scene_gt.json").stat().st_mtime_ns == before


def test_models_come_back_as_scene_objects(tmp_path):
    list(write_bop_dataset(tmp_path, OBJECTS, scene_frames, scene_count=0, frames_per_scene=0))
    loaded = load_bop_objects(tmp_path / "models", NAMES)
    for item, original in zip(loaded, OBJECTS):
        assert item.model.name == original.model.name and not item.mesh.two_sided
        np.testing.assert_allclose(item.model.keypoints_object, original.model.keypoints_object, atol=1e-7)
        assert item.model.diameter == pytest.approx(original.model.diameter)
        transforms = item.model.symmetry.transforms
        np.testing.assert_allclose(transforms, original.model.symmetry.transforms, atol=1e-12)


def test_missing_and_broken_models_are_named(tmp_path):
    with pytest.raises(DataError, match=r"models_info\.json"):
        load_bop_objects(tmp_path)
    entry = {"diameter": 1.0} | {f"{kind}_{axis}": 1.0 for kind in ("min", "size") for axis in "xyz"}
    (tmp_path / "models_info.json").write_text(json.dumps({"1": entry}))
    with pytest.raises(DataError, match=r"obj_000001\.ply"):
        load_bop_objects(tmp_path)
    (tmp_path / "obj_000001.ply").write_bytes(b"ply\nformat ascii 1.0\nelement vertex 3\nend_header\n1 2")
    with pytest.raises(DataError, match=r"obj_000001\.ply"):
        load_bop_objects(tmp_path)


def test_simplified_meshes_keep_shape_and_colour():
    rows, columns = np.meshgrid(np.arange(80), np.arange(80), indexing="ij")
    vertices = np.stack([rows, columns, 0 * rows], axis=-1).reshape(-1, 3) * 0.001
    colors = np.where(vertices[:, :1] < 0.04, [[1.0, 0.0, 0.0]], [[0.0, 0.0, 1.0]])
    corner = (rows[:-1, :-1] * 80 + columns[:-1, :-1]).reshape(-1)
    faces = np.concatenate(
        [np.stack([corner, corner + 80, corner + 1], axis=1), np.stack([corner + 1, corner + 80, corner + 81], axis=1)]
    )
    fewer_vertices, fewer_faces, fewer_colors = simplify(vertices, faces, colors, 2000)
    assert 500 < len(fewer_faces) <= 2000 and len(fewer_vertices) == len(fewer_colors)
    np.testing.assert_allclose(np.ptp(fewer_vertices, axis=0), np.ptp(vertices, axis=0), atol=0.004)
    assert np.all(fewer_colors[fewer_vertices[:, 0] < 0.035][:, 0] > 0.99)


@pytest.fixture(scope="module")
def linemod(lmo_models):
    return load_bop_objects(lmo_models, {1: "ape"}, max_faces=4000)


def test_linemod_models_load_in_metres_with_their_symmetries(linemod):
    assert len(linemod) == 8 and linemod[0].model.name == "ape" and linemod[1].model.name == "obj_000005"
    for item in linemod:
        assert 0.1 < item.model.diameter < 0.3
        assert 2500 < len(item.mesh.faces) <= 4000
        assert np.ptp(item.mesh.colors, axis=0).max() > 0.1
        np.testing.assert_allclose(item.model.keypoints_object.max(axis=0), item.mesh.vertices.max(axis=0), atol=0.006)
    eggbox = linemod[5].model
    assert eggbox.symmetry.discrete.shape == (1, 4, 4)
    moved = se3.apply(eggbox.symmetry.discrete[0], eggbox.points_object)
    nearest = np.linalg.norm(moved[:, None] - eggbox.points_object[None], axis=2).min(axis=1)
    assert np.quantile(nearest, 0.9) < 0.1 * eggbox.diameter


def test_linemod_scenes_render(linemod):
    distances = {"min_distance_m": 0.6, "max_distance_m": 1.3}
    config = SceneConfig(width=160, height=120, focal_px=143.0, upright_share=0.5, **distances)
    simulated = list(itertools.islice(FrameStream(linemod, config, seed=1), 6))
    assert sum(len(item.truths) for item in simulated) >= 10
