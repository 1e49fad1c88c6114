"""Execution logs, as propeller writes them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from nats.aio.client import Client

from trimtab.messages import subjects
from trimtab.messages.executions import (
    Admitted,
    AnyEvent,
    NodeFailed,
    NodeRunning,
    NodeStarting,
    NodeSucceeded,
    Owned,
    Request,
    Succeeded,
)
from trimtab.messages.resolutions import Resolution
from trimtab.runtime import bus

BEGAN = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
"""When each log begins: so lately that no admin of a test removes it for its age."""


def events_of(execution: str, request: Request | None = None) -> list[AnyEvent]:
    """Return the events of an execution of two nodes that succeeds."""
    events: list[AnyEvent] = []

    def add(event: type[Any], **fields: Any) -> None:
        at = BEGAN + timedelta(seconds=len(events))
        claim = {"owner": "propeller-1", "epoch": 1, "at": at}
        events.append(event(execution=execution, index=len(events), **claim, **fields))

    add(Owned, request=request)
    add(Admitted, resolution=Resolution(revision=1, executor="process", nodes={}))
    for node in ("n0", "n1"):
        add(NodeStarting, node=node, attempt=1)
        add(NodeRunning, node=node, attempt=1, location=f"/tmp/{node}")
        add(NodeSucceeded, node=node, attempt=1, output=node)
    add(Succeeded, output={"score": 0.9})
    return events


def long_log(execution: str, nodes: int, request: Request | None = None) -> list[AnyEvent]:
    """Return the events of an execution of so many nodes, of which each fails once."""
    events: list[AnyEvent] = []

    def add(event: type[Any], **fields: Any) -> None:
        at = BEGAN + timedelta(seconds=len(events))
        claim = {"owner": "propeller-1", "epoch": 1, "at": at}
        events.append(event(execution=execution, index=len(events), **claim, **fields))

    add(Owned, request=request)
    add(Admitted, resolution=Resolution(revision=1, executor="process", nodes={}))
    for number in range(nodes):
        node = {"node": f"n{number}"}
        add(NodeStarting, attempt=0, fence=7, **node)
        add(NodeFailed, attempt=0, error="exit code 1", final=False, interrupted=True, **node)
        add(NodeStarting, attempt=1, **node)
        add(NodeSucceeded, attempt=1, output=number, **node)
    add(Succeeded, output={"score": 0.9})
    return events


async def append(client: Client, *events: AnyEvent) -> None:
    for event in events:
        subject = subjects.events(event.execution)
        await bus.publish(client, subjects.EXECUTION_EVENTS, subject, event)
