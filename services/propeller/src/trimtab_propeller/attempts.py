"""The life of one attempt: wait for a slot and a token, start, watch, record, release.

Whether a node gets another attempt after that is decided by `progress.is_last_attempt`. A defect in
one attempt ends that attempt.
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
from trimtab.runtime.bus import WrongSequence
from trimtab.runtime.retrying import backoff_seconds
from trimtab.tokens.lease import Lease
from trimtab.tokens.protocol import COHORT, Allocate, Allocated
from trimtab_propeller import progress
from trimtab_propeller.availability import ExecutorAvailability
from trimtab_propeller.control import RunControl, unless
from trimtab_propeller.execution_log import ExecutionLog
from trimtab_propeller.executors.attempt import Attempt
from trimtab_propeller.executors.port import (
    Absent,
    AttemptRejected,
    Executor,
    ExecutorUnavailable,
    Failed,
    Interrupted,
    Location,
    Outcome,
    Returned,
    Stopped,
)
from trimtab_propeller.slots import Slots
from trimtab_propeller.tokens import Cohorts, WaitReports, adopted_lease

log = logging.getLogger(__name__)

_FIRST_RETRY_SECONDS = 0.1
_LONGEST_RETRY_SECONDS = 5.0
"""The delays between calls of an executor that is unavailable, or fails by a defect."""

T = TypeVar("T")


@dataclass(frozen=True)
class RunDependencies:
    """The objects that run the attempts of all executions."""

    executor: Executor
    availability: ExecutorAvailability
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
        step: progress.RunAttempt,
        execution_log: ExecutionLog,
        slots: Slots,
        control: RunControl,
        dependencies: RunDependencies,
    ) -> None:
        self._log = execution_log
        self._slots = slots
        self._control = control
        self._executor = dependencies.executor
        self._availability = dependencies.availability
        self._attempt = Attempt.from_resolution(
            execution_log.request, execution_log.resolution, step.node, step.number, step.inputs
        )
        self._node = step.node.id
        cohort = self._value("cohort")
        self._tokens = dependencies.cohorts.tokens(cohort if isinstance(cohort, str) else COHORT)
        self._token_request = self._make_token_request(dependencies.lease_seconds)
        self._is_adopted = False
        self._starting: asyncio.Task[Location] | None = None
        self._is_over = False

    @property
    def node_and_number(self) -> tuple[str, int]:
        return self._node, self._attempt.number

    @property
    def is_adopted(self) -> bool:
        """Whether `find` has found that the attempt was started before."""
        return self._is_adopted

    async def find(self) -> None:
        """Find out whether the attempt was started before, and take a slot for it then.

        This comes before `run`, and for all attempts before any of them runs, so that running
        attempts have their slots before others can take them.
        """
        try:
            # A log that was lost and restored does not show that the node is running.
            self._is_adopted = await self._until_available(self._exists)
        except Exception:  # the boundary: `run` looks again
            log.exception("attempt.defect", extra={"attempt": self._attempt.id})
            self._is_adopted = True
        if self._is_adopted or self._is_started:
            self._slots.take(self._attempt.id)

    async def run(self) -> None:
        """Run the attempt and append its outcome. Raises only `WrongSequence`, after a takeover."""
        try:
            await self._run()
        except WrongSequence:
            raise
        except Exception as error:  # the boundary: a defect here must not end other attempts
            log.exception("attempt.defect", extra={"attempt": self._attempt.id})
            outcome = _interrupted_by_defect(error)
            await self._until_possible(lambda: self._record(outcome))
        finally:
            self._slots.release(self._attempt.id)
        self._is_over = True

    async def stop_unrecorded(self) -> None:
        """Stop the attempt, if it runs, for an execution that this propeller owns no longer.

        The log and the token belong to the new owner.
        """
        if self._is_over:
            return
        if self._starting is not None:
            # A cancelled start goes on in its thread, and what it starts has to be found.
            await asyncio.wait((self._starting,))
        if await self._until_possible(self._exists):
            await self._until_possible(self._stop)

    async def _run(self) -> None:
        if self._is_adopted:
            clearance: AttemptClearance | None = self._adopted_clearance()
        else:
            clearance = await self._wait_for_clearance()
        if clearance is None:
            if self._is_started:
                await self._record(self._stopped())
            return
        lease = clearance.lease
        if lease is None:
            outcome = await self._execute(None)
        else:
            async with self._tokens.keep_renewed(lease, verify=self._is_adopted):
                outcome = await self._execute(lease)
            await self._tokens.release(lease)
        if outcome is not None:
            await self._record(outcome)

    def _adopted_clearance(self) -> AttemptClearance:
        if self._token_request is None:
            return AttemptClearance(None)
        state = self._state
        return AttemptClearance(
            adopted_lease(self._token_request, state.fence, state.lease_seconds)
        )

    async def _wait_for_clearance(self) -> AttemptClearance | None:
        """Wait for a slot and the token, holding neither while it waits for the other.

        Return ``None`` where the attempt must not be started any more.
        """
        await unless(self._must_not_start, self._availability.wait())
        await self._wait_for_code()
        while not self._must_not_start.is_set():
            if not self._slots.has_room_for(self._attempt.id):
                await unless(self._must_not_start, self._slots.wait_for_room())
                continue
            lease = None
            if self._token_request is not None:
                # This attempt takes no slot yet, so another one may.
                self._slots.wake()
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

    async def _wait_for_code(self) -> None:
        """Wait until the executor has the code, for as long as the attempt may be started."""
        failures = 0
        while not self._must_not_start.is_set():
            try:
                await unless(self._must_not_start, self._executor.fetch(self._attempt))
                return
            except AttemptRejected as error:
                await self._fail_node(f"the attempt could not be started: {error}")
            except ExecutorUnavailable as error:
                failures += 1
                if self._state.reason != str(error):
                    await self._append(NodeWaiting, pool="", reason=str(error))
                await unless(self._must_not_start, _back_off(failures))

    async def _wait_for_token(self, request: Allocate) -> Lease | None:
        """Wait for the token. Return ``None`` where the attempt must not be started any more."""
        lease = await unless(self._must_not_start, self._request_token(request))
        if self._must_not_start.is_set():
            # The token may have been granted just now, too.
            await self._tokens.withdraw(request)
            return None
        return lease

    async def _request_token(self, request: Allocate) -> Lease | None:
        """Request the token until it is granted. Return ``None`` where the node has failed."""
        reports = WaitReports()
        try:
            async with aclosing(self._tokens.request(request)) as answers:
                async for answer in answers:
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
        try:
            return await self._start_and_watch(lease)
        except WrongSequence:
            raise
        except Exception as error:  # the boundary: the token is held until the attempt has ended
            log.exception("attempt.defect", extra={"attempt": self._attempt.id})
            if await self._until_possible(self._exists):
                await self._until_possible(self._stop)
            return _interrupted_by_defect(error)

    async def _start_and_watch(self, lease: Lease | None) -> Outcome | None:
        attempt = self._attempt
        if not self._is_started:
            await self._append(
                NodeStarting,
                fence=None if lease is None else lease.fence,
                lease_seconds=lease.seconds if lease is not None and lease.expires else None,
                location=self._executor.location,
            )
        if lease is not None and not await self._until_available(self._exists):
            # The append may have waited for longer than the lease lasts.
            if not lease.held:
                return await _interrupted_by_lost_token(lease)
            attempt = attempt.with_fence(lease.fence)
        try:
            location = await self._start(attempt)
        except ExecutorUnavailable as error:
            reason = f"the attempt could not be started: {error}"
            # Other attempts fail for the same reason, so that this one is not to blame.
            is_host_failing = await self._availability.is_host_failing(error)
            return Stopped(reason) if is_host_failing else Interrupted(reason)
        except AttemptRejected as error:
            await self._fail_node(f"the attempt could not be started: {error}")
            return None
        self._availability.record_start()
        if self._phase != "running":
            await self._append(NodeRunning, location=location)
        return await self._watch(lease)

    async def _start(self, attempt: Attempt) -> Location:
        self._starting = asyncio.create_task(self._executor.start(attempt))
        return await asyncio.shield(self._starting)

    async def _watch(self, lease: Lease | None) -> Outcome:
        """Wait for the end of the attempt, and stop it before if it may not go on."""
        ending = asyncio.create_task(self._wait())
        stopping: list[asyncio.Task[object]] = [asyncio.create_task(self._control.stopped.wait())]
        if lease is not None:
            stopping.append(asyncio.create_task(lease.lost()))
        try:
            await asyncio.wait((ending, *stopping), return_when=asyncio.FIRST_COMPLETED)
            if ending.done():
                return ending.result()
        finally:
            ending.cancel()
            for task in stopping:
                task.cancel()
        outcome = await self._until_available(self._stop)
        if isinstance(outcome, Returned):
            return outcome  # a task that has returned is not run again
        if lease is not None and not lease.held:
            return await _interrupted_by_lost_token(lease)
        return self._stopped()

    def _stopped(self) -> Stopped:
        return Stopped(f"propeller stopped the attempt: {self._control.reason}")

    async def _wait(self) -> Outcome:
        return await self._until_available(lambda: self._executor.wait(self._attempt))

    async def _stop(self) -> Outcome:
        return await self._executor.stop(self._attempt)

    async def _exists(self) -> bool:
        return not isinstance(await self._executor.find(self._attempt), Absent)

    async def _until_available(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call the executor, and repeat the call while the executor is unavailable."""
        return await self._repeat(call, ExecutorUnavailable)

    async def _until_possible(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call until it succeeds, where the execution must not end, or go on, before it has."""
        return await self._repeat(call, Exception)

    async def _repeat(self, call: Callable[[], Awaitable[T]], error_type: type[Exception]) -> T:
        failures = 0
        while True:
            try:
                return await call()
            except WrongSequence:
                raise
            except error_type as error:
                failures += 1
                fields = {"attempt": self._attempt.id, "error": f"{type(error).__name__}: {error}"}
                log.warning("executor.unavailable", extra=fields)
                await _back_off(failures)

    async def _record(self, outcome: Outcome) -> None:
        """Append the outcome, and whether the node is tried again."""
        match outcome:
            case Returned():
                try:
                    await self._append(NodeSucceeded, output=outcome.output)
                except Rejected as error:  # larger than a message
                    await self._record(Failed(f"the output cannot be recorded: {error}"))
            case Failed():
                await self._record_failure(outcome.error)
            case Interrupted():
                await self._record_failure(outcome.error, interrupted=True)
            case Stopped():
                # Older releases do not know `stopped`.
                final = self._control.stopped.is_set()
                await self._append(
                    NodeFailed, error=outcome.error, final=final, interrupted=True, stopped=True
                )
            case _:
                assert_never(outcome)

    async def _record_failure(self, error: str, *, interrupted: bool = False) -> None:
        final = progress.is_last_attempt(
            self._state, retries=self._retries, interrupted=interrupted
        )
        await self._append(NodeFailed, error=error, final=final, interrupted=interrupted)

    async def _record_waiting(self, request: Allocate, answer: Allocated) -> None:
        pool = request.units[0].pool
        await self._append(NodeWaiting, pool=pool, reason=answer.reason, position=answer.position)

    async def _fail_node(self, reason: str) -> None:
        """Record a failure after which the node is not tried again."""
        await self._append(NodeFailed, error=reason, final=True)

    async def _append(self, event: Callable[..., AnyEvent], **fields: object) -> None:
        """Append an event of this attempt. After the final failure of a node, none is started."""
        make_event = partial(event, node=self._node, attempt=self._attempt.number, **fields)
        await self._log.append(make_event)
        if self._phase == "failed":
            self._control.close()

    @property
    def _must_not_start(self) -> asyncio.Event:
        """The event after which the attempt is not started, or not again if it has been."""
        return self._control.stopped if self._is_started else self._control.closed

    @property
    def _state(self) -> NodeState:
        return self._log.state.nodes.get(self._node, NodeState())

    @property
    def _phase(self) -> NodePhase:
        return self._state.phase

    @property
    def _is_started(self) -> bool:
        """Whether the execution log shows that the attempt was started."""
        return self._state.is_started

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


def _interrupted_by_defect(error: Exception) -> Interrupted:
    """Return the outcome of an attempt that ended because of a defect of propeller."""
    first: BaseException = error
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return Interrupted(f"propeller: {type(first).__name__}: {first}")


async def stop_without_description(
    executor: Executor, execution: str, node: str, number: int
) -> None:
    """Stop an attempt of which only the name is known, retrying until it has ended."""
    attempt = Attempt.unknown(execution, node, number)
    failures = 0
    while True:
        try:
            if not isinstance(await executor.find(attempt), Absent):
                await executor.stop(attempt)
            return
        except Exception:  # the boundary: the execution must not end before
            failures += 1
            log.exception("executor.unavailable", extra={"attempt": attempt.id})
            await _back_off(failures)


async def _back_off(failures: int) -> None:
    pause = backoff_seconds(failures, first=_FIRST_RETRY_SECONDS, longest=_LONGEST_RETRY_SECONDS)
    await asyncio.sleep(pause)
