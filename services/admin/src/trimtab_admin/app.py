"""Where admin is composed; engines, connections and the application are made nowhere else."""

import asyncio
import importlib.util
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple, Protocol

from starlette.applications import Starlette

from trimtab.errors import Invalid, Rejected, Retryable
from trimtab.runtime import tasks
from trimtab.runtime.retrying import backoff_seconds
from trimtab_admin import metrics, migrations
from trimtab_admin.access.api_tokens import ApiTokens
from trimtab_admin.access.audit import AuditLimits, AuditTrail
from trimtab_admin.access.authentication import Authentication
from trimtab_admin.access.authorization import anonymous_callers
from trimtab_admin.access.control import AccessControl
from trimtab_admin.access.throttling import FailureLimit
from trimtab_admin.api import home, routing
from trimtab_admin.api.access import AccessOperations
from trimtab_admin.api.blobs import BlobOperations
from trimtab_admin.api.entities import EntityOperations
from trimtab_admin.api.executions import ExecutionOperations
from trimtab_admin.api.maintenance import MaintenanceOperations, health_routes
from trimtab_admin.api.middleware import is_loopback
from trimtab_admin.api.namespaces import NamespaceOperations
from trimtab_admin.api.pruning import PruneOperations
from trimtab_admin.api.queues import QueueOperations
from trimtab_admin.api.settings import SettingsOperations
from trimtab_admin.config import AdminConfig
from trimtab_admin.executions.dry_runs import DryRuns
from trimtab_admin.executions.executions import Executions
from trimtab_admin.executions.following import ExecutionStreams
from trimtab_admin.executions.form_reading import LaunchForms
from trimtab_admin.executions.workflows import Workflows
from trimtab_admin.maintenance.clusterres import ClusterresState
from trimtab_admin.maintenance.dead_letters import DeadLetters
from trimtab_admin.maintenance.namespaces import Namespaces
from trimtab_admin.maintenance.pool_usage import PoolUsage
from trimtab_admin.maintenance.pruning import Prunes
from trimtab_admin.maintenance.readiness import Readiness
from trimtab_admin.maintenance.resync import Resync
from trimtab_admin.nats_tasks import NatsTasks
from trimtab_admin.settings import declared
from trimtab_admin.settings.explaining import Explainer
from trimtab_admin.settings.history import History
from trimtab_admin.settings.known_names import KnownNames
from trimtab_admin.settings.reading import Reader
from trimtab_admin.settings.targets import RegisteredTargets
from trimtab_admin.settings.watching import Watches
from trimtab_admin.settings.writing import Writer
from trimtab_admin.storage.changes import Changes
from trimtab_admin.storage.database import (
    Sessions,
    may_pass,
    migrating_sessions_of,
    reading_sessions_of,
    searching_sessions_of,
    sessions_of,
    transaction,
)
from trimtab_admin.storage.maintenance import Checkpoints, HistoryRetention
from trimtab_admin.storage.outbox import OutboxRow
from trimtab_admin.storage.tree import Following, Tree

if TYPE_CHECKING:
    from trimtab_admin.flyte.doors import FlyteDoors
    from trimtab_admin.flyte.grpc_door import GrpcDoor

log = logging.getLogger(__name__)

_OF_FLYTE = ("flyteidl", "flyteidl2", "grpc", "grpc_health", "grpc_reflection")
"""The packages of the extra ``flyte``, by which clients of Flyte are served."""


class OpenToNetwork(Rejected):
    """Without a token file every caller has every right, so only this machine may be one."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(
            f"it would listen on {host}:{port} without a token file, and everyone who reaches that "
            "address would be an admin; set TRIMTAB_TOKEN_FILE, or TRIMTAB_HOST to 127.0.0.1"
        )


async def when_available(work: Callable[[], Awaitable[None]]) -> None:
    """Do what needs the database, again for as long as it may become available.

    Raises `trimtab.errors.TrimtabError` where it will not by itself.
    """
    failures = 0
    while True:
        try:
            return await work()
        except Retryable as error:
            if not may_pass(error):
                raise Rejected(f"{error}; set TRIMTAB_DATABASE_URL to a usable one") from error
            failures += 1
            delay = backoff_seconds(failures, first=0.5, longest=5.0)
            log.warning("database.awaited", extra={"error": str(error), "delay": delay})
        await asyncio.sleep(delay)


async def migrate(config: AdminConfig) -> None:
    """Migrate the schema of the database, if it is not the newest. Raises `TrimtabError`."""
    sessions = migrating_sessions_of(config.database_url)
    try:
        await _migrate(sessions)
    finally:
        await _close(sessions)


async def prepare(config: AdminConfig) -> None:
    """Migrate the schema of the database and publish what the settings file declares.

    Raises `trimtab.errors.TrimtabError`, and then only the schema has changed; where the token
    file is wrong or missing, nothing has.
    """
    _root_token(config)
    sessions = migrating_sessions_of(config.database_url)
    reading = reading_sessions_of(config.database_url)
    try:
        await _migrate(sessions)
        template = config.namespace_template
        changes = Changes(
            sessions, reading, Tree(), lambda _rows: None, namespace_template=template
        )
        await declared.publish(config, changes, reading)
    finally:
        await _close(sessions)
        await _close(reading)


def build(config: AdminConfig) -> Starlette:
    """Return the application, whose database `prepare` has prepared.

    ``app.state.stopping`` is a function that ends the watches and the gRPC door, so that the server
    can stop. Raises `OSError` and `TrimtabError`.
    """
    database = _Database.connect(config)
    sessions, reading, searching, tree, _ = database
    streams = ExecutionStreams(reading)
    nats_tasks = NatsTasks(config, sessions, reading, searching, streams)
    history = History(reading, searching)
    watches = Watches(history)
    readiness = Readiness(reading, tree, nats_tasks)
    authentication = Authentication(sessions, reading, _root_token(config))
    trail = AuditTrail(
        sessions, searching, AuditLimits(config.audit_rows, timedelta(config.audit_days))
    )
    access = AccessControl(
        authentication,
        trail,
        FailureLimit(config.failed_tries_per_minute),
        anonymous_callers(config.anonymous_doors),
    )
    reader = Reader(reading, tree)
    settings = _settings(config, database, reader, history, watches, nats_tasks, authentication)
    doors = _flyte_doors(config, access, readiness, database, settings)
    usage = PoolUsage(reader, nats_tasks.resmgr_client, trail)
    api_tokens = ApiTokens(sessions, reading, tree, trail, authentication)
    prunes = Prunes(
        nats_tasks.namespace_statuses,
        settings.writer,
        tree,
        reading,
        trail,
        namespace_template=config.namespace_template,
    )
    retention = HistoryRetention(sessions, config.history_days)
    grpc = None if doors is None else doors.grpc
    app = routing.build(
        [
            *settings.table(),
            *EntityOperations(reader, settings.writer, usage).table(),
            *QueueOperations(reader, settings.writer).table(),
            *AccessOperations(api_tokens, trail).table(),
            *_executions(database, nats_tasks, streams, authentication).table(),
            *_namespaces(reader, nats_tasks).table(),
            *_maintenance(database, nats_tasks, readiness, doors).table(),
            *PruneOperations(prunes).table(),
            *BlobOperations.of(lambda: nats_tasks.blobs, config.max_bundle_bytes).table(),
        ],
        [*home.routes(), *health_routes(readiness)],
        [] if doors is None else doors.http,
        access,
        settings.names,
        routing.Limits(
            config.max_body_bytes,
            config.max_apply_bytes,
            config.max_bundle_bytes,
            config.request_seconds,
        ),
        loopback_only=is_loopback(config.host),
        lifespan=_lifespan(
            database,
            readiness,
            nats_tasks,
            grpc,
            Following(tree, reading),
            retention,
            authentication,
            Checkpoints(reading),
        ),
    )

    def begin_stop() -> None:
        watches.stop()
        streams.stop()
        if grpc is not None:
            grpc.begin_stop()

    app.state.stopping = begin_stop
    return app


async def _migrate(sessions: Sessions) -> None:
    async with transaction(sessions) as session:
        connection = await session.connection()
        await connection.run_sync(migrations.upgrade)


class _Database(NamedTuple):
    sessions: Sessions
    reading: Sessions
    searching: Sessions
    tree: Tree
    targets: RegisteredTargets

    @classmethod
    def connect(cls, config: AdminConfig) -> "_Database":
        url = config.database_url
        searching = searching_sessions_of(url)
        tree, targets = Tree(), RegisteredTargets()
        return cls(sessions_of(url), reading_sessions_of(url), searching, tree, targets)

    async def close(self) -> None:
        await self.tree.close()
        for sessions in (self.sessions, self.reading, self.searching):
            await _close(sessions)


def _settings(
    config: AdminConfig,
    database: _Database,
    reader: Reader,
    history: History,
    watches: Watches,
    nats_tasks: NatsTasks,
    authentication: Authentication,
) -> SettingsOperations:
    sessions, reading, _, tree, targets = database

    def on_commit(rows: Sequence[OutboxRow]) -> None:
        nats_tasks.publish_soon(rows)
        watches.wake()

    template = config.namespace_template
    changes = Changes(sessions, reading, tree, on_commit, namespace_template=template)
    return SettingsOperations(
        reader=reader,
        writer=Writer(changes, reading, tree, history, targets),
        explainer=Explainer(reading, tree),
        history=history,
        watches=watches,
        authentication=authentication,
        names=KnownNames(reading, tree, history, targets),
    )


def _executions(
    database: _Database,
    nats_tasks: NatsTasks,
    streams: ExecutionStreams,
    authentication: Authentication,
) -> ExecutionOperations:
    sessions, reading, _, tree, targets = database
    return ExecutionOperations(
        workflows=Workflows(reading, sessions, tree, targets, lambda: nats_tasks.blobs),
        forms=LaunchForms(reading, tree),
        executions=Executions(
            reading,
            sessions,
            tree,
            nats_tasks.wake_requester,
            nats_tasks.execution_waits,
            DryRuns(lambda: nats_tasks.client),
            lambda: nats_tasks.blobs,
        ),
        streams=streams,
        authentication=authentication,
    )


def _namespaces(reader: Reader, nats_tasks: NatsTasks) -> NamespaceOperations:
    statuses = nats_tasks.namespace_statuses
    return NamespaceOperations(Namespaces(statuses, reader, lambda: nats_tasks.client))


def _maintenance(
    database: _Database,
    nats_tasks: NatsTasks,
    readiness: Readiness,
    doors: "FlyteDoors | None",
) -> MaintenanceOperations:
    return MaintenanceOperations(
        readiness=readiness,
        clusterres=ClusterresState(lambda: nats_tasks.client),
        dead_letters=DeadLetters(lambda: nats_tasks.client),
        resyncing=Resync(database.sessions, database.reading, nats_tasks),
        doors=tuple if doors is None else doors.bodies,
    )


def _flyte_doors(
    config: AdminConfig,
    access: AccessControl,
    readiness: Readiness,
    database: _Database,
    settings: SettingsOperations,
) -> "FlyteDoors | None":
    """Return the doors of Flyte's clients; ``None`` where their packages are not installed.

    Raises `Rejected` where the configuration needs one of them, and as `build` does.
    """
    missing = [name for name in _OF_FLYTE if importlib.util.find_spec(name) is None]
    if not missing:
        from trimtab_admin.flyte import doors  # noqa: PLC0415  # its packages are optional

        storage = doors.Storage(database.tree, database.reading, settings.writer, settings.history)
        return doors.build(config, access, readiness, storage)
    if config.grpc_port is not None:
        raise Rejected(
            f"TRIMTAB_GRPC_PORT is set, but {missing[0]} is not installed; install "
            "trimtab-admin[flyte], or remove the variable"
        )
    log.info("flyte.absent", extra={"missing": missing})
    return None


class _Task(Protocol):
    async def run(self) -> None: ...


def _lifespan(
    database: _Database,
    readiness: Readiness,
    nats_tasks: NatsTasks,
    grpc: "GrpcDoor | None",
    *others: _Task,
) -> routing.Lifespan:
    """Return a lifespan that runs the tasks, and serves gRPC.

    The process ends where a stream of NATS would lose settings. A task that fails is run again.
    """

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        metrics.observe(readiness.outbox)
        try:
            async with asyncio.TaskGroup() as group:
                running = [group.create_task(nats_tasks.run())]
                for other in others:
                    work = tasks.keep_running(other.run, f"{type(other).__name__.lower()}.failed")
                    running.append(group.create_task(work))
                async with nullcontext() if grpc is None else grpc:
                    yield
                for task in running:
                    task.cancel()
        finally:
            nats_tasks.close()
            await database.close()

    return lifespan


def _root_token(config: AdminConfig) -> str:
    """Return the token of the token file; empty where there is none. Raises as `build`."""
    if config.token_file is None:
        if not is_loopback(config.host):
            raise OpenToNetwork(config.host, config.port)
        return ""
    token = config.token_file.read_text().strip()
    if not token:
        raise Invalid("token_file", str(config.token_file), "a file that is not empty")
    return token


async def _close(sessions: Sessions) -> None:
    await sessions.kw["bind"].dispose()
