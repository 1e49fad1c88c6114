"""``trimtab token`` and ``trimtab audit``: who may call the API, and whom it refused."""

from collections.abc import Sequence
from datetime import UTC, datetime

import click

from trimtab.api.access import (
    AuditBody,
    GrantBody,
    NewTokenBody,
    TokenBody,
    TokenCreate,
    TokenRotate,
)
from trimtab.cli import known, times
from trimtab.cli.configuration import Output
from trimtab.cli.failures import Commands, example
from trimtab.cli.known import Finder
from trimtab.cli.rendering import Columns, output_option, progress, show_data, show_list
from trimtab.cli.target import Target, connected
from trimtab.client import Client
from trimtab.errors import Invalid, NotFound
from trimtab.models import parse_model

_PLACES = ("domain", "project", "workflow", "launch_plan")

_TOKENS: Columns[TokenBody] = {
    "NAME": lambda token: token.name,
    "ID": lambda token: token.id,
    "STATE": lambda token: _state(token),
    "MAY": lambda token: [_grant_text(grant) for grant in token.grants],
    "EXPIRES": lambda token: times.shown(token.expires_at),
    "LAST USED": lambda token: times.shown(token.last_used_at),
    "CREATED BY": lambda token: token.created_by,
}
_AUDIT: Columns[AuditBody] = {
    "AT": lambda entry: times.shown(entry.at),
    "STATUS": lambda entry: entry.status,
    "WHO": lambda entry: entry.caller or entry.token,
    "FROM": lambda entry: entry.client,
    "CALL": lambda entry: f"{entry.method} {entry.path}",
    "SCOPE": lambda entry: entry.scope,
    "REASON": lambda entry: entry.reason,
}

token = Commands("token", help="Who may call the API, and what.")


@token.command("create", epilog=example("trimtab token create ci --grant editor,project=shop"))
@click.argument("name")
@click.option(
    "--grant",
    "grants",
    multiple=True,
    required=True,
    metavar="ROLE[,PART=NAME…]",
    help="viewer, editor or admin; of the platform, or of all below domain=, project=, workflow=, "
    "launch_plan=; of records of some kinds only with kind=. Can be repeated.",
)
@click.option("--expires", metavar="WHEN", help="90d, 12h, or a time; never where absent.")
@output_option(default=None)
@connected
def create_token(
    target: Target, name: str, grants: Sequence[str], expires: str | None, output: Output | None
) -> None:
    """Make a token, and print its secret, which is told once.

    Its name is who did it in history, so that the address of a person is a good one. With the first
    token the API is closed to all that have none.
    """
    find = known.Finder(target)
    given = tuple(_grant(text, find) for text in grants)
    content = {"name": name, "grants": given, "expires_at": _expiry(expires)}
    body = parse_model(TokenCreate, content)
    _tell(target.call(lambda client: client.tokens.create(body)), "Created", output)


@token.command("list", epilog=example("trimtab token list"))
@output_option()
@connected
def list_tokens(target: Target, output: Output) -> None:
    """Show tokens, the oldest first, with those that were revoked."""
    show_list(target.call(lambda client: client.tokens.list()), output, _TOKENS)


@token.command("rotate", epilog=example("trimtab token rotate $NAME --grace 1h"))
@click.argument("name")
@click.option("--grace", default="1h", show_default=True, help="The old secret is taken so long.")
@click.option("--expires", metavar="WHEN", help="90d, 12h, or a time; as before where absent.")
@output_option(default=None)
@connected
def rotate_token(
    target: Target, name: str, grace: str, expires: str | None, output: Output | None
) -> None:
    """Give the token of that NAME or id a new secret, and print it."""
    seconds = times.duration("--grace", grace).total_seconds()
    content = {"grace_seconds": int(seconds), "expires_at": _expiry(expires)}
    body = parse_model(TokenRotate, content)

    async def rotate(client: Client) -> NewTokenBody:
        return await client.tokens.rotate(await _id_of(client, name), body)

    _tell(target.call(rotate), "Rotated", output)


@token.command("revoke", epilog=example("trimtab token revoke $NAME"))
@click.argument("name")
@connected
def revoke_token(target: Target, name: str) -> None:
    """End the token of that NAME or id for ever."""

    async def revoke(client: Client) -> TokenBody:
        return await client.tokens.revoke(await _id_of(client, name))

    click.echo(f"Revoked token {target.call(revoke).name}")


@click.command("audit", epilog=example("trimtab audit --status 403 --since 24h"))
@click.option("--status", type=click.IntRange(100, 599), help="403, say: known, but not allowed.")
@click.option("--caller", help="Only of the token of this name.")
@click.option("--client", "address", help="Only from this address.")
@click.option("--since", metavar="WHEN", help="24h ago, or a time.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="At most.")
@output_option()
@connected
def audit(
    target: Target,
    status: int | None,
    caller: str | None,
    address: str | None,
    since: str | None,
    limit: int,
    output: Output,
) -> None:
    """Show refused calls, changes of tokens and what admins took away, the newest first."""
    after = None if since is None else times.before("--since", since, datetime.now(UTC))

    async def read(client: Client) -> Sequence[AuditBody]:
        return await client.audit.list(
            status=status, caller=caller, client=address, since=after, limit=limit
        )

    show_list(target.call(read), output, _AUDIT)


def _tell(body: NewTokenBody, done: str, output: Output | None) -> None:
    """The secret alone goes to stdout, for scripts that keep it."""
    if output in ("json", "yaml"):
        show_data(body.model_dump(mode="json"), output)
        return
    progress(f"{done} token {body.name}; its secret is told this once:")
    click.echo(body.secret)


async def _id_of(client: Client, name: str) -> str:
    """Raises `NotFound`, naming the tokens there are."""
    tokens = await client.tokens.list()
    found = [one.id for one in tokens if name in (one.name, one.id)]
    if not found:
        raise NotFound("token", name, ", ".join(one.name for one in tokens) or "none")
    return found[0]


def _grant(text: str, find: Finder) -> GrantBody:
    role, *parts = text.split(",")
    content: dict[str, object] = {"role": role}
    named: list[str] = []
    for part in parts:
        name, _, value = part.partition("=")
        if name == "kind" and value:
            named.append(find(value).name)
        elif name in _PLACES and value and name not in content:
            content[name] = value
        else:
            raise Invalid("--grant", text, "ROLE, then once each domain=, project=, …; and kind=")
    return parse_model(GrantBody, {**content, "kinds": named})


def _grant_text(grant: GrantBody) -> str:
    parts = [f"{name}={getattr(grant, name)}" for name in _PLACES if getattr(grant, name)]
    return ",".join([grant.role, *parts, *(f"kind={kind}" for kind in grant.kinds)])


def _expiry(text: str | None) -> datetime | None:
    return None if text is None else times.after("--expires", text, datetime.now(UTC))


def _state(token: TokenBody) -> str:
    if token.revoked_at is not None:
        return "revoked"
    expired = token.expires_at is not None and token.expires_at <= datetime.now(UTC)
    return "expired" if expired else "active"
