"""Files and folders that appear whole or not at all, folders with their settings, and YAML of any content."""

from __future__ import annotations

import codecs
import json
import os
import re
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from object_pose.core.errors import ConfigError, ObjectPoseError

_MOST_YAML_VALUES = 1 << 20


class YamlLoader(yaml.SafeLoader):
    """Safe YAML that reads 1e-3 as the number that it is in YAML 1.2; in YAML 1.1 it is text without a point."""


YamlLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+\Z"), list("-+.0123456789")
)


def parse_yaml(text: str, loader: type[yaml.SafeLoader | yaml.BaseLoader] = YamlLoader) -> Any:
    """Return the first and only document; raises ``ValueError`` saying what is wrong.

    Aliases may repeat values, but not so often that they make millions of a short text.
    """
    try:
        document = yaml.load(text, loader)
    except Exception as error:  # tags such as !!bool stop PyYAML's constructors in ways that share no base class
        raise ValueError(f"{type(error).__name__}: {' '.join(str(error).split())}") from error
    count, waiting = 0, [document]
    while waiting:
        value = waiting.pop()
        count += 1
        if count > _MOST_YAML_VALUES:
            raise ValueError(f"it holds more than {_MOST_YAML_VALUES} values")
        if isinstance(value, Mapping):
            waiting += [*value, *value.values()]
        elif isinstance(value, (list, tuple, set)):
            waiting += value
    return document


def load_yaml(
    path: Path,
    error: type[ObjectPoseError],
    text: str | None = None,
    loader: type[yaml.SafeLoader | yaml.BaseLoader] = YamlLoader,
) -> Any:
    """Return the document of a file, or of the ``text`` that was read of it; raises ``error`` where it is no YAML.

    Raises ``OSError`` where the file cannot be read.
    """
    try:
        return parse_yaml(read_text(path) if text is None else text, loader)
    except ValueError as problem:
        raise error(f"{path} is not valid YAML: {problem}") from problem


def parse_xml(text: str) -> ElementTree.Element:
    """Return the root of an XML text; raises ``ValueError`` where it is none, or declares a document type."""
    if "<!" in re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL):  # entities make gigabytes of a short text
        raise ValueError("it declares a document type")
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(str(error)) from error


def read_text(path: Path) -> str:
    """Return a text file's content, UTF-8 or, as PowerShell's ``>`` writes it, UTF-16, without a byte order mark.

    Raises ``OSError`` and ``UnicodeDecodeError``.
    """
    return decode_text(path.read_bytes())


def decode_text(content: bytes) -> str:
    """Return the text in a file's bytes, see ``read_text``; raises ``UnicodeDecodeError``."""
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if is_utf16 else "utf-8-sig").replace("\r\n", "\n")


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that takes its place when the block ends well, and is removed if not."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside ``path`` that is renamed to it when the block ends well, removed if not.

    What killed runs left behind is removed, too. Raises ``ConfigError`` where ``path`` holds files already.
    """
    target = Path(path)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"{target} exists already", "name an empty or new folder")
    for leftover in target.parent.glob(f".{target.name}.*.partial"):
        if not _is_running(leftover.suffixes[-2][1:]):
            shutil.rmtree(leftover, ignore_errors=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        yield partial
        os.rename(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def claim_folder(folder: Path, file_name: str, settings: Mapping[str, Any]) -> None:
    """Note the settings in the folder; raises ``ConfigError`` where it holds something made with others."""
    file = folder / file_name
    if not file.exists():
        if folder.is_dir() and any(folder.iterdir()):
            raise ConfigError(f"{folder} holds files of something else", "name an empty or new folder")
        with replacing(file) as temporary:
            temporary.write_text(json.dumps(settings, indent=2) + "\n")
        return
    present = json.loads(file.read_text())
    for name, value in settings.items():
        if present.get(name) != value:
            raise ConfigError(
                f"{folder} was made with {name} {present.get(name)}, not {value}",
                "use the same options to go on with it, or another folder",
            )


def _is_running(process_id: str) -> bool:
    return process_id.isdigit() and Path("/proc", process_id).exists()
