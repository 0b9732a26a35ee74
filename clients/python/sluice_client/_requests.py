"""Requests to the server that are not answered yet, by their ``id``."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ._errors import RateLimited, SluiceError, refusal
from ._json_text import dumps
from ._messages import CommandResult, Refused, ServerMessage, Subscribed

#: Requests in work at once: far below the server's rate. Halved where the server says that it is over it.
AT_ONCE = 32
#: Shortest pause after the server has refused a request over its rate, or could not handle it.
PAUSE_S = 0.5
INTERNAL_PAUSE_S = 2.0


class Pending:
    """One request."""

    def __init__(self, number: int, with_result: bool) -> None:
        loop = asyncio.get_running_loop()
        self.id = number
        self.answer: asyncio.Future[ServerMessage] = loop.create_future()
        self.result: asyncio.Future[ServerMessage] | None = loop.create_future() if with_result else None


class Requests:
    def __init__(self, send: Callable[[str], Awaitable[None]]) -> None:
        self._send = send
        self._pending: dict[int, Pending] = {}
        self._line: deque[asyncio.Future[None]] = deque()
        self._next = 1
        self._working = 0
        self._at_once = AT_ONCE
        self._pause: asyncio.TimerHandle | None = None

    async def ask(self, message: Callable[[], Mapping[str, Any] | None]) -> ServerMessage | None:
        """Sends a request when it is its turn, and repeats it when the server says that its rate was exceeded, or that it could not now.

        :param message: called before each attempt, since what is wanted may have changed; ``None``: nothing any more
        """
        while True:
            await self._turn()
            try:
                wanted = message()
                if wanted is None:
                    return None
                pending = self.begin(False)
                try:
                    await self._send(dumps({**wanted, "id": pending.id}))
                    return await pending.answer
                finally:
                    self.end(pending)
            except RateLimited as error:
                self._rest(max(PAUSE_S, (error.retry_after_ms or 0) / 1000 * (1 + random.random() / 4)))
            except SluiceError as error:
                if error.code != "internal":
                    raise
                await asyncio.sleep(INTERNAL_PAUSE_S * (1 + random.random()))
            finally:
                self._working -= 1
                self._go_on()

    def begin(self, with_result: bool) -> Pending:
        """For requests that must not be repeated. The caller sends it, and calls :meth:`end`."""
        pending = Pending(self._next, with_result)
        self._next += 1
        self._pending[pending.id] = pending
        return pending

    def end(self, pending: Pending) -> None:
        """Nobody waits for it any more."""
        self._pending.pop(pending.id, None)
        for future in (pending.answer, pending.result):
            if future is not None and not future.cancel() and not future.cancelled():
                future.exception()  # told, or of no interest

    def answered(self, message: ServerMessage) -> bool:
        """:returns: whether it is (the last part of) the answer to a pending request"""
        number = getattr(message, "id", None)
        pending = self._pending.get(number) if isinstance(number, int) else None
        if pending is None or (isinstance(message, Subscribed) and message.more):
            return False
        future = pending.result if isinstance(message, CommandResult) else pending.answer
        if future is None or future.done():
            return False
        if isinstance(message, Refused):
            future.set_exception(refusal(message.code, message.error, message.retry_after_ms))
        else:
            future.set_result(message)
        return True

    def fail(self, error: SluiceError) -> None:
        """Fails all pending requests."""
        pending = list(self._pending.values())
        self._pending.clear()
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        self._at_once = AT_ONCE
        for one in pending:
            for future in (one.answer, one.result):
                if future is not None and not future.done():
                    future.set_exception(error.again())
        self._go_on()  # who stands in line is told by its turn

    async def _turn(self) -> None:
        if self._working < self._at_once and self._pause is None:
            self._working += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._working -= 1
                self._go_on()
            elif turn in self._line:
                self._line.remove(turn)
            raise

    def _go_on(self) -> None:
        while self._pause is None and self._working < self._at_once and self._line:
            turn = self._line.popleft()
            if not turn.done():
                self._working += 1
                turn.set_result(None)

    def _rest(self, seconds: float) -> None:
        if self._pause is None:
            self._at_once = max(1, self._at_once >> 1)
            self._pause = asyncio.get_running_loop().call_later(seconds, self._rested)

    def _rested(self) -> None:
        self._pause = None
        self._go_on()
