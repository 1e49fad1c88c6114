"""Pools that services register: a real admin creates them, and resmgr consumes them."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.resmgr.running import Caller, ErrorReply, eventually, redis_config, started
from tests.processes import ended
from tests.servers import PATIENCE_SECONDS, NatsServer, ValkeyServer, free_port
from trimtab import client as api
from trimtab.runtime.connection import connect


class Admin:
    """admin as a process, with the NATS and Valkey servers that it shares with resmgr."""

    def __init__(self, directory: Path, nats: NatsServer, valkey: ValkeyServer) -> None:
        self.nats = nats
        self.valkey = valkey
        self.url = f"http://127.0.0.1:{free_port()}"
        self.token_file = directory / "token"
        self.token_file.write_text("secret")
        environment = {
            **{key: value for key, value in os.environ.items() if key[:7] != "TRIMTAB"},
            "TRIMTAB_DATABASE_URL": f"sqlite+aiosqlite:///{directory}/admin.db",
            "TRIMTAB_NATS_URL": nats.url,
            "TRIMTAB_PORT": self.url.rpartition(":")[2],
            "TRIMTAB_TOKEN_FILE": str(self.token_file),
        }
        self.process = subprocess.Popen([sys.executable, "-m", "trimtab_admin"], env=environment)

    async def answers(self) -> bool:
        try:
            async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client:
                return (await client.get(f"{self.url}/readyz")).is_success
        except httpx.TransportError:
            return False


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admin]:
    """One admin for all tests of the module, which therefore name different pools."""
    directory = tmp_path_factory.mktemp("admin")
    with NatsServer(directory / "nats") as nats, ValkeyServer(directory / "valkey") as valkey:
        admin = Admin(directory, nats, valkey)
        with ended(admin.process):
            yield admin


@pytest.fixture
async def caller(admin: Admin) -> AsyncIterator[Caller]:
    await eventually(admin.answers)
    where = {"admin_url": admin.url, "token_file": admin.token_file}
    async with calling(admin, **where) as caller:
        yield caller


@asynccontextmanager
async def calling(admin: Admin, **more: Any) -> AsyncIterator[Caller]:
    configured = redis_config(admin.nats, admin.valkey, **more)
    async with connect(configured, "test") as client, started(configured):
        yield Caller(client)


async def test_an_unknown_pool_is_created_and_can_be_used_at_once(
    caller: Caller, admin: Admin
) -> None:
    assert (await caller.register("licences", 3)).quota == 3
    assert (await caller.allocate("a", pool="licences", weight=3)).status == "granted"
    async with api.Client(admin.url, "secret") as client:
        assert (await client.pools.get("licences")).quota == 3


async def test_concurrent_registrations_of_a_pool_all_succeed(caller: Caller) -> None:
    answers = await asyncio.gather(*(caller.register("seats", 3) for _ in range(10)))
    assert {answer.quota for answer in answers} == {3}


async def test_another_quota_is_an_error_that_names_both(caller: Caller) -> None:
    await caller.register("slots", 3)
    with pytest.raises(
        ErrorReply, match="has a quota of 3 and cannot be registered with 4"
    ) as error:
        await caller.register("slots", 4)
    assert error.value.problem.status == 409


async def test_a_quota_above_the_ceiling_is_an_error_that_names_it(caller: Caller) -> None:
    with pytest.raises(ErrorReply, match=r"quota: 1001 is not valid; .* resourceMaxQuota, 1000$"):
        await caller.register("many", 1001)


async def test_an_invalid_name_is_refused(caller: Caller) -> None:
    with pytest.raises(
        ErrorReply, match="pool: 'no name' is not valid; allowed: a string of the pattern"
    ):
        await caller.send("register", b'{"pool": "no name", "quota": 1}')


async def test_without_the_api_token_registering_is_refused(admin: Admin) -> None:
    await eventually(admin.answers)
    async with calling(admin, admin_url=admin.url) as caller:
        with pytest.raises(ErrorReply, match="Authorization") as error:
            await caller.register("secrets", 1)
    assert error.value.problem.status == 401


async def test_without_admin_registering_fails_with_503(admin: Admin) -> None:
    await eventually(admin.answers)
    async with calling(admin, admin_url=f"http://127.0.0.1:{free_port()}") as caller:
        with pytest.raises(ErrorReply, match="responds at http") as error:
            await caller.register("other", 4)
    assert error.value.problem.status == 503
