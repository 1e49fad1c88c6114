"""A process that writes changes and relays them until it kills itself at a chosen point."""

import asyncio
import os
import signal

from trimtab.messages import subjects
from trimtab.messages.events import DomainChanged
from trimtab.runtime.config import ServiceConfig
from trimtab.runtime.connection import connect
from trimtab_admin.storage import outbox
from trimtab_admin.storage.database import Sessions, reading_sessions_of, sessions_of
from trimtab_admin.storage.outbox import OutboxRow, Write
from trimtab_admin.storage.relay import Relay

POINTS = ("before commit", "before publish", "before mark")


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class KilledRelay(Relay):
    """Kills the process at the third row, so that a part of a batch is published."""

    point = ""
    rows = 0

    async def _publish(self, row: OutboxRow, last_sequence: int, last_event_id: str) -> int:
        self.rows += 1
        number = self.rows
        if number == 3 and self.point == "before publish":
            await self._client.flush()
            kill_self()
        sequence = await super()._publish(row, last_sequence, last_event_id)
        if number == 3 and self.point == "before mark":
            kill_self()
        return sequence


def domains(prefix: str, count: int) -> list[Write]:
    """Return changes of different subjects, so that the stream keeps every message."""
    names = [f"{prefix}-{index}" for index in range(count)]
    return [Write(subjects.domain(name), DomainChanged(name=name)) for name in names]


async def write_changes(sessions: Sessions, prefix: str, point: str) -> None:
    for write in domains(prefix, 5):
        async with sessions.begin() as session:
            await outbox.append(session, [write])
    async with sessions.begin() as session:
        await outbox.append(session, domains(f"{prefix}-lost", 2))
        if point == "before commit":
            kill_self()


async def _main(database: str, nats_url: str, prefix: str, point: str) -> None:
    sessions = sessions_of(database)
    await write_changes(sessions, prefix, point)
    async with connect(ServiceConfig(nats_url=nats_url), "admin") as client:
        relay = KilledRelay(client, sessions, reading_sessions_of(database))
        relay.point = point
        await relay.run()


def main(database: str, nats_url: str, prefix: str, point: str) -> None:
    asyncio.run(_main(database, nats_url, prefix, point))
