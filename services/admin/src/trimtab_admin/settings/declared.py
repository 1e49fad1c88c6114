"""The declarations of the settings file, written when admin starts.

A cluster, pool or queue is written only where its declaration differs from that of the last start.
Until then, changes that the API has made stay.
"""

import logging
from collections.abc import Iterator, Mapping

import sqlalchemy as sa
from pydantic import JsonValue
from sqlalchemy.ext.asyncio import AsyncSession

from trimtab import kinds, texts
from trimtab.api.entities import QueueBody
from trimtab.errors import Invalid, Rejected
from trimtab.levels import SETTINGS_FILE
from trimtab.messages import subjects
from trimtab.messages.events import (
    ClusterChanged,
    DomainChanged,
    PoolChanged,
    QueueChanged,
    RecordChanged,
)
from trimtab.settings.state import Settings
from trimtab_admin import steps
from trimtab_admin.access.authorization import EVERYTHING, Caller
from trimtab_admin.config import AdminConfig
from trimtab_admin.settings import matching
from trimtab_admin.settings.drafts import Draft
from trimtab_admin.settings.entities import CLUSTERS, POOLS, QUEUES
from trimtab_admin.settings.preconditions import AnyVersion
from trimtab_admin.settings.requests import DeleteRecord, PutRecord
from trimtab_admin.storage import namespace_names, outbox, overlays
from trimtab_admin.storage.changes import Change, Changes
from trimtab_admin.storage.database import Sessions, transaction
from trimtab_admin.storage.outbox import SETTINGS_FILE_ACTOR, Author
from trimtab_admin.storage.tables import history

log = logging.getLogger(__name__)

DeclarationWarning = Mapping[str, str]
"""The kind of a declared record, and what its writer should know."""

AUTHOR = Author(Caller(SETTINGS_FILE_ACTOR, EVERYTHING), "declared in the settings file")


async def publish(config: AdminConfig, changes: Changes, reading: Sessions) -> None:
    """Write the declarations and the names of all namespaces in one transaction.

    Raises `NotFound`, `Invalid` and `Conflict`, and then nothing has changed.
    """
    warnings = await _warnings_if_published(config, changes.namespace_template, reading)
    if warnings is None:
        async with changes.locked(AUTHOR) as change:
            # The template of the names may have changed since the last start.
            change.affects_namespaces = True
            async with transaction(reading) as session:
                warnings = await _add_declarations(config, change, session)
    for warning in warnings:
        log.warning("record.warned", extra=warning)


async def _warnings_if_published(
    config: AdminConfig, template: str, reading: Sessions
) -> list[DeclarationWarning] | None:
    """Return the warnings where everything is stored as it is declared, and else ``None``.

    This reads only what can be declared: a start does not wait until all records are loaded.
    """
    settings = Settings()
    async with transaction(reading) as session:
        await outbox.load(session, settings.apply, outbox.DECLARABLE)
        change = Change(settings)
        try:
            warnings = await _add_declarations(config, change, session)
            names = steps.at_once(namespace_names.compute(settings, change.writes, template))
        except Rejected:
            # It is judged again on all records.
            return None
        is_stored = not change.writes and await namespace_names.read(session) == names
    return warnings if is_stored else None


async def _add_declarations(
    config: AdminConfig, change: Change, session: AsyncSession
) -> list[DeclarationWarning]:
    """Add a write for each declaration that is not stored, and return the warnings of all."""
    for name in config.domains:
        if name not in change.settings.domains:
            change.add(subjects.domain(name), DomainChanged(name=name))
    for subject, event in _declared_entities(config):
        if await _last_declaration(session, subject) != event.body().decode():
            change.add(subject, event)
    declared = _settings_after(change)
    for queue in config.queues:
        _check_queue(queue, declared)
    warnings = []
    for kind, document in config.records.items():
        warnings += _put_record(change, declared, kind, document)
    for kind in _layered_kinds(change.settings) - config.records.keys():
        _delete_record(change, kind)
    return warnings


def _declared_entities(
    config: AdminConfig,
) -> Iterator[tuple[str, ClusterChanged | PoolChanged | QueueChanged]]:
    for cluster in config.clusters:
        texts.check(cluster, f"clusters.{cluster.name}")
        yield subjects.cluster(cluster.name), CLUSTERS.to_event(cluster)
    for pool in config.pools:
        texts.check(pool, f"pools.{pool.name}")
        yield subjects.pool(pool.name), POOLS.to_event(pool)
    for queue in config.queues:
        texts.check(queue, f"queues.{queue.name}")
        yield subjects.queue(queue.name), QUEUES.to_event(queue)


def _settings_after(change: Change) -> Settings:
    """Return the settings after the writes of a change. They are valid until others write."""
    settings = overlays.on_top_of(change.settings)
    for revision, write in enumerate(change.writes, change.before + 1):
        settings.apply(write.event, revision)
    return settings


def _check_queue(queue: QueueBody, settings: Settings) -> None:
    try:
        matching.check_clusters(queue.clusters, settings.clusters, settings)
    except Invalid as error:
        path = f"queues.{queue.name}.{error.path}"
        raise Invalid(path, error.value, error.allowed) from error


async def _last_declaration(session: AsyncSession, subject: str) -> str | None:
    """Return the body of the last declaration that was written for a subject."""
    rows = history.c
    query = sa.select(rows.after).where(rows.subject == subject, rows.actor == AUTHOR.actor)
    newest = query.order_by(rows.revision.desc()).limit(1)
    return (await session.execute(newest)).scalar_one_or_none()


def _put_record(
    change: Change, declared: Settings, name: str, document: Mapping[str, JsonValue]
) -> list[DeclarationWarning]:
    """Add the write of a record, which is judged with the entities that are ``declared``."""
    draft = Draft(declared)
    try:
        draft.put(PutRecord(kinds.by_name(name), SETTINGS_FILE, document, AnyVersion()))
        steps.at_once(draft.check())
        steps.at_once(matching.judge(draft))
    except Invalid as error:
        raise Invalid(f"records.{name}.{error.path}", error.value, error.allowed) from error
    _add(change, draft)
    edits = draft.records.values()
    return [{"kind": name, "warning": text} for edit in edits for text in edit.warnings]


def _layered_kinds(settings: Settings) -> set[str]:
    """Return the kinds that the settings file's layer has, also those not installed any more."""
    families = (settings.records, settings.unreadable, settings.unknown)
    return {kind for by_kind in families for kind, at in by_kind.items() if SETTINGS_FILE in at}


def _delete_record(change: Change, name: str) -> None:
    if name in kinds.registered():
        draft = Draft(change.settings)
        draft.delete(DeleteRecord(kinds.by_name(name), SETTINGS_FILE, AnyVersion()))
        steps.at_once(draft.check())
        _add(change, draft)
    else:
        event = RecordChanged.at(SETTINGS_FILE, name, None)
        change.add(subjects.attributes(name, SETTINGS_FILE), event, deleted=True)


def _add(change: Change, draft: Draft) -> None:
    for edit in draft.edits:
        if edit.action != "none":
            deleted = edit.action == "delete"
            change.add(edit.subject, edit.event(), deleted=deleted, record=edit.record)
