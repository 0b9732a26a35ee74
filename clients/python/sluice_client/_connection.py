"""A WebSocket that reconnects: token, waits with jitter, and detection of dead links."""

from __future__ import annotations

import asyncio
import inspect
import logging
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from ._errors import ConnectionLost, NoToken, NotConnected, Overloaded, ProtocolViolation, SluiceError
from ._json_text import dumps, loads
from ._messages import Connected, Pong, ServerMessage, read
from ._reconnect import AfterClose, after_close, asked_for, full_jitter
from ._tasks import Tasks, until
from ._websocket import ConnectionClosed, WebSocket, close_of, http_answer, open_websocket

#: A longer token may not fit into request headers: it is sent as the first message.
MAX_HEADER_TOKEN = 8_000
#: Under load the server admits connections one by one, for up to 8 s; the token's function has its share.
OPEN_TIMEOUT_S = 20.0
#: A connection that lasted this long was good: the next wait starts small again.
STABLE_S = 10.0
#: How often the link is looked at; after this much silence it is asked, and after the answer's time it is dead: within 10 s in all.
LOOK_S = 1.0
QUIET_S = 4.5
ANSWER_S = 3.5
#: The answer's time when there is a reason to doubt: the machine slept, or somebody set its clock.
DOUBT_S = 2.0
JUMP_S = 3.0
#: A clean close waits this long for the server's, and a task that was cancelled for its end.
END_S = 2.0

log = logging.getLogger("sluice_client")

#: The JWT, or a function that returns it, which may be a coroutine function. It is told whether the last token was refused or is expired.
Token = str | Callable[[bool], str | Awaitable[str]] | Callable[[], str | Awaitable[str]]


class ConnectionEvents(Protocol):
    def connecting(self) -> None: ...

    def opened(self, token: str, server_ts: int) -> None:
        """The token is good: messages may be sent from now on."""

    def received(self, message: ServerMessage) -> None: ...

    def lost(self, delay_ms: float | None, error: SluiceError) -> None:
        """No longer open; it reconnects after ``delay_ms``, or never if ``None``."""


class TokenSource:
    """A plain token works until it is refused; a function is asked each time."""

    def __init__(self, token: Token) -> None:
        self._token = token
        self.is_function = not isinstance(token, str)
        self._wants_argument = True
        if not isinstance(token, str):
            try:
                inspect.signature(token).bind(False)
            except TypeError:
                self._wants_argument = False
            except ValueError:  # no signature to be had
                pass

    async def get(self, rejected: bool) -> str:
        """:raises NoToken: there is none"""
        if isinstance(self._token, str):
            if rejected:
                raise NoToken("The token is expired or refused, and there is no other")
            return self._token
        function: Callable[..., Any] = self._token
        try:
            token = function(rejected) if self._wants_argument else function()
            if inspect.isawaitable(token):
                token = await token
        except Exception as error:
            raise NoToken(f"The token function failed: {type(error).__name__}: {error}") from error
        if not isinstance(token, str):
            raise NoToken(f"The token function returned {type(token).__name__}, not a str")
        return token


class Connection:
    """From the first attempt to :meth:`stop`, or until the server does not want this client. Not used again after that."""

    def __init__(
        self, url: str, token: TokenSource, context: ssl.SSLContext | None, events: ConnectionEvents
    ) -> None:
        self._url = url
        self._token = token
        self._ssl = context
        self._events = events
        self._tasks = Tasks()
        self._socket: WebSocket | None = None
        self._is_open = False
        self._is_stopped = False
        self._attempt = 0
        self._rejected = False
        self._close_code: int | None = None
        self._wake = asyncio.Event()
        #: When something was heard last, and when the link was looked at, by the monotonic clock and by the wall's.
        self._heard_at = self._looked_at = self._wall = 0.0
        #: When the link is dead without an answer.
        self._answer_by: float | None = None
        self._opened_at: float | None = None
        self._task = self._tasks.spawn(self._run(), "connection")

    @property
    def is_open(self) -> bool:
        return self._is_open

    @property
    def is_over(self) -> bool:
        return self._task.done()

    def connect_now(self) -> None:
        """In place of a wait."""
        self._wake.set()

    async def send(self, text: str) -> None:
        """
        :raises NotConnected: nothing was sent
        :raises ConnectionLost: it may have been sent
        """
        socket = self._socket
        if socket is None or not self._is_open:
            raise NotConnected("There is no connection")
        try:
            await socket.send(text)
        except ConnectionClosed as error:
            raise ConnectionLost("The connection was lost", close_code=close_of(error)[0]) from None

    async def stop(self) -> None:
        """Closes cleanly, for two seconds at most; then the socket is cut. No event comes after the call."""
        self._is_stopped = True
        was_open = self._is_open
        self._is_open = False
        socket = self._socket
        if socket is not None and was_open:
            await until(self._tasks.spawn(socket.close(), "close"), END_S)
        if not self._task.done():
            self._task.cancel()
            await until(self._task, 3 * END_S)
        for task in self._tasks.cancel():
            await until(task, END_S)

    async def _run(self) -> None:
        while not self._is_stopped:
            self._wake.clear()
            self._events.connecting()
            after = await self._live_once()
            if self._is_stopped:
                return
            level = logging.INFO if after.delay_ms is not None else logging.WARNING
            log.log(level, "connection lost: %s", str(after.error))
            self._events.lost(after.delay_ms, after.error)
            if after.delay_ms is None:
                return
            waking = self._tasks.spawn(self._wake.wait(), "wait")
            try:
                await until(waking, after.delay_ms / 1000)
            finally:
                waking.cancel()

    async def _live_once(self) -> AfterClose:
        """One connection, from the token to its end. It watches a task that does nothing but read."""
        now = self._now()
        self._looked_at, self._wall = now, time.time()
        self._answer_by = None
        self._opened_at = None
        session = self._tasks.spawn(self._session(), "session")
        dead = False
        try:
            while not dead and not await until(session, LOOK_S):
                dead = self._look(now + OPEN_TIMEOUT_S)
        finally:
            self._is_open = False
            if self._opened_at is not None and self._now() - self._opened_at > STABLE_S:
                self._attempt = 0
            if not session.done():
                session.cancel()
                if self._socket is not None:
                    self._abort(self._socket)
                await until(session, END_S)
            self._socket = None
        if dead or session.cancelled():
            return self._ended(1006, "")
        outcome: AfterClose = session.result()
        return outcome

    async def _session(self) -> AfterClose:
        """Opens a connection and reads it to its end."""
        try:
            token = await self._token.get(self._rejected)
        except NoToken as error:
            error.close_code = self._close_code
            self._attempt += 1
            return AfterClose(error, full_jitter(self._attempt) if self._token.is_function else None)
        in_header = len(token) <= MAX_HEADER_TOKEN and token.isascii() and token.isprintable()
        headers = {"Authorization": f"Bearer {token}"} if in_header else {}
        try:
            socket = await open_websocket(self._url, headers, self._ssl)
        except Exception as error:
            return self._not_opened(error)
        self._socket = socket
        try:
            if not in_header:
                await socket.send(dumps({"type": "auth", "token": token}))
            while True:
                self._heard(await socket.recv(), token)
        except ConnectionClosed as error:
            return self._ended(*close_of(error))
        except (ValueError, OverflowError, RecursionError) as error:
            self._attempt += 1
            why = ProtocolViolation(f"The server said something that is not sluice.v1: {error}", close_code=1002)
            return AfterClose(why, full_jitter(self._attempt))
        finally:
            # Closed already, or to be dropped at once: the closing handshake of a half-open one takes long.
            self._abort(socket)

    def _heard(self, frame: str | bytes, token: str) -> None:
        self._heard_at = self._now()
        self._answer_by = None
        if self._is_stopped:
            return
        if isinstance(frame, bytes):
            raise ValueError("a binary frame")
        for message in read(loads(frame), frame):
            if isinstance(message, Connected):
                self._is_open = True
                self._rejected = False
                self._opened_at = self._heard_at
                self._events.opened(token, message.server_ts)
            elif not isinstance(message, Pong) or message.id is not None:
                self._events.received(message)

    def _look(self, open_by: float) -> bool:
        """A link that is cut without a word looks like one without news. :returns: whether it is dead"""
        now = self._now()
        wall = time.time()
        slept = max(now - self._looked_at, wall - self._wall) - LOOK_S
        self._looked_at, self._wall = now, wall
        if self._opened_at is None:
            return now > open_by
        if self._opened_at is not None and now - self._opened_at > STABLE_S:
            self._attempt = 0
        if slept > JUMP_S:
            self._answer_by = None
            self._ask(DOUBT_S)
        elif self._answer_by is not None:
            return now > self._answer_by
        elif now - self._heard_at > QUIET_S:
            self._ask(ANSWER_S)
        return False

    def _ask(self, answer_s: float) -> None:
        self._answer_by = self._now() + answer_s
        self._tasks.spawn(self._ping(), "ping")

    async def _ping(self) -> None:
        try:
            await self.send('{"type":"ping"}')
        except SluiceError:
            pass  # its end is noticed by who reads

    def _not_opened(self, error: Exception) -> AfterClose:
        self._attempt += 1
        answer = http_answer(error)
        if answer is None:
            why = f"could not connect: {type(error).__name__}: {error}"
            return AfterClose(ConnectionLost(why, close_code=1006), full_jitter(self._attempt))
        status, retry_after = answer
        if status == 503:
            after_ms = float(retry_after) * 1000 if retry_after and retry_after.isascii() and retry_after.isdigit() else None
            delay_ms = full_jitter(self._attempt) if after_ms is None else asked_for(after_ms)
            overloaded = Overloaded("the server answered HTTP 503", close_code=1006, retry_after_ms=after_ms)
            return AfterClose(overloaded, delay_ms)
        refused = ConnectionLost(f"the server answered HTTP {status}", close_code=1006)
        return AfterClose(refused, full_jitter(self._attempt))

    def _ended(self, code: int, reason: str) -> AfterClose:
        after = after_close(code, reason, self._attempt, self._rejected)
        self._attempt += 1
        self._rejected = self._rejected or after.rejected
        self._close_code = code
        return after

    @staticmethod
    def _abort(socket: WebSocket) -> None:
        transport = socket.transport
        if transport is not None:
            transport.abort()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
