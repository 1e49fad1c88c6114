"""Connections to Redis: with a password, over a unix socket, to a cluster."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.integration.resmgr.direct import Cohort
from tests.integration.resmgr.running import eventually
from tests.servers import ValkeyServer, free_port
from trimtab.errors import Unavailable
from trimtab.messages.events import PoolChanged
from trimtab.tokens.protocol import Units
from trimtab_resmgr.config import Redis
from trimtab_resmgr.scripts import connect
from trimtab_resmgr.store import CohortStore, Rules

RULES = Rules(max_lease=0.05, grace=0.0)
"""Short leases: these servers are not declared new, so the quarantine of each lasts for a lease."""


class ServerWithPassword(ValkeyServer):
    """A server that requires a password, and also listens on a unix socket."""

    greeting = b"-NOAUTH"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.socket = directory / "socket"

    def command(self) -> list[str]:
        return [*super().command(), "--unixsocket", str(self.socket), "--requirepass", "secret"]

    def declare_new(self) -> None:
        """Do nothing: the command would need the password."""


class Node(ValkeyServer):
    """A node of a cluster."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.bus_port = free_port()

    def command(self) -> list[str]:
        cluster = ["--cluster-enabled", "yes", "--cluster-port", str(self.bus_port)]
        return [*super().command(), *cluster]

    def declare_new(self) -> None:
        """Do nothing: the node is in no cluster yet."""


@asynccontextmanager
async def connected(*paths: str, password: str = "") -> AsyncIterator[Cohort]:
    client = connect(Redis.model_validate({"hostPaths": paths, "hostKey": password}))
    try:
        async with asyncio.TaskGroup() as tasks:
            cohort = Cohort(CohortStore(client, tasks, "default", RULES), RULES, [])
            cohort.declare(PoolChanged(name="gpu", quota=100), PoolChanged(name="seats", quota=1))
            yield cohort
    finally:
        await client.aclose()


async def grants(cohort: Cohort, token: str = "a") -> bool:
    try:
        return (await cohort.allocate(token)).status == "granted"
    except Unavailable:
        return False


@pytest.mark.parametrize(("password", "granted"), [("secret", True), ("wrong", False), ("", False)])
async def test_the_host_key_is_the_password(tmp_path: Path, password: str, granted: bool) -> None:
    with ServerWithPassword(tmp_path) as server:
        async with connected(f"127.0.0.1:{server.port}", password=password) as cohort:
            if granted:
                await eventually(lambda: grants(cohort))
            else:
                with pytest.raises(Unavailable):
                    await cohort.allocate("a")


async def test_a_path_is_a_unix_socket() -> None:
    # The path of a socket has at most 108 bytes, and pytest's directory may be longer.
    with TemporaryDirectory() as directory, ServerWithPassword(Path(directory)) as server:
        async with connected(str(server.socket), password="secret") as cohort:
            await eventually(lambda: grants(cohort))


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[list[Node]]:
    """Three nodes that are not connected to each other."""
    with ExitStack() as stack:
        yield [stack.enter_context(Node(tmp_path / str(number))) for number in range(3)]


def join(nodes: list[Node]) -> list[str]:
    """Connect nodes to a cluster, and return their addresses."""
    slots = (b"0 5460", b"5461 10922", b"10923 16383")
    for node, some in zip(nodes, slots, strict=True):
        assert node.send(b"CLUSTER ADDSLOTSRANGE " + some + b"\r\n") == b"+OK\r\n"
    for node in nodes[1:]:
        nodes[0].send(f"CLUSTER MEET 127.0.0.1 {node.port} {node.bus_port}\r\n".encode())
    return addresses(nodes)


def addresses(nodes: list[Node]) -> list[str]:
    return [f"127.0.0.1:{node.port}" for node in nodes]


async def test_several_host_paths_are_seeds_of_a_cluster(cluster: list[Node]) -> None:
    async with connected(*join(cluster)) as cohort:
        await eventually(lambda: grants(cohort))
        both = {"pool": None, "pools": (Units(pool="gpu"), Units(pool="seats"))}
        assert (await cohort.allocate("b", **both)).status == "granted"
        assert (await cohort.allocate("c", **both, wait_seconds=60)).status == "waiting"
        await cohort.release("b", pool=None, pools=("gpu", "seats"))
        assert (await cohort.allocate("c", **both, wait_seconds=60)).status == "granted"
        assert [await cohort.recount(pool) for pool in ("gpu", "seats")] == [(), ()]


async def test_a_cluster_without_slots_grants_nothing(cluster: list[Node]) -> None:
    async with connected(*addresses(cluster)) as cohort:
        for token in "ab":
            assert not await grants(cohort, token)


async def test_a_cluster_is_used_again_after_an_outage(cluster: list[Node]) -> None:
    async with connected(*join(cluster)) as cohort:
        await eventually(lambda: grants(cohort))
        for node in cluster:
            node.stop()
        assert not await grants(cohort)
        for node in cluster:
            node.start()
        await eventually(lambda: grants(cohort))
