"""Propeller as a process, requests for it, the logs of its executions, and a resmgr in memory."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import uuid4

import psutil
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from tests.servers import PATIENCE_SECONDS, free_port
from trimtab import load_module
from trimtab.errors import Retryable
from trimtab.messages import subjects
from trimtab.messages.executions import (
    AnyEvent,
    ExecutionRequested,
    NodeState,
    Request,
    State,
    logged_event,
    replay,
)
from trimtab.models import Model
from trimtab.runtime import bus
from trimtab.tokens.protocol import (
    COHORT,
    Allocate,
    Allocated,
    Reassert,
    Release,
    Released,
    Renew,
    Renewed,
)
from trimtab.workflows.graphs.expansion import expand
from trimtab.workflows.graphs.launch_plans import LaunchPlan
from trimtab.workflows.graphs.node_overrides import NodeOverrides

BEAT_SECONDS = 0.5

A = TypeVar("A", bound=Model)


def data_next_to(directory: Path, name: str = "data") -> Path:
    """Return a data directory outside of the directory that the tasks of a test may write to."""
    return directory.with_name(f"{directory.name}-{name}")


class Propeller:
    """``python -m trimtab_propeller``, the command that runs in production."""

    def __init__(self, nats_url: str, directory: Path, **environment: str) -> None:
        self.nats_url = nats_url
        self.data_dir = Path(environment.get("TRIMTAB_DATA_DIR", data_next_to(directory)))
        self.port = free_port()
        self.log = directory / f"propeller-{self.port}.log"
        self._environment = {
            **os.environ,
            "TRIMTAB_NATS_URL": nats_url,
            "TRIMTAB_DATA_DIR": str(self.data_dir),
            "TRIMTAB_TASK_WRITABLE": json.dumps([str(directory)]),
            "TRIMTAB_PORT": str(self.port),
            "TRIMTAB_HEARTBEAT_SECONDS": str(BEAT_SECONDS),
            "TRIMTAB_NATS_PASSWORD": "not-for-tasks",
            **environment,
        }

    def __enter__(self) -> Self:
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "trimtab_propeller"]
            self._process = subprocess.Popen(command, env=self._environment, stderr=log)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self.send(signal.SIGKILL)
        self._process.wait(PATIENCE_SECONDS)
        if error is not None:
            error.add_note(f"{self.log}:\n{self.log.read_text()[-6000:]}")

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once, like a crash."""
        self.send(signal.SIGKILL)
        self._process.wait(PATIENCE_SECONDS)

    def stop(self) -> int:
        """End it in order and return the exit code."""
        self.send(signal.SIGTERM)
        return self._process.wait(PATIENCE_SECONDS)

    def readiness(self) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}/readyz", timeout=PATIENCE_SECONDS
            ) as reply:
                body: dict[str, Any] = json.load(reply)
        except urllib.error.HTTPError as error:
            with error:
                body = json.load(error)
        except OSError as error:
            return {"status": str(error)}
        return body

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Return the records that it has logged under this event name."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line[0] == "{"]
        return [line for line in lines if line["event"] == event]


def request(
    module: Path,
    *,
    revision: int = 0,
    inputs: Mapping[str, Any] | None = None,
    overrides: Mapping[str, NodeOverrides] | None = None,
) -> Request:
    """Make a request to run the module's only workflow, with an execution id that is unique."""
    [workflow] = load_module(module).workflows
    plan = LaunchPlan(name=workflow.name, workflow=workflow.name, version=workflow.version)
    return Request(
        execution=f"e{uuid4().hex[:10]}",
        project="flyteexamples",
        domain="development",
        workflow=expand(workflow),
        launch_plan=plan,
        inputs=workflow.bind_inputs(inputs or {}),
        overrides=dict(overrides or {}),
        revision=revision,
    )


@dataclass
class RecordedLog:
    """The events of an execution log, and the state that they replay to."""

    events: list[AnyEvent] = field(default_factory=list)

    @property
    def types(self) -> list[str]:
        return [event.type for event in self.events]

    @property
    def state(self) -> State:
        return replay(self.events)

    @property
    def nodes(self) -> dict[str, NodeState]:
        return self.state.nodes


def is_running(pid: int) -> bool:
    """Return whether a process runs. A zombie, which some init processes never reap, does not."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


async def until(condition: Callable[[], bool]) -> None:
    """Wait for an effect. Raises `TimeoutError`."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.05)


class Executions:
    """Publishes requests and restores logs in the same way as admin, and reads logs."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def request(self, wanted: Request, *, times: int = 1) -> str:
        """Publish a request and return the id of its execution."""
        event = ExecutionRequested(request=wanted)
        subject = subjects.requested(wanted.domain, wanted.project)
        for _ in range(times):
            await bus.publish(self.client, subjects.EXECUTIONS, subject, event)
        return wanted.execution

    async def until(self, execution: str, *types: str) -> RecordedLog:
        """Return the log up to the first event of these types, even if the server restarts."""
        while True:
            with suppress(Retryable):
                return await self._until(execution, types)

    async def _until(self, execution: str, types: tuple[str, ...]) -> RecordedLog:
        recorded = RecordedLog()
        subject = subjects.events(execution)
        following = bus.follow(self.client, subjects.EXECUTION_EVENTS, subject, every_message=True)
        async with aclosing(following):
            async for message in following:
                if message is None:
                    continue
                event = logged_event(message.subject, message.body)
                if event is None:
                    continue
                recorded.events.append(event)
                if recorded.types[-1] in types:
                    return recorded
        raise AssertionError(f"{execution} has ended with {recorded.types}")

    async def ended(self, execution: str) -> RecordedLog:
        """Wait for the end of an execution and return its log."""
        return await self.until(execution, "succeeded", "failed", "refused")

    async def restore(self, recorded: RecordedLog) -> None:
        """Publish a log again, like admin after the stream has lost it."""
        for event in recorded.events:
            subject = subjects.events(event.execution)
            await bus.publish(self.client, subjects.EXECUTION_EVENTS, subject, event)

    async def read(self, execution: str) -> RecordedLog:
        """Read the log as it is stored now."""
        messages = await bus.read_all(
            self.client, subjects.EXECUTION_EVENTS, subjects.events(execution)
        )
        events = [logged_event(message.subject, message.body) for message in messages]
        return RecordedLog([event for event in events if event is not None])


class FakeResmgr:
    """The protocol of resmgr with one pool, no queue, and leases that never expire."""

    def __init__(self, quota: int) -> None:
        self.quota = quota
        self.held: dict[str, int] = {}
        self.fences: dict[str, int] = {}
        self.requests: list[Allocate] = []
        self.renewals: list[Renew] = []
        self.assertions: list[Reassert] = []
        self.released: list[str] = []
        self.lease_seconds: list[float] = []
        """The leases of the next grants, where they differ from the requested ones."""
        self.retry_after_seconds = 0.5

    @asynccontextmanager
    async def serving(self, client: Client) -> AsyncIterator[Self]:
        async def subscribe(model: type[A], answer: Callable[[A], Model]) -> Subscription:
            async def on_message(message: Msg) -> None:
                reply = answer(model.model_validate_json(message.data))
                if message.reply:
                    await message.respond(reply.model_dump_json().encode())

            subject = subjects.resmgr(model.__name__.lower(), COHORT)
            return await client.subscribe(subject, cb=on_message)

        subscriptions = [
            await subscribe(Allocate, self._allocate),
            await subscribe(Renew, self._renew),
            await subscribe(Reassert, self._reassert),
            await subscribe(Release, self._release),
        ]
        yield self
        for subscription in subscriptions:
            await subscription.unsubscribe()

    def _allocate(self, wanted: Allocate) -> Allocated:
        self.requests.append(wanted)
        if wanted.weight > self.quota:
            reason = f"weight {wanted.weight} is over the quota {self.quota}"
            return Allocated(status="never_fits", reason=reason)
        others = sum(weight for token, weight in self.held.items() if token != wanted.token)
        if others + wanted.weight > self.quota:
            return Allocated(
                status="waiting",
                reason=f"quota {self.quota}",
                position=2,
                retry_after_seconds=self.retry_after_seconds,
            )
        if wanted.token not in self.held:
            self.fences[wanted.token] = len(self.requests)
        self.held[wanted.token] = wanted.weight
        seconds = self.lease_seconds.pop(0) if self.lease_seconds else wanted.lease_seconds
        fence = self.fences[wanted.token]
        return Allocated(status="granted", lease_seconds=seconds, fence=fence)

    def _renew(self, wanted: Renew) -> Renewed:
        self.renewals.append(wanted)
        if wanted.token not in self.fences:
            return Renewed(status="reassert")
        held = wanted.token in self.held and wanted.fence == self.fences[wanted.token]
        return Renewed(status="held" if held else "lost", lease_seconds=wanted.lease_seconds)

    def _reassert(self, wanted: Reassert) -> Renewed:
        self.assertions.append(wanted)
        self.held[wanted.token], self.fences[wanted.token] = wanted.weight, wanted.fence
        return Renewed(status="held", lease_seconds=wanted.lease_seconds)

    def _release(self, wanted: Release) -> Released:
        self.released.append(wanted.token)
        return Released(released=self.held.pop(wanted.token, None) is not None)
