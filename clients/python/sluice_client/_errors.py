"""Why something failed: one class for each reason, all of them :class:`SluiceError`."""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "BadMessage",
    "BrokerUnavailable",
    "Closed",
    "CommandTimeout",
    "ConnectionLost",
    "Forbidden",
    "KeyConflict",
    "KeysUnavailable",
    "MessageRefused",
    "MessageTooBig",
    "NoToken",
    "NotConnected",
    "Overloaded",
    "PayloadTooLarge",
    "ProtocolViolation",
    "RateLimited",
    "ServerFault",
    "ServerStopping",
    "SlowConsumer",
    "SluiceError",
    "TokenExpired",
    "TooManyCommands",
    "TooManyConnections",
    "TooManyMessages",
    "TooManyRooms",
    "Unauthorized",
]


class SluiceError(Exception):
    """Something failed. ``code`` is for programs, the text for people."""

    default_code: ClassVar[str] = "internal"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        close_code: int | None = None,
        retry_after_ms: float | None = None,
    ) -> None:
        super().__init__(message)
        #: The server's code (docs/protocol.md, "Errors"), or one of this library.
        self.code: str = code or self.default_code
        #: Of the WebSocket, where a connection has ended; 1006 when nobody said why.
        self.close_code: int | None = close_code
        #: When to ask again, where the server said so, in milliseconds.
        self.retry_after_ms: float | None = retry_after_ms

    def again(self) -> SluiceError:
        """For another who waits: an exception that is raised twice collects the frames of both."""
        error = type(self)(str(self), code=self.code, close_code=self.close_code, retry_after_ms=self.retry_after_ms)
        error.__cause__ = self.__cause__
        return error


# Of this library


class NotConnected(SluiceError):
    """There was no connection in time. Nothing was sent."""

    default_code = "not_connected"


class CommandTimeout(SluiceError):
    """The server did not answer within ``timeout_ms``. The device may have got the command."""

    default_code = "timeout"


class Closed(SluiceError):
    """The client or the subscription was closed. A command on its way may have been obeyed."""

    default_code = "closed"


class NoToken(SluiceError):
    """There is no token to come back with, or the function that gives it failed."""

    default_code = "no_token"


class ConnectionLost(SluiceError):
    """The connection ended; it comes back by itself. What was on its way may have happened."""

    default_code = "connection_lost"


class ProtocolViolation(ConnectionLost):
    """What came was no message of ``sluice.v1``; the connection was ended."""


# Close codes (docs/protocol.md, "Close codes")


class ServerFault(ConnectionLost):
    """1011: a fault of the server ended this connection alone."""


class ServerStopping(ConnectionLost):
    """1012: the instance is stopping."""


class Overloaded(ConnectionLost):
    """1013, or HTTP 503 before the upgrade: come back later."""


class Unauthorized(ConnectionLost):
    """4001: a bad, expired or revoked token. The token function is asked for another one."""


class TokenExpired(ConnectionLost):
    """4002: the token ended on the open connection."""


class SlowConsumer(ConnectionLost):
    """4008: this program reads too slowly, mostly because something blocks its event loop."""


class TooManyConnections(ConnectionLost):
    """4009: too many connections of this user."""


class TooManyMessages(Closed):
    """1008: too many messages. The client stays closed."""


class MessageTooBig(Closed):
    """1009: a message over the server's limit. The client stays closed."""


# Refused by the server


class Forbidden(SluiceError):
    """The token does not grant it."""

    default_code = "forbidden"


class BadMessage(SluiceError):
    """The server does not understand it; the text says what."""

    default_code = "invalid_message"


class RateLimited(SluiceError):
    """Too many messages or commands. This one was not processed."""

    default_code = "rate_limited"


class TooManyRooms(SluiceError):
    """More devices, patterns or fields than a connection may have."""

    default_code = "too_many_rooms"


class BrokerUnavailable(SluiceError):
    """The broker did not acknowledge the command; if only that did not come in time, the device may have got it."""

    default_code = "broker_unavailable"


class PayloadTooLarge(SluiceError):
    """The command is over the limit. It was not sent."""

    default_code = "payload_too_large"


class TooManyCommands(SluiceError):
    """Too many commands wait for an answer, or too many keys are in use. It was not sent."""

    default_code = "too_many_commands"


class KeyConflict(SluiceError):
    """The key was used with another command for this device. It was not sent."""

    default_code = "key_conflict"


class KeysUnavailable(SluiceError):
    """Whether the key was used cannot be known now. It was not sent: try again later, with the same key."""

    default_code = "keys_unavailable"


class MessageRefused(SluiceError):
    """A refusal with a code that this version of the library does not know."""


_REFUSALS: dict[str, type[SluiceError]] = {
    "invalid_json": BadMessage,
    "invalid_message": BadMessage,
    "unknown_type": BadMessage,
    "forbidden": Forbidden,
    "rate_limited": RateLimited,
    "too_many_rooms": TooManyRooms,
    "broker_unavailable": BrokerUnavailable,
    "payload_too_large": PayloadTooLarge,
    "too_many_commands": TooManyCommands,
    "key_conflict": KeyConflict,
    "keys_unavailable": KeysUnavailable,
}

_CLOSES: dict[int, type[ConnectionLost]] = {
    1011: ServerFault,
    1012: ServerStopping,
    1013: Overloaded,
    4001: Unauthorized,
    4002: TokenExpired,
    4008: SlowConsumer,
    4009: TooManyConnections,
}


def refusal(code: str, message: str, retry_after_ms: float | None = None) -> SluiceError:
    """The error for a refusal of the server."""
    return _REFUSALS.get(code, MessageRefused)(message, code=code, retry_after_ms=retry_after_ms)


def lost(close_code: int, reason: str, retry_after_ms: float | None = None) -> ConnectionLost:
    """The error for a connection that ended and will come back."""
    why = f"closed with {close_code}" + (f" ({reason})" if reason else "")
    return _CLOSES.get(close_code, ConnectionLost)(why, close_code=close_code, retry_after_ms=retry_after_ms)
