"""The spaceship generator keeps to its published distribution."""

from __future__ import annotations

import numpy as np
import pytest

from object_pose.simulation.generators.spaceship import draw_line, spaceship_sample

COUNT = 2000


@pytest.fixture(scope="module")
def samples() -> list[tuple[np.ndarray, np.ndarray]]:
    return [spaceship_sample(seed) for seed in range(COUNT)]


def test_a_seed_always_gives_the_same_sample() -> None:
    first, second = spaceship_sample(7), spaceship_sample(7)
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_labels_follow_the_published_distribution(samples: list[tuple[np.ndarray, np.ndarray]]) -> None:
    labels = np.array([label for _, label in samples])
    present = labels[~np.isnan(labels[:, 0])]
    assert len(present) / COUNT == pytest.approx(0.8, abs=0.03)
    assert present[:, :2].min() >= 10 and present[:, :2].max() <= 189
    assert np.array_equal(present[:, :2], np.round(present[:, :2]))
    assert set(present[:, 3]) == set(range(18, 37))
    ratio = present[:, 4] / present[:, 3]
    assert ratio.mean() == pytest.approx(1.5, abs=0.02)
    assert ratio.std() == pytest.approx(0.2, abs=0.02)
    assert np.histogram(present[:, 2], bins=4, range=(0, 2 * np.pi))[0] / len(present) == pytest.approx(0.25, abs=0.05)


def test_bright_pixels_are_never_background(samples: list[tuple[np.ndarray, np.ndarray]]) -> None:
    for image, _ in samples[:50]:
        assert image.shape == (200, 200) and image.dtype == np.float32
        bright = (image > 0.8).sum()
        # Six lines and a contour of uniform pixels: a fifth of a few hundred to a thousand.
        assert 0 < bright < 600


def test_the_contour_lies_on_the_labelled_box(samples: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Averaged over many ships in the box's own frame, the nose is bright and the sides' middles are not."""
    nose, far = [], []
    for image, (x, y, yaw, width, height) in samples:
        if np.isnan(x):
            continue
        heading, across = np.array([np.sin(yaw), np.cos(yaw)]), np.array([np.cos(yaw), -np.sin(yaw)])
        for values, offset in ((nose, heading * height / 2), (far, heading * height / 2 + across * width / 2)):
            column, row = np.rint(np.array([x, y]) + offset).astype(int)
            if 0 <= column < 200 and 0 <= row < 200:
                values.append(image[row, column])
    assert np.mean(nose) > np.mean(far) + 0.15


def test_lines_have_the_pixels_that_the_published_generator_gives_them() -> None:
    """A step along the lesser extent is taken as soon as the line is halfway there."""
    ends = np.random.default_rng(0).integers(0, 60, (2000, 2, 2))
    for first, last in ends:
        image = np.zeros((60, 60), np.float32)
        draw_line(image, *first.tolist(), *last.tolist())
        step = last - first
        length = max(int(np.abs(step).max()), 1)
        pixels = first + np.sign(step) * ((2 * np.arange(length + 1)[:, None] * np.abs(step) + length) // (2 * length))
        expected = np.zeros((60, 60), bool)
        expected[pixels[:, 1], pixels[:, 0]] = True
        np.testing.assert_array_equal(image > 0, expected)
