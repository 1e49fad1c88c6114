"""Makes propeller's parts and joins them."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

import nats.errors
from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, PullSub
from nats.aio.client import Client
from starlette.applications import Starlette

from trimtab.messages import subjects
from trimtab.messages.executions import ExecutionRequested
from trimtab.runtime import bus, retrying, service
from trimtab.runtime.connection import connect
from trimtab.settings.view import View
from trimtab_propeller import metrics
from trimtab_propeller.config import PropellerConfig
from trimtab_propeller.handlers import Handlers
from trimtab_propeller.process import ProcessExecutor
from trimtab_propeller.run import Means, Run
from trimtab_propeller.runs import Runs
from trimtab_propeller.tokens import Cohorts
from trimtab_propeller.watcher import Watcher

log = logging.getLogger(__name__)

_WORKERS = 32
"""Requests that wait for the view at the same time; they do nothing else that takes long."""
_FIRST_LOOK_SECONDS = 0.1
_LOOK_SECONDS = 5.0
"""How often it is looked whether the work queue is there."""


@dataclass(frozen=True)
class Parts:
    """What works on one connection."""

    view: View
    cohorts: Cohorts
    runs: Runs
    watcher: Watcher
    handlers: Handlers


class Propeller:
    """The service, to be served once."""

    def __init__(self, settings: PropellerConfig) -> None:
        self._settings = settings
        self._owner = f"propeller-{uuid4().hex[:8]}"
        self._executor = ProcessExecutor(settings.data_dir)
        self._parts: Parts | None = None
        self._queue_trouble = "not connected to NATS yet"

    def wrong(self) -> dict[str, str]:
        """Why it is not ready, by part."""
        wrong = {"queue": self._queue_trouble} if self._queue_trouble else {}
        if self._parts is None or not self._parts.view.ready:
            wrong["settings"] = "the view of the settings is not proved"
        if self._parts is None or not self._parts.watcher.watching:
            wrong["executions"] = "the claims of other propellers are not known"
        return wrong

    def facts(self) -> dict[str, object]:
        view = self._parts.view.summary() if self._parts else {}
        return {"owner": self._owner, **view}

    async def serve(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:

            async def prepare(client: Client) -> None:
                await self._found(client)
                self._parts = self._joined(client, group)

            async with connect(self._settings, "propeller", self._subscribe, prepare) as client:
                log.info("propeller.started", extra={"owner": self._owner})
                assert self._parts is not None  # prepared
                await self._work(client, self._parts)

    def _joined(self, client: Client, group: asyncio.TaskGroup) -> Parts:
        settings = self._settings
        view = View(client, stale_after_seconds=settings.stale_after_seconds)
        cohorts = Cohorts(client)
        means = Means(view, self._executor, cohorts, settings.lease_seconds)
        runs = Runs(group, lambda journal: Run(journal, means))
        metrics.observe(runs)
        watcher = Watcher(client, self._owner, runs, settings.heartbeat_seconds)
        handlers = Handlers(client, self._owner, view, runs)
        return Parts(view, cohorts, runs, watcher, handlers)

    async def _work(self, client: Client, parts: Parts) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(parts.view.follow())
                group.create_task(parts.cohorts.settle())
                group.create_task(parts.watcher.follow())
                group.create_task(parts.watcher.beat())
                group.create_task(parts.watcher.look())
                group.create_task(self._watch_queue(client))
        finally:
            # Before the connection goes, on which they work.
            parts.runs.stop_all()
            if self._settings.stop_tasks:
                self._executor.stop_all()

    def _subscribe(self, broker: NatsBroker) -> None:
        @broker.subscriber(
            subjects.ALL_REQUESTED,
            stream=JStream(subjects.EXECUTIONS, declare=False),
            durable=subjects.PROPELLER,
            pull_sub=PullSub(batch_size=_WORKERS),
            max_workers=_WORKERS,
            ack_policy=AckPolicy.NACK_ON_ERROR,
            no_reply=True,
        )
        async def on_execution_requested(event: ExecutionRequested) -> None:
            assert self._parts is not None  # prepared before the subscribers start
            await self._parts.handlers.on_execution_requested(event)

    async def _found(self, client: Client) -> None:
        """Wait until admin has declared what is needed."""
        await self._look(client)
        while self._queue_trouble:
            await asyncio.sleep(_FIRST_LOOK_SECONDS)
            await self._look(client)

    async def _watch_queue(self, client: Client) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            await self._look(client)

    async def _look(self, client: Client) -> None:
        jetstream = client.jetstream(timeout=bus.TIMEOUT_SECONDS)
        try:
            await jetstream.consumer_info(subjects.EXECUTIONS, subjects.PROPELLER)
            await jetstream.stream_info(subjects.EXECUTION_EVENTS)
            self._queue_trouble = ""
        except (nats.errors.Error, TimeoutError) as error:
            self._queue_trouble = f"the streams are not there: {error or type(error).__name__}"
        retrying.raise_if_cancelled()


def build(settings: PropellerConfig) -> Starlette:
    """The application: health, while the service runs beside it."""
    propeller = Propeller(settings)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(propeller.serve())
            yield
            serving.cancel()

    return service.health_app(propeller.wrong, lifespan, propeller.facts)
