"""Text and YAML as users write them."""

import pytest

from object_pose.io.files import parse_yaml, read_text


@pytest.mark.parametrize(("text", "value"), [("1e-3", 1e-3), ("-2E5", -2e5), (".5e1", 5.0), ("3.e2", 300.0)])
def test_numbers_with_an_exponent_are_numbers(text, value):
    assert parse_yaml(f"rate: {text}") == {"rate": value}


@pytest.mark.parametrize("text", ["1e", "e3", "1e3x", "1.2.3e4", "v1e3"])
def test_what_only_looks_like_one_stays_text(text):
    assert parse_yaml(f"name: {text}") == {"name": text}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_of_any_usual_encoding(tmp_path, encoding):
    (tmp_path / "file.yaml").write_bytes("names: [Schraube, Öse]\r\n".encode(encoding))
    assert read_text(tmp_path / "file.yaml") == "names: [Schraube, Öse]\n"
