"""Tables of views against ray-cast truth: what they call visible is seen, and their contours are the silhouette's."""

import cv2
import numpy as np
import pytest

from object_pose.core.geometry import se3
from object_pose.core.tracking.view_model import BACKGROUND_RUN, FOREGROUND_RUN, ViewModel, ViewTables
from pose_scene import MODELS, SOLIDS, random_view
from raycast import CAMERA, render_depth


@pytest.fixture(scope="module")
def tables():
    return ViewTables.of([ViewModel.of(model) for model in MODELS])


def view_of(tables, class_id, pose):
    (view,) = tables.nearest(np.array([class_id]), pose[None, :3, :3], pose[None, :3, 3])
    return view


@pytest.mark.parametrize("class_id", range(len(MODELS)))
def test_visible_points_are_seen_and_what_is_seen_is_visible(tables, class_id):
    rng = np.random.default_rng(class_id)
    for _ in range(5):
        pose = random_view(rng)
        view = view_of(tables, class_id, pose)
        chosen = tables.visible[class_id, view, : tables.visible_counts[class_id, view]]
        points = se3.apply(pose, tables.surfaces[class_id, chosen, :3].astype(float))
        depth = render_depth([(SOLIDS[class_id], pose)])
        column, row = np.rint(CAMERA.project(points)).astype(int).T
        hidden = points[:, 2] - depth[row, column] > 0.004
        assert np.mean(hidden & (depth[row, column] > 0.0)) < 0.05
        # Every place that is seen has a visible point near it.
        seen = np.argwhere(depth > 0.0)[:: max(np.count_nonzero(depth) // 200, 1)]
        nearest = np.min(np.linalg.norm(seen[:, None] - np.stack([row, column], axis=1), axis=2), axis=1)
        assert np.mean(nearest < 8.0) > 0.95


@pytest.mark.parametrize("class_id", range(len(MODELS)))
def test_contours_lie_on_the_silhouette_and_point_outward(tables, class_id):
    rng = np.random.default_rng(10 + class_id)
    for _ in range(5):
        pose = random_view(rng)
        contour = tables.contours[class_id, view_of(tables, class_id, pose)].astype(float)
        points = se3.apply(pose, contour[:, :3])
        outward = contour[:, 3:6] @ pose[:3, :3].T
        mask = (render_depth([(SOLIDS[class_id], pose)]) > 0.0).astype(np.uint8)
        # Signed distance to the silhouette: positive inside.
        inside = cv2.distanceTransform(mask, cv2.DIST_L2, 5) - cv2.distanceTransform(1 - mask, cv2.DIST_L2, 5)
        column, row = np.rint(CAMERA.project(points)).astype(int).T
        assert np.percentile(np.abs(inside[row, column]), 90) < 3.5
        column, row = np.rint(CAMERA.project(points + 0.006 * outward)).astype(int).T
        assert np.mean(inside[row, column] < 0.5) > 0.9


def test_runs_are_as_long_as_the_object_and_what_is_beside_it(tables):
    plate = MODELS.index(next(model for model in MODELS if model.name == "plate"))
    view = int(np.argmax(tables.directions[:, 2]))  # from above: 80 mm by 50 mm
    contour = tables.contours[plate, view]
    along_x = np.abs(contour[:, 3]) > 0.99
    along_y = np.abs(contour[:, 4]) > 0.99
    half = 0.5 * MODELS[plate].diameter
    assert np.median(contour[along_x, FOREGROUND_RUN]) == pytest.approx(half, abs=0.002)
    assert np.median(contour[along_y, FOREGROUND_RUN]) == pytest.approx(min(0.05, half), abs=0.002)
    assert np.median(contour[:, BACKGROUND_RUN]) == pytest.approx(half, abs=0.002)


def test_the_nearest_view_looks_from_where_the_camera_is(tables):
    rng = np.random.default_rng(3)
    pose = random_view(rng)
    view = view_of(tables, 0, pose)
    center = se3.apply(pose, tables.centers[0][None].astype(float))[0]
    to_camera = -center / np.linalg.norm(center) @ pose[:3, :3]
    assert np.degrees(np.arccos(to_camera @ tables.directions[view])) < 6.0
