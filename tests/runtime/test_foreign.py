"""Models without a card: shapes tell how they are read, and every layout finds the same objects in the same places."""

import json

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from networks import save_model
from object_pose.core.errors import ModelError
from object_pose.core.vision.decoders import Layout
from object_pose.runtime.engine import load_engine
from object_pose.runtime.foreign import identify, open_foreign_model
from object_pose.runtime.predictor import Predictor, PredictorConfig

WH = (640, 640)
NAMES = "{0: 'gear', 1: 'spring', 2: 'bolt'}"
POSE = {"task": "pose", "names": "{0: 'person'}", "kpt_shape": "[17, 3]"}
NMS = {"end2end": "False", "args": "{'batch': 1, 'nms': True}"}
BOX = (270.0, 200.0, 370.0, 280.0)
LABELS = ("bolt", "nut")


@pytest.mark.parametrize(
    ("metadata", "classes", "shape", "layout", "keypoints"),
    [
        ({"stride": "32"}, 3, (1, 25200, 8), Layout.YOLOV5, 0),
        ({"task": "detect"}, 3, (1, 7, 8400), Layout.YOLOV8_DETECT, 0),
        ({"task": "detect"}, 3, (1, 300, 6), Layout.END_TO_END, 0),
        ({"task": "detect", "end2end": "True"}, 3, (1, 300, 6), Layout.END_TO_END, 0),
        ({"task": "detect", **NMS}, 3, (1, 300, 6), Layout.END_TO_END, 0),
        ({"task": "detect", **NMS}, 2, (1, 300, 6), Layout.END_TO_END, 0),
        ({"task": "detect"}, 1, (1, 25200, 6), Layout.YOLOV5, 0),
        # Shapes outrank what the metadata say.
        ({"end2end": "True"}, 3, (1, 7, 8400), Layout.YOLOV8_DETECT, 0),
        ({"end2end": "False"}, 3, (1, 300, 6), Layout.END_TO_END, 0),
        ({"imgsz": "[320, 320]"}, 3, (1, 7, 8400), Layout.YOLOV8_DETECT, 0),
        (POSE, 1, (1, 56, 8400), Layout.YOLOV8_POSE, 17),
        (POSE, 1, (1, 300, 57), Layout.END_TO_END_POSE, 17),
        ({**POSE, **NMS}, 1, (1, 300, 57), Layout.END_TO_END_POSE, 17),
        ({**POSE, "kpt_shape": "[17, 2]"}, 1, (1, 39, 8400), Layout.YOLOV8_POSE, 17),
        ({**POSE, "kpt_shape": "[17, 2]"}, 1, (1, 300, 40), Layout.END_TO_END_POSE, 17),
        ({"description": "Ultralytics rtdetr-l model"}, 2, (1, 300, 6), Layout.YOLOV8_DETECT, 0),
    ],
)
def test_the_layout_follows_from_the_file(metadata, classes, shape, layout, keypoints):
    found = identify(metadata, {"output0": shape}, WH, classes)
    assert (found.layout, found.keypoint_count) == (layout, keypoints)


@pytest.mark.parametrize(
    ("metadata", "classes", "shapes", "problem"),
    [
        ({"task": "depth"}, 3, [(1, 8, 8400)], "task is 'depth'"),
        ({"task": "obb"}, 3, [(1, 7, 8400)], r"yolov8_obb \(1, 8, N\)"),
        ({"task": "segment"}, 3, [(1, 39, 8400), (1, 32, 160, 160)], "segments 3 classes"),
        ({}, 3, [(1, 7, 8400), (1, 7, 100)], "2 outputs"),
        ({}, 3, [(1, 84, 8400)], r"\(1, 84, 8400\) is of no known layout.*yolov8_detect \(1, 7, N\)"),
        ({}, 3, [(1, 8400, 7)], "no known layout"),
        ({}, 3, [(1, 7, 2100)], "640x640"),
        ({}, 3, [(1, 7, 80, 80)], "no known layout"),
        ({**POSE, "kpt_shape": "[17, 4]"}, 1, [(1, 39, 8400)], r"'kpt_shape' is \[17, 4\]"),
        ({"task": "pose"}, 3, [(1, 56, 8400)], "'kpt_shape' is None"),
    ],
)
def test_wrong_and_ambiguous_files_are_refused(metadata, classes, shapes, problem):
    outputs = {f"output{index}": shape for index, shape in enumerate(shapes)}
    with pytest.raises(ModelError, match=problem):
        identify(metadata, outputs, WH, classes)


def save(path, outputs, metadata=None, input_shape=(1, 3, 640, 640), dtype=np.float32, with_size=False):
    """Write a network that gives the outputs, by name, whatever it sees."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes, values = [], []
    for name, array in outputs.items():
        nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array)))
        values.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape))
    inputs = [helper.make_tensor_value_info("images", kind, input_shape)]
    if with_size:
        inputs.append(helper.make_tensor_value_info("orig_target_sizes", TensorProto.INT64, (1, 2)))
    return save_model(helper.make_graph(nodes, "constant", inputs, values), path, metadata or {})


def centre(box):
    return [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], box[3] - box[1]]


def relative_xywh(box):
    return np.array(centre(box)) / 640.0


def columns(*values, count=8400):
    """A candidate among many that score nothing, (1, len(values), count)."""
    rows = np.zeros((1, len(values), count), np.float32)
    rows[0, :, 7] = values
    return rows


def logit(score):
    return float(np.log(score / (1.0 - score)))


def yolox_rows(decoded):
    """The nut in the cell (20, 15) of stride 16, whose row is 6400 + 15 * 40 + 20."""
    rows = np.zeros((1, 8400, 7), np.float32)
    x, y, width, height = centre(BOX)
    own = [x, y, width, height] if decoded else [x / 16 - 20, y / 16 - 15, np.log(width / 16), np.log(height / 16)]
    rows[0, 6400 + 15 * 40 + 20] = [*own, 0.9, 0.0, 1.0]
    return rows


def queries(values, count=300):
    rows = np.zeros((1, count, len(values)), np.float32)
    rows[0, 3] = values
    return rows


def detr_logits(none=0):
    logits = np.full((1, 300, 2 + none), -20.0, np.float32)
    logits[0, 3, 1] = logit(0.9)
    return logits


def yolov5_rows():
    rows = np.zeros((1, 25200, 7), np.float32)
    rows[0, 9] = [*centre(BOX), 0.95, 0.0, 0.9 / 0.95]
    return rows


def listed(name_boxes, name_scores, name_classes, name_count, box=BOX, first_class=0):
    """One object that counts before one that does not."""
    return {
        name_count: np.array([[1]], np.int32),
        name_boxes: np.array([[box, box, box]], np.float32),
        name_scores: np.array([[0.9, 0.8, 0.7]], np.float32),
        name_classes: np.array([[1, 0, 0]], np.int32) + np.int32(first_class),
    }


def turned(box):
    left, top, right, bottom = np.array(box) / 640.0
    return (top, left, bottom, right)


TENSORFLOW = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")
TORCHVISION = (
    np.array([BOX], np.float32),
    np.array([2], np.int64),  # 0 is the background
    np.array([0.9], np.float32),
)
FILES = {
    "yolov5": ({"output0": yolov5_rows()}, {}),
    "yolov5 with its maps": (
        {"output": yolov5_rows(), **{f"map{n}": np.zeros((1, 3, n, n, 7), np.float32) for n in (20, 40, 80)}},
        {},
    ),
    "yolov6": (
        {"outputs": np.array([[[*centre(BOX), 1.0, 0.0, 0.9]] + [[0, 0, 0, 0, 1, 0, 0]] * 8399], np.float32)},
        {},
    ),
    "yolov7, end2end": ({"output": np.array([[0, *BOX, 1, 0.9]], np.float32)}, {}),
    "rows without a batch": ({"output": np.array([[*BOX, 0.9, 1]], np.float32)}, {}),
    "rows of paddle": ({"output": np.array([[1, 0.9, *BOX]], np.float32)}, {}),
    "yolo-nas, flat": ({"graph2_flat_predictions": np.array([[0, *BOX, 0.9, 1]], np.float32)}, {}),
    "yolo-nas, batch": (listed("pred_boxes", "pred_scores", "pred_classes", "num_predictions"), {}),
    "efficient nms": (listed("det_boxes", "det_scores", "det_classes", "num_dets"), {}),
    "tensorflow": (listed(*TENSORFLOW, box=turned(BOX), first_class=1), {}),
    "torchvision": (dict(zip(("boxes", "labels", "scores"), TORCHVISION)), {}),
    "torchvision without names": (dict(zip(("2544", "2546", "2545"), TORCHVISION)), {}),
    "double precision": ({"output0": columns(*centre(BOX), 0.0, 0.9).astype(np.float64)}, {}),
    "yolov8": ({"output0": columns(*centre(BOX), 0.0, 0.9)}, {}),
    "yolov8, half precision": ({"output0": columns(*centre(BOX), 0.0, 0.9).astype(np.float16)}, {}),
    "end to end, nms=True": ({"output0": queries([*BOX, 0.9, 1.0])}, {"task": "detect", **NMS}),
    "yolox": ({"output": yolox_rows(decoded=False)}, {}),
    "yolox, decoded": ({"output": yolox_rows(decoded=True)}, {}),
    "rtdetr of Ultralytics": ({"output0": queries([*relative_xywh(BOX), 0.0, 0.9])}, {"description": "rtdetr-l"}),
    "rf-detr": ({"dets": queries(relative_xywh(BOX)), "labels": detr_logits(none=1)}, {}),
    "logits and boxes": ({"logits": detr_logits(), "pred_boxes": queries(relative_xywh(BOX))}, {}),
    "d-fine": (
        {
            "labels": (np.arange(300)[None] == 3).astype(np.int64),
            "boxes": queries(BOX),
            "scores": queries([0.9])[..., 0],
        },
        {},
    ),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("names", [None, "{0: 'bolt', 1: 'nut'}", '{"0": "bolt", "1": "nut"}', '["bolt", "nut"]'])
def test_every_layout_finds_the_same_object(tmp_path, name, names):
    outputs, metadata = FILES[name]
    metadata = metadata | ({"names": names} if names else {})
    half = np.float16 if "half" in name else np.float32
    model = save(tmp_path / "model.onnx", outputs, metadata, dtype=half, with_size=name == "d-fine")
    predictor = Predictor(model, PredictorConfig(labels="" if names else "bolt, nut"))
    assert predictor.card.labels == LABELS
    found = predictor.predict(np.zeros((640, 640, 3), np.uint8))
    assert [predictor.card.labels[class_id] for class_id in found.class_ids] == ["nut"]
    np.testing.assert_allclose(found.boxes_xyxy[0], BOX, atol=0.5)
    np.testing.assert_allclose(found.scores, 0.9, atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 3, 64, 96), (1, 64, 96, 3), (3, 64, 96), (64, 96, 3)])
@pytest.mark.parametrize(("dtype", "value"), [(np.float32, 0.2), (np.float16, 0.2), (np.uint8, 51.0)])
def test_images_are_fed_as_the_network_reads_them(tmp_path, shape, dtype, value):
    """A network whose score is what it reads at the one pixel that is not black."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    axis = len(shape) - 1 if shape[-1] == 3 else len(shape) - 3
    place = {axis: 1, axis + 1 if shape[-1] != 3 else axis - 2: 5, axis + 2 if shape[-1] != 3 else axis - 1: 7}
    names, starts = ["starts", "ends", "axes"], [place[a] for a in sorted(place)]
    values = [starts, [start + 1 for start in starts], sorted(place)]
    constants = [numpy_helper.from_array(np.array(item, np.int64), name) for name, item in zip(names, values)]
    constants.append(numpy_helper.from_array(np.array([1], np.int64), "flat"))
    constants.append(numpy_helper.from_array(np.array([0, *BOX, 1], np.float32), "row"))
    nodes = [
        helper.make_node("Slice", ["images", *names], ["pixel"]),
        helper.make_node("Reshape", ["pixel", "flat"], ["one"]),
        helper.make_node("Cast", ["one"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Concat", ["row", "number"], ["joined"], axis=0),
        helper.make_node("Unsqueeze", ["joined", "zero"], ["output"]),
    ]
    constants.append(numpy_helper.from_array(np.array([0], np.int64), "zero"))
    inputs = [helper.make_tensor_value_info("images", kind, shape)]
    outputs = [helper.make_tensor_value_info("output", TensorProto.FLOAT, (1, 7))]
    graph = helper.make_graph(nodes, "look", inputs, outputs, constants)
    network = open_foreign_model(load_engine(save_model(graph, tmp_path / "model.onnx")), LABELS)[0]
    batch = np.zeros((1, 3, 64, 96), np.float32)
    batch[0, 1, 5, 7] = 0.2
    assert network.input_shape == batch.shape
    assert network.run(batch)[0][0, 0, 4] == pytest.approx(value, abs=1e-3)


def test_names_may_hold_the_background(tmp_path):
    model = save(tmp_path / "model.onnx", dict(zip(("boxes", "labels", "scores"), TORCHVISION)))
    predictor = Predictor(model, PredictorConfig(labels="__background__, bolt, nut"))
    assert predictor.predict(np.zeros((640, 640, 3), np.uint8)).class_ids.tolist() == [2]
    assert predictor.card.labels[2] == "nut"


def test_a_plugin_that_is_not_there_is_named(tmp_path):
    node = helper.make_node("EfficientNMS_TRT", ["images"], ["num_dets"], domain="TRT")
    inputs = [helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 3, 64, 64))]
    graph = helper.make_graph(
        [node], "nms", inputs, [helper.make_tensor_value_info("num_dets", TensorProto.INT32, (1, 1))]
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("TRT", 1)]
    path = tmp_path / "model.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())
    with pytest.raises(ModelError, match=r"needs the operator TRT:EfficientNMS_TRT, .*without plugins"):
        Predictor(path)


@pytest.mark.parametrize("last", [False, True])
def test_keypoints_of_two_values_are_visible(tmp_path, last):
    points = [280.0, 210.0, 360.0, 270.0]
    outputs = queries([*BOX, 0.9, 0.0, *points]) if last else columns(*centre(BOX), 0.9, *points)
    metadata = {"task": "pose", "names": "['nut']", "kpt_shape": "[2, 2]"}
    found = Predictor(save(tmp_path / "model.onnx", {"output0": outputs}, metadata)).predict(
        np.zeros((640, 640, 3), np.uint8)
    )
    np.testing.assert_allclose(found.keypoints[0], np.reshape(points, (2, 2)), atol=1e-3)
    np.testing.assert_allclose(found.keypoint_sigmas, 0.02 * np.sqrt(100 * 80), rtol=1e-5)


@pytest.mark.parametrize("kind", ["v8", "end to end", "v5"])
def test_instance_masks_of_one_class_become_its_mask(tmp_path, kind):
    weights = [logit(0.9)] + [0.0] * 31
    rows = {
        "v8": lambda: columns(*centre(BOX), 0.9, *weights),
        "end to end": lambda: queries([*BOX, 0.9, 0.0, *weights]),
        "v5": lambda: queries([*centre(BOX), 0.9, 0.95, *weights], 25200),
    }[kind]()
    outputs = {"output0": rows, "output1": np.ones((1, 32, 160, 160), np.float32)}
    metadata = {"task": "segment", "names": "['roof']"}
    found = Predictor(save(tmp_path / "model.onnx", outputs, metadata)).predict(np.zeros((640, 640, 3), np.uint8))
    inside = np.zeros((640, 640), bool)
    inside[200:280, 270:370] = True
    assert (found.mask & inside).sum() / (found.mask | inside).sum() > 0.95
    assert found.probability.max() == pytest.approx(0.9, abs=1e-3)


@pytest.mark.parametrize("last", [False, True])
def test_oriented_boxes_keep_their_corners_and_classes(tmp_path, last):
    angle = 0.4
    turned = (320.0, 240.0, 100.0, 40.0)
    rows = queries([*turned, 0.9, 1.0, angle]) if last else columns(*turned, 0.0, 0.9, angle)
    if not last:
        rows[0, :, 8] = columns(*turned, 0.0, 0.8, angle)[0, :, 7]  # the same object once more
    metadata = {"task": "obb", "names": "['bolt', 'nut']"}
    predictor = Predictor(save(tmp_path / "model.onnx", {"output0": rows}, metadata))
    found = predictor.predict(np.zeros((640, 640, 3), np.uint8))
    (box,) = found.boxes
    assert (predictor.task.name, box.class_id, box.score) == ("oriented", 1, pytest.approx(0.9))
    across, along = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    corners = [np.array([320.0, 240.0]) + 50 * a * across + 20 * b * along for a in (-1, 1) for b in (-1, 1)]
    distances = np.linalg.norm(box.corners[:, None] - np.array(corners)[None], axis=-1)
    np.testing.assert_allclose(distances.min(axis=1), 0.0, atol=0.1)
    assert predictor.task.to_json(found, predictor.card.labels)["boxes"][0]["class_name"] == "nut"


@pytest.mark.parametrize("size", ["[64, 96]", "(64, 96)"])
def test_open_sizes_come_from_the_metadata(tmp_path, size):
    output = columns(48.0, 32.0, 20.0, 10.0, 0.0, 0.9, count=126)
    metadata = {"names": "['bolt', 'nut']", "imgsz": size}
    model = save(tmp_path / "model.onnx", {"output0": output}, metadata, ("batch", 3, "height", "width"))
    predictor = Predictor(model)
    assert predictor.card.input_wh == (96, 64)
    assert predictor.predict(np.zeros((64, 96, 3), np.uint8)).class_ids.tolist() == [1]


@pytest.mark.parametrize(
    ("metadata", "shape", "problem"),
    [
        ({"names": "['a']", "imgsz": "many"}, ("batch", 3, "h", "w"), "'imgsz' cannot be read"),
        ({"names": "['a']", "imgsz": "[True, 64]"}, ("batch", 3, "h", "w"), r"'imgsz' is \[True, 64\]"),
        ({"names": "['a']", "imgsz": "[64]"}, ("batch", 3, "h", "w"), r"'imgsz' is \[64\]"),
        ({"names": "['a']", "imgsz": "[60, 64]"}, ("batch", 3, "h", "w"), "multiples of 32"),
        ({"names": "['a']", "imgsz": "[200000, 200000]"}, ("batch", 3, "h", "w"), "at most 16 channels of 4096x4096"),
        ({"names": "['a']"}, (1, 3, 200000, 200000), "at most 16 channels of 4096x4096"),
        ({"names": "['a']", "batch": "8"}, (8, 3, 640, 640), "8 images at a time, expected 1"),
        ({}, (1, 3, 640, 640), "neither a model card nor class names"),
        ({"names": "{0: 'a', 2: 'b'}"}, (1, 3, 640, 640), "skips class ids"),
        ({"names": "{'x': 'a'}"}, (1, 3, 640, 640), "class ids that are no numbers"),
        ({"names": "{1e999: 'a'}"}, (1, 3, 640, 640), "class ids that are no numbers"),
        ({"names": "{[1]: 'a'}"}, (1, 3, 640, 640), "'names' cannot be read"),
        ({"names": "{0: 'a'"}, (1, 3, 640, 640), "'names' cannot be read"),
        ({"names": "7"}, (1, 3, 640, 640), "neither a list nor a mapping"),
        ({"names": "[" * 100_000}, (1, 3, 640, 640), "'names' cannot be read"),
        ({"names": json.dumps(["a" * 2_000_000])}, (1, 3, 640, 640), "'names' cannot be read"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(tmp_path, metadata, shape, problem):
    model = save(tmp_path / "model.onnx", {"output0": columns(*centre(BOX), 0.9)}, metadata, shape)
    with pytest.raises(ModelError, match=problem) as raised:
        Predictor(model)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 500
