"""Results as JSON: what is written reads back to its digits, and the schema follows the declaration."""

from __future__ import annotations

import json
from typing import Annotated, TypedDict

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from object_pose.core.geometry import se3
from object_pose.core.results.detections import Detections, DetectionsJson
from object_pose.core.results.oriented import OrientedBox, OrientedBoxes, OrientedBoxesJson
from object_pose.core.results.pose import ObjectPose, PoseRejection, PoseResults, PoseResultsJson, RejectionReason
from object_pose.core.results.schema import json_schema

LABELS = ("bolt", "gear", "nut")
pixels = st.floats(-1e4, 1e4)
scores = st.floats(0, 1)
class_ids = st.integers(0, 2)
not_known = st.just(float("nan"))


def vectors(length: int, low: float = -10.0, high: float = 10.0) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.float64, length, elements=st.floats(low, high))


@st.composite
def detections(draw: st.DrawFn) -> Detections:
    count, keypoints = draw(st.integers(0, 4)), draw(st.integers(0, 3))
    return Detections(
        draw(arrays(np.float64, (count, 4), elements=pixels)),
        draw(arrays(np.float64, count, elements=scores)),
        draw(arrays(np.int64, count, elements=class_ids)),
        draw(arrays(np.float64, (count, keypoints, 2), elements=pixels)),
        draw(arrays(np.float64, (count, keypoints), elements=st.floats(0, 100))),
    )


poses = st.builds(
    ObjectPose,
    class_id=st.integers(-1, 2),
    class_name=st.text(max_size=5),
    score=scores,
    T_camera_object=st.builds(
        lambda turn, place: se3.make_transform(se3.exp_so3(turn), place), vectors(3, -3.0, 3.0), vectors(3)
    ),
    covariance=arrays(np.float64, (6, 6), elements=st.floats(-1, 1) | not_known),
    box_center=vectors(3),
    box_size=vectors(3, 0.0),
    box_xyxy=vectors(4) | st.just(np.full(4, np.nan)),
    reprojection_rms_px=st.floats(0, 10) | not_known,
    depth_rms_m=st.floats(0, 1) | not_known,
    visibility=scores | not_known,
    depth_used=st.booleans(),
    track_id=st.integers(-1, 9),
    track_age=st.integers(0, 9),
)
rejections = st.builds(
    PoseRejection, class_ids, st.text(max_size=5), scores, vectors(4), st.sampled_from(RejectionReason), st.text()
)
pose_results = st.builds(
    PoseResults, st.lists(poses, max_size=2).map(tuple), st.lists(rejections, max_size=2).map(tuple)
)
oriented = st.builds(
    OrientedBox, pixels, pixels, st.floats(0, 6.3), st.floats(0, 200), st.floats(0, 200), scores, class_ids
)
oriented_boxes = st.builds(OrientedBoxes, st.lists(oriented, max_size=3).map(tuple))


@pytest.mark.parametrize(
    ("results", "declaration"),
    [(detections(), DetectionsJson), (pose_results, PoseResultsJson), (oriented_boxes, OrientedBoxesJson)],
)
def test_what_is_written_keeps_its_schema_and_reads_back(results: st.SearchStrategy, declaration: type) -> None:
    schema = json_schema(declaration)

    @given(results)
    def check(result: Detections | PoseResults | OrientedBoxes) -> None:
        written = json.loads(json.dumps(result.to_json(LABELS), allow_nan=False))
        jsonschema.validate(written, schema, jsonschema.Draft202012Validator)
        again = type(result).from_json(written).to_json(LABELS)
        assert near(again, written)

    check()


def near(first: object, second: object) -> bool:
    """Whether two JSON values differ by no more than the last digit that a rotation loses on its way through."""
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(near(first[name], second[name]) for name in first)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(near, first, second))
    if isinstance(first, float) and isinstance(second, float):
        return abs(first - second) < 3e-6
    return first == second


def test_a_schema_follows_its_declaration() -> None:
    class Inner(TypedDict):
        size: Annotated[list[int], {"minItems": 2}]

    class Outer(Inner, total=False):
        names: dict[str, float | None]

    assert json_schema(Inner) == {
        "type": "object",
        "properties": {"size": {"type": "array", "items": {"type": "integer"}, "minItems": 2}},
        "required": ["size"],
        "additionalProperties": False,
    }
    assert json_schema(Outer)["required"] == ["size"]
    assert json_schema(dict[str, float | None]) == {
        "type": "object",
        "additionalProperties": {"type": ["number", "null"]},
    }
    with pytest.raises(TypeError):
        json_schema(complex)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: Detections(np.zeros((1, 3)), *np.zeros((2, 1)), np.zeros((1, 0, 2)), np.zeros((1, 0))), r"\(1, 4\)"),
        (lambda: PoseRejection(0, "bolt", 0.5, np.zeros(3), RejectionReason.UNCERTAIN), r"\(4\), got \(3,\)"),
        (lambda: OrientedBox(0, 0, float("nan"), 1, 1), "nan"),
        (lambda: OrientedBox(0, 0, 0, -1, 1), "-1"),
    ],
)
def test_a_result_says_what_is_wrong_with_it(make, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        make()
