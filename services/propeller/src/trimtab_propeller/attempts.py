"""The life of one attempt: wait for a slot and a token, start, watch, record, release.

Whether a node gets another attempt after that is decided by `plan.is_last_attempt`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import TypeVar, assert_never

from trimtab.errors import Rejected
from trimtab.messages.executions import (
    AnyEvent,
    NodeFailed,
    NodePhase,
    NodeRunning,
    NodeStarting,
    NodeState,
    NodeSucceeded,
    NodeWaiting,
)
from trimtab.runtime.retrying import backoff_seconds
from trimtab.tokens.lease import Lease
from trimtab.tokens.protocol import COHORT, Allocate, Allocated
from trimtab_propeller import plan
from trimtab_propeller.execution_log import ExecutionLog
from trimtab_propeller.executors.port import (
    Absent,
    Attempt,
    AttemptRejected,
    Executor,
    ExecutorUnavailable,
    Failed,
    Interrupted,
    Outcome,
    Returned,
    Running,
    Stopped,
)
from trimtab_propeller.slots import Slots
from trimtab_propeller.tokens import Cohorts, WaitReports, adopted_lease

log = logging.getLogger(__name__)

_FIRST_RETRY_SECONDS = 0.1
_LONGEST_RETRY_SECONDS = 5.0
"""The delays between calls of an executor that is unavailable."""

T = TypeVar("T")


@dataclass(frozen=True)
class RunDependencies:
    """The objects that run the attempts of all executions."""

    executor: Executor
    cohorts: Cohorts
    lease_seconds: float
    """The lease that tokens are requested with."""


@dataclass(frozen=True)
class AttemptClearance:
    """The permission to start an attempt: it has a slot, and its token if it needs one."""

    lease: Lease | None
    """``None`` where the task uses no pool."""


class AttemptRunner:
    """Runs one attempt of a node to its end, whichever propeller started it."""

    def __init__(
        self,
        step: plan.RunAttempt,
        execution_log: ExecutionLog,
        slots: Slots,
        dependencies: RunDependencies,
    ) -> None:
        self._log = execution_log
        self._slots = slots
        self._executor = dependencies.executor
        self._attempt = Attempt.from_resolution(
            execution_log.request, execution_log.resolution, step.node, step.number, step.inputs
        )
        self._node = step.node.id
        cohort = self._value("cohort")
        self._tokens = dependencies.cohorts.tokens(cohort if isinstance(cohort, str) else COHORT)
        self._token_request = self._make_token_request(dependencies.lease_seconds)
        self._is_adopted = False

    async def find(self) -> None:
        """Find out whether the attempt was started before, and take a slot for it then.

        This comes before `run`, and for all attempts before any of them runs, so that running
        attempts have their slots before others can take them.
        """
        match await self._until_available(lambda: self._executor.find(self._attempt)):
            case Absent():
                self._is_adopted = False
            case Running() | Returned() | Failed() | Interrupted() | Stopped():
                # A log that was lost and restored does not show that the node is running.
                self._is_adopted = True
            case state:
                assert_never(state)
        if self._is_adopted or self._is_started:
            self._slots.take(self._attempt.id)

    async def run(self) -> None:
        """Run the attempt and append its outcome. Raises `WrongSequence` after a takeover."""
        try:
            await self._run()
        finally:
            self._slots.release(self._attempt.id)

    async def _run(self) -> None:
        if self._is_adopted:
            clearance: AttemptClearance | None = self._adopted_clearance()
        else:
            clearance = await self._wait_for_clearance()
        if clearance is None:
            return
        if clearance.lease is None:
            outcome = await self._execute(None)
        else:
            async with self._tokens.keep_renewed(clearance.lease, verify=self._is_adopted):
                outcome = await self._execute(clearance.lease)
            await self._tokens.release(clearance.lease)
        if outcome is not None:
            await self._record(outcome)

    def _adopted_clearance(self) -> AttemptClearance:
        if self._token_request is None:
            return AttemptClearance(None)
        state = self._log.state.nodes.get(self._node, NodeState())
        return AttemptClearance(adopted_lease(self._token_request, state.fence))

    async def _wait_for_clearance(self) -> AttemptClearance | None:
        """Wait for a slot and the token, holding neither while it waits for the other.

        Return ``None`` where the attempt must not be started any more.
        """
        while not self._is_start_obsolete:
            if not self._slots.has_room_for(self._attempt.id):
                await self._slots.wait_for_release()
                continue
            lease = None
            if self._token_request is not None:
                lease = await self._wait_for_token(self._token_request)
                if lease is None:
                    return None
            if self._slots.has_room_for(self._attempt.id):
                self._slots.take(self._attempt.id)
                return AttemptClearance(lease)
            # Another attempt took the last slot while this one waited for its token.
            if lease is not None:
                await self._tokens.release(lease)
        return None

    async def _wait_for_token(self, request: Allocate) -> Lease | None:
        """Wait for the token. Return ``None`` where the attempt must not be started any more."""
        reports = WaitReports()
        try:
            async with aclosing(self._tokens.request(request)) as answers:
                async for answer in answers:
                    if self._is_start_obsolete:
                        await self._tokens.withdraw(request)
                        return None
                    if isinstance(answer, Lease):
                        return answer
                    if answer.status == "never_fits":
                        await self._fail_node(answer.reason)
                    elif reports.is_due(answer):
                        await self._record_waiting(request, answer)
        except Rejected as error:
            await self._fail_node(str(error))
        return None

    async def _execute(self, lease: Lease | None) -> Outcome | None:
        """Start the attempt, unless it was started before, and wait for its end.

        Return ``None`` where the executor rejects the attempt, and its node has failed therefore.
        """
        attempt = self._attempt
        if not self._is_started:
            fence = None if lease is None else lease.fence
            await self._append(NodeStarting, fence=fence)
        if lease is not None and not await self._exists():
            # The append may have waited for longer than the lease lasts.
            if not lease.held:
                return await _interrupted_by_lost_token(lease)
            attempt = attempt.with_fence(lease.fence)
        try:
            location = await self._executor.start(attempt)
        except ExecutorUnavailable as error:
            return Interrupted(f"the attempt could not be started: {error}")
        except AttemptRejected as error:
            await self._fail_node(f"the attempt could not be started: {error}")
            return None
        if self._phase != "running":
            await self._append(NodeRunning, location=location)
        if lease is None:
            return await self._wait()
        return await self._watch(lease)

    async def _watch(self, lease: Lease) -> Outcome:
        """Wait for the end of the attempt, and stop it if its token is lost before."""
        ending = asyncio.create_task(self._wait())
        losing = asyncio.create_task(lease.lost())
        try:
            await asyncio.wait((ending, losing), return_when=asyncio.FIRST_COMPLETED)
            if ending.done():
                return ending.result()
        finally:
            ending.cancel()
            losing.cancel()
        outcome = await self._until_available(lambda: self._executor.stop(self._attempt))
        # A task that has returned is not run again.
        return outcome if isinstance(outcome, Returned) else await _interrupted_by_lost_token(lease)

    async def _wait(self) -> Outcome:
        return await self._until_available(lambda: self._executor.wait(self._attempt))

    async def _exists(self) -> bool:
        state = await self._until_available(lambda: self._executor.find(self._attempt))
        return not isinstance(state, Absent)

    async def _until_available(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call the executor, and repeat the call while the executor is unavailable."""
        failures = 0
        while True:
            try:
                return await call()
            except ExecutorUnavailable as error:
                failures += 1
                fields = {"attempt": self._attempt.id, "error": str(error)}
                log.warning("executor.unavailable", extra=fields)
                pause = backoff_seconds(
                    failures, first=_FIRST_RETRY_SECONDS, longest=_LONGEST_RETRY_SECONDS
                )
                await asyncio.sleep(pause)

    async def _record(self, outcome: Outcome) -> None:
        """Append the outcome, and whether the node is tried again."""
        match outcome:
            case Returned():
                try:
                    await self._append(NodeSucceeded, output=outcome.output)
                except Rejected as error:  # larger than a message
                    await self._record(Failed(f"the output cannot be recorded: {error}"))
            case Failed() | Interrupted() | Stopped():
                interrupted = isinstance(outcome, Interrupted | Stopped)
                node = self._log.state.nodes[self._node]
                final = plan.is_last_attempt(node, retries=self._retries, interrupted=interrupted)
                await self._append(
                    NodeFailed, error=outcome.error, final=final, interrupted=interrupted
                )
            case _:
                assert_never(outcome)

    async def _record_waiting(self, request: Allocate, answer: Allocated) -> None:
        pool = request.units[0].pool
        await self._append(NodeWaiting, pool=pool, reason=answer.reason, position=answer.position)

    async def _fail_node(self, reason: str) -> None:
        """Record a failure after which the node is not tried again."""
        await self._append(NodeFailed, error=reason, final=True)

    async def _append(self, event: Callable[..., AnyEvent], **fields: object) -> None:
        """Append an event of this attempt."""
        make_event = partial(event, node=self._node, attempt=self._attempt.number, **fields)
        await self._log.append(make_event)

    @property
    def _is_start_obsolete(self) -> bool:
        """Whether a node has failed for good, after which only started attempts go on."""
        has_failed = any(node.phase == "failed" for node in self._log.state.nodes.values())
        return has_failed and not self._is_started

    @property
    def _phase(self) -> NodePhase:
        node = self._log.state.nodes.get(self._node)
        return "waiting" if node is None else node.phase

    @property
    def _is_started(self) -> bool:
        """Whether the execution log shows that the attempt was started."""
        return self._phase in ("starting", "running")

    @property
    def _retries(self) -> int:
        retries = self._value("retries")
        assert isinstance(retries, int)  # the engine has a default
        return retries

    def _value(self, path: str) -> object:
        return self._log.resolution.value(self._node, path)

    def _make_token_request(self, lease_seconds: float) -> Allocate | None:
        """Return the request for the attempt's token, ``None`` where its task uses no pool."""
        pool, weight = self._value("pool"), self._value("weight")
        if not isinstance(pool, str) or not isinstance(weight, int):
            return None
        return Allocate(
            pool=pool,
            token=self._attempt.id,
            weight=weight,
            project=self._attempt.project,
            domain=self._attempt.domain,
            priority=self._attempt.priority or 0,
            lease_seconds=lease_seconds,
        )


async def _interrupted_by_lost_token(lease: Lease) -> Interrupted:
    """Return the outcome of an attempt whose token is lost, and may be granted to others."""
    return Interrupted(f"the token of {lease.request.units[0].pool} was lost: {await lease.lost()}")
