"""``object-pose dataset``: faults with file and line, reports, other formats, splits, renders; nothing is ever half."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from labelled import write_class_set, write_mask_set, write_noise, write_yolo_set
from networks import save_constant_network
from object_pose.core.vision.decoders import Layout
from object_pose.io.bop import read_bop_scene
from object_pose.io.datasets.class_folders import read_class_folders
from object_pose.io.datasets.mask_pairs import read_mask_pairs
from object_pose.io.datasets.opening import read_boxes
from object_pose.io.datasets.samples import require_usable
from object_pose.runtime.card import ModelCard
from object_pose.simulation.parts.procedural import PART_NAMES

SOUND = "0 0.5 0.5 0.5 0.5\n1 0.2 0.2 0.1 0.1\n"


@pytest.fixture
def boxes(tmp_path):
    """Two recordings of five frames each, in one YOLO folder."""
    texts = {f"{name}_{index:03d}": SOUND for name in ("hall", "yard") for index in range(5)}
    return write_yolo_set(tmp_path / "boxes", texts)


def some_detector(folder):
    """A model that sees a dog in the upper left corner of every image, whatever is there."""
    card = ModelCard("detect", Layout.YOLOV8_DETECT, ("cat", "dog"), (64, 64), name="dogs", version="1")
    # The images are twice as wide as high: the letterbox is 16 px above and below.
    found = np.array([16.0, 24.0, 16.0, 8.0, 0.0, 0.9]).reshape(1, 6, 1)
    return save_constant_network(found, card.to_metadata(), (64, 64), folder / "dogs.onnx")


def test_check_says_what_is_there_and_what_is_wrong(cli, boxes):
    outcome = cli("dataset", "check", boxes)
    assert outcome.code == 0 and "10 images, 20 boxes, 2 classes (yolo): 0 errors, 0 warnings" in outcome.out
    label = boxes / "labels" / "hall_002.txt"
    label.write_text(f"{SOUND}5 0.5 0.5 0.1 0.1\n")
    outcome = cli("dataset", "check", boxes)
    assert outcome.code == 1 and f"{label}:3: class id 5 is not in 0..1\n" in outcome.out
    as_json = json.loads(cli("dataset", "check", boxes, "--json").out)
    assert as_json["faults"] == [
        {"path": str(label), "line": 3, "problem": "class id 5 is not in 0..1", "severity": "error"}
    ]


def test_labels_come_from_a_file_or_the_command_line(cli, tmp_path):
    root = write_yolo_set(tmp_path / "set", {"a": SOUND}, names=())
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    for labels in (tmp_path / "names.txt", "cat,dog"):
        outcome = cli("dataset", "check", root, "--labels", labels)
        assert outcome.code == 0 and "0 errors, 0 warnings" in outcome.out
    assert "class id 1 is not in 0..0" in cli("dataset", "check", root, "--labels", "cat").out
    assert "names.yaml" in cli("dataset", "check", root, "--labels", tmp_path / "names.yaml").problem


def test_there_and_back_again(cli, boxes, tmp_path):
    assert cli("dataset", "convert", boxes, "--to", "coco", "--output", tmp_path / "coco").code == 0
    assert cli("dataset", "convert", tmp_path / "coco", "--to", "yolo", "--output", tmp_path / "yolo").code == 0
    first, second = read_boxes(boxes), require_usable(read_boxes(tmp_path / "yolo"))
    assert first.labels == second.labels
    assert [(s.path.name, s.class_ids.tolist(), s.boxes_xyxy.round(3).tolist()) for s in first.samples] == [
        (s.path.name, s.class_ids.tolist(), s.boxes_xyxy.round(3).tolist()) for s in second.samples
    ]
    assert "dataset convert" in json.loads((tmp_path / "yolo" / "dataset.json").read_text())["command"]


def test_a_split_keeps_recordings_together(cli, boxes, tmp_path):
    shutil.copyfile(boxes / "images" / "hall_000.png", boxes / "images" / "strange.png")
    (boxes / "labels" / "strange.txt").write_text(SOUND)
    outcome = cli("dataset", "split", boxes, "--shares", "train=0.5,test=0.5", "--output", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    names = [{path.name for path in (tmp_path / "out" / split / "images").iterdir()} for split in ("train", "test")]
    halls = next(found for found in names if "hall_000.png" in found)
    assert halls == {*(f"hall_{index:03d}.png" for index in range(5)), "strange.png"}
    assert set.union(*names) == {path.name for path in (boxes / "images").iterdir()}
    assert cli("dataset", "check", tmp_path / "out").code == 0


def test_other_kinds_are_split_too(cli, tmp_path):
    parts = write_class_set(tmp_path / "parts", {"damaged": 6, "whole": 6})
    outcome = cli("dataset", "split", parts, "--group", r"part(\d+)", "--output", tmp_path / "parts_split")
    assert outcome.code == 0, outcome.err
    train = require_usable(read_class_folders(tmp_path / "parts_split" / "train"))
    assert [sample.class_id for sample in train.samples].count(0) in (4, 5)
    masks = write_mask_set(tmp_path / "masks", 6)
    assert cli("dataset", "split", masks, "--group", "none", "--output", tmp_path / "masks_split").code == 0
    assert len(require_usable(read_mask_pairs(tmp_path / "masks_split" / "train")).samples) == 5


def test_a_report_is_a_page_and_json(cli, boxes, tmp_path):
    shutil.copytree(boxes, tmp_path / "set" / "train")
    write_yolo_set(tmp_path / "set" / "val", {"other_1": SOUND})
    shutil.copyfile(boxes / "images" / "yard_004.png", tmp_path / "set" / "val" / "images" / "leak_9.png")
    (tmp_path / "set" / "val" / "labels" / "leak_9.txt").write_text("0 0.5 0.5 0.5 0.5\n1 0.5 0.5 0.5 0.5\n")
    outcome = cli("dataset", "report", tmp_path / "set", "--output", tmp_path / "report")
    assert outcome.code == 0, outcome.err
    figures = json.loads((tmp_path / "report" / "report.json").read_text())
    assert figures["splits"] == {"train": 10, "val": 2}
    assert figures["boxes"]["classes"][1]["boxes"] == {"train": 10, "val": 2}
    leaked = {row["second"].rsplit("/", 1)[1] for row in figures["near_duplicates"]["across_splits"]}
    assert "leak_9.png" in leaked
    doubled = [row for row in figures["suspicious"] if row["kind"] == "one object with two classes"]
    assert [row["path"].rsplit("/", 1)[1] for row in doubled] == ["leak_9.png"]
    page = (tmp_path / "report" / "report.html").read_text()
    assert page.count("data:image/png;base64,") >= 6 and not re.search(r"(src|href)=\"(?!data:)", page)
    for sentence in figures["observations"]:
        assert sentence.split(",")[0].split("'")[0] in page and sentence in outcome.out


def test_a_model_is_held_against_the_labels(cli, tmp_path):
    texts = {"nothing_1": "", "cat_2": "0 0.25 0.25 0.25 0.25", "dog_3": "1 0.25 0.25 0.25 0.25\n1 0.8 0.8 0.1 0.1"}
    root = write_yolo_set(tmp_path / "set", texts, names=())
    outcome = cli("dataset", "report", root, "--model", some_detector(tmp_path), "--output", tmp_path / "out", "--json")
    told = {
        (row["path"].rsplit("/", 1)[1], row["kind"], row["detail"]) for row in json.loads(outcome.out)["suspicious"]
    }
    assert told == {
        ("nothing_1.png", "detected, but not labelled", "dog, score 0.90"),
        ("cat_2.png", "detected as another class", "labelled cat, detected dog, score 0.90"),
        ("dog_3.png", "labelled, but not detected", "dog"),
    }


def test_reports_on_classes_and_masks(cli, tmp_path):
    parts = write_class_set(tmp_path / "parts", {"damaged": 3, "whole": 4})
    figures = json.loads(cli("dataset", "report", parts, "--output", tmp_path / "a", "--json").out)
    assert [row["images"] for row in figures["classes"]] == [{"": 3}, {"": 4}]
    masks = write_mask_set(tmp_path / "masks")
    figures = json.loads(cli("dataset", "report", masks, "--output", tmp_path / "b", "--json").out)
    assert figures["masks"]["cover"]["p50"] == 0.5


@pytest.mark.parametrize("task", ["detect", "oriented", "classify", "segment", "pose"])
def test_rendered_sets_are_whole_and_repeat(cli, tmp_path, task):
    for name in ("once", "twice"):
        outcome = cli("dataset", task, "--count", "2", "--seed", "4", "--output", tmp_path / name)
        assert outcome.code == 0, outcome.err
    content = [
        {str(p.relative_to(tmp_path / name)): p.read_bytes() for p in (tmp_path / name).rglob("*") if p.is_file()}
        for name in ("once", "twice")
    ]
    for files in content:
        files.pop("dataset.json")
    assert content[0] == content[1] and content[0]
    root = tmp_path / "once"
    if task == "detect":
        assert set(read_boxes(root).labels) == set(PART_NAMES) and len(require_usable(read_boxes(root)).samples) == 2
    elif task == "pose":
        names = dict(enumerate(PART_NAMES, start=1))
        assert len(list(read_bop_scene(root / "train" / "000000", names))) == 2
    elif task == "segment":
        assert len(read_mask_pairs(root).samples) == 2
    elif task == "classify":
        assert len(read_class_folders(root).samples) == 2
    else:
        rows = [json.loads(line) for line in (root / "labels.jsonl").read_text().splitlines()]
        assert [(root / row["image"]).exists() for row in rows] == [True, True]


def test_what_is_asked_wrongly_is_told_in_one_line(cli, boxes, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    for arguments, problem in (
        (("check", tmp_path / "nothing"), "does not exist"),
        (("check", tmp_path / "full"), "is no data set of a known kind"),
        (("convert", boxes, "--to", "coco", "--output", tmp_path / "full"), "exists already"),
        (("split", boxes, "--output", tmp_path / "new", "--shares", "train=2"), "two shares"),
        (("split", boxes, "--output", tmp_path / "new", "--group", "("), "no regular expression"),
        (("split", boxes, "--output", tmp_path / "new", "--group", "xyz"), "is not found in the file name"),
        (("detect", "--count", "0", "--output", tmp_path / "new"), "parameter 'count' is 0"),
        (
            ("report", write_mask_set(tmp_path / "m"), "--model", some_detector(tmp_path)),
            "--model is for data sets of box",
        ),
        (("report", boxes, "--model", tmp_path / "gone.onnx"), "gone.onnx"),
        (("paint", boxes), "invalid choice: 'paint'"),
    ):
        assert problem in cli("dataset", *arguments).problem
    assert not (tmp_path / "new").exists()


def test_faulty_data_are_not_converted(cli, boxes, tmp_path):
    (boxes / "labels" / "hall_001.txt").write_text("0 0.5 0.5 0 0")
    outcome = cli("dataset", "convert", boxes, "--to", "coco", "--output", tmp_path / "out")
    assert "hall_001.txt:1: box has no area" in outcome.problem
    assert sorted(path.name for path in tmp_path.iterdir()) == ["boxes"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_rendering_leaves_nothing_that_looks_whole(cli, tmp_path, number):
    arguments = ["dataset", "segment", "--count", "100000", "--output", str(tmp_path / "out")]
    process = subprocess.Popen([sys.executable, "-m", "object_pose.cli.main", *arguments], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".out.*.partial/images/*.png")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, number)
    process.wait(30)
    assert not (tmp_path / "out").exists()
    assert cli(*arguments[:3], "2", "--output", tmp_path / "out").code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert len(read_mask_pairs(tmp_path / "out").samples) == 2


def test_an_unreadable_image_in_a_report_is_named_not_fatal(cli, boxes, tmp_path):
    write_noise(boxes / "images" / "torn_1.jpg", 99, 300, 200)
    (boxes / "labels" / "torn_1.txt").write_text(SOUND)
    (boxes / "images" / "torn_1.jpg").write_bytes((boxes / "images" / "torn_1.jpg").read_bytes()[:3000])
    outcome = cli("dataset", "report", boxes, "--output", tmp_path / "report")
    assert outcome.code == 0 and "1 fault in the files" in outcome.out
    assert "torn_1.jpg" in (tmp_path / "report" / "report.html").read_text()
