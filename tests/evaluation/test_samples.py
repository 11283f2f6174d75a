"""Labelled samples from disk: the published arrays of the oriented task, and what is refused of them."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest

from object_pose.core.errors import DataError
from object_pose.evaluation.samples import read_samples
from object_pose.runtime.predictor import Predictor, load_card
from object_pose.runtime.resources import find_data, find_model
from object_pose.tasks.oriented import ORIENTED

CARD = load_card(find_model("oriented.onnx"))


def test_arrays_are_read_with_empty_images(tmp_path: Path) -> None:
    labels = np.array([[50.0, 60.0, 1.0, 20.0, 30.0], [np.nan] * 5])
    np.savez(tmp_path / "published.npz", images=np.zeros((2, 200, 200), np.uint8), labels=labels)
    first, second = read_samples("oriented", tmp_path, CARD)
    assert (first.truth.best.yaw, first.truth.best.height, len(second.truth)) == (1.0, 30.0, 0)
    assert [item.name for item in read_samples("oriented", tmp_path / "published.npz", CARD)] == [
        first.name,
        second.name,
    ]


@pytest.mark.parametrize(
    "arrays", [{"images": np.zeros((1, 9, 9))}, {"images": np.zeros((2, 9, 9), np.uint8), "labels": np.zeros((1, 5))}]
)
def test_other_arrays_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(tmp_path / "some.npz", **arrays)
    with pytest.raises(DataError, match=r"some\.npz"):
        list(read_samples("oriented", tmp_path, CARD))


@pytest.mark.parametrize("cut", [30, 200, -1])
def test_a_damaged_archive_is_refused(tmp_path: Path, cut: int) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (2, 20, 20), dtype=np.uint8)
    np.savez_compressed(tmp_path / "some.npz", images=noise, labels=np.zeros((2, 5)))
    content = (tmp_path / "some.npz").read_bytes()
    (tmp_path / "some.npz").write_bytes(content[:cut] + bytes(40) + content[cut + 40 :])
    with pytest.raises(DataError, match=r"some\.npz"):
        list(read_samples("oriented", tmp_path, CARD))


def test_an_archive_that_unpacks_to_gigabytes_costs_no_memory(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "some.npz", "w", ZIP_DEFLATED) as archive, archive.open("images.npy", "w") as images:
        for _ in range(1100):
            images.write(bytes(1 << 20))
    tracemalloc.start()
    with pytest.raises(DataError, match="'images' has 1153433600 bytes"):
        list(read_samples("oriented", tmp_path, CARD))
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()


def test_published_headings_are_the_models() -> None:
    """Samples that others drew and labelled: every box that is found points where its label says."""
    try:
        data = find_data("spaceship")
    except DataError as error:
        pytest.skip(str(error))
    predictor = Predictor(find_model("oriented.onnx"))
    samples = list(read_samples("oriented", data, predictor.card))[:12]
    figures = ORIENTED.score([predictor.predict(item.image) for item in samples], [s.truth for s in samples], ("ship",))
    assert figures["heading_within_15deg"] == 1.0 and figures["score_iou07"] > 0.8
