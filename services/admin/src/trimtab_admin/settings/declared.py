"""What the settings file declares, published when admin starts.

Clusters and pools are compared with what the file said last time: what the API changed since then
stays until the file says something new.
"""

import logging
from collections.abc import Iterator, Mapping

import sqlalchemy as sa
from pydantic import JsonValue
from sqlalchemy.ext.asyncio import AsyncSession

from trimtab import kinds
from trimtab.errors import Invalid
from trimtab.levels import SETTINGS_FILE
from trimtab.messages import subjects
from trimtab.messages.events import ClusterChanged, DomainChanged, PoolChanged, RecordChanged
from trimtab.settings.state import Settings
from trimtab_admin.access.rights import EVERYTHING, Caller
from trimtab_admin.config import AdminConfig
from trimtab_admin.settings import validity
from trimtab_admin.settings.nouns import CLUSTERS, POOLS
from trimtab_admin.storage.changes import Change, Changes
from trimtab_admin.storage.database import Sessions, transaction
from trimtab_admin.storage.outbox import Author
from trimtab_admin.storage.tables import history

log = logging.getLogger(__name__)

AUTHOR = Author(Caller("settings file", EVERYTHING), "declared there")


async def publish(settings: AdminConfig, changes: Changes, reading: Sessions) -> None:
    """In one transaction, with the names of all namespaces.

    Raises `NotFound`, `Invalid` and `Conflict`, and then nothing has changed.
    """
    async with changes.by(AUTHOR) as change:
        # The template may be another one since the last start.
        change.renames = True
        for name in settings.domains:
            if name not in change.settings.domains:
                change.add(subjects.domain(name), DomainChanged(name=name))
        async with transaction(reading) as session:
            for subject, event in _declared(settings):
                if await _last_said(session, subject) != event.body().decode():
                    change.add(subject, event)
        for kind, document in settings.records.items():
            _put_record(change, kind, document)
        for kind in _layered(change.settings) - settings.records.keys():
            _delete_record(change, kind)


def _declared(settings: AdminConfig) -> Iterator[tuple[str, ClusterChanged | PoolChanged]]:
    for cluster in settings.clusters:
        yield subjects.cluster(cluster.name), CLUSTERS.to_event(cluster)
    for pool in settings.pools:
        yield subjects.pool(pool.name), POOLS.to_event(pool)


async def _last_said(session: AsyncSession, subject: str) -> str | None:
    """What the file said of a subject when it last said something new."""
    rows = history.c
    query = sa.select(rows.after).where(rows.subject == subject, rows.actor == AUTHOR.actor)
    newest = query.order_by(rows.revision.desc()).limit(1)
    return (await session.execute(newest)).scalar_one_or_none()


def _put_record(change: Change, name: str, document: Mapping[str, JsonValue]) -> None:
    kind = kinds.by_name(name)
    stored = change.settings.records.get(name, {})
    try:
        normal = validity.check(kind, SETTINGS_FILE, stored, document)
    except Invalid as error:
        raise Invalid(f"records.{name}.{error.path}", error.value, error.allowed) from error
    for warning in kind.warnings(document):
        log.warning("record.warned", extra={"kind": name, "warning": warning})
    before = stored.get(SETTINGS_FILE)
    if before is None or before.document != normal:
        _add(change, RecordChanged.at(SETTINGS_FILE, name, normal))


def _layered(settings: Settings) -> set[str]:
    """Kinds that the layer of the file has, also those that are no longer installed."""
    families = (settings.records, settings.unreadable, settings.unknown)
    return {kind for by_kind in families for kind, at in by_kind.items() if SETTINGS_FILE in at}


def _delete_record(change: Change, name: str) -> None:
    if name in kinds.registered():
        stored = change.settings.records.get(name, {})
        validity.check_deletion(kinds.by_name(name), SETTINGS_FILE, stored)
    _add(change, RecordChanged.at(SETTINGS_FILE, name, None))


def _add(change: Change, event: RecordChanged) -> None:
    subject = subjects.attributes(event.kind, event.scope)
    change.add(subject, event, deleted=event.document is None)
