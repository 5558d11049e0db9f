"""Requests and tokens a minute, waits between tries, and what an endpoint says about when to come back."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

FIRST_WAIT = 0.5
LONGEST_BACKOFF = 30.0


class Pace:
    """At most so many units a minute, evenly spread: no window of a minute holds more, but for the last request.

    Parameters
    ----------
    per_minute : int or None
        None is no limit.
    """

    def __init__(self, per_minute: int | None) -> None:
        self._seconds_each = 60 / per_minute if per_minute else 0.0
        self._free = 0.0

    def reserve(self, now: float, amount: float = 1) -> float:
        """Reserve the next place; return the seconds until it comes."""
        start = max(now, self._free)
        self._free = start + amount * self._seconds_each
        return start - now

    def correct(self, amount: float) -> None:
        """Add what a request took beyond what was reserved for it, or give back what it did not take."""
        self._free += amount * self._seconds_each

    async def take(self, amount: float = 1) -> None:
        """Wait for the next place."""
        if self._seconds_each:
            await asyncio.sleep(self.reserve(asyncio.get_running_loop().time(), amount))


def backoff(attempt: int, asked: float | None = None) -> float:
    """Return the seconds to wait before the next try.

    Parameters
    ----------
    attempt : int
        0 after the first try.
    asked : float, optional
        What the endpoint asked for: the wait is never shorter, and a little longer at random, so that requests that
        were sent away together do not come back together.
    """
    if asked is not None:
        return asked + random.uniform(0, 0.1 * asked + 0.1)
    return min(FIRST_WAIT * 2.0 ** min(attempt, 16), LONGEST_BACKOFF) * random.uniform(0.5, 1)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read the seconds that an endpoint asks to wait, from ``Retry-After-Ms`` or ``Retry-After`` (seconds or a date).

    Returns
    -------
    float or None
        None where it asks for none, or for none that can be read.
    """
    for name, divisor in (("Retry-After-Ms", 1000), ("Retry-After", 1)):
        try:
            seconds = float(headers[name]) / divisor
        except (KeyError, ValueError):
            continue
        return seconds if 0 <= seconds < float("inf") else None
    try:
        date = parsedate_to_datetime(headers["Retry-After"])
    except (KeyError, TypeError, ValueError):
        return None
    return max(0.0, float(date.timestamp()) - time.time())
