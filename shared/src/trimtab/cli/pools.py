"""``trimtab describe|update|delete pool``, ``update token`` and ``release token``."""

from collections.abc import Sequence
from typing import Any

import click

from trimtab.api.entities import PoolBody
from trimtab.cli.changes import dry_run_text
from trimtab.cli.commands import Failure, dry_run_option, example, reason_option
from trimtab.cli.completion import complete_names
from trimtab.cli.configuration import Output
from trimtab.cli.groups import CommandGroup
from trimtab.cli.server import Server, with_server
from trimtab.cli.tables import cell
from trimtab.cli.terminal import Columns, duration, output_option, show, show_data, table_of
from trimtab.client import Client
from trimtab.errors import Code, Conflict, NotFound
from trimtab.models import parse_model
from trimtab.tokens.protocol import Holder, Inspected, Recounted, Waiter

_NO_CAP = "none"

_HOLDERS: Columns[Holder] = {
    "TOKEN": lambda holder: holder.token,
    "PROJECT": lambda holder: holder.project,
    "DOMAIN": lambda holder: holder.domain,
    "WEIGHT": lambda holder: holder.weight,
    "HELD FOR": lambda holder: duration(holder.age_seconds),
    "LEASE ENDS IN": lambda holder: duration(holder.expires_in_seconds),
    "POOLS": lambda holder: holder.pools,
}
_WAITERS: Columns[Waiter] = {
    "POSITION": lambda waiter: waiter.position,
    "TOKEN": lambda waiter: waiter.token,
    "PROJECT": lambda waiter: waiter.project,
    "DOMAIN": lambda waiter: waiter.domain,
    "WEIGHT": lambda waiter: waiter.weight,
    "PRIORITY": lambda waiter: waiter.priority,
    "WAITING FOR": lambda waiter: duration(waiter.age_seconds),
    "REASON": lambda waiter: waiter.reason,
}


class _CapType(click.ParamType["int | None"]):
    """A number, or ``none`` for no cap."""

    name = "number|none"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | None:
        if value == _NO_CAP:
            return None
        number: int = click.IntRange(0).convert(value, param, ctx)
        return number


_CAP = _CapType()


describe = CommandGroup(
    "describe", member="object type", help="Show the holders and waiters of a pool."
)


@describe.command("pool", epilog=example("trimtab describe pool gpus"))
@click.argument("name", shell_complete=complete_names("pools"))
@click.option("--audit", is_flag=True, help="Recount the units held, and show the forced releases.")
@output_option()
@with_server
def describe_pool(server: Server, name: str, audit: bool, output: Output) -> None:
    """Show the holders of the pool NAME and its waiters, with position, waiting time and reason."""

    async def read(client: Client) -> tuple[PoolBody, Inspected, Recounted | None]:
        pool = await client.pools.get(name)
        usage = _joined([page async for page in client.pools.usage_pages(name)])
        return pool, usage, await client.pools.recount(name) if audit else None

    pool, usage, recount = server.call(read)
    if output != "table":
        bodies = {"pool": pool, "usage": usage, "audit": recount}
        shown = {key: body.model_dump(mode="json") for key, body in bodies.items() if body}
        show_data(shown, output)
        return
    show("\n".join(_summary_lines(pool, usage)))
    _show_table("Holders", usage.holders, _HOLDERS)
    _show_table("Waiters", usage.waiters, _WAITERS)
    if recount is not None:
        show("\n" + "\n".join(_recount_lines(recount)))


@click.command("pool", epilog=example("trimtab update pool gpus --quota 4"))
@click.argument("name", shell_complete=complete_names("pools"))
@click.option("--quota", type=click.IntRange(1), help="Units that can be held at once.")
@click.option("--project-cap", type=_CAP, help="Units that one project can hold.")
@click.option(
    "--project-domain-cap", type=_CAP, help="Units that one project in one domain can hold."
)
@click.option("--max-weight", type=_CAP, help="Units that one token can take.")
@click.option(
    "--cohort",
    help="Pools of one cohort can be taken together. A pool that is in use keeps its cohort.",
)
@click.option("--active/--inactive", default=None, help="Whether the pool grants tokens.")
@dry_run_option
@with_server
def update_pool(server: Server, name: str, dry_run: bool, **options: Any) -> None:
    """Change the pool NAME, or create it.

    The name * is the default for pools that are not declared. A smaller quota does not release
    tokens: nothing is granted until enough units are released.
    """
    context = click.get_current_context()
    fields = {
        option: value
        for option, value in options.items()
        if context.get_parameter_source(option) is not click.core.ParameterSource.DEFAULT
    }
    if not fields:
        raise Failure("nothing to change: use --quota, a cap, --active or --inactive", Code.INVALID)

    async def put(client: Client) -> str:
        try:
            stored = await client.pools.get(name)
        except NotFound:
            body, version = parse_model(PoolBody, {"name": name, **fields}), None
        else:
            body = parse_model(PoolBody, {**stored.model_dump(), **fields})
            version = stored.version
        if dry_run:
            return dry_run_text(await client.pools.dry_put(body, version=version))
        pool = await client.pools.put(body, version=version)
        return f"Updated pool {pool.name}: " + "; ".join(_limits(pool))

    show(server.call(put))


@click.command("pool", epilog=example("trimtab delete pool gpus --force"))
@click.argument("name", shell_complete=complete_names("pools"))
@click.option("--force", is_flag=True, help="Delete a pool with holders or waiters too.")
@reason_option
@dry_run_option
@with_server
def delete_pool(server: Server, name: str, force: bool, reason: str, dry_run: bool) -> None:
    """Delete the pool NAME: it grants nothing more, and its waiters are rejected.

    Holders keep their tokens until they release them. To drain a pool first, make it inactive with
    `trimtab update pool NAME --inactive`.
    """

    async def delete(client: Client) -> str:
        pool = await client.pools.get(name)
        if not force:
            usage = await client.pools.usage(name, limit=1)
            if usage.held or usage.waiting:
                counts = f"{usage.held} held, {usage.waiting} waiting"
                raise Conflict(f"pool {name!r} is in use: {counts}; --force deletes it anyway")
        if dry_run:
            return dry_run_text(await client.pools.dry_delete(name, version=pool.version))
        await client.pools.delete(name, version=pool.version, reason=reason)
        return f"Deleted pool {name}"

    show(server.call(delete))


@click.command("token", epilog=example("trimtab update token gpus $TOKEN --priority 5"))
@click.argument("pool", shell_complete=complete_names("pools"))
@click.argument("token")
@click.option(
    "--priority",
    type=click.IntRange(-1000, 1000),
    required=True,
    help="Waiters with a higher priority are first.",
)
@dry_run_option
@with_server
def update_token(server: Server, pool: str, token: str, priority: int, dry_run: bool) -> None:
    """Change the priority of the waiter TOKEN of POOL."""

    async def update(client: Client) -> int | None:
        pools = await _pools_of(client, pool, token)
        response = await client.pools.reprioritize(
            pool, token, priority, pools=pools, dry_run=dry_run
        )
        if not response.waiting:
            raise NotFound("waiter", token)
        return response.position

    position = server.call(update)
    if dry_run:
        show(f"Would update token {token} of pool {pool}: priority {priority}")
        return
    show(f"Updated token {token} of pool {pool}: priority {priority}, position {position}")


release = CommandGroup(
    "release", member="object type", help="Release a token by force, without its holder."
)


@release.command("token", epilog=example("trimtab release token gpus $TOKEN --reason stuck"))
@click.argument("pool", shell_complete=complete_names("pools"))
@click.argument("token")
@click.option("--reason", required=True, help="Reason, stored in the audit trail.")
@dry_run_option
@with_server
def release_token(server: Server, pool: str, token: str, reason: str, dry_run: bool) -> None:
    """Release the TOKEN of POOL, or remove it from the queue. Its holder is notified."""

    async def force_release(client: Client) -> str:
        pools = await _pools_of(client, pool, token)
        response = await client.pools.release(
            pool, token, reason=reason, pools=pools, dry_run=dry_run
        )
        if not response.released and not response.withdrew:
            raise NotFound("token", token)
        return "token" if response.released else "waiter"

    released = server.call(force_release)
    done = "Would release" if dry_run else "Released"
    show(f"{done} {released} {token} of pool {pool}")


async def _pools_of(client: Client, pool: str, token: str) -> Sequence[str]:
    """Return all pools of the token, which together identify it; none for a token of one pool."""
    async for usage in client.pools.usage_pages(pool):
        entries: tuple[Holder | Waiter, ...] = (*usage.holders, *usage.waiters)
        for entry in entries:
            if entry.token == token:
                return entry.pools
    return ()


def _joined(pages: Sequence[Inspected]) -> Inspected:
    """Return the last page with the entries of all, each once: those that moved may be in two."""
    holders = {(each.token, each.pools): each for page in pages for each in page.holders}
    waiters = {(each.token, each.pools): each for page in pages for each in page.waiters}
    listed = {"holders": tuple(holders.values()), "waiters": tuple(waiters.values())}
    return pages[-1].model_copy(update=listed)


def _summary_lines(pool: PoolBody, usage: Inspected) -> Sequence[str]:
    lines = [f"Pool {pool.name}: {usage.held} of {usage.quota} held, {usage.waiting} waiting"]
    lines.append("; ".join(_limits(pool)))
    if usage.quota < pool.quota:
        lines.append(f"resmgr grants at most {usage.quota} of any pool (resourceMaxQuota)")
    if usage.type == "noop":
        lines.append("resmgr is of type noop: it grants everything and counts nothing")
    if usage.quarantine_seconds > 0:
        remaining = duration(usage.quarantine_seconds)
        lines.append(f"Quarantine: nothing is granted for {remaining}, because Redis lost its data")
    for project, units in sorted(usage.by_project.items(), key=lambda item: (-item[1], item[0])):
        lines.append(f"  {project}: {units}{_by_domain(project, usage)}")
    return lines


def _by_domain(project: str, usage: Inspected) -> str:
    prefix = f"{project}/"
    parts = [
        f"{name.removeprefix(prefix)} {units}"
        for name, units in sorted(usage.by_project_domain.items())
        if name.startswith(prefix)
    ]
    return f" ({', '.join(parts)})" if parts else ""


def _limits(pool: PoolBody) -> Sequence[str]:
    caps = {
        "per project": pool.project_cap,
        "per project and domain": pool.project_domain_cap,
        "per token": pool.max_weight,
    }
    capped = [f"at most {number} {share}" for share, number in caps.items() if number is not None]
    active = [] if pool.active else ["inactive: nothing is granted"]
    return [f"quota {pool.quota}", *capped, f"cohort {pool.cohort}", *active]


def _recount_lines(recount: Recounted) -> Sequence[str]:
    differences = list(recount.differences) or ["recounted: all sums are right"]
    releases = [
        f"{forced.actor} released {'token' if forced.held else 'waiter'} {forced.token} of "
        f"{cell(forced.pools)} by force: {forced.why}"
        for forced in recount.forced
    ]
    return [*differences, *releases]


def _show_table(title: str, bodies: Sequence[Any], columns: Columns[Any]) -> None:
    if bodies:
        show(f"\n{title}", table_of(bodies, columns))
