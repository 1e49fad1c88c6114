"""Where admin is put together; nowhere else are engines, connections and routes made."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta

from fastapi import APIRouter, FastAPI
from fastapi.middleware import Middleware

from trimtab.errors import Forbidden, Invalid
from trimtab_admin import metrics, migrations
from trimtab_admin.access.audit import Audit, Kept
from trimtab_admin.access.tokens import Tokens
from trimtab_admin.access.tries import Tries
from trimtab_admin.api import (
    effective,
    executions,
    operations,
    problems,
    records,
    status,
    usage,
    workflows,
)
from trimtab_admin.api import entities as entity_routes
from trimtab_admin.api import settings as settings_routes
from trimtab_admin.api import tokens as token_routes
from trimtab_admin.api.calls import Calls
from trimtab_admin.api.guard import Guard, Rules, is_loopback
from trimtab_admin.api.openapi import Api
from trimtab_admin.api.refusals import Refusals
from trimtab_admin.config import AdminConfig
from trimtab_admin.executions.executions import Executions
from trimtab_admin.executions.workflows import Workflows
from trimtab_admin.nats_tasks import NatsTasks
from trimtab_admin.operations.dead_letters import DeadLetters
from trimtab_admin.operations.pool_usage import PoolUsage
from trimtab_admin.operations.readiness import Readiness
from trimtab_admin.operations.resync import Resync
from trimtab_admin.settings import declared
from trimtab_admin.settings.explaining import Explainer
from trimtab_admin.settings.history import History
from trimtab_admin.settings.reading import Reader
from trimtab_admin.settings.watching import Watches
from trimtab_admin.settings.writing import Writer
from trimtab_admin.storage.changes import Changes
from trimtab_admin.storage.database import (
    Sessions,
    migrating_sessions_of,
    reading_sessions_of,
    sessions_of,
    transaction,
)
from trimtab_admin.storage.maintenance import Checkpoints, HistoryRetention
from trimtab_admin.storage.tree import Tree


async def prepare(settings: AdminConfig) -> None:
    """Bring the database's schema up to date and publish what the settings file declares.

    Raises `trimtab.errors.TrimtabError` and then has changed nothing but the schema.
    """
    sessions = migrating_sessions_of(settings.database_url)
    reading = reading_sessions_of(settings.database_url)
    try:
        async with transaction(sessions) as session:
            connection = await session.connection()
            await connection.run_sync(migrations.upgrade)
        template = settings.namespace_template
        changes = Changes(sessions, reading, Tree(), lambda: None, namespace_template=template)
        await declared.publish(settings, changes, reading)
    finally:
        await _close(sessions)
        await _close(reading)


def build(settings: AdminConfig) -> FastAPI:
    """The application on a database that is prepared. Raises `OSError` and `Invalid`."""
    sessions = sessions_of(settings.database_url)
    reading = reading_sessions_of(settings.database_url)
    nats_tasks = NatsTasks(settings, sessions, reading)
    history = History(reading)
    watches = Watches(history)
    tree = Tree()
    audit = Audit(sessions, reading, Kept(settings.audit_rows, timedelta(settings.audit_days)))
    tokens = Tokens(sessions, reading, tree, audit, _root(settings))
    refusals = Refusals(audit, Tries(settings.failed_tries_per_minute))
    readiness = Readiness(reading, nats_tasks)
    background = (
        nats_tasks,
        HistoryRetention(sessions, settings.history_days),
        tokens,
        Checkpoints(reading),
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        metrics.observe(readiness.outbox)
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(task.run()) for task in background]
                yield
                for task in running:
                    task.cancel()
        finally:
            await _close(sessions)
            await _close(reading)

    app = Api(
        title="Trimtab",
        version="2",
        lifespan=lifespan,
        openapi_url="/api/v2/openapi.json",
        # Their pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        # `Calls` makes the span, because it goes on with the caller's trace even where nothing is
        # exported: the history and the outbox keep it.
        telemetry={"tracing": False, "operation_spans": False, "metrics": False, "logs": False},
        # Another path is another path; and a redirect would go to whatever Host says.
        redirect_slashes=False,
        middleware=[
            Middleware(Calls),
            Middleware(Guard, rules=_rules(settings), tokens=tokens, refusals=refusals),
        ],
    )
    problems.install(app)
    app.add_exception_handler(Forbidden, refusals.on_forbidden)
    app.include_router(status.health_router(readiness))

    def committed() -> None:
        nats_tasks.wake_relay()
        watches.wake()

    template = settings.namespace_template
    changes = Changes(sessions, reading, tree, committed, namespace_template=template)
    for routes in (
        *_settings_api(changes, reading, tree, history, watches, nats_tasks, tokens, audit),
        token_routes.router(tokens, audit),
        *_api(sessions, reading, tree, nats_tasks, readiness),
    ):
        app.include_router(routes, prefix="/api/v2")
    app.state.stopping = watches.stop
    return app


def _settings_api(
    changes: Changes,
    reading: Sessions,
    tree: Tree,
    history: History,
    watches: Watches,
    nats_tasks: NatsTasks,
    tokens: Tokens,
    audit: Audit,
) -> Iterator[APIRouter]:
    """Those first that are called most."""
    reader = Reader(reading, tree)
    writer = Writer(changes, reading, tree, history)
    yield effective.router(reader)
    yield records.router(reader, writer, Explainer(reading, tree), history)
    yield settings_routes.router(reader, writer, history, watches, tokens)
    yield entity_routes.router(reader, writer)
    yield usage.router(PoolUsage(reader, nats_tasks.resmgr_client, audit))


def _api(
    sessions: Sessions, reading: Sessions, tree: Tree, nats_tasks: NatsTasks, readiness: Readiness
) -> Iterator[APIRouter]:
    created = nats_tasks.wake_requester
    yield workflows.router(Workflows(reading, sessions, tree))
    yield executions.router(Executions(reading, sessions, tree, created))
    yield status.router(nats_tasks.namespace_statuses, readiness)
    dead = DeadLetters(lambda: nats_tasks.client)
    yield operations.router(dead, Resync(sessions, nats_tasks))


def _root(settings: AdminConfig) -> str:
    """The token of the token file; empty where there is none."""
    if settings.token_file is None:
        return ""
    token = settings.token_file.read_text().strip()
    if not token:
        raise Invalid("token_file", str(settings.token_file), "a file that is not empty")
    return token


def _rules(settings: AdminConfig) -> Rules:
    loopback_only = is_loopback(settings.host)
    return Rules(loopback_only, settings.max_body_bytes, settings.max_apply_bytes)


async def _close(sessions: Sessions) -> None:
    await sessions.kw["bind"].dispose()
