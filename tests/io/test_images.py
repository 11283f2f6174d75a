"""Image and depth files: what is written is read, units follow the encoding, bad files are data errors."""

import struct

import cv2
import numpy as np
import pytest

from object_pose.core.errors import DataError
from object_pose.io.files import replacing
from object_pose.io.images import (
    declared_wh,
    depth_in_millimetres,
    list_images,
    read_depth,
    read_image,
    write_depth,
    write_image,
)


def test_colour_round_trip(tmp_path, frame):
    write_image(tmp_path / "new" / "image.png", frame.rgb)
    np.testing.assert_array_equal(read_image(tmp_path / "new" / "image.png"), frame.rgb)


def test_channels_are_red_green_blue(tmp_path):
    cv2.imwrite(str(tmp_path / "red.png"), np.full((2, 2, 3), (0, 0, 255), np.uint8))
    assert read_image(tmp_path / "red.png")[0, 0].tolist() == [255, 0, 0]


def test_grey_files_become_rgb(tmp_path):
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((3, 4), 9, np.uint8))
    assert read_image(tmp_path / "grey.png").tolist() == np.full((3, 4, 3), 9).tolist()


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_of_16_bits_the_upper_8_are_read(tmp_path, suffix, channels):
    values = np.array([[0, 300, 40_000, 65_535]], np.uint16)
    cv2.imwrite(str(tmp_path / f"image{suffix}"), np.stack([values] * 3, axis=-1) if channels else values)
    assert read_image(tmp_path / f"image{suffix}")[0].tolist() == [[level] * 3 for level in (0, 1, 156, 255)]


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize("bits", [8, 10, 12])
def test_fewer_bits_in_16_are_refused_instead_of_read_as_black(tmp_path, suffix, channels, bits):
    values = np.full((4, 4, *channels), (1 << bits) - 1, np.uint16)
    cv2.imwrite(str(tmp_path / f"image{suffix}"), values)
    with pytest.raises(DataError, match=rf"image{suffix} .* reach only {(1 << bits) - 1} of 65535 .*divide by 16"):
        read_image(tmp_path / f"image{suffix}")


def test_a_black_image_of_16_bits_is_black_and_floats_have_no_range(tmp_path):
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((3, 4), np.uint16))
    assert not read_image(tmp_path / "black.png").any()
    cv2.imwrite(str(tmp_path / "float.tiff"), np.ones((3, 4, 3), np.float32))
    with pytest.raises(DataError, match="float32"):
        read_image(tmp_path / "float.tiff")


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_depth_round_trip(tmp_path, frame, suffix):
    write_depth(tmp_path / f"depth{suffix}", frame.depth_m)
    np.testing.assert_allclose(read_depth(tmp_path / f"depth{suffix}"), frame.depth_m, atol=1e-7)


@pytest.mark.parametrize(
    ("array", "metres"),
    [
        (np.array([[0, 1500]], np.uint16), [[0.0, 1.5]]),
        (np.array([[0.0, 1.5]], np.float32), [[0.0, 1.5]]),
        (np.array([[np.nan, np.inf, -1.0, 0.25]], np.float64), [[0.0, 0.0, 0.0, 0.25]]),
    ],
)
def test_the_unit_follows_the_encoding(tmp_path, array, metres):
    np.save(tmp_path / "depth.npy", array)
    depth_m = read_depth(tmp_path / "depth.npy")
    assert depth_m.dtype == np.float32
    np.testing.assert_allclose(depth_m, metres)


def test_a_depth_scale_of_the_data_set_is_honoured(tmp_path):
    np.save(tmp_path / "depth.npy", np.array([[5000]], np.uint16))
    np.testing.assert_allclose(read_depth(tmp_path / "depth.npy", unit_m=1e-4), [[0.5]])


@pytest.mark.parametrize("suffix", [".npy", ".tiff"])
def test_floating_point_millimetres_are_noticed_and_read_where_it_is_said(tmp_path, suffix):
    """As ZED, Zivid and Open3D may leave them; nothing was measured at a third of the pixels."""
    path = tmp_path / f"depth{suffix}"
    millimetres = np.array([[np.nan, 0.0, 700.0, 800.0, 900.0, 5000.0]], np.float32)
    np.save(path, millimetres) if suffix == ".npy" else cv2.imwrite(str(path), millimetres)
    with pytest.raises(DataError, match=rf"depth{suffix}: half of .* beyond 800 m .*millimetres\?.*--depth-scale 1"):
        read_depth(path)
    np.testing.assert_allclose(read_depth(path, float_unit_m=1e-3), [[0.0, 0.0, 0.7, 0.8, 0.9, 5.0]], rtol=1e-6)


def test_the_far_plane_of_a_renderer_is_not_taken_for_millimetres(tmp_path):
    depth_m = np.full((4, 5), 1000.0, np.float32)
    depth_m[1, 1:3] = 0.5, 0.6
    np.save(tmp_path / "depth.npy", depth_m)
    np.testing.assert_array_equal(read_depth(tmp_path / "depth.npy"), depth_m)


def test_millimetres_hold_no_nonsense():
    metres = np.array([[np.nan, np.inf, -np.inf, -0.5, 0.0005, 65.535, 66.0]], np.float32)
    assert depth_in_millimetres(metres).tolist() == [[0, 0, 0, 0, 0, 65535, 0]]


@pytest.mark.parametrize("array", [np.zeros((2, 2), np.uint8), np.zeros((2, 2, 3), np.float32), np.zeros((2, 2), int)])
def test_depth_of_unknown_unit_or_shape_is_refused(tmp_path, array):
    np.save(tmp_path / "depth.npy", array)
    with pytest.raises(DataError, match=r"depth\.npy"):
        read_depth(tmp_path / "depth.npy")


@pytest.mark.parametrize(
    ("read", "name"), [(read_image, "image.png"), (read_depth, "depth.png"), (read_depth, "d.npy")]
)
@pytest.mark.parametrize("content", [None, b"", b"no image at all"])
def test_files_that_are_no_images(tmp_path, read, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x1cftypavif", "AVIF"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"GIF89a", "GIF"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"P6\n4 4\n255\n", "PNM"),
    ],
)
def test_formats_that_are_not_read_are_named(tmp_path, content, kind):
    (tmp_path / "photo.jpg").write_bytes(content + bytes(60))
    with pytest.raises(DataError, match=f"photo.jpg cannot be read as an image .*{kind}: convert it to PNG or JPEG"):
        read_image(tmp_path / "photo.jpg")


def test_a_truncated_image_is_refused_or_read_but_never_crashes(tmp_path, frame):
    write_image(tmp_path / "image.png", frame.rgb)
    content = (tmp_path / "image.png").read_bytes()
    (tmp_path / "image.png").write_bytes(content[:40])
    with pytest.raises(DataError, match="truncated"):
        read_image(tmp_path / "image.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp"])
@pytest.mark.parametrize("wh", [(31, 7), (300, 2)])
def test_every_format_declares_its_size(tmp_path, suffix, wh):
    write_image(tmp_path / f"image{suffix}", np.zeros((*wh[::-1], 3), np.uint8))
    assert declared_wh((tmp_path / f"image{suffix}").read_bytes()) == wh


def big_tiff(order, pixels):
    """Return the bytes of an 8-bit grey image as BigTIFF, which OpenCV does not write."""
    height, width = pixels.shape
    entries = [
        (256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1),
        (273, 16, 16), (277, 3, 1), (278, 4, height), (279, 16, pixels.size),
    ]  # fmt: skip
    content = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HHHQ", 43, 8, 0, 16 + pixels.size)
    content += pixels.tobytes() + struct.pack(f"{order}Q", len(entries))
    for tag, kind, value in entries:
        packed = struct.pack(order + {3: "H", 4: "I", 16: "Q"}[kind], value)
        content += struct.pack(f"{order}HHQ", tag, kind, 1) + packed.ljust(8, b"\0")
    return content + bytes(8)


@pytest.mark.parametrize("order", ["<", ">"])
def test_big_tiff_is_read(tmp_path, order):
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    (tmp_path / "image.tif").write_bytes(big_tiff(order, pixels))
    assert declared_wh((tmp_path / "image.tif").read_bytes()) == (4, 3)
    np.testing.assert_array_equal(read_image(tmp_path / "image.tif")[:, :, 0], pixels)


def test_a_size_that_no_memory_holds_is_refused_before_it_is_taken(tmp_path, frame):
    write_image(tmp_path / "image.png", frame.rgb)
    content = bytearray((tmp_path / "image.png").read_bytes())
    content[16:24] = struct.pack(">II", 60_000, 60_000)
    (tmp_path / "image.png").write_bytes(content)
    header = b"{'descr': '<u2', 'fortran_order': False, 'shape': (400000, 400000), }"
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    (tmp_path / "depth.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    for read, name, text in ((read_image, "image.png", "60000x60000"), (read_depth, "depth.npy", "400000, 400000")):
        with pytest.raises(DataError, match=text):
            read(tmp_path / name)


def test_an_array_whose_header_is_no_python_is_refused(tmp_path):
    header = b"{'descr': '<u2', 'fortran_order': False, 'shape': (2, 2, \n"
    (tmp_path / "depth.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    with pytest.raises(DataError, match=r"depth\.npy cannot be read as a NumPy array"):
        read_depth(tmp_path / "depth.npy")


def test_a_format_that_cannot_be_written_is_a_data_error(tmp_path, frame):
    with pytest.raises(DataError, match=r"image\.xyz"):
        write_image(tmp_path / "image.xyz", frame.rgb)
    assert list(tmp_path.iterdir()) == []


def test_folders_are_listed_in_order(tmp_path, frame):
    (tmp_path / "._b.png").write_bytes(b"\0\5\x16\7")  # as macOS leaves them on other drives
    for name in ("b.png", "a.jpg", "notes.txt"):
        write_image(tmp_path / name, frame.rgb) if name[-3:] != "txt" else (tmp_path / name).write_text("x")
    assert [path.name for path in list_images(tmp_path)] == ["a.jpg", "b.png"]
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "missing"):
        with pytest.raises(DataError, match=folder):
            list_images(tmp_path / folder)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    target = tmp_path / "result.txt"
    target.write_text("old")

    def break_off():
        with replacing(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]
    with replacing(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new" and list(tmp_path.iterdir()) == [target]
