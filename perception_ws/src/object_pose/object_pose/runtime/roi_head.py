"""The detector's second look: each candidate's window to its class, its score and its keypoints.

It reads colour and, where there is depth, the relief about the object; older heads read colour alone. The network
travels inside the detector's model file, so that one file is one model.
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
from object_pose.core.vision.boxes import suppress
from object_pose.core.vision.decoders import DecodeOptions
from object_pose.core.vision.roi import COLOR_CHANNELS, RELIEF_CHANNELS, RoiWindow, normalised_batch
from object_pose.runtime.card import ModelCard
from object_pose.runtime.engine import Engine, EngineConfig, load_embedded_engine

ROI_HEAD_KEY = "object_pose.crop_head"
# Probabilities (N, C + 1), the last of none; keypoints (N, C, H, K, 3): x, y, sigma; shares (N, C, H) of hypotheses;
# masks (N, M, M) of what is seen of the object, whatever its class.
LAYOUT = "crop_masks"
_NO_MASKS = "crop_hypotheses"  # older heads
_ONE_HYPOTHESIS = "crop_keypoints"  # still older ones: no H, no shares, no masks
_COMPRESSED = b"\x78"  # how zlib begins, and ONNX does not
_LIKELY = 0.1  # the least probability of another class than the best one: depth may tell them apart
_WIDE = 1.4  # a box may show only a part of its object
_MOST_CANDIDATES = 48  # bounds the time that a cluttered picture can take


class RoiHead:
    """Classifies windows and finds their keypoints; ``engine`` takes any number of windows at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        _, channels, self._size, _ = engine.input_shape
        self.reads_relief = channels > COLOR_CHANNELS

    def refine(
        self, rgb: Image, candidates: Detections, options: DecodeOptions, depth: AlignedDepth | None = None
    ) -> Detections:
        """Return the candidates that the second look confirms, with its classes and keypoints, best first.

        A score becomes the geometric mean of the detector's and this head's, less for a less likely hypothesis. Likely
        classes, hypotheses that reach ``options.alternative_share``, and those of the wider window that
        ``options.context_crop`` asks for are hypotheses of one candidate: depth decides which is right.
        """
        chosen = candidates.select(np.argsort(-candidates.scores, kind="stable")[:_MOST_CANDIDATES])
        if not len(chosen):
            return chosen
        windows = [RoiWindow.around(box, self._size) for box in chosen.boxes_xyxy]
        looks = [self._look(rgb, depth, windows)]
        if options.context_crop and self.reads_relief:  # older heads have not learned from wide windows
            looks.append(self._look(rgb, depth, [window.widened(_WIDE) for window in windows]))
        probabilities = np.mean([look.probabilities for look in looks], axis=0)
        found = Detections.join([_as_detections(chosen, probabilities, look, options) for look in looks])
        return found.select(np.argsort(-found.scores, kind="stable"))

    def _look(self, rgb: Image, depth: AlignedDepth | None, windows: Sequence[RoiWindow]) -> _Look:
        reliefs = [window.cut_relief(depth) for window in windows] if self.reads_relief else []
        batch = normalised_batch([window.cut(rgb) for window in windows], reliefs)
        probabilities, keypoints, *others = self._engine.run(batch)
        if not others:
            keypoints, others = keypoints[:, :, None], [np.ones((*keypoints.shape[:2], 1), np.float32)]
        shares, *masks = others
        places = [window.to_image(own[..., :2].astype(np.float64)) for window, own in zip(windows, keypoints)]
        sides = np.array([window.side for window in windows])
        sigmas = keypoints[..., 2] * sides[:, None, None, None]
        seen = VisibleMasks.unknown(len(windows))
        if masks:
            seen = VisibleMasks(masks[0], np.array([[*window.center, window.side] for window in windows]))
        return _Look(probabilities, np.stack(places), sigmas, shares, seen)


@dataclass(frozen=True)
class _Look:
    """What N windows show, in image pixels.

    ``probabilities`` (N, C + 1), the last of none, ``keypoints`` (N, C, H, K, 2) of H hypotheses, their ``sigmas``
    (N, C, H, K), ``shares`` (N, C, H) and N ``masks``.
    """

    probabilities: NDArray[np.float32]
    keypoints: Array
    sigmas: Array
    shares: NDArray[np.float32]
    masks: VisibleMasks


def _as_detections(
    chosen: Detections, probabilities: NDArray[np.float32], look: _Look, options: DecodeOptions
) -> Detections:
    rows, class_ids = _likely_classes(probabilities[:, :-1])
    scores = np.sqrt(chosen.scores[rows] * probabilities[rows, class_ids])
    good = scores >= options.score_threshold
    rows, class_ids, scores = rows[good], class_ids[good], scores[good]
    # Two candidates of different classes may have become one class.
    kept, _ = suppress(chosen.boxes_xyxy[rows], scores, class_ids, options.iou_threshold, options.max_detections)
    rows, class_ids, scores = rows[kept], class_ids[kept], scores[kept]
    shares = look.shares[rows, class_ids]
    places, hypotheses = _likely_hypotheses(shares, options.alternative_share)
    # Without depth the shares help to choose; the likeliest hypothesis keeps its score.
    likeness = shares[places, hypotheses] / shares.max(axis=1)[places]
    rows, class_ids = rows[places], class_ids[places]
    return Detections(
        chosen.boxes_xyxy[rows],
        scores[places] * np.sqrt(likeness),
        class_ids,
        look.keypoints[rows, class_ids, hypotheses],
        look.sigmas[rows, class_ids, hypotheses],
        rows,
        look.masks.select(rows),
    )


def _likely_classes(probabilities: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows and classes of (N, C) probabilities that are worth a pose: the best, and others near it."""
    likely = probabilities >= _LIKELY
    likely[np.arange(len(probabilities)), probabilities.argmax(axis=1)] = True
    rows, class_ids = np.nonzero(likely)
    return rows, class_ids


def _likely_hypotheses(shares: NDArray[np.float32], least: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows and hypotheses of (N, H) shares that are the best of their row or have the ``least`` share."""
    best_first = np.argsort(-shares, axis=1, kind="stable")
    likely = np.take_along_axis(shares, best_first, axis=1) >= least
    likely[:, 0] = True
    rows, ranks = np.nonzero(likely)
    return rows, best_first[rows, ranks]


def packed_head(network: bytes) -> dict[str, str]:
    """Return the metadata that put the head's ONNX file into its detector's."""
    return {ROI_HEAD_KEY: base64.b64encode(zlib.compress(network, level=9)).decode("ascii")}


def unpacked_head(text: str) -> bytes:
    """Return the ONNX file in what ``packed_head`` made, or older exports, which did not compress.

    Raises ``ModelError`` where it is damaged.
    """
    try:
        data = base64.b64decode(text, validate=True)
        return zlib.decompress(data) if data.startswith(_COMPRESSED) else data
    except (binascii.Error, zlib.error) as error:
        raise ModelError("its crop-level head is damaged", "export the model again") from error


def load_roi_head(path: Path, metadata: Mapping[str, str], card: ModelCard, config: EngineConfig) -> RoiHead | None:
    """Open the head inside a model file, or return None; raises ``ModelError`` where it does not fit the card."""
    if ROI_HEAD_KEY not in metadata:
        return None
    engine = load_embedded_engine(path, unpacked_head(metadata[ROI_HEAD_KEY]), config)
    inside = ModelCard.from_metadata(engine.metadata)
    classes, of_each = (1, len(card.labels) + 1), (1, len(card.labels))
    if inside.layout == _ONE_HYPOTHESIS:
        expected: tuple[tuple[int, ...], ...] = (classes, (*of_each, card.keypoint_count, 3))
    else:
        hypotheses = engine.output_shapes[2][-1] if len(engine.output_shapes) > 2 else 0
        expected = (classes, (*of_each, hypotheses, card.keypoint_count, 3), (*of_each, hypotheses))
        if inside.layout == LAYOUT:
            cells = engine.output_shapes[-1][-1]
            expected = (*expected, (1, cells, cells))
    channels = engine.input_shape[1]
    if channels not in (COLOR_CHANNELS, COLOR_CHANNELS + RELIEF_CHANNELS):
        raise ModelError(f"its crop-level head reads {channels} channels", "export the model again")
    if (
        inside.layout not in (LAYOUT, _NO_MASKS, _ONE_HYPOTHESIS)
        or inside.labels != card.labels
        or engine.output_shapes != expected
    ):
        raise ModelError(
            f"its crop-level head knows {list(inside.labels)} with outputs {engine.output_shapes}, "
            f"the detector {list(card.labels)} with {card.keypoint_count} keypoints",
            "export both from runs on the same objects",
        )
    return RoiHead(engine)
