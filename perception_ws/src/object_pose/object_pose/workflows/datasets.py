"""Data sets: checked, reported on, converted, split, or rendered for a task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from object_pose import __version__
from object_pose.core.errors import ConfigError
from object_pose.core.params import parameter
from object_pose.io.datasets.bop_checks import check_bop
from object_pose.io.datasets.opening import BOX_KINDS, OpenedDataset, find_layout, join_splits, open_dataset
from object_pose.io.datasets.samples import BoxDataset, Fault, image_paths, require_usable
from object_pose.io.datasets.splitting import group_images, parse_shares, split_dataset
from object_pose.io.datasets.writing import write_dataset, write_provenance
from object_pose.io.files import claim_folder, new_folder
from object_pose.runtime.predictor import load_card
from object_pose.runtime.resources import find_model
from object_pose.workflows.parallel import Runner, run_here
from object_pose.workflows.progress import Progress, ProgressCallback, ignore_progress, reported

# A report needs matplotlib and Jinja2, a rendering the simulation; the other functions need neither.
if TYPE_CHECKING:
    from object_pose.evaluation.reports.dataset.report import DatasetReport
    from object_pose.simulation.scenes.scene import SceneConfig

MAX_SEED = 2**31 - 1


@dataclass(frozen=True)
class DatasetConfig:
    """A data set, the class names where it has none, and the folder of a COCO file's images."""

    path: Path
    labels: tuple[str, ...] | None = None
    images: Path | None = None


@dataclass(frozen=True)
class DatasetCheck:
    """What a data set holds, in words, and its faults."""

    holds: str
    faults: tuple[Fault, ...]


@dataclass(frozen=True)
class SplitConfig:
    """How a data set is shared out."""

    shares: str = parameter("train=0.8,val=0.2", "splits and their shares")
    group: str = parameter(
        "recording",
        "what stays together besides near-duplicates: 'recording' (file names up to the last number), 'none', or a "
        "regular expression whose first group names it",
    )
    seed: int = parameter(0, "equal seeds give equal splits", minimum=0, maximum=MAX_SEED)


@dataclass(frozen=True)
class SplitResult:
    """Images of each split, and the number of groups that were kept together."""

    counts: dict[str, int]
    groups: int


@dataclass(frozen=True)
class RenderedConfig:
    """What is rendered."""

    count: int = parameter(100, "images", minimum=1, maximum=10_000_000)
    seed: int = parameter(0, "equal seeds give equal images", minimum=0, maximum=MAX_SEED)


@dataclass(frozen=True)
class GenerateConfig:
    """What a BOP data set holds; ``scenes`` may grow later, all else stays."""

    scenes: int = parameter(10, "scene folders", minimum=1, maximum=1_000_000)
    frames: int = parameter(100, "frames in each scene folder", minimum=1, maximum=1_000_000)
    seed: int = parameter(0, "equal seeds give equal frames", minimum=0, maximum=MAX_SEED)
    objects: str = parameter("parts", "'parts' for the six procedural parts, or a folder of BOP models")
    depth: bool = parameter(True, "depth images, as a D435 takes them")


def check_dataset(config: DatasetConfig, thorough: bool = False) -> DatasetCheck:
    """Find every fault; ``thorough`` decodes every image. Raises ``DataError`` for what is no data set."""
    layout = find_layout(config.path)
    if layout.kind == "bop":
        summary = check_bop(layout.splits[""], thorough)
        holds = f"{summary.scenes} scenes, {summary.images} images, {summary.objects} objects (bop)"
        return DatasetCheck(holds, tuple(summary.faults))
    opened = _open(config, thorough)
    return DatasetCheck(_contents(opened), opened.faults)


def report_on_dataset(
    config: DatasetConfig, output: Path, model: str | Path | None = None, progress: ProgressCallback = ignore_progress
) -> DatasetReport:
    """Measure images and labels and write report.html and report.json; ``model`` is a detector to compare labels with.

    Raises ``DataError`` for what is no data set, ``ConfigError`` for a model with data that have no boxes.
    """
    from object_pose.evaluation.reports.dataset.findings import compare_with_model
    from object_pose.evaluation.reports.dataset.page import write_report
    from object_pose.evaluation.reports.dataset.report import report_dataset

    detector = find_model(model) if model else None
    labels = config.labels or (load_card(detector).labels if detector else None)
    opened = _open(DatasetConfig(config.path, labels, config.images))
    findings = []
    if detector:
        boxes = {name: dataset for name, dataset in opened.splits.items() if isinstance(dataset, BoxDataset)}
        if not boxes:
            raise ConfigError("--model is for data sets of boxes", f"{config.path} is one of {opened.kind}")
        findings = compare_with_model(boxes, detector, _progress(progress, "compare with the model"))
    name = config.path.resolve().name
    report = report_dataset(name, opened.splits, findings, _progress(progress, "measure"))
    write_report(report, output)
    return report


def convert_dataset(config: DatasetConfig, layout: str, output: Path, command: str = "") -> str:
    """Write boxes as 'coco' or 'yolo' into a new folder and return what it holds, in words."""
    opened = _open(config)
    if opened.kind not in BOX_KINDS:
        raise ConfigError(f"{config.path} is a data set of {opened.kind}", "only boxes can be converted")
    with new_folder(output) as folder:
        write_dataset(folder, layout, opened.joined_splits())
        _note_origin(folder, command)
    return _contents(opened)


def split_into(
    config: DatasetConfig,
    split: SplitConfig,
    output: Path,
    command: str = "",
    progress: ProgressCallback = ignore_progress,
) -> SplitResult:
    """Share out a data set by recording, near-duplicates together, into a new folder."""
    shares = parse_shares(split.shares)
    opened = _open(config)
    whole = require_usable(join_splits(list(opened.splits.values())))
    groups = group_images(image_paths(whole), split.group, _progress(progress, "near-duplicates"))
    splits = split_dataset(whole, groups, shares, split.seed)
    with new_folder(output) as folder:
        write_dataset(folder, opened.kind, splits)
        _note_origin(folder, command)
    return SplitResult({name: len(dataset.samples) for name, dataset in splits.items()}, len(np.unique(groups)))


def render_dataset(
    task: str,
    config: RenderedConfig,
    output: Path,
    command: str = "",
    progress: ProgressCallback = ignore_progress,
) -> None:
    """Render a labelled data set of a task into a new folder."""
    from object_pose.simulation.generators.datasets import RENDERED_DATASETS

    if config.seed + config.count > MAX_SEED:
        raise ConfigError(f"seed {config.seed} and count {config.count} are too large together")
    with new_folder(output) as folder:
        bar = _progress(progress, "render", config.count)
        RENDERED_DATASETS[task](folder, config.count, config.seed, bar)
        _note_origin(folder, command)


def generate_bop_dataset(
    config: GenerateConfig,
    scene: SceneConfig,
    output: Path,
    progress: ProgressCallback = ignore_progress,
    runner: Runner = run_here,
) -> int:
    """Render what is missing of a BOP data set, a scene folder at a time, and return the number of objects.

    ``runner`` says where the scenes are rendered; they are the same everywhere. Raises ``ConfigError`` where the folder
    was begun with other settings.
    """
    from object_pose.simulation.generators.bop import write_bop_models
    from object_pose.simulation.parts.objects import load_objects

    objects = load_objects(config.objects)
    settings = {**asdict(config), **asdict(scene)}
    del settings["scenes"]
    claim_folder(output, "generate.json", settings)
    write_bop_models(output, objects)
    total = config.scenes * config.frames
    jobs = [_SceneJob(config, scene, output, scene_id) for scene_id in range(config.scenes)]
    render = partial(_render_scene, progress=progress) if runner.is_local else _render_scene
    for done, _ in enumerate(runner(render, jobs), start=1):
        progress(Progress("render", done * config.frames, total, "frame"))
    return len(objects)


@dataclass(frozen=True)
class _SceneJob:
    config: GenerateConfig
    scene: SceneConfig
    output: Path
    scene_id: int


def _render_scene(job: _SceneJob, progress: ProgressCallback = ignore_progress) -> None:
    from object_pose.simulation.generators.bop import write_bop_scene
    from object_pose.simulation.parts.objects import load_objects
    from object_pose.simulation.scenes.scene import FrameStream

    config, objects = job.config, load_objects(job.config.objects)
    stream = FrameStream(objects, job.scene, depth=config.depth, seed=(config.seed, job.scene_id))
    begun, total = job.scene_id * config.frames, config.scenes * config.frames

    def frames() -> Iterator[Any]:
        for index, simulated in enumerate(islice(stream, config.frames), start=1):
            progress(Progress("render", begun + index, total, "frame"))
            yield simulated

    write_bop_scene(job.output, objects, job.scene_id, frames())


def _open(config: DatasetConfig, thorough: bool = False) -> OpenedDataset:
    return open_dataset(config.path, config.labels, config.images, thorough)


def _contents(opened: OpenedDataset) -> str:
    counts = Counter[str]()
    for dataset in opened.splits.values():
        counts["images"] += len(dataset.samples)
        if isinstance(dataset, BoxDataset):
            counts["boxes"] += sum(len(sample.class_ids) for sample in dataset.samples)
    labels = getattr(next(iter(opened.splits.values())), "labels", None)
    parts = [f"{count} {name}" for name, count in counts.items()] + ([f"{len(labels)} classes"] if labels else [])
    splits = f" in {', '.join(opened.splits)}" if len(opened.splits) > 1 else ""
    return f"{', '.join(parts)}{splits} ({opened.kind})"


def _note_origin(folder: Path, command: str) -> None:
    write_provenance(folder, {"command": command, "object_pose": __version__})


def _progress(callback: ProgressCallback, stage: str, total: int = 0) -> Callable[[Iterable[Any]], Iterable[Any]]:
    """Return the wrapper of items that the functions below ask for."""

    def wrap(items: Iterable[Any]) -> Iterable[Any]:
        count = total or (len(items) if isinstance(items, (list, tuple, range)) else 0)
        return reported(items, callback, stage, count, "image")

    return wrap
