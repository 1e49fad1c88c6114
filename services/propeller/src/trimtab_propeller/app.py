"""Builds the parts of propeller and connects them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from uuid import uuid4

import nats.errors
from nats.aio.client import Client
from starlette.applications import Starlette

from trimtab.blobs.locations import open_store
from trimtab.blobs.port import BlobStore
from trimtab.errors import Unavailable
from trimtab.messages import subjects
from trimtab.messages.executions import Request
from trimtab.runtime import bus, retrying, service, tasks
from trimtab.runtime.connection import connect
from trimtab.settings.view import View
from trimtab_propeller import metrics
from trimtab_propeller.admission import Admission
from trimtab_propeller.attempts import RunDependencies
from trimtab_propeller.availability import ExecutorAvailability
from trimtab_propeller.claiming import RequestClaiming
from trimtab_propeller.config import PropellerConfig
from trimtab_propeller.driver import ExecutionDriver
from trimtab_propeller.dry_runs import DryRunReplies
from trimtab_propeller.execution_log import Claimer, ExecutionLog
from trimtab_propeller.executors import landlock
from trimtab_propeller.executors.confinement import Confinement
from trimtab_propeller.executors.port import Executor
from trimtab_propeller.executors.process import ProcessExecutor
from trimtab_propeller.namespaces import RequiredNamespaces
from trimtab_propeller.owned import OwnedExecutions
from trimtab_propeller.ownership import Ownership
from trimtab_propeller.pods.defaults import PodDefaults
from trimtab_propeller.resolution import Site
from trimtab_propeller.tokens import Cohorts
from trimtab_propeller.waits import WaitReports

log = logging.getLogger(__name__)

_FIRST_CHECK_SECONDS = 0.1
_CHECK_SECONDS = 5.0
"""How often the streams are checked."""


@dataclass(frozen=True)
class ConnectedParts:
    """The parts that need a connection to NATS."""

    blobs: BlobStore
    view: View
    cohorts: Cohorts
    executions: OwnedExecutions
    claiming: RequestClaiming
    reports: WaitReports
    dry_runs: DryRunReplies
    ownership: Ownership


def confine(config: PropellerConfig) -> Confinement:
    """Return what tasks may reach, as far as this kernel enforces it."""
    return Confinement(
        abi=landlock.abi(),
        hidden=tuple(map(str, config.hidden_paths)),
        readable=tuple(str(path.resolve()) for path in config.task_readable),
        writable=tuple(str(path.resolve()) for path in config.task_writable),
        ports=config.task_ports,
        closed_ports=config.closed_ports,
    )


class Propeller:
    """The service. It is served once."""

    def __init__(self, config: PropellerConfig) -> None:
        self._config = config
        self._owner = f"propeller-{uuid4().hex[:8]}"
        self._executor: Executor = ProcessExecutor(
            config.data_dir,
            secrets_dir=config.task_secrets_dir,
            confinement=confine(config),
            fetch_bundle=self._fetch_bundle,
            bundles_bytes=config.bundles_bytes,
        )
        self._availability = ExecutorAvailability(self._executor)
        self._parts: ConnectedParts | None = None
        self._stream_problem = "not connected to NATS yet"
        self._waiting = 0

    async def _fetch_bundle(self, digest: str) -> bytes:
        """Raises `Unavailable` and `Rejected`."""
        if self._parts is None:
            raise Unavailable("not connected to NATS yet")
        return await self._parts.blobs.get(digest)

    def _site(self) -> Site:
        config = self._config
        return Site(
            pods=PodDefaults.of(config.pods, config.namespace_template),
            queueing_budgets=config.queueing_budgets,
            default_tier=config.quality_default_tier or "",
        )

    def problems(self) -> dict[str, str]:
        """Return why the service is not ready, by part."""
        problems = {"queue": self._stream_problem} if self._stream_problem else {}
        if self._parts is None or not self._parts.view.ready:
            problems["settings"] = "the view of the settings is not verified"
        if self._parts is None or not self._parts.ownership.is_current:
            problems["executions"] = "the claims of other propellers are not known"
        if self._availability.problem:
            problems["executor"] = f"no attempt can be started: {self._availability.problem}"
        return problems

    def facts(self) -> dict[str, object]:
        """Return the facts that ``/readyz`` reports."""
        isolation = str(self._executor.capabilities.isolation)
        own: dict[str, object] = {"owner": self._owner, "isolation": isolation}
        if self._parts is None:
            return own
        executions = self._parts.executions
        counts = {"executions": len(executions), "max_executions": executions.bound}
        return {**own, **counts, **self._parts.view.summary()}

    async def serve(self) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as group:

            async def prepare(client: Client) -> None:
                await self._wait_for_streams(client)
                self._parts = self._build_parts(client, group)

            async with connect(self._config, "propeller", prepare=prepare) as client:
                log.info("propeller.started", extra={"owner": self._owner})
                assert self._parts is not None  # built by prepare
                await self._run(client, self._parts)

    def _build_parts(self, client: Client, group: asyncio.TaskGroup) -> ConnectedParts:
        config = self._config
        view = View(client, stale_after_seconds=config.stale_after_seconds)
        cohorts = Cohorts(client)
        dependencies = RunDependencies(
            self._executor, self._availability, cohorts, config.lease_seconds
        )
        namespaces = RequiredNamespaces(
            config.namespace_cluster, config.namespace_template, lambda: view.settings
        )

        def site(request: Request) -> Site:
            return replace(self._site(), cluster_problems=namespaces.problems(request))

        blobs = open_store(config.blobs, client)

        def make_driver(claimed: ExecutionLog) -> ExecutionDriver:
            capabilities = self._executor.capabilities
            admission = Admission(claimed, view, capabilities, blobs, site)
            return ExecutionDriver(claimed, admission, dependencies)

        executions = OwnedExecutions(group, make_driver, config.max_executions)
        claimer = Claimer(self._owner, self._executor.location)
        claiming = RequestClaiming(
            client, claimer, view, executions, self._availability, namespaces
        )
        reports = WaitReports(client, self._owner, claiming.reasons)
        ownership = Ownership(
            client, claimer, executions, self._availability, config.heartbeat_seconds
        )
        metrics.observe_executions(executions, executions.bound)
        metrics.observe_requests(lambda: self._waiting)
        metrics.observe_out_of_sight(lambda: ownership.out_of_sight)
        dry_runs = DryRunReplies(client, view, self._executor, site)
        return ConnectedParts(
            blobs, view, cohorts, executions, claiming, reports, dry_runs, ownership
        )

    async def _run(self, client: Client, parts: ConnectedParts) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for name, work in self._loops(client, parts).items():
                    group.create_task(tasks.retry_forever(work, f"{name}.interrupted"))
        finally:
            # The executions use the connection, which is closed after this.
            parts.executions.stop_all()
            if self._config.stop_tasks:
                await self._executor.request_stop_of_all()
            self._executor.close()

    def _loops(
        self, client: Client, parts: ConnectedParts
    ) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """Return what runs until the service ends, by name. A defect in one interrupts it only."""
        loops = {
            "settings": parts.view.follow,
            "releases": parts.cohorts.release_deferred,
            "requests": parts.claiming.claim_requests,
            "waits": parts.reports.publish_regularly,
            "dry_runs": parts.dry_runs.run,
            "claims": parts.ownership.follow_claims,
            "heartbeats": parts.ownership.send_heartbeats,
            "takeovers": parts.ownership.take_over_orphans,
            "streams": lambda: self._monitor_streams(client),
            "executor": self._availability.check_regularly,
        }
        if self._config.namespace_cluster:
            loops["namespaces"] = parts.claiming.follow_namespaces
        return loops

    async def _wait_for_streams(self, client: Client) -> None:
        """Wait until admin has declared the streams."""
        await self._check_streams(client)
        while self._stream_problem:
            await asyncio.sleep(_FIRST_CHECK_SECONDS)
            await self._check_streams(client)

    async def _monitor_streams(self, client: Client) -> None:
        """Check the streams for readiness until cancelled."""
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            await self._check_streams(client)

    async def _check_streams(self, client: Client) -> None:
        jetstream = client.jetstream(timeout=bus.TIMEOUT_SECONDS)
        try:
            requests = await jetstream.stream_info(subjects.EXECUTIONS)
            self._waiting = requests.state.messages
            await jetstream.stream_info(subjects.EXECUTION_EVENTS)
            self._stream_problem = ""
        except (nats.errors.Error, TimeoutError) as error:
            self._stream_problem = f"the streams do not exist: {error or type(error).__name__}"
        retrying.raise_if_cancelled()


def build(config: PropellerConfig) -> Starlette:
    """Build the application: it answers health checks, and its lifespan runs the service."""
    propeller = Propeller(config)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(propeller.serve())
            yield
            serving.cancel()

    return service.health_app(propeller.problems, lifespan, propeller.facts)
