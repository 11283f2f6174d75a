"""Maps along the edges of their image: what is linear in the colours stays, noise on even ground goes, edges stay."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from object_pose.core.arrays import Image
from object_pose.core.vision.guided_filter import Map, guided


def _picture(seed: int, height: int = 24, width: int = 32) -> Image:
    return np.asarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3)), dtype=np.uint8)


@given(st.integers(0, 1000), st.integers(1, 8))
def test_what_is_linear_in_the_colours_comes_back(seed: int, radius: int) -> None:
    picture = _picture(seed)
    slope = np.random.default_rng(seed).uniform(-1, 1, 3)
    values = np.asarray(picture / 255.0 @ slope + 0.3, dtype=np.float32)
    np.testing.assert_allclose(guided(values, picture, radius, 1e-7), values, atol=0.01)


@given(st.integers(0, 1000), st.integers(1, 8), st.floats(1e-3, 1.0))
def test_mirrored_pictures_give_mirrored_maps_and_even_maps_stay(seed: int, radius: int, evenness: float) -> None:
    picture = _picture(seed)
    values = np.asarray(np.random.default_rng(seed + 1).random(picture.shape[:2]), dtype=np.float32)
    mirrored = guided(values[:, ::-1], picture[:, ::-1], radius, evenness)
    np.testing.assert_allclose(mirrored[:, ::-1], guided(values, picture, radius, evenness), atol=1e-4)
    even = np.full_like(values, 0.7)
    np.testing.assert_allclose(guided(even, picture, radius, evenness), even, atol=1e-4)


def test_noise_goes_where_the_picture_is_even_and_its_edges_stay() -> None:
    rng = np.random.default_rng(0)
    picture = np.full((60, 80, 3), (200, 120, 90), np.uint8)
    picture[:, 40:] = (70, 90, 110)
    truth = np.where(np.arange(80) < 40, 0.8, 0.2).astype(np.float32) * np.ones((60, 1), np.float32)
    noisy: Map = np.asarray(truth + rng.normal(0, 0.15, truth.shape), dtype=np.float32)
    found = guided(noisy, picture, 6, 1e-3)
    assert np.abs(found - truth).mean() < 0.25 * np.abs(noisy - truth).mean()
    assert found[:, 39].mean() - found[:, 40].mean() == pytest.approx(0.6, abs=0.08)
