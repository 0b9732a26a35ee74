"""What the server says (docs/protocol.md), read strictly: a message that is none ends the connection, what is unknown is left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Union

from ._json_text import raw_at


@dataclass(frozen=True, slots=True)
class Position:
    """Within an epoch the offset grows by one per publication of the device."""

    epoch: str
    offset: int


@dataclass(frozen=True, slots=True)
class Aggregated:
    """What a summary was made of."""

    #: Publications.
    count: int
    #: ``server_ts`` of the first and of the last, Unix ms.
    from_ts: int
    to_ts: int
    #: The window exceeded its bound: some members are left out.
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Telemetry:
    """A publication of a device."""

    device_id: str
    #: What the device sent: any JSON value.
    payload: Any
    #: When Sluice received it, Unix ms.
    server_ts: int
    epoch: str
    offset: int
    #: The metadata at that time; ``None`` if there was none, or with ``meta="once"``.
    meta: Mapping[str, Any] | None = None
    #: Publications before this one that were not sent on their own.
    skipped: int = 0
    #: With ``aggregate=True``.
    aggregated: Aggregated | None = None
    #: From a reader: messages that it let go before this one, because it was not read in time.
    dropped: int = 0
    _source: tuple[str, Sequence[str | int]] | None = field(default=None, repr=False, compare=False)

    @property
    def raw(self) -> str | None:
        """The text of the payload exactly as it came, where it came alone and whole: 1.50 keeps its form."""
        return None if self._source is None else raw_at(self._source[0], [*self._source[1], "payload"])

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.offset)


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """A device went on- or offline."""

    device_id: str
    is_online: bool
    #: Unix ms, from the device if it sends one.
    last_seen: int
    #: Unix ms.
    server_ts: int
    #: ``"silence"``: an offline device that did not say so itself.
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class DeviceMeta:
    """The metadata of a device changed; ``None``: it was deleted."""

    device_id: str
    meta: Mapping[str, Any] | None
    #: Unix ms.
    server_ts: int


@dataclass(frozen=True, slots=True)
class DeviceState:
    """All that is known of a device; ``None`` is unknown. As an event: what is known when it begins, and after a :class:`Gap`."""

    device_id: str
    #: A value, not a publication.
    telemetry: Telemetry | None = None
    status: DeviceStatus | None = None
    meta: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class DeviceFound:
    """A device of the pattern, known already or new."""

    device_id: str


@dataclass(frozen=True, slots=True)
class Gap:
    """Publications of a device are missing before what follows: clear a chart, or mark the gap."""

    device_id: str


@dataclass(frozen=True, slots=True)
class Denied:
    """The token does not grant these (now), or the server refuses them; of a pattern its text."""

    device_ids: tuple[str, ...]
    #: ``"forbidden"``, or another code of the server.
    code: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """From :meth:`Subscription.events`: this many events were let go, because they were not read in time."""

    count: int


@dataclass(frozen=True, slots=True)
class Upstream:
    """Whether device messages can reach the server. While it is ``"down"``, what you show is stale."""

    mqtt: str
    #: Unix ms.
    changed_at: int
    #: What device messages wait at the broker, where that is more than a few seconds: shown values are that old.
    behind_ms: int | None = None


# Between the server and this library


@dataclass(frozen=True, slots=True)
class Room:
    device_id: str
    epoch: str
    offset: int
    recovered: bool | None = None
    rewound_from: int | None = None


@dataclass(frozen=True, slots=True)
class Connected:
    server_ts: int


@dataclass(frozen=True, slots=True)
class Authenticated:
    expires_at: int


@dataclass(frozen=True, slots=True)
class Subscribed:
    id: int | None
    pattern: str | None
    rooms: tuple[Room, ...]
    denied: tuple[str, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class Unsubscribed:
    id: int | None
    pattern: str | None
    device_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    devices: tuple[DeviceState, ...]


@dataclass(frozen=True, slots=True)
class CommandSent:
    id: int | None
    delivered: bool | None


@dataclass(frozen=True, slots=True)
class CommandResult:
    id: int | None
    outcome: str
    payload: Any


@dataclass(frozen=True, slots=True)
class Pong:
    id: int | None


@dataclass(frozen=True, slots=True)
class Refused:
    id: int | None
    error: str
    code: str
    retry_after_ms: float | None


ServerMessage = Union[
    Telemetry,
    DeviceStatus,
    DeviceMeta,
    Upstream,
    Connected,
    Authenticated,
    Subscribed,
    Unsubscribed,
    Snapshot,
    CommandSent,
    CommandResult,
    Pong,
    Refused,
]


def read(value: object, text: str) -> list[ServerMessage]:
    """The messages of a frame.

    :param text: of the whole frame
    :raises ValueError: it is none of ``sluice.v1``
    """
    message = _members(value)
    if message.get("type") != "batch":
        one = _read(message, text, ())
        return [] if one is None else [one]
    found = []
    for at, inner in enumerate(_list(message.get("messages"))):
        one = _read(_members(inner), text, ("messages", at))
        if one is not None:
            found.append(one)
    return found


def _read(m: Mapping[str, Any], text: str, path: Sequence[str | int]) -> ServerMessage | None:
    match m.get("type"):
        case "telemetry":
            return _telemetry(m, text, path)
        case "device_status":
            return _status(m)
        case "device_meta":
            return DeviceMeta(_text(m, "deviceId"), _meta(m), _int(m, "serverTs"))
        case "snapshot":
            devices = enumerate(_list(m.get("devices")))
            return Snapshot(tuple(_state(_members(one), text, [*path, "devices", at]) for at, one in devices))
        case "subscribed":
            rooms = tuple(_room(_members(room)) for room in _list(m.get("rooms")))
            return Subscribed(_id(m), _text_or_none(m, "pattern"), rooms, _texts(m, "denied"), m.get("more") is True)
        case "unsubscribed":
            return Unsubscribed(_id(m), _text_or_none(m, "pattern"), _texts(m, "deviceIds"))
        case "upstream":
            behind_ms = _int(m, "behindMs") if "behindMs" in m else None
            return Upstream(_text(m, "mqtt"), _int(m, "changedAt"), behind_ms)
        case "connected":
            return Connected(_int(m, "serverTs"))
        case "authenticated":
            return Authenticated(_int(m, "expiresAt"))
        case "command_sent":
            delivered = m.get("delivered")
            return CommandSent(_id(m), delivered if isinstance(delivered, bool) else None)
        case "command_result":
            return CommandResult(_id(m), _text(m, "outcome"), m.get("payload"))
        case "pong":
            return Pong(_id(m))
        case "error":
            after = m.get("retryAfterMs")
            after_ms = float(after) if isinstance(after, (int, float)) and after >= 0 else None
            return Refused(_id(m), _text(m, "error"), _text(m, "code"), after_ms)
        case _:
            return None  # of a newer server


def _telemetry(m: Mapping[str, Any], text: str, path: Sequence[str | int]) -> Telemetry:
    if "payload" not in m:
        raise ValueError("payload is missing")
    aggregated = None
    if "aggregated" in m:
        a = _members(m["aggregated"])
        aggregated = Aggregated(_int(a, "count"), _int(a, "from"), _int(a, "to"), a.get("truncated") is True)
    return Telemetry(
        _text(m, "deviceId"),
        m["payload"],
        _int(m, "serverTs"),
        _text(m, "epoch"),
        _int(m, "offset"),
        _meta(m),
        _int(m, "skipped") if "skipped" in m else 0,
        aggregated,
        0,
        (text, path),
    )


def _status(m: Mapping[str, Any]) -> DeviceStatus:
    is_online = m.get("isOnline")
    if not isinstance(is_online, bool):
        raise ValueError("isOnline is no boolean")
    reason = _text_or_none(m, "reason")
    return DeviceStatus(_text(m, "deviceId"), is_online, _int(m, "lastSeen"), _int(m, "serverTs"), reason)


def _state(m: Mapping[str, Any], text: str, path: Sequence[str | int]) -> DeviceState:
    telemetry = m.get("telemetry")
    status = m.get("status")
    return DeviceState(
        _text(m, "deviceId"),
        None if telemetry is None else _telemetry(_members(telemetry), text, [*path, "telemetry"]),
        None if status is None else _status(_members(status)),
        _meta(m),
    )


def _room(m: Mapping[str, Any]) -> Room:
    recovered = m.get("recovered")
    return Room(
        _text(m, "deviceId"),
        _text(m, "epoch"),
        _int(m, "offset"),
        recovered if isinstance(recovered, bool) else None,
        _int(m, "rewoundFrom") if "rewoundFrom" in m else None,
    )


def _members(value: object) -> Mapping[str, Any]:
    if isinstance(value, dict):
        return value
    raise ValueError("no object")


def _list(value: object) -> list[Any]:
    if isinstance(value, list):
        return value
    raise ValueError("no list")


def _text(m: Mapping[str, Any], name: str) -> str:
    value = m.get(name)
    if isinstance(value, str):
        return value
    raise ValueError(f"{name} is no text")


def _text_or_none(m: Mapping[str, Any], name: str) -> str | None:
    return _text(m, name) if name in m else None


def _texts(m: Mapping[str, Any], name: str) -> tuple[str, ...]:
    values = _list(m.get(name))
    if all(isinstance(value, str) for value in values):
        return tuple(values)
    raise ValueError(f"{name} has something else than texts")


def _int(m: Mapping[str, Any], name: str) -> int:
    value = m.get(name)
    if type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise ValueError(f"{name} is no whole number")


def _id(m: Mapping[str, Any]) -> int | None:
    value = m.get("id")
    return value if type(value) is int else None


def _meta(m: Mapping[str, Any]) -> Mapping[str, Any] | None:
    value = m.get("meta")
    return None if value is None else _members(value)


replace = dataclasses.replace
