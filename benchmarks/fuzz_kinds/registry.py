"""Every kind of input under one name."""

from __future__ import annotations

from benchmarks.fuzz_kinds import bags, datasets, files, messages, models, robots
from benchmarks.fuzz_kinds.kind import Kind

KINDS: dict[str, Kind] = {
    **messages.KINDS,
    **files.KINDS,
    **datasets.KINDS,
    **models.KINDS,
    **bags.KINDS,
    **robots.KINDS,
}
