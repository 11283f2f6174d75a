"""A real MLflow store in a folder, and classifiers of dark and bright images to keep in it."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from classifiers import LABELS, SIDE, save_classifier
from labelled import write_noise
from object_pose.io.images import read_image, write_image

if find_spec("mlflow"):
    from object_pose.mlops.registry import Registry
    from object_pose.mlops.store import Store, open_store
else:  # Python 3.10
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store without anything in it: MLflow takes seconds to make its tables."""
    folder = tmp_path_factory.mktemp("empty")
    assert open_store(str(folder)).client.search_registered_models() == []
    return folder


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> Store:
    """An empty store of the test's own."""
    shutil.copytree(empty_store, tmp_path / "store")
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def registry(store: Store) -> Registry:
    """The models of that store."""
    return Registry(store)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A classifier that is right."""
    return save_classifier(tmp_path / "good.onnx", 20.0)


@pytest.fixture
def better(tmp_path: Path) -> Path:
    """One that is right, too, and surer."""
    return save_classifier(tmp_path / "better.onnx", 40.0)


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    """One that is wrong."""
    return save_classifier(tmp_path / "wrong.onnx", -20.0)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Labelled bright and dark pictures, 15 of each."""
    for index in range(30):
        label = LABELS[index % 2]
        path = write_noise(tmp_path / "pictures" / label / f"{index:02d}.png", index, SIDE, SIDE)
        image = read_image(path) // 3
        write_image(path, image + 160 if label == "bright" else image)
    return tmp_path / "pictures"
