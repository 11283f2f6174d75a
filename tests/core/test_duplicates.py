"""One object found twice: which pose repeats which, within a look and between two."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from object_pose.core.duplicates import find_duplicates, repeat_known


@given(seed=st.integers(0, 999), count=st.integers(1, 6), known=st.integers(0, 6))
def test_what_repeats_a_known_pose_would_be_its_duplicate(seed: int, count: int, known: int) -> None:
    rng = np.random.default_rng(seed)
    centers, others = rng.uniform(0.0, 0.1, (count, 3)), rng.uniform(0.0, 0.1, (known, 3))
    diameters, other_diameters = rng.uniform(0.05, 0.2, count), rng.uniform(0.05, 0.2, known)
    repeats = repeat_known(centers, diameters, others, other_diameters, 0.5)
    for center, diameter, repeated in zip(centers, diameters, repeats):
        pairs = (
            find_duplicates(np.stack([other, center]), np.array([1.0, 0.5]), np.array([size, diameter]), 0.5)
            for other, size in zip(others, other_diameters)
        )
        assert repeated == any(pair[1] is not None for pair in pairs)
