"""A database with a large installation, such as 2,000 projects and 100,000 records."""

from collections.abc import Iterator
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncSession

from trimtab.levels import PLATFORM, Scope
from trimtab.messages import subjects
from trimtab.messages.events import DomainChanged, Event, ProjectChanged, RecordChanged
from trimtab_admin import migrations
from trimtab_admin.storage import tables
from trimtab_admin.storage.database import migrating_sessions_of, transaction
from trimtab_admin.storage.outbox import subject_columns

DOMAINS = ("development", "staging", "production")
PROJECTS = 2_000
RECORDS = 100_000
_CHUNK = 1_000

Document = dict[str, object]
_DOCUMENTS: tuple[tuple[str, Document], ...] = (
    ("task_resource", {"defaults": {"cpu": "1"}, "limits": {"cpu": "2", "memory": "4Gi"}}),
    ("workflow_execution_config", {"max_parallelism": 8, "labels": {"team": "a", "tier": "b"}}),
    ("execution_queue", {"tags": ["gpu"]}),
    ("workflow_priority", {"priority": 3}),
)


def changes(records: int = RECORDS, projects: int = PROJECTS) -> Iterator[tuple[str, Event]]:
    """Yield the subject and the event of each live setting, broad ones first."""
    for domain in DOMAINS:
        yield subjects.domain(domain), DomainChanged(name=domain)
    for name in (project_name(number) for number in range(projects)):
        yield subjects.project(name), ProjectChanged(name=name, description=f"Team of {name}")
    for number in range(records):
        kind, scope, document = record(number, projects)
        yield subjects.attributes(kind, scope), RecordChanged.at(scope, kind, document)


def project_name(number: int) -> str:
    return f"project-{number:04}"


def record(number: int, projects: int = PROJECTS) -> tuple[str, Scope, Document]:
    """Return the kind, scope and document of a record; the first ones are the broadest."""
    kind, document = _DOCUMENTS[number % len(_DOCUMENTS)]
    number //= len(_DOCUMENTS)
    if number <= len(DOMAINS):
        return kind, (PLATFORM, *(Scope(domain) for domain in DOMAINS))[number], document
    number -= len(DOMAINS) + 1
    domain, project = DOMAINS[number // projects % len(DOMAINS)], project_name(number % projects)
    workflow = number // (projects * len(DOMAINS))
    return kind, Scope(domain, project, f"workflow-{workflow}" if workflow else ""), document


async def fill(
    url: str, records: int = RECORDS, projects: int = PROJECTS, *, are_sent: bool = False
) -> None:
    """Migrate an empty database and store the installation with its history.

    With ``are_sent`` the changes count as published.
    """
    sessions = migrating_sessions_of(url)
    sent_at = datetime.now(UTC) if are_sent else None
    async with transaction(sessions) as session:
        connection = await session.connection()
        await connection.run_sync(migrations.upgrade)
        rows: list[tuple[int, str, Event]] = []
        for revision, (subject, event) in enumerate(changes(records, projects), 1):
            rows.append((revision, subject, event))
            if len(rows) == _CHUNK:
                await _insert(session, rows, sent_at)
                rows = []
        await _insert(session, rows, sent_at)
        await session.execute(tables.revision.update().values(value=revision))
    await sessions.kw["bind"].dispose()


async def _insert(
    session: AsyncSession, rows: list[tuple[int, str, Event]], sent_at: datetime | None
) -> None:
    at = datetime.now(UTC)
    live, outbox, history = [], [], []
    for revision, subject, event in rows:
        body = event.body().decode()
        live.append({"subject": subject, "revision": revision, "body": body})
        common = {"revision": revision, "commit_revision": rows[-1][0], "subject": subject}
        outbox.append(
            {
                **common,
                "event_id": f"event-{revision}",
                "event_type": event.event_type,
                "body": body,
                "traceparent": "",
                "sent_at": sent_at,
            }
        )
        history.append(
            {
                **common,
                **subject_columns(subject),
                "actor": "bench",
                "at": at,
                "reason": "",
                "before": None,
                "after": body,
                "request_id": "",
                "trace_id": "",
            }
        )
    if rows:
        await session.execute(tables.settings.insert(), live)
        await session.execute(tables.outbox.insert(), outbox)
        await session.execute(tables.history.insert(), history)
