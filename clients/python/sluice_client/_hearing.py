"""What one subscription hears of one device: its own place, and its own options where the server was asked for wider ones."""

from __future__ import annotations

import asyncio
from typing import Any

from ._messages import Aggregated, Position, Room, Telemetry, replace
from ._options import Wire, select, summarise
from ._subscription import Subscription


class Hearing:
    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        #: The last publication it was given, or where it begins.
        self.heard: Position | None = None
        #: It was told what is known of the device.
        self.introduced = False
        #: Its rewind is asked for: until the answer, what others of the device hear is not for it, since the rewind brings that too.
        self.awaits_rewind = False
        #: Publications of a rewind that are older than it asked for, while others asked for more: up to this offset, before this time.
        self._floor: tuple[int, float] | None = None
        self._sent_ts = float("-inf")
        self._pending: Telemetry | None = None
        #: Summary, number of publications, and ``server_ts`` of the first.
        self._window: tuple[Any, int, int] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def rewound(self, room: Room, now_ts: float) -> None:
        """A rewind begins for it, perhaps a wider one than it asked for."""
        rewind = self.subscription.rewind
        first = room.offset - 1
        if rewind is not None:
            first = room.offset - (room.offset if rewind.count is None else rewind.count)
        self.heard = Position(room.epoch, max(room.rewound_from or 0, first))
        self._floor = None if rewind is None or rewind.ms is None else (room.offset, now_ts - rewind.ms)

    def take(self, message: Telemetry, wire: Wire) -> None:
        """
        :param wire: the options with which the server sends it
        """
        if self.awaits_rewind:
            return
        self.introduced = True
        heard = self.heard
        if heard is not None and heard.epoch == message.epoch and message.offset <= heard.offset:
            return
        if self._floor is not None and message.offset < self._floor[0] and message.server_ts < self._floor[1]:
            self.heard = message.position
            return
        if wire.key == self.subscription.wire.key:
            self._give(message, heard)
            return
        delivery = self.subscription.delivery
        own: Telemetry | None = message
        if "fields" in delivery:
            payload = select(message.payload, delivery["fields"])
            own = None if payload is None else replace(message, payload=payload, _source=None)
        if own is None:
            return
        rate = delivery.get("maxRateHz")
        aggregate = "aggregate" in delivery
        served = wire.delivery
        if rate is None or (served.get("maxRateHz") == rate and ("aggregate" in served) == aggregate):
            self._give(own, heard)
        else:
            self._limit(own, 1_000 / rate, aggregate)

    def flush(self) -> None:
        """What waits for its interval is due."""
        pending, window = self._pending, self._window
        self.stop()
        self._pending = self._window = None
        if pending is not None and window is not None:
            summary, count, from_ts = window
            aggregated = Aggregated(count, from_ts, pending.server_ts)
            self._give(replace(pending, payload=summary, aggregated=aggregated, _source=None), self.heard)
        elif pending is not None:
            self._give(pending, self.heard)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _limit(self, message: Telemetry, interval_ms: float, aggregate: bool) -> None:
        if self._pending is not None and message.server_ts >= self._sent_ts + interval_ms:
            self._sent_ts += interval_ms
            self.flush()
        if aggregate:
            if self._window is None:
                self._window = (None, 0, message.server_ts)
                self._sent_ts = message.server_ts
            summary, count, from_ts = self._window
            self._window = (summarise(summary, message.payload), count + 1, from_ts)
        elif message.server_ts >= self._sent_ts + interval_ms:
            self._sent_ts = message.server_ts
            self._give(message, self.heard)
            return
        self._pending = message
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(interval_ms / 1000, self.flush)

    def _give(self, message: Telemetry, heard: Position | None) -> None:
        self.heard = message.position
        skipped = message.skipped
        if heard is not None and heard.epoch == message.epoch:
            skipped = message.offset - heard.offset - 1
        self.subscription.tell(message if skipped == message.skipped else replace(message, skipped=skipped))
