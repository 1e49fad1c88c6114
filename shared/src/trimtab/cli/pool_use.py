"""``trimtab get pools``: pools with their use."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import click

from trimtab.api.entities import PoolBody
from trimtab.cli.commands import example
from trimtab.cli.completion import complete_names
from trimtab.cli.configuration import Output
from trimtab.cli.server import Server, with_server
from trimtab.cli.terminal import (
    Columns,
    duration,
    output_option,
    progress,
    show,
    show_data,
    table_of,
)
from trimtab.client import Client
from trimtab.errors import Forbidden, NotFound, Unavailable
from trimtab.tokens.protocol import PoolUse


class _PoolRow(NamedTuple):
    """A pool and its use. One of them is missing where the other is not declared, or not known."""

    pool: PoolBody | None
    use: PoolUse | None

    def data(self) -> dict[str, Any]:
        """Return the fields of the pool, with its use."""
        if self.pool is not None:
            fields = self.pool.model_dump(mode="json")
        else:
            fields = {"name": self.value("pool"), "cohort": self.value("cohort")}
        return {**fields, "usage": self.use and self.use.model_dump(mode="json")}

    def limit(self, field: str) -> object:
        return self.pool and getattr(self.pool, field)

    def value(self, field: str) -> object:
        return self.use and getattr(self.use, field)

    def blocked(self, field: str) -> object:
        return self.use and self.use.blocked and getattr(self.use.blocked, field)


_POOLS: Columns[_PoolRow] = {
    "NAME": lambda row: row.limit("name") or row.value("pool"),
    "QUOTA": lambda row: row.limit("quota"),
    "APPLIED": lambda row: row.value("quota"),
    "HELD": lambda row: row.value("held"),
    "HOLDERS": lambda row: row.value("holding"),
    "WAITING": lambda row: row.value("waiting"),
    "BLOCKED FOR": lambda row: _blocked_for(row),
    "REASON": lambda row: _reason(row),
    "BY": lambda row: row.blocked("by"),
}
_WIDE: Columns[_PoolRow] = {
    "DEMAND": lambda row: row.blocked("demand"),
    "PROJECT CAP": lambda row: row.limit("project_cap"),
    "PROJECT-DOMAIN CAP": lambda row: row.limit("project_domain_cap"),
    "MAX WEIGHT": lambda row: row.limit("max_weight"),
    "COHORT": lambda row: row.limit("cohort") or row.value("cohort"),
    "ACTIVE": lambda row: row.limit("active"),
}


@click.command("pools", epilog=example("trimtab get pools -o yaml"))
@click.argument("name", required=False, shell_complete=complete_names("pools"))
@output_option()
@with_server
def list_pools(server: Server, name: str | None, output: Output) -> None:
    """List pools, which are quotas of outside resources, or show the pool NAME.

    APPLIED is the quota that resmgr grants, and HELD are the units in use. Where a pool grants
    nothing now, REASON is the limit, BY the holder, scope, cohort or pool that is at it, BLOCKED
    FOR the time that the first waiter has been the first, and DEMAND the units that all waiters
    request. Pools that are not declared are listed while they are in use.
    """

    async def read(client: Client) -> tuple[Sequence[PoolBody], Sequence[PoolUse], str]:
        declared = await client.pools.list() if name is None else [await client.pools.get(name)]
        try:
            uses = await client.pools.usages(declared[0].cohort if name is not None else "")
        except (Forbidden, NotFound, Unavailable) as error:
            return declared, (), str(error)
        return declared, [use for use in uses if name in (None, use.pool)], ""

    declared, uses, failure = server.call(read)
    rows = _rows(declared, uses)
    if failure:
        progress(f"the use of pools is not shown: {failure}")
    if output != "table":
        show_data([row.data() for row in rows], output)
        return
    show(table_of(rows, _POOLS, _WIDE))
    if not rows:
        progress("there are none")


def _rows(declared: Sequence[PoolBody], uses: Sequence[PoolUse]) -> Sequence[_PoolRow]:
    """Return declared pools with their use, then those that are only used."""
    own = {(use.pool, use.cohort): use for use in uses}
    rows = [_PoolRow(pool, own.pop((pool.name, pool.cohort), None)) for pool in declared]
    return [*rows, *(_PoolRow(None, use) for use in own.values())]


def _blocked_for(row: _PoolRow) -> str:
    if row.use is None or row.use.blocked is None or row.use.blocked.since_seconds is None:
        return ""
    return duration(row.use.blocked.since_seconds)


def _reason(row: _PoolRow) -> str:
    if row.use is None or row.use.blocked is None:
        return ""
    blocked = row.use.blocked
    return blocked.reason if blocked.pool == row.use.pool else f"{blocked.reason} of {blocked.pool}"
