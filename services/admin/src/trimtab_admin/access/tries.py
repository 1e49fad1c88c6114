"""How often something may fail before the next failure is put off. Pure.

Only failures are counted and only failures are put off: who has the right token is never held up
by those who try wrong ones in the same name or from the same address.
"""

import ipaddress
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

_MAX_KEYS = 10_000
"""Of the addresses and names that are remembered: those that failed last."""


@dataclass
class _Bucket:
    left: float
    at: float
    empty: bool = False
    """Whether it was when it was asked last."""


@dataclass(frozen=True)
class Delay:
    """A failure too many."""

    seconds: float
    """After which there is room for another one."""
    first: bool
    """Whether it is the first one since there was room."""


class Tries:
    """A bucket of failures for each key, which fills up again steadily.

    It is kept in memory only: a restart forgives everybody.
    """

    def __init__(self, per_minute: int) -> None:
        self._size = float(per_minute)
        self._per_second = per_minute / 60
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def failed(self, keys: Iterable[str], now: float) -> Delay | None:
        """Count a failure for each key; the longest delay where one has failed too often.

        ``now`` is of any clock that only grows, in seconds.
        """
        delays = [delay for key in keys if (delay := self._failed(key, now)) is not None]
        return max(delays, key=lambda delay: delay.seconds, default=None)

    def _failed(self, key: str, now: float) -> Delay | None:
        bucket = self._buckets.pop(key, None) or _Bucket(self._size, now)
        self._buckets[key] = bucket
        if len(self._buckets) > _MAX_KEYS:
            self._buckets.popitem(last=False)
        bucket.left = min(self._size, bucket.left + (now - bucket.at) * self._per_second)
        bucket.at = now
        first, bucket.empty = not bucket.empty, bucket.left < 1
        if bucket.empty:
            return Delay((1 - bucket.left) / self._per_second, first)
        bucket.left -= 1
        return None


def network(address: str) -> str:
    """The address, or of IPv6 the network: its holder has all 2⁶⁴ addresses in it."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((int(parsed), 64), strict=False))
