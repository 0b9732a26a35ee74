"""Options of subscriptions: how several become one at the server, and one becomes several again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

MAX_FIELDS = 100
MAX_REWIND = 1_000


class Delivery(TypedDict, total=False):
    """``delivery`` as the server is asked for it."""

    mode: Literal["latest"]
    maxRateHz: float
    fields: list[str]
    aggregate: Literal[True]
    meta: Literal["once"]


@dataclass(frozen=True, slots=True)
class Rewind:
    """The last publications of history before live ones. With both, the fewer."""

    #: At most this many, 1 to 1 000.
    count: int | None = None
    #: None older than this many milliseconds.
    ms: int | None = None

    def __post_init__(self) -> None:
        if self.count is None and self.ms is None:
            raise ValueError("A rewind needs count or ms")

    def as_wire(self) -> dict[str, int]:
        return {name: value for name, value in (("count", self.count), ("ms", self.ms)) if value is not None}


@dataclass(frozen=True, slots=True)
class Wire:
    """Options as the server was asked for them."""

    delivery: Delivery
    key: str


def as_wire(delivery: Delivery) -> Wire:
    return Wire(delivery, json.dumps(delivery, sort_keys=True))


NO_OPTIONS = as_wire({})


def normal(
    mode: Literal["every", "latest"] | None,
    max_rate_hz: float | None,
    fields: Iterable[str] | None,
    aggregate: bool,
    meta: Literal["inline", "once"],
) -> Delivery:
    """Options that leave something out have a rate, fields, an aggregate; every publication whole has none of them."""
    delivery: Delivery = {}
    if (mode or ("every" if max_rate_hz is None else "latest")) == "latest":
        delivery["mode"] = "latest"
    if max_rate_hz is not None:
        delivery["maxRateHz"] = max_rate_hz
    if fields is not None:
        delivery["fields"] = sorted(set(fields))
    if aggregate:
        delivery["aggregate"] = True
    if meta == "once":
        delivery["meta"] = "once"
    return delivery


def widest(deliveries: Sequence[Delivery]) -> Delivery:
    """The narrowest options from which each of these can be served."""
    result: Delivery = deliveries[0] if deliveries else {}
    for other in deliveries[1:]:
        if other != result:
            result = _widen(result, other)
    return result


def _widen(a: Delivery, b: Delivery) -> Delivery:
    same = a.get("aggregate") == b.get("aggregate") and a.get("maxRateHz") == b.get("maxRateHz")
    # A summary cannot be unmade, and needs every publication to be made here.
    whole = not same and ("aggregate" in a or "aggregate" in b)
    wide: Delivery = {}
    if not whole and "mode" in a and "mode" in b:
        wide["mode"] = "latest"
    if not whole and "maxRateHz" in a and "maxRateHz" in b:
        wide["maxRateHz"] = max(a["maxRateHz"], b["maxRateHz"])
    if "fields" in a and "fields" in b:
        fields = sorted({*a["fields"], *b["fields"]})
        if len(fields) <= MAX_FIELDS:
            wide["fields"] = fields
    if same and "aggregate" in a:
        wide["aggregate"] = True
    if "meta" in a and "meta" in b:
        wide["meta"] = "once"
    return wide


def widest_rewind(rewinds: Sequence[Rewind]) -> Rewind | None:
    """A range that contains all of these."""
    if not rewinds:
        return None
    counts = [one.count for one in rewinds if one.count is not None]
    spans = [one.ms for one in rewinds if one.ms is not None]
    count = max(counts) if len(counts) == len(rewinds) else None
    ms = max(spans) if len(spans) == len(rewinds) else None
    return Rewind(MAX_REWIND) if count is None and ms is None else Rewind(count, ms)


def select(payload: Any, fields: Sequence[str]) -> dict[str, Any] | None:
    """Only these members of a payload, as the server selects them; ``None`` if it has none of them."""
    if not isinstance(payload, dict):
        return None
    selected: dict[str, Any] = {}
    for name in fields:
        path = [name] if name in payload else name.split(".")
        value: Any = payload
        for step in path:
            if not isinstance(value, dict) or step not in value:
                break
            value = value[step]
        else:
            into = selected
            for step in path[:-1]:
                inner = into.get(step)
                # A member that was selected whole has the nested one already, and is the device's own object.
                into[step] = into = dict(inner) if isinstance(inner, dict) else {}
            into[path[-1]] = value
    return selected or None


class Stats(dict[str, float]):
    """Of a number, in a summary."""


def summarise(summary: Any, value: Any) -> Any:
    """Adds a value to a summary as the server makes them: of numbers min, max, mean, last and count, of all else the newest."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        stats = summary if isinstance(summary, Stats) else Stats(min=value, max=value, mean=0, last=value, count=0)
        stats["min"] = min(stats["min"], value)
        stats["max"] = max(stats["max"], value)
        stats["count"] += 1
        stats["mean"] += (_float(value) - stats["mean"]) / stats["count"]
        stats["last"] = value
        return stats
    if not isinstance(value, Mapping):
        return value
    members = dict(summary) if isinstance(summary, dict) and not isinstance(summary, Stats) else {}
    for name, member in value.items():
        members[name] = summarise(members.get(name), member)
    return members


def _float(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
