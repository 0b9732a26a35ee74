"""The package websockets, of which the API changed with version 13: one that is there is chosen when this is loaded."""

from __future__ import annotations

import importlib
import ssl
from collections.abc import Mapping
from typing import Any, Protocol


class WebSocket(Protocol):
    """What both have."""

    @property
    def transport(self) -> Any: ...

    async def send(self, message: str) -> None: ...

    async def recv(self) -> str | bytes: ...

    async def close(self, code: int = 1000, reason: str = "") -> None: ...


try:
    _client: Any = importlib.import_module("websockets.asyncio.client")
    _HEADERS = "additional_headers"
except ImportError:  # before 13
    _client = importlib.import_module("websockets.legacy.client")
    _HEADERS = "extra_headers"

_exceptions: Any = importlib.import_module("websockets.exceptions")

ConnectionClosed: type[Exception] = _exceptions.ConnectionClosed

#: Frames of the server have 256 KiB, or one device; a longer one is not read.
MAX_FRAME_BYTES = 16 * 1024 * 1024
CLOSE_TIMEOUT_S = 0.5


class _Connect(_client.connect):  # type: ignore[misc]
    """Follows no redirects: they would take the token elsewhere."""

    def handle_redirect(self, uri: str) -> None:  # before 13
        raise _exceptions.SecurityError("redirected")

    def process_redirect(self, error: Exception) -> Exception:
        return error


async def open_websocket(url: str, headers: Mapping[str, str], context: ssl.SSLContext | None) -> WebSocket:
    """Opens a WebSocket without compression, which the server does not have, and without pings, which the connection sends itself.

    The caller limits the time. When it is cancelled nothing stays open.
    """
    options: dict[str, Any] = {_HEADERS: dict(headers)}
    if context is not None:
        options["ssl"] = context
    websocket: WebSocket = await _Connect(
        url,
        subprotocols=["sluice.v1"],
        compression=None,
        open_timeout=None,
        ping_interval=None,
        close_timeout=CLOSE_TIMEOUT_S,
        max_size=MAX_FRAME_BYTES,
        **options,
    )
    return websocket


def close_of(error: BaseException) -> tuple[int, str]:
    """The server's close code and reason; 1006 where it sent none."""
    received = getattr(error, "rcvd", None)
    return (1006, "") if received is None else (int(received.code), str(received.reason))


def http_answer(error: BaseException) -> tuple[int, str | None] | None:
    """The HTTP status of a server that did not upgrade, and its ``Retry-After``."""
    response = getattr(error, "response", None)
    status = getattr(error, "status_code", None) if response is None else response.status_code
    headers: Any = getattr(error, "headers", None) if response is None else response.headers
    if not isinstance(status, int):
        return None
    return status, None if headers is None else headers.get("Retry-After")
