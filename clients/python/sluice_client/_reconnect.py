"""What to do after a close (docs/protocol.md, "Close codes")."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from ._errors import MessageTooBig, SluiceError, TooManyMessages, lost
from ._json_text import loads

#: First wait before a reconnect, doubled per attempt.
BASE_MS = 1_000
MAX_MS = 30_000
#: Most jitter added to a wait that the server asked for.
RETRY_JITTER_MS = 1_000
#: Another connection of the same user must close first, so the wait is long.
TOO_MANY_MS = 30_000
LONGEST_RETRY_AFTER_MS = 600_000


@dataclass(frozen=True)
class AfterClose:
    error: SluiceError
    #: Until the next attempt; ``None``: none, it stays closed.
    delay_ms: float | None
    #: The token is to blame.
    rejected: bool = False


def full_jitter(attempt: int, rand: Callable[[], float] = random.random) -> float:
    """A random part of a growing wait, so that many clients do not reconnect at the same moment."""
    longest: float = min(MAX_MS, BASE_MS * 2.0 ** min(attempt, 16))
    return rand() * longest


def asked_for(retry_after_ms: float, rand: Callable[[], float] = random.random) -> float:
    return min(retry_after_ms, LONGEST_RETRY_AFTER_MS) + rand() * RETRY_JITTER_MS


def after_close(
    code: int, reason: str, attempt: int, was_rejected: bool, rand: Callable[[], float] = random.random
) -> AfterClose:
    """
    :param attempt: connections since the last good one
    :param was_rejected: the token before was refused too
    """
    if code == 1008:
        why = reason or "the server refuses the number of messages"
        return AfterClose(TooManyMessages(why, close_code=code), None)
    if code == 1009:
        why = reason or "the server refuses a message of this size"
        return AfterClose(MessageTooBig(why, close_code=code), None)
    retry_after_ms = _retry_after(reason) if code in (1012, 1013) else None
    error = lost(code, reason, retry_after_ms)
    if code in (4001, 4002):
        # If tokens are refused repeatedly, the wait before the next one grows.
        return AfterClose(error, full_jitter(attempt + 1, rand) if was_rejected else 0, rejected=True)
    if code == 4009:
        return AfterClose(error, TOO_MANY_MS * (1 + rand()))
    return AfterClose(error, full_jitter(attempt, rand) if retry_after_ms is None else asked_for(retry_after_ms, rand))


def _retry_after(reason: str) -> float | None:
    try:
        value = loads(reason)
    except ValueError:
        return None
    after = value.get("retryAfterMs") if isinstance(value, dict) else None
    if isinstance(after, (int, float)) and not isinstance(after, bool) and after >= 0:
        return float(min(after, LONGEST_RETRY_AFTER_MS))
    return None

