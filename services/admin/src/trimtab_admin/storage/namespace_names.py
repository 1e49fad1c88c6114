"""The name of each project and domain's namespace, stored so that no two ever share a namespace.

`trimtab.settings.namespaces` computes the names. The table also holds those of archived projects,
so that the namespaces of a project are still free when it is activated again.
"""

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from trimtab.messages.events import DomainChanged, ProjectChanged
from trimtab.settings import namespaces
from trimtab.settings.namespaces import NamespaceTarget
from trimtab.settings.state import Settings
from trimtab_admin import slices, steps
from trimtab_admin.steps import Steps
from trimtab_admin.storage.outbox import Write
from trimtab_admin.storage.tables import namespaces as table

_ROWS_AT_ONCE = 500


def compute(
    settings: Settings, writes: Sequence[Write], template: str
) -> Steps[Mapping[str, NamespaceTarget]]:
    """Return the target of each namespace after the writes. Raises `Conflict` and `Invalid`."""
    projects, domains = set(settings.projects), set(settings.domains)
    for write in writes:
        match write.event:
            case ProjectChanged(name=name):
                projects.add(name)
            case DomainChanged(name=name):
                domains.add(name)
    targets: dict[str, NamespaceTarget] = {}
    every_domain = sorted(domains)

    def add(project: str) -> None:
        namespaces.add_targets(targets, template, project, every_domain)

    size = max(1, steps.SIZE // max(1, len(domains)))
    yield from steps.each(add, sorted(projects), size)
    return targets


async def read(session: AsyncSession) -> Mapping[str, NamespaceTarget]:
    """Return the contents of the table."""
    rows = await session.stream(sa.select(table.c.name, table.c.project, table.c.domain))
    found: dict[str, NamespaceTarget] = {}
    async for part in rows.partitions(_ROWS_AT_ONCE):
        found |= {name: NamespaceTarget(project, domain) for name, project, domain in part}
        await slices.turn()
    return found


async def replace(session: AsyncSession, targets: Mapping[str, NamespaceTarget]) -> None:
    """Replace the contents of the table; rows that stay the same are not written."""
    stored = await read(session)
    gone = [{"gone": name} for name, target in stored.items() if targets.get(name) != target]
    new = [
        {"name": name, "project": target.project, "domain": target.domain}
        for name, target in targets.items()
        if stored.get(name) != target
    ]
    async for part in slices.of(gone, _ROWS_AT_ONCE):
        await session.execute(table.delete().where(table.c.name == sa.bindparam("gone")), part)
    async for rows in slices.of(new, _ROWS_AT_ONCE):
        await session.execute(table.insert(), rows)
