"""``trimtab status`` and ``trimtab version``: the services and servers of an installation."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

import click
from pydantic import BaseModel

from trimtab.api.maintenance import DoorBody, StatusBody
from trimtab.cli.commands import Failure, example
from trimtab.cli.configuration import Output
from trimtab.cli.server import Server, with_server
from trimtab.cli.terminal import (
    Columns,
    duration,
    output_option,
    show,
    show_data,
    show_list,
    warn,
)
from trimtab.client import Client, health
from trimtab.client.addresses import without_credentials
from trimtab.client.health import Health
from trimtab.embedded.directory import Directory
from trimtab.errors import Code, TrimtabError
from trimtab.release import VERSION

State = Literal["ready", "not ready", "unreachable", "unknown"]
_SERVICES = ("clusterres", "propeller", "resmgr")


class Part(BaseModel):
    """A service or a server of the installation."""

    name: str
    state: State
    """``unknown`` where neither the API nor this machine can show it."""
    version: str = ""
    address: str = ""
    unsent: int | None = None
    """For admin: the number of changes that are not in the stream yet."""
    unsent_seconds: float | None = None
    """For admin: the age of the oldest of them."""
    behind: int | None = None
    """How many revisions the view of the settings is behind the database."""
    requests: int | None = None
    """For propeller: the number of executions that none has claimed."""
    reasons: Mapping[str, str] = {}
    """Why it is not ready, by part."""
    anonymous: str = ""
    """For a door: the role of calls without an API token; empty where they are refused."""


_PARTS: Columns[Part] = {
    "NAME": lambda part: part.name,
    "STATE": lambda part: part.state,
    "VERSION": lambda part: part.version,
    "ADDRESS": lambda part: part.address,
    "LAG": lambda part: "; ".join(_lags(part)),
    "REASON": lambda part: "; ".join(f"{key}: {why}" for key, why in part.reasons.items()),
    "ANONYMOUS": lambda part: part.anonymous,
}


class Found(NamedTuple):
    """The answers of an installation."""

    url: str
    ports: Mapping[str, int]
    """By program; empty where the installation is not that of the data directory."""
    health: Mapping[str, Health | None]
    """By service; one that cannot be reached from here is absent."""
    status: StatusBody | None
    error: TrimtabError | None
    """Why there is no status; ``None`` where there is one."""


@click.command("status", epilog=example("trimtab status"))
@output_option()
@with_server
def status(server: Server, output: Output) -> None:
    """Show services and servers: state, version, address and lag.

    LAG is what admin has not published yet, how far the settings of a service are behind the
    database, and how many executions no propeller has claimed. All services of an embedded system
    are checked. Of another installation only admin is reachable, and what it does not use itself is
    unknown. The exit code is not 0 where something is not ready.
    """
    directory = Directory(server.data)

    found = server.call(lambda client: find_parts(client, directory))
    parts = parts_of(found)
    show_list(parts, output, _PARTS)
    if found.error:
        warn(f"lag and servers are not shown: {found.error}")
    if failing := [part for part in parts if part.state in ("not ready", "unreachable")]:
        is_away = failing[0].name == "admin" and failing[0].state == "unreachable"
        states = ", ".join(f"{part.name} is {part.state}" for part in failing)
        raise Failure(states, Code.UNAVAILABLE if is_away else Code.INTERNAL)


@click.command("version", epilog=example("trimtab version"))
@output_option()
@with_server
def version(server: Server, output: Output) -> None:
    """Show the version of this command line, and that of the server where it responds."""
    address, of_server, error = _server_version(server)
    if output != "table":
        body = {"url": address, "version": of_server, "error": error}
        show_data({"cli": VERSION, "server": body}, output)
        return
    show(f"trimtab {VERSION}")
    show(f"server  {of_server or 'unknown'} ({address})" if not error else f"server  {error}")


async def find_parts(client: Client, directory: Directory) -> Found:
    """Return the answers of an installation; of its services, those of this machine."""
    ports = directory.ports() if client.url == directory.url() else {}
    urls = {name: f"http://127.0.0.1:{ports[name]}" for name in _SERVICES if name in ports}
    urls["admin"] = client.url
    answers = await asyncio.gather(*map(health.fetch, urls.values()))
    by_name = dict(zip(urls, answers, strict=True))
    try:
        return Found(client.url, ports, by_name, await client.status(), None)
    except TrimtabError as error:
        return Found(client.url, ports, by_name, None, error)


def parts_of(found: Found) -> Sequence[Part]:
    """Return the services, then the servers that they use."""

    def local(program: str) -> str:
        return f"127.0.0.1:{found.ports[program]}" if program in found.ports else ""

    status, admin = found.status, found.health["admin"]
    nats, database = (status.nats, status.database) if status else ("", "")
    return [
        _admin(found),
        *(_door(door, found) for door in (status.doors if status else ())),
        *(_service(name, found, local(name)) for name in _SERVICES),
        Part(
            name="NATS",
            state=_state_of_part(admin, "nats"),
            version=status.nats_version if status else "",
            address=nats or local("nats-server"),
        ),
        Part(
            name="Valkey",
            state=_state_of_part(found.health.get("resmgr"), "redis"),
            address=local("valkey"),
        ),
        Part(
            name="database",
            state=_state_of_part(admin, "database"),
            version=status.database_version if status else "",
            address=database,
        ),
    ]


def _admin(found: Found) -> Part:
    part = _service("admin", found, without_credentials(found.url))
    if (status := found.status) is None:
        return part
    since = status.unsent_since
    seconds = 0.0 if since is None else (datetime.now(UTC) - since).total_seconds()
    lag = {"unsent": status.unsent, "unsent_seconds": max(seconds, 0.0)}
    return part.model_copy(update=lag)


def _door(door: DoorBody, found: Found) -> Part:
    """Return a door of admin for clients of Flyte, which is ready when admin is."""
    address = without_credentials(found.url)
    if door.port is not None:
        scheme = "grpcs" if door.tls else "grpc"
        host = urlsplit(found.url).hostname or ""
        address = f"{scheme}://{f'[{host}]' if ':' in host else host}:{door.port}"
    admin = _service("admin", found, address)
    return Part(name=door.name, state=admin.state, address=address, anonymous=door.anonymous)


def _service(name: str, found: Found, address: str) -> Part:
    if name not in found.health:
        return Part(name=name, state="unknown", requests=_requests(name, found))
    if (answer := found.health[name]) is None:
        return Part(name=name, state="unreachable", address=address)
    behind = None
    if found.status is not None and answer.view is not None:
        behind = max(found.status.revision - answer.view.revision, 0)
    return Part(
        name=name,
        state="not ready" if answer.reasons else "ready",
        version=answer.version,
        address=address,
        behind=behind,
        requests=_requests(name, found),
        reasons=answer.reasons,
    )


def _requests(name: str, found: Found) -> int | None:
    return found.status.requests if found.status and name == "propeller" else None


def _state_of_part(answer: Health | None, part: str) -> State:
    """Return the state of a server, as the service that uses it reports it."""
    if answer is None:
        return "unknown"
    return "not ready" if part in answer.reasons else "ready"


def _lags(part: Part) -> Sequence[str]:
    """Return the lags of a part that are not zero, in words."""
    texts = []
    if part.unsent:
        texts.append(f"{part.unsent} unsent, for {duration(part.unsent_seconds or 0.0)}")
    if part.behind:
        texts.append(f"{part.behind} revisions behind")
    if part.requests:
        texts.append(f"{part.requests} requests waiting")
    return texts


def _server_version(server: Server) -> tuple[str, str, str]:
    """Return the address and the version of the server, or the reason why it has none."""

    async def read(client: Client) -> tuple[str, Health | None]:
        return client.url, await health.fetch(client.url)

    try:
        url, answer = server.call(read)
    except TrimtabError as error:
        return "", "", str(error)
    address = without_credentials(url)
    if answer is None:
        return address, "", f"no Trimtab responds at {address}"
    return address, answer.version, ""
