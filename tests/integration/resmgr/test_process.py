"""The process of resmgr: its start, failures at the start, and its end."""

import json
import os
import signal
import subprocess
import sys
import urllib.request

from tests.integration.resmgr.running import PATIENCE_SECONDS, eventually
from tests.processes import ended
from tests.servers import NatsServer, ValkeyServer, free_port
from tests.settings_stream import SettingsStream
from trimtab.messages.events import PoolChanged


def process(**variables: str) -> subprocess.Popen[str]:
    inherited = {key: value for key, value in os.environ.items() if key[:7] != "TRIMTAB"}
    return subprocess.Popen(
        [sys.executable, "-m", "trimtab_resmgr"],
        env={**inherited, **{f"TRIMTAB_{name}": value for name, value in variables.items()}},
        stderr=subprocess.PIPE,
        text=True,
    )


async def test_a_pool_above_the_ceiling_is_reported_and_does_not_stop_the_start(
    nats_server: NatsServer, valkey_server: ValkeyServer, settings_stream: SettingsStream
) -> None:
    await settings_stream.announce(PoolChanged(name="gpu", quota=101))
    block = {"type": "redis", "resourceMaxQuota": 100}
    redis = {"hostPaths": [f"127.0.0.1:{valkey_server.port}"]}
    manager, port = json.dumps({**block, "redis": redis}), free_port()
    running = process(NATS_URL=nats_server.url, RESOURCEMANAGER=manager, PORT=str(port))
    reason = "quota of pool 'gpu': 101 is not valid; allowed: at most resourceMaxQuota, 100"
    with ended(running):
        await eventually(lambda: is_ready(port))
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}/readyz", timeout=PATIENCE_SECONDS
        ) as reply:
            assert json.load(reply)["quotas_cut"] == [reason]
        running.terminate()
        _, logged = running.communicate(timeout=PATIENCE_SECONDS)
    assert reason in logged


async def test_sigterm_ends_it_with_status_0(
    nats_server: NatsServer, settings_stream: SettingsStream
) -> None:
    await settings_stream.announce(PoolChanged(name="gpu", quota=10))
    port = free_port()
    with ended(process(NATS_URL=nats_server.url, PORT=str(port))) as running:
        await eventually(lambda: is_ready(port))
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=PATIENCE_SECONDS)
    assert running.returncode == 0


def test_sigterm_ends_it_while_it_waits_for_nats() -> None:
    with ended(process(NATS_URL=f"nats://127.0.0.1:{free_port()}")) as waiting:
        assert waiting.stderr is not None
        while "nats.error" not in waiting.stderr.readline():
            assert waiting.poll() is None
        waiting.send_signal(signal.SIGTERM)
        waiting.communicate(timeout=PATIENCE_SECONDS)
    assert waiting.returncode == 0


async def is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}/readyz", timeout=PATIENCE_SECONDS
        ) as answer:
            return json.load(answer)["status"] == "ready"
    except OSError:
        return False
