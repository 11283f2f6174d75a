"""Random scenes: which objects, how they lie, what is around them, and how a camera looks at them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from object_pose.core.arrays import Array, Image
from object_pose.core.frame import Frame
from object_pose.core.geometry import se3
from object_pose.core.geometry.camera import Camera
from object_pose.core.params import parameter
from object_pose.simulation.depth_sensor import DepthSensor, DepthSensorConfig
from object_pose.simulation.parts.objects import SceneObject
from object_pose.simulation.render import materials
from object_pose.simulation.render.lighting import Lighting, held_out_lighting, random_lighting
from object_pose.simulation.render.mesh import RenderMesh
from object_pose.simulation.render.renderer import Backdrop, Finish, Optics, Placement, World, render
from object_pose.simulation.scenes import layout
from object_pose.simulation.scenes.distractors import bin_mesh, random_distractor, random_occluder
from object_pose.simulation.scenes.prints import divided, printed
from object_pose.simulation.scenes.truth import SimulatedFrame, find_truths

_TEXTURE_POOL = 16
_PATCHED_SHARE = 0.7  # of prints, that are patches of all colours; the others are patterns
_SHADOW_REACH_M = 0.45
_WIDEST_M = 0.55  # half width of the area with objects that the usual height map covers
_LIGHTINGS = {"indoor": random_lighting, "held_out": held_out_lighting}


@dataclass(frozen=True)
class SceneConfig:
    """How random scenes are drawn; the defaults suit hand-sized parts on a bench under a wrist or overhead camera."""

    width: int = parameter(640, "image width in pixels", minimum=32, maximum=4096)
    height: int = parameter(480, "image height in pixels", minimum=32, maximum=4096)
    focal_px: float = parameter(610.0, "focal length in pixels", minimum=16.0, maximum=8192.0)
    offset_x_px: float = parameter(
        0.0, "principal point, pixels right of the image's middle", minimum=-2048.0, maximum=2048.0
    )
    offset_y_px: float = parameter(0.0, "principal point, pixels below it", minimum=-2048.0, maximum=2048.0)
    focal_jitter: float = parameter(0.03, "relative spread of the focal length", minimum=0.0, maximum=0.5)
    min_objects: int = parameter(3, "fewest objects in a scene", minimum=0, maximum=64)
    max_objects: int = parameter(10, "most objects in a scene", minimum=0, maximum=64)
    max_distractors: int = parameter(6, "most distractors in a scene", minimum=0, maximum=64)
    bin_share: float = parameter(0.35, "share of scenes with a bin", minimum=0.0, maximum=1.0)
    floating_share: float = parameter(0.2, "share of scenes with objects in the air", minimum=0.0, maximum=1.0)
    upright_share: float = parameter(0.0, "share of objects on tables that stand upright", minimum=0.0, maximum=1.0)
    any_rotation_share: float = parameter(0.1, "share of objects on tables in any rotation", minimum=0.0, maximum=1.0)
    repaint_share: float = parameter(0.25, "share of objects of a material of any kind", minimum=0.0, maximum=1.0)
    printed_share: float = parameter(0.0, "share of objects with a picture printed on them", minimum=0.0, maximum=1.0)
    plain_repaint_share: float = parameter(
        -1.0, "the same share of objects of one colour throughout; -1 as of all others", minimum=-1.0, maximum=1.0
    )
    plain_printed_share: float = parameter(
        -1.0, "share of objects of one colour that get a print; -1 as of all others", minimum=-1.0, maximum=1.0
    )
    marker_share: float = parameter(
        0.0, "share of tables with square markers, as robots are calibrated with", minimum=0.0, maximum=1.0
    )
    occluder_share: float = parameter(0.3, "share of views with something in front", minimum=0.0, maximum=1.0)
    min_spread_m: float = parameter(0.10, "least half width of the area with objects", minimum=0.01, maximum=_WIDEST_M)
    max_spread_m: float = parameter(
        0.24, "greatest half width of the area with objects", minimum=0.01, maximum=_WIDEST_M
    )
    clutter_scale: float = parameter(
        1.0, "size of distractors, occluders and bin walls, 1 beside hand-sized parts", minimum=0.05, maximum=20.0
    )
    min_distance_m: float = parameter(0.35, "least distance of camera and table centre", minimum=0.1, maximum=5.0)
    max_distance_m: float = parameter(0.9, "greatest distance of camera and table centre", minimum=0.1, maximum=5.0)
    min_depth_m: float = parameter(
        DepthSensorConfig().min_depth_m, "nearest depth that the depth camera measures", minimum=0.0, maximum=10.0
    )
    min_elevation_deg: float = parameter(30.0, "lowest camera above the table", minimum=-90.0, maximum=90.0)
    max_elevation_deg: float = parameter(80.0, "highest camera above the table", minimum=-90.0, maximum=90.0)
    max_roll_deg: float = parameter(12.0, "greatest roll of the camera", minimum=0.0, maximum=180.0)
    max_noise_levels: float = parameter(4.0, "greatest image noise, grey levels", minimum=0.0, maximum=64.0)
    lighting: str = parameter("indoor", "kind of light; that of held_out is kept for tests", choices=tuple(_LIGHTINGS))
    views_per_scene: int = parameter(3, "pictures taken of a scene before the next", minimum=1, maximum=1000)


# Parts as they lie on benches and in bins, in their own finishes and in light that is kept for tests. What floats or is
# repainted only makes training harder.
TEST_SCENES = SceneConfig(floating_share=0.0, any_rotation_share=0.0, repaint_share=0.0, lighting="held_out")


@dataclass(frozen=True)
class Scene:
    """Everything that a picture depends on; world frame: z up, table top at z = 0.

    ``layout`` stays between views of a scene, ``occluders`` are placed before each view's camera; ``finishes`` are
    those of both, in this order.
    """

    objects: tuple[SceneObject, ...]
    layout: tuple[Placement, ...]
    occluders: tuple[Placement, ...]
    finishes: tuple[Finish, ...]
    backdrop: Backdrop
    lighting: Lighting
    optics: Optics
    camera: Camera
    T_world_camera: Array

    @property
    def placements(self) -> tuple[Placement, ...]:
        """Everything that is drawn, in the order of ``finishes``."""
        return self.layout + self.occluders


class SceneSampler:
    """Draws scenes of ``objects``, whose position in the list is their class id."""

    def __init__(self, objects: Sequence[SceneObject], config: SceneConfig) -> None:
        self.objects = tuple(objects)
        self.config = config
        self._surfaces: list[Image] = []
        self._clutter: list[Image] = []
        self._marked: list[Image] = []
        self._divided: dict[int, RenderMesh] = {}
        # Where plain objects have shares of their own they are drawn in white, for their colour would tint all others.
        has_own_shares = max(config.plain_repaint_share, config.plain_printed_share) >= 0.0
        self._plain_colors = [item.plain_color if has_own_shares else None for item in self.objects]
        self._meshes = [
            item.mesh if color is None else dataclasses.replace(item.mesh, colors=np.ones_like(item.mesh.colors))
            for item, color in zip(self.objects, self._plain_colors)
        ]

    def sample(self, rng: np.random.Generator) -> Scene:
        """Draw a new scene and a view of it."""
        kind = rng.random()
        if kind < self.config.floating_share:
            placements, on_table = self._floating(rng), False
        else:
            in_bin = kind < self.config.floating_share + (1.0 - self.config.floating_share) * self.config.bin_share
            placements, on_table = (self._in_bin(rng) if in_bin else self._on_table(rng)), True
        scene = Scene(
            self.objects,
            tuple(placements),
            (),
            (),
            self._backdrop(on_table, rng),
            self._lighting(rng),
            Optics(),
            self._camera(rng),
            np.eye(4),
        )
        return self.revisit(scene, rng)

    def revisit(self, scene: Scene, rng: np.random.Generator) -> Scene:
        """Draw another view of a scene: camera, lights, materials, exposure and occluder change, the layout stays."""
        T_world_camera = self._viewpoint(rng)
        occluders: tuple[Placement, ...] = ()
        if rng.random() < self.config.occluder_share:
            occluders = (self._occluder(scene.layout, T_world_camera, rng),)
        return dataclasses.replace(
            scene,
            occluders=occluders,
            finishes=tuple(self._finish(item.class_id, rng) for item in scene.layout + occluders),
            lighting=self._lighting(rng),
            optics=self._optics(rng),
            T_world_camera=T_world_camera,
        )

    def _on_table(self, rng: np.random.Generator) -> list[Placement]:
        ground = layout.HeightMap(scale=self._ground_scale)
        half = np.full(2, rng.uniform(self.config.min_spread_m, self.config.max_spread_m))
        pile = bool(rng.random() < 0.2)
        placements = self._drop_objects(ground, half, pile, rng)
        return placements + self._drop_distractors(ground, 1.6 * half, rng)

    def _in_bin(self, rng: np.random.Generator) -> list[Placement]:
        half = rng.uniform(self.config.min_spread_m, self.config.max_spread_m) * rng.uniform(0.7, 1.0, 2)
        thickness = rng.uniform(0.002, 0.006) * self.config.clutter_scale
        walls = bin_mesh(half, rng.uniform(0.03, 0.11) * self.config.clutter_scale, thickness)
        ground = layout.HeightMap(thickness, self._ground_scale)
        placements = self._drop_objects(ground, half, True, rng)
        placements += self._drop_distractors(ground, half, rng)[:2]
        turn = se3.make_transform(layout.heading(rng))
        turned = [dataclasses.replace(item, T_world_object=turn @ item.T_world_object) for item in placements]
        return [*turned, Placement(walls, turn)]

    def _floating(self, rng: np.random.Generator) -> list[Placement]:
        reach = rng.uniform(self.config.min_spread_m, self.config.max_spread_m)
        taken: list[tuple[Array, float]] = []
        placements = []
        for class_id in self._class_ids(rng):
            mesh = self._mesh(class_id, rng)
            pose = layout.hang(mesh.radius, reach, taken, rng)
            if pose is not None:
                placements.append(Placement(mesh, pose, class_id))
        for _ in range(int(rng.integers(self.config.max_distractors + 1))):
            mesh = random_distractor(rng, self.config.clutter_scale)
            pose = layout.hang(mesh.radius, 1.3 * reach, taken, rng)
            if pose is not None:
                placements.append(Placement(mesh, pose))
        return placements

    @property
    def _ground_scale(self) -> float:
        """The scale of height maps: that of the clutter, but not so small that objects lie beyond the map."""
        return max(self.config.clutter_scale, min(1.0, self.config.max_spread_m / _WIDEST_M))

    def _class_ids(self, rng: np.random.Generator) -> list[int]:
        count = int(rng.integers(self.config.min_objects, max(self.config.max_objects, self.config.min_objects) + 1))
        return [int(class_id) for class_id in rng.integers(len(self.objects), size=count)]

    def _drop_objects(
        self, ground: layout.HeightMap, half: Array, pile: bool, rng: np.random.Generator
    ) -> list[Placement]:
        placements = []
        for class_id in self._class_ids(rng):
            item = self.objects[class_id]
            pose = layout.drop(
                item.model.points_object, self._rotation(item, pile, rng), ground, half, rng, tries=10, pile=pile
            )
            if pose is not None:
                placements.append(Placement(self._mesh(class_id, rng), pose, class_id))
        return placements

    def _mesh(self, class_id: int, rng: np.random.Generator) -> RenderMesh:
        mesh = self._meshes[class_id]
        share = self._share(class_id, self.config.printed_share, self.config.plain_printed_share)
        if not share or rng.random() >= share:
            return mesh
        if class_id not in self._divided:
            self._divided[class_id] = divided(mesh)
        picture = self._cluttered(rng) if rng.random() < _PATCHED_SHARE else self._surface(rng)
        return printed(self._divided[class_id], picture, rng)

    def _share(self, class_id: int, usual: float, plain: float) -> float:
        """Return a share for an object: the ``usual`` one, or that of ``plain`` objects where it is one."""
        return usual if plain < 0.0 or self._plain_colors[class_id] is None else plain

    def _rotation(self, item: SceneObject, pile: bool, rng: np.random.Generator) -> Array:
        draw = rng.random()
        if draw < self.config.upright_share:
            return layout.upright_rotation(rng)
        if draw < self.config.upright_share + self.config.any_rotation_share:
            return layout.any_rotation(rng)
        stable = layout.stable_rotation(item, rng)
        leans = pile and rng.random() < 0.5
        return np.asarray(layout.tilt(rng, 0.3) @ stable) if leans else stable

    def _drop_distractors(self, ground: layout.HeightMap, half: Array, rng: np.random.Generator) -> list[Placement]:
        placements = []
        for _ in range(int(rng.integers(self.config.max_distractors + 1))):
            mesh = random_distractor(rng, self.config.clutter_scale)
            rotation = layout.heading(rng) if rng.random() < 0.7 else layout.any_rotation(rng)
            points = np.asarray(mesh.vertices, dtype=np.float64)
            pose = layout.drop(points, rotation, ground, half, rng, tries=6, pile=False)
            if pose is not None:
                placements.append(Placement(mesh, pose))
        return placements

    def _finish(self, class_id: int, rng: np.random.Generator) -> Finish:
        grain = rng.uniform(0.0, 0.5) if rng.random() < 0.6 else 0.0
        config = self.config
        if class_id < 0 or rng.random() < self._share(class_id, config.repaint_share, config.plain_repaint_share):
            return Finish(materials.random_material(rng), grain)
        palette, color = self.objects[class_id].palette, self._plain_colors[class_id]
        material = materials.pick(palette, rng) if palette else materials.faded(rng)
        if color is not None:
            material = dataclasses.replace(material, color=_triple(color * material.color))
        return Finish(material, grain)

    def _backdrop(self, on_table: bool, rng: np.random.Generator) -> Backdrop:
        low = np.array([*rng.uniform(-2.6, -1.6, 2), rng.uniform(-0.9, -0.35)])
        high = np.array([*rng.uniform(1.6, 2.6, 2), 2.4])
        half_xy = rng.uniform(0.35, 0.9, 2) if on_table else np.zeros(2)
        return Backdrop(
            table_texture=self._table(rng),
            surroundings_texture=self._cluttered(rng),
            grain_texture=self._surface(rng),
            table_half_xy=(float(half_xy[0]), float(half_xy[1])),
            table_pose=(rng.uniform(0.0, 2.0 * np.pi), rng.random(), rng.random()),
            table_repeats=rng.uniform(0.6, 2.0),
            surroundings_corners=np.stack([low, high]),
            surroundings_repeats=rng.uniform(0.25, 1.0),
            surroundings_shift=(rng.random(), rng.random()),
            surroundings_brightness=_triple(rng.uniform(0.15, 1.2) * rng.uniform(0.85, 1.15, 3)),
        )

    def _table(self, rng: np.random.Generator) -> Image:
        if self.config.marker_share and rng.random() < self.config.marker_share:
            return _pooled(self._marked, materials.marked_surface, rng)
        return self._surface(rng)

    def _surface(self, rng: np.random.Generator) -> Image:
        return _pooled(self._surfaces, materials.random_surface, rng)

    def _cluttered(self, rng: np.random.Generator) -> Image:
        return _pooled(self._clutter, materials.cluttered_surface, rng)

    def _lighting(self, rng: np.random.Generator) -> Lighting:
        return _LIGHTINGS[self.config.lighting](rng, _SHADOW_REACH_M)

    def _camera(self, rng: np.random.Generator) -> Camera:
        config = self.config
        focal = config.focal_px * (1.0 + config.focal_jitter * rng.uniform(-1.0, 1.0))
        middle_x, middle_y = 0.5 * (config.width - 1), 0.5 * (config.height - 1)
        cx, cy = middle_x + config.offset_x_px, middle_y + config.offset_y_px
        return Camera(config.width, config.height, focal, focal, cx, cy)

    def _viewpoint(self, rng: np.random.Generator) -> Array:
        config = self.config
        elevation = np.radians(rng.uniform(config.min_elevation_deg, config.max_elevation_deg))
        azimuth = rng.uniform(0.0, 2.0 * np.pi)
        distance = rng.uniform(config.min_distance_m, config.max_distance_m)
        direction = np.array(
            [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)]
        )
        target = rng.normal(0.0, 0.06 * distance, 3) * (1.0, 1.0, 0.4)
        roll = np.radians(rng.uniform(-config.max_roll_deg, config.max_roll_deg))
        return layout.look_at(target + distance * direction, target, roll)

    def _occluder(self, placements: Sequence[Placement], T_world_camera: Array, rng: np.random.Generator) -> Placement:
        eye = T_world_camera[:3, 3]
        target = np.zeros(3)
        if placements:
            target = placements[int(rng.integers(len(placements)))].T_world_object[:3, 3]
        scale = self.config.clutter_scale
        center = eye + rng.uniform(0.45, 0.8) * (target - eye) + rng.normal(0.0, 0.02 * scale, 3)
        return Placement(random_occluder(rng, scale), se3.make_transform(layout.any_rotation(rng), center))

    def _optics(self, rng: np.random.Generator) -> Optics:
        noise = rng.uniform(0.0, self.config.max_noise_levels) * rng.random()
        return Optics(
            exposure=float(np.exp(rng.uniform(np.log(0.07), np.log(0.45)))),
            white_balance=_triple(np.exp(rng.normal(0.0, 0.08, 3))),
            blur_px=rng.uniform(0.35, 0.9),
            noise_levels=noise,
        )


def render_scene(scene: Scene, rng: np.random.Generator, depth_sensor: DepthSensor | None = None) -> SimulatedFrame:
    """Take the picture, with a ``depth_sensor`` depth as well; objects of under 8 visible pixels have no truth."""
    world = World(scene.placements)
    picture = render(
        world,
        scene.finishes,
        scene.backdrop,
        scene.lighting,
        scene.optics,
        scene.camera,
        scene.T_world_camera,
        rng,
    )
    depth = None
    if depth_sensor is not None:
        depth = depth_sensor.measure(picture.depth_m, scene.camera, picture.glare, rng)
    truths, instance_ids = find_truths(scene.objects, scene.placements, picture, scene.T_world_camera)
    return SimulatedFrame(Frame(picture.rgb, scene.camera, depth), truths, instance_ids)


def _pooled(pool: list[Image], draw: Callable[[np.random.Generator], Image], rng: np.random.Generator) -> Image:
    """Take a texture out of a pool of 16 that is filled first and renewed now and then: drawing one costs 7 ms."""
    if len(pool) < _TEXTURE_POOL:
        pool.append(draw(rng))
        return pool[-1]
    index = int(rng.integers(_TEXTURE_POOL))
    if rng.random() < 0.25:
        pool[index] = draw(rng)
    return pool[index]


def _triple(values: Array) -> tuple[float, float, float]:
    red, green, blue = values.tolist()
    return red, green, blue


MAX_DEPTH_SCALE_ERROR = 0.01


class FrameStream:
    """Iterates over random frames of ``objects`` for ever; equal seeds give equal streams.

    Give every loader worker its own ``seed``. With ``depth`` a frame carries depth of a sensor whose scale error is
    drawn anew for every scene, up to ``depth_scale_error``.
    """

    def __init__(
        self,
        objects: Sequence[SceneObject],
        config: SceneConfig | None = None,
        *,
        depth: bool = False,
        seed: int | tuple[int, ...] = 0,
        depth_scale_error: float = MAX_DEPTH_SCALE_ERROR,
    ) -> None:
        self.objects = tuple(objects)
        self.config = config or SceneConfig()
        self.depth = depth
        self.seed = seed
        self.depth_scale_error = depth_scale_error

    def __iter__(self) -> Iterator[SimulatedFrame]:
        rng = np.random.default_rng(self.seed)
        sampler = SceneSampler(self.objects, self.config)
        while True:
            scene = sampler.sample(rng)
            sensor = self._sensor(rng)
            yield render_scene(scene, rng, sensor)
            for _ in range(self.config.views_per_scene - 1):
                scene = sampler.revisit(scene, rng)
                yield render_scene(scene, rng, sensor)

    def _sensor(self, rng: np.random.Generator) -> DepthSensor | None:
        if not self.depth:
            return None
        scale_bias = rng.uniform(-1.0, 1.0) * self.depth_scale_error
        return DepthSensor(DepthSensorConfig(scale_bias=scale_bias, min_depth_m=self.config.min_depth_m))
