"""All subscriptions of a client, and what they share: one subscription at the server for each device and pattern, with the widest of
their options, and one position, from which every connection resumes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from ._errors import ConnectionLost, Forbidden, NotConnected, SluiceError
from ._hearing import Hearing
from ._id_pattern import matches_pattern, may_overlap
from ._json_text import bytes_of, dumps
from ._messages import (
    DeviceFound,
    DeviceMeta,
    DeviceState,
    DeviceStatus,
    Gap,
    Position,
    Room,
    ServerMessage,
    Snapshot,
    Subscribed,
    Telemetry,
    Unsubscribed,
    replace,
)
from ._options import NO_OPTIONS, Delivery, Rewind, Wire, as_wire, widest, widest_rewind
from ._subscription import Subscription
from ._tasks import Tasks

#: Bytes of a message that subscribes: the server takes 64 KiB, and there is more in it than ids and positions.
MAX_BYTES = 48_000

Message = Mapping[str, Any]


#: Sends a request; raises when the connection is lost before the answer.
Ask = Callable[[Callable[[], Message | None]], Awaitable[ServerMessage | None]]


class Device:
    """A device that is wanted by id, or that a pattern has brought."""

    def __init__(self, device_id: str) -> None:
        self.id = device_id
        self.by_id: dict[Subscription, None] = {}
        self.patterns: dict[Pattern, None] = {}
        #: By each subscription, of either kind.
        self.hearings: dict[Subscription, Hearing] = {}
        #: As it was asked for by id on this connection.
        self.wire: Wire | None = None
        #: The options with which it is sent, which may still be those by id when only a pattern is left.
        self.served: Wire = NO_OPTIONS
        #: The server has answered for it on this connection.
        self.live = False
        #: A publication was missing: it is asked for, and what comes meanwhile will come again.
        self.resuming = False
        #: The last publication that came, or where the server said that the next one begins.
        self.position: Position | None = None
        #: Its value came. Otherwise only the position is known, and a resume from there would never show the value.
        self.shown = False
        #: Something is known of it, and its patterns have it.
        self.known = False
        self.state = DeviceState(device_id)

    @property
    def wanted(self) -> bool:
        return bool(self.by_id or self.patterns)

    def all_hearings(self) -> list[Hearing]:
        """A copy: listeners may subscribe and close."""
        return list(self.hearings.values())

    def hears(self, hearing: Hearing) -> bool:
        return self.hearings.get(hearing.subscription) is hearing

    def gap(self, hearing: Hearing) -> None:
        """Publications are missing before what comes next."""
        hearing.flush()
        hearing.heard = None
        hearing.introduced = False
        hearing.subscription.tell(Gap(self.id))

    def introduce(self, hearing: Hearing) -> None:
        """Tells a subscription what is known."""
        state, heard = self.state, hearing.heard
        telemetry = state.telemetry
        hearing.introduced = True
        # What a rewind will bring is not shown before it.
        comes = (
            heard is not None
            and telemetry is not None
            and heard.epoch == telemetry.epoch
            and heard.offset < telemetry.offset
        )
        if heard is None:
            hearing.heard = self.position
        if telemetry is not None or state.status is not None or state.meta is not None:
            hearing.subscription.show(replace(state, telemetry=None) if comes else state)

    def forget(self) -> None:
        self.live = self.shown = self.known = self.resuming = False
        self.wire = None
        self.position = None
        self.state = DeviceState(self.id)
        for hearing in self.hearings.values():
            hearing.stop()
            hearing.heard = None
            hearing.introduced = hearing.awaits_rewind = False

    def rewinds_no_more(self) -> None:
        """The answer is there, or never will be."""
        for hearing in self.hearings.values():
            hearing.awaits_rewind = False


class Pattern:
    """A pattern that is wanted."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.subscriptions: dict[Subscription, None] = {}
        #: Those that an answer is there for, or on its way.
        self.asked: dict[Subscription, None] = {}
        self.devices: dict[Device, None] = {}
        self.wire: Wire | None = None
        self.answered = False


class Subscriptions:
    def __init__(
        self, ask: Ask, server_now: Callable[[], float], failed: Callable[[SluiceError], None], tasks: Tasks
    ) -> None:
        """
        :param server_now: Unix ms by the server's clock
        :param failed: told what was refused where nobody waits for an answer
        """
        self._ask = ask
        self._server_now = server_now
        self._failed = failed
        self._tasks = tasks
        self._devices: dict[str, Device] = {}
        self._patterns: dict[str, Pattern] = {}
        self._changed_devices: dict[Device, None] = {}
        self._changed_patterns: dict[Pattern, None] = {}
        self._all: dict[Subscription, None] = {}
        self._scheduled = False
        #: Number of the connection; what was begun on an earlier one is over.
        self._life = 0
        #: Everything wanted before is asked for on this connection.
        self._restored = False

    def add(self, subscription: Subscription) -> None:
        self._all[subscription] = None
        if subscription.is_pattern:
            text = subscription.targets[0]
            pattern = self._patterns.setdefault(text, Pattern(text))
            pattern.subscriptions[subscription] = None
            for device in pattern.devices:
                device.hearings[subscription] = Hearing(subscription)
            self._pattern_changed(pattern)
        else:
            for device_id in subscription.targets:
                device = self._device_of(device_id)
                device.by_id[subscription] = None
                device.hearings[subscription] = Hearing(subscription)
                self._changed_devices[device] = None
        self._schedule()

    def leave(self, subscription: Subscription) -> None:
        self._all.pop(subscription, None)
        if subscription.is_pattern:
            pattern = self._patterns.get(subscription.targets[0])
            if pattern is not None:
                pattern.subscriptions.pop(subscription, None)
                pattern.asked.pop(subscription, None)
                for device in pattern.devices:
                    self._unhear(device, subscription)
                self._pattern_changed(pattern)
        else:
            for device_id in subscription.targets:
                known = self._devices.get(device_id)
                if known is not None:
                    known.by_id.pop(subscription, None)
                    self._unhear(known, subscription)
                    self._changed_devices[known] = None
        self._schedule()

    def state_of(self, subscription: Subscription, device_id: str) -> DeviceState | None:
        device = self._devices.get(device_id)
        return device.state if device is not None and subscription in device.hearings else None

    def fail(self, error: SluiceError | None) -> None:
        """The client is closed for good, or tries again."""
        for subscription in list(self._all):
            subscription.fail(error)

    def end(self, error: SluiceError) -> None:
        """The client is closed."""
        for subscription in list(self._all):
            subscription.end(error)
        for device in self._devices.values():
            device.forget()
        self._devices.clear()
        self._patterns.clear()
        self._changed_devices.clear()
        self._changed_patterns.clear()

    def lost(self) -> None:
        """The connection is lost: the next one restores everything."""
        self._life += 1
        self._restored = False
        for device in self._devices.values():
            device.wire = None
            device.live = device.resuming = False
            device.rewinds_no_more()
        for pattern in self._patterns.values():
            pattern.wire = None
            pattern.answered = False

    async def restore(self) -> bool:
        """On a new connection: devices by id and position, those of patterns too; then the patterns; then the ids that only patterns
        brought are left, so that they belong to their patterns again.

        :returns: whether all is done; ``False`` when the connection is lost meanwhile
        """
        self._life += 1
        life = self._life
        self._changed_devices.clear()
        self._changed_patterns.clear()
        wanted = []
        for device in list(self._devices.values()):
            if device.wanted:
                wanted.append(device)
            else:
                del self._devices[device.id]
        # Those of patterns apart: a connection may watch more devices by pattern than by id.
        named = [device for device in wanted if device.by_id]
        matched = [device for device in wanted if not device.by_id and device.shown]
        await _all_of([*self._ask_devices(named), *self._ask_devices(matched)])
        if life != self._life:
            return False
        self._changed_patterns.clear()
        await _all_of([task for pattern in list(self._patterns.values()) for task in self._ask_pattern(pattern)])
        if life != self._life:
            return False
        self._unask([device for device in matched if not device.by_id and device.wire is not None])
        self._restored = True
        self._flush()
        return True

    def ask_denied(self) -> None:
        """A newer token is in force: what the one before did not grant is asked for again."""
        for device in self._devices.values():
            if device.by_id and device.wire is None:
                self._changed_devices[device] = None
        for pattern in self._patterns.values():
            if pattern.wire is None:
                self._changed_patterns[pattern] = None
        self._schedule()

    # What the server says

    def hear(self, message: ServerMessage) -> None:
        match message:
            case Telemetry():
                self._publication(message)
            case DeviceStatus():
                self._status(message)
            case DeviceMeta():
                self._meta(message)
            case Snapshot():
                for state in message.devices:
                    self._snapshot(state)
            case Subscribed():
                self._subscribed(message)
            case Unsubscribed():
                if message.id is None:
                    self._withdrawn(message)
            case _:
                pass  # not about devices

    def _publication(self, message: Telemetry) -> None:
        device = self._devices.get(message.device_id)
        if device is None or device.resuming or not device.hearings:
            return
        self._found(device)
        position = device.position
        if (
            position is not None
            and position.epoch == message.epoch
            and message.offset != position.offset + 1 + message.skipped
        ):
            if message.offset > position.offset:
                self._resume(device)
            return
        if position is not None and position.offset > 0 and position.epoch != message.epoch:
            # Of a device of which nothing was known in the new epoch there is no snapshot.
            for hearing in device.all_hearings():
                if hearing.heard is not None and not hearing.awaits_rewind:
                    device.gap(hearing)
        device.position = message.position
        device.shown = True
        known = device.state.telemetry
        if known is None or known.epoch != message.epoch or known.offset < message.offset:
            device.state = replace(device.state, telemetry=message)
        for hearing in device.all_hearings():
            if device.hears(hearing):
                hearing.take(message, device.served)

    def _status(self, message: DeviceStatus) -> None:
        device = self._devices.get(message.device_id)
        if device is not None:
            self._found(device)
            device.state = replace(device.state, status=message)
            self._tell(device, message)

    def _meta(self, message: DeviceMeta) -> None:
        device = self._devices.get(message.device_id)
        if device is not None:
            self._found(device)
            device.state = replace(device.state, meta=message.meta)
            self._tell(device, message)

    def _tell(self, device: Device, event: DeviceStatus | DeviceMeta) -> None:
        for hearing in device.all_hearings():
            if device.hears(hearing):
                hearing.introduced = True
                hearing.subscription.tell(event)

    def _snapshot(self, news: DeviceState) -> None:
        device = self._devices.get(news.device_id)
        if device is None:
            return
        before, position = device.state, device.position
        telemetry = news.telemetry
        device.state = news if telemetry is not None else replace(news, telemetry=before.telemetry)
        is_new = is_gap = False
        if telemetry is not None:
            known = before.telemetry
            is_new = known is None or known.position != telemetry.position
            is_gap = (
                device.shown
                and position is not None
                and (
                    position.epoch != telemetry.epoch
                    # In mode latest values replace one another on their way.
                    or ("mode" not in device.served.delivery and 0 < position.offset < telemetry.offset)
                )
            )
            device.position = telemetry.position
            device.shown = True
        for hearing in device.all_hearings():
            if is_gap and hearing.heard is not None and not hearing.awaits_rewind:
                device.gap(hearing)
            if not device.hears(hearing) or hearing.awaits_rewind:
                continue
            if is_new or not hearing.introduced:
                if telemetry is not None:
                    hearing.heard = device.position
                device.introduce(hearing)
            else:
                if news.status is not None and news.status != before.status:
                    hearing.subscription.tell(news.status)
                if news.meta != before.meta:
                    hearing.subscription.tell(DeviceMeta(device.id, news.meta, int(self._server_now())))

    def _subscribed(self, message: Subscribed) -> None:
        pattern = None if message.pattern is None else self._patterns.get(message.pattern)
        if message.pattern is not None and pattern is None:
            return
        for room in message.rooms:
            device = self._devices.get(room.device_id) if pattern is None else self._join(pattern, room.device_id)
            if device is not None:
                self._begin(device, room, pattern)
        for device_id in message.denied:
            self._refuse_device(device_id, Forbidden("The token does not grant it"))
        if pattern is not None and not message.more:
            if not pattern.answered:
                pattern.answered = True
                for known in list(self._devices.values()):
                    self._find(known, pattern)
            for subscription in list(pattern.asked):
                subscription.answered([pattern.text])

    def _begin(self, device: Device, room: Room, pattern: Pattern | None) -> None:
        position, shown = device.position, device.shown
        if device.wire is not None:
            device.served = device.wire
        elif pattern is not None and pattern.wire is not None:
            device.served = pattern.wire
        if pattern is None or not device.by_id:
            device.rewinds_no_more()
        if pattern is None:
            device.resuming = False
            for subscription in list(device.by_id):
                subscription.answered([device.id])
        if room.rewound_from is not None:
            now = self._server_now()
            is_gap = shown and (
                position is None or position.epoch != room.epoch or position.offset < room.rewound_from
            )
            for hearing in device.all_hearings():
                if hearing.heard is None:
                    hearing.rewound(room, now)
                elif is_gap:
                    device.gap(hearing)
                    hearing.heard = Position(room.epoch, room.rewound_from)
            device.position = Position(room.epoch, room.rewound_from)
            device.shown = room.offset > 0
        elif room.recovered is False:
            for hearing in device.all_hearings():
                if hearing.heard is not None:
                    device.gap(hearing)
            device.state = replace(device.state, telemetry=None)
            device.position = Position(room.epoch, room.offset)
            device.shown = False
        elif room.recovered is True or (pattern is not None and position is not None):
            # Goes on where it is. The answer to a pattern also names devices that are watched already: publications of them may be on the way.
            for hearing in device.all_hearings():
                if not hearing.introduced and device.shown:
                    device.introduce(hearing)
        else:
            device.position = Position(room.epoch, room.offset)
            device.shown = room.offset == 0
        device.live = True

    def _found(self, device: Device) -> None:
        """The server does not announce a new device to a pattern when it is watched already, by its id or by another pattern."""
        if not device.known:
            device.known = True
            for pattern in list(self._patterns.values()):
                self._find(device, pattern)

    def _find(self, device: Device, pattern: Pattern) -> None:
        if device.known and pattern.answered and matches_pattern(pattern.text, device.id):
            self._join(pattern, device.id)
            for hearing in device.all_hearings():
                if device.hears(hearing) and device.shown and not hearing.introduced and not hearing.awaits_rewind:
                    device.introduce(hearing)

    def _join(self, pattern: Pattern, device_id: str) -> Device:
        device = self._device_of(device_id)
        if pattern not in device.patterns:
            device.patterns[pattern] = None
            pattern.devices[device] = None
            subscriptions = list(pattern.subscriptions)
            for subscription in subscriptions:
                device.hearings[subscription] = Hearing(subscription)
            for subscription in subscriptions:
                subscription.tell(DeviceFound(device_id))
            self._found(device)
        return device

    def _withdrawn(self, message: Unsubscribed) -> None:
        """A newer token does not grant these."""
        error = Forbidden("The token does not grant it any more")
        for device_id in message.device_ids:
            self._refuse_device(device_id, error)
        pattern = None if message.pattern is None else self._patterns.get(message.pattern)
        if pattern is not None:
            self._refuse_pattern(pattern, error)

    def _refuse_device(self, device_id: str, error: SluiceError) -> None:
        device = self._devices.get(device_id)
        if device is not None:
            device.forget()
            _refuse(device.by_id, device_id, error)

    def _refuse_pattern(self, pattern: Pattern, error: SluiceError) -> None:
        pattern.wire = None
        pattern.answered = False
        pattern.asked.clear()
        for device in list(pattern.devices):
            self._part(device, pattern)
        pattern.devices.clear()
        _refuse(pattern.subscriptions, pattern.text, error)

    def _part(self, device: Device, pattern: Pattern) -> None:
        """A device does not belong to a pattern any more."""
        device.patterns.pop(pattern, None)
        for subscription in pattern.subscriptions:
            self._unhear(device, subscription)
        self._drop_unwanted(device)

    def _drop_unwanted(self, device: Device) -> None:
        if not device.wanted:
            device.forget()
            if self._devices.get(device.id) is device:
                del self._devices[device.id]

    # What the server is asked

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._scheduled_flush)

    def _scheduled_flush(self) -> None:
        self._scheduled = False
        self._flush()

    def _flush(self) -> None:
        """Asks for what has changed; before a connection is restored, that does it."""
        if not self._restored:
            return
        patterns, self._changed_patterns = self._changed_patterns, {}
        for pattern in patterns:
            self._ask_pattern(pattern)
        gone: list[Device] = []
        asked: list[Device] = []
        devices, self._changed_devices = self._changed_devices, {}
        for device in devices:
            if device.by_id:
                asked.append(device)
            else:
                if device.wire is not None:
                    gone.append(device)
                self._drop_unwanted(device)
        self._unask(gone)
        self._ask_devices(asked)

    def _ask_pattern(self, pattern: Pattern) -> list[asyncio.Task[None]]:
        """:returns: what is on its way"""
        if not pattern.subscriptions:
            was_asked = pattern.wire is not None
            pattern.wire = None
            if self._patterns.get(pattern.text) is pattern:
                del self._patterns[pattern.text]
            for device in list(pattern.devices):
                self._part(device, pattern)
            pattern.devices.clear()
            return [self._quietly(lambda: self._unwanted_pattern(pattern.text))] if was_asked else []
        fresh = [one for one in pattern.subscriptions if one not in pattern.asked or pattern.wire is None]
        wire = self._wire_of_pattern(pattern)
        rewind = widest_rewind([one.rewind for one in fresh if one.rewind is not None])
        pattern.asked.update(dict.fromkeys(fresh))
        if pattern.wire is not None and pattern.wire.key == wire.key and rewind is None:
            if pattern.answered:
                for subscription in fresh:
                    self._introduce_pattern(pattern, subscription)
            return []
        pattern.wire = wire
        for subscription in fresh:
            for device in list(pattern.devices):
                hearing = device.hearings.get(subscription)
                if hearing is not None and not device.by_id:  # what is watched by id goes on as it is
                    hearing.awaits_rewind = hearing.heard is None and subscription.rewind is not None
                subscription.tell(DeviceFound(device.id))
        return [self._tasks.spawn(self._ask_for_pattern(pattern, rewind, self._life), "subscribe")]

    async def _ask_for_pattern(self, pattern: Pattern, rewind: Rewind | None, life: int) -> None:
        def message() -> Message | None:
            wire = pattern.wire
            if wire is None or not pattern.subscriptions or life != self._life:
                return None
            # The options of now: a request that had to be repeated must not narrow those of a later one.
            asked: dict[str, Any] = {"type": "subscribe", "pattern": pattern.text, "delivery": wire.delivery}
            if rewind is not None:
                asked["rewind"] = rewind.as_wire()
            return asked

        try:
            await self._ask(message)
        except (NotConnected, ConnectionLost):
            pass  # the next connection restores it
        except SluiceError as error:
            if life == self._life:
                self._refuse_pattern(pattern, error)
                self._tell_unless_forbidden(error)

    def _unwanted_pattern(self, text: str) -> Message | None:
        """A request that had to be repeated must not undo a later wish."""
        return None if text in self._patterns else {"type": "unsubscribe", "pattern": text}

    def _introduce_pattern(self, pattern: Pattern, subscription: Subscription) -> None:
        """A further subscription of a pattern that is there."""
        for device in list(pattern.devices):
            subscription.tell(DeviceFound(device.id))
            hearing = device.hearings.get(subscription)
            if hearing is not None and not hearing.introduced:
                device.introduce(hearing)
        subscription.answered([pattern.text])

    def _ask_devices(self, devices: Iterable[Device]) -> list[asyncio.Task[None]]:
        """Asks for devices, in as few messages as their options and the server's limit allow. :returns: what is on its way"""
        groups: dict[tuple[str, Rewind | None, bool], tuple[Wire, list[Device]]] = {}
        for device in devices:
            wire = self._wire_of_device(device)
            rewind = self._rewind_of(device, wire)
            if device.wire is not None and device.wire.key == wire.key and rewind is None:
                self._introduce_by_id(device)
                continue
            # It continues at its position: always on a new connection, where a rewind is for those that cannot.
            resumes = device.shown and (rewind is None or not device.live)
            group = groups.setdefault((wire.key, rewind, resumes), (wire, []))
            device.wire = group[0]
            group[1].append(device)
        return [
            self._tasks.spawn(self._ask_group(chunk, wire, rewind, resumes, self._life), "subscribe")
            for (_, rewind, resumes), (wire, members) in groups.items()
            for chunk in _chunks(members)
        ]

    async def _ask_group(
        self, devices: Sequence[Device], wire: Wire, rewind: Rewind | None, resumes: bool, life: int
    ) -> None:
        def still() -> list[Device]:
            """A later request has replaced it for the others."""
            return [device for device in devices if device.wanted and device.wire is wire]

        def message() -> Message | None:
            wanted = still()
            if not wanted or life != self._life:
                return None
            asked: dict[str, Any] = {
                "type": "subscribe",
                "deviceIds": [device.id for device in wanted],
                "delivery": wire.delivery,
            }
            if rewind is not None:
                asked["rewind"] = rewind.as_wire()
            if resumes:
                asked["since"] = {device.id: _as_wire(device.position) for device in wanted if device.position}
            return asked

        try:
            await self._ask(message)
        except (NotConnected, ConnectionLost):
            pass  # the next connection restores them
        except SluiceError as error:
            if life == self._life:
                refused = still()
                for device in refused:
                    device.wire = None
                    device.rewinds_no_more()
                    _refuse(device.by_id, device.id, error)
                if any(device.by_id for device in refused):
                    self._tell_unless_forbidden(error)

    def _rewind_of(self, device: Device, wire: Wire) -> Rewind | None:
        """What must be sent from history: for new subscriptions that asked for it, and where the newest value has new fields."""
        fresh = [one for one in device.hearings.values() if one.heard is None or not self._restored]
        rewind = widest_rewind([one.subscription.rewind for one in fresh if one.subscription.rewind is not None])
        for one in fresh:
            one.awaits_rewind = one.heard is None and one.subscription.rewind is not None
        if rewind is not None or not device.live or not device.shown:
            return rewind
        before = device.served.delivery.get("fields")
        fields = wire.delivery.get("fields")
        is_wider = before is not None and (fields is None or not set(fields) <= set(before))
        return Rewind(1) if is_wider else None

    def _introduce_by_id(self, device: Device) -> None:
        """Another subscription by id of a device that is there."""
        if device.live:
            for subscription in list(device.by_id):
                hearing = device.hearings.get(subscription)
                if hearing is not None and not hearing.introduced:
                    device.introduce(hearing)
                subscription.answered([device.id])

    def _unask(self, devices: Sequence[Device]) -> None:
        for chunk in _chunks(devices):
            ids = [device.id for device in chunk]
            for device in chunk:
                device.wire = None
            self._quietly(lambda ids=ids: self._unwanted(ids))  # type: ignore[misc]

    def _unwanted(self, ids: Sequence[str]) -> Message | None:
        """A request that had to be repeated must not undo a later wish."""
        devices = self._devices
        gone = [device_id for device_id in ids if device_id not in devices or not devices[device_id].by_id]
        return {"type": "unsubscribe", "deviceIds": gone} if gone else None

    def _resume(self, device: Device) -> None:
        """A publication of a device is missing, which should not be."""
        device.resuming = True
        self._tasks.spawn(self._ask_again(device, device.position, device.wire, self._life), "resume")

    async def _ask_again(self, device: Device, position: Position | None, wire: Wire | None, life: int) -> None:
        message = {
            "type": "subscribe",
            "deviceIds": [device.id],
            "delivery": device.served.delivery,
            "since": {device.id: _as_wire(position)},
        }
        try:
            await self._ask(lambda: message if life == self._life else None)
        except (NotConnected, ConnectionLost):
            pass  # the next connection restores it
        except SluiceError as error:
            if life == self._life:
                device.resuming = False
                device.position = None
                for hearing in device.all_hearings():
                    device.gap(hearing)
                self._failed(error)
        if life == self._life and wire is None:
            self._quietly(lambda: self._unwanted([device.id]))  # its pattern covers it again

    def _quietly(self, message: Callable[[], Message | None]) -> asyncio.Task[None]:
        """Nobody waits for the answer, and the next connection does not need it."""
        return self._tasks.spawn(self._ask_quietly(message, self._life), "unsubscribe")

    async def _ask_quietly(self, message: Callable[[], Message | None], life: int) -> None:
        try:
            await self._ask(lambda: message() if life == self._life else None)
        except SluiceError:
            pass  # the connection is lost

    def _tell_unless_forbidden(self, error: SluiceError) -> None:
        if error.code != "forbidden":
            self._failed(error)

    def _wire_of_device(self, device: Device) -> Wire:
        deliveries = [one.delivery for one in device.by_id]
        for pattern in self._patterns.values():
            if matches_pattern(pattern.text, device.id):
                deliveries.extend(one.delivery for one in pattern.subscriptions)
        return as_wire(widest(deliveries))

    def _wire_of_pattern(self, pattern: Pattern) -> Wire:
        """Of patterns that share a device, the last one's options count for it: all of them have the widest."""
        others = [other for other in self._patterns.values() if may_overlap(other.text, pattern.text)]
        return as_wire(widest([one.delivery for other in others for one in other.subscriptions]))

    def _pattern_changed(self, pattern: Pattern) -> None:
        """Its own options may have changed, and with them those of devices and patterns that it shares devices with."""
        for other in self._patterns.values():
            if may_overlap(other.text, pattern.text):
                self._changed_patterns[other] = None
        for device in self._devices.values():
            if device.by_id and matches_pattern(pattern.text, device.id):
                self._changed_devices[device] = None

    def _device_of(self, device_id: str) -> Device:
        device = self._devices.get(device_id)
        if device is None:
            device = self._devices[device_id] = Device(device_id)
        return device

    @staticmethod
    def _unhear(device: Device, subscription: Subscription) -> None:
        hearing = device.hearings.pop(subscription, None)
        if hearing is not None:
            hearing.stop()


def _refuse(subscriptions: Iterable[Subscription], target: str, error: SluiceError) -> None:
    for subscription in list(subscriptions):
        subscription.answered([target], error)


async def _all_of(tasks: Sequence[asyncio.Task[None]]) -> None:
    if tasks:
        await asyncio.wait(tasks)


def _as_wire(position: Position | None) -> Mapping[str, Any] | None:
    return None if position is None else {"epoch": position.epoch, "offset": position.offset}


def _chunks(devices: Iterable[Device]) -> list[list[Device]]:
    """Lists whose messages stay under the server's limit, in bytes: an id may have 384."""
    chunks: list[list[Device]] = []
    size = MAX_BYTES + 1
    for device in devices:
        own = 2 * bytes_of(dumps(device.id)) + bytes_of(dumps(_as_wire(device.position))) + 4
        if size + own > MAX_BYTES:
            chunks.append([])
            size = 0
        size += own
        chunks[-1].append(device)
    return chunks
