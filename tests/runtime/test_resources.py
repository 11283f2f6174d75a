"""Data is found in a checkout and in an installed share folder by the same call."""

import sys

import pytest

from object_pose.core.errors import CalibrationError, ConfigError, DataError, ModelError
from object_pose.runtime import resources


@pytest.fixture
def share(tmp_path):
    for kind in resources.KINDS:
        (tmp_path / "share" / "object_pose" / kind).mkdir(parents=True)
        (tmp_path / "share" / "object_pose" / kind / "thing.txt").write_text(kind)
    return tmp_path / "share" / "object_pose"


@pytest.mark.parametrize("kind", resources.KINDS)
def test_the_override_comes_first(share, monkeypatch, kind):
    monkeypatch.setenv(resources.SHARE_VARIABLE, str(share))
    assert resources.find(kind, "thing.txt") == share / kind / "thing.txt"
    assert resources.folders(kind)[0] == share / kind


@pytest.mark.parametrize("kind", resources.KINDS)
def test_an_ament_prefix_is_searched(share, monkeypatch, kind):
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"/nowhere:{share.parents[1]}")
    assert resources.find(kind, "thing.txt").read_text() == kind


@pytest.mark.parametrize("kind", resources.KINDS)
def test_a_pip_installation_is_searched(share, monkeypatch, kind):
    monkeypatch.setattr(sys, "prefix", str(share.parents[1]))
    assert resources.find(kind, "thing.txt").read_text() == kind


@pytest.mark.parametrize(
    ("kind", "error"), [("models", ModelError), ("calibration", CalibrationError), ("launch", ConfigError)]
)
def test_what_is_missing_is_said_with_every_place(share, monkeypatch, kind, error):
    monkeypatch.setenv(resources.SHARE_VARIABLE, str(share))
    with pytest.raises(error, match=f"{kind}/nothing.txt was not found") as raised:
        resources.find(kind, "nothing.txt")
    for place in (share / kind, f"{sys.prefix}/share/object_pose/{kind}"):
        assert str(place) in str(raised.value)


def test_an_unknown_kind_is_a_programming_error():
    with pytest.raises(ValueError, match="unknown kind"):
        resources.find("cats", "x")


def test_message_packages_have_their_definitions():
    packages = resources.message_packages()
    assert [package.name for package in packages] == ["vision_msgs", "object_pose_msgs"]
    assert all(list((package / "msg").glob("*.msg")) for package in packages)


def test_a_model_is_a_path_or_the_name_of_a_shipped_one(share, monkeypatch, tmp_path):
    monkeypatch.setenv(resources.SHARE_VARIABLE, str(share))
    (tmp_path / "mine.onnx").write_text("x")
    assert resources.find_model(tmp_path / "mine.onnx") == tmp_path / "mine.onnx"
    assert resources.find_model("thing.txt") == share / "models" / "thing.txt"


def test_development_data_lie_where_the_environment_says_and_nowhere_else(tmp_path, monkeypatch):
    monkeypatch.setenv(resources.DATA_VARIABLE, str(tmp_path))
    with pytest.raises(DataError, match=rf"data/tiles was not found below {tmp_path} .*\${resources.DATA_VARIABLE}"):
        resources.find_data("tiles")
    (tmp_path / "tiles").mkdir()
    assert resources.find_data("tiles") == tmp_path / "tiles"


def test_development_data_lie_beside_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "shared" / "data" / "only_here").mkdir(parents=True)
    (tmp_path / "checkout").mkdir()
    monkeypatch.delenv(resources.DATA_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path / "checkout")
    assert resources.find_data("only_here") == tmp_path / "shared" / "data" / "only_here"
