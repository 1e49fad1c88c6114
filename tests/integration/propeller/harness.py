"""Propeller as a process, executions for it, and a resmgr that keeps its promises in memory."""

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

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from tests.servers import free_port
from trimtab import load_module
from trimtab.errors import Retryable
from trimtab.messages import subjects
from trimtab.messages.executions import (
    AnyEvent,
    ExecutionRequested,
    NodeState,
    Request,
    State,
    parse_event,
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
from trimtab.workflows.graph import LaunchPlan, NodeOverrides

BEAT_SECONDS = 0.5

A = TypeVar("A", bound=Model)


class Propeller:
    """``python -m trimtab_propeller``, as in production."""

    def __init__(self, nats_url: str, directory: Path, **environment: str) -> None:
        self.data_dir = directory / "data"
        self.port = free_port()
        self.log = directory / f"propeller-{self.port}.log"
        self._environment = {
            **os.environ,
            "TRIMTAB_NATS_URL": nats_url,
            "TRIMTAB_DATA_DIR": str(self.data_dir),
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
        self._process.wait(10)
        if error is not None:
            error.add_note(f"{self.log}:\n{self.log.read_text()[-6000:]}")

    def send(self, what: signal.Signals) -> None:
        self._process.send_signal(what)

    def kill(self) -> None:
        """At once, as a crash would."""
        self.send(signal.SIGKILL)
        self._process.wait(10)

    def stop(self) -> int:
        """In order; the exit code."""
        self.send(signal.SIGTERM)
        return self._process.wait(20)

    def readiness(self) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as reply:
                body: dict[str, Any] = json.load(reply)
        except urllib.error.HTTPError as error:
            with error:
                body = json.load(error)
        except OSError as error:
            return {"status": str(error)}
        return body

    def logged(self, event: str) -> list[dict[str, Any]]:
        """What it has logged under this name."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line[0] == "{"]
        return [line for line in lines if line["event"] == event]


def request(
    module: Path,
    *,
    revision: int = 0,
    inputs: Mapping[str, Any] | None = None,
    overrides: Mapping[str, NodeOverrides] | None = None,
) -> Request:
    """A request to run the module's only workflow, of an execution of its own."""
    [workflow] = load_module(module).workflows
    plan = LaunchPlan(name=workflow.name, workflow=workflow.name, version=workflow.version)
    return Request(
        execution=f"e{uuid4().hex[:10]}",
        project="flyteexamples",
        domain="development",
        workflow=workflow,
        launch_plan=plan,
        inputs=workflow.bind_inputs(inputs or {}),
        overrides=dict(overrides or {}),
        revision=revision,
    )


@dataclass
class Story:
    """The log of an execution and what it adds up to."""

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


async def until(true: Callable[[], bool], *, seconds: float = 60) -> None:
    """Wait for an effect; the test's own timeout ends what never comes."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.05)


class Executions:
    """Asks for executions as admin does, and reads their logs."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def ask(self, wanted: Request, *, times: int = 1) -> str:
        event = ExecutionRequested(request=wanted)
        subject = subjects.requested(wanted.domain, wanted.project)
        for _ in range(times):
            await bus.publish(self._client, subjects.EXECUTIONS, subject, event)
        return wanted.execution

    async def until(self, execution: str, *types: str) -> Story:
        """Its log up to the first event of one of these types, though the server goes away."""
        while True:
            with suppress(Retryable):
                return await self._until(execution, types)

    async def _until(self, execution: str, types: tuple[str, ...]) -> Story:
        story = Story()
        subject = subjects.events(execution)
        following = bus.follow(self._client, subjects.EXECUTION_EVENTS, subject, every_message=True)
        async with aclosing(following):
            async for message in following:
                if message is None:
                    continue
                story.events.append(parse_event(message.body))
                if story.types[-1] in types:
                    return story
        raise AssertionError(f"{execution} has ended as {story.types}")

    async def ended(self, execution: str) -> Story:
        return await self.until(execution, "succeeded", "failed", "refused")

    async def restore(self, story: Story) -> None:
        """Put a log back, as admin does."""
        for event in story.events:
            subject = subjects.events(event.execution)
            await bus.publish(self._client, subjects.EXECUTION_EVENTS, subject, event)

    async def whole(self, execution: str) -> Story:
        """Its log as it is now."""
        messages = await bus.read_all(
            self._client, subjects.EXECUTION_EVENTS, subjects.events(execution)
        )
        return Story([parse_event(message.body) for message in messages])


class Resmgr:
    """resmgr's protocol with one pool, no order, and leases that never end."""

    def __init__(self, quota: int) -> None:
        self.quota = quota
        self.held: dict[str, int] = {}
        self.fences: dict[str, int] = {}
        self.asked: list[Allocate] = []
        self.renewed: list[Renew] = []
        self.reasserted: list[Reassert] = []
        self.released: list[str] = []
        self.lease_seconds: list[float] = []
        """Of the next grants, where they are not what was asked for."""
        self.retry_after_seconds = 0.5

    @asynccontextmanager
    async def answering(self, client: Client) -> AsyncIterator[Self]:
        async def subscribed(model: type[A], answer: Callable[[A], Model]) -> Subscription:
            async def on_message(message: Msg) -> None:
                said = answer(model.model_validate_json(message.data))
                if message.reply:
                    await message.respond(said.model_dump_json().encode())

            subject = subjects.resmgr(model.__name__.lower(), COHORT)
            return await client.subscribe(subject, cb=on_message)

        subscriptions = [
            await subscribed(Allocate, self._allocate),
            await subscribed(Renew, self._renew),
            await subscribed(Reassert, self._reassert),
            await subscribed(Release, self._release),
        ]
        yield self
        for subscription in subscriptions:
            await subscription.unsubscribe()

    def _allocate(self, wanted: Allocate) -> Allocated:
        self.asked.append(wanted)
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
            self.fences[wanted.token] = len(self.asked)
        self.held[wanted.token] = wanted.weight
        seconds = self.lease_seconds.pop(0) if self.lease_seconds else wanted.lease_seconds
        fence = self.fences[wanted.token]
        return Allocated(status="granted", lease_seconds=seconds, fence=fence)

    def _renew(self, wanted: Renew) -> Renewed:
        self.renewed.append(wanted)
        if wanted.token not in self.fences:
            return Renewed(status="reassert")
        held = wanted.token in self.held and wanted.fence == self.fences[wanted.token]
        return Renewed(status="held" if held else "lost", lease_seconds=wanted.lease_seconds)

    def _reassert(self, wanted: Reassert) -> Renewed:
        self.reasserted.append(wanted)
        self.held[wanted.token], self.fences[wanted.token] = wanted.weight, wanted.fence
        return Renewed(status="held", lease_seconds=wanted.lease_seconds)

    def _release(self, wanted: Release) -> Released:
        self.released.append(wanted.token)
        return Released(released=self.held.pop(wanted.token, None) is not None)
