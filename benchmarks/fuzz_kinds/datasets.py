"""Data sets and recipes as fuzz inputs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.fuzz_kinds.kind import CAMERA, Kind, depth_picture, encoded, picture, read_each
from benchmarks.fuzz_mutation import Files, dump_json, mutated
from object_pose.io.bop import bop_scenes, read_bop_scene, read_models_info
from object_pose.io.datasets.bop_checks import check_bop
from object_pose.io.datasets.opening import find_layout, open_dataset
from object_pose.runtime.resources import find
from object_pose.workflows.recipe import check_recipe, read_recipe


def _recipe_seeds() -> list[Files]:
    rendered = ("inspection", "oriented", "parts")  # others need data that may not be there
    return [{"recipe.yaml": find("models", f"recipes/{name}.yaml").read_bytes()} for name in rendered]


def _read_recipe(folder: Path) -> None:
    check_recipe(read_recipe(folder / "recipe.yaml"), folder / "out")


def _label_seeds() -> list[Files]:
    image, depth = encoded(".png", picture()), encoded(".png", depth_picture())
    yolo = {"images/a.png": image, "images/b.jpg": encoded(".jpg", picture()), "labels/a.txt": b"0 0.5 0.5 0.2 0.2\n"}
    splits = b"path: .\ntrain: images/train\nval: images/train\nnc: 2\nnames: [cat, dog]\n"
    names = b"names:\n  0: cat\n  1: dog\n"
    keypoints = b"1 0.5 0.5 0.4 0.4 0.4 0.4 2 0.6 0.6 1\n0 0.1 0.1 0.2 0.1 0.3 0.2 1 0.1 0.1 0\n"
    polygon = b"0 0.1 0.1 0.9 0.1 0.9 0.9\n1 0.5 0.5 0.2 0.2 0.97 12\n"
    box = {"image_id": 1, "category_id": 1, "bbox": [2, 3, 10, 9], "area": 90, "iscrowd": 0}
    coco = {
        "images": [{"id": 1, "file_name": "a.png", "width": 32, "height": 24}],
        "annotations": [{"id": 1, **box}, {"id": 2, **box, "segmentation": [[1, 1, 9, 1, 9, 9]]}],
        "categories": [{"id": 1, "name": "cat", "supercategory": "none"}, {"id": 7, "name": "dog"}],
    }
    voc = b"<annotation><object><name>cat</name><bndbox><xmin>3</xmin><ymin>4</ymin><xmax>9</xmax><ymax>8</ymax>"
    voc += b"</bndbox></object></annotation>"
    shapes = [{"label": "cat", "points": [[3, 4], [20, 15]], "shape_type": "rectangle"}]
    shapes.append({"label": "dog", "points": [[3, 4], [9, 4]], "shape_type": "circle"})
    packed = {"image_id": 1, "category_id": 7, "segmentation": {"counts": "`0d0P2", "size": [24, 32]}}
    coco_masks = coco | {
        "annotations": [{"id": 1, **packed}, {"id": 2, **packed, "segmentation": [[1, 1, 9, 1, 9, 9]]}]
    }
    truth = {"cam_R_m2c": np.eye(3).ravel().tolist(), "cam_t_m2c": [10.0, 5.0, 500.0], "obj_id": 1}
    info = {"bbox_visib": [5, 5, 9, 9], "bbox_obj": [5, 5, 9, 9], "visib_fract": 0.8, "px_count_all": 81}
    camera = {"cam_K": CAMERA.matrix.ravel().tolist(), "depth_scale": 1.0}
    model = {"diameter": 60.0} | {f"{name}_{axis}": 20.0 for name in ("min", "size") for axis in "xyz"}
    symmetries = {"symmetries_discrete": [np.diag([-1, -1, 1, 1]).ravel().tolist()]}
    turned = {"symmetries_continuous": [{"axis": [0, 0, 1], "offset": [0, 0, 0]}]}
    bop = {
        "train/000000/rgb/000000.png": image,
        "train/000000/depth/000000.png": depth,
        "train/000000/scene_camera.json": dump_json({"0": camera}),
        "train/000000/scene_gt.json": dump_json({"0": [truth, truth]}),
        "train/000000/scene_gt_info.json": dump_json({"0": [info, info]}),
        "models/models_info.json": dump_json({"1": model | symmetries, "2": model | turned}),
    }
    return [
        {**yolo, "data.yaml": names},
        {**yolo, "labels/a.txt": keypoints, "data.yaml": names + b"kpt_shape: [2, 3]\npath: .\ntrain: images\n"},
        {**yolo, "labels/b.txt": polygon, "classes.txt": b"cat\ndog\n"},
        {"a.png": image, "annotations.json": dump_json(coco)},
        {"train2017/a.png": image, "annotations/instances_train2017.json": dump_json(coco)},
        {"images/train/a.png": image, "labels/train/a.txt": b"0 0.5 0.5 0.2 0.2 0.93\r\n", "data.yaml": splits},
        {"a.png": image, "annotations.json": dump_json(coco_masks)},
        {"a.png": image, "a.json": dump_json({"imagePath": "a.png", "shapes": shapes})},
        {
            "obj_train_data/a.png": image,
            "obj_train_data/a.txt": b"0 0.5 0.5 0.2 0.2\n",
            "obj.names": b"cat\ndog\n",
            "train.txt": b"data/obj_train_data/a.png\n",
            "obj.data": b"classes = 2\ntrain = data/train.txt\nnames = data/obj.names\n",
        },
        {"Annotations/a.xml": voc, "JPEGImages/a.png": image, "ImageSets/Main/train.txt": b"a\n"},
        bop,
    ]


def _spoilt_labels(rng: random.Random, seeds: Sequence[Files]) -> Files:
    """Change mostly what is not a picture."""
    files = rng.choice(seeds)
    if rng.random() < 0.1:
        return mutated(rng, [files])
    texts = {name: content for name, content in files.items() if not name.endswith((".png", ".jpg"))}
    pictures = {name: content for name, content in files.items() if name not in texts}
    return {**pictures, **mutated(rng, [texts])}


def _read_labels(folder: Path) -> None:
    read_each(lambda: _read_dataset(folder), lambda: read_models_info(folder / "models/models_info.json"))


def _read_dataset(folder: Path) -> None:
    if find_layout(folder).kind != "bop":
        open_dataset(folder, thorough=True)
        return
    scene = bop_scenes(folder)[0]
    read_each(lambda: check_bop(folder, thorough=True), lambda: list(read_bop_scene(scene, {1: "part"})))


KINDS = {
    "labels": Kind(140, _label_seeds, _read_labels, _spoilt_labels),
    "recipe": Kind(20, _recipe_seeds, _read_recipe),
}
