"""From candidate to champion and back."""

from __future__ import annotations

import json

import pytest

from classifiers import save_classifier
from object_pose.core.errors import ConfigError, DataError
from object_pose.io.datasets.content_hash import data_version
from object_pose.mlops.promotion import promote_candidate
from object_pose.runtime.predictor import load_card
from object_pose.workflows.gate_requirements import GateConfig
from object_pose.workflows.promote import TestSet

SLOW = GateConfig(max_latency_ratio=100.0)  # a busy machine decides nothing here


def aliases(registry, name="light"):
    return {alias: item.version for item in registry.versions(name) for alias in item.aliases}


def promote(registry, model, pictures, reference="light"):
    registry.add("light", model)
    return promote_candidate(registry, reference, TestSet(pictures), SLOW)


def test_the_better_is_promoted_the_worse_refused_and_the_earlier_comes_back(
    registry, good, better, wrong, pictures, tmp_path
):
    assert promote(registry, good, pictures).report.passed
    assert promote(registry, better, pictures).report.passed
    assert aliases(registry) == {"champion": 2, "previous": 1}

    refused = promote(registry, wrong, pictures)
    assert not refused.report.passed and refused.model.gate == "refused"
    assert aliases(registry) == {"champion": 2, "previous": 1, "candidate": 3}
    missed = [check.name for check in refused.report.checks if check.is_met is False]
    assert missed == ["not worse"]
    registry.pull_gate(refused.model, tmp_path / "gate")
    report = json.loads((tmp_path / "gate" / "report.json").read_text())
    assert (report["passed"], report["candidate"], report["champion"]) == (False, "light/3", "light/2")
    assert report["difference"]["high"] < 0.0
    assert "MISSED" in (tmp_path / "gate" / "report.html").read_text()

    assert registry.rollback("light").version == 1
    assert aliases(registry) == {"champion": 1, "candidate": 3}
    with pytest.raises(ConfigError, match="replaced no other"):
        registry.rollback("light")


def test_what_is_pulled_is_whole_and_says_where_it_comes_from(registry, good, pictures, tmp_path):
    model = registry.add("light", good, data={"data": data_version(pictures).digest})
    promote_candidate(registry, "light", TestSet(pictures), SLOW)
    path = registry.pull(registry.find("light"), tmp_path / "robot")
    assert path.read_bytes() == good.read_bytes()
    assert load_card(path).labels == ("bright", "dark")
    described = json.loads((tmp_path / "robot" / "light.json").read_text())
    assert described["sha256"] == model.sha256
    assert described["data"] == {"data": data_version(pictures).digest}
    assert described["card"]["licence"] == "Apache-2.0"
    assert json.loads((tmp_path / "robot" / "light.reference.json").read_text())["frames"] == 30


def test_a_file_that_was_changed_in_the_store_is_not_pulled(registry, good, wrong, store, tmp_path):
    model = registry.add("light", good)
    (kept,) = store.folder.rglob("model.onnx")
    kept.write_bytes(wrong.read_bytes())
    with pytest.raises(DataError, match="not the file that was kept"):
        registry.pull(model, tmp_path / "robot")
    assert not (tmp_path / "robot" / "light.onnx").exists()


def test_the_same_file_is_one_version(registry, good, better):
    assert [registry.add("light", path).version for path in (good, better, good)] == [1, 2, 1]
    assert aliases(registry) == {"candidate": 1}


def test_other_classes_are_refused_before_anything_is_measured(registry, good, pictures, tmp_path):
    promote(registry, good, pictures)
    other = save_classifier(tmp_path / "other.onnx", 20.0, labels=("dark", "bright"))
    report = promote(registry, other, pictures).report
    assert [check.name for check in report.checks if check.is_met is False] == ["classes and geometry"]
    assert "champion" not in report.figures


def test_the_test_set_stays_the_one_that_was_pinned(registry, good, better, pictures):
    promote(registry, good, pictures)
    registry.add("light", better)
    with pytest.raises(ConfigError, match="another test set"):
        promote_candidate(registry, "light", TestSet(rendered=5), SLOW)
    (pictures / "dark" / "01.png").unlink()
    with pytest.raises(DataError, match="has changed"):
        promote_candidate(registry, "light", None, SLOW)
    assert promote_candidate(registry, "light", TestSet(pictures), SLOW, repin=True).report.samples == 29
    assert promote_candidate(registry, "light/1", None, SLOW).report.samples == 29


def test_too_few_samples_promote_nothing(registry, good, pictures):
    for path in (*sorted(pictures.glob("bright/*"))[3:], *sorted(pictures.glob("dark/*"))[3:]):
        path.unlink()
    assert not promote(registry, good, pictures).report.passed
    assert aliases(registry) == {"candidate": 1}


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        ("light", "no model 'light'"),
        ("mine/x", "names no version"),
        ("mine/7", "no version 7"),
        ("mine", "no champion"),
    ],
)
def test_a_reference_that_names_nothing_is_told_what_there_is(registry, good, reference, problem):
    registry.add("mine", good)
    with pytest.raises(ConfigError, match=problem):
        registry.find(reference)
