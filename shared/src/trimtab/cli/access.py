"""``trimtab token`` and ``trimtab audit``: API tokens, and the audit trail of the API."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import click

from trimtab.api.access import (
    AuditBody,
    GrantBody,
    NewTokenBody,
    TokenBody,
    TokenCreate,
    TokenRotate,
)
from trimtab.cli.commands import dry_run_option, example, limit_option
from trimtab.cli.configuration import Output
from trimtab.cli.groups import CommandGroup
from trimtab.cli.kinds import KindFinder
from trimtab.cli.server import Server, with_server
from trimtab.cli.tables import cell
from trimtab.cli.terminal import (
    Columns,
    output_option,
    progress,
    show,
    show_data,
    show_list,
)
from trimtab.client import Client
from trimtab.errors import Invalid, NotFound
from trimtab.models import parse_model

_SCOPE_KEYS = ("domain", "project", "workflow", "launch_plan")

_TOKENS: Columns[TokenBody] = {
    "NAME": lambda token: token.name,
    "ID": lambda token: token.id,
    "STATE": lambda token: _state(token),
    "GRANTS": lambda token: [_grant_text(grant) for grant in token.grants],
    "EXPIRES": lambda token: token.expires_at,
    "LAST USED": lambda token: token.last_used_at,
    "CREATED BY": lambda token: token.created_by,
}
_AUDIT: Columns[AuditBody] = {
    "AT": lambda entry: entry.at,
    "STATUS": lambda entry: entry.status,
    "CALLER": lambda entry: entry.caller or entry.token,
    "ADDRESS": lambda entry: entry.client,
    "CALL": lambda entry: f"{entry.method} {entry.path}",
    "SCOPE": lambda entry: entry.scope,
    "REASON": lambda entry: entry.reason,
}

token = CommandGroup("token", help="Manage API tokens and their grants.")


@token.command("create", epilog=example("trimtab token create ci --grant editor,project=shop"))
@click.argument("name")
@click.option(
    "--grant",
    "grants",
    multiple=True,
    required=True,
    metavar="ROLE[,PART=NAME…]",
    help="Role viewer, editor or admin; for the platform, or for the scope domain=, project=, "
    "workflow=, launch_plan= and all narrower ones; with kind= for records of these kinds only. "
    "Can be repeated.",
)
@click.option("--expires", metavar="WHEN", help="90d, 12h, or a time; default: never.")
@dry_run_option
@output_option(default=None)
@with_server
def create_token(
    server: Server,
    name: str,
    grants: Sequence[str],
    expires: str | None,
    dry_run: bool,
    output: Output | None,
) -> None:
    """Create an API token, and print its secret, which is shown only once.

    NAME appears in the history as the author of changes; the e-mail address of a person is a good
    choice. Once the first token exists, calls without a token are rejected.
    """
    find = KindFinder(server)
    parsed = tuple(_parse_grant(text, find) for text in grants)
    content = {"name": name, "grants": parsed, "expires_at": _expiry(expires)}
    body = parse_model(TokenCreate, content)
    if dry_run:
        _show_planned(server.call(lambda client: client.tokens.dry_create(body)), "create", output)
        return
    _show_secret(server.call(lambda client: client.tokens.create(body)), "Created", output)


@token.command("list", epilog=example("trimtab token list"))
@output_option()
@with_server
def list_tokens(server: Server, output: Output) -> None:
    """List API tokens, oldest first, with the revoked ones."""
    show_list(server.call(lambda client: client.tokens.list()), output, _TOKENS)


@token.command("rotate", epilog=example("trimtab token rotate $NAME --grace 1h"))
@click.argument("name")
@click.option(
    "--grace", default="1h", show_default=True, help="How long the old secret is still accepted."
)
@click.option("--expires", metavar="WHEN", help="90d, 12h, or a time; default: unchanged.")
@dry_run_option
@output_option(default=None)
@with_server
def rotate_token(
    server: Server,
    name: str,
    grace: str,
    expires: str | None,
    dry_run: bool,
    output: Output | None,
) -> None:
    """Create a new secret for the API token with a NAME or id, and print it."""
    seconds = parse_duration("--grace", grace).total_seconds()
    content = {"grace_seconds": int(seconds), "expires_at": _expiry(expires)}
    body = parse_model(TokenRotate, content)

    async def rotate(client: Client) -> NewTokenBody:
        return await client.tokens.rotate(await _id_of(client, name), body)

    async def check(client: Client) -> TokenBody:
        return await client.tokens.dry_rotate(await _id_of(client, name), body)

    if dry_run:
        _show_planned(server.call(check), "rotate", output)
    else:
        _show_secret(server.call(rotate), "Rotated", output)


@token.command("revoke", epilog=example("trimtab token revoke $NAME"))
@click.argument("name")
@dry_run_option
@with_server
def revoke_token(server: Server, name: str, dry_run: bool) -> None:
    """Revoke the API token with a NAME or id. It cannot be restored."""

    async def revoke(client: Client) -> TokenBody:
        return await client.tokens.revoke(await _id_of(client, name), dry_run=dry_run)

    revoked = server.call(revoke)
    show(f"{'Would revoke' if dry_run else 'Revoked'} token {revoked.name}")


@token.command("print", epilog=example("trimtab token print"))
@with_server
def print_token(server: Server) -> None:
    """Print the API token that commands send, for programs that run a command to get it.

    Flyte's clients do so with `authType: ExternalCommand`.
    """
    show(server.api_token())


@click.command("audit", epilog=example("trimtab audit --status 403 --since 24h"))
@click.option(
    "--status", type=click.IntRange(100, 599), help="HTTP status, such as 403 for forbidden calls."
)
@click.option("--caller", help="Only calls with the API token of this name.")
@click.option("--client", "address", help="Only calls from this address.")
@click.option("--since", metavar="WHEN", help="24h for the last 24 hours, or a time.")
@limit_option
@output_option()
@with_server
def audit(
    server: Server,
    status: int | None,
    caller: str | None,
    address: str | None,
    since: str | None,
    limit: int,
    output: Output,
) -> None:
    """Show refused calls, changes of API tokens, forced releases and prunes, newest first."""
    after = None if since is None else parse_past_time("--since", since, datetime.now(UTC))

    async def read(client: Client) -> Sequence[AuditBody]:
        return await client.audit.list(
            status=status, caller=caller, client=address, since=after, limit=limit
        )

    show_list(server.call(read), output, _AUDIT)


def _show_planned(body: TokenBody, verb: str, output: Output | None) -> None:
    if output in ("json", "yaml"):
        show_data(body.model_dump(mode="json"), output)
        return
    grants, expiry = map(cell, (_TOKENS["GRANTS"](body), _TOKENS["EXPIRES"](body)))
    show(f"Would {verb} token {body.name}: grants {grants}, expires {expiry}")


def _show_secret(body: NewTokenBody, verb: str, output: Output | None) -> None:
    """Print the secret alone on stdout, for scripts that store it."""
    if output in ("json", "yaml"):
        show_data(body.model_dump(mode="json"), output)
        return
    progress(f"{verb} token {body.name}; its secret is shown only once:")
    show(body.secret)


async def _id_of(client: Client, name: str) -> str:
    """Return the id of a token. Raises `NotFound`, which lists the names of all tokens."""
    tokens = await client.tokens.list()
    found = [one.id for one in tokens if name in (one.name, one.id)]
    if not found:
        raise NotFound("token", name, ", ".join(one.name for one in tokens) or "none")
    return found[0]


def _parse_grant(text: str, find: KindFinder) -> GrantBody:
    role, *parts = text.split(",")
    content: dict[str, object] = {"role": role}
    kinds: list[str] = []
    for part in parts:
        name, _, value = part.partition("=")
        if name == "kind" and value:
            kinds.append(find(value).name)
        elif name in _SCOPE_KEYS and value and name not in content:
            content[name] = value
        else:
            raise Invalid("--grant", text, "ROLE, then once each domain=, project=, …; and kind=")
    return parse_model(GrantBody, {**content, "kinds": kinds})


def _grant_text(grant: GrantBody) -> str:
    parts = [f"{name}={getattr(grant, name)}" for name in _SCOPE_KEYS if getattr(grant, name)]
    return ",".join([grant.role, *parts, *(f"kind={kind}" for kind in grant.kinds)])


def _expiry(text: str | None) -> datetime | None:
    return None if text is None else parse_future_time("--expires", text, datetime.now(UTC))


def _state(token: TokenBody) -> str:
    if token.revoked_at is not None:
        return "revoked"
    is_expired = token.expires_at is not None and token.expires_at <= datetime.now(UTC)
    return "expired" if is_expired else "active"


_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
# With more digits, the number of weeks would overflow the range of datetime.
_DURATION = re.compile(r"(\d{1,5})([smhdw])")
_FORMAT = "a number and s, m, h, d or w, such as 90d"


def parse_duration(option: str, text: str) -> timedelta:
    """Parse a duration such as ``90d``. Raises `Invalid`."""
    duration = _duration(text)
    if duration is None:
        raise Invalid(option, text, _FORMAT)
    return duration


def parse_future_time(option: str, text: str, now: datetime) -> datetime:
    """Parse a time, or a duration from now into the future. Raises `Invalid`."""
    duration = _duration(text)
    return _parse_time(option, text) if duration is None else now + duration


def parse_past_time(option: str, text: str, now: datetime) -> datetime:
    """Parse a time, or a duration from now into the past. Raises `Invalid`."""
    duration = _duration(text)
    return _parse_time(option, text) if duration is None else now - duration


def _duration(text: str) -> timedelta | None:
    found = _DURATION.fullmatch(text)
    return found and timedelta(**{_UNITS[found[2]]: int(found[1])})


def _parse_time(option: str, text: str) -> datetime:
    """Parse an ISO time; one without a zone is in the local time of this machine."""
    try:
        at = datetime.fromisoformat(text)
        return at if at.tzinfo else at.astimezone()
    except (ValueError, OverflowError) as error:
        raise Invalid(option, text, f"{_FORMAT}; or a time, such as 2027-06-30T12:00Z") from error
