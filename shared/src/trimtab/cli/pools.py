"""``trimtab describe|update|delete pool``, ``update token`` and ``release token``."""

from collections.abc import Sequence
from typing import Any

import click

from trimtab.api.places import PoolBody
from trimtab.cli.configuration import Output
from trimtab.cli.failures import USAGE, Commands, Failure, example
from trimtab.cli.rendering import Columns, cell, output_option, show_data, table
from trimtab.cli.target import Target, connected
from trimtab.client import Client
from trimtab.errors import Conflict, NotFound
from trimtab.models import parse_model
from trimtab.tokens.protocol import Holder, Inspected, Recounted, Waiter

_NO_CAP = "none"

_HOLDERS: Columns[Holder] = {
    "TOKEN": lambda holder: holder.token,
    "PROJECT": lambda holder: holder.project,
    "DOMAIN": lambda holder: holder.domain,
    "WEIGHT": lambda holder: holder.weight,
    "HELD FOR": lambda holder: _duration(holder.age_seconds),
    "LEASE ENDS IN": lambda holder: _duration(holder.expires_in_seconds),
    "TOGETHER WITH": lambda holder: holder.pools,
}
_WAITERS: Columns[Waiter] = {
    "POSITION": lambda waiter: waiter.position,
    "TOKEN": lambda waiter: waiter.token,
    "PROJECT": lambda waiter: waiter.project,
    "DOMAIN": lambda waiter: waiter.domain,
    "WEIGHT": lambda waiter: waiter.weight,
    "PRIORITY": lambda waiter: waiter.priority,
    "WAITS FOR": lambda waiter: _duration(waiter.age_seconds),
    "REASON": lambda waiter: waiter.reason,
}


class _Cap(click.ParamType["int | None"]):
    """A number, or the word for no cap."""

    name = "number|none"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | None:
        if value == _NO_CAP:
            return None
        number: int = click.IntRange(0).convert(value, param, ctx)
        return number


_CAP = _Cap()


@click.group("describe", cls=Commands, what="noun")
def describe() -> None:
    """Show what is going on in a pool."""


@describe.command("pool", epilog=example("trimtab describe pool gpus"))
@click.argument("name")
@click.option("--audit", is_flag=True, help="Count it anew, and tell what admins took away.")
@output_option()
@connected
def describe_pool(target: Target, name: str, audit: bool, output: Output) -> None:
    """Who holds of the pool NAME and who waits, where in the line, for how long and why."""

    async def ask(client: Client) -> tuple[PoolBody, Inspected, Recounted | None]:
        pool = await client.pools.get(name)
        usage = await client.pools.usage(name)
        return pool, usage, await client.pools.audit(name) if audit else None

    pool, usage, audited = target.call(ask)
    if output != "table":
        bodies = {"pool": pool, "usage": usage, "audit": audited}
        shown = {key: body.model_dump(mode="json") for key, body in bodies.items() if body}
        show_data(shown, output)
        return
    click.echo("\n".join(_summary(pool, usage)))
    _show_table("Holders", usage.holders, _HOLDERS)
    _show_table("Waiters", usage.waiters, _WAITERS)
    if audited is not None:
        click.echo("\n" + "\n".join(_audit(audited)))


@click.command("pool", epilog=example("trimtab update pool gpus --quota 4"))
@click.argument("name")
@click.option("--quota", type=click.IntRange(1), help="Units that may be held at once.")
@click.option("--project-cap", type=_CAP, help="Units of one project.")
@click.option("--project-domain-cap", type=_CAP, help="Units of one project in one domain.")
@click.option("--max-weight", type=_CAP, help="Units of one token.")
@click.option("--cohort", help="Which pools it can be taken together with; of a new one only.")
@click.option("--active/--inactive", default=None, help="Whether anything is granted.")
@connected
def update_pool(target: Target, name: str, **options: Any) -> None:
    """Change the pool NAME, or declare it where there is none.

    The name * stands for all pools that nobody has declared. A smaller quota takes nothing away
    from holders: nothing is granted until enough came back.
    """
    context = click.get_current_context()
    given = {
        option: value
        for option, value in options.items()
        if context.get_parameter_source(option) is not click.core.ParameterSource.DEFAULT
    }
    if not given:
        raise Failure("nothing to change: give --quota, a cap, --active or --inactive", USAGE)

    async def change(client: Client) -> PoolBody:
        try:
            stored = await client.pools.get(name)
        except NotFound:
            return await client.pools.put(parse_model(PoolBody, {"name": name, **given}))
        body = parse_model(PoolBody, {**stored.model_dump(), **given})
        return await client.pools.put(body, version=stored.version)

    pool = target.call(change)
    click.echo(f"Updated pool {pool.name}: " + "; ".join(_limits(pool)))


@click.command("pool", epilog=example("trimtab delete pool gpus --force"))
@click.argument("name")
@click.option("--force", is_flag=True, help="Also where something is held or waited for.")
@click.option("--reason", default="", help="Why; it is kept in the history.")
@connected
def delete_pool(target: Target, name: str, force: bool, reason: str) -> None:
    """Delete the pool NAME: nothing more is granted of it, and who waits is told that it is gone.

    Who holds something keeps it until it is given back. To let a pool drain first, make it inactive
    by `trimtab update pool NAME --inactive`.
    """

    async def remove(client: Client) -> None:
        pool = await client.pools.get(name)
        if not force:
            usage = await client.pools.usage(name)
            if usage.held or usage.waiting:
                counts = f"{usage.held} held, {usage.waiting} waiting"
                raise Conflict(
                    f"pool {name!r} is in use: {counts}; --force deletes it all the same"
                )
        await client.pools.delete(name, version=pool.version, reason=reason)

    target.call(remove)
    click.echo(f"Deleted pool {name}")


@click.command("token", epilog=example("trimtab update token gpus $TOKEN --priority 5"))
@click.argument("pool")
@click.argument("token")
@click.option("--priority", type=click.IntRange(-1000, 1000), required=True, help="Higher first.")
@connected
def update_token(target: Target, pool: str, token: str, priority: int) -> None:
    """Change the priority of the TOKEN that waits for POOL."""

    async def change(client: Client) -> int | None:
        pools = await _pools_of(client, pool, token)
        answer = await client.pools.reprioritize(pool, token, priority, pools=pools)
        if not answer.waiting:
            raise NotFound("waiter", token)
        return answer.position

    position = target.call(change)
    click.echo(f"Updated token {token} of pool {pool}: priority {priority}, position {position}")


@click.group("release", cls=Commands, what="noun")
def release() -> None:
    """Take something away from whoever has it."""


@release.command("token", epilog=example("trimtab release token gpus $TOKEN --reason stuck"))
@click.argument("pool")
@click.argument("token")
@click.option("--reason", required=True, help="Why; it is kept.")
@connected
def release_token(target: Target, pool: str, token: str, reason: str) -> None:
    """Take the TOKEN of POOL, or its place in the line, away. Its holder is told."""

    async def take(client: Client) -> str:
        pools = await _pools_of(client, pool, token)
        answer = await client.pools.release(pool, token, reason=reason, pools=pools)
        if not answer.released and not answer.withdrew:
            raise NotFound("token", token)
        return "token" if answer.released else "place of token"

    what = target.call(take)
    click.echo(f"Released {what} {token} of pool {pool}")


async def _pools_of(client: Client, pool: str, token: str) -> Sequence[str]:
    """All that the token is of: it is named by them together."""
    usage = await client.pools.usage(pool)
    all_known: tuple[Holder | Waiter, ...] = (*usage.holders, *usage.waiters)
    for known in all_known:
        if known.token == token:
            return known.pools
    return ()


def _summary(pool: PoolBody, usage: Inspected) -> Sequence[str]:
    lines = [f"Pool {pool.name}: {usage.held} of {usage.quota} held, {usage.waiting} waiting"]
    lines.append("; ".join(_limits(pool)))
    if usage.quota < pool.quota:
        lines.append(f"resmgr grants at most {usage.quota} of any pool (resourceMaxQuota)")
    if usage.type == "noop":
        lines.append("resmgr is of type noop: it grants everything and counts nothing")
    if usage.quarantine_seconds > 0:
        left = _duration(usage.quarantine_seconds)
        lines.append(f"Nothing is granted for {left}: Redis lost its memory, and holders may speak")
    for project, units in sorted(usage.by_project.items(), key=lambda item: (-item[1], item[0])):
        lines.append(f"  {project}: {units}{_by_domain(project, usage)}")
    return lines


def _by_domain(project: str, usage: Inspected) -> str:
    prefix = f"{project}/"
    parts = [
        f"{both.removeprefix(prefix)} {units}"
        for both, units in sorted(usage.by_project_domain.items())
        if both.startswith(prefix)
    ]
    return f" ({', '.join(parts)})" if parts else ""


def _limits(pool: PoolBody) -> Sequence[str]:
    caps = {
        "per project": pool.project_cap,
        "per project and domain": pool.project_domain_cap,
        "per token": pool.max_weight,
    }
    capped = [f"at most {number} {where}" for where, number in caps.items() if number is not None]
    active = [] if pool.active else ["inactive: nothing is granted"]
    return [f"quota {pool.quota}", *capped, f"cohort {pool.cohort}", *active]


def _audit(audited: Recounted) -> Sequence[str]:
    counted = list(audited.differences) or ["counted anew, all sums are right"]
    taken = [
        f"{forced.actor} took {'token' if forced.held else 'the place of'} {forced.token} of "
        f"{cell(forced.pools)} away: {forced.why}"
        for forced in audited.forced
    ]
    return [*counted, *taken]


def _show_table(title: str, bodies: Sequence[Any], columns: Columns[Any]) -> None:
    if bodies:
        rows = [[value(body) for value in columns.values()] for body in bodies]
        click.echo(f"\n{title}\n{table(list(columns), rows)}")


def _duration(seconds: float) -> str:
    """As ``1h5m``, ``5m3s`` or ``3s``."""
    hours, rest = divmod(round(abs(seconds)), 3600)
    minutes, left = divmod(rest, 60)
    parts = [(hours, "h"), (minutes, "m"), (left, "s")]
    shown = [f"{number}{unit}" for number, unit in parts if number][:2] or ["0s"]
    return "-" * (seconds <= -0.5) + "".join(shown)
