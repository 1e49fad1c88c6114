"""Makes propeller's parts and joins them."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import nats.errors
from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, PullSub
from nats.aio.client import Client
from starlette.applications import Starlette

from trimtab import bus, service, subjects
from trimtab.executions import ExecutionRequested
from trimtab.view import View
from trimtab_propeller.handlers import Handlers
from trimtab_propeller.process import ProcessExecutor
from trimtab_propeller.run import Means, Run
from trimtab_propeller.runs import Runs
from trimtab_propeller.settings import PropellerSettings
from trimtab_propeller.tokens import Tokens
from trimtab_propeller.watcher import Watcher

log = logging.getLogger(__name__)

_WORKERS = 32
"""Requests that wait for the view at the same time; they do nothing else that takes long."""
_LOOK_SECONDS = 5.0
"""How often it is looked whether the work queue is there."""


class Propeller:
    """The service: everything is made anew from its settings when it is served."""

    def __init__(self, settings: PropellerSettings) -> None:
        self._settings = settings
        self._owner = f"propeller-{uuid4().hex[:8]}"
        self._view: View | None = None
        self._watcher: Watcher | None = None
        self._runs: Runs | None = None
        self._handlers: Handlers | None = None
        self._queue_trouble = "the work queue was not found yet"
        self._tasks: list[asyncio.Task[None]] = []

    def wrong(self) -> dict[str, str]:
        """Why it is not ready, by part."""
        wrong = {"queue": self._queue_trouble} if self._queue_trouble else {}
        if self._view is None or not self._view.ready:
            wrong["settings"] = "the view of the settings is not proved"
        if self._watcher is None or not self._watcher.watching:
            wrong["executions"] = "the claims of other propellers are not known"
        return wrong

    def facts(self) -> dict[str, object]:
        view = {} if self._view is None else self._view.facts()
        return {"owner": self._owner, **view}

    async def serve(self) -> None:
        """Until cancelled."""
        executor = ProcessExecutor(self._settings.data_dir)
        try:
            async with asyncio.TaskGroup() as group:

                async def prepare(client: Client) -> None:
                    await self._found(client)
                    self._join(client, group, executor)

                async with bus.connected(
                    self._settings, "propeller", self._subscribe, prepare
                ) as client:
                    log.info("propeller.started", extra={"owner": self._owner})
                    try:
                        await self._watch_queue(client)
                    finally:
                        self._stop()
        finally:
            if self._settings.stop_tasks:
                executor.stop_all()

    def _join(self, client: Client, group: asyncio.TaskGroup, executor: ProcessExecutor) -> None:
        settings = self._settings
        view = View(client, stale_after_seconds=settings.stale_after_seconds)
        tokens = Tokens(client, settings.lease_seconds)
        means = Means(view, executor, tokens)
        runs = Runs(group, lambda journal: Run(journal, means))
        watcher = Watcher(client, self._owner, runs, settings.heartbeat_seconds)
        works = (view.follow(), tokens.settle(), watcher.follow(), watcher.beat(), watcher.look())
        self._tasks = [group.create_task(work) for work in works]
        self._view, self._watcher, self._runs = view, watcher, runs
        self._handlers = Handlers(client, self._owner, view, runs)

    def _stop(self) -> None:
        """Before the connection goes, on which all of them work."""
        for task in self._tasks:
            task.cancel()
        if self._runs is not None:
            self._runs.stop_all()

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
            assert self._handlers is not None  # joined before the subscribers start
            await self._handlers.on_execution_requested(event)

    async def _found(self, client: Client) -> None:
        """Wait until admin has declared what is needed."""
        await self._look(client)
        while self._queue_trouble:
            await asyncio.sleep(0.1)
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
            self._queue_trouble = f"the work queue is not there: {error or type(error).__name__}"


def build(settings: PropellerSettings) -> Starlette:
    """The application: health, while the service runs beside it."""
    propeller = Propeller(settings)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(propeller.serve())
            yield
            serving.cancel()

    return service.bare(propeller.wrong, lifespan, propeller.facts)
