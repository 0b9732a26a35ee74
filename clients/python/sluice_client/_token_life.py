"""Reports when the token in use is about to expire, by the server's clock."""

from __future__ import annotations

import asyncio
import base64
import math
import time
from collections.abc import Callable

from ._json_text import loads

#: How long before the token expires a newer one is requested; at most half of the remaining time.
BEFORE_END_MS = 30_000
#: Wait before another attempt, when there was no newer token.
AGAIN_MS = 5_000
#: Longer waits are split, since the clock may be set meanwhile.
LONGEST_WAIT_MS = 3_600_000


class TokenLife:
    def __init__(self, ending: Callable[[], None]) -> None:
        """
        :param ending: called once per token, and once per :meth:`again`
        """
        self._ending = ending
        self._timer: asyncio.TimerHandle | None = None
        self._token = ""
        self._offset_ms = 0.0

    def begin(self, token: str, offset_ms: float) -> None:
        """
        :param offset_ms: the server's clock minus ours
        """
        self.end()
        self._offset_ms = offset_ms
        expires_at = None if token == self._token else expiry_of(token)
        self._token = token
        if expires_at is not None:
            left_ms = expires_at - (time.time() * 1000 + offset_ms)
            if left_ms > 0:
                self._wait(time.time() * 1000 + max(left_ms / 2, left_ms - BEFORE_END_MS))

    def again(self) -> None:
        """There was no newer token."""
        self.end()
        self._wait(time.time() * 1000 + AGAIN_MS)

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def forget(self) -> None:
        """The connection has ended: the same token is reported again on the next one."""
        self.end()
        self._token = ""

    def _wait(self, until_ms: float) -> None:
        left_ms = max(0.0, until_ms - time.time() * 1000)
        loop = asyncio.get_running_loop()
        if left_ms > LONGEST_WAIT_MS:
            self._timer = loop.call_later(LONGEST_WAIT_MS / 1000, self._wait, until_ms)
        else:
            self._timer = loop.call_later(left_ms / 1000, self._ending)


def expiry_of(token: str) -> float | None:
    """:returns: Unix ms of ``exp``; ``None`` if it is no JWT with one"""
    parts = token.split(".")
    try:
        claims = loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)).decode())
    except (ValueError, IndexError):
        return None
    expires = claims.get("exp") if isinstance(claims, dict) else None
    if isinstance(expires, (int, float)) and not isinstance(expires, bool) and abs(expires) < 1e15 and math.isfinite(expires):
        return expires * 1000.0
    return None
