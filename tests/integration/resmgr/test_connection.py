"""The ways to reach Redis: a password, a unix socket, a cluster."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.integration.resmgr.running import eventually
from tests.servers import ValkeyServer, free_port
from trimtab.errors import Unavailable
from trimtab.tokens import Allocate
from trimtab_resmgr.connection import connect
from trimtab_resmgr.leases import Leases
from trimtab_resmgr.pools import Limit
from trimtab_resmgr.settings import Redis


class Guarded(ValkeyServer):
    """Asks for a password, and listens on a unix socket too."""

    greeting = b"-NOAUTH"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.socket = directory / "socket"

    def command(self) -> list[str]:
        return [*super().command(), "--unixsocket", str(self.socket), "--requirepass", "secret"]


class Node(ValkeyServer):
    """Of a cluster."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.bus_port = free_port()

    def command(self) -> list[str]:
        cluster = ["--cluster-enabled", "yes", "--cluster-port", str(self.bus_port)]
        return [*super().command(), *cluster]


@asynccontextmanager
async def connected(*paths: str, password: str = "") -> AsyncIterator[Leases]:
    client = connect(Redis.model_validate({"hostPaths": paths, "hostKey": password}))
    try:
        async with asyncio.TaskGroup() as tasks:
            yield Leases(client, tasks, "default")
    finally:
        await client.aclose()


async def grants(leases: Leases, token: str = "a") -> bool:
    ask = Allocate(pool="gpu", token=token, project="flyte", domain="development")
    try:
        return (await leases.allocate(ask, {Limit.QUOTA: 100})).refused_by is None
    except Unavailable:
        return False


@pytest.mark.parametrize(("password", "granted"), [("secret", True), ("wrong", False), ("", False)])
async def test_the_host_key_is_the_password(tmp_path: Path, password: str, granted: bool) -> None:
    with Guarded(tmp_path) as server:
        async with connected(f"127.0.0.1:{server.port}", password=password) as leases:
            assert await grants(leases) is granted


async def test_a_path_is_a_unix_socket() -> None:
    # The kernel takes no path that is longer than 108 bytes, and pytest's may be.
    with TemporaryDirectory() as directory, Guarded(Path(directory)) as server:
        async with connected(str(server.socket), password="secret") as leases:
            assert await grants(leases)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[list[Node]]:
    """Two nodes that know nothing of each other yet."""
    with ExitStack() as stack:
        yield [stack.enter_context(Node(tmp_path / str(number))) for number in range(2)]


def join(nodes: list[Node]) -> list[str]:
    """Make them one cluster, and return how it is reached."""
    for node, slots in zip(nodes, (b"0 8191", b"8192 16383"), strict=True):
        assert node.ask(b"CLUSTER ADDSLOTSRANGE " + slots + b"\r\n") == b"+OK\r\n"
    nodes[0].ask(f"CLUSTER MEET 127.0.0.1 {nodes[1].port} {nodes[1].bus_port}\r\n".encode())
    return addresses(nodes)


def addresses(nodes: list[Node]) -> list[str]:
    return [f"127.0.0.1:{node.port}" for node in nodes]


async def test_several_host_paths_are_a_cluster(cluster: list[Node]) -> None:
    async with connected(*join(cluster)) as leases:
        await eventually(lambda: grants(leases))
        assert await leases.audit("gpu") == []


async def test_a_cluster_without_slots_is_no_answer(cluster: list[Node]) -> None:
    async with connected(*addresses(cluster)) as leases:
        for token in "ab":
            assert not await grants(leases, token)


async def test_a_cluster_that_was_away_is_used_again(cluster: list[Node]) -> None:
    async with connected(*join(cluster)) as leases, watched(leases):
        await eventually(lambda: grants(leases))
        for node in cluster:
            node.stop()
        assert not await grants(leases)
        await eventually(lambda: says_wrong(leases))
        for node in cluster:
            node.start()
        await eventually(lambda: grants(leases))


@asynccontextmanager
async def watched(leases: Leases) -> AsyncIterator[None]:
    """Beside the loop that readiness asks; its failure is the test's."""
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(leases.watch())
        yield
        watching.cancel()


async def says_wrong(leases: Leases) -> bool:
    return "does not answer" in leases.wrong
