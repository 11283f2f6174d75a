"""Labelled images that simulations draw from a seed, for every task that has a simulation."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from object_pose.core.errors import ConfigError
from object_pose.evaluation.pose_runner import LabelledFrame
from object_pose.evaluation.samples import TEST_COUNTS, TEST_SEED, Sample, Samples, class_ids_of, true_box
from object_pose.runtime.card import ModelCard
from object_pose.simulation.generators import inspection
from object_pose.simulation.generators.aerial import tile as aerial
from object_pose.simulation.generators.spaceship import spaceship_sample
from object_pose.simulation.parts.objects import PARTS, load_objects
from object_pose.simulation.scenes.scene import MAX_DEPTH_SCALE_ERROR, TEST_SCENES, FrameStream, SceneConfig
from object_pose.tasks.pose import PoseTruth


def rendered_samples(task: str, count: int, seed: int, card: ModelCard) -> Samples:
    """Yield ``count`` samples that a simulation draws; equal seeds give equal samples.

    Raises ``ConfigError`` for a task without a simulation.
    """
    if task not in _RENDERERS:
        raise ConfigError(f"nothing renders samples of the task {task}", "use --data FOLDER")
    return _RENDERERS[task](count, seed, card)


def test_samples(task: str, card: ModelCard) -> Samples:
    """Yield a task's simulated test split; raises ``ConfigError`` for a task without a simulation."""
    return rendered_samples(task, TEST_COUNTS.get(task, 0), TEST_SEED, card)


def rendered_frames(
    objects: str,
    count: int,
    seed: int,
    config: SceneConfig | None = None,
    with_depth: bool = True,
    depth_scale_error: float = MAX_DEPTH_SCALE_ERROR,
) -> Iterator[LabelledFrame]:
    """Render ``count`` labelled frames, with simulated depth where wanted, of a scale wrong by up to its error."""
    stream = FrameStream(
        load_objects(objects), config, depth=with_depth, seed=seed, depth_scale_error=depth_scale_error
    )
    for index, simulated in zip(range(count), stream):
        yield LabelledFrame(0, index, simulated.frame, simulated.truths)


def _render_poses(count: int, seed: int, card: ModelCard) -> Samples:
    for item in rendered_frames(PARTS, count, seed, TEST_SCENES):
        truth = PoseTruth(item.truths, card.objects, item.frame.camera, item.frame.depth_m)
        yield Sample(f"{item.image_id:06d}", item.frame.rgb, truth, item.frame.aligned_depth)


def _render_spaceships(count: int, seed: int, card: ModelCard) -> Samples:
    for index in range(count):
        image, label = spaceship_sample(seed + index)
        yield Sample(f"{seed + index}", image, true_box(label))


def _render_inspections(count: int, seed: int, card: ModelCard) -> Samples:
    class_ids = class_ids_of(inspection.LABELS, card, set(range(len(inspection.LABELS))))
    for index in range(count):
        image, class_id = inspection.inspection_sample(seed + index)
        yield Sample(f"{seed + index}", image, int(class_ids[class_id]))


def _render_tiles(count: int, seed: int, card: ModelCard) -> Samples:
    for index in range(count):
        image, mask = aerial.sample(seed + index)
        yield Sample(f"{seed + index}", image, mask > 0)


_RENDERERS: dict[str, Callable[[int, int, ModelCard], Samples]] = {
    "pose": _render_poses,
    "oriented": _render_spaceships,
    "classify": _render_inspections,
    "segment": _render_tiles,
}
