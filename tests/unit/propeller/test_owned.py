"""How many executions a propeller owns, and which ones have room first."""

import asyncio
from typing import Any, cast

from trimtab_propeller.owned import OwnedExecutions


def owned(bound: int) -> OwnedExecutions:
    return OwnedExecutions(cast(asyncio.TaskGroup, None), cast(Any, None), bound)


def test_requests_leave_room_to_executions_that_are_to_be_taken_over() -> None:
    executions = owned(2)
    executions.keep_room(2)
    assert (executions.has_room, executions.has_room_for_orphans) == (False, True)
    executions.keep_room(1)
    assert executions.has_room
    with executions.reserve():
        assert (executions.has_room, executions.has_room_for_orphans) == (False, True)
    executions.keep_room(0)
    assert executions.has_room


def test_a_full_propeller_has_no_room_at_all() -> None:
    executions = owned(1)
    with executions.reserve():
        assert (executions.has_room, executions.has_room_for_orphans) == (False, False)
    assert executions.has_room
