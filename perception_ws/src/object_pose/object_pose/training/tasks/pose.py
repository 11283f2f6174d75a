"""The pose task's training: rendered objects in, a keypoint YOLO that knows their geometry out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from object_pose.core.errors import ConfigError
from object_pose.core.params import parameter
from object_pose.core.vision.decoders import Layout
from object_pose.core.vision.roi import COLOR_CHANNELS, RELIEF_CHANNELS
from object_pose.runtime.card import ModelCard
from object_pose.runtime.roi_head import LAYOUT as CROP_LAYOUT
from object_pose.simulation.parts.objects import SceneObject, load_objects
from object_pose.simulation.scenes.scene import SceneConfig
from object_pose.simulation.seeds import VALIDATION
from object_pose.training.checkpoint import load_average
from object_pose.training.data.sources import (
    PhotoBackgrounds,
    RenderedSource,
    validation_frames,
    validation_samples,
)
from object_pose.training.networks.detection_loss import DetectionLossWeights
from object_pose.training.networks.yolo import ExportedYolo, NanoYolo, check_sizes
from object_pose.training.onnx.export import Exportable
from object_pose.training.tasks.detect import DetectionRecipe
from object_pose.training.tasks.roi_head import ROI_SIZE, ROI_STRIDE, ExportedRoiHead, RoiNetwork, RoiRecipe

KEYPOINT_COUNT = 8
_VALIDATION_SEED = VALIDATION.seed(11)


@dataclass(frozen=True)
class RenderingConfig:
    """What is rendered for training, and what happens to it before a network sees it."""

    objects: str = parameter("parts", "'parts' for the six procedural parts, or a folder of BOP models")
    photometric: float = parameter(0.4, "strength of colour, blur and noise augmentation", minimum=0.0, maximum=2.0)
    uneven_light: float = parameter(
        0.0, "strength of shade and shine that change across a picture", minimum=0.0, maximum=2.0
    )
    reuse: int = parameter(4, "samples taken of each rendered frame", minimum=1, maximum=1000)
    buffer: int = parameter(1500, "rendered frames each data process keeps", minimum=1, maximum=1_000_000)
    backgrounds: str = parameter("", "folder of photographs put behind the rendered objects, '' for none")
    background_share: float = parameter(0.5, "share of frames that get a photograph", minimum=0.0, maximum=1.0)
    validation_frames: int = parameter(100, "held-out rendered frames", minimum=1, maximum=100_000)


@dataclass(frozen=True)
class RoiTrainingConfig(RenderingConfig):
    """How closely the crop-level head looks, and how often it has to do with one of its senses, to learn each alone."""

    roi_size: int = parameter(
        ROI_SIZE, "side of a window, pixels: a larger one shows more and takes longer", minimum=48, maximum=512
    )
    colour_only_share: float = parameter(
        0.2, "share of windows without depth; much where the camera has none", minimum=0.0, maximum=1.0
    )
    relief_only_share: float = parameter(0.3, "share of windows without colour", minimum=0.0, maximum=1.0)

    def __post_init__(self) -> None:
        if self.roi_size % ROI_STRIDE:
            raise ConfigError(f"parameter 'roi_size' is {self.roi_size}", f"it must be a multiple of {ROI_STRIDE}")
        if self.colour_only_share + self.relief_only_share > 1.0:
            raise ConfigError(
                "parameters 'colour_only_share' and 'relief_only_share' are more than 1 together",
                "no window can be without both",
            )


@dataclass(frozen=True)
class PoseTrainingConfig(RenderingConfig):
    """How large the detector sees its frames; crops make large inputs affordable to train."""

    input_width: int = parameter(416, "width of the exported network's input, pixels", minimum=64, maximum=2048)
    input_height: int = parameter(320, "height of the exported network's input, pixels", minimum=64, maximum=2048)
    crop_width: int = parameter(320, "width of a training crop, pixels", minimum=64, maximum=2048)
    crop_height: int = parameter(256, "height of a training crop, pixels", minimum=64, maximum=2048)
    scale_jitter: float = parameter(1.3, "crops are this much larger or smaller at most", minimum=1.0, maximum=4.0)
    keypoint_weight: float = parameter(
        1.0,
        "weight of the keypoints' loss; little is enough where a crop-level head finds them",
        minimum=0.0,
        maximum=10.0,
    )
    erased_share: float = parameter(
        0.0, "share of frames with some objects erased, which stills look at again", minimum=0.0, maximum=1.0
    )

    def __post_init__(self) -> None:
        check_sizes(self, ("input_width", "input_height", "crop_width", "crop_height"))

    @property
    def input_wh(self) -> tuple[int, int]:
        """The exported network's input size."""
        return self.input_width, self.input_height


def pose_recipe(
    objects: Sequence[SceneObject], config: PoseTrainingConfig, scene_config: SceneConfig
) -> DetectionRecipe:
    """Return the recipe that trains on endless renders of ``objects``."""
    scale = min(config.input_width / scene_config.width, config.input_height / scene_config.height)
    return DetectionRecipe(
        class_count=len(objects),
        keypoint_count=KEYPOINT_COUNT,
        source=_source(objects, config, scene_config),
        validation=validation_samples(
            objects, scene_config, config.input_wh, config.validation_frames, _VALIDATION_SEED
        ),
        crop_wh=(config.crop_width, config.crop_height),
        scale_range=(scale / config.scale_jitter, scale * config.scale_jitter),
        loss_weights=DetectionLossWeights(keypoints=config.keypoint_weight),
        photometric_strength=config.photometric,
        erased_share=config.erased_share,
        uneven_light=config.uneven_light,
    )


def roi_recipe(objects: Sequence[SceneObject], config: RoiTrainingConfig, scene_config: SceneConfig) -> RoiRecipe:
    """Return the recipe of the crop-level head on the same renders."""
    held_out = validation_frames(objects, scene_config, config.validation_frames, _VALIDATION_SEED, depth=True)
    return RoiRecipe(
        class_count=len(objects),
        keypoint_count=KEYPOINT_COUNT,
        source=replace(_source(objects, config, scene_config), depth=True),
        validation=list(held_out),
        size=config.roi_size,
        photometric_strength=config.photometric,
        colour_only_share=config.colour_only_share,
        relief_only_share=config.relief_only_share,
        uneven_light=config.uneven_light,
    )


def _source(objects: Sequence[SceneObject], config: RenderingConfig, scene_config: SceneConfig) -> RenderedSource:
    backgrounds = PhotoBackgrounds.from_folder(config.backgrounds, config.background_share)
    return RenderedSource(objects, scene_config, config.reuse, config.buffer, backgrounds)


def exportable_pose(run_dir: Path, config: PoseTrainingConfig) -> Exportable:
    """Return a run's averaged network with the card of its objects, ready to export."""
    models = tuple(item.model for item in load_objects(config.objects))
    network = NanoYolo(len(models), KEYPOINT_COUNT)
    load_average(run_dir, network)
    labels = tuple(model.name for model in models)
    card = ModelCard("pose", Layout.OBJECT_POSE_KEYPOINTS, labels, config.input_wh, KEYPOINT_COUNT, models)
    return Exportable(ExportedYolo(network), card, ("detections",), any_size=True)


def exportable_roi_head(run_dir: Path, config: RoiTrainingConfig) -> Exportable:
    """Return a run's averaged crop-level head, ready to export."""
    labels = tuple(item.model.name for item in load_objects(config.objects))
    network = RoiNetwork(len(labels), KEYPOINT_COUNT, config.roi_size)
    load_average(run_dir, network)
    card = ModelCard("roi_head", CROP_LAYOUT, labels, (config.roi_size, config.roi_size), KEYPOINT_COUNT)
    channels = COLOR_CHANNELS + RELIEF_CHANNELS
    return Exportable(
        ExportedRoiHead(network), card, ("probabilities", "keypoints", "shares", "masks"), channels, batched=True
    )
