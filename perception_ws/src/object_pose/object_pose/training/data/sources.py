"""Where detection samples come from: rendered frames, and labelled photographs on disk."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from object_pose.core.arrays import Array, Image
from object_pose.core.errors import DataError
from object_pose.core.frame import Frame
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.core.object_model import ObjectModel
from object_pose.core.results.pose import ObjectTruth
from object_pose.core.vision.image import Letterbox, letterbox, resampled
from object_pose.io.bop import BopFrame, bop_frame_readers, bop_names, labelled_scenes
from object_pose.io.datasets.samples import LabelledBoxes
from object_pose.io.datasets.splitting import recording_of
from object_pose.io.images import read_image
from object_pose.simulation.parts.objects import SceneObject
from object_pose.simulation.render.object_views import object_depth
from object_pose.simulation.scenes.scene import FrameStream, SceneConfig
from object_pose.simulation.scenes.truth import SimulatedFrame
from object_pose.simulation.seeds import TRAINING
from object_pose.training.data.augmentation import DetectionSample, Source, random_crop, reused
from object_pose.training.data.copy_paste import CopyPaste

_UNTIL_REUSED = 4  # new frames for each further use of one
_PHOTOS_A_SIDE = (1, 1, 2, 3)  # of the collage behind the objects, as often as named
_BEHIND_M = 0.015  # that an object may lie behind what depth shows and still be what is seen
_SEAM_PX = (0.4, 1.1)  # how soft, as sigma, the seam between an object and a photograph is


def detection_sample(
    simulated: SimulatedFrame, models: Sequence[ObjectModel], minimum_visibility: float = 0.1
) -> DetectionSample:
    """Turn a rendered frame into labels: visible boxes and the canonical pose's projected keypoints."""
    visible = [number for number, truth in enumerate(simulated.truths) if truth.visibility >= minimum_visibility]
    truths = [simulated.truths[number] for number in visible]
    keypoint_count = len(models[0].keypoints_object)
    keypoints = np.zeros((len(truths), keypoint_count, 2))
    for row, truth in zip(keypoints, truths):
        row[:] = _canonical_keypoints(truth, models[truth.class_id], simulated.frame.camera)
    return DetectionSample(
        simulated.frame.rgb,
        np.array([truth.box_xyxy for truth in truths]).reshape(-1, 4),
        np.array([truth.class_id for truth in truths], dtype=np.int64),
        keypoints,
        simulated.frame.aligned_depth,
        _owners(simulated, visible),
        np.array([truth.visibility for truth in truths]),
    )


def _canonical_keypoints(truth: ObjectTruth, model: ObjectModel, camera: Camera) -> Array:
    """Return the keypoints (K, 2) in ideal pixels of the symmetric equivalent that is the canonical one."""
    return camera.project(se3.apply(model.symmetry.canonical(truth.T_camera_object), model.keypoints_object))


def _owners(simulated: SimulatedFrame, visible: Sequence[int]) -> NDArray[np.int8]:
    """Return whose each pixel (H, W) is, as a place in ``visible``, -1 for none."""
    place_of = np.full(len(simulated.truths) + 1, -1, dtype=np.int8)  # the last for -1
    place_of[list(visible)] = np.arange(len(visible))
    return place_of[simulated.instance_ids]


@dataclass(frozen=True)
class PhotoBackgrounds:
    """Real photographs behind rendered objects, so that a network learns to ignore more than a renderer's rooms."""

    paths: tuple[Path, ...] = ()
    share: float = 0.5

    @classmethod
    def from_folder(cls, folder: str, share: float) -> PhotoBackgrounds:
        """Use every JPEG and PNG below ``folder``; raises ``DataError`` when there is none, '' means no photographs."""
        if not folder:
            return cls()
        found = [path for path in Path(folder).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png")]
        paths = tuple(sorted(path for path in found if not path.name.startswith(".")))  # hidden ones are macOS's
        if not paths:
            raise DataError(f"no .jpg or .png lies below {folder}", "name a folder of photographs")
        return cls(paths, share)

    def replace_background(self, simulated: SimulatedFrame, rng: np.random.Generator) -> SimulatedFrame:
        """Return the frame with, for a ``share`` of frames, a photograph wherever no labelled object is."""
        if not self.paths or rng.random() >= self.share:
            return simulated
        rgb = simulated.frame.rgb
        photo = self._collage(rgb.shape[1::-1], int(rng.choice(_PHOTOS_A_SIDE)), rng)
        # A hard seam would be the surest sign of an object, and no camera draws it.
        covered = np.asarray(simulated.instance_ids >= 0, dtype=np.float32)
        share = cv2.GaussianBlur(covered, (0, 0), rng.uniform(*_SEAM_PX))[..., None]
        mixed = rgb * share + photo * (1.0 - share)
        return replace(simulated, frame=replace(simulated.frame, rgb=np.rint(mixed).astype(np.uint8)))

    def _collage(self, wh: tuple[int, int], side: int, rng: np.random.Generator) -> Image:
        """Return ``side`` by ``side`` photographs as one picture: the more of them, the busier what lies behind."""
        tile_wh = (-(-wh[0] // side), -(-wh[1] // side))
        rows = [np.hstack([self._photo(tile_wh, rng) for _ in range(side)]) for _ in range(side)]
        return np.vstack(rows)[: wh[1], : wh[0]]

    def _photo(self, wh: tuple[int, int], rng: np.random.Generator) -> Image:
        path = self.paths[int(rng.integers(len(self.paths)))]
        photo = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
        if photo is None:
            raise DataError(f"cannot read photograph {path}", "remove it, or name another folder of photographs")
        flipped = photo[:, ::-1] if rng.random() < 0.5 else photo
        return np.asarray(cv2.resize(flipped, wh, interpolation=cv2.INTER_AREA), dtype=np.uint8)


@dataclass(frozen=True)
class RenderedSource:
    """Endless rendered samples, with ``depth`` measured where wanted.

    Each frame is used ``reuse`` times, from a buffer of ``capacity`` frames.
    """

    objects: Sequence[SceneObject]
    scene_config: SceneConfig
    reuse: int = 4
    capacity: int = 1500
    backgrounds: PhotoBackgrounds = PhotoBackgrounds()
    depth: bool = False

    def __call__(self, rng: np.random.Generator) -> Iterator[DetectionSample]:
        """Return samples for ever."""
        cv2.setNumThreads(1)
        models = [item.model for item in self.objects]
        stream = FrameStream(self.objects, self.scene_config, depth=self.depth, seed=TRAINING.draw(rng))
        fresh = (detection_sample(self.backgrounds.replace_background(frame, rng), models) for frame in stream)
        return reused(fresh, self.reuse, self.capacity, rng, _UNTIL_REUSED)


@dataclass(frozen=True)
class LabelledScenes:
    """Endless shuffled passes over the labelled frames of BOP scenes, in the place of a ``share`` of other samples.

    With a ``canvas_wh`` every frame, whatever camera took it, is resampled to the size at which it fits there, without
    its depth; else it stays as it is. Every data process keeps frames of ``kept_pixels`` in all, 8 bytes a pixel with
    depth (a gigabyte), and reads the others anew each time.
    """

    objects: tuple[SceneObject, ...]
    data: Path
    share: float
    others: Source
    canvas_wh: tuple[int, int] | None = None
    kept_pixels: int = 120_000_000

    def __call__(self, rng: np.random.Generator) -> Iterator[DetectionSample]:
        """Yield samples for ever; raises ``DataError`` where there is no labelled frame."""
        cv2.setNumThreads(1)
        frames = self._frames()
        if not frames:
            raise DataError(f"{self.data} has no labelled frame", "name a folder of BOP scenes")
        others = self.others(rng)
        while True:
            for index in rng.permutation(len(frames)):
                while rng.random() >= self.share:
                    yield next(others)
                frame = frames[index]
                yield frame if isinstance(frame, DetectionSample) else self._sample(frame())

    def _frames(self) -> list[DetectionSample | Callable[[], BopFrame]]:
        """Return the labelled frames, those that are not kept as what reads them."""
        frames: list[DetectionSample | Callable[[], BopFrame]] = []
        free = self.kept_pixels
        names = bop_names([item.model.name for item in self.objects])
        scenes = labelled_scenes(self.data)
        for read in itertools.chain.from_iterable(bop_frame_readers(scene, names) for scene in scenes):
            item = read()
            if not item.truths:
                continue
            sample = self._sample(item)
            pixels = sample.image.shape[0] * sample.image.shape[1]
            frames.append(sample if pixels <= free else read)
            free -= pixels if pixels <= free else 0
        return frames

    def _sample(self, item: BopFrame) -> DetectionSample:
        sample = labelled_sample(item.frame, item.truths, self.objects)
        return fitted(sample, self.canvas_wh) if self.canvas_wh else sample


def labelled_sample(frame: Frame, truths: Sequence[ObjectTruth], objects: Sequence[SceneObject]) -> DetectionSample:
    """Return a frame with boxes, classes and the canonical pose's projected keypoints of its objects."""
    keypoints = [_canonical_keypoints(item, objects[item.class_id].model, frame.camera) for item in truths]
    return DetectionSample(
        frame.rgb,
        np.array([item.box_xyxy for item in truths]),
        np.array([item.class_id for item in truths], dtype=np.int64),
        np.stack(keypoints),
        frame.aligned_depth,
        _drawn_owners(frame, truths, objects),
        np.array([item.visibility for item in truths]),
    )


def fitted(sample: DetectionSample, canvas_wh: tuple[int, int]) -> DetectionSample:
    """Return a sample, without its depth, as large as it fits into ``canvas_wh``."""
    box = Letterbox.fit((sample.image.shape[1], sample.image.shape[0]), canvas_wh)
    owners = sample.owners
    if owners is not None:
        owners = cv2.resize(owners.view(np.uint8), box.content_wh, interpolation=cv2.INTER_NEAREST_EXACT).view(np.int8)
    return replace(
        sample,
        image=resampled(sample.image, box.content_wh),
        boxes_xyxy=(sample.boxes_xyxy + 0.5) * np.tile(box.scale, 2) - 0.5,
        keypoints=(sample.keypoints + 0.5) * box.scale - 0.5,
        depth=None,
        owners=owners,
    )


def _drawn_owners(frame: Frame, truths: Sequence[ObjectTruth], objects: Sequence[SceneObject]) -> NDArray[np.int8]:
    """Return whose each pixel (H, W) is by the poses, -1 where depth shows something before the object, or for none."""
    owners = np.full((frame.camera.height, frame.camera.width), -1, dtype=np.int8)
    nearest = np.full(owners.shape, np.inf, dtype=np.float32)
    if frame.aligned_depth is not None:
        depth_m = frame.aligned_depth.depth_m
        nearest = np.where(depth_m > 0.0, depth_m + np.float32(_BEHIND_M), nearest)
    for number, item in enumerate(truths):
        drawn = object_depth(objects[item.class_id].mesh, item.T_camera_object, frame.camera)
        is_seen = (drawn > 0.0) & (drawn < nearest)
        owners[is_seen] = number
        nearest[is_seen] = drawn[is_seen]
    return owners


def validation_samples(
    objects: Sequence[SceneObject], scene_config: SceneConfig, input_wh: tuple[int, int], count: int, seed: int
) -> list[DetectionSample]:
    """Render ``count`` held-out frames at the network's input size, objects as large as the letterbox makes them."""
    rng = np.random.default_rng(seed)
    scale = min(input_wh[0] / scene_config.width, input_wh[1] / scene_config.height)
    samples = []
    for sample in validation_frames(objects, scene_config, count, seed):
        samples.append(random_crop(sample, input_wh, (scale, scale), rng))
    return samples


def validation_frames(
    objects: Sequence[SceneObject], scene_config: SceneConfig, count: int, seed: int, *, depth: bool = False
) -> Iterator[DetectionSample]:
    """Render ``count`` held-out frames as they are, with ``depth`` where wanted."""
    models = [item.model for item in objects]
    for simulated, _ in zip(FrameStream(objects, scene_config, depth=depth, seed=seed), range(count)):
        yield detection_sample(simulated, models)


@dataclass(frozen=True)
class DiskSource:
    """Endless shuffled passes over labelled image files, ``zoom`` times as large as the letterbox would make them.

    Images with a class that fewer than ``balance`` of the images have come several times a pass (``repeats``);
    into a ``copy_paste`` share of the samples objects of other images are pasted. Every data process decodes an image
    once and keeps it, ``kept_pixels`` pixels of them in all.
    """

    images: tuple[LabelledBoxes, ...]
    input_wh: tuple[int, int]
    zoom: float
    balance: float = 0.0
    copy_paste: float = 0.0
    kept_pixels: int = 400_000_000

    def __call__(self, rng: np.random.Generator) -> Iterator[DetectionSample]:
        """Yield samples for ever; raises ``DataError`` where a file can no longer be read."""
        cv2.setNumThreads(1)
        kept: dict[int, DetectionSample] = {}
        free = self.kept_pixels

        def read(index: int) -> DetectionSample:
            nonlocal free
            sample = kept.get(index) or self._read(self.images[index])
            pixels = sample.image.shape[0] * sample.image.shape[1]
            if index not in kept and pixels <= free:
                kept[index] = sample
                free -= pixels
            return sample

        class_ids = [labelled.class_ids for labelled in self.images]
        paste, often = CopyPaste(class_ids, read), repeats(class_ids, self.balance)
        while True:
            once = np.floor(often + rng.random(len(often))).astype(np.int64)  # a fraction is a chance
            for index in rng.permutation(np.repeat(np.arange(len(once)), once)).tolist():
                sample = read(index)
                yield paste(sample, rng) if rng.random() < self.copy_paste else sample

    def _read(self, labelled: LabelledBoxes) -> DetectionSample:
        image = read_image(labelled.path)
        canvas_wh = (round(self.input_wh[0] * self.zoom), round(self.input_wh[1] * self.zoom))
        box = Letterbox.fit((image.shape[1], image.shape[0]), canvas_wh)
        boxes = (labelled.boxes_xyxy + 0.5) * np.tile(box.scale, 2) - 0.5
        return _sample(resampled(image, box.content_wh), boxes, labelled)


def repeats(class_ids: Sequence[NDArray[np.int64]], balance: float) -> Array:
    """Return how often each image comes in a pass, by its rarest class: repeat-factor sampling (Gupta 2019, LVIS).

    It is the root of ``balance`` over the share of images that have the class, at least 1.
    """
    images_with = Counter(class_id for ids in class_ids for class_id in set(ids.tolist()))
    factors = {class_id: np.sqrt(balance * len(class_ids) / count) for class_id, count in images_with.items()}
    return np.array([max((1.0, *(factors[class_id] for class_id in ids.tolist()))) for ids in class_ids])


def split_by_recording(
    samples: Sequence[LabelledBoxes], share: float, seed: int = 0
) -> tuple[tuple[LabelledBoxes, ...], tuple[LabelledBoxes, ...]]:
    """Split into (learned, held out) so that no recording is on both sides; at most ``share`` is held out."""
    recordings = defaultdict(list)
    for sample in samples:
        recordings[recording_of(sample.path)].append(sample)
    names = sorted(recordings)
    held: set[str] = set()
    room = round(share * len(samples))
    for index in np.random.default_rng(seed).permutation(len(names)):
        if len(recordings[names[index]]) <= room:
            held.add(names[index])
            room -= len(recordings[names[index]])
    learned = tuple(sample for sample in samples if recording_of(sample.path) not in held)
    return learned, tuple(sample for sample in samples if recording_of(sample.path) in held)


def letterboxed(labelled: LabelledBoxes, input_wh: tuple[int, int]) -> DetectionSample:
    """Read an image as the runtime does, with its boxes in network pixels."""
    canvas, box = letterbox(read_image(labelled.path), input_wh)
    return _sample(canvas, box.to_network(labelled.boxes_xyxy.reshape(-1, 2, 2)).reshape(-1, 4), labelled)


def _sample(image: Image, boxes: Array, labelled: LabelledBoxes) -> DetectionSample:
    return DetectionSample(image, boxes, labelled.class_ids, np.zeros((len(boxes), 0, 2)))
