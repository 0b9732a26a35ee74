"""Listeners, by the kind of event they want."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

Event = TypeVar("Event")


class Emitter:
    """Calls listeners in the order in which they came, in the event loop's thread."""

    def __init__(self) -> None:
        self._listeners: dict[type[Any], list[Callable[[Any], object]]] = {}

    def on(self, kind: type[Event], listener: Callable[[Event], object]) -> Callable[[], None]:
        """Calls ``listener`` with each event of a kind, subclasses included. What it raises goes to the loop's exception handler.

        :returns: removes the listener
        :raises TypeError: the listener is a coroutine function, which nobody would await
        """
        if inspect.iscoroutinefunction(listener):
            raise TypeError("A listener is a plain function; read events() to await in between")
        listeners = self._listeners.setdefault(kind, [])
        listeners.append(listener)

        def off() -> None:
            if listener in listeners:
                listeners.remove(listener)

        return off

    async def once(self, kind: type[Event]) -> Event:
        """The next event of a kind."""
        future: asyncio.Future[Event] = asyncio.get_running_loop().create_future()

        def arrived(event: Event) -> None:
            if not future.done():
                future.set_result(event)

        off = self.on(kind, arrived)
        try:
            return await future
        finally:
            off()

    def emit(self, event: object) -> None:
        for kind in type(event).__mro__:
            for listener in tuple(self._listeners.get(kind, ())):
                try:
                    listener(event)
                except Exception as error:
                    context = {"message": "A listener of sluice_client failed", "exception": error}
                    asyncio.get_running_loop().call_exception_handler(context)
