"""Sound files made unsound: bytes, lines and numbers of text, and values of JSON documents, changed at random."""

from __future__ import annotations

import json
import random
import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

# Name -> content, the files of one input.
Files = Mapping[str, bytes]

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_HOSTILE_WORDS = (
    "0", "-1", "1e999", "-1e308", "1e-320", "nan", "inf", ".nan", "-.inf", "99999999999999999999", "65536",
    "2147483648", "0x10", "1_0", "1:30", "true", "null", "~", "''", '"x"', "[]", "{}", "[[1]]", "²", "१", "", "1 2",
    "!!bool x", "!!int ''", "!!timestamp x", "!!set {1, 2}", "!!binary x", "=", "? [1]", "2020-99-99", "*a",
)  # fmt: skip
_HOSTILE_TEXT = (
    ":",
    "---",
    "%YAML:1.0",
    "\ufeff",
    "\0",
    "\t",
    "&a [*a]",
    "!!python/object:os.system",
    "#",
    "\r",
    "\\",
    "💥",
)
_HOSTILE_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"), "", "x",
    "0", "../..", "a\0b", "nan", "x" * 5000, "\ud800", [], {}, [[]], [None], [1, 2, 3], {"data": []}, {"x": 1},
)  # fmt: skip
_HOSTILE_INTEGERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40, (1 << 64) - 1)
_MOST_NESTING = 3000


def mutated(rng: random.Random, seeds: Sequence[Files]) -> Files:
    """Return a copy of one of the seeds with one to four changes; now and then a file is missing or empty."""
    files = dict(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 2, 4))):
        name = rng.choice(sorted(files))
        chance = rng.random()
        if chance < 0.02 and len(files) > 1:
            del files[name]
        elif chance < 0.04:
            files[name] = b""
        else:
            files[name] = mutated_content(rng, files[name])
    return files


def mutated_content(rng: random.Random, content: bytes) -> bytes:
    """Return changed content: JSON by its structure, other text by its lines and numbers, all by its bytes as well."""
    if rng.random() < 0.2:
        return mutated_bytes(rng, content)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return mutated_bytes(rng, content)
    if text.lstrip().startswith(("{", "[")) and rng.random() < 0.8:
        try:
            return dump_json(mutated_json(rng, json.loads(text)))
        except (ValueError, RecursionError):
            pass  # spoilt before
    return _mutated_text(rng, text).encode(errors="surrogatepass")


def dump_json(value: Any) -> bytes:
    """Return a value as JSON, one entry a line; one that is nested too deeply to be printed is made by hand."""
    return json.dumps(value, indent=0).encode()


def mutated_bytes(rng: random.Random, content: bytes) -> bytes:
    """Return bytes with one change; a PNG gets new checksums, or else its decoder would look no further."""
    data = bytearray(content or b"\0")
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.choice((1, 2, 8, 64, 4096)))
    change = rng.randrange(7)
    if change == 0:
        data[start] ^= 1 << rng.randrange(8)
    elif change == 1:
        data[start] = rng.randrange(256)
    elif change == 2:
        code = rng.choice(("<H", ">H", "<I", ">I", "<Q"))
        value = rng.choice(_HOSTILE_INTEGERS) % (1 << 8 * struct.calcsize(code))
        data[start : start + struct.calcsize(code)] = struct.pack(code, value)
    elif change == 3:
        del data[start:end]
    elif change == 4:
        data[start:start] = data[start:end] * rng.choice((1, 2, 50))
    elif change == 5:
        del data[start:]
    else:
        data[start:end] = rng.randbytes(end - start)
    is_png = data.startswith(b"\x89PNG\r\n\x1a\n")
    return _with_checksums(bytes(data)) if is_png and rng.random() < 0.7 else bytes(data)


def mutated_json(rng: random.Random, document: Any) -> Any:
    """Return a document with one value replaced, removed, renamed, doubled or nested."""
    places = list(_places(document))
    if not places:
        return rng.choice(_HOSTILE_VALUES)
    holder, key = rng.choice(places)
    change = rng.randrange(6)
    if change <= 1:
        holder[key] = rng.choice(_HOSTILE_VALUES)
    elif change == 2:
        del holder[key]
    elif change == 3:
        other, other_key = rng.choice(places)
        holder[key] = json.loads(json.dumps(other[other_key]))
    elif change == 4 and isinstance(holder, dict):
        holder[rng.choice(("", "x", "-1", "1e3", "²", key.upper(), f" {key}"))] = holder.pop(key)
    else:
        for _ in range(rng.choice((1, 2, 100, 900))):
            holder[key] = [holder[key]]
    return document


def _places(value: Any, most: int = 400) -> Any:
    """Yield (holder, key) of the values in a document; of long lists and deep nests the first ones."""
    waiting = [value]
    while waiting and most:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
        for key in keys:
            most -= 1
            if not most:
                return
            yield holder, key
            waiting.append(holder[key])


def _mutated_text(rng: random.Random, text: str) -> str:
    change = rng.randrange(7)
    if change <= 2 and (numbers := list(_NUMBER.finditer(text))):
        for number in sorted(rng.sample(numbers, min(len(numbers), rng.choice((1, 1, 3)))), key=lambda m: -m.start()):
            text = text[: number.start()] + rng.choice(_HOSTILE_WORDS) + text[number.end() :]
        return text
    lines = text.splitlines(keepends=True) or [""]
    line = rng.randrange(len(lines))
    if change == 3:
        del lines[line]
    elif change == 4:
        lines.insert(rng.randrange(len(lines) + 1), lines[line] * rng.choice((1, 3, 500)))
    elif change == 5:
        words = lines[line].split(" ")
        words[rng.randrange(len(words))] = rng.choice(_HOSTILE_WORDS + _HOSTILE_TEXT)
        lines[line] = " ".join(words)
    elif rng.random() < 0.1:
        lines[line] = rng.choice("[{") * rng.choice((50, _MOST_NESTING))
    else:
        place = rng.randrange(len(lines[line]) + 1)
        lines[line] = lines[line][:place] + rng.choice(_HOSTILE_TEXT) + lines[line][place:]
    return "".join(lines)


def _with_checksums(png: bytes) -> bytes:
    """Return a PNG whose chunks, as far as they are whole, have the checksums of their content."""
    data, place = bytearray(png), 8
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        end = place + 8 + length
        if end + 4 > len(data):
            break
        struct.pack_into(">I", data, end, zlib.crc32(data[place + 4 : end]))
        place = end + 4
    return bytes(data)
