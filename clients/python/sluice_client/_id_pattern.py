"""Patterns of device ids: ``*`` is any run of characters."""

from __future__ import annotations

import re


def normal_pattern(pattern: str) -> str:
    """The server's form: ``**`` becomes ``*``."""
    return re.sub(r"\*{2,}", "*", pattern)


def matches_pattern(pattern: str, device_id: str) -> bool:
    """Each piece between stars is searched once, left to right: no backtracking, whatever the id."""
    prefix, *middles = pattern.split("*")
    if not middles:
        return pattern == device_id
    suffix = middles.pop()
    end = len(device_id) - len(suffix)
    at = len(prefix)
    if at > end or not device_id.startswith(prefix) or not device_id.endswith(suffix):
        return False
    for piece in middles:
        found = device_id.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    return at <= end


def may_overlap(a: str, b: str) -> bool:
    """Whether two patterns may have a device in common; true where it is not certain that they have none."""
    start_a, end_a = _ends(a)
    start_b, end_b = _ends(b)
    return (start_a.startswith(start_b) or start_b.startswith(start_a)) and (
        end_a.endswith(end_b) or end_b.endswith(end_a)
    )


def _ends(pattern: str) -> tuple[str, str]:
    if "*" not in pattern:
        return pattern, pattern
    return pattern[: pattern.index("*")], pattern[pattern.rindex("*") + 1 :]
