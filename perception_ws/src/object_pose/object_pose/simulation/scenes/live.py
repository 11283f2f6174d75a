"""The simulated camera: one scene in motion, as a wrist camera above a bench sees it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from object_pose.core.arrays import Array
from object_pose.core.frame import Frame
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.core.params import parameter
from object_pose.simulation.depth_sensor import DepthSensor, DepthSensorConfig
from object_pose.simulation.parts.objects import SceneObject, part_objects
from object_pose.simulation.render import materials
from object_pose.simulation.render.lighting import random_lighting
from object_pose.simulation.render.renderer import Backdrop, Finish, Optics, Placement, World, render
from object_pose.simulation.scenes import layout
from object_pose.simulation.scenes.distractors import bin_mesh, primitive_shapes, random_distractor, stretched
from object_pose.simulation.scenes.truth import SimulatedFrame, find_truths

_SHADOW_RADIUS_M = 0.42
_BENCH_HALF_M = 0.17
_BIN_HALF_M = np.array([0.17, 0.13])
_BALL_RADIUS_M = 0.02
_BALL_ORBIT_M = 0.29
# A part that is handled: seconds in all and on the way, and how far it is turned when it is put down.
_HANDLING_S, _CARRIED_S, _TURNED_RAD = 5.0, 1.8, 1.0
_PARKED = se3.make_transform(translation=(0.0, 0.0, -5.0))


@dataclass(frozen=True)
class LiveConfig:
    """The simulated camera and what it looks at."""

    width: int = parameter(640, "image width in pixels", minimum=64, maximum=4096, read_only=True)
    height: int = parameter(480, "image height in pixels", minimum=64, maximum=4096, read_only=True)
    focal_px: float = parameter(610.0, "focal length in pixels", minimum=16.0, maximum=8192.0, read_only=True)
    distance_m: float = parameter(0.58, "mean distance of camera and table", minimum=0.3, maximum=3.0, read_only=True)
    duplicates: int = parameter(3, "parts on the table beyond one of each", minimum=0, maximum=20, read_only=True)
    bin: bool = parameter(False, "whether the parts lie in a bin instead of on the table", read_only=True)
    motion: float = parameter(1.0, "speed of the camera, 0 stands still", minimum=0.0, maximum=10.0, read_only=True)
    depth_scale_error: float = parameter(
        0.0, "relative error of all depths, as a D435 has up to 0.02", minimum=-0.1, maximum=0.1, read_only=True
    )
    occlusion: bool = parameter(True, "whether something passes in front now and then", read_only=True)
    arm_radius_m: float = parameter(
        0.035, "half the width of what passes in front", minimum=0.01, maximum=0.2, read_only=True
    )

    handling: bool = parameter(
        False, "whether parts are taken away and put down again, one after the other", read_only=True
    )

    @property
    def camera(self) -> Camera:
        """The camera's intrinsics."""
        center = (0.5 * (self.width - 1), 0.5 * (self.height - 1))
        return Camera(self.width, self.height, self.focal_px, self.focal_px, *center)


class LiveScene:
    """A bench with all ``objects`` under a moving camera; what it shows depends on seed and time alone."""

    def __init__(
        self,
        seed: int = 0,
        config: LiveConfig | None = None,
        objects: Sequence[SceneObject] | None = None,
    ) -> None:
        self.config = config or LiveConfig()
        self.objects = tuple(part_objects() if objects is None else objects)
        self.camera = self.config.camera
        self._seed = seed
        rng = np.random.default_rng(seed)
        self._sensor = DepthSensor(DepthSensorConfig(scale_bias=self.config.depth_scale_error))
        placements = [*self._bench(rng), self._ball(), self._arm()]
        self._world = World(placements)
        self._at_rest = {index: item.T_world_object for index, item in enumerate(placements) if item.class_id >= 0}
        self._ball_index, self._arm_index = len(placements) - 2, len(placements) - 1
        self._finishes = [self._finish(item.class_id, rng) for item in placements]
        self._backdrop = _bench_backdrop(rng)
        self._lighting = random_lighting(rng, _SHADOW_RADIUS_M)
        self._light_azimuth = rng.uniform(0.0, 2.0 * np.pi)
        self._camera_azimuth = rng.uniform(0.0, 2.0 * np.pi)

    def frame(self, time_s: float, stamp_ns: int) -> SimulatedFrame:
        """Take the picture of the moment ``time_s`` with colour, depth and truth."""
        rng = np.random.default_rng((self._seed, int(time_s * 1e6)))
        self._world.move(self._ball_index, self._ball_pose(time_s))
        self._world.move(self._arm_index, self._arm_pose(time_s))
        if self.config.handling:
            for turn, index in enumerate(self._at_rest):
                self._world.move(index, self._handled_pose(index, turn, time_s))
        T_world_camera = self.T_world_camera(time_s)
        picture = render(
            self._world,
            self._finishes,
            self._backdrop,
            dataclasses.replace(self._lighting, lights=self._lights(time_s)),
            Optics(exposure=0.2, noise_levels=1.2),
            self.camera,
            T_world_camera,
            rng,
        )
        depth = self._sensor.measure(picture.depth_m, self.camera, picture.glare, rng)
        truths, instance_ids = find_truths(self.objects, self._world.placements, picture, T_world_camera)
        return SimulatedFrame(Frame(picture.rgb, self.camera, depth, stamp_ns), truths, instance_ids)

    @property
    def parts_world(self) -> tuple[Array, ...]:
        """Where the parts are in the world (4, 4) in the last frame that was taken, always in the same order."""
        return tuple(self._world.placements[index].T_world_object for index in self._at_rest)

    def T_world_camera(self, time_s: float) -> Array:  # noqa: N802
        """Return the camera's pose (4, 4) in the world (z up, table top at z = 0) at ``time_s``."""
        phase = time_s * self.config.motion
        azimuth = self._camera_azimuth + 0.6 * np.sin(0.27 * phase) + 0.2 * np.sin(0.61 * phase)
        elevation = np.radians(54.0 + 9.0 * np.sin(0.33 * phase + 1.0))
        distance = self.config.distance_m * (1.0 + 0.1 * np.sin(0.41 * phase + 2.0))
        ground = np.cos(elevation) * np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
        target = 0.02 * np.array([np.sin(0.5 * phase), np.cos(0.37 * phase), 0.5])
        eye = target + distance * (ground + np.array([0.0, 0.0, np.sin(elevation)]))
        return layout.look_at(eye, target, float(np.radians(3.0) * np.sin(0.47 * phase)))

    def _bench(self, rng: np.random.Generator) -> list[Placement]:
        """Lay down one object of each class and some more, then distractors."""
        wall = 0.004 if self.config.bin else 0.0
        half = _BIN_HALF_M if self.config.bin else np.full(2, _BENCH_HALF_M)
        ground = layout.HeightMap(wall)
        extra = rng.integers(len(self.objects), size=self.config.duplicates)
        placements = []
        for class_id in [*range(len(self.objects)), *extra.tolist()]:
            item = self.objects[class_id]
            points, rotation = item.model.points_object, layout.stable_rotation(item, rng)
            pose = layout.drop(points, rotation, ground, half, rng, tries=200, pile=False)
            if pose is None:
                pose = layout.drop(points, rotation, ground, half, rng, tries=1, pile=True)
            assert pose is not None, "a pile takes everything"
            placements.append(Placement(item.mesh, pose, class_id))
        for _ in range(3):
            mesh = random_distractor(rng)
            points = np.asarray(mesh.vertices, dtype=np.float64)
            spot = layout.drop(points, layout.heading(rng), ground, 1.3 * half, rng, tries=50, pile=False)
            if spot is not None:
                placements.append(Placement(mesh, spot))
        if self.config.bin:
            placements.append(Placement(bin_mesh(half, 0.06, wall), np.eye(4)))
        return placements

    def _ball(self) -> Placement:
        shape = next(mesh for mesh in primitive_shapes() if mesh.name == "sphere")
        return Placement(stretched(shape, np.full(3, _BALL_RADIUS_M)), _PARKED)

    def _arm(self) -> Placement:
        shape = next(mesh for mesh in primitive_shapes() if mesh.name == "capsule")
        return Placement(
            stretched(shape, np.array([self.config.arm_radius_m, self.config.arm_radius_m, 0.16])), _PARKED
        )

    def _ball_pose(self, time_s: float) -> Array:
        angle = 0.25 * time_s
        spin = se3.exp_so3(np.array([0.0, 0.0, angle])) @ se3.exp_so3(
            (_BALL_ORBIT_M / _BALL_RADIUS_M * angle, 0.0, 0.0)
        )
        around = _BALL_ORBIT_M * np.array([np.cos(angle), np.sin(angle), 0.0])
        return se3.make_transform(spin, around + np.array([0.0, 0.0, _BALL_RADIUS_M]))

    def _arm_pose(self, time_s: float) -> Array:
        """The arm sweeps across for a third of every nine seconds and is away otherwise."""
        progress = (time_s % 9.0) / 3.0
        if not self.config.occlusion or progress >= 1.0:
            return _PARKED
        center = np.array([0.9 * (progress - 0.5), 0.05 * np.sin(time_s), 0.17])
        return se3.make_transform(se3.exp_so3(np.array([1.45, 0.0, 0.0])), center)

    def _handled_pose(self, index: int, turn: int, time_s: float) -> Array:
        """Each part in its turn is lifted and carried off, is away for a while, and comes back turned."""
        rounds, since_s = divmod(time_s - _HANDLING_S * turn, _HANDLING_S * len(self._at_rest))
        is_handled = rounds >= 0.0 and since_s < _HANDLING_S
        at_rest = self._at_rest[index]
        progress = min(since_s, _HANDLING_S - since_s) / _CARRIED_S if is_handled else 0.0
        if progress >= 1.0:
            return _PARKED
        count = rounds + (1.0 if not is_handled or since_s > 0.5 * _HANDLING_S else 0.0)
        turned = se3.exp_so3(np.array([0.0, 0.0, _TURNED_RAD * max(count, 0.0) + progress])) @ at_rest[:3, :3]
        smooth = progress**2 * (3.0 - 2.0 * progress)
        away = at_rest[:2, 3] / max(float(np.linalg.norm(at_rest[:2, 3])), 1e-3)
        return se3.make_transform(turned, at_rest[:3, 3] + smooth * np.array([*(0.35 * away), 0.25]))

    def _lights(self, time_s: float) -> Array:
        """Turn the main light slowly about the vertical."""
        lights = self._lighting.lights.copy()
        lights[0, :3] = se3.exp_so3(np.array([0.0, 0.0, self._light_azimuth + 0.05 * time_s])) @ lights[0, :3]
        return lights

    def _finish(self, class_id: int, rng: np.random.Generator) -> Finish:
        palette = self.objects[class_id].palette if class_id >= 0 else ()
        if palette:
            return Finish(materials.pick(palette, rng), 0.15)
        return Finish(materials.random_material(rng) if class_id < 0 else materials.faded(rng), 0.15)


def _bench_backdrop(rng: np.random.Generator) -> Backdrop:
    return Backdrop(
        table_texture=materials.bench_surface(rng),
        surroundings_texture=materials.cluttered_surface(rng),
        grain_texture=materials.bench_surface(rng),
        table_half_xy=(0.7, 0.5),
        table_pose=(rng.uniform(0.0, 2.0 * np.pi), rng.random(), rng.random()),
        table_repeats=1.2,
    )
