"""The service as a process, as it is deployed."""

import os
import signal
import subprocess
from pathlib import Path

from tests.integration.clusterres.conftest import COMMAND, WORLD, Process, Statuses
from tests.settings_stream import SettingsStream
from trimtab.levels import PLATFORM
from trimtab.messages.events import RecordChanged


async def test_it_is_ready_when_its_view_is_verified_and_ends_on_sigterm(
    process: Process, settings_stream: SettingsStream, statuses: Statuses
) -> None:
    values = RecordChanged.at(PLATFORM, "cluster_resource", {"attributes": {"cpu": "4"}})
    process.start()
    await settings_stream.announce(*WORLD, values)
    await statuses.until(settings_stream.revision)
    found = await process.ready()
    assert found["view"] == {
        "revision": settings_stream.revision,
        "count": len(WORLD) + 1,
        "digest": str(settings_stream.settings.digest),
    }
    assert found["role"] == "active"
    assert dict(found["clusters"])["east"].items() >= {"dirty": 0, "failing": 0}.items()  # type: ignore[call-overload]
    assert process.end(signal.SIGTERM) == 0


async def test_after_a_crash_it_catches_up(
    process: Process, settings_stream: SettingsStream, statuses: Statuses, clusters: Path
) -> None:
    for cpu in ("4", "5"):
        values = RecordChanged.at(PLATFORM, "cluster_resource", {"attributes": {"cpu": cpu}})
        await settings_stream.announce(*WORLD, values)
        process.start()
        await statuses.until(settings_stream.revision)
        process.end(signal.SIGKILL)
    manifest = clusters / "east/alpha-development/ResourceQuota-quota.yaml"
    assert "limits.cpu: 5" in manifest.read_text()


def test_a_missing_variable_ends_the_start_with_one_sentence() -> None:
    environment = {name: value for name, value in os.environ.items() if "TRIMTAB" not in name}
    ended = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("configuration templates: ")
    assert "Traceback" not in ended.stderr
