"""The detector: network pixels come back as image pixels, whatever the image; wrong models never start."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from networks import save_model
from object_pose.core.errors import DataError, ModelError
from object_pose.core.params import make_config, parameters
from object_pose.core.vision.decoders import DecodeOptions, Layout
from object_pose.core.vision.image import Letterbox
from object_pose.runtime.card import ModelCard
from object_pose.runtime.predictor import Predictor, PredictorConfig
from object_pose.runtime.timing import StageClock

WH = (96, 64)
LABELS = ("gear", "spring")
CANDIDATES = 126


def one_object(box=(48.0, 32.0, 20.0, 10.0), class_id=1, keypoint=(50.0, 30.0, 2.0)):
    """Our own layout's output with one object of one keypoint."""
    output = np.zeros((1, 4 + 2 + 3, CANDIDATES), np.float32)
    output[0, :, 7] = [*box, *(0.8 * (class_id == index) for index in range(2)), *keypoint]
    return output


def own_card(**changes):
    fields = {"keypoint_count": 1, "input_wh": WH, "labels": LABELS, "layout": Layout.OBJECT_POSE_KEYPOINTS}
    return ModelCard(task="pose", **{**fields, **changes}).to_metadata()


@pytest.mark.parametrize("image_wh", [(96, 64), (640, 480), (31, 90), (1280, 720)])
def test_detections_are_in_pixels_of_the_image(constant_model, image_wh):
    detector = Predictor(constant_model([one_object()], own_card()))
    found = detector.predict(np.zeros((image_wh[1], image_wh[0], 3), np.uint8))
    box = Letterbox.fit(image_wh, WH)
    corners = box.to_image(np.array([[38.0, 27.0], [58.0, 37.0]]))
    np.testing.assert_allclose(found.boxes_xyxy[0], np.clip(corners, 0, np.subtract(image_wh, 1)).ravel(), atol=1e-4)
    np.testing.assert_allclose(found.keypoints[0, 0], box.to_image(np.array([50.0, 30.0])), atol=1e-4)
    np.testing.assert_allclose(found.keypoint_sigmas[0, 0], 2.0 / np.sqrt(np.prod(box.scale)), rtol=1e-6)
    assert found.class_ids.tolist() == [1] and detector.card.labels == LABELS


@pytest.mark.parametrize(("input_scale", "side"), [(1.0, 20.0), (2.0, 10.0)])
def test_a_network_of_any_size_sees_the_image_as_large_as_asked(constant_model, input_scale, side):
    model = constant_model([one_object()], own_card(), input_shape=(1, 3, "height", "width"))
    detector = Predictor(model, PredictorConfig(decoding=DecodeOptions(input_scale=input_scale)))
    found = detector.predict(np.zeros((192, 288, 3), np.uint8))
    assert found.boxes_xyxy[0, 2] - found.boxes_xyxy[0, 0] == pytest.approx(3.0 * side)


def test_smaller_looks_add_what_they_alone_find_and_say_no_object_twice(constant_model):
    # This network finds the same pixels of its input at every size, so each scale finds another box of the image.
    model = constant_model([one_object()], own_card(), input_shape=(1, 3, "height", "width"))
    image = np.zeros((192, 288, 3), np.uint8)
    once, more = (
        Predictor(model, PredictorConfig(decoding=DecodeOptions(input_scale=3.0, extra_scales=n))).predict(image)
        for n in (0, 2)
    )
    widths = more.boxes_xyxy[:, 2] - more.boxes_xyxy[:, 0]
    np.testing.assert_allclose(sorted(widths), 20.0 * 288 / np.array([288, 224, 192]), rtol=1e-4)
    assert len(once) == 1 and len(set(more.candidate_ids)) == len(more) == 3
    of_one_size = Predictor(
        constant_model([one_object()], own_card()), PredictorConfig(decoding=DecodeOptions(extra_scales=2))
    )
    assert len(of_one_size.predict(image)) == 1


def test_a_network_of_one_size_sees_the_image_at_that_size(constant_model):
    detector = Predictor(
        constant_model([one_object()], own_card()), PredictorConfig(decoding=DecodeOptions(input_scale=1.5))
    )
    found = detector.predict(np.zeros((192, 288, 3), np.uint8))
    assert found.boxes_xyxy[0, 2] - found.boxes_xyxy[0, 0] == pytest.approx(60.0)


def test_grey_and_rgba_images_will_do(constant_model):
    detector = Predictor(constant_model([one_object()], own_card()))
    for shape in [(48, 64), (48, 64, 1), (48, 64, 4)]:
        assert len(detector.predict(np.zeros(shape, np.uint8))) == 1


def test_a_box_in_the_padding_is_no_detection(constant_model):
    detector = Predictor(constant_model([one_object(box=(48.0, 3.0, 20.0, 4.0))], own_card()))
    assert len(detector.predict(np.zeros((20, 96, 3), np.uint8))) == 0


def test_a_one_pixel_image_has_no_detections(constant_model):
    detector = Predictor(constant_model([one_object()], own_card()))
    found = detector.predict(np.zeros((1, 1, 3), np.uint8))
    assert len(found) == 0 and found.keypoints.shape == (0, 1, 2)


@pytest.mark.parametrize(
    "image", [np.zeros((0, 0, 3), np.uint8), np.zeros((9, 9, 3), np.float32), np.zeros(9, np.uint8)]
)
def test_what_is_no_image_is_a_data_error(constant_model, image):
    with pytest.raises(DataError):
        Predictor(constant_model([one_object()], own_card())).predict(image)


def test_the_clock_sees_every_stage(constant_model):
    clock = StageClock()
    Predictor(constant_model([one_object()], own_card())).predict(np.zeros((9, 9, 3), np.uint8), clock)
    assert list(clock.timings_ms) == ["preprocess", "inference", "decode"]
    assert all(value > 0 for value in clock.timings_ms.values())


def test_a_foreign_model_needs_no_card(constant_model):
    output = np.zeros((1, 6, CANDIDATES), np.float32)
    output[0, :, 3] = [48, 32, 20, 10, 0.1, 0.9]
    detector = Predictor(constant_model([output], {"names": "{0: 'cat', 1: 'dog'}", "task": "detect"}))
    found = detector.predict(np.zeros((WH[1], WH[0], 3), np.uint8))
    np.testing.assert_allclose(found.boxes_xyxy, [[38, 27, 58, 37]], atol=1e-4)
    assert detector.card.labels[found.class_ids[0]] == "dog" and found.scores[0] == pytest.approx(0.9)


def test_the_expected_classes_must_be_the_models(constant_model):
    path = constant_model([one_object()], own_card())
    assert Predictor(path, PredictorConfig(labels="gear, spring")).card.labels == LABELS
    with pytest.raises(ModelError) as raised:
        Predictor(path, PredictorConfig(labels="spring,gear"))
    for part in (str(path), "['gear', 'spring']", "['spring', 'gear']"):
        assert part in str(raised.value)


@pytest.mark.parametrize(
    ("outputs", "metadata", "problem"),
    [
        ([one_object()], own_card(layout="oriented_cells"), "'oriented_cells' is none of the task pose"),
        (
            [one_object()],
            own_card(keypoint_count=2),
            r"shape \(1, 9, 126\), expected object_pose_keypoints \(1, 12, N\)",
        ),
        ([one_object()], own_card(labels=("gear",)), "for 1 classes"),
        ([one_object()], own_card(input_wh=(64, 96)), r"\(1, 3, 64, 96\), its card says \(1, 3, 96, 64\)"),
        ([one_object(), one_object()], own_card(), "2 outputs"),
        ([one_object()], {"object_pose": "{}"}, "'format' is missing"),
        ([one_object()], {}, "neither a model card nor class names"),
    ],
)
def test_a_model_that_does_not_fit_never_starts(constant_model, outputs, metadata, problem):
    path = constant_model(outputs, metadata)
    with pytest.raises(ModelError, match=problem) as raised:
        Predictor(path)
    assert str(path) in str(raised.value)


def test_parameters_of_engine_and_decoder_are_one_list():
    names = [item.name for item in parameters(PredictorConfig)]
    assert {"engine", "device", "threads", "decoding.score_threshold", "labels"} <= set(names)
    assert make_config(PredictorConfig, {"decoding": {"score_threshold": 1}}).decoding.score_threshold == 1.0


MASK_CARD = ModelCard(task="segment", layout="segment_mask", labels=("building",), input_wh=(128, 128)).to_metadata()


@pytest.fixture
def side_model(tmp_path):
    """Make a network of any size whose mask is all 1 where its input is wider than 64, else 0; it tells ``octaves``."""

    def make(octaves, name="side.onnx"):
        nodes = [
            helper.make_node("Shape", ["images"], ["width"], start=3),
            helper.make_node("Cast", ["width"], ["width_f"], to=TensorProto.FLOAT),
            helper.make_node("Greater", ["width_f", "limit"], ["is_wide"]),
            helper.make_node("Cast", ["is_wide"], ["value"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["images"], ["grey"], axes=[1], keepdims=1),
            helper.make_node("Mul", ["grey", "zero"], ["nothing"]),
            helper.make_node("Add", ["nothing", "value"], ["probability"]),
            helper.make_node("Identity", ["octaves"], ["resolution"]),
        ]
        constants = {"limit": np.array([64.0]), "zero": np.zeros(1), "octaves": np.array([[octaves]])}
        kept = [numpy_helper.from_array(value.astype(np.float32), key) for key, value in constants.items()]
        read = helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 3, "height", "width"))
        gives = [
            helper.make_tensor_value_info("probability", TensorProto.FLOAT, (1, 1, "height", "width")),
            helper.make_tensor_value_info("resolution", TensorProto.FLOAT, (1, 1)),
        ]
        return save_model(helper.make_graph(nodes, "side", [read], gives, kept), tmp_path / name, MASK_CARD)

    return make


@pytest.mark.parametrize(("metres_per_pixel", "share"), [(0.02, 0.0), (0.05, 0.5), (0.4, 0.5)])
def test_a_mask_model_reads_an_image_by_its_resolution(side_model, metres_per_pixel, share):
    # Four mirrorings of the whole at 64 pixels; and the image at its own size, unless its pixels are too fine for that.
    predictor = Predictor(side_model(-9.0), PredictorConfig(metres_per_pixel=metres_per_pixel))
    result = predictor.predict(np.zeros((90, 120, 3), np.uint8))
    assert result.probability.shape == (90, 120)
    np.testing.assert_allclose(result.probability, share, atol=1e-6)


def test_without_a_resolution_the_model_estimates_it(side_model):
    image = np.zeros((90, 120, 3), np.uint8)
    shares = [Predictor(side_model(octaves)).predict(image).probability.mean() for octaves in (-9.0, 2.0)]
    assert shares == pytest.approx([0.0, 0.5])


def test_a_small_aerial_image_is_read_once_at_each_mirroring(side_model):
    predictor = Predictor(side_model(2.0))
    assert predictor.predict(np.zeros((64, 64, 3), np.uint8)).probability.max() == 0.0
    larger = predictor.with_decoding(DecodeOptions(input_scale=2.0))
    image = np.zeros((256, 256, 3), np.uint8)
    assert predictor.predict(image).probability.mean() == larger.predict(image).probability.mean() == 0.5
