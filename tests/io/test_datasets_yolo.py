"""YOLO folders: sound ones are read exactly, and every fault is found in one go, with file and line."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from labelled import HEIGHT, WIDTH, real_data, write_noise, write_yolo_set
from object_pose.core.errors import DataError
from object_pose.io.datasets.opening import open_dataset, read_boxes
from object_pose.io.datasets.samples import of_severity, require_usable
from object_pose.io.datasets.yolo import read_yolo, yolo_splits
from object_pose.io.images import read_image

SOUND = "0 0.5 0.5 0.5 0.5\n"


def faults_of(dataset, severity="error"):
    return [str(fault) for fault in of_severity(dataset.faults, severity)]


def test_boxes_are_in_pixels_whose_centres_are_integers(tmp_path):
    dataset = read_yolo(write_yolo_set(tmp_path, {"a": "1 0.5 0.5 1 1\n0 0.25 0.5 0.5 0.2\n", "b": ""}))
    first, second = require_usable(dataset).samples
    assert dataset.labels == ("cat", "dog") and first.image_wh == (WIDTH, HEIGHT)
    assert first.boxes_xyxy.tolist() == [[-0.5, -0.5, WIDTH - 0.5, HEIGHT - 0.5], [-0.5, 7.5, 19.5, 11.5]]
    assert first.class_ids.tolist() == [1, 0]
    assert len(second.class_ids) == 0 and dataset.faults == ()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("0 0.5 0.5 0.5", "expected 'class x y width height', got 4 fields"),
        ("0 0.5 half 0.5 0.5", "'half' is not a number"),
        ("cat 0.5 0.5 0.5 0.5", "class id 'cat' is not a whole number"),
        ("2 0.5 0.5 0.5 0.5", "class id 2 is not in 0..1"),
        ("-1 0.5 0.5 0.5 0.5", "class id -1 is not in 0..1"),
        ("0 nan 0.5 0.5 0.5", "box has a number that is not finite"),
        ("0 0.5 0.5 inf 0.5", "box has a number that is not finite"),
        ("0 0.5 0.5 0 0.5", "box has no area"),
        ("0 0.5 0.5 -0.5 0.5", "width and height must not be negative, got -0.5 and 0.5"),
        ("0 0.9 0.5 0.5 0.5", "box reaches 6 px beyond the image of 40x20"),
        ("0 1.5 0.5 0.5 0.5", "box lies wholly outside the image"),
        ("0 320 240 100 80", "box lies wholly outside the image"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, problem):
    dataset = read_yolo(write_yolo_set(tmp_path, {"a": f"{SOUND}{line}\n1 0.5 0.5 0.2 0.2\n"}))
    assert faults_of(dataset) == [f"{tmp_path / 'labels' / 'a.txt'}:2: {problem}"]
    assert dataset.samples[0].class_ids.tolist() == [0, 1]  # the sound lines


def test_all_faults_are_found_at_once(tmp_path):
    root = write_yolo_set(tmp_path, {"a": SOUND, "b": "7 0.5 0.5 0.5 0.5", "c": SOUND, "d": SOUND})
    (root / "images" / "c.png").write_bytes((root / "images" / "c.png").read_bytes()[:100])
    (root / "images" / "d.png").write_bytes(b"")
    (root / "labels" / "orphan.txt").write_text(SOUND)
    write_noise(root / "images" / "e.png", seed=9)
    write_noise(root / "images" / "f.png", seed=9)
    dataset = read_yolo(root)
    found = "\n".join(faults_of(dataset))
    for expected in ("orphan.txt: label without image", "c.png: the image is damaged", "d.png: the file is empty"):
        assert expected in found
    assert "b.txt:1: class id 7" in found and len(faults_of(dataset)) == 4
    warned = "\n".join(faults_of(dataset, "warning"))
    assert "e.png: image without label" in warned and "f.png: has the same contents as e.png" in warned
    assert "class 'dog' has no box" in warned
    with pytest.raises(DataError, match=r"has 4 errors: .*; and 1 more .*dataset check"):
        require_usable(dataset)


def test_a_repeated_line_counts_once(tmp_path):
    dataset = read_yolo(write_yolo_set(tmp_path, {"a": SOUND + SOUND}))
    assert len(dataset.samples[0].class_ids) == 1
    assert any("a.txt:2: box is a repetition of line 1" in text for text in faults_of(dataset, "warning"))


def test_an_edge_that_rounding_put_outside_is_clipped(tmp_path):
    dataset = read_yolo(write_yolo_set(tmp_path, {"a": "0 0.5 0.5 1.02 0.5"}, names=("cat",)))
    assert dataset.faults == () and dataset.samples[0].boxes_xyxy[0].tolist() == [-0.5, 4.5, 39.5, 14.5]


def test_a_polygon_becomes_the_box_around_it(tmp_path):
    dataset = read_yolo(write_yolo_set(tmp_path, {"a": "0 0.25 0.25 0.75 0.25 0.5 0.75"}, names=("cat",)))
    assert dataset.samples[0].boxes_xyxy[0].tolist() == [9.5, 4.5, 29.5, 14.5]


@pytest.mark.parametrize(
    ("others", "is_polygon"),
    [
        ("1 0.2 0.2 0.8 0.2 0.8 0.8 0.2 0.8\n", True),  # four corners
        ("1 0.2 0.2 0.8 0.2 0.8 0.8\n", True),  # a triangle that can be nothing else
        ("1 0.5 0.5 0.5 0.5 0.9 3\n", False),  # of a tracker
        ("1 0.5 0.5 0.5 0.5\n", False),
    ],
)
@pytest.mark.parametrize("last", ["0", "1"])
def test_a_triangle_that_ends_at_the_border_is_one_beside_other_polygons(tmp_path, others, is_polygon, last):
    dataset = read_yolo(write_yolo_set(tmp_path, {"a": f"0 0.25 0.5 0.5 0.5 0.5 {last}\n" + others}))
    polygon = [9.5, 9.5, 19.5, 19.5] if last == "1" else [9.5, -0.5, 19.5, 9.5]
    assert faults_of(dataset) == []
    assert dataset.samples[0].boxes_xyxy[0].tolist() == (polygon if is_polygon else [-0.5, 4.5, 19.5, 14.5])


def test_a_truncated_jpeg_is_found_without_being_asked_to_decode(tmp_path):
    root = write_yolo_set(tmp_path, {"a": SOUND})
    photo = write_noise(root / "images" / "b.jpg", 3, 400, 300)
    (root / "labels" / "b.txt").write_text(SOUND)
    assert faults_of(read_yolo(root)) == []
    photo.write_bytes(photo.read_bytes()[:-2000])
    assert any("b.jpg: the image is damaged" in text for text in faults_of(read_yolo(root)))


def test_an_image_of_12_bits_in_16_is_named_before_anything_is_learned_from_it(tmp_path):
    root = write_yolo_set(tmp_path, {"a": SOUND})
    cv2.imwrite(str(root / "images" / "a.png"), np.full((HEIGHT, WIDTH), 4095, np.uint16))
    assert "a.png: has 16 bits, but its values reach only 4095 of 65535" in faults_of(read_yolo(root))[0]


def test_thorough_finds_damage_inside(tmp_path):
    root = write_yolo_set(tmp_path, {"a": SOUND})
    image = root / "images" / "a.png"
    content = bytearray(image.read_bytes())
    content[len(content) // 2] ^= 0xFF
    image.write_bytes(bytes(content))
    assert any("a.png" in text for text in faults_of(read_yolo(root, thorough=True)))


@pytest.mark.parametrize(
    ("name", "form"), [("a.jpg", "JPEG"), ("a.png", "PNG"), ("a.webp", "WEBP"), ("a.tif", "TIFF"), ("a.jpg", "MPO")]
)
def test_sizes_are_those_of_the_image_as_it_is_read(tmp_path, name, form):
    """A photograph that its camera turned is read upright, and its header must not say otherwise."""
    from PIL import Image

    root = write_yolo_set(tmp_path, {"a": "0 0.5 0.5 1 1"}, names=("cat",))
    (root / "images" / "a.png").unlink()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(root / "images" / name, form, exif=exif)
    height, width = read_image(root / "images" / name).shape[:2]
    assert read_yolo(root).samples[0].image_wh == (width, height) == (HEIGHT, WIDTH)


def test_names_are_found_or_given_or_numbers(tmp_path):
    root = write_yolo_set(tmp_path / "set" / "train", {"a": "1 0.5 0.5 0.5 0.5"}, names=())
    assert read_yolo(root).labels == ("class 0", "class 1")
    assert read_yolo(root, ("x", "y")).labels == ("x", "y")
    (tmp_path / "set" / "data.yaml").write_text("names: {0: cat, 1: dog}")
    assert read_yolo(root).labels == read_yolo(root, ("x", "y")).labels == ("cat", "dog")
    (tmp_path / "set" / "data.yaml").write_text("names: {0: no, 1: 007}")  # not False and 7, as YAML may have it
    assert read_yolo(root).labels == ("no", "007")
    (tmp_path / "set" / "data.yaml").write_text("names: {1: cat, 2: dog}")
    with pytest.raises(DataError, match=r"data.yaml: the ids of 'names' must be 0..1"):
        read_yolo(root)


def test_other_arrangements_of_folders(tmp_path):
    flat = tmp_path / "flat"
    write_noise(flat / "a.png")
    (flat / "a.txt").write_text(SOUND)
    assert len(read_boxes(flat).samples) == 1
    write_noise(tmp_path / "ultra" / "images" / "train" / "a.png")
    (tmp_path / "ultra" / "labels" / "train").mkdir(parents=True)
    (tmp_path / "ultra" / "labels" / "train" / "a.txt").write_text(SOUND)
    assert len(read_boxes(tmp_path / "ultra").samples[0].class_ids) == 1


def test_splits_are_not_mixed(tmp_path):
    for name in ("train", "val"):
        write_yolo_set(tmp_path / name, {"a": SOUND})
    with pytest.raises(DataError, match="holds the splits train, val"):
        read_boxes(tmp_path)
    assert len(read_boxes(tmp_path / "val").samples) == 1


def test_what_is_no_data_set_says_what_would_be(tmp_path):
    with pytest.raises(DataError, match="known: images/ with labels/"):
        read_boxes(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        read_boxes(tmp_path / "nothing")
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        read_boxes(tmp_path)


def test_the_real_photographs_are_sound():
    dataset = read_yolo(real_data("workplace") / "val", [f"label {index}" for index in range(17)])
    assert len(require_usable(dataset).samples) == 56
    height, width = cv2.imread(str(dataset.samples[0].path)).shape[:2]
    assert dataset.samples[0].image_wh == (width, height)


def boxes_of(dataset):
    return [(int(i), box.round(3).tolist()) for s in dataset.samples for i, box in zip(s.class_ids, s.boxes_xyxy)]


@pytest.mark.parametrize(
    ("line", "kpt_shape"),
    [
        ("0 0.5 0.5 0.5 0.5 0.1 0.1 0.9 0.2 0.5 0.9", [3, 2]),
        ("0 0.5 0.5 0.5 0.5 0.1 0.1 1 0.9 0.2 1 0.5 0.9 1 0.3 0.3 1", [4, 3]),
        ("0 0.5 0.5 0.5 0.5 0.1 0.1 2 0.9 0.2 1 0.93", [2, 3]),  # and a confidence
        ("0 0.5 0.5 0.5 0.5 0.93", None),
        ("0 0.5 0.5 0.5 0.5 0.93 17", None),  # a confidence and a track id
        ("0.0 0.5 0.5 0.5 0.5", None),
        ("0.000e+00 5.000e-01 5.000e-01 5.000e-01 5.000e-01", None),
    ],
)
def test_the_box_counts_whatever_follows_it(tmp_path, line, kpt_shape):
    root = write_yolo_set(tmp_path, {"a": line})
    (root / "data.yaml").write_text(
        f"names: [cat, dog]\nkpt_shape: {kpt_shape}\n" if kpt_shape else "names: [cat, dog]"
    )
    dataset = read_yolo(root)
    assert faults_of(dataset) == []
    assert boxes_of(dataset) == [(0, [9.5, 4.5, 29.5, 14.5])]


def test_keypoints_of_another_number_are_named(tmp_path):
    root = write_yolo_set(tmp_path, {"a": "0 0.5 0.5 0.5 0.5 0.1 0.1 0.9 0.2"})
    (root / "data.yaml").write_text("names: [cat, dog]\nkpt_shape: [3, 2]\n")
    assert "expected a box and 6 values of keypoints, got 9 fields" in faults_of(read_yolo(root))[0]
    (root / "data.yaml").write_text("names: [cat, dog]\nkpt_shape: 17\n")
    with pytest.raises(DataError, match="kpt_shape is 17"):
        read_yolo(root)


@pytest.mark.parametrize("line", ["0.5 0.5 0.5 0.5 0.5", "nan 0.5 0.5 0.5 0.5", "inf 0.5 0.5 0.5 0.5"])
def test_a_class_id_is_a_whole_number(tmp_path, line):
    assert "is not a whole number" in faults_of(read_yolo(write_yolo_set(tmp_path, {"a": line})))[0]


def test_files_of_other_systems_are_read(tmp_path):
    """Byte order marks and line ends of Windows, the hidden companions that macOS leaves."""
    root = write_yolo_set(tmp_path, {"a": ""})
    (root / "labels" / "a.txt").write_bytes(b"\xef\xbb\xbf0 0.5 0.5 0.5 0.5\r\n1 0.5 0.5 0.2 0.2\r\n")
    (root / "data.yaml").write_bytes(b"\xef\xbb\xbfnames: [cat, dog]\r\n")
    for hidden in ("labels/._a.txt", "images/._a.png", "._data.yaml", "._notes.json"):
        (root / hidden).write_bytes(b"\x00\x05\x16\x07")
    dataset = read_boxes(root)
    assert (dataset.labels, dataset.faults) == (("cat", "dog"), ())
    assert [class_id for class_id, _ in boxes_of(dataset)] == [0, 1]


def test_folders_in_images_belong_to_those_in_labels(tmp_path):
    write_noise(tmp_path / "images" / "one" / "a.png", seed=1)
    write_noise(tmp_path / "images" / "two" / "a.png", seed=2)
    for folder, text in (("one", SOUND), ("two", "1 0.5 0.5 0.5 0.5")):
        (tmp_path / "labels" / folder).mkdir(parents=True)
        (tmp_path / "labels" / folder / "a.txt").write_text(text)
    (tmp_path / "data.yaml").write_text("names: [cat, dog]")
    dataset = read_boxes(tmp_path)
    assert dataset.faults == () and [class_id for class_id, _ in boxes_of(dataset)] == [0, 1]


TRAIN_OF_TWO, TWICE = ["train", "train_holdout", "val"], ["train", "val"]


@pytest.mark.parametrize(
    ("yaml", "splits"),
    [
        ("path: ../elsewhere/pets\ntrain: images/train2017\nval: images/holdout\n", ["train", "val"]),
        ("path: .\ntrain: [images/train2017, images/holdout]\nval: images/holdout\n", TRAIN_OF_TWO),
        ("train: [images/holdout, ./images/holdout]\nval: images/train2017\nvalid: images/train2017\n", TWICE),
        ("train: train.txt\nval: images/holdout\n", ["train", "val"]),
        ("train: ../images/train2017\nval: images/absent\ntest:\n", ["train"]),
    ],
)
def test_the_splits_are_those_that_the_yaml_names(tmp_path, yaml, splits):
    for seed, split in enumerate(("train2017", "holdout")):
        write_noise(tmp_path / "images" / split / "x.png", seed)
        (tmp_path / "labels" / split).mkdir(parents=True)
        (tmp_path / "labels" / split / "x.txt").write_text(SOUND + "1 0.5 0.5 0.2 0.2\n")
    (tmp_path / "train.txt").write_text("./images/train2017/x.png\r\n\n")
    (tmp_path / "pets.yaml").write_text(f"{yaml}names:\n  0: cat\n  1: dog\n")
    opened = open_dataset(tmp_path)
    assert list(opened.splits) == splits and opened.faults == ()
    assert all(dataset.labels == ("cat", "dog") for dataset in opened.splits.values())


SITES = {
    "data.yaml": "train: [siteA/images, siteB/images]\nval: [checkA/images, checkB/images]\n",
    "same.yaml": "train: [siteA/images, siteB/images]\nval: [siteA/images, siteB/images]\n",
    "lists.yaml": "train: [siteA/list.txt, siteB/list.txt]\nval: [checkA/list.txt, checkB/list.txt]\n",
}


@pytest.mark.parametrize("file", SITES)
def test_every_place_of_a_split_is_kept_whatever_the_places_are_called(tmp_path, file):
    for site in ("siteA", "siteB", "checkA", "checkB"):
        write_yolo_set(tmp_path / site, {site: SOUND + "1 0.5 0.5 0.2 0.2\n"})
        (tmp_path / site / "list.txt").write_text(f"images/{site}.png\n")
    (tmp_path / file).write_text(SITES[file] + "names: [cat, dog]\n")
    opened = open_dataset(tmp_path / file)
    first, second, third, fourth = opened.splits
    assert (first, third) == ("train", "val") and len({first, second, third, fourth}) == 4
    assert second.startswith("train_") and fourth.startswith("val_")
    val = ["siteA", "siteB"] if file == "same.yaml" else ["checkA", "checkB"]
    assert [item.samples[0].path.stem for item in opened.splits.values()] == ["siteA", "siteB", *val]
    assert {name: len(split.samples) for name, split in opened.joined_splits().items()} == {"train": 2, "val": 2}


def test_where_nothing_tells_places_apart_a_number_does(tmp_path):
    for place in ("a/b/c/images", "x/a/b/c/images", "y/a/b/c/images"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "data.yaml").write_text("train: [a/b/c/images, x/a/b/c/images, y/a/b/c/images]\n")
    assert list(yolo_splits(tmp_path / "data.yaml")) == ["train", "train_c", "train_b"]


@pytest.mark.parametrize(
    ("yaml", "problem"),
    [
        ("names: {0: cat, dog: 1}", "the ids of 'names' must be"),
        ("names: {0: cat, null: dog}", "the ids of 'names' must be"),
        ("names: " + "[" * 3000, "not valid YAML"),
        ("names: [2020-99-99]", "not valid YAML"),
    ],
)
def test_names_that_are_none_are_refused(tmp_path, yaml, problem):
    root = write_yolo_set(tmp_path, {"a": "0 0.5 0.5 0.2 0.2"})
    (root / "data.yaml").write_text(yaml)
    with pytest.raises(DataError, match=problem):
        read_yolo(root)


def test_an_image_that_a_list_names_in_vain_is_named_by_its_line(tmp_path):
    root = write_yolo_set(tmp_path, {"a": SOUND})
    (root / "train.txt").write_text("images/a.png\nimages/b.png\n")
    dataset = read_yolo(root / "train.txt")
    assert faults_of(dataset) == [f"{root / 'train.txt'}:2: image images/b.png does not exist"]
    assert [sample.class_ids.tolist() for sample in dataset.samples] == [[0]]
