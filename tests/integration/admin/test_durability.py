"""Whether the NATS server keeps what it has acknowledged is read back from the server."""

import json
import logging
from pathlib import Path

import nats
import pytest

from tests.servers import NatsServer
from trimtab_admin.messaging.durability import Sync, read_sync

REPORT = "$SYS.REQ.SERVER.PING.JSZ"


def server(directory: Path, interval: str | None, *, exported: bool = True) -> NatsServer:
    """Return a server with this ``sync_interval``, whose report our account may request."""
    imported = {"service": {"account": "SYS", "subject": REPORT}}
    ours = {"jetstream": "enabled", "users": [{"user": "trimtab", "password": "secret"}]}
    config = {
        "jetstream": {"sync_interval": interval} if interval else {},
        "system_account": "SYS",
        "accounts": {
            "SYS": {"exports": [{"service": REPORT}]},
            "TRIMTAB": {**ours, "imports": [imported]} if exported else ours,
        },
    }
    file = directory / "nats.conf"
    file.write_text(json.dumps(config))
    return NatsServer(directory / "nats", config=file)


@pytest.mark.parametrize(
    ("interval", "expected"),
    [("always", Sync.ALWAYS), (None, Sync.PERIODIC), ("10s", Sync.PERIODIC)],
)
async def test_the_setting_of_the_server_is_read_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, interval: str | None, expected: Sync
) -> None:
    caplog.set_level(logging.WARNING)
    with server(tmp_path, interval) as started:
        client = await nats.connect(started.url, user="trimtab", password="secret")
        assert await read_sync(client) == expected
        await client.close()
    warned = [record for record in caplog.records if record.message == "nats.sync_periodic"]
    assert bool(warned) == (expected == Sync.PERIODIC)
    assert all(record.interval_seconds == {None: 120, "10s": 10}[interval] for record in warned)


async def test_without_the_export_the_setting_is_unknown(tmp_path: Path) -> None:
    with server(tmp_path, "always", exported=False) as started:
        client = await nats.connect(started.url, user="trimtab", password="secret")
        assert await read_sync(client) == Sync.UNKNOWN
        await client.close()
