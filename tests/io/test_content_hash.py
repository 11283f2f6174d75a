"""Versions of data by their content."""

from __future__ import annotations

import hashlib

import pytest
import yaml

from object_pose.core.errors import DataError
from object_pose.io.datasets.content_hash import data_version, write_dvc_file


def test_digests_are_those_of_dvc(tmp_path):
    (tmp_path / "set" / "b").mkdir(parents=True)
    (tmp_path / "set" / "b" / "two.txt").write_text("two")
    (tmp_path / "set" / "one.txt").write_text("one")
    one, two = (hashlib.md5(text).hexdigest() for text in (b"one", b"two"))
    # What DVC writes into its cache for a folder, to the letter.
    listing = f'[{{"md5": "{two}", "relpath": "b/two.txt"}}, {{"md5": "{one}", "relpath": "one.txt"}}]'
    version = data_version(tmp_path / "set")
    assert version.digest == hashlib.md5(listing.encode()).hexdigest() + ".dir"
    assert (version.size_bytes, version.files) == (6, 2)
    assert data_version(tmp_path / "set" / "one.txt").digest == one

    path = write_dvc_file(tmp_path / "set")
    assert path.name == "set.dvc"
    assert yaml.safe_load(path.read_text()) == {
        "outs": [{"md5": version.digest, "size": 6, "hash": "md5", "path": "set", "nfiles": 2}]
    }


def test_a_version_follows_content_and_names_alone(tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "image.png").write_bytes(b"pixels")
    assert data_version(tmp_path / "first") == data_version(tmp_path / "second")
    (tmp_path / "second" / "image.png").rename(tmp_path / "second" / "other.png")
    assert data_version(tmp_path / "first") != data_version(tmp_path / "second")


def test_data_that_are_not_there_are_named(tmp_path):
    with pytest.raises(DataError, match="absent"):
        data_version(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no files"):
        data_version(tmp_path / "empty")
