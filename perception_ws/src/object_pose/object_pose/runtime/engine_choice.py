"""Which of the installed inference engines runs a model fastest on this machine: measured once, then remembered."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import logging
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from statistics import median

import numpy as np

from object_pose.core.errors import ObjectPoseError
from object_pose.runtime.digests import file_sha256
from object_pose.runtime.engine import ENGINES, Batch, ConfigT, Engine, EngineConfig, check_model_file, load_engine

logger = logging.getLogger(__name__)

CACHE_VARIABLE = "OBJECT_POSE_CACHE"
_ROUNDS = 9
# Outputs may differ by this share of their largest value; bf16 differs by 0.002.
_AGREEMENT = 0.02


@dataclass(frozen=True)
class EngineTiming:
    """How one engine runs a model: the median time of one image, and the largest difference of its outputs.

    ``difference`` is relative to each output's largest value, and to the first engine.
    """

    engine: str
    inference_ms: float
    difference: float

    @property
    def agrees(self) -> bool:
        """Whether the outputs are those of the first engine, but for rounding."""
        return self.difference <= _AGREEMENT


def installed_engines() -> tuple[str, ...]:
    """Return the engines whose packages are installed, those with the published figures first."""
    return tuple(name for name in ENGINES if util.find_spec(name) is not None)


def with_fastest_engine(path: Path, config: ConfigT, cache: Path | None = None) -> ConfigT:
    """Return ``config`` with the engine that runs a model file fastest in place of 'auto'.

    Where there are several they are measured, and the choice is kept in ``cache`` for this file, machine and versions;
    a GPU that ``config.device`` allows is not measured but taken. Raises what opening the model does.
    """
    engines = installed_engines()
    if config.engine != "auto" or len(engines) < 2 or config.device == "cuda" or _has_gpu(config):
        return config
    check_model_file(path)
    cache = cache or default_cache()
    key = _key(path, engines, config)
    chosen = _remembered(cache).get(key)
    if chosen not in engines:
        timings = measure_engines(path, config, engines)
        chosen = min((item for item in timings if item.agrees), key=lambda item: item.inference_ms).engine
        logger.info("engine %s: %s", chosen, ", ".join(f"{t.engine} {t.inference_ms:.1f} ms" for t in timings))
        _remember(cache, key, chosen)
    return dataclasses.replace(config, engine=chosen)


def measure_engines(path: Path, config: EngineConfig, engines: Sequence[str] = ()) -> list[EngineTiming]:
    """Run a model file with each engine in turn, by rounds, on one image of noise; the first has to open it.

    Another one that cannot run the file is left out.
    """
    opened: dict[str, Engine] = {}
    for name in engines or installed_engines():
        try:
            opened[name] = load_engine(path, dataclasses.replace(config, engine=name))
        except ObjectPoseError as error:
            if not opened:
                raise
            logger.warning("engine %s is left out: %s", name, error)
    shape = next(iter(opened.values())).input_shape
    image = np.random.default_rng(0).random(shape, dtype=np.float32)
    outputs = {name: engine.run(image) for name, engine in opened.items()}
    times_ms: dict[str, list[float]] = {name: [] for name in opened}
    for _ in range(_ROUNDS):
        for name, engine in opened.items():
            start = time.perf_counter()
            engine.run(image)
            times_ms[name].append(1e3 * (time.perf_counter() - start))
    first = next(iter(outputs.values()))
    return [EngineTiming(name, median(times_ms[name]), _difference(first, outputs[name])) for name in opened]


def default_cache() -> Path:
    """Return the file that remembers choices."""
    return cache_folder() / "engines.json"


def cache_folder() -> Path:
    """Return the folder of what can be found out again: below ``$OBJECT_POSE_CACHE``, or the user's cache folder."""
    folder = os.environ.get(CACHE_VARIABLE) or os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(folder) / "object_pose"


def _has_gpu(config: EngineConfig) -> bool:
    if config.device != "auto" or util.find_spec("onnxruntime") is None:
        return False
    return "CUDAExecutionProvider" in importlib.import_module("onnxruntime").get_available_providers()


def _difference(expected: Sequence[Batch], actual: Sequence[Batch]) -> float:
    shares = [np.abs(a - b).max() / max(float(np.abs(a).max()), 1e-9) for a, b in zip(expected, actual) if a.size]
    return float(max(shares, default=0.0))


def _key(path: Path, engines: Sequence[str], config: EngineConfig) -> str:
    """Return what a choice is good for, as one word."""
    versions = [f"{name} {metadata.version(name)}" for name in engines]
    machine = f"{platform.machine()} {_processor()} {config.thread_count}"
    text = "\n".join([file_sha256(path), machine, *versions])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _processor() -> str:
    """Return the processor's name and abilities where Linux tells them: bf16 decides between engines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(dict.fromkeys(line for line in lines if line.startswith(("model name", "flags"))))


def _remembered(cache: Path) -> Mapping[str, str]:
    try:
        found = json.loads(cache.read_text())
    except (OSError, ValueError):  # none yet, or spoilt: it is measured again
        return {}
    return found if isinstance(found, dict) else {}


def _remember(cache: Path, key: str, engine: str) -> None:
    temporary = cache.with_name(f".{cache.name}.{os.getpid()}")
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps({**_remembered(cache), key: engine}))
        temporary.replace(cache)
    except OSError as error:
        logger.warning("the choice of engine is measured again next time: %s", error)
