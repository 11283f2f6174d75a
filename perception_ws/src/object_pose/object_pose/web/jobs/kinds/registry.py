"""All kinds of jobs by name, in the order in which they are shown."""

from __future__ import annotations

from object_pose.web.jobs.kinds import calibration, evaluation, training
from object_pose.web.jobs.kinds.kind import Kind

KINDS: dict[str, Kind] = {
    kind.description.name: kind for kind in (*training.KINDS, *evaluation.KINDS, *calibration.KINDS)
}
