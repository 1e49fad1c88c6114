"""What is written is brought into the file by admin, and not by whoever commits next."""

import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import httpx

from tests.integration.admin.running import FORCE, until


async def test_what_was_written_is_soon_in_the_file(
    admin: httpx.AsyncClient, tmp_path: Path
) -> None:
    path = "/records/workflow_priority"
    revision = (await admin.put(path, params=FORCE, json={"priority": 7})).json()["version"]

    async def is_in_the_file() -> bool:
        shutil.copy(tmp_path / "admin.db", tmp_path / "without-log.db")
        with (
            closing(sqlite3.connect(tmp_path / "without-log.db")) as copy,
            suppress(sqlite3.DatabaseError),  # copied while it was written
        ):
            return copy.execute("SELECT value FROM revision").fetchall() == [(revision,)]
        return False

    await until(is_in_the_file)
