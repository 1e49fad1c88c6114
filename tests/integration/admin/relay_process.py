"""Writes and relays in a process that ends with SIGKILL at a chosen point of its way."""

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


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Dying(Relay):
    """Dies at the third row, so that some of a batch are sent and some are not."""

    point = ""
    seen = 0

    async def _publish(self, row: OutboxRow) -> None:
        self.seen += 1
        if self.seen == 3 and self.point == "before publish":
            die()
        await super()._publish(row)
        if self.seen == 3 and self.point == "before mark":
            die()


def domains(prefix: str, count: int) -> list[Write]:
    """Each on a subject of its own, so that the stream keeps every one."""
    names = [f"{prefix}-{index}" for index in range(count)]
    return [Write(subjects.domain(name), DomainChanged(name=name)) for name in names]


async def write_and_die(sessions: Sessions, prefix: str, point: str) -> None:
    for write in domains(prefix, 5):
        async with sessions.begin() as session:
            await outbox.append(session, [write])
    async with sessions.begin() as session:
        await outbox.append(session, domains(f"{prefix}-lost", 2))
        if point == "before commit":
            die()


async def _main(database: str, nats_url: str, prefix: str, point: str) -> None:
    sessions = sessions_of(database)
    await write_and_die(sessions, prefix, point)
    async with connect(ServiceConfig(nats_url=nats_url), "admin") as client:
        dying = Dying(client, sessions, reading_sessions_of(database))
        dying.point = point
        await dying.run()


def main(database: str, nats_url: str, prefix: str, point: str) -> None:
    asyncio.run(_main(database, nats_url, prefix, point))
