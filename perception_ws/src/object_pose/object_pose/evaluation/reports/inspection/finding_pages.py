"""The report on what was found: generalisation, certainty, failures, robustness."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from object_pose.evaluation.reports.inspection import document as paper
from object_pose.evaluation.reports.inspection import figures, study
from object_pose.evaluation.reports.inspection.document import Story
from object_pose.evaluation.reports.inspection.phrases import Material, listed, named, percent, row, with_interval
from object_pose.evaluation.reports.inspection.study import NEW_LIGHT, TEST, TRAINING, VALIDATION, Share


def generalisation(material: Material) -> Story:
    """Return how it does on parts that it never saw."""
    measured, test = material.study, material.study.test
    rows = [["pictures of", "number", "accuracy (95 % interval)", "recall damaged", "precision damaged", "ROC area"]]
    for name, judged in measured.splits.items():
        numbers = study.figures_of(judged)
        rows.append(
            [name, f"{len(judged):,}", with_interval(study.accuracy(judged)), percent(numbers["recall_damaged"]),
             percent(numbers["precision_damaged"]), f"{numbers['roc_auc']:.4f}"]
        )  # fmt: skip
    known, unseen = (study.accuracy(measured.splits[name]) for name in (TRAINING, TEST))
    light = study.accuracy(measured.splits[NEW_LIGHT])
    overlap = unseen.interval[1] >= known.interval[0]
    gap = (
        f"Pictures that training knew are judged right in {percent(known.value)}, unknown parts in "
        f"{percent(unseen.value)}: "
        + ("within the uncertainty of the counts, so the network has learned damage and not parts."
           if overlap else "a gap beyond the uncertainty of the counts, so part of what it knows is the parts.")
    )  # fmt: skip
    figure_names = study.figures_of(test)
    confusion = [
        ["test", "called damaged", "called undamaged"],
        *(
            [f"truly {label}", *(f"{figure_names[f'count_{label}_as_{other}']:.0f}" for other in material.card.labels)]
            for label in material.card.labels
        ),
    ]
    goals = {bar.figure: bar.bound for bar in material.bars}
    return [
        paper.heading("5  How well it generalises"),
        paper.table(rows, [2.0, 0.9, 2.6, 1.3, 1.4, 1.1]),
        paper.text(gap + f" In light that training never draws, {with_interval(light)} are judged right."),
        paper.table(confusion, [2, 2, 2]),
        paper.figure(
            figures.roc_and_tradeoff(test), "What a threshold costs, on the test: the dotted line is the one in use."
        ),
        paper.side_by_side(
            paper.half_figure(
                figures.shares_chart(
                    {named(kind): share for kind, share in study.recall_by_damage(test).items()},
                    "batches found, by the one damage in it",
                    goals.get("recall_damaged"),
                )
            ),
            paper.half_figure(figures.recall_over_size(test)),
        ),
        paper.caption(
            "Shares with their 95 % intervals and the number of pictures; the dashed line is the goal. "
            + _size_finding(test)
        ),
        paper.side_by_side(
            paper.half_figure(
                figures.shares_chart(
                    {f"{count} part" + "s" * (count > 1): s for count, s in study.accuracy_by_parts(test).items()},
                    "pictures judged right, by parts in it",
                    goals.get("accuracy"),
                )
            ),
            paper.text(_parts_finding(test)),
        ),
    ]


def _size_finding(test: Sequence[study.Judgement]) -> str:
    groups = study.recall_by_size(test)
    if len(groups) < 2:
        return ""
    (low, high, small), (_, _, large) = groups[0], groups[-1]
    return (
        f"The smallest damages, {low:.0f} to {high:.0f} changed pixels, are found in {percent(small.value)}, "
        f"the largest in {percent(large.value)}."
    )


def _parts_finding(test: Sequence[study.Judgement]) -> str:
    by_parts = study.accuracy_by_parts(test)
    worst = min(by_parts, key=lambda count: by_parts[count].value)
    best = max(by_parts, key=lambda count: by_parts[count].value)
    return (
        "More parts mean smaller parts, as the camera stands further off, and more places where something could look "
        f"like damage. Pictures with {worst} part(s) are the hardest, {percent(by_parts[worst].value)} right; those "
        f"with {best} the easiest, {percent(by_parts[best].value)}. The map's peak lies on the damage in "
        f"{with_interval(study.pointing(test))} of the damaged batches that were found."
    )


def certainty(material: Material) -> Story:
    """Return how far its probabilities can be trusted."""
    test, validation = material.study.test, material.study.splits[VALIDATION]
    rows = [["wanted share of damage found", "threshold", "found in the test", "good batches stopped"]]
    for wanted in (0.95, 0.98, 0.99, 0.995):
        threshold, _, _ = study.threshold_for_recall(validation, wanted)
        found = study.recall([item for item in test if item.is_damaged and item.probability >= threshold])
        damaged = sum(item.is_damaged for item in test)
        stopped = [item for item in test if not item.is_damaged]
        wrong = Share(sum(item.probability >= threshold for item in stopped), len(stopped))
        rows.append(
            [percent(wanted), f"{threshold:.3f}", with_interval(Share(found.whole, damaged)), with_interval(wrong)]
        )
    error = study.calibration_error(test)
    brier = float(np.mean((study.probabilities(test) - study.truths(test)) ** 2))
    sure = [item for item in test if max(item.probability, 1.0 - item.probability) >= study.SURE]
    return [
        paper.heading("6  How far its probabilities can be trusted"),
        paper.text(
            f"The mean gap between predicted probability and true share is {100 * error:.1f} points (Brier score "
            f"{brier:.4f}). In {percent(len(sure) / len(test))} of the pictures the model is at least "
            f"{percent(study.SURE)} sure, and of those "
            f"{with_interval(study.accuracy(sure))} are right. The others are the ones to show to a person."
        ),
        paper.figure(figures.calibration_chart(test), "Left: predicted against true. Right: how often each is said."),
        paper.text(
            "A damaged batch that slips through usually costs more than a good one that is looked at twice. The "
            "threshold is the line's to choose; these were chosen on the validation lots and tried on the test lots:"
        ),
        paper.table(rows, [2.2, 1.0, 2.2, 2.2]),
    ]


def failures(material: Material) -> Story:
    """Return where it fails, with pictures."""
    measured = material.study
    content: Story = [paper.heading("7  Where it fails")]
    wrong = [item for item in measured.test if not item.is_right]
    if not wrong:
        return [
            *content,
            paper.text("In this test it made no mistake; more pictures are needed to see where it fails."),
        ]
    missed = [item for item in wrong if item.is_damaged]
    content.append(
        paper.text(
            f"{len(missed)} damaged batches were missed and {len(wrong) - len(missed)} good ones stopped, of "
            f"{len(measured.test):,}. {_missed_finding(measured.test, missed)}"
        )
    )
    if measured.missed:
        items = []
        for item in measured.missed:
            shown = np.concatenate([figures.with_truth(item.drawn), figures.with_attention(item)], axis=1)
            names = ", ".join(map(named, item.drawn.damages))
            items.append((shown, f"{names}; probability of damage {item.result.probabilities[0]:.2f}"))
        content += [paper.subheading("Missed, surest mistakes first"), paper.pictures(items, columns=2)]
        content.append(paper.caption("Left: the true damage, in red. Right: what the network saw, in orange."))
    if measured.alarms:
        content += [paper.subheading("Good batches that were stopped"), row(measured.alarms, "probability of damage")]
    return content


def _missed_finding(test: Sequence[study.Judgement], missed: Sequence[study.Judgement]) -> str:
    if not missed:
        return ""
    usual = float(np.median([item.changed_pixels for item in test if item.is_damaged]))
    here = float(np.median([item.changed_pixels for item in missed]))
    kinds = [damage for item in missed for damage in item.damages]
    commonest = max(sorted(set(kinds)), key=kinds.count)
    relation = "fewer than" if here < usual else "not fewer than"
    return (
        f"The damage in the missed ones changes {here:.0f} pixels (median), {relation} the {usual:.0f} of all damaged "
        f"batches; {named(commonest)} occurs most often among them ({kinds.count(commonest)} times)."
    )


def robustness(material: Material) -> Story:
    """Return what worse pictures cost, and advice on cameras and light."""
    worse = material.study.worse
    reference = worse[0].accuracy
    harmful = sorted(worse[1:], key=lambda item: item.accuracy.value)
    losses = [
        f"{item.name}: {100 * (reference.value - item.accuracy.value):.1f} points" for item in harmful[:3]
    ]  # fmt: skip
    beyond = [item for item in harmful if item.accuracy.interval[1] < reference.interval[0]]
    kinds = list(dict.fromkeys(item.kind for item in beyond))
    finding = (
        f"Beyond the uncertainty of {reference.whole} pictures, it suffers from {listed(kinds)}."
        if kinds
        else f"None of these moves the accuracy beyond the uncertainty of {reference.whole} pictures."
    )
    advice = [_ADVICE[kind] for kind in dict.fromkeys([*kinds, *_ADVICE])]
    return [
        paper.heading("8  Cameras and lighting"),
        paper.text(
            "The same test pictures were made worse in ways that happen on a line. What costs most: "
            f"{'; '.join(losses)}. {finding}"
        ),
        paper.side_by_side(
            paper.half_figure(figures.worse_chart(worse)),
            paper.text(
                "Recommendations, the measured weaknesses first:<br/>"
                + "<br/>".join(f"<font color='{figures.TEAL}'>&#9632;</font> {line}" for line in advice)
            ),
        ),
    ]


_ADVICE = {
    "focus": "<b>Focus</b>: fix focus and aperture, stop down until the whole depth of a part is sharp, and check "
    "sharpness on a printed target every shift.",
    "resolution": "<b>Resolution</b>: choose lens and distance by the smallest tooth; the parts, not the tray, should "
    "fill the picture. Two cameras on half a tray each beat one on the whole.",
    "exposure": "<b>Exposure</b>: fix exposure time, gain and white balance; close the station against daylight.",
    "sensor noise": "<b>Noise</b>: add light before gain; a global-shutter industrial sensor at its base gain.",
    "compression": "<b>Files</b>: store PNG or high-quality JPEG; what compression removes no training brings back.",
    "lighting": "<b>Lighting</b>: a diffuse dome or two bars at a low angle keep bare metal from glaring; a second "
    "picture with backlight gives the outline in which a missing tooth cannot hide.",
    "view": "<b>View</b>: straight from above, with a matt tray of a colour that no part has; spread the parts so that "
    "none covers another, and shake and repeat the picture to see the springs' other side.",
}
