"""What resmgr measures. A request costs a look into a dictionary; the rest is told when asked."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping

from opentelemetry.metrics import CallbackOptions, Observation

from trimtab.messages.events import PoolChanged
from trimtab.runtime import metrics
from trimtab.settings.state import ANY_POOL
from trimtab.tokens.protocol import Allocated
from trimtab_resmgr.leases import Level, News

Declared = Callable[[], Mapping[str, PoolChanged]]

_waited = metrics.seconds(
    "trimtab.resmgr.wait.duration", "From the first asking to the grant, of those that waited"
)
_redis = metrics.seconds(
    "db.client.operation.duration", "Calls of Redis, each of all requests of a tick"
)
_SCRIPT = {"db.system.name": "redis", "db.operation.name": "EVALSHA"}
_lost = metrics.meter.create_counter(
    "trimtab.resmgr.leases.lost", "{token}", "Leases that ended without being given back"
)
_gave_up = metrics.meter.create_counter(
    "trimtab.resmgr.places.lost", "{request}", "Places and grants nobody asked for again"
)


class Metrics:
    """Of one process."""

    def __init__(self, declared: Declared) -> None:
        """``declared`` are the pools that are told of by name; others come and go."""
        self._declared = declared
        self._answers: Counter[tuple[str, str, str]] = Counter()
        self._levels: dict[str, Level] = {}
        metrics.meter.create_observable_counter(
            "trimtab.resmgr.allocations",
            [self._allocations],
            "{answer}",
            "Answers by pool, status, and what was in the way",
        )

    def answered(self, pool: str, answer: Allocated) -> None:
        """One of several pools that were asked for together stands for all."""
        limit = answer.blockers[0].limit if answer.blockers else ""
        named = pool if pool in self._declared() else ANY_POOL
        self._answers[named, answer.status, limit] += 1
        if answer.waited_seconds is not None and answer.status == "granted":
            # Costly, but rare: it has asked before, and waited since.
            _waited.record(answer.waited_seconds)

    def heard(self, news: News) -> None:
        _redis.record(news.seconds, _SCRIPT)
        if news.ended:
            _lost.add(len(news.ended))
        if gave_up := news.unclaimed + news.dropped:
            _gave_up.add(gave_up)
        for level in news.levels:
            if level.pool in self._declared():
                self._levels[level.pool] = level

    def counts(self) -> Mapping[str, int]:
        """Allocations by status since the start, for NATS's service statistics."""
        counts: Counter[str] = Counter()
        for (_, status, _), number in list(self._answers.items()):
            counts[status] += number
        return counts

    def observe(
        self, look: Callable[[], Awaitable[None]], quota: Callable[[PoolChanged], int]
    ) -> None:
        """Tell of the pools from now on. ``look`` lets us hear how full each of them is."""
        loop = asyncio.get_running_loop()

        async def levels() -> list[Level]:
            await look()
            return [self._levels[pool] for pool in self._declared() if pool in self._levels]

        def of_each(value: Callable[[Level], int]) -> Callable[[], Iterable[Observation]]:
            return lambda: [
                Observation(value(level), {"trimtab.pool": level.pool})
                for level in metrics.result_of(loop, levels) or ()
            ]

        held, waiting = of_each(lambda level: level.held), of_each(lambda level: level.waiting)
        metrics.gauge("trimtab.resmgr.pool.held", "{unit}", "Units that are granted", held)
        metrics.gauge("trimtab.resmgr.pool.waiting", "{request}", "That wait for units", waiting)
        metrics.gauge(
            "trimtab.resmgr.pool.quota",
            "{unit}",
            "That may be granted",
            lambda: [
                Observation(quota(pool), {"trimtab.pool": pool.name})
                for pool in list(self._declared().values())
            ],
        )

    def _allocations(self, _options: CallbackOptions) -> Iterable[Observation]:
        for (pool, status, limit), number in list(self._answers.items()):
            named = {"trimtab.pool": pool, "trimtab.status": status}
            yield Observation(number, named | ({"trimtab.limit": limit} if limit else {}))
