"""Data sets as labelling tools export them: CVAT, Darknet, Ultralytics on another machine, labelme, COCO with masks."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from labelled import HEIGHT, WIDTH, write_noise
from object_pose.core.errors import DataError
from object_pose.io.datasets.opening import find_layout, open_dataset, read_boxes
from object_pose.io.datasets.samples import require_usable

LINES = "0 0.5 0.5 0.25 0.5\n1 0.25 0.25 0.1 0.1\n"
BOX = [14.5, 4.5, 24.5, 14.5]  # the first line's, in pixels
YAML = "train: {0}\nval: {0}\nnames: [cat, dog]\n"


def write(root, files):
    """Write images (None) and texts by path."""
    for seed, (name, text) in enumerate(files.items()):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            write_noise(path, seed)
        else:
            path.write_text(text)
    return root


OBJ_DATA = "classes = 2\ntrain = data/train.txt\nvalid = data/valid.txt\nnames = data/obj.names\nbackup = backup/\n"
SAMPLE = {"images/train/a.png": None, "labels/train/a.txt": LINES}
YOLO = {
    "cvat's yolo 1.1": {
        "obj_train_data/a.png": None,
        "obj_train_data/a.txt": LINES,
        "train.txt": "data/obj_train_data/a.png\n",
        "obj.names": "cat\ndog\n",
        "obj.data": OBJ_DATA,
    },
    "darknet": {
        "data/obj/a.png": None,
        "data/obj/a.txt": LINES,
        "data/train.txt": "data/obj/a.png\n",
        "data/obj.names": "cat\ndog\n",
        "data/obj.data": OBJ_DATA,
    },
    "cvat's ultralytics": SAMPLE | {"train.txt": "data/images/train/a.png\n", "data.yaml": YAML.format("train.txt")},
    "list of another machine": SAMPLE
    | {"train.txt": "/content/set/images/train/a.png\n", "data.yaml": YAML.format("train.txt")},
    "list of windows": SAMPLE
    | {"train.txt": "C:\\me\\set\\images\\train\\a.png\r\n", "data.yaml": YAML.format("train.txt")},
    "yaml of windows": SAMPLE | {"data.yaml": "path: C:\\me\\set\n" + YAML.format("images\\train")},
    "yaml of kaggle": SAMPLE | {"data.yaml": YAML.format("/kaggle/working/set/images/train")},
    "images elsewhere": {f"data/{name}": text for name, text in SAMPLE.items()}
    | {"my.yaml": "path: data\n" + YAML.format("images/train")},
}


@pytest.mark.parametrize("name", YOLO)
def test_splits_of_yolo_are_found_with_their_names(tmp_path, name):
    opened = open_dataset(write(tmp_path, YOLO[name]))
    assert opened.kind == "yolo"
    sample = require_usable(opened.splits["train"]).samples[0]
    assert opened.splits["train"].labels == ("cat", "dog")
    np.testing.assert_allclose(sample.boxes_xyxy[0], BOX)


def test_a_yaml_file_may_be_named_itself(tmp_path):
    write(tmp_path / "set", SAMPLE)
    write(tmp_path / "cfg", {"my.yaml": "path: ../set\n" + YAML.format("images/train")})
    assert read_boxes(tmp_path / "set/images/train").labels == ("class 0", "class 1")
    opened = open_dataset(tmp_path / "cfg/my.yaml")
    assert opened.splits["val"].labels == ("cat", "dog") and len(opened.splits["val"].samples) == 1
    write(tmp_path / "cfg", {"my.yaml": "names: [cat]\ntrain: nowhere\n"})
    with pytest.raises(DataError, match=r"my\.yaml names no YOLO folders that exist"):
        find_layout(tmp_path / "cfg/my.yaml")


RUNS = {"size": [HEIGHT, WIDTH], "counts": [5 * HEIGHT + 5, 9, 11, 9, HEIGHT * (WIDTH - 7) - 5 + 11 - 9]}
PACKED = {"size": [HEIGHT, WIDTH], "counts": "Y39;00000000000000000000000000000000000005I2000V7"}


@pytest.mark.parametrize(
    ("segmentation", "xywh"),
    [
        ([[3, 4, 13, 4, 13, 14]], (3, 4, 10, 10)),
        ([[3, 4, 13, 4, 13, 14], [20, 1, 21, 1, 21, 3]], (3, 1, 18, 13)),
        (RUNS, (5, 5, 2, 9)),
        (PACKED, (5, 5, 23, 9)),
        ({"size": [HEIGHT, WIDTH], "counts": [HEIGHT * 2, HEIGHT * 3]}, (2, 0, 3, HEIGHT)),
    ],
)
def test_coco_without_boxes_has_those_around_its_masks(tmp_path, segmentation, xywh):
    write_noise(tmp_path / "a.png")
    item = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": segmentation, "iscrowd": 0}
    image, cat = {"id": 1, "file_name": "a.png"}, {"id": 1, "name": "cat"}
    (tmp_path / "a.json").write_text(json.dumps({"images": [image], "annotations": [item], "categories": [cat]}))
    x, y, width, height = xywh
    expected = np.array([x, y, x + width, y + height]) - 0.5
    np.testing.assert_allclose(require_usable(read_boxes(tmp_path)).samples[0].boxes_xyxy, [expected])


@pytest.mark.parametrize("counts", ["", "o" * 100_000, [1, 2, "x"], [], None, [10**400]])
def test_masks_that_are_none_are_faults(tmp_path, counts):
    write_noise(tmp_path / "a.png")
    item = {"image_id": 1, "category_id": 1, "segmentation": {"size": [HEIGHT, WIDTH], "counts": counts}}
    image, cat = {"id": 1, "file_name": "a.png"}, {"id": 1, "name": "cat"}
    (tmp_path / "a.json").write_text(json.dumps({"images": [image], "annotations": [item], "categories": [cat]}))
    assert "an annotation needs image_id" in read_boxes(tmp_path).faults[0].problem


def test_captions_beside_coco_are_no_split(tmp_path):
    image, cat = {"id": 1, "file_name": "a.png"}, {"id": 1, "name": "cat"}
    box = {"image_id": 1, "category_id": 1, "bbox": [3, 4, 10, 10]}
    boxes = json.dumps({"images": [image], "annotations": [box], "categories": [cat]})
    files = {f"annotations/{kind}_val2017.json": boxes for kind in ("instances", "person_keypoints")}
    files["annotations/captions_val2017.json"] = json.dumps({"images": [image], "annotations": [{"caption": "x"}]})
    opened = open_dataset(write(tmp_path, {"val2017/a.png": None, **files}))
    assert list(opened.splits) == ["val2017"]


def labelme(name, *shapes):
    return json.dumps({"version": "5.4.1", "shapes": shapes, "imagePath": name, "imageData": None})


def shape(label, *points, kind="polygon"):
    return {"label": label, "points": points, "shape_type": kind, "group_id": None}


def test_labelme(tmp_path):
    cat = shape("cat", [20, 15], [3, 4], kind="rectangle")
    dog = shape("dog", [5, 5], [12, 6], [9, 11])
    circle, line = shape("dog", [20, 10], [24, 10], kind="circle"), shape("cat", [1, 1], [2, 2], kind="line")
    files = {"a.png": None, "a.json": labelme("..\\photos\\a.png", cat, dog, circle, line), "b.png": None}
    opened = open_dataset(write(tmp_path, files))
    (dataset,) = opened.splits.values()
    assert (opened.kind, dataset.labels) == ("labelme", ("cat", "dog"))
    (sample,) = require_usable(dataset).samples
    np.testing.assert_allclose(sample.boxes_xyxy + 0.5, [[3, 4, 20, 15], [5, 5, 12, 11], [16, 6, 24, 14]])
    assert sample.class_ids.tolist() == [0, 1, 1]
    problems = [fault.problem for fault in dataset.faults]
    assert problems == ["shape 4 is a line, which has no box; it is left out", "image without label"]


def test_what_is_wrong_in_labelme_is_named(tmp_path):
    odd = [shape("cat", [1, 2], [8, 9]), shape("cat", [1, "x"]), shape("cat"), shape("cat", [3, 4], kind="circle")]
    files = {"a.png": None, "a.json": labelme("a.png", *odd), "b.json": labelme("b.png"), "c.json": "{}"}
    (dataset,) = open_dataset(write(tmp_path, files)).splits.values()
    problems = {fault.problem for fault in dataset.faults if fault.severity == "error"}
    assert {"shape 2 has no points (x, y)", "shape 3 has no points (x, y)", "shape 4 has no points (x, y)"} <= problems
    assert {"label without image: b.png does not exist", "is no file of labelme"} <= problems


def cvat(*images, names=("cat", "dog")):
    labels = "".join(f"<label><name>{name}</name><color>#f00</color></label>" for name in names)
    meta = f"<meta><task><labels>{labels}</labels></task></meta>"
    return f"<?xml version='1.0'?><annotations><version>1.1</version>{meta}{''.join(images)}</annotations>"


def cvat_image(name, *shapes, subset=""):
    where = f' subset="{subset}"' if subset else ""
    return f'<image id="0" name="{name}"{where} width="{WIDTH}" height="{HEIGHT}">{"".join(shapes)}</image>'


CVAT_BOX = '<box label="cat" xtl="3" ytl="4" xbr="13" ybr="14" occluded="0"><attribute name="a">1</attribute></box>'


def test_cvat_with_its_shapes(tmp_path):
    turned = '<box label="dog" xtl="10" ytl="5" xbr="20" ybr="9" rotation="90.0"/>'
    polygon = '<polygon label="dog" points="5.0,5.0;12.0,6.0;9.0,11.0"/>'
    ellipse = '<ellipse label="cat" cx="20" cy="10" rx="4" ry="2"/>'
    mask = '<mask label="cat" rle="0, 4" left="1" top="2" width="2" height="2"/>'
    line, tag = '<polyline label="cat" points="1,1;2,2"/>', '<tag label="dog"/>'
    image = cvat_image("sub/a.png", CVAT_BOX, turned, polygon, ellipse, mask, line, tag)
    files = {"images/sub/a.png": None, "images/b.png": None, "annotations.xml": cvat(image)}
    opened = open_dataset(write(tmp_path, files))
    (dataset,) = opened.splits.values()
    assert (opened.kind, dataset.labels) == ("cvat", ("cat", "dog"))
    (sample,) = require_usable(dataset).samples
    expected = [[3, 4, 13, 14], [13, 2, 17, 12], [5, 5, 12, 11], [16, 8, 24, 12], [1, 2, 3, 4]]
    np.testing.assert_allclose(sample.boxes_xyxy + 0.5, expected, atol=1e-9)
    assert sample.class_ids.tolist() == [0, 1, 1, 0, 0]
    problems = [fault.problem for fault in dataset.faults]
    assert problems == ["shape 6 is a polyline, which has no box; it is left out", "image without label"]


def test_subsets_of_cvat_are_splits_and_may_share_names(tmp_path):
    images = cvat_image("a.png", CVAT_BOX, subset="Train"), cvat_image("a.png", subset="Validation")
    files = {"images/Train/a.png": None, "images/Validation/a.png": None, "annotations.xml": cvat(*images)}
    opened = open_dataset(write(tmp_path, files))
    assert {name: len(dataset.samples[0].class_ids) for name, dataset in opened.splits.items()} == {
        "train": 1,
        "validation": 0,
    }
    assert len(require_usable(read_boxes(tmp_path / "images/Train")).samples) == 1


def test_what_is_wrong_in_cvat_is_named(tmp_path):
    odd = '<box label="cat" xtl="3" ytl="x"/>', '<box label="cow"/>', '<polygon label="cat" points="1,2;3"/>'
    images = cvat_image("a.png", *odd), cvat_image("b.png"), cvat_image("a.png")
    write(tmp_path, {"images/a.png": None, "annotations.xml": cvat(*images)})
    problems = {fault.problem for fault in open_dataset(tmp_path).faults if fault.severity == "error"}
    assert problems >= {
        "shape 1, a box, has no numbers where its corners should be",
        "shape 2 has the unknown label 'cow'",
        "shape 3, a polygon, has no numbers where its corners should be",
        "label without image: b.png does not exist",
        "a.png is described twice",
    }
    (tmp_path / "annotations.xml").write_text("<annotations><track id='0' label='cat'/></annotations>")
    with pytest.raises(DataError, match="tracks of a video"):
        find_layout(tmp_path)


def test_voc_in_folders_of_other_names_nested_and_with_blanks(tmp_path):
    corners = "<bndbox><xmin>4</xmin><ymin>5</ymin><xmax>13</xmax><ymax>14</ymax></bndbox>"
    text = f"<annotation><object><name>my cat</name>{corners}</object></annotation>"
    for folders in (("annotations", "images"), ("Annotations", "JPEGImages")):
        root = tmp_path / folders[0]
        files = {f"{folders[0]}/new/photo 1.xml": text, f"{folders[1]}/new/photo 1.png": None}
        if folders[0] == "Annotations":
            files["ImageSets/Main/train.txt"] = "new/photo 1\n"
        opened = open_dataset(write(root, files))
        (dataset,) = opened.splits.values()
        assert (opened.kind, dataset.labels) == ("voc", ("my cat",))
        np.testing.assert_allclose(require_usable(dataset).samples[0].boxes_xyxy, [[2.5, 3.5, 12.5, 13.5]])


def test_masks_in_a_folder_beside_that_of_the_images(tmp_path):
    for split in ("train", "test"):
        write_noise(tmp_path / split / "a.tiff", len(split))
        (tmp_path / f"{split}_labels").mkdir()
        cv2.imwrite(str(tmp_path / f"{split}_labels/a.tif"), np.full((HEIGHT, WIDTH), 255, np.uint8))
    opened = open_dataset(tmp_path)
    assert (opened.kind, list(opened.splits)) == ("masks", ["train", "test"])
    assert not opened.faults


@pytest.mark.parametrize(
    "files",
    [
        {"images/a.png": None, "annotations.xml": "<annotations/>"},
        {"obj_train_data/a.png": None, "obj_train_data/a.txt": LINES},
    ],
)
def test_labels_that_are_not_known_are_no_classes_of_images(tmp_path, files):
    with pytest.raises(DataError, match="is no data set of a known kind"):
        find_layout(write(tmp_path, files | {"other/b.png": None}))
