"""The tables of visible surface: what they list can be seen, and silhouettes lie on the object's edge."""

from __future__ import annotations

import numpy as np
import pytest

from object_pose.core.geometry import se3
from object_pose.core.pose.candidates import ModelViews, build_views, sphere_directions
from raycast import BRACKET, CAMERA, SHAFT, Solid, model_of, render_depth

SOLIDS = {"bracket": BRACKET, "shaft": SHAFT}
PLACE = np.array([0.0, 0.0, 0.45])


@pytest.fixture(scope="module", params=list(SOLIDS))
def solid_and_views(request: pytest.FixtureRequest) -> tuple[Solid, ModelViews]:
    solid = SOLIDS[request.param]
    return solid, build_views(model_of(request.param, solid))


def test_directions_cover_the_sphere_evenly() -> None:
    directions = sphere_directions(320)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1.0)
    cosines = directions @ directions.T - 2.0 * np.eye(320)
    nearest_deg = np.degrees(np.arccos(cosines.max(axis=1)))
    assert nearest_deg.min() > 6.0 and nearest_deg.max() < 14.0


def test_listed_points_are_seen_and_the_silhouette_encloses_them(solid_and_views: tuple[Solid, ModelViews]) -> None:
    solid, views = solid_and_views
    rng = np.random.default_rng(4)
    seen, on_edge = [], []
    for _ in range(12):
        rotation = se3.exp_so3(rng.normal(size=3) * 1.5)
        depth_m = render_depth([(solid, se3.make_transform(rotation, PLACE))])
        view = views.nearest(rotation[None], PLACE[None])[0]
        points = views.points[view] @ rotation.T + PLACE
        columns, rows = np.rint(CAMERA.project(points)).astype(int).T
        seen.append(np.abs(depth_m[rows, columns] - points[:, 2]) < 0.006)
        contour = views.contour_points[view] @ rotation.T + PLACE
        outward = views.contour_normals[view] @ rotation.T
        inside, outside = (CAMERA.project(contour + step * outward) for step in (-0.005, 0.006))
        hit = [depth_m[tuple(np.rint(pixels).astype(int)[:, ::-1].T)] > 0.0 for pixels in (inside, outside)]
        on_edge.append(hit[0] & ~hit[1])
    assert np.mean(seen) > 0.9
    assert np.mean(on_edge) > 0.85


def test_the_silhouettes_area_is_that_of_the_picture(solid_and_views: tuple[Solid, ModelViews]) -> None:
    solid, views = solid_and_views
    rotation = se3.exp_so3([0.4, -0.7, 0.2])
    pixels = np.count_nonzero(render_depth([(solid, se3.make_transform(rotation, PLACE))]))
    area = views.areas[views.nearest(rotation[None], PLACE[None])[0]]
    assert area * CAMERA.fx * CAMERA.fy / PLACE[2] ** 2 == pytest.approx(pixels, rel=0.15)
