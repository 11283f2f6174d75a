"""The report on what there was: data, preprocessing, experiments."""

from __future__ import annotations

import math
from pathlib import Path

from object_pose.evaluation.reports.inspection import document as paper
from object_pose.evaluation.reports.inspection import figures
from object_pose.evaluation.reports.inspection.document import Story
from object_pose.evaluation.reports.inspection.history import RunHistory
from object_pose.evaluation.reports.inspection.phrases import Material, named, percent
from object_pose.evaluation.reports.inspection.study import TRAINING, Share
from object_pose.simulation.generators.inspection import (
    IMAGE_WH,
    MIN_CHANGED_PIXELS,
    SEEDS_PER_LOT,
    VISIBLE_LEVELS,
    inspection_twins,
)
from object_pose.simulation.parts.twins import DAMAGES, KINDS, PARTS_PER_KIND


def data(material: Material) -> Story:
    """Return what it learned from."""
    twins = [inspection_twins(item.seed) for item in material.study.splits[TRAINING][:3]]
    shown = [(figures.with_truth(damaged), ", ".join(map(named, damaged.damages))) for damaged, _ in twins]
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
            f"itself: {', '.join(map(named, DAMAGES))}, each from subtle to obvious."
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


def preprocessing(material: Material) -> Story:
    """Return what happens to a picture before the network."""
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


def experiments(material: Material) -> Story:
    """Return what was tried, with the curves."""
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
        f"{named(name)} {Path(str(value)).name if name in ('data', 'initial') else value}"
        for name, value in run.options.items()
        if name not in skipped and reference.options.get(name) != value
    ]
    return ", ".join(changed) or "number of steps"
