"""JSON documents whose entries know the line on which they begin, so that a fault can be found in the file."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from object_pose.core.errors import DataError
from object_pose.io.files import read_text

_SPACE = re.compile(r"[ \t\r\n]*")


@dataclass
class LocatedJson:
    """A JSON object with the lines of its entries, and of the elements of those entries that are arrays."""

    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[tuple[str, int | None], int] = field(default_factory=dict)

    def line(self, key: str, index: int | None = None) -> int | None:
        """Return the line of an entry, or of an element of its array; None where there is none."""
        return self.lines.get((key, index))


def read_located_json(path: Path) -> LocatedJson:
    """Read a JSON object; raises ``DataError`` naming file, line and what is wrong."""
    try:
        text = read_text(path)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist") from error
    except OSError as error:
        raise DataError(f"{path} cannot be opened: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not valid JSON: it is no text") from error
    try:
        return _Reader(text).read()
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: not valid JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or thousands of brackets
        raise DataError(f"{path} cannot be read as JSON: {error}") from error


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._decoder = json.JSONDecoder()
        self._at = 0
        self._line, self._counted = 1, 0

    def read(self) -> LocatedJson:
        document = LocatedJson()
        self._expect("{")
        while not self._accept("}"):
            if document.values:
                self._expect(",")
            self._skip()
            line = self._line_here()
            key = self._decode()
            if not isinstance(key, str):
                raise json.JSONDecodeError("Expecting property name", self._text, self._at)
            self._expect(":")
            document.lines[key, None] = line
            document.values[key] = self._array(document, key) if self._accept("[") else self._decode()
        self._skip()
        if self._at != len(self._text):
            raise json.JSONDecodeError("Extra data", self._text, self._at)
        return document

    def _array(self, document: LocatedJson, key: str) -> list[Any]:
        elements: list[Any] = []
        while not self._accept("]"):
            if elements:
                self._expect(",")
            self._skip()
            document.lines[key, len(elements)] = self._line_here()
            elements.append(self._decode())
        return elements

    def _decode(self) -> Any:
        self._skip()
        value, self._at = self._decoder.raw_decode(self._text, self._at)
        return value

    def _skip(self) -> None:
        space = _SPACE.match(self._text, self._at)
        self._at = space.end() if space else self._at

    def _accept(self, character: str) -> bool:
        self._skip()
        if not self._text.startswith(character, self._at):
            return False
        self._at += 1
        return True

    def _expect(self, character: str) -> None:
        if not self._accept(character):
            raise json.JSONDecodeError(f"Expecting '{character}'", self._text, self._at)

    def _line_here(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line
