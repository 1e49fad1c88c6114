"""What resmgr counts. Exported where an OTLP endpoint is set; free of cost otherwise."""

from collections import Counter
from collections.abc import Iterable, Mapping

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from trimtab.tokens import Allocated
from trimtab_resmgr.leases import Level, News


class Metrics:
    """Of one process."""

    def __init__(self) -> None:
        meter = metrics.get_meter("trimtab.resmgr")
        self._answers = meter.create_counter(
            "trimtab.resmgr.allocations", description="Answers, by status and what was in the way"
        )
        self._waited = meter.create_histogram(
            "trimtab.resmgr.waited", unit="s", description="From the first asking to the grant"
        )
        self._redis = meter.create_histogram(
            "trimtab.resmgr.redis", unit="s", description="Calls of Redis, there and back"
        )
        self._lost = meter.create_counter(
            "trimtab.resmgr.leases.lost", description="Leases that ended without being given back"
        )
        self._gave_up = meter.create_counter(
            "trimtab.resmgr.places.lost", description="Places and grants nobody asked for again"
        )
        self._levels: dict[str, Level] = {}
        meter.create_observable_gauge("trimtab.resmgr.held", [self._held], description="Units")
        meter.create_observable_gauge(
            "trimtab.resmgr.waiting", [self._waiting], description="Requests"
        )
        self._counted: Counter[str] = Counter()

    def answered(self, answer: Allocated) -> None:
        limit = answer.blockers[0].limit if answer.blockers else ""
        self._counted[answer.status] += 1
        self._answers.add(1, {"status": answer.status, "limit": limit})
        if answer.waited_seconds is not None and answer.status == "granted":
            self._waited.record(answer.waited_seconds)

    def heard(self, news: News) -> None:
        self._redis.record(news.seconds)
        if news.ended:
            self._lost.add(len(news.ended))
        if gave_up := news.unclaimed + news.dropped:
            self._gave_up.add(gave_up)
        for level in news.levels:
            self._levels[level.pool] = level

    def counts(self) -> Mapping[str, int]:
        """Allocations by status since the start, for NATS's service statistics."""
        return dict(self._counted)

    def _held(self, _options: CallbackOptions) -> Iterable[Observation]:
        for level in list(self._levels.values()):
            yield Observation(level.held, {"pool": level.pool})

    def _waiting(self, _options: CallbackOptions) -> Iterable[Observation]:
        for level in list(self._levels.values()):
            yield Observation(level.waiting, {"pool": level.pool})
