"""The RoI head: each candidate's crop to its class, its score, its keypoints and its visible mask.

It reads colour and, where there is depth, the relief about the object. The network travels inside the detector's model
file, so that one file is one model.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, Image
from object_pose.core.errors import ModelError
from object_pose.core.frame import AlignedDepth
from object_pose.core.results.detections import Detections, VisibleMasks
from object_pose.core.vision.boxes import box_iou, suppress
from object_pose.core.vision.decoders import DecodeOptions
from object_pose.core.vision.roi import COLOR_CHANNELS, RELIEF_CHANNELS, RoiWindow, cut_batch
from object_pose.runtime.card import ModelCard
from object_pose.runtime.engine import Engine, EngineConfig, Stage, load_embedded_engine, load_stage

ROI_HEAD_KEY = "object_pose.crop_head"
# Of its further stages, in the metadata of its first.
STAGE_KEYS = KEYPOINTS_KEY, MASKS_KEY = "object_pose.roi_keypoints", "object_pose.roi_masks"
# One network: probabilities (N, C + 1), the last of none; keypoints (N, C, H, K, 3): x, y, sigma; weights (N, C, H) of
# hypotheses; visible masks (N, M, M), whatever the class.
LAYOUT = "crop_masks"
# In stages: probabilities, weights and cells (N, F, P, P); of cells and classes (N,) keypoints (N, H, K, 3) and mixed
# cells (N, F, P, P); of these the masks. Only likely classes cost keypoints, and masks nothing unless they are wanted.
STAGED_LAYOUT = "roi_stages"
Indices = NDArray[np.int64]

_CHANNELS = COLOR_CHANNELS + RELIEF_CHANNELS
_MOST_BYTES = 256 << 20  # of an unpacked network: ours have 5 MB
_LIKELY = 0.1  # the least probability of another class than the best one: depth may tell them apart
_KNOWN_OVERLAP = 0.6  # of a candidate's box with that of a tracked object, from which on it shows this object
_SAME_WINDOW = 0.85  # of two candidates' boxes: from this overlap on their windows show the same
_WIDE = 1.4  # a box may show only a part of its object
_MOST_CANDIDATES = 48  # bounds the time that a cluttered picture can take


@dataclass(frozen=True)
class Stages:
    """The further networks of a head in stages."""

    keypoints: Stage
    masks: Stage


class RoiHead:
    """Refines a detector's candidates, each in its region; ``engine`` takes any number of regions at a time.

    Without ``stages`` it is one network for all, which older model files carry.
    """

    def __init__(self, engine: Engine, stages: Stages | None = None) -> None:
        self._engine, self._stages = engine, stages
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
        # A score is the geometric mean of two probabilities, so less than its square is never enough.
        chosen = chosen.select(chosen.scores >= options.score_threshold**2)
        if not options.context_crop:
            chosen = _one_of_each_window(chosen)
        if not len(chosen):
            return chosen
        windows = [RoiWindow.around(box, self._size) for box in chosen.boxes_xyxy]
        described = [self._describe(rgb, depth, windows)]
        if options.context_crop:
            described.append(self._describe(rgb, depth, [window.widened(_WIDE) for window in windows]))
        probabilities = np.mean([item.probabilities for item in described], axis=0)
        likely = _likely_objects(chosen, probabilities, options)
        if not len(likely.rows):
            return chosen.select(likely.rows)
        found = Detections.join([self._detections(chosen, likely, item, options) for item in described])
        return found.select(np.argsort(-found.scores, kind="stable"))

    def _describe(self, rgb: Image, depth: AlignedDepth | None, windows: Sequence[RoiWindow]) -> _Description:
        batch = cut_batch(rgb, depth, windows)
        places = np.array([[*window.center, window.side] for window in windows])
        if self._stages:
            probabilities, weights, cells = self._engine.run(batch)
            return _Description(places, probabilities, weights, cells)
        probabilities, keypoints, weights, masks = self._engine.run(batch)
        return _Description(places, probabilities, weights, keypoints, masks)

    def _detections(
        self, chosen: Detections, likely: _Likely, described: _Description, options: DecodeOptions
    ) -> Detections:
        """Return the likely objects with their keypoints, and further ones where these are not sure."""
        rows, class_ids = likely.rows, likely.class_ids
        windows, weights = described.windows[rows], described.weights[rows, class_ids]
        keypoints, masks = self._keypoints(described, rows, class_ids, options.visible_masks)
        hypothesis_rows, hypotheses = _likely_hypotheses(weights, options.hypothesis_threshold)
        # Without depth the weights help to choose; the likeliest hypothesis keeps its score.
        likeness = weights[hypothesis_rows, hypotheses] / weights.max(axis=1)[hypothesis_rows]
        middles, sides = windows[hypothesis_rows, :2], windows[hypothesis_rows, 2]
        found = keypoints[hypothesis_rows, hypotheses].astype(np.float64)
        return Detections(
            chosen.boxes_xyxy[rows][hypothesis_rows],
            likely.scores[hypothesis_rows] * np.sqrt(likeness),
            class_ids[hypothesis_rows],
            found[..., :2] * sides[:, None, None] + middles[:, None],
            found[..., 2] * sides[:, None],
            rows[hypothesis_rows],
            VisibleMasks(masks, windows).select(hypothesis_rows),
        )

    def _keypoints(
        self, described: _Description, rows: Indices, class_ids: Indices, wants_masks: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return keypoints (R, H, K, 3), in window units, and masks (R, M, M) of windows and a class of each."""
        unknown = np.zeros((len(rows), 0, 0), dtype=np.float32)
        if self._stages is None:
            return described.seen[rows, class_ids], described.masks[rows] if wants_masks else unknown
        keypoints, mixed = self._stages.keypoints.run(described.seen[rows], class_ids)
        return keypoints, self._stages.masks.run(mixed)[0] if wants_masks else unknown


def _one_of_each_window(candidates: Detections) -> Detections:
    """Return the best of candidates whose windows show the same: the head finds the class itself.

    A thorough search keeps all of them, as a window that lies a little differently is another opinion.
    """
    of_one_class = np.zeros(len(candidates), dtype=np.int64)
    kept, _ = suppress(candidates.boxes_xyxy, candidates.scores, of_one_class, _SAME_WINDOW, len(candidates))
    return candidates.select(kept)


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
class _Description:
    """What N windows show, each at (x, y, side) of ``windows`` (N, 3) in the image.

    ``probabilities`` (N, C + 1), the last of none, ``weights`` (N, C, H) of hypotheses. ``seen`` is what keypoints
    follow from: cells (N, F, P, P), or in one network all keypoints (N, C, H, K, 3) beside the ``masks`` (N, M, M).
    """

    windows: Array
    probabilities: NDArray[np.float32]
    weights: NDArray[np.float32]
    seen: NDArray[np.float32]
    masks: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0, 0), dtype=np.float32))


@dataclass(frozen=True)
class _Likely:
    """Objects that windows may show: their ``rows`` among the windows, ``class_ids`` and ``scores`` (R,)."""

    rows: Indices
    class_ids: Indices
    scores: Array


def _likely_objects(chosen: Detections, probabilities: NDArray[np.float32], options: DecodeOptions) -> _Likely:
    rows, class_ids = _likely_classes(probabilities[:, :-1])
    scores = np.sqrt(chosen.scores[rows] * probabilities[rows, class_ids])
    good = scores >= options.score_threshold
    rows, class_ids, scores = rows[good], class_ids[good], scores[good]
    # Two candidates of different classes may have become one class.
    kept, _ = suppress(chosen.boxes_xyxy[rows], scores, class_ids, options.iou_threshold, options.max_detections)
    return _Likely(rows[kept], class_ids[kept], scores[kept])


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


def packed(key: str, network: bytes) -> dict[str, str]:
    """Return the metadata that put a head's ONNX file into its detector's, or a stage's into the head's."""
    return {key: base64.b64encode(zlib.compress(network, level=9)).decode("ascii")}


def unpacked(text: str) -> bytes:
    """Return the ONNX file in what ``packed`` made; raises ``ModelError`` where it is damaged or too large."""
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
    engine = load_embedded_engine(path, unpacked(metadata[ROI_HEAD_KEY]), config)
    inside = ModelCard.from_metadata(engine.metadata)
    if inside.layout not in (LAYOUT, STAGED_LAYOUT) or engine.input_shape[1] != _CHANNELS:
        problem = f"its RoI head has the layout '{inside.layout}' and reads {engine.input_shape[1]} channels"
        raise ModelError(f"{problem}, expected '{STAGED_LAYOUT}' and {_CHANNELS}", "export the model again")
    stages = _load_stages(path, engine, config) if inside.layout == STAGED_LAYOUT else None
    shapes = engine.output_shapes + (_stage_shapes(engine, stages) if stages else ())
    if inside.labels != card.labels or shapes != _expected_shapes(shapes, card, stages is not None):
        raise ModelError(
            f"its RoI head knows {list(inside.labels)} with outputs {shapes}, "
            f"the detector {list(card.labels)} with {card.keypoint_count} keypoints",
            "export both from runs on the same objects",
        )
    return RoiHead(engine, stages)


def _load_stages(path: Path, engine: Engine, config: EngineConfig) -> Stages:
    missing = [key for key in STAGE_KEYS if key not in engine.metadata]
    if missing:
        raise ModelError(f"its RoI head lacks the stage '{missing[0]}'", "export the model again")
    return Stages(*(load_stage(path, unpacked(engine.metadata[key]), config) for key in STAGE_KEYS))


def _stage_shapes(engine: Engine, stages: Stages) -> tuple[tuple[int, ...], ...]:
    """Run the stages once on zeros and return the shapes of keypoints, mixed cells and masks."""
    cells = np.zeros(engine.output_shapes[-1], dtype=np.float32)
    keypoints, mixed = stages.keypoints.run(cells, np.zeros(1, dtype=np.int64))
    return keypoints.shape, mixed.shape, stages.masks.run(mixed)[0].shape


def _expected_shapes(
    shapes: Sequence[tuple[int, ...]], card: ModelCard, in_stages: bool
) -> tuple[tuple[int, ...], ...]:
    """Return the shapes that a head's outputs should have; sizes that the card leaves open as they are."""
    classes, keypoints, cells = len(card.labels), card.keypoint_count, shapes[-1][-1]
    if in_stages:
        hypotheses, mixed = shapes[1][-1], shapes[2]
        of_stages = (1, hypotheses, keypoints, 3), mixed, (1, cells, cells)
        return (1, classes + 1), (1, classes, hypotheses), mixed, *of_stages
    hypotheses = shapes[2][-1] if len(shapes) > 2 else 0
    return (1, classes + 1), (1, classes, hypotheses, keypoints, 3), (1, classes, hypotheses), (1, cells, cells)
