"""The pose task's training: rendered objects in, a keypoint YOLO that knows their geometry out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from object_pose.core.params import parameter
from object_pose.core.vision.decoders import Layout
from object_pose.runtime.card import ModelCard
from object_pose.simulation.parts.objects import SceneObject, load_objects
from object_pose.simulation.scenes.scene import SceneConfig
from object_pose.simulation.seeds import VALIDATION
from object_pose.training.checkpoint import load_average
from object_pose.training.data.augmentation import Source
from object_pose.training.data.sources import (
    LabelledScenes,
    PhotoBackgrounds,
    RenderedSource,
    validation_samples,
)
from object_pose.training.networks.detection_loss import DetectionLossWeights
from object_pose.training.networks.yolo import ExportedYolo, NanoYolo, check_sizes
from object_pose.training.onnx.export import Exportable
from object_pose.training.tasks.detect import DetectionRecipe

KEYPOINT_COUNT = 8
VALIDATION_SEED = VALIDATION.seed(11)


@dataclass(frozen=True)
class RenderingConfig:
    """What is rendered for training, and how the pictures are changed before they are learned from."""

    objects: str = parameter("parts", "'parts' for the six procedural parts, or a folder of BOP models")
    photometric: float = parameter(0.4, "strength of colour, blur and noise augmentation", minimum=0.0, maximum=2.0)
    uneven_light: float = parameter(
        0.0, "strength of shade and shine that change across a picture", minimum=0.0, maximum=2.0
    )
    reuse: int = parameter(4, "samples taken of each rendered frame", minimum=1, maximum=1000)
    buffer: int = parameter(1500, "rendered frames each data process keeps", minimum=1, maximum=1_000_000)
    backgrounds: str = parameter("", "folder of photographs put behind the rendered objects, '' for none")
    background_share: float = parameter(0.5, "share of frames that get a photograph", minimum=0.0, maximum=1.0)
    data: str = parameter("", "folder of labelled BOP scenes, such as real frames, that are learned from, too")
    data_share: float = parameter(0.3, "share of samples from these scenes", minimum=0.0, maximum=1.0)
    validation_frames: int = parameter(100, "held-out rendered frames", minimum=1, maximum=100_000)


@dataclass(frozen=True)
class PoseTrainingConfig(RenderingConfig):
    """The sizes of the detector's input and of the crops that it is trained on, which keep large inputs affordable."""

    input_width: int = parameter(416, "width of the exported network's input, pixels", minimum=64, maximum=2048)
    input_height: int = parameter(320, "height of the exported network's input, pixels", minimum=64, maximum=2048)
    crop_width: int = parameter(320, "width of a training crop, pixels", minimum=64, maximum=2048)
    crop_height: int = parameter(256, "height of a training crop, pixels", minimum=64, maximum=2048)
    scale_jitter: float = parameter(1.3, "crops are this much larger or smaller at most", minimum=1.0, maximum=4.0)
    keypoint_weight: float = parameter(
        1.0,
        "weight of the keypoints' loss; small where an RoI head finds them",
        minimum=0.0,
        maximum=10.0,
    )
    erased_share: float = parameter(
        0.0, "share of frames with some objects erased, as the second pass erases occluders", minimum=0.0, maximum=1.0
    )

    def __post_init__(self) -> None:
        check_sizes(self, ("input_width", "input_height", "crop_width", "crop_height"))

    @property
    def input_wh(self) -> tuple[int, int]:
        """The exported network's input size."""
        return self.input_width, self.input_height


def pose_recipe(config: PoseTrainingConfig, scene_config: SceneConfig) -> DetectionRecipe:
    """Return the recipe that trains on endless renders of the config's objects."""
    objects = load_objects(config.objects)
    scale = min(config.input_width / scene_config.width, config.input_height / scene_config.height)
    # The model sees images of any camera letterboxed: in these pixels all of them are to the scale of the renders.
    canvas_wh = round(config.input_width / scale), round(config.input_height / scale)
    return DetectionRecipe(
        class_count=len(objects),
        keypoint_count=KEYPOINT_COUNT,
        source=training_source(objects, config, scene_config, canvas_wh=canvas_wh),
        validation=validation_samples(
            objects, scene_config, config.input_wh, config.validation_frames, VALIDATION_SEED
        ),
        crop_wh=(config.crop_width, config.crop_height),
        scale_range=(scale / config.scale_jitter, scale * config.scale_jitter),
        loss_weights=DetectionLossWeights(keypoints=config.keypoint_weight),
        photometric_strength=config.photometric,
        erased_share=config.erased_share,
        uneven_light=config.uneven_light,
    )


def training_source(
    objects: Sequence[SceneObject],
    config: RenderingConfig,
    scene_config: SceneConfig,
    *,
    depth: bool = False,
    canvas_wh: tuple[int, int] | None = None,
) -> Source:
    """Return the renders of ``objects`` that a config asks for, with depth where wanted, and its labelled scenes.

    The frames of these are resampled to fit into ``canvas_wh``, where it is given.
    """
    backgrounds = PhotoBackgrounds.from_folder(config.backgrounds, config.background_share)
    rendered = RenderedSource(objects, scene_config, config.reuse, config.buffer, backgrounds, depth)
    if not config.data:
        return rendered
    return LabelledScenes(tuple(objects), Path(config.data), config.data_share, rendered, canvas_wh)


def exportable_pose(run_dir: Path, config: PoseTrainingConfig, scene: SceneConfig) -> Exportable:
    """Return a run's averaged network with the card of its objects, ready to export."""
    models = tuple(item.model for item in load_objects(config.objects))
    network = NanoYolo(len(models), KEYPOINT_COUNT)
    load_average(run_dir, network)
    labels = tuple(model.name for model in models)
    card = ModelCard("pose", Layout.OBJECT_POSE_KEYPOINTS, labels, config.input_wh, KEYPOINT_COUNT, models)
    return Exportable(ExportedYolo(network), card, ("detections",), any_size=True, output_axes=({2: "cells"},))
