"""What the gate found as report.html and report.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from object_pose.evaluation.reports.page import write_page
from object_pose.io.writers import write_json


def write_report(report: Mapping[str, Any], folder: Path) -> None:
    """Write the report of ``workflows.promote.GateReport.to_json``."""
    difference = report["difference"]
    cards = {"verdict": "passed" if report["passed"] else "refused", "samples": report["samples"]}
    if difference:
        cards["quality, candidate less champion"] = f"{difference['mean']:+.4f}"
        cards["its interval"] = f"{difference['low']:+.4f} to {difference['high']:+.4f}"
    figures = report["figures"]
    details = {name: report[name] for name in ("candidate", "champion", "test_set")}
    write_page(
        folder / "report.html",
        "gate/page.html",
        title=Path(report["candidate"]).stem,
        kind="gate",
        cards=cards.items(),
        checks=report["checks"],
        figures=figures,
        names=list(figures["candidate"]),
        worst=report["worst"],
        details=json.dumps(details, indent=2),
    )
    write_json(folder / "report.json", report)
