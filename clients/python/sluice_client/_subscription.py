"""A wish for some devices, or for all that match a pattern."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar, Union, cast

from ._emitter import Emitter, Event
from ._errors import Closed, SluiceError
from ._messages import (
    Denied,
    DeviceFound,
    DeviceMeta,
    DeviceState,
    DeviceStatus,
    Dropped,
    Gap,
    Telemetry,
    replace,
)
from ._options import Delivery, Rewind, as_wire, select

#: What :meth:`Subscription.events` gives.
SubscriptionEvent = Union[Telemetry, DeviceState, DeviceStatus, DeviceMeta, DeviceFound, Gap, Denied, Dropped]
Item = TypeVar("Item", bound=SubscriptionEvent, covariant=True)


class Owner(Protocol):
    """What the client does for its subscriptions."""

    def leave(self, subscription: Subscription) -> None: ...

    def state_of(self, subscription: Subscription, device_id: str) -> DeviceState | None: ...


class Reader(Generic[Item]):
    """An asynchronous iterator with a bound: who does not follow loses the oldest, and is told how many."""

    def __init__(self, subscription: Subscription, telemetry_only: bool, kept: Iterable[Item], dropped: int) -> None:
        self._subscription = subscription
        self._telemetry_only = telemetry_only
        self._kept: deque[Item] = deque(kept)
        self._dropped = dropped
        self._changed: asyncio.Future[None] | None = None

    def __aiter__(self) -> Reader[Item]:
        return self

    async def __anext__(self) -> Item:
        while not self._kept:
            if self._subscription.closed:
                raise StopAsyncIteration
            failure = self._subscription.failure
            if failure is not None:
                raise failure.again()
            changed = self._changed
            if changed is None or changed.done():
                changed = self._changed = asyncio.get_running_loop().create_future()
            # Several tasks may read one reader: a cancelled one must not take the news from the others.
            await asyncio.wait({changed})
        dropped, self._dropped = self._dropped, 0
        if dropped == 0:
            return self._kept.popleft()
        if self._telemetry_only:
            return cast(Item, replace(cast(Telemetry, self._kept.popleft()), dropped=dropped))
        return cast(Item, Dropped(dropped))

    def _take(self, event: SubscriptionEvent, keep: int) -> None:
        if self._telemetry_only and not isinstance(event, Telemetry):
            return
        self._kept.append(cast(Item, event))
        while len(self._kept) > keep:
            self._kept.popleft()
            self._dropped += 1
        self._wake()

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)


class Subscription(Emitter):
    """Watches devices over all connections until :meth:`close`. Several to one device are one at the server.

    Made by :meth:`SluiceClient.subscribe` and :meth:`SluiceClient.subscribe_pattern`. Read it with ``async for`` (telemetry), with
    :meth:`events` (everything), or with listeners: ``on(Telemetry, …)``, and likewise :class:`DeviceState`, :class:`DeviceStatus`,
    :class:`DeviceMeta`, :class:`DeviceFound`, :class:`Gap` and :class:`Denied`.
    """

    def __init__(
        self,
        targets: tuple[str, ...],
        is_pattern: bool,
        delivery: Delivery,
        rewind: Rewind | None,
        keep: int,
        owner: Owner,
        failure: SluiceError | None,
    ) -> None:
        super().__init__()
        #: Device ids, or one pattern.
        self.targets = targets
        self.is_pattern = is_pattern
        self.delivery = delivery
        self.rewind = rewind
        self.wire = as_wire(delivery)
        self._keep = keep
        self._owner = owner
        self._is_closed = False
        self._open = dict.fromkeys(targets)
        self._refused: dict[str, None] = {}
        self._ready: asyncio.Future[tuple[str, ...]] = asyncio.get_running_loop().create_future()
        self._failure = failure
        self._failed: asyncio.Future[None] | None = None
        self._readers: weakref.WeakSet[Reader[Any]] = weakref.WeakSet()
        # What comes before the first reader waits for it.
        self._first: Reader[Any] | None = Reader(self, False, (), 0)
        self._readers.add(self._first)
        self._settle()

    @property
    def closed(self) -> bool:
        return self._is_closed

    @property
    def failure(self) -> SluiceError | None:
        """Why the client is closed for good (:meth:`SluiceClient.connect` tries again), ``None`` while it is not."""
        return self._failure

    async def ready(self) -> tuple[str, ...]:
        """Waits until the server has answered for all of it, over however many connections that takes.

        :returns: the ids that are denied, of a pattern its text
        :raises SluiceError: the server refuses it (:class:`TooManyRooms`), it was closed (:class:`Closed`), or the client was closed for
            good, such as by :class:`NoToken`
        """
        while not self._ready.done():
            if self._failure is not None:
                raise self._failure.again()
            if self._failed is None or self._failed.done():
                self._failed = asyncio.get_running_loop().create_future()
            either: set[asyncio.Future[Any]] = {self._ready, self._failed}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        error = self._ready.exception()
        if isinstance(error, SluiceError):
            raise error.again()
        return self._ready.result()

    def get(self, device_id: str) -> DeviceState | None:
        """What is known of a device now, without waiting; ``None`` for one that is not of this subscription."""
        state = None if self._is_closed else self._owner.state_of(self, device_id)
        return None if state is None else self._own(state)

    def close(self) -> None:
        """Ends it, and every reader. The last subscription of a device leaves it at the server."""
        self.end(Closed("The subscription was closed"))

    def __enter__(self) -> Subscription:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __aiter__(self) -> Reader[Telemetry]:
        """Telemetry, as it comes: in mode ``every`` each publication once and in order, also over lost connections.

        ``keep`` messages wait for a slow reader; then the oldest go, and ``dropped`` of its next message says how many. What came before
        the first reader is kept for it in the same way. Ends at :meth:`close`; raises what closed the client for good.
        """
        return self._reader(True)

    def events(self) -> Reader[SubscriptionEvent]:
        """All events in order, bounded as ``async for`` is; a :class:`Dropped` says how many are missing before what follows."""
        return self._reader(False)

    def on(self, kind: type[Event], listener: Callable[[Event], object]) -> Callable[[], None]:
        if kind is Telemetry and self._first is not None:
            self._readers.discard(self._first)
            self._first = None  # listeners hear it: nothing needs to be kept
        return super().on(kind, listener)

    def _reader(self, telemetry_only: bool) -> Reader[Any]:
        first, self._first = self._first, None
        kept: list[SubscriptionEvent] = []
        dropped = 0
        if first is not None:
            self._readers.discard(first)
            kept = [one for one in first._kept if not telemetry_only or isinstance(one, Telemetry)]
            dropped = first._dropped
        reader: Reader[Any] = Reader(self, telemetry_only, kept, dropped)
        self._readers.add(reader)
        return reader

    # From the client.

    def tell(self, event: SubscriptionEvent) -> None:
        for reader in tuple(self._readers):
            reader._take(event, self._keep)
        self.emit(event)

    def show(self, state: DeviceState) -> None:
        self.tell(self._own(state))

    def answered(self, targets: Iterable[str], error: SluiceError | None = None) -> None:
        """The server has answered for these."""
        news: list[str] = []
        for target in targets:
            self._open.pop(target, None)
            if error is None:
                self._refused.pop(target, None)
            elif target not in self._refused:
                self._refused[target] = None
                news.append(target)
        if news and error is not None:
            self.tell(Denied(tuple(news), error.code))
        if error is not None and error.code != "forbidden":
            self._reject(error)
        else:
            self._settle()

    def fail(self, error: SluiceError | None) -> None:
        """The client is closed for good; ``None``: it tries again."""
        self._failure = error
        if error is not None:
            if self._failed is not None and not self._failed.done():
                self._failed.set_result(None)
            self._wake_readers()

    def end(self, error: SluiceError) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._reject(error)
            self._wake_readers()
            self._owner.leave(self)

    def _wake_readers(self) -> None:
        for reader in tuple(self._readers):
            reader._wake()

    def _settle(self) -> None:
        if not self._open and not self._ready.done():
            self._ready.set_result(tuple(self._refused))

    def _reject(self, error: SluiceError) -> None:
        if not self._ready.done():
            self._ready.set_exception(error)
            self._ready.exception()  # who does not ask is told by events

    def _own(self, state: DeviceState) -> DeviceState:
        """The state as this subscription has asked for it."""
        telemetry, fields = state.telemetry, self.delivery.get("fields")
        if telemetry is None or fields is None:
            return state
        payload = select(telemetry.payload, fields)
        return replace(state, telemetry=None if payload is None else replace(telemetry, payload=payload, _source=None))

