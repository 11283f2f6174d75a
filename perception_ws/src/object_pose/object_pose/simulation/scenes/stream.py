"""An endless stream of rendered frames, for training without a data set on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from object_pose.simulation.parts.objects import SceneObject
from object_pose.simulation.scenes.scene import SceneConfig, SceneSampler, render_scene
from object_pose.simulation.scenes.truth import SimulatedFrame
from object_pose.simulation.sensor.depth_sensor import DepthSensor, DepthSensorConfig

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
        return DepthSensor(DepthSensorConfig(scale_bias=rng.uniform(-1.0, 1.0) * self.depth_scale_error))
