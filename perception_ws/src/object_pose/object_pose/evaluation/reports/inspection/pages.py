"""The report's order and its first page; every number comes from the study."""

from __future__ import annotations

from object_pose.evaluation.reports.inspection import document as paper
from object_pose.evaluation.reports.inspection import study
from object_pose.evaluation.reports.inspection.document import Story
from object_pose.evaluation.reports.inspection.finding_pages import certainty, failures, generalisation, robustness
from object_pose.evaluation.reports.inspection.outlook_pages import next_steps, over_time, reproduction
from object_pose.evaluation.reports.inspection.phrases import SAFER_RECALL, Material, named, percent, row, with_interval
from object_pose.evaluation.reports.inspection.setup_pages import data, experiments, preprocessing


def story(material: Material) -> Story:
    """Return the whole report."""
    sections = (
        _summary(material),
        data(material),
        preprocessing(material),
        experiments(material),
        generalisation(material),
        certainty(material),
        failures(material),
        robustness(material),
        over_time(material),
        next_steps(material),
        reproduction(material),
    )
    return [flowable for section in sections for flowable in section]


def _summary(material: Material) -> Story:
    test = material.study.test
    figures_now = study.figures_of(test)
    met = [bar for bar in material.bars if bar.is_met(figures_now.get(bar.figure))]
    goal = "; ".join(f"{named(bar.figure)} of at least {percent(bar.bound)}" for bar in material.bars)
    verdict = "meets both goals" if len(met) == len(material.bars) else "does not meet every goal yet"
    weakest, share = next(iter(study.recall_by_damage(test).items()))
    threshold, found, stopped = study.threshold_for_recall(test, SAFER_RECALL)
    lines = [
        f"On {len(test):,} pictures of parts that the model has never seen, it {verdict} ({goal}).",
        f"Of the damaged batches {with_interval(study.recall(test))} are found; "
        f"{with_interval(study.false_alarms(test))} of the good ones are stopped for nothing.",
        f"The kind of damage that is found least often is <b>{named(weakest)}</b>, in {with_interval(share)} "
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
        row(material.study.hits[:3], "seen as damaged"),
        paper.caption("Damaged batches of the test and, in orange, where the network sees the damage."),
    ]
