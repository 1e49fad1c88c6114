"""The metrics of resmgr. A request costs one update of a counter; usage is read at each export."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping

from opentelemetry.metrics import CallbackOptions, Observation

from trimtab.messages.events import PoolChanged
from trimtab.runtime import metrics
from trimtab.settings.state import ANY_POOL
from trimtab.tokens.protocol import Allocated
from trimtab_resmgr.store import Effects, PoolUsage

DeclaredPools = Callable[[], Mapping[str, PoolChanged]]

_waited = metrics.seconds(
    "trimtab.resmgr.wait.duration", "Time from the first request to the grant, for waiters"
)
_redis = metrics.seconds(
    "db.client.operation.duration", "Calls of Redis, each with all requests of a tick"
)
_SCRIPT = {"db.system.name": "redis", "db.operation.name": "EVALSHA"}
_lost = metrics.meter.create_counter(
    "trimtab.resmgr.leases.lost", "{token}", "Tokens whose leases ended or that an admin released"
)
_abandoned = metrics.meter.create_counter(
    "trimtab.resmgr.places.lost", "{request}", "Positions and grants of abandoned waiters"
)


class Metrics:
    """The metrics of one process."""

    def __init__(self, declared: DeclaredPools) -> None:
        """Only ``declared`` pools are reported by name; the number of others has no bound."""
        self._declared = declared
        self._replies: Counter[tuple[str, str, str]] = Counter()
        self._usages: dict[str, PoolUsage] = {}
        metrics.meter.create_observable_counter(
            "trimtab.resmgr.allocations",
            [self._observe_allocations],
            "{answer}",
            "Replies to allocations by pool, status and first blocker",
        )

    def on_reply(self, pool: str, reply: Allocated) -> None:
        """Count a reply; one to a request for several pools counts for the first of them."""
        limit = reply.blockers[0].limit if reply.blockers else ""
        name = pool if pool in self._declared() else ANY_POOL
        self._replies[name, reply.status, limit] += 1
        if reply.waited_seconds is not None and reply.status == "granted":
            # Recording is slow, but waiters are few compared with other requests.
            _waited.record(reply.waited_seconds)

    def on_effects(self, effects: Effects) -> None:
        """Record the effects of a call of the request script."""
        _redis.record(effects.seconds, _SCRIPT)
        if effects.lost:
            _lost.add(len(effects.lost))
        if abandoned := effects.unclaimed + effects.abandoned:
            _abandoned.add(abandoned)
        for usage in effects.usages:
            if usage.pool in self._declared():
                self._usages[usage.pool] = usage

    def counts(self) -> Mapping[str, int]:
        """Return the allocations by status since the start, for NATS's service statistics."""
        counts: Counter[str] = Counter()
        for (_, status, _), number in list(self._replies.items()):
            counts[status] += number
        return counts

    def observe_pools(
        self, refresh: Callable[[], Awaitable[None]], quota: Callable[[PoolChanged], int]
    ) -> None:
        """Create gauges of the usage of pools, which ``refresh`` updates before each export."""
        loop = asyncio.get_running_loop()

        async def usages() -> list[PoolUsage]:
            await refresh()
            return [self._usages[pool] for pool in self._declared() if pool in self._usages]

        def observe(value: Callable[[PoolUsage], int]) -> Callable[[], Iterable[Observation]]:
            return lambda: [
                Observation(value(usage), {"trimtab.pool": usage.pool})
                for usage in metrics.result_of(loop, usages) or ()
            ]

        held, waiting = observe(lambda usage: usage.held), observe(lambda usage: usage.waiting)
        metrics.gauge("trimtab.resmgr.pool.held", "{unit}", "Units that are held", held)
        metrics.gauge("trimtab.resmgr.pool.waiting", "{request}", "Waiters of the pool", waiting)
        metrics.gauge(
            "trimtab.resmgr.pool.quota",
            "{unit}",
            "Units that may be held",
            lambda: [
                Observation(quota(pool), {"trimtab.pool": pool.name})
                for pool in list(self._declared().values())
            ],
        )

    def _observe_allocations(self, _options: CallbackOptions) -> Iterable[Observation]:
        for (pool, status, limit), number in list(self._replies.items()):
            attributes = {"trimtab.pool": pool, "trimtab.status": status}
            yield Observation(number, attributes | ({"trimtab.limit": limit} if limit else {}))
