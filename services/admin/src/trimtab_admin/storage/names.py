"""The namespace of each project and domain, stored so that no two can ever share one by accident.

`trimtab.settings.namespaces` computes the names. The table holds the results, for archived
projects too: one that is taken up again finds its namespaces free.
"""

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from trimtab.messages.events import DomainChanged, ProjectChanged
from trimtab.settings import namespaces
from trimtab.settings.namespaces import NamespaceTarget
from trimtab.settings.state import Settings
from trimtab_admin.storage.outbox import Write
from trimtab_admin.storage.tables import namespaces as table


def after(
    settings: Settings, writes: Sequence[Write], template: str
) -> Mapping[str, NamespaceTarget]:
    """Return the target of each namespace after the writes. Raises `Conflict` and `Invalid`."""
    projects, domains = set(settings.projects), set(settings.domains)
    for write in writes:
        match write.event:
            case ProjectChanged(name=name):
                projects.add(name)
            case DomainChanged(name=name):
                domains.add(name)
    return namespaces.targets_by_namespace(template, projects, domains)


async def store(session: AsyncSession, owners: Mapping[str, NamespaceTarget]) -> None:
    """Make the table say this and nothing else."""
    rows = await session.execute(sa.select(table.c.name, table.c.project, table.c.domain))
    stored = {name: NamespaceTarget(project, domain) for name, project, domain in rows}
    gone = [{"gone": name} for name, owner in stored.items() if owners.get(name) != owner]
    new = [
        {"name": name, "project": owner.project, "domain": owner.domain}
        for name, owner in owners.items()
        if stored.get(name) != owner
    ]
    if gone:
        await session.execute(table.delete().where(table.c.name == sa.bindparam("gone")), gone)
    if new:
        await session.execute(table.insert(), new)
