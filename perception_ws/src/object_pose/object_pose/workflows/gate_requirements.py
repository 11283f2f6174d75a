"""What a candidate has to reach beside the champion before it is promoted, each requirement with what was found.

The difference of their quality has a confidence interval by the paired bootstrap (Efron and Tibshirani, "An
introduction to the bootstrap", 1993): samples are drawn again with both answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.metrics.pose import FrameMatches, PoseMatch, score_frames
from object_pose.core.params import parameter
from object_pose.runtime.card import ModelCard

_SEED = 0
_GREATEST_DIFFERENCE = 1e-3  # of torch and ONNX, relative to an output's range
_SAME_GEOMETRY_M = 1e-6
_SAME_ERROR_MM, _SAME_ERROR_DEG = 0.2, 0.2  # that a median error may grow by whatever its ratio


@dataclass(frozen=True)
class GateConfig:
    """What a candidate has to reach beside the champion."""

    confidence: float = parameter(0.95, "of the interval of the difference in quality", minimum=0.5, maximum=0.999)
    resamples: int = parameter(2000, "resamples of the bootstrap", minimum=100, maximum=100_000)
    max_loss: float = parameter(
        0.02, "mean quality that a candidate may lose, however sure that is", minimum=0.0, maximum=1.0
    )
    min_samples: int = parameter(20, "samples below which nothing is promoted", minimum=2, maximum=1_000_000)
    max_latency_ratio: float = parameter(
        1.25, "the candidate's median time over the champion's, in one run", minimum=0.1, maximum=100.0
    )
    min_quality: float = parameter(0.0, "least mean quality of a first champion", minimum=0.0, maximum=1.0)
    max_recall_loss: float = parameter(0.02, "of poses: recall that a candidate may lose", minimum=0.0, maximum=1.0)
    max_error_ratio: float = parameter(
        1.25,
        "of poses: the candidate's median errors over the champion's, of the objects that both find",
        minimum=1.0,
        maximum=100.0,
    )


@dataclass(frozen=True)
class GateCheck:
    """One requirement and whether it is met; ``is_met`` is None where it could not be looked at."""

    name: str
    is_met: bool | None
    text: str


@dataclass(frozen=True)
class Interval:
    """A mean difference with its confidence interval."""

    mean: float
    low: float
    high: float


def paired_bootstrap(differences: Array, confidence: float, resamples: int) -> Interval:
    """Return the mean of paired differences (N,) with its percentile interval over resampled pairs."""
    rng = np.random.default_rng(_SEED)
    count = len(differences)
    # Counts of each pair in a resample: the same as drawing indices, without an array of resamples x N of them.
    means = np.concatenate(
        [
            rng.multinomial(count, np.full(count, 1.0 / count), size=min(200, resamples - start)) @ differences / count
            for start in range(0, resamples, 200)
        ]
    )
    low, high = np.quantile(means, [0.5 * (1.0 - confidence), 0.5 * (1.0 + confidence)])
    return Interval(float(differences.mean()), float(low), float(high))


def same_interface(candidate: ModelCard, champion: ModelCard) -> GateCheck:
    """Check that users of the champion find the same classes, in their order, and the same objects."""
    name = "classes and geometry"
    if candidate.task != champion.task:
        return GateCheck(name, False, f"the task is {candidate.task}, the champion's {champion.task}")
    if candidate.labels != champion.labels:
        return GateCheck(
            name, False, f"the classes are {', '.join(candidate.labels)}, not {', '.join(champion.labels)}"
        )
    if len(candidate.objects) != len(champion.objects):
        return GateCheck(name, False, f"{len(candidate.objects)} objects have geometry, {len(champion.objects)} before")
    for ours, theirs in zip(candidate.objects, champion.objects):
        if abs(ours.diameter - theirs.diameter) > _SAME_GEOMETRY_M or not np.allclose(
            ours.box_size, theirs.box_size, atol=_SAME_GEOMETRY_M
        ):
            return GateCheck(name, False, f"the object '{ours.name}' has another size")
        if not np.allclose(ours.box_center, theirs.box_center, atol=_SAME_GEOMETRY_M):
            return GateCheck(name, False, f"the object '{ours.name}' has another origin")
    return GateCheck(name, True, f"{len(candidate.labels)} classes, the same as the champion's")


def enough_samples(count: int, config: GateConfig) -> GateCheck:
    """Check that the test set is large enough to decide by."""
    return GateCheck("samples", count >= config.min_samples, f"{count}, at least {config.min_samples}")


def parity(candidate: Path, run_dir: Path | None) -> GateCheck:
    """Check that the exported model gives what its weights in ``run_dir`` give; None where they are not here."""
    name = "torch and ONNX agree"
    if run_dir is None:
        return GateCheck(name, None, "the weights are not here")
    from object_pose.workflows.export import difference_from_run  # only here: it needs torch

    difference = difference_from_run(run_dir, candidate)
    return GateCheck(name, difference < _GREATEST_DIFFERENCE, f"they differ by {difference:.1e} of the output's range")


def not_worse(difference: Interval, config: GateConfig) -> GateCheck:
    """Check the candidate's quality less the champion's."""
    is_met = difference.high >= 0.0 and difference.mean >= -config.max_loss
    interval = (
        f"{difference.mean:+.4f} ({100 * config.confidence:g} %: {difference.low:+.4f} to {difference.high:+.4f})"
    )
    return GateCheck(
        "not worse",
        is_met,
        f"difference in quality {interval}; its interval has to reach 0, and its mean {0.0 - config.max_loss:g}",
    )


def recall_kept(candidate: Sequence[FrameMatches], champion: Sequence[FrameMatches], config: GateConfig) -> GateCheck:
    """Check that the candidate finds as many objects of the same frames; the text names the recall of each class."""
    ours, theirs = score_frames(candidate), score_frames(champion)
    if not theirs.targets:
        return GateCheck("recall", None, "no object is to be found")
    pairs = {"all": (ours.recall_add_01d, theirs.recall_add_01d)}
    pairs |= {name: (ours.recall_per_class[name], recall) for name, recall in theirs.recall_per_class.items()}
    each = ", ".join(f"{name} {own:.3f} ({other:.3f})" for name, (own, other) in pairs.items())
    is_met = ours.recall_add_01d >= theirs.recall_add_01d - config.max_recall_loss - 1e-9
    text = f"{each}, in brackets the champion's, of which {config.max_recall_loss:g} of all may be lost"
    return GateCheck("recall", is_met, text)


def as_accurate(candidate: Sequence[FrameMatches], champion: Sequence[FrameMatches], config: GateConfig) -> GateCheck:
    """Check the median errors in position and rotation of the objects that both models find in the same frames."""
    both = [
        (ours, theirs)
        for one, other in zip(candidate, champion, strict=True)
        for ours in one.matches
        for theirs in other.matches
        if ours.truth is theirs.truth and ours.is_correct and theirs.is_correct
    ]
    if not both:
        return GateCheck("accuracy", None, "no object is found by both")
    (mm, deg), (their_mm, their_deg) = (_median_errors(matches) for matches in zip(*both))
    ratio = config.max_error_ratio
    is_met = mm <= ratio * their_mm + _SAME_ERROR_MM and deg <= ratio * their_deg + _SAME_ERROR_DEG
    text = (
        f"{mm:.2f} mm and {deg:.2f} degrees, the champion {their_mm:.2f} and {their_deg:.2f}; at most {ratio:g} times "
        f"as much and {_SAME_ERROR_MM:g} mm, {_SAME_ERROR_DEG:g} degrees"
    )
    return GateCheck("accuracy", is_met, text)


def _median_errors(matches: Sequence[PoseMatch]) -> tuple[float, float]:
    """Return the median errors in millimetres and degrees."""
    mm = 1e3 * np.median([match.translation_error_m for match in matches])
    return float(mm), float(np.degrees(np.median([match.rotation_error_rad for match in matches])))


def fast_enough(candidate_ms: Sequence[float], champion_ms: Sequence[float], config: GateConfig) -> GateCheck:
    """Check the median time of a sample; both models answered the same samples in one run."""
    candidate, champion = float(np.median(candidate_ms)), float(np.median(champion_ms))
    text = f"{candidate:.1f} ms, the champion {champion:.1f} ms, at most {config.max_latency_ratio:g} times as long"
    return GateCheck("latency", candidate <= config.max_latency_ratio * champion, text)


def good_enough(quality: float, config: GateConfig) -> GateCheck:
    """Check the mean quality of a first champion, which there is nothing to compare with."""
    return GateCheck(
        "first champion", quality >= config.min_quality, f"quality {quality:.4f}, at least {config.min_quality:g}"
    )
