"""COCO, class folders, mask pairs and BOP: sound ones are read, spoilt ones are named with file and line."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelled import HEIGHT, WIDTH, real_data, write_class_set, write_mask_set, write_noise
from object_pose.core.errors import DataError
from object_pose.io.datasets.bop_checks import check_bop
from object_pose.io.datasets.class_folders import read_class_folders
from object_pose.io.datasets.coco import read_coco
from object_pose.io.datasets.mask_pairs import read_mask, read_mask_pairs
from object_pose.io.datasets.opening import find_layout, read_boxes
from object_pose.io.datasets.samples import BoxDataset, LabelledBoxes, of_severity, require_usable
from object_pose.io.datasets.writing import write_coco, write_yolo, write_yolo_names
from object_pose.io.datasets.yolo import read_yolo


def errors_of(holder):
    return [str(fault) for fault in of_severity(holder.faults, "error")]


def write_coco_set(root, annotations, **changes):
    write_noise(root / "images" / "a.png", 1)
    write_noise(root / "images" / "b.png", 2)
    values = {
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
        "images": [
            {"id": 10, "file_name": "a.png", "width": WIDTH, "height": HEIGHT},
            {"id": 11, "file_name": "b.png", "width": WIDTH, "height": HEIGHT},
        ],
        "annotations": annotations,
        **changes,
    }
    file = root / "annotations.json"
    file.write_text(json.dumps(values, indent=0))
    return file


SOUND = {"id": 1, "image_id": 10, "category_id": 7, "bbox": [2, 4, 10, 8]}


def test_coco_is_read_in_the_order_of_category_ids(tmp_path):
    dataset = require_usable(read_coco(write_coco_set(tmp_path, [SOUND])))
    assert dataset.labels == ("cat", "dog")
    assert dataset.samples[0].boxes_xyxy.tolist() == [[1.5, 3.5, 11.5, 11.5]]
    assert dataset.samples[0].class_ids.tolist() == [1] and len(dataset.samples[1].class_ids) == 0


def test_coco_of_other_tools_is_read(tmp_path):
    """A byte order mark, ids as text in one place only, backslashes, no sizes."""
    images = [{"id": 10, "file_name": "images\\a.png"}, {"id": "11", "file_name": "images/b.png", "height": HEIGHT}]
    annotations = [
        {**SOUND, "image_id": "10", "category_id": "7"},
        {**SOUND, "id": 2, "image_id": 11, "category_id": 3},
    ]
    file = write_coco_set(tmp_path, annotations, images=images)
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    dataset = require_usable(read_boxes(tmp_path))
    assert [sample.class_ids.tolist() for sample in dataset.samples] == [[1], [0]]
    assert all(sample.image_wh == (WIDTH, HEIGHT) for sample in dataset.samples)


def test_a_size_beyond_all_bounds_is_a_fault(tmp_path):
    images = [{"id": 10, "file_name": "a.png", "width": 1e999, "height": HEIGHT}]
    file = write_coco_set(tmp_path, [], images=images)
    file.write_text(file.read_text().replace("Infinity", "1e999"))
    assert "width and height as numbers" in errors_of(read_coco(file))[0]


def test_coco_as_powershell_writes_it_is_read(tmp_path):
    file = write_coco_set(tmp_path, [SOUND])
    file.write_bytes(file.read_text().encode("utf-16"))
    assert len(require_usable(read_boxes(tmp_path)).samples) == 2


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b.png", "../" * 2000])
def test_a_file_name_that_no_system_takes_is_one_that_is_missing(tmp_path, name):
    images = [{"id": 10, "file_name": "a.png"}, {"id": 11, "file_name": name}]
    assert "does not exist" in errors_of(read_coco(write_coco_set(tmp_path, [SOUND], images=images)))[0]


def test_an_unknown_id_is_shown_as_it_is_written(tmp_path):
    file = write_coco_set(tmp_path, [{**SOUND, "image_id": "left"}])
    assert "no image has the id 'left'" in errors_of(read_coco(file))[0]


@pytest.mark.parametrize("ids", [(1, 2), ("c1", "c2")])
def test_a_root_category_that_repeats_a_class_is_no_class(tmp_path, ids):
    root = {"id": 0, "name": "cat", "supercategory": "none"}
    leaves = [{"id": i, "name": name, "supercategory": "cat"} for i, name in zip(ids, ("cat", "dog"))]
    file = write_coco_set(tmp_path, [{**SOUND, "category_id": ids[1]}], categories=[root, *leaves])
    dataset = require_usable(read_coco(file))
    assert dataset.labels == ("cat", "dog") and dataset.samples[0].class_ids.tolist() == [1]
    used = write_coco_set(tmp_path, [{**SOUND, "category_id": 0}], categories=[root, *leaves])
    with pytest.raises(DataError, match="'cat' twice"):
        read_coco(used)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"image_id": 99}, "label without image, no image has the id 99"),
        ({"category_id": 1}, "no category has the id 1"),
        ({"bbox": [2, 4, 0, 8]}, "has no area"),
        ({"bbox": [2, 4, float("nan"), 8]}, "not finite"),
        ({"bbox": [35, 4, 20, 8]}, "reaches 15 px beyond"),
        ({"bbox": [2, 4, 10]}, "an annotation needs"),
        ({"bbox": None}, "an annotation needs"),
        ({"bbox": [2, 4, 10**400, 8]}, "an annotation needs"),
    ],
)
def test_a_bad_annotation_is_named_by_its_line(tmp_path, change, problem):
    file = write_coco_set(tmp_path, [SOUND, {**SOUND, "id": 2, **change}])
    (fault,) = read_coco(file).faults[:1]
    assert problem in fault.problem and fault.severity == "error"
    following = file.read_text().splitlines()[fault.line - 1 :]
    assert json.loads("".join(following).split("}")[0] + "}")["id"] == 2


def test_images_that_do_not_fit_their_entries(tmp_path):
    images = [
        {"id": 10, "file_name": "a.png", "width": WIDTH + 1, "height": HEIGHT},
        {"id": 11, "file_name": "gone.png", "width": WIDTH, "height": HEIGHT},
        {"id": 10, "file_name": "b.png", "width": WIDTH, "height": HEIGHT},
        {"file_name": "b.png"},
    ]
    problems = " | ".join(errors_of(read_coco(write_coco_set(tmp_path, [], images=images))))
    for expected in (
        "a.png is 40x20, not 41x20",
        "gone.png does not exist",
        "a second image has the id 10",
        "needs id",
    ):
        assert expected in problems


def test_what_is_no_coco_file(tmp_path):
    file = write_coco_set(tmp_path, [])
    file.write_text('{"images": [],\n "annotations": [1,\n}')
    with pytest.raises(DataError, match=r"annotations.json:3: not valid JSON"):
        read_coco(file)
    file.write_text('{"images": []}')
    with pytest.raises(DataError, match="has no list 'annotations'"):
        read_coco(file)


boxes = st.tuples(
    st.floats(0, WIDTH - 2), st.floats(0, HEIGHT - 2), st.floats(1, WIDTH), st.floats(1, HEIGHT), st.integers(0, 2)
).map(lambda b: (b[0], b[1], min(b[0] + b[2], WIDTH), min(b[1] + b[3], HEIGHT), b[4]))


@settings(max_examples=25)
@given(st.lists(st.lists(boxes, max_size=5, unique=True), min_size=1, max_size=2))
def test_yolo_and_coco_hold_the_same(tmp_path_factory, images):
    folder = tmp_path_factory.mktemp("round")
    samples = []
    for index, rows in enumerate(images):
        path = write_noise(folder / f"{index}.png", index)
        values = np.array(rows, dtype=np.float64).reshape(-1, 5)
        samples.append(LabelledBoxes(path, (WIDTH, HEIGHT), values[:, :4] - 0.5, values[:, 4].astype(np.int64)))
    dataset = BoxDataset(("a", "b c", "d"), tuple(samples))
    write_yolo(folder / "yolo", dataset)
    write_yolo_names(folder / "yolo", dataset.labels)
    write_coco(folder / "coco", read_yolo(folder / "yolo"))
    for read in (read_yolo(folder / "yolo"), read_coco(folder / "coco" / "annotations.json")):
        assert read.labels == dataset.labels
        for sample, wanted in zip(read.samples, samples, strict=True):
            np.testing.assert_allclose(sample.boxes_xyxy, wanted.boxes_xyxy, atol=1e-5)
            assert sample.class_ids.tolist() == wanted.class_ids.tolist()
    shutil.rmtree(folder)


def test_class_folders(tmp_path):
    root = write_class_set(tmp_path / "set", {"whole": 2, "damaged": 3})
    dataset = require_usable(read_class_folders(root))
    assert dataset.labels == ("damaged", "whole")
    assert [sample.class_id for sample in dataset.samples] == [0, 0, 0, 1, 1]


def test_an_empty_class_an_equal_image_in_two_and_a_corrupt_one_are_errors(tmp_path):
    root = write_class_set(tmp_path / "set", {"damaged": 2, "whole": 2, "bent": 0})
    first = sorted((root / "damaged").iterdir())[0]
    shutil.copyfile(first, root / "whole" / "copy.png")
    (root / "whole" / "broken.jpg").write_bytes(b"no image")
    problems = " | ".join(errors_of(read_class_folders(root)))
    assert "class 'bent' has no images" in problems
    assert f"copy.png: is of another class than its equal {first}" in problems
    assert "broken.jpg: the file is damaged or no image" in problems
    with pytest.raises(DataError, match="3 errors"):
        require_usable(read_class_folders(root))


def test_one_class_alone_is_an_error(tmp_path):
    root = write_class_set(tmp_path / "set", {"whole": 2})
    assert errors_of(read_class_folders(root)) == [f"{root}: only one class, 'whole'"]


def test_mask_pairs(tmp_path):
    dataset = require_usable(read_mask_pairs(write_mask_set(tmp_path)))
    assert len(dataset.samples) == 3
    assert read_mask(dataset.samples[0].mask_path).mean() == 0.5


@pytest.mark.parametrize(
    ("mask", "problem"),
    [
        (np.zeros((HEIGHT, WIDTH + 3), np.uint8), "mask is 43x20, its image 40x20"),
        (np.full((HEIGHT, WIDTH), 128, np.uint8), "has values other than 0 and 255: 128"),
        (np.full((HEIGHT, WIDTH, 3), (255, 0, 0), np.uint8), "is coloured"),
    ],
)
def test_a_mask_that_is_none(tmp_path, mask, problem):
    root = write_mask_set(tmp_path)
    cv2.imwrite(str(root / "masks" / "tile1.png"), mask)
    dataset = read_mask_pairs(root)
    assert errors_of(dataset) == [f"{root / 'masks' / 'tile1.png'}: {problem}"]
    assert len(dataset.samples) == 2


def test_masks_of_zero_and_one_count_as_masks(tmp_path):
    cv2.imwrite(str(tmp_path / "mask.png"), np.eye(4, dtype=np.uint8))
    assert read_mask(tmp_path / "mask.png").sum() == 4


def test_images_and_masks_without_each_other(tmp_path):
    root = write_mask_set(tmp_path)
    (root / "masks" / "tile0.png").rename(root / "masks" / "other.png")
    problems = errors_of(read_mask_pairs(root))
    assert [text.rsplit(": ", 1)[1] for text in problems] == ["image without mask", "mask without image"]
    with pytest.raises(DataError, match="has no folder images/"):
        read_mask_pairs(root / "images")


def test_bop_scenes(tmp_path):
    scene = tmp_path / "train" / "000000"
    write_noise(scene / "rgb" / "000000.png", 0)
    write_noise(scene / "depth" / "000000.png", 0, WIDTH + 1)
    identity = [1, 0, 0, 0, 1, 0, 0, 0, 1]
    truth = [
        {"cam_R_m2c": identity, "cam_t_m2c": [0, 0, 500], "obj_id": 1},
        {"cam_R_m2c": [2 * value for value in identity], "cam_t_m2c": [0, 0, -5], "obj_id": 9},
    ]
    info = [
        {"bbox_visib": [1, 1, 5, 5], "visib_fract": 1.0},
        {"bbox_visib": [30, 1, 50, 5], "visib_fract": 0.5},
    ]
    camera = {"cam_K": [40, 0, 20, 0, 40, 10, 0, 0, 1], "depth_scale": 1.0}
    box = {f"{name}_{axis}": 1.0 for name in ("min", "size") for axis in "xyz"}
    (tmp_path / "models").mkdir()
    for path, values in {
        scene / "scene_camera.json": {"0": camera, "1": {**camera, "cam_K": [1, 2]}},
        scene / "scene_gt.json": {"0": truth, "5": []},
        scene / "scene_gt_info.json": {"0": info},
        tmp_path / "models" / "models_info.json": {"1": {"diameter": 50.0, **box}},
    }.items():
        path.write_text(json.dumps(values, indent=0))
    summary = check_bop(tmp_path)
    assert (summary.scenes, summary.images, summary.objects) == (1, 1, 2)
    problems = [fault.problem for fault in summary.faults]
    for expected in (
        "depth image is 41x20, its image 40x20",
        "image 0, object 1: cam_R_m2c is no rotation",
        "image 0, object 1: the object lies behind the camera (z = -5 mm)",
        "image 0, object 1: obj_id 9 is not among the models",
        "image 0, object 1: bbox_visib reaches beyond the image of 40x20",
        "image 1 has no valid cam_K of 9 numbers",
        "label without image: 000001 is not in rgb/ or gray/",
        "label without image 5",
    ):
        assert expected in problems
    assert len(problems) == 8


def test_the_real_sets_are_sound():
    assert check_bop(real_data("lmo")).faults == ()
    assert len(require_usable(read_class_folders(real_data("magnetic_tiles"))).samples) == 949
    assert len(require_usable(read_mask_pairs(real_data("footprints"))).samples) == 56


def test_a_bop_scene_far_below_does_not_make_a_data_set_bop(tmp_path):
    def write_scene(folder):
        folder.mkdir(parents=True)
        (folder / "scene_camera.json").write_text("{}")

    write_noise(tmp_path / "boxes" / "images" / "0.png", 0)
    (tmp_path / "boxes" / "labels").mkdir()
    (tmp_path / "boxes" / "labels" / "0.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    write_scene(tmp_path / "boxes" / "raw" / "train" / "000000")
    assert find_layout(tmp_path / "boxes").kind == "yolo"
    for place in ("set/train/000000", "split/000000", "scene"):
        write_scene(tmp_path / place)
        assert find_layout(tmp_path / place.split("/")[0]).kind == "bop"
