"""Throttling of failures: how many refused calls a client may make before more are delayed. Pure.

Only failures are counted and only failures are delayed: a caller with a valid token is never
delayed by others who try wrong tokens with the same token id or from the same address.
"""

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from trimtab.errors import Code, Retryable

_MAX_KEYS = 10_000
"""The number of keys that are kept: those whose last failure is most recent."""


class Throttled(Retryable):
    """Too many calls of this client were refused."""

    code = Code.THROTTLED

    def __init__(self, delay_seconds: float) -> None:
        seconds = math.ceil(delay_seconds)
        super().__init__(
            f"too many calls were refused; try again in {seconds} s", delay_seconds=seconds
        )


@dataclass
class _Bucket:
    left: float
    updated_at: float
    is_empty: bool = False
    """Whether the bucket was empty at the last failure."""


@dataclass(frozen=True)
class Delay:
    """The consequence of a failure over the limit."""

    seconds: float
    """The time until another failure is within the limit."""
    is_first: bool
    """Whether the failure is the first over the limit since the last one within it."""


class FailureLimit:
    """A token bucket of failures for each key, which fills up again steadily.

    The buckets are in memory only: a restart resets them.
    """

    def __init__(self, per_minute: int) -> None:
        self._size = float(per_minute)
        self._per_second = per_minute / 60
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def count(self, keys: Iterable[str], now: float) -> Delay | None:
        """Count a failure for each key; return the longest delay where a key is over the limit.

        ``now`` is the time of a monotonic clock, in seconds.
        """
        delays = [delay for key in keys if (delay := self._count(key, now)) is not None]
        return max(delays, key=lambda delay: delay.seconds, default=None)

    def _count(self, key: str, now: float) -> Delay | None:
        bucket = self._buckets.pop(key, None) or _Bucket(self._size, now)
        self._buckets[key] = bucket
        if len(self._buckets) > _MAX_KEYS:
            self._buckets.popitem(last=False)
        refilled = bucket.left + (now - bucket.updated_at) * self._per_second
        bucket.left = min(self._size, refilled)
        bucket.updated_at = now
        is_first, bucket.is_empty = not bucket.is_empty, bucket.left < 1
        if bucket.is_empty:
            return Delay((1 - bucket.left) / self._per_second, is_first)
        bucket.left -= 1
        return None


def network(address: str) -> str:
    """Return the address, or for IPv6 its /64 network: one client owns all addresses in it."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((int(parsed), 64), strict=False))
