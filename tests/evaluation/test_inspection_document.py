"""The mark-up of the inspection report's text becomes headings, lists, tables and figures with their captions."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from reportlab.platypus import KeepTogether, Paragraph

from object_pose.evaluation.reports.inspection.document import Pictures, build, layout

MARKUP = """
# 1  Summary
A paragraph of
two lines with <b>bold</b> words.

* first
* second &amp; last

!table 2 1 text
name | value
a | x | y

!curve
^ The curve.
!images
!beside curve
Text at its right.
"""


def test_blocks_become_flowables(tmp_path):
    figure = Figure(figsize=(4.0, 2.0))
    figure.add_subplot().plot([0, 1], [0, 1])
    images = Pictures([(np.zeros((20, 30, 3), np.uint8), "black")] * 4)
    content = layout(MARKUP, {"curve": figure, "images": images})
    texts = [item.text for item in content if isinstance(item, Paragraph)]
    assert texts == ["1 Summary", "A paragraph of two lines with <b>bold</b> words.", "first", "second &amp; last"]
    assert len(content) == 8 and isinstance(content[5], KeepTogether)
    build(str(tmp_path / "report.pdf"), "Title", "subtitle", "footer", content)
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
