"""Writes of settings: one transaction is the change, its history and its outbox rows."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import sqlalchemy as sa
from opentelemetry import trace
from sqlalchemy.ext.asyncio import AsyncSession

from trimtab import namespaces, outbox
from trimtab.database import Sessions, transaction
from trimtab.errors import Invalid
from trimtab.events import DomainChanged, Event, ProjectChanged
from trimtab.outbox import Write
from trimtab.state import Settings
from trimtab_admin import metrics
from trimtab_admin.drafting.nouns import place_of
from trimtab_admin.rights import Caller
from trimtab_admin.store import names
from trimtab_admin.store.tables import history
from trimtab_admin.store.tree import Tree

MAX_EVENT_BYTES = 900 * 1024
"""NATS refuses a message over 1 MiB, headers included, and the relay could never get past it."""

# Kept, as those of the outbox are.
_LIVE = outbox.settings.c
_STORED = sa.select(_LIVE.subject, _LIVE.body).where(
    _LIVE.subject.in_(sa.bindparam("subjects", expanding=True))
)
_RECORD = history.insert()


@dataclass(frozen=True)
class Author:
    """Who makes a change, and what is known about why."""

    caller: Caller
    reason: str = ""
    request_id: str = ""

    @property
    def actor(self) -> str:
        return self.caller.name


@dataclass
class Change:
    """A transaction that nobody else's can come between."""

    settings: Settings
    """All that was committed before."""
    session: AsyncSession
    caller: Caller
    writes: list[Write] = field(default_factory=list)
    renames: bool = False
    """Whether namespaces may come, or be named otherwise."""

    @property
    def revision(self) -> int:
        """Of the write that was added last."""
        return self.settings.revision + len(self.writes)

    def add(self, subject: str, event: Event, *, deleted: bool = False) -> int:
        """The revision that the write gets when the transaction commits.

        Raises `Invalid`, and `Forbidden` where it is not the caller's to make.
        """
        # Here, because nothing is written but by way of this method.
        self.caller.check_change(self.settings, event)
        size = len(event.body())
        if size > MAX_EVENT_BYTES:
            raise Invalid("document", f"{size} bytes", f"at most {MAX_EVENT_BYTES} bytes")
        self.writes.append(Write(subject, event, deleted))
        self.renames = self.renames or isinstance(event, ProjectChanged | DomainChanged)
        return self.revision


class Changes:
    """Where every change of a setting goes through."""

    def __init__(
        self,
        sessions: Sessions,
        tree: Tree,
        committed: Callable[[], None],
        namespace_template: str = namespaces.DEFAULT,
    ) -> None:
        """``committed`` hears that there are new rows in the outbox."""
        self._sessions = sessions
        self._tree = tree
        self._committed = committed
        self.namespace_template = namespace_template

    @asynccontextmanager
    async def by(self, author: Author) -> AsyncIterator[Change]:
        """What was added is committed at the end, and nothing where an error leaves the block."""
        async with transaction(self._sessions) as session:
            change = Change(await self._tree.locked(session), session, author.caller)
            before = change.settings.revision
            yield change
            await self._store(change, author)
            # Not left to the end of the block: the next writer begins there, and would read it.
            await session.commit()
            self._tree.take(change.writes, before)
        if change.writes:
            metrics.written(write.subject for write in change.writes)
            self._committed()

    async def _store(self, change: Change, author: Author) -> None:
        if change.renames:
            owners = names.after(change.settings, change.writes, self.namespace_template)
            await names.store(change.session, owners)
        if not change.writes:
            return
        subjects = [write.subject for write in change.writes]
        stored = await change.session.execute(_STORED, {"subjects": subjects})
        before = {row.subject: row.body for row in stored}
        revisions = await outbox.append(change.session, change.writes)
        rows = [
            _history(number, write, before.get(write.subject), author)
            | {"commit_revision": revisions[-1], **place_of(write.subject)}
            for number, write in zip(revisions, change.writes, strict=True)
        ]
        await change.session.execute(_RECORD, rows)


def _history(revision: int, write: Write, before: str | None, author: Author) -> dict[str, object]:
    span = trace.get_current_span().get_span_context()
    return {
        "revision": revision,
        "subject": write.subject,
        "actor": author.actor,
        "at": datetime.now(UTC),
        "reason": author.reason,
        "before": before,
        "after": None if write.deleted else write.event.body().decode(),
        "request_id": author.request_id,
        "trace_id": f"{span.trace_id:032x}" if span.is_valid else "",
    }
