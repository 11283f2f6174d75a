"""Pascal VOC data sets as the devkit, labelImg and Roboflow write them; archives with a folder around all."""

from __future__ import annotations

import numpy as np
import pytest

from labelled import write_noise
from object_pose.core.errors import DataError
from object_pose.io.datasets.coco import read_coco
from object_pose.io.datasets.opening import find_layout, join_splits, open_dataset, read_boxes
from object_pose.io.datasets.samples import require_usable

BOX = "<bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox>"
OBJECT = "<object><name>{name}</name>" + BOX + "</object>"


def annotation(*objects):
    return "<annotation><filename>x.png</filename>" + "".join(objects) + "</annotation>"


CAT, DOG = OBJECT.format(3, 5, 12, 9, name="cat"), OBJECT.format(1, 1, 40, 20, name="dog")


def write(root, annotations, folder="Annotations", images="JPEGImages"):
    for index, (stem, text) in enumerate(annotations.items()):
        for place in (root / folder, root / images):
            place.mkdir(parents=True, exist_ok=True)
        (root / folder / f"{stem}.xml").write_text(text)
        write_noise(root / images / f"{stem}.png", seed=index)
    return root


def test_boxes_of_the_devkit_count_pixels_from_one(tmp_path):
    write(tmp_path, {"a": annotation(CAT, DOG), "b": annotation()})
    dataset = require_usable(read_boxes(tmp_path))
    assert dataset.labels == ("cat", "dog")
    np.testing.assert_array_equal(dataset.samples[0].boxes_xyxy, [[1.5, 3.5, 11.5, 8.5], [-0.5, -0.5, 39.5, 19.5]])
    assert dataset.samples[0].class_ids.tolist() == [0, 1] and not len(dataset.samples[1].class_ids)


def test_splits_are_those_of_the_image_sets_with_the_classes_of_all(tmp_path):
    root = write(tmp_path / "VOCdevkit" / "VOC2012", {"a": annotation(CAT), "b": annotation(DOG), "c": annotation(DOG)})
    lists = root / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\nb\n")
    (lists / "val.txt").write_text("c  1\n")
    (lists / "val.txt").write_bytes(b"\xf0c")
    with pytest.raises(DataError, match=r"val\.txt cannot be read"):
        open_dataset(tmp_path)
    (lists / "val.txt").write_text("c  1\n")
    (lists / "cat_train.txt").write_text("a  1\nb -1\n")
    opened = open_dataset(tmp_path)
    assert {name: len(split.samples) for name, split in opened.splits.items()} == {"train": 2, "val": 1}
    assert {split.labels for split in opened.splits.values()} == {("cat", "dog")}


@pytest.mark.parametrize("folder", [".", "VOCdevkit"])
@pytest.mark.parametrize("has_lists", [True, False])
def test_years_side_by_side_are_all_read_and_told_apart(tmp_path, folder, has_lists):
    for year, item in (("VOC2007", CAT), ("VOC2012", DOG)):
        root = write(tmp_path / "VOCdevkit" / year, {"a": annotation(item), "b": annotation(item)})
        if has_lists:
            (root / "ImageSets" / "Main").mkdir(parents=True)
            for split, stem in (("train", "a"), ("val", "b")):
                (root / "ImageSets" / "Main" / f"{split}.txt").write_text(f"{stem}\n")
    opened = open_dataset(tmp_path / folder)
    names = ["train_VOC2007", "val_VOC2007", "train_VOC2012", "val_VOC2012"] if has_lists else ["VOC2007", "VOC2012"]
    assert list(opened.splits) == names and not [fault for fault in opened.faults if fault.severity == "error"]
    assert {split.labels for split in opened.splits.values()} == {("cat", "dog")}
    assert sum(len(split.samples) for split in opened.splits.values()) == 4
    assert list(opened.joined_splits()) == (["train", "val"] if has_lists else names)


def test_an_image_without_annotation_is_background(tmp_path):
    root = write(tmp_path, {"a": annotation(CAT)})
    write_noise(root / "JPEGImages" / "bare.png", seed=9)
    lists = root / "ImageSets" / "Main"
    for is_listed in (False, True):
        if is_listed:
            lists.mkdir(parents=True)
            (lists / "train.txt").write_text("a\nbare\n")
        dataset = require_usable(read_boxes(tmp_path))
        assert [len(sample.class_ids) for sample in dataset.samples] == [1, 0]
        (fault,) = [fault for fault in dataset.faults if fault.path.stem == "bare"]
        assert (fault.severity, fault.problem) == ("warning", "image without label; it counts as background")


def test_annotations_beside_their_images_in_folders_of_splits(tmp_path):
    for split, item in (("train", CAT), ("valid", DOG)):
        write(tmp_path / split, {"a": annotation(item)}, folder=".", images=".")
    opened = open_dataset(tmp_path)
    assert opened.kind == "voc" and join_splits(list(opened.splits.values())).labels == ("cat", "dog")


def test_faults_are_named(tmp_path):
    no_box = "<object><name>cat</name></object>"
    write(
        tmp_path,
        {"a": annotation(CAT, no_box), "b": "<annotation>", "c": annotation(OBJECT.format(3, 5, 90, 9, name="cat"))},
    )
    (tmp_path / "Annotations" / "gone.xml").write_text(annotation(CAT))
    write_noise(tmp_path / "JPEGImages" / "bare.png", seed=9)
    problems = {fault.problem for fault in read_boxes(tmp_path).faults}
    assert problems >= {
        "object 2 has no bndbox of xmin, ymin, xmax, ymax", "is no Pascal VOC annotation", "label without image",
        "image without label; it counts as background", "object 1 reaches 50 px beyond the image of 40x20",
    }  # fmt: skip


def test_an_archive_may_have_a_folder_around_all(tmp_path):
    write(tmp_path / "export", {"a": annotation(CAT)})
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / ".DS_Store").write_bytes(b"x")
    assert find_layout(tmp_path).kind == "voc"
    (tmp_path / "other").mkdir()
    with pytest.raises(DataError, match="no data set of a known kind"):
        find_layout(tmp_path)


@pytest.mark.parametrize("name", ["/home/me/data/a.png", "../../label-studio/upload/1/a.png", "C:\\data\\a.png"])
def test_coco_names_of_another_machine_count_by_their_last_part(tmp_path, name):
    import json

    write_noise(tmp_path / "a.png", seed=0)
    document = {
        "images": [{"id": 1, "file_name": name}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 3, 10, 9]}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(document))
    assert require_usable(read_coco(tmp_path / "coco.json")).samples[0].path == tmp_path / "a.png"
