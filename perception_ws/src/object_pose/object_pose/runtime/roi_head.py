"""The RoI head: each candidate's crop to its class, its score, its keypoints and its visible mask.

It reads colour and, where there is depth, the relief about the object. The network travels inside the detector's model
file, so that one file is one model.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, Image
from object_pose.core.errors import ModelError
from object_pose.core.frame import AlignedDepth
from object_pose.core.results.detections import Detections, VisibleMasks
from object_pose.core.vision.boxes import box_iou, suppress
from object_pose.core.vision.decoders import DecodeOptions
from object_pose.core.vision.roi import COLOR_CHANNELS, RELIEF_CHANNELS, RoiWindow, normalised_batch
from object_pose.runtime.card import ModelCard
from object_pose.runtime.engine import Engine, EngineConfig, load_embedded_engine

ROI_HEAD_KEY = "object_pose.crop_head"
# Probabilities (N, C + 1), the last of none; keypoints (N, C, H, K, 3): x, y, sigma; weights (N, C, H) of hypotheses;
# visible masks (N, M, M), whatever the class.
LAYOUT = "crop_masks"
_CHANNELS = COLOR_CHANNELS + RELIEF_CHANNELS
_MOST_BYTES = 256 << 20  # of an unpacked network: ours have 5 MB
_LIKELY = 0.1  # the least probability of another class than the best one: depth may tell them apart
_KNOWN_OVERLAP = 0.6  # of a candidate's box with that of a tracked object, from which on it shows this object
_WIDE = 1.4  # a box may show only a part of its object
_MOST_CANDIDATES = 48  # bounds the time that a cluttered picture can take


class RoiHead:
    """Refines a detector's candidates, each in its region; ``engine`` takes any number of regions at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._size = engine.input_shape[2]

    def refine(
        self,
        rgb: Image,
        candidates: Detections,
        options: DecodeOptions,
        depth: AlignedDepth | None = None,
        known: KnownBoxes | None = None,
    ) -> Detections:
        """Return the candidates that the head confirms, with its classes and keypoints, best first.

        A score becomes the geometric mean of the detector's and this head's, less for a less likely hypothesis. Likely
        classes, hypotheses that reach ``options.hypothesis_threshold``, and those of the wider crop that
        ``options.context_crop`` asks for are hypotheses of one candidate: depth decides which is right. What shows an
        object of ``known`` is not refined: one detection without keypoints, whose sigmas are infinite, confirms it.
        """
        if known is not None and len(known):
            shown, rest = known.split(candidates, options.score_threshold)
            refined = self.refine(rgb, candidates.select(rest), options, depth)
            return Detections.join([refined, _without_keypoints(candidates.select(shown), refined)])
        chosen = candidates.select(np.argsort(-candidates.scores, kind="stable")[:_MOST_CANDIDATES])
        if not len(chosen):
            return chosen
        windows = [RoiWindow.around(box, self._size) for box in chosen.boxes_xyxy]
        outputs = [self._run(rgb, depth, windows)]
        if options.context_crop:
            outputs.append(self._run(rgb, depth, [window.widened(_WIDE) for window in windows]))
        probabilities = np.mean([output.probabilities for output in outputs], axis=0)
        found = Detections.join([_as_detections(chosen, probabilities, output, options) for output in outputs])
        return found.select(np.argsort(-found.scores, kind="stable"))

    def _run(self, rgb: Image, depth: AlignedDepth | None, windows: Sequence[RoiWindow]) -> _Output:
        reliefs = [window.cut_relief(depth) for window in windows]
        batch = normalised_batch([window.cut(rgb) for window in windows], reliefs)
        probabilities, keypoints, weights, masks = self._engine.run(batch)
        places = [window.to_image(own[..., :2].astype(np.float64)) for window, own in zip(windows, keypoints)]
        sides = np.array([window.side for window in windows])
        sigmas = keypoints[..., 2] * sides[:, None, None, None]
        visible = VisibleMasks(masks, np.array([[*window.center, window.side] for window in windows]))
        return _Output(probabilities, np.stack(places), sigmas, weights, visible)


@dataclass(frozen=True)
class KnownBoxes:
    """Where objects are tracked: boxes (N, 4) in pixels of the image, and their classes (N,)."""

    boxes_xyxy: Array
    class_ids: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.class_ids)

    def split(self, candidates: Detections, min_score: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows of candidates that confirm a known object, and of those that do not show any."""
        overlap = box_iou(candidates.boxes_xyxy, self.boxes_xyxy) >= _KNOWN_OVERLAP
        confirms = overlap & (candidates.class_ids[:, None] == self.class_ids)
        confirms &= (candidates.scores >= min_score)[:, None]
        is_confirmed = confirms.any(axis=0)
        shows = (overlap & is_confirmed).any(axis=1)
        best = np.where(confirms, candidates.scores[:, None], -1.0).argmax(axis=0)[is_confirmed] if len(shows) else []
        return np.unique(np.asarray(best, dtype=np.int64)), np.flatnonzero(~shows)


def _without_keypoints(detections: Detections, others: Detections) -> Detections:
    """Return detections as candidates beside ``others``, of whose keypoints and masks nothing is known."""
    count, cells = len(detections), others.masks.probabilities.shape[1]
    keypoint_count = others.keypoints.shape[1] if len(others) else detections.keypoints.shape[1]
    return Detections(
        detections.boxes_xyxy,
        detections.scores,
        detections.class_ids,
        np.zeros((count, keypoint_count, 2)),
        np.full((count, keypoint_count), np.inf),
        others.candidate_ids.max(initial=-1) + 1 + np.arange(count),
        VisibleMasks(np.zeros((count, cells, cells), dtype=np.float32), np.zeros((count, 3))),
    )


@dataclass(frozen=True)
class _Output:
    """What N crops show, in image pixels.

    ``probabilities`` (N, C + 1), the last of none, ``keypoints`` (N, C, H, K, 2) of H hypotheses, their ``sigmas``
    (N, C, H, K), ``weights`` (N, C, H) and N ``masks``.
    """

    probabilities: NDArray[np.float32]
    keypoints: Array
    sigmas: Array
    weights: NDArray[np.float32]
    masks: VisibleMasks


def _as_detections(
    chosen: Detections, probabilities: NDArray[np.float32], output: _Output, options: DecodeOptions
) -> Detections:
    rows, class_ids = _likely_classes(probabilities[:, :-1])
    scores = np.sqrt(chosen.scores[rows] * probabilities[rows, class_ids])
    good = scores >= options.score_threshold
    rows, class_ids, scores = rows[good], class_ids[good], scores[good]
    # Two candidates of different classes may have become one class.
    kept, _ = suppress(chosen.boxes_xyxy[rows], scores, class_ids, options.iou_threshold, options.max_detections)
    rows, class_ids, scores = rows[kept], class_ids[kept], scores[kept]
    weights = output.weights[rows, class_ids]
    places, hypotheses = _likely_hypotheses(weights, options.hypothesis_threshold)
    # Without depth the weights help to choose; the likeliest hypothesis keeps its score.
    likeness = weights[places, hypotheses] / weights.max(axis=1)[places]
    rows, class_ids = rows[places], class_ids[places]
    return Detections(
        chosen.boxes_xyxy[rows],
        scores[places] * np.sqrt(likeness),
        class_ids,
        output.keypoints[rows, class_ids, hypotheses],
        output.sigmas[rows, class_ids, hypotheses],
        rows,
        output.masks.select(rows),
    )


def _likely_classes(probabilities: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows and classes of (N, C) probabilities that are worth a pose: the best, and others near it."""
    likely = probabilities >= _LIKELY
    likely[np.arange(len(probabilities)), probabilities.argmax(axis=1)] = True
    rows, class_ids = np.nonzero(likely)
    return rows, class_ids


def _likely_hypotheses(weights: NDArray[np.float32], least: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows and hypotheses of (N, H) weights that are the best of their row or have the ``least`` weight."""
    best_first = np.argsort(-weights, axis=1, kind="stable")
    likely = np.take_along_axis(weights, best_first, axis=1) >= least
    likely[:, 0] = True
    rows, ranks = np.nonzero(likely)
    return rows, best_first[rows, ranks]


def packed_head(network: bytes) -> dict[str, str]:
    """Return the metadata that put the head's ONNX file into its detector's."""
    return {ROI_HEAD_KEY: base64.b64encode(zlib.compress(network, level=9)).decode("ascii")}


def unpacked_head(text: str) -> bytes:
    """Return the ONNX file in what ``packed_head`` made; raises ``ModelError`` where it is damaged or too large."""
    unpacking = zlib.decompressobj()
    try:
        data = unpacking.decompress(base64.b64decode(text, validate=True), _MOST_BYTES)
    except (binascii.Error, zlib.error) as error:
        raise ModelError("its RoI head is damaged", "export the model again") from error
    if unpacking.unconsumed_tail:
        raise ModelError(f"its RoI head is larger than {_MOST_BYTES >> 20} MB", "export the model again")
    if not unpacking.eof:
        raise ModelError("its RoI head is damaged", "export the model again")
    return data


def load_roi_head(path: Path, metadata: Mapping[str, str], card: ModelCard, config: EngineConfig) -> RoiHead | None:
    """Open the head inside a model file, or return None; raises ``ModelError`` where it does not fit the card."""
    if ROI_HEAD_KEY not in metadata:
        return None
    engine = load_embedded_engine(path, unpacked_head(metadata[ROI_HEAD_KEY]), config)
    inside = ModelCard.from_metadata(engine.metadata)
    hypotheses = engine.output_shapes[2][-1] if len(engine.output_shapes) > 2 else 0
    cells, classes = engine.output_shapes[-1][-1], len(card.labels)
    expected = (
        (1, classes + 1),
        (1, classes, hypotheses, card.keypoint_count, 3),
        (1, classes, hypotheses),
        (1, cells, cells),
    )
    if inside.layout != LAYOUT or engine.input_shape[1] != _CHANNELS:
        problem = f"its RoI head has the layout '{inside.layout}' and reads {engine.input_shape[1]} channels"
        raise ModelError(f"{problem}, expected '{LAYOUT}' and {_CHANNELS}", "export the model again")
    if inside.labels != card.labels or engine.output_shapes != expected:
        raise ModelError(
            f"its RoI head knows {list(inside.labels)} with outputs {engine.output_shapes}, "
            f"the detector {list(card.labels)} with {card.keypoint_count} keypoints",
            "export both from runs on the same objects",
        )
    return RoiHead(engine)
