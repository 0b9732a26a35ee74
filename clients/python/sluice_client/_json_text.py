"""JSON as it travels: strict on the way out, patient with long numbers on the way in, and the text of a value as it was written."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

#: Python reads no integer of more digits (``sys.set_int_max_str_digits``); a device may send one.
_MAX_DIGITS = 4_000
_SURROGATE = re.compile("[\ud800-\udfff]")
_SPACE = re.compile(r"[ \t\n\r]*")
_decoder = json.JSONDecoder()


def loads(text: str) -> Any:
    """:raises ValueError: it is no JSON, or nested too deep for Python"""
    try:
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            raise
        except ValueError:
            return json.loads(text, parse_int=_integer)
    except RecursionError:
        raise ValueError("nested too deep") from None


def dumps(value: object) -> str:
    """:raises ValueError, TypeError: it is no JSON value"""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except RecursionError:
        raise ValueError("nested too deep") from None
    # A lone surrogate has no UTF-8; as an escape the server can say what it thinks of it.
    return _SURROGATE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def bytes_of(text: str) -> int:
    return len(text.encode())


def raw_at(text: str, path: Sequence[str | int]) -> str | None:
    """The text of a value exactly as it came: reading makes 1.5 of 1.50.

    :param text: what :func:`loads` accepts
    :param path: names of members and indexes of elements that lead to it
    """
    start = _skip(text, 0)
    for step in path:
        found = _member_at(text, start, step)
        if found is None:
            return None
        start = found
    return text[start : _end(text, start)]


def _member_at(text: str, start: int, step: str | int) -> int | None:
    """Where a member's value begins, of duplicates the last one's, as for :func:`loads`."""
    found = None
    index = 0
    at = _skip(text, start + 1)
    while text[at] not in "}]":
        name: str | int = index
        if text[start] == "{":
            key, end = _decoder.raw_decode(text, at)
            name = str(key)
            at = _skip(text, _skip(text, end) + 1)
        if name == step:
            found = at
        at = _skip(text, _end(text, at))
        if text[at] == ",":
            at = _skip(text, at + 1)
        index += 1
    return found


def _end(text: str, start: int) -> int:
    try:
        return _decoder.raw_decode(text, start)[1]
    except json.JSONDecodeError:
        raise
    except ValueError:
        return json.JSONDecoder(parse_int=_integer).raw_decode(text, start)[1]


def _skip(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space else at


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MAX_DIGITS else float(digits)
