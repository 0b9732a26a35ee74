"""Live device data from Sluice, over connections that are lost and restored."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

from ._connection import Connection, Token, TokenSource
from ._emitter import Emitter
from ._errors import BadMessage, Closed, CommandTimeout, NotConnected, PayloadTooLarge, SluiceError, refusal
from ._id_pattern import normal_pattern
from ._json_text import bytes_of, dumps, loads
from ._messages import Authenticated, CommandResult, CommandSent, Refused, ServerMessage, Upstream
from ._options import Rewind, normal
from ._requests import Pending, Requests
from ._subscription import Subscription
from ._subscriptions import Subscriptions
from ._tasks import Tasks, until
from ._token_life import TokenLife

#: The server's limit of a message.
MAX_MESSAGE_BYTES = 65_536
#: Longest wait for a result beyond ``wait_ms``: the way there and back.
RESULT_SLACK_MS = 5_000
#: Messages that a reader keeps.
KEEP = 1_000

log = logging.getLogger("sluice_client")


@dataclass(frozen=True, slots=True)
class ClientState:
    """Of the connection; one object per change."""

    #: ``resuming``: connected again, and what was missed is on its way. ``closed``: not opened yet, by ``close()``, or for good.
    name: Literal["connecting", "live", "resuming", "waiting", "closed"]
    #: Unix ms.
    since: float
    #: With ``waiting``: when it connects again, Unix ms.
    retry_at: float | None = None
    #: The close code with which the last connection ended, where it is not back yet.
    code: int | None = None
    #: A sentence about that.
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Raw:
    """A command that is sent as it is written, so that 1.50 keeps its form."""

    #: JSON.
    text: str


@dataclass(frozen=True, slots=True)
class CommandReply:
    """What came of a command after it was sent."""

    outcome: Literal["replied", "timeout"]
    #: What the device answered: any JSON value.
    payload: Any = None


@dataclass(frozen=True, slots=True)
class CommandAnswer:
    """The broker has the command."""

    #: Whether somebody took it from the broker; ``None`` where the broker cannot tell.
    delivered: bool | None
    #: With ``wait_ms``.
    result: CommandReply | None = None


class SluiceClient(Emitter):
    """Watches and commands devices. Nothing is connected until the first subscription or command, or :meth:`connect`.

    Use it in one event loop, best with ``async with``, which closes it. Listeners: ``on(ClientState, …)``, ``on(Upstream, …)`` and
    ``on(SluiceError, …)``, which has why a connection was lost and what the server refused where nobody waits for an answer.

    :param url: ``wss://…/ws``; ``https`` is taken for ``wss``
    :param token: the JWT, or a function that returns it, which may be a coroutine function. The function is called at every connect, and
        half a minute before the token in use ends; its argument, if it takes one, says whether the last one was refused or is expired. It
        must not block: use ``asyncio.to_thread`` for what does
    :param timeout_ms: how long a command may wait for a connection and for the broker, in milliseconds
    :param batch_ms: collects publications for this many milliseconds into one frame, 0 to 1 000; ``None``: the server's default, 0
    :param ssl: for ``wss``, where the system's certificates are not enough
    :raises ValueError: the address is none
    """

    def __init__(
        self,
        url: str,
        token: Token,
        *,
        timeout_ms: float = 10_000,
        batch_ms: int | None = None,
        ssl: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__()
        self._url = _address_of(url, batch_ms)
        if ssl is not None and not self._url.startswith("wss:"):
            raise ValueError("ssl is for wss:// addresses")
        self._token = TokenSource(token)
        self._ssl = ssl
        self._timeout_s = timeout_ms / 1000
        self._tasks = Tasks()
        self._ending = Tasks()
        self._requests = Requests(self._send)
        self._subscriptions = Subscriptions(self._requests.ask, self._server_now, self._failed, self._tasks)
        self._token_life = TokenLife(self._token_ends)
        self._connection: Connection | None = None
        self._events: _Events | None = None
        self._state = ClientState("closed", time.time() * 1000)
        #: The server does not want this client, or there is no token: only :meth:`connect` tries again.
        self._refused: SluiceError | None = None
        self._was_live = False
        self._clock_offset_ms = 0.0
        self._restoring: asyncio.Task[bool] | None = None
        self._refreshed: asyncio.Task[None] | None = None
        self._refreshing: asyncio.Future[None] | None = None
        self._changed: asyncio.Future[None] | None = None

    @property
    def state(self) -> ClientState:
        return self._state

    async def __aenter__(self) -> SluiceClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def connect(self) -> None:
        """Connects now: before the first subscription, in place of a wait, or again after the server has closed for good."""
        self._refused = None
        self._subscriptions.fail(None)
        if self._connection is None or self._connection.is_over:
            self._events = _Events(self)
            self._connection = Connection(self._url, self._token, self._ssl, self._events)
        else:
            self._connection.connect_now()

    async def close(self) -> None:
        """Ends the connection and every subscription. The next subscription or command opens it again.

        All is ended when it returns; if this call is cancelled, a moment later.
        """
        error = Closed("The client was closed")
        connection, self._connection = self._connection, None
        if self._events is not None:
            self._events.client = None
            self._events = None
        self._refused = None
        self._was_live = False
        self._become("closed")
        self._subscriptions.lost()
        self._subscriptions.end(error)
        self._ended(error)
        tasks = self._tasks.cancel()
        await asyncio.shield(self._ending.spawn(_end(connection, tasks), "close"))

    def subscribe(
        self,
        device_ids: str | Iterable[str],
        *,
        mode: Literal["every", "latest"] | None = None,
        max_rate_hz: float | None = None,
        fields: Iterable[str] | None = None,
        aggregate: bool = False,
        meta: Literal["inline", "once"] = "inline",
        rewind: Rewind | Mapping[str, int] | None = None,
        keep: int = KEEP,
    ) -> Subscription:
        """Watches devices from now on, over all later connections. Returns at once; opens the connection if there is none.

        :param device_ids: one or several
        :param mode: ``"every"`` publication (the default without ``max_rate_hz``), or only the ``"latest"`` when this program is slow
        :param max_rate_hz: publications per device and second at most, 0.01 to 100
        :param fields: only these members, with dots for nested ones, at most 100
        :param aggregate: summaries of 1 / ``max_rate_hz`` in place of single publications
        :param meta: ``"once"``: telemetry without ``meta``; it is in :class:`DeviceState` and :class:`DeviceMeta`
        :param rewind: the last publications of history first, ``Rewind(count=…, ms=…)`` or a mapping with these members
        :param keep: messages that a reader keeps when it is not read in time; then the oldest go, and it is told
        :raises TypeError: an id is no ``str``
        :raises RuntimeError: no event loop is running
        """
        delivery = normal(mode, max_rate_hz, fields, aggregate, meta)
        targets = tuple(dict.fromkeys([device_ids] if isinstance(device_ids, str) else device_ids))
        return self._add(Subscription, targets, False, delivery, rewind, keep)

    def subscribe_pattern(
        self,
        pattern: str,
        *,
        mode: Literal["every", "latest"] | None = None,
        max_rate_hz: float | None = None,
        fields: Iterable[str] | None = None,
        aggregate: bool = False,
        meta: Literal["inline", "once"] = "inline",
        rewind: Rewind | Mapping[str, int] | None = None,
        keep: int = KEEP,
    ) -> Subscription:
        """Watches present and future devices whose ids match; ``*`` stands for any run of characters. Otherwise as :meth:`subscribe`."""
        if not isinstance(pattern, str):
            raise TypeError("A pattern is a str")
        delivery = normal(mode, max_rate_hz, fields, aggregate, meta)
        return self._add(Subscription, (normal_pattern(pattern),), True, delivery, rewind, keep)

    async def command(
        self, device_id: str, command: Any, *, wait_ms: int | None = None, key: str | None = None
    ) -> CommandAnswer:
        """Sends a command once: never again, and never later than ``timeout_ms`` from now.

        :param command: any JSON value, or :class:`Raw`
        :param wait_ms: how long the device may take to answer after the broker has the command, 1 to 60 000 milliseconds; a time-out is a
            result, no error
        :param key: the same key within a minute is the same command: sent once, and answered again; 1 to 128 characters
        :raises NotConnected: there was no connection within ``timeout_ms``; nothing was sent
        :raises ConnectionLost, CommandTimeout, Closed, BrokerUnavailable: the device may have got it
        :raises SluiceError: the server refused it, such as by :class:`Forbidden`; it was not sent
        """
        text = _text_of(command)
        members: dict[str, Any] = {"type": "command", "deviceId": device_id, "id": 0}
        if key is not None:
            members["key"] = key
        if wait_ms is not None:
            members["waitMs"] = wait_ms
        if bytes_of(_command(members, 2**53, text)) > MAX_MESSAGE_BYTES:
            raise PayloadTooLarge("The command is too long for a message")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout_s
        await self._live(deadline)
        pending = self._requests.begin(wait_ms is not None)
        sending = self._tasks.spawn(self._send_pending(pending, _command(members, pending.id, text)), "command")
        try:
            if not await until(pending.answer, deadline - loop.time()):
                raise CommandTimeout("The command was not answered in time")
            sent = pending.answer.result()
            delivered = sent.delivered if isinstance(sent, CommandSent) else None
            if wait_ms is None or pending.result is None:
                return CommandAnswer(delivered)
            if not await until(pending.result, (wait_ms + RESULT_SLACK_MS) / 1000):
                return CommandAnswer(delivered, CommandReply("timeout"))
            result = pending.result.result()
            is_reply = isinstance(result, CommandResult) and result.outcome == "replied"
            payload = result.payload if isinstance(result, CommandResult) else None
            return CommandAnswer(delivered, CommandReply("replied" if is_reply else "timeout", payload))
        finally:
            self._requests.end(pending)
            sending.cancel()

    async def refresh(self) -> None:
        """Asks for a newer token and shows it on the open connection; its grants apply at once.

        :raises NoToken: the token function failed
        :raises NotConnected, ConnectionLost, Forbidden: it was not taken
        """
        if self._refreshed is None or self._refreshed.done():
            self._refreshed = self._tasks.spawn(self._show_newer_token(), "refresh")
        refreshed = self._refreshed
        await asyncio.wait({refreshed})
        if refreshed.cancelled():
            raise Closed("The client was closed")
        refreshed.result()

    # For its subscriptions.

    def _server_now(self) -> float:
        return time.time() * 1000 + self._clock_offset_ms

    def _failed(self, error: SluiceError) -> None:
        log.warning("refused: %s (%s)", str(error), error.code)
        self.emit(error)

    # The connection.

    def _connecting(self) -> None:
        self._become("connecting")

    def _opened(self, token: str, server_ts: int) -> None:
        self._clock_offset_ms = server_ts - time.time() * 1000
        if self._token.is_function:
            self._token_life.begin(token, self._clock_offset_ms)
        self._restoring = self._tasks.spawn(self._subscriptions.restore(), "restore")
        self._restoring.add_done_callback(self._restored)
        self._become("resuming" if self._was_live else "live")

    def _received(self, message: ServerMessage) -> None:
        self._subscriptions.hear(message)
        if isinstance(message, Upstream):
            self.emit(message)
        elif isinstance(message, Authenticated):
            self._resolve_refresh(None)
            self._subscriptions.ask_denied()
        elif not self._requests.answered(message) and isinstance(message, Refused) and message.id is None:
            error = refusal(message.code, message.error, message.retry_after_ms)
            self._resolve_refresh(error)  # the only request without an id
            self._failed(error)

    def _lost(self, delay_ms: float | None, error: SluiceError) -> None:
        self._refused = error if delay_ms is None else None
        self._subscriptions.lost()
        retry_at = None if delay_ms is None else time.time() * 1000 + delay_ms
        self._ended(error)
        self._become("closed" if delay_ms is None else "waiting", retry_at, error.close_code, str(error))
        if delay_ms is None:
            self._subscriptions.fail(error)
        self.emit(error)

    def _ended(self, error: SluiceError) -> None:
        if self._restoring is not None:
            self._restoring.cancel()
        self._token_life.forget()
        self._resolve_refresh(error)
        self._requests.fail(error)

    def _become(
        self,
        name: Literal["connecting", "live", "resuming", "waiting", "closed"],
        retry_at: float | None = None,
        code: int | None = None,
        reason: str | None = None,
    ) -> None:
        if name != self._state.name or name == "waiting":
            self._state = ClientState(name, time.time() * 1000, retry_at, code, reason)
            if self._changed is not None and not self._changed.done():
                self._changed.set_result(None)
            self.emit(self._state)

    def _restored(self, task: asyncio.Task[bool]) -> None:
        if not task.cancelled() and task.exception() is None and task.result():
            self._was_live = True
            self._become("live")

    async def _send(self, text: str) -> None:
        if self._connection is None:
            raise NotConnected("There is no connection")
        await self._connection.send(text)

    async def _send_pending(self, pending: Pending, text: str) -> None:
        try:
            await self._send(text)
        except SluiceError as error:
            if not pending.answer.done():
                pending.answer.set_exception(error)

    def _add(
        self,
        make: type[Subscription],
        targets: tuple[str, ...],
        is_pattern: bool,
        delivery: Any,
        rewind: Rewind | Mapping[str, int] | None,
        keep: int,
    ) -> Subscription:
        if not all(isinstance(target, str) for target in targets):
            raise TypeError("A device id is a str")
        if keep < 1:
            raise ValueError("keep is at least 1")
        wanted = rewind if rewind is None or isinstance(rewind, Rewind) else Rewind(**rewind)
        subscription = make(targets, is_pattern, delivery, wanted, keep, self._subscriptions, self._refused)
        self._subscriptions.add(subscription)
        self._open()
        return subscription

    def _open(self) -> None:
        if self._state.name == "closed" and self._refused is None:
            self.connect()

    async def _live(self, deadline: float) -> None:
        """Returns when there is a connection, on which commands may be sent."""
        self._open()
        loop = asyncio.get_running_loop()
        while self._connection is None or not self._connection.is_open:
            if self._state.name == "closed" and (self._connection is None or self._refused is not None):
                raise Closed("The client was closed") if self._refused is None else self._refused.again()
            if self._changed is None or self._changed.done():
                self._changed = loop.create_future()
            if not await until(self._changed, deadline - loop.time()):
                raise NotConnected("There was no connection in time")

    # A newer token.

    def _token_ends(self) -> None:
        self._tasks.spawn(self._refresh_in_time(), "refresh")

    async def _refresh_in_time(self) -> None:
        """If no newer token is available, the current one is used until it expires."""
        try:
            await self.refresh()
        except SluiceError as error:
            log.warning("no newer token: %s", str(error))
            if self._connection is not None and self._connection.is_open:
                self._token_life.again()

    async def _show_newer_token(self) -> None:
        newer = await self._token.get(False)
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._refreshing = answer
        try:
            await self._send(dumps({"type": "auth", "token": newer}))
            await answer
        finally:
            if self._refreshing is answer:
                self._refreshing = None
            answer.cancel()
        self._token_life.begin(newer, self._clock_offset_ms)

    def _resolve_refresh(self, error: SluiceError | None) -> None:
        answer, self._refreshing = self._refreshing, None
        if answer is not None and not answer.done():
            if error is None:
                answer.set_result(None)
            else:
                answer.set_exception(error)
                answer.exception()


class _Events:
    """Between one connection and the client, until the client has left it."""

    def __init__(self, client: SluiceClient) -> None:
        self.client: SluiceClient | None = client

    def connecting(self) -> None:
        if self.client is not None:
            self.client._connecting()

    def opened(self, token: str, server_ts: int) -> None:
        if self.client is not None:
            self.client._opened(token, server_ts)

    def received(self, message: ServerMessage) -> None:
        if self.client is not None:
            self.client._received(message)

    def lost(self, delay_ms: float | None, error: SluiceError) -> None:
        if self.client is not None:
            self.client._lost(delay_ms, error)


async def _end(connection: Connection | None, tasks: list[asyncio.Task[Any]]) -> None:
    if connection is not None:
        await connection.stop()
    if tasks:
        await asyncio.wait(tasks, timeout=2)


def _command(members: Mapping[str, Any], number: int, text: str) -> str:
    return f'{dumps({**members, "id": number})[:-1]},"command":{text}}}'


def _text_of(command: Any) -> str:
    try:
        if isinstance(command, Raw):
            loads(command.text)
            return command.text
        return dumps(command)
    except (TypeError, ValueError) as error:
        raise BadMessage(f"A command must be a JSON value: {error}") from None


def _address_of(url: str, batch_ms: int | None) -> str:
    parts = urllib.parse.urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    if scheme not in ("ws", "wss") or not parts.hostname or (parts.port or 0) < 0:
        raise ValueError("The address begins with wss:// or ws://, and has a host")
    query = [(name, value) for name, value in urllib.parse.parse_qsl(parts.query) if name not in ("subscribe", "batchMs")]
    query.append(("subscribe", "none"))
    if batch_ms is not None:
        query.append(("batchMs", str(batch_ms)))
    return urllib.parse.urlunsplit((scheme, parts.netloc, parts.path or "/", urllib.parse.urlencode(query), ""))

