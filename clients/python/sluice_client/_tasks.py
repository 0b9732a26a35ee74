"""Tasks with an owner that ends them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from ._errors import SluiceError


class Tasks:
    """Holds what runs: asyncio itself keeps tasks by weak references alone."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._done)
        return task

    def cancel(self) -> list[asyncio.Task[Any]]:
        """:returns: those that end now"""
        tasks = [task for task in self._running if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        return tasks

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, SluiceError):  # that is for who awaits it
            context = {"message": f"{task.get_name()} of sluice_client failed", "exception": error, "task": task}
            task.get_loop().call_exception_handler(context)


async def until(future: asyncio.Future[Any], seconds: float) -> bool:
    """Waits for it, and for no longer. Unlike ``wait_for`` it neither cancels it nor loses a cancellation of its own.

    :returns: whether it is done
    """
    done, _ = await asyncio.wait({future}, timeout=max(0.0, seconds))
    return bool(done)
