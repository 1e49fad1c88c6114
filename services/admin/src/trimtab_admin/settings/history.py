"""History: every change that was committed, by whom, when and why, read from its table."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from trimtab.api.settings import HistoryBody, SetterBody
from trimtab.errors import Gone, Invalid, NotFound
from trimtab.kinds import Kind
from trimtab.levels import Scope
from trimtab.messages import subjects
from trimtab.messages.events import RecordChanged
from trimtab_admin import paging, slices
from trimtab_admin.access.authorization import Caller
from trimtab_admin.paging import Page
from trimtab_admin.settings import bodies
from trimtab_admin.storage import outbox
from trimtab_admin.storage.database import Sessions, transaction
from trimtab_admin.storage.tables import history, history_floor
from trimtab_admin.storage.visibility import visible_to

_ROW = history.c
_SCOPE = ("kind", "domain", "project", "workflow", "launch_plan")
_MAX_SUGGESTIONS = 10
"""How many existing revisions an error names."""

_SEARCHED_REVISIONS = 2_000
"""How many revisions a watch searches at a time."""

Row = Mapping[Any, Any]
"""A row of the table, as loosely typed as `sqlalchemy.RowMapping`."""


@dataclass(frozen=True)
class HistoryFilter:
    """Selects changes that the caller may see; an empty field selects any value."""

    caller: Caller
    kind: str = ""
    domain: str = ""
    project: str = ""
    workflow: str = ""
    launch_plan: str = ""
    subject: str = ""

    @classmethod
    def of_record(cls, caller: Caller, kind: str, scope: Scope) -> "HistoryFilter":
        """Return a filter that selects the changes of exactly one record."""
        return cls(caller, subject=subjects.attributes(kind, scope))

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        equal = [
            _ROW[name] == value for name in (*_SCOPE, "subject") if (value := getattr(self, name))
        ]
        return [*equal, visible_to(self.caller, {name: _ROW[name] for name in _SCOPE})]


class NewerChanges(NamedTuple):
    """Changes that a watch sends."""

    changes: Sequence[HistoryBody]
    searched: int
    """The last revision that was searched."""
    are_all: bool
    """Whether there was no later revision."""


class History:
    """Reads the changes that are kept."""

    def __init__(self, reading: Sessions, searching: Sessions) -> None:
        """``searching`` is for queries that may look at all rows."""
        self._reading = reading
        self._searching = searching

    async def list(
        self, filter: HistoryFilter, since: int, token: str, limit: int
    ) -> Page[HistoryBody]:
        """Return changes after the revision ``since``, the newest first."""
        before = _revision(token) if token else None
        found: list[HistoryBody] = []
        while len(found) <= limit:
            most = min(slices.SIZE, limit + 1 - len(found))
            rows = await self._before(filter, since, before, most)
            found += [_body(row) for row in rows]
            if len(rows) < most:
                return Page(found, None)
            before = found[-1].revision
        return Page(found[:limit], paging.encode((found[limit - 1].revision,)))

    async def _before(
        self, filter: HistoryFilter, since: int, before: int | None, most: int
    ) -> Sequence[Row]:
        """Return the newest changes before a revision, which are made into bodies in one slice."""
        query = sa.select(history).where(_ROW.revision > since, *filter.conditions())
        if before is not None:
            query = query.where(_ROW.revision < before)
        query = query.order_by(_ROW.revision.desc()).limit(most)
        async with transaction(self._searching) as session:
            rows = (await session.execute(query)).mappings().all()
        await slices.turn()
        return rows

    async def version(self, kind: Kind, scope: Scope, revision: int) -> RecordChanged:
        """Return a version of a record. Raises `NotFound`, which names the newest versions."""
        own = _ROW.subject == subjects.attributes(kind.name, scope)
        after = sa.select(_ROW.after).where(own, _ROW.revision == revision)
        newest = sa.select(_ROW.revision).where(own).order_by(_ROW.revision.desc())
        async with transaction(self._reading) as session:
            found = (await session.execute(after)).one_or_none()
            if found is None:
                others = await session.scalars(newest.limit(_MAX_SUGGESTIONS))
                known = ", ".join(map(str, others)) or "none"
                what = f"revision of the {kind.name} record of {scope}"
                raise NotFound(what, f"{revision}", known)
        if found.after is None:
            return RecordChanged.at(scope, kind.name, None)
        return RecordChanged.model_validate_json(found.after)

    async def newest(self, about: Iterable[str]) -> int:
        """Return the revision of the newest change of any of the subjects; 0 where there is none.

        A deletion is a change too.
        """
        query = sa.select(sa.func.max(_ROW.revision)).where(_ROW.subject.in_(list(about)))
        async with transaction(self._reading) as session:
            return await session.scalar(query) or 0

    async def has(self, type: str, name: str) -> bool:
        """Return whether there is a change of a kind, of a project or of a domain."""
        own = _ROW.kind == name
        if type != "kind":
            own = sa.and_(_ROW.kind == type, _ROW[type] == name)
        async with transaction(self._reading) as session:
            return await session.scalar(sa.select(_ROW.revision).where(own).limit(1)) is not None

    async def creations(self) -> Mapping[str, int]:
        """Return the first revision that is kept of each project, by name."""
        query = sa.select(_ROW.project, sa.func.min(_ROW.revision).label("first"))
        query = query.where(_ROW.kind == "project")
        async with transaction(self._searching) as session:
            found = (await session.execute(query.group_by(_ROW.project))).all()
        return {row.project: row.first for row in found}

    async def start(self, since: int | None) -> int:
        """Return the revision where a watch begins: ``since``, or the current one.

        Raises `Gone` where changes after ``since`` are missing.
        """
        async with transaction(self._reading) as session:
            current = await outbox.current_revision(session)
            floor = (await session.execute(sa.select(history_floor.c.revision))).scalar_one()
        if since is None:
            return current
        if not floor <= since <= current:
            raise Gone(
                f"not all changes since revision {since} are kept; those since {floor} are, and "
                f"the newest is {current}: read everything again and watch from there"
            )
        return since

    async def newer(self, filter: HistoryFilter, after: int) -> NewerChanges:
        """Return the first changes after a revision in order, of a limited number of revisions."""
        most = slices.SIZE
        async with transaction(self._reading) as session:
            current = await outbox.current_revision(session)
            searched = min(current, after + _SEARCHED_REVISIONS)
            between = _ROW.revision.between(after + 1, searched)
            query = sa.select(history).where(between, *filter.conditions())
            query = query.order_by(_ROW.revision).limit(most)
            rows = (await session.execute(query)).mappings().all()
        await slices.turn()
        last = rows[-1]["revision"] if len(rows) == most else searched
        return NewerChanges([_body(row) for row in rows], last, last >= current)


async def setters(
    session: AsyncSession, about: Iterable[str], revision: int
) -> dict[str, SetterBody]:
    """Return who wrote the value that each subject had at a revision.

    The newest change up to that revision counts: a resync gives new revisions to values that
    nothing has changed, and leaves no history.
    """
    own = _ROW.subject.in_(list(about))
    newest = sa.select(sa.func.max(_ROW.revision)).where(own, _ROW.revision <= revision)
    query = sa.select(_ROW.subject, _ROW.actor, _ROW.at, _ROW.reason)
    query = query.where(_ROW.revision.in_(newest.group_by(_ROW.subject)))
    return {
        subject: SetterBody(actor=actor, at=at, reason=reason)
        for subject, actor, at, reason in await session.execute(query)
    }


def _revision(token: str) -> int:
    match paging.decode(token):
        case (int(revision),):
            return revision
        case _:
            raise Invalid("token", token, "the token of the previous page")


def _body(row: Row) -> HistoryBody:
    subject, before, after = row["subject"], _event(row["before"]), _event(row["after"])
    columns = outbox.subject_columns(subject)
    is_record = subject.startswith(subjects.ALL_ATTRIBUTES.removesuffix(">"))
    scope = subjects.parse_attributes(subject)[1] if is_record else None
    return HistoryBody(
        revision=row["revision"],
        commit=row["commit_revision"],
        at=row["at"],
        actor=row["actor"],
        reason=row["reason"],
        kind=columns["kind"],
        scope=None if scope is None else bodies.scope_body(scope),
        name="" if is_record else subjects.names_of(subject),
        action=_action(before, after),
        before=_document(before, is_record),
        after=_document(after, is_record),
        labels=(after or {}).get("labels") or {} if is_record else {},
        request_id=row["request_id"],
        trace_id=row["trace_id"],
    )


def _event(text: str | None) -> dict[str, Any] | None:
    return None if text is None else json.loads(text)


def _document(event: dict[str, Any] | None, is_record: bool) -> dict[str, Any] | None:
    if event is None:
        return None
    if is_record:
        document: dict[str, Any] | None = event["document"]
        return document
    return {name: value for name, value in event.items() if name not in ("name", "deleted")}


def _action(before: object, after: object) -> Literal["create", "update", "delete"]:
    if after is None:
        return "delete"
    return "create" if before is None else "update"
