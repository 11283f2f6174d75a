"""The routes of two other systems, as their clients call them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from object_pose.runtime.predictor import Predictor


@pytest.fixture(scope="module")
def image():
    return cv2.resize(np.random.default_rng(1).integers(0, 256, (12, 16, 3), dtype=np.uint8), (160, 120))


def test_health_and_detections_of_a_jpeg(shipped, image):
    assert shipped.client.get("/health").json() == {"status": "model_loaded"}
    jpeg = cv2.imencode(".jpg", image)[1].tobytes()
    answer = shipped.client.post("/predict", files={"file": ("photo.jpg", jpeg, "image/jpeg")})
    assert answer.status_code == 200 and set(answer.json()) == {"detections"}
    decoded = cv2.cvtColor(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    expected = Predictor("workplace.onnx").predict(decoded)
    assert [item["cls_id"] for item in answer.json()["detections"]] == expected.class_ids.tolist()
    boxes = [[item["bbox"][key] for key in ("x1", "y1", "x2", "y2")] for item in answer.json()["detections"]]
    np.testing.assert_allclose(np.reshape(boxes, (-1, 4)), expected.boxes_xyxy, atol=1e-3)


def test_without_weights_predict_is_400(serve, image):
    server = serve()
    assert server.client.get("/health").json() == {"status": "model_not_loaded"}
    jpeg = cv2.imencode(".jpg", image)[1].tobytes()
    assert server.client.post("/predict", files={"file": ("photo.jpg", jpeg, "image/jpeg")}).status_code == 400


def test_inference_of_nested_lists_is_a_mask(shipped, image):
    answer = shipped.client.post("/inference", json={"image": image.tolist()})
    assert answer.status_code == 200 and set(answer.json()) == {"prediction"}
    mask = np.array(answer.json()["prediction"])
    assert mask.shape == image.shape[:2] and set(np.unique(mask)) <= {0, 1}
    assert np.array_equal(mask, Predictor("buildings.onnx").predict(image).mask)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"image": 1}',
        '{"image": []}',
        '{"image": [[]]}',
        '{"image": [[[1, 2]]]}',
        '{"image": [[[1, 2, 3]], [[1, 2, 3], [1, 2, 3]]]}',
        '{"image": [[[1, 2, 300]]]}',
        '{"image": [[[1, 2, -1]]]}',
        '{"image": [[[1.5, 2, 3]]]}',
        '{"image": [[["1", 2, 3]]]}',
        '{"image": [[[true, false, true]]]}',
        '{"image": [[[1, 2, null]]]}',
        '{"image": [[[1, 2, 1e400]]]}',
        '{"image": [[[1, 2, 123456789012345678901234567890]]]}',
        '{"image": [[[NaN, 2, 3]]]}',
        '{"image": ' + "[" * 5000 + "]" * 5000 + "}",
        '{"image": ' + "1" * 5000 + "}",
        '{"image"',
        "\ud800".encode("utf-16", "surrogatepass"),
    ],
)
def test_what_is_no_image_is_refused(shipped, body):
    answer = shipped.client.post("/inference", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400, answer.text


def test_another_type_of_body_is_refused(shipped):
    assert shipped.client.post("/inference", content="{}", headers={"Content-Type": "text/plain"}).status_code == 415
    assert shipped.client.post("/predict", json={"file": "a"}).status_code == 422
