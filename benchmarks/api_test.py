"""The HTTP contracts of the two source systems, against a live server, and what the way over HTTP costs."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import httpx
import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Benchmark, checked, criteria_table, progress, report
from benchmarks.http_server import serving
from object_pose.core.errors import DataError, ObjectPoseError
from object_pose.core.metrics.detection import rank_boxes
from object_pose.core.results.detections import Detections
from object_pose.evaluation.criteria import Criterion
from object_pose.evaluation.samples import Sample, read_samples
from object_pose.io.images import decode_rgb
from object_pose.runtime.predictor import Predictor
from object_pose.runtime.resources import find_data

OUTPUT = Path("out/api")
CRITERIA = (
    Criterion("health_contract", 1.0),
    Criterion("predict_contract", 1.0),
    Criterion("without_weights_400", 1.0),
    Criterion("inference_contract", 1.0),
    Criterion("round_trip_ratio", 1.3, at_most=True),
)
RECALL = Criterion("recall_iou_50", 0.5)
_ROUND_TRIPS = 15
_CORNERS = ("x1", "y1", "x2", "y2")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--url", help="a server that runs already (default: one is started)")
    parser.add_argument("--token", default="", help="its token, if it asks for one")
    parser.add_argument("--images", type=int, default=56, help="photographs of workplace/val (default: %(default)s)")


def run(options: argparse.Namespace) -> int:
    """Check the contracts; 1 where a criterion is not met."""
    predictor = Predictor("workplace.onnx")
    samples, criteria = _samples(predictor, options.images), list(CRITERIA)
    figures: dict[str, Any] = {}
    with _client(options) as client:
        figures["health_contract"] = float(_is(client.get("/health"), {"status": "model_loaded"}))
        figures |= _detections(client, samples, predictor)
        figures["inference_contract"] = float(_masks_are_as_agreed(client, samples[0].image))
        figures |= _round_trip(client, _jpeg(samples[0].image), predictor)
    with serving("--no-shipped-models") as served, served.client() as client:
        answer = client.post("/predict", files={"file": ("photo.jpg", _jpeg(samples[0].image), "image/jpeg")})
        figures["without_weights_400"] = float(answer.status_code == 400)
    if "recall_iou_50" in figures:
        criteria.append(RECALL)
    summary = checked(figures, criteria)
    report(options, summary, options.output / "summary.json", criteria_table({"": summary["bars"]}))
    return 0 if summary["met"] else 1


@contextlib.contextmanager
def _client(options: argparse.Namespace) -> Iterator[httpx.Client]:
    if options.url is None:
        with serving() as served, served.client() as client:
            yield client
        return
    headers = {"Authorization": f"Bearer {options.token}"} if options.token else {}
    with httpx.Client(base_url=options.url, headers=headers, timeout=60.0) as client:
        try:
            client.get("/healthz")
        except httpx.HTTPError as error:
            raise ObjectPoseError(f"{options.url} does not answer: {error}", "start 'object-pose serve'") from error
        yield client


def _samples(predictor: Predictor, count: int) -> list[Sample]:
    """Return photographs with their boxes; where there are none, one image of noise without."""
    try:
        return list(read_samples("detect", find_data("workplace/val"), predictor.card))[:count]
    except DataError as error:
        print(f"recall is not measured: {error}", file=sys.stderr)
        noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        return [Sample("noise", cv2.resize(noise, (640, 640), interpolation=cv2.INTER_CUBIC), None)]


def _is(answer: httpx.Response, expected: Any) -> bool:
    return answer.status_code == 200 and answer.json() == expected


def _detections(client: httpx.Client, samples: Sequence[Sample], predictor: Predictor) -> dict[str, float]:
    """Return whether answers are as agreed and those of the predictor, and their recall at IoU 0.5."""
    results, agreed = [], True
    for sample in progress(samples, "predict", unit="image"):
        jpeg = _jpeg(sample.image)
        answer = client.post("/predict", files={"file": (f"{sample.name}.jpg", jpeg, "image/jpeg")})
        results.append(_parsed(answer))
        expected = predictor.predict(decode_rgb(jpeg, sample.name))
        agreed = agreed and np.allclose(results[-1].boxes_xyxy, expected.boxes_xyxy, atol=0.01)
    figures = {"predict_contract": float(agreed)}
    truths = [sample.truth for sample in samples]
    if all(truth is not None for truth in truths):
        found = [rank_boxes(results, truths, index)[0] for index in range(len(predictor.card.labels))]
        correct, positives = sum(int(item.correct.sum()) for item in found), sum(item.positives for item in found)
        figures["recall_iou_50"] = correct / positives
    return figures


def _parsed(answer: httpx.Response) -> Detections:
    """Return detections from exactly the agreed fields; raises ``ObjectPoseError`` for others."""
    try:
        answer.raise_for_status()
        items = answer.json()["detections"]
        boxes = np.array([[item["bbox"][key] for key in _CORNERS] for item in items]).reshape(-1, 4)
        class_ids = np.array([item["cls_id"] for item in items], dtype=np.int64)
    except (httpx.HTTPError, KeyError, TypeError, ValueError) as error:
        raise ObjectPoseError(f"/predict answered {answer.status_code}: {answer.text[:200]}", str(error)) from error
    count = len(items)
    return Detections(boxes, np.ones(count), class_ids, np.zeros((count, 0, 2)), np.zeros((count, 0)))


def _masks_are_as_agreed(client: httpx.Client, image: NDArray[np.generic]) -> bool:
    tile = image[:256, :256]
    mask = client.post("/inference", json={"image": tile.tolist()}).raise_for_status().json()["prediction"]
    values = np.array(mask)
    return values.shape == tile.shape[:2] and set(np.unique(values)) <= {0, 1}


def _round_trip(client: httpx.Client, jpeg: bytes, predictor: Predictor) -> dict[str, float]:
    """Return the median times of a JPEG to boxes, over HTTP and of the predictor alone, in turns."""
    image = decode_rgb(jpeg, "image")
    times: dict[str, list[float]] = {"round_trip_ms": [], "inference_ms": []}
    work: dict[str, Callable[[], object]] = {
        "round_trip_ms": lambda: client.post("/predict", files={"file": ("a.jpg", jpeg)}).raise_for_status(),
        "inference_ms": lambda: predictor.predict(image),
    }
    for index in range(_ROUND_TRIPS + 1):
        for name, call in work.items():
            start = time.perf_counter()
            call()
            if index:  # the first time, caches are cold
                times[name].append(1e3 * (time.perf_counter() - start))
    figures = {name: median(values) for name, values in times.items()}
    return figures | {"round_trip_ratio": figures["round_trip_ms"] / figures["inference_ms"]}


def _jpeg(image: NDArray[np.generic]) -> bytes:
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 95])[1])


BENCHMARK = Benchmark("api_test", str(__doc__), add_options, run, OUTPUT)

if __name__ == "__main__":
    sys.exit(BENCHMARK.main())
