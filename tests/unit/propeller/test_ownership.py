"""Which executions without an owner a propeller takes over, and when."""

import asyncio
from collections.abc import Container
from types import SimpleNamespace
from typing import Any

import pytest

from tests.servers import PATIENCE_SECONDS
from trimtab_propeller.claims import (
    MISSED_HEARTBEATS,
    MISSED_WHERE_NONE_STARTS,
    Claim,
    Claims,
)
from trimtab_propeller.execution_log import Claimer
from trimtab_propeller.owned import OwnedExecutions
from trimtab_propeller.ownership import Ownership


async def test_a_propeller_that_can_start_no_attempt_leaves_orphans_to_others_for_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client: Any = SimpleNamespace(stats={"reconnects": 0})
    host: Any = SimpleNamespace(problem="no process can be forked")
    unused: Any = None
    missed_beats, both = list[int](), asyncio.Event()

    def orphans(_claims: Claims, _now: float, _driven: Container[str], missed: int) -> list[Claim]:
        missed_beats.append(missed)
        host.problem = ""
        if len(missed_beats) == 2:
            both.set()
        return []

    monkeypatch.setattr(Claims, "orphans", orphans)
    executions = OwnedExecutions(unused, unused, bound=1)
    ownership = Ownership(client, Claimer("me", "here"), executions, host, heartbeat_seconds=0.001)
    monkeypatch.setattr(ownership, "_is_current", True)
    looking = asyncio.create_task(ownership._look_for_orphans())
    async with asyncio.timeout(PATIENCE_SECONDS):
        await both.wait()
    looking.cancel()
    assert missed_beats[:2] == [MISSED_WHERE_NONE_STARTS, MISSED_HEARTBEATS]
