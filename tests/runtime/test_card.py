"""The model card: it comes back as it was written, and says which field is wrong where it cannot."""

import dataclasses
import json

import numpy as np
import pytest

from object_pose.core.errors import ModelError
from object_pose.core.geometry import se3
from object_pose.core.geometry.symmetry import Symmetry
from object_pose.core.vision.decoders import Layout
from object_pose.runtime.card import METADATA_KEY, ModelCard


@pytest.fixture
def card(make_object) -> ModelCard:
    half_turn = se3.make_transform(se3.exp_so3([0.0, 0.0, np.pi]))[None]
    objects = (
        make_object("bracket", symmetry=Symmetry(half_turn)),
        make_object("gear", symmetry=Symmetry(axis=np.array([0.0, 0.0, 1.0]), offset=np.array([0.001, 0.0, 0.0]))),
    )
    return ModelCard(
        "pose", Layout.OBJECT_POSE_KEYPOINTS, ("bracket", "gear"), (320, 240), 8, objects, "parts", "1.2", seed=7
    )


def edited(card: ModelCard, edit) -> dict[str, str]:
    document = json.loads(card.to_metadata()[METADATA_KEY])
    edit(document)
    return {METADATA_KEY: json.dumps(document)}


def test_round_trip_keeps_everything(card):
    back = ModelCard.from_metadata(card.to_metadata())
    assert dataclasses.replace(back, objects=()) == dataclasses.replace(card, objects=())
    for ours, theirs in zip(card.objects, back.objects):
        assert ours.name == theirs.name and ours.diameter == theirs.diameter
        for field in ("keypoints_object", "points_object", "normals_object", "box_center", "box_size"):
            np.testing.assert_allclose(getattr(theirs, field), getattr(ours, field), atol=1e-8)
        np.testing.assert_allclose(theirs.symmetry.discrete, ours.symmetry.discrete, atol=1e-6)
        assert (ours.symmetry.axis is None) == (theirs.symmetry.axis is None)
        np.testing.assert_allclose(theirs.symmetry.offset, ours.symmetry.offset, atol=1e-8)


def test_the_dense_surface_travels_and_older_cards_have_none(card):
    surface = np.random.default_rng(0).uniform(-0.02, 0.02, (50, 3))
    objects = tuple(dataclasses.replace(model, surface_object=surface) for model in card.objects)
    dense = dataclasses.replace(card, objects=objects)
    (first, *_) = ModelCard.from_metadata(dense.to_metadata()).objects
    np.testing.assert_allclose(first.surface_object, surface, atol=1e-8)
    older = edited(dense, lambda document: [model.pop("surface_object") for model in document["objects"]])
    assert all(len(model.surface_object) == 0 for model in ModelCard.from_metadata(older).objects)


def test_a_card_without_objects_is_a_plain_detector():
    card = ModelCard("detect", Layout.YOLOV8_DETECT, ("person",), (640, 640))
    assert ModelCard.from_metadata(card.to_metadata()) == card


@pytest.mark.parametrize(
    "field", ["task", "layout", "labels", "input_wh", "keypoint_count", "objects", "seed", "licence"]
)
def test_a_missing_field_is_named(card, field):
    with pytest.raises(ModelError, match=f"'{field}' is missing"):
        ModelCard.from_metadata(edited(card, lambda document: document.pop(field)))


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (lambda card: card.update(labels="gear"), "'labels' must be list"),
        (lambda card: card.update(labels=["gear", 3]), "'labels' must hold only str"),
        (lambda card: card.update(labels=["gear", "gear"]), "'labels' must be distinct"),
        (lambda card: card.update(labels=["gear", "bracket"]), "are not its labels"),
        (lambda card: card.update(layout=5), "'layout' must be str"),
        (lambda card: card.update(input_wh=[320]), "'input_wh' must be two"),
        (lambda card: card.update(input_wh=[320, True]), "'input_wh' must hold only int"),
        (lambda card: card.update(input_wh=[320, 0]), "'input_wh' must be from 1"),
        (lambda card: card.update(input_wh=[200_000, 200_000]), "'input_wh' must be from 1 to 4096"),
        (lambda card: card.update(keypoint_count=9), "8 keypoints"),
        (lambda card: card.update(keypoint_count=True), "'keypoint_count' must be int"),
        (lambda card: card.update(format=99), "newer object_pose"),
        (lambda card: card["objects"][1].pop("diameter"), r"'objects\[1\].diameter' is missing"),
        (lambda card: card["objects"][1].update(diameter=0.0), "diameter of gear"),
        (lambda card: card["objects"][0].update(box_size={"shape": [2], "float32": ""}), r"\[0\].box_size' .*\(3\)"),
        (lambda card: card["objects"][0]["box_size"].update(float32="AAAA"), "box_size' is damaged"),
        (lambda card: card["objects"][0]["box_size"].update(float32="%%"), "box_size' is damaged"),
        (lambda card: card["objects"][0]["normals_object"].update(shape=[25, 6]), "normals_object'"),
        (lambda card: card["objects"][0]["normals_object"].update(shape=[2**64, 3]), "normals_object' is damaged"),
    ],
)
def test_a_wrong_field_is_named(card, edit, named):
    with pytest.raises(ModelError, match=named):
        ModelCard.from_metadata(edited(card, edit))


@pytest.mark.parametrize("metadata", [{}, {METADATA_KEY: "{"}, {METADATA_KEY: "[1]"}])
def test_no_card_or_no_json(metadata):
    with pytest.raises(ModelError, match="model card"):
        ModelCard.from_metadata(metadata)


def test_values_that_are_not_finite_are_refused(card):
    broken = dataclasses.replace(card.objects[0], box_size=np.array([np.nan, 1.0, 1.0]))
    with pytest.raises(ModelError, match="box_size' has values that are not finite"):
        ModelCard.from_metadata(dataclasses.replace(card, objects=(broken, card.objects[1])).to_metadata())


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a": ' * 200_000, "[1]", "{"])
def test_a_card_that_is_no_card_is_refused_in_one_line(text):
    with pytest.raises(ModelError, match="model card is") as raised:
        ModelCard.from_metadata({METADATA_KEY: text})
    assert "\n" not in str(raised.value)
