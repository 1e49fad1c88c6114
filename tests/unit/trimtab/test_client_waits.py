"""A caller that waits for an execution learns why no propeller claims it."""

import asyncio
from collections.abc import AsyncGenerator
from typing import cast

import pytest

from tests.servers import PATIENCE_SECONDS
from trimtab.api.executions import ExecutionBody, ExecutionChangeBody, ExecutionEndBody
from trimtab.client import executions
from trimtab.client.http import HttpApi
from trimtab.testing import AT


def body(phase: str, reason: str = "") -> ExecutionBody:
    names = {"id": "x", "project": "shop", "domain": "dev", "workflow": "w", "version": "1"}
    content = {**names, "launch_plan": "w", "created_at": AT, "updated_at": AT}
    return ExecutionBody.model_validate({**content, "phase": phase, "reason": reason})


class Unclaimed(executions.Executions):
    """An execution without a log, and then one that has ended."""

    def __init__(self, *bodies: ExecutionBody) -> None:
        super().__init__(cast(HttpApi, None))
        self._bodies = list(bodies)

    async def follow(
        self, execution: str, since: int | None = None
    ) -> AsyncGenerator[ExecutionChangeBody | ExecutionEndBody, None]:
        await asyncio.Event().wait()
        yield ExecutionEndBody(phase="failed")

    async def get(self, execution: str) -> ExecutionBody:
        return self._bodies.pop(0)


async def test_the_reason_is_reported_although_the_stream_has_no_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(executions, "_UNCLAIMED_SECONDS", 0.01)
    reasons: list[str] = []
    found = Unclaimed(body("requested"), body("requested", "not ready"), body("succeeded"))
    async with asyncio.timeout(PATIENCE_SECONDS):
        ended = await found.wait("x", on_reason=reasons.append)
    assert (ended.phase, reasons) == ("succeeded", ["not ready"])
