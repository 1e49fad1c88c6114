"""One execution, acted for by its owner from the claim to the end."""

import asyncio
import logging
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from trimtab.errors import Rejected, Retryable
from trimtab.messages.executions import (
    Admitted,
    Failed,
    NodeFailed,
    NodePhase,
    NodeRunning,
    NodeStarting,
    NodeState,
    NodeSucceeded,
    NodeWaiting,
    Refused,
    Request,
    Resolution,
    State,
    Succeeded,
)
from trimtab.runtime.bus import WrongSequence
from trimtab.settings.state import Settings
from trimtab.settings.view import View
from trimtab.tokens.lease import Lease
from trimtab.tokens.protocol import COHORT, Allocate, Allocated
from trimtab_propeller import metrics, plan
from trimtab_propeller.attempts import Broke, Job, Lost, Outcome, Returned, environment
from trimtab_propeller.journal import Journal
from trimtab_propeller.limits import Refusal
from trimtab_propeller.parallelism import Places
from trimtab_propeller.process import ProcessExecutor
from trimtab_propeller.resolve import resolve
from trimtab_propeller.tokens import Cohorts, Seen, Tokens, adopted

log = logging.getLogger(__name__)

BARRIER_SECONDS = 10.0
"""How long a request waits for the settings that it must see, before it is tried again later."""


@dataclass(frozen=True)
class Means:
    """What every run acts with."""

    view: View
    executor: ProcessExecutor
    cohorts: Cohorts
    lease_seconds: float
    """That tokens are asked for."""


@dataclass(frozen=True)
class Cleared:
    """An attempt may start."""

    lease: Lease | None
    """Of its token, where it needs one."""


class Run:
    """Acts for one execution, until its end or until somebody else does."""

    def __init__(self, journal: Journal, means: Means) -> None:
        self._journal = journal
        self._view = means.view
        self._executor = means.executor
        self._cohorts = means.cohorts
        self._lease_seconds = means.lease_seconds
        self._moved = asyncio.Event()
        self._places = Places(None)

    async def run(self) -> None:
        """Never raises but when cancelled: the end of one execution is not the service's end."""
        fields = {"execution": self._state.execution}
        try:
            await self._act()
            log.info("execution.ended", extra={**fields, "phase": self._state.phase})
        except* WrongSequence:
            log.warning("execution.superseded", extra=fields)
        except* Exception as errors:  # the boundary: a defect here must not stop other executions
            log.exception("execution.defect", extra=fields)
            await self._give_up(_first(errors))

    @property
    def _state(self) -> State:
        return self._journal.state

    @property
    def _request(self) -> Request:
        assert self._state.request is not None  # the first event of every log carries it
        return self._state.request

    @property
    def _resolution(self) -> Resolution:
        assert self._state.resolution is not None  # no node is touched before admission
        return self._state.resolution

    async def _give_up(self, reason: str) -> None:
        try:
            await self._journal.append(partial(Failed, node="", error=f"propeller: {reason}"))
        except WrongSequence:
            log.warning("execution.superseded", extra={"execution": self._state.execution})

    async def _act(self) -> None:
        if self._state.resolution is None:
            with metrics.admission():
                admitted = await self._admit()
            if not admitted:
                return
        self._places = Places(self._resolution.max_parallelism)
        acting: dict[tuple[str, int], asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                self._moved.clear()
                for step in plan.steps(self._request, self._state):
                    if isinstance(step, plan.Attempt):
                        attempt = (step.node.id, step.number)
                        if attempt not in acting:
                            self._count(step)
                            acting[attempt] = group.create_task(self._attempt(step))
                            acting[attempt].add_done_callback(lambda _task: self._moved.set())
                    # A node that waits for its token is no step any more, but may start yet.
                    elif all(task.done() for task in acting.values()):
                        await self._end(step)
                        return
                await self._moved.wait()

    async def _end(self, step: plan.Succeed | plan.Fail) -> None:
        match step:
            case plan.Succeed():
                await self._journal.append(partial(Succeeded, output=step.output))
            case plan.Fail():
                await self._journal.append(partial(Failed, node=step.node, error=step.error))

    async def _admit(self) -> bool:
        """Resolve the whole graph; whether it may run."""
        settings = await self._settings()
        try:
            resolution = resolve(self._request, settings, self._executor.capabilities)
        except Refusal as refusal:
            await self._journal.append(
                partial(
                    Refused,
                    node=refusal.node,
                    path=refusal.path,
                    value=refusal.value,
                    limit=refusal.limit,
                    scope=refusal.scope,
                    message=str(refusal),
                )
            )
            return False
        await self._journal.append(partial(Admitted, resolution=resolution))
        return True

    async def _settings(self) -> Settings:
        """A view that holds at least what the request must see."""
        while True:
            try:
                with metrics.barrier():
                    return await self._view.wait_for(self._request.revision, BARRIER_SECONDS)
            except Retryable as error:
                fields = {"execution": self._state.execution, "error": str(error)}
                log.warning("execution.behind", extra=fields)

    def _count(self, step: plan.Attempt) -> None:
        """Give a place to what is at work already, before anything new can take it."""
        job = self._job(step)
        if self._phase(step) in ("starting", "running") or self._executor.knows(job):
            self._places.take(job.name)

    async def _attempt(self, step: plan.Attempt) -> None:
        """See one attempt to its end, whoever started it."""
        job = self._job(step)
        try:
            await self._conducted(step, job)
        finally:
            self._places.give_back(job.name)

    async def _conducted(self, step: plan.Attempt, job: Job) -> None:
        ask, known = self._ask(job), self._executor.knows(job)
        if known:
            # A log that was lost does not say what node is at work.
            fence = self._state.nodes.get(step.node.id, NodeState()).fence
            cleared: Cleared | None = Cleared(None if ask is None else adopted(ask, fence))
        else:
            cleared = await self._cleared(step, job, ask)
        if cleared is None:
            return
        if cleared.lease is None:
            outcome = await self._executed(step, job, None)
        else:
            tokens = self._tokens(step)
            async with tokens.kept(cleared.lease, doubtful=known):
                outcome = await self._executed(step, job, cleared.lease)
            await tokens.release(cleared.lease)
        await self._record(step, outcome)

    async def _cleared(self, step: plan.Attempt, job: Job, ask: Allocate | None) -> Cleared | None:
        """Wait for a place and the token, holding neither without the other.

        ``None`` where the attempt is not to be started any more.
        """
        while True:
            while not self._places.has_room_for(job.name):
                await self._places.changed()
                if self._has_failed:
                    return None
            lease = None if ask is None else await self._granted(step, ask)
            if ask is not None and lease is None:
                return None
            if self._places.has_room_for(job.name):
                self._places.take(job.name)
                return Cleared(lease)
            # Somebody else took the last place while resmgr was asked.
            if lease is not None:
                await self._tokens(step).release(lease)

    async def _executed(self, step: plan.Attempt, job: Job, lease: Lease | None) -> Outcome:
        place = {"node": step.node.id, "attempt": step.number}
        if self._phase(step) not in ("starting", "running"):
            fence = None if lease is None else lease.fence
            await self._journal.append(partial(NodeStarting, **place, fence=fence))
        if lease is not None and not self._executor.knows(job):
            # The log may have kept us waiting for longer than the lease lasts.
            if not lease.held:
                return await _without(lease)
            job = job.fenced(lease.fence)
        try:
            where = await self._executor.start(job)
        except OSError as error:
            return Lost(f"the attempt could not be started: {error}")
        if self._phase(step) != "running":
            await self._journal.append(partial(NodeRunning, **place, location=where))
        if lease is None:
            return await self._executor.wait(job)
        return await self._watched(job, lease)

    async def _watched(self, job: Job, lease: Lease) -> Outcome:
        """The end of an attempt, which is made to end where its token is lost before."""
        ending = asyncio.create_task(self._executor.wait(job))
        losing = asyncio.create_task(lease.lost())
        try:
            await asyncio.wait((ending, losing), return_when=asyncio.FIRST_COMPLETED)
            if ending.done():
                return ending.result()
        finally:
            ending.cancel()
            losing.cancel()
        outcome = await self._executor.stopped(job)
        # What was done by then is not done again.
        return outcome if isinstance(outcome, Returned) else await _without(lease)

    async def _record(self, step: plan.Attempt, outcome: Outcome) -> None:
        place = {"node": step.node.id, "attempt": step.number}
        match outcome:
            case Returned():
                await self._journal.append(partial(NodeSucceeded, **place, output=outcome.output))
            case Broke() | Lost():
                lost = isinstance(outcome, Lost)
                node = self._state.nodes[step.node.id]
                final = plan.is_final(node, retries=self._retries(step), lost=lost)
                failed = partial(
                    NodeFailed, **place, error=outcome.error, final=final, interrupted=lost
                )
                await self._journal.append(failed)

    async def _granted(self, step: plan.Attempt, ask: Allocate) -> Lease | None:
        """Wait for the token; ``None`` where the attempt is not to be started any more."""
        tokens, seen = self._tokens(step), Seen()
        try:
            async with aclosing(tokens.asking(ask)) as answers:
                async for answer in answers:
                    if self._has_failed:
                        await tokens.withdraw(ask)
                        return None
                    if isinstance(answer, Lease):
                        return answer
                    if answer.status == "never_fits":
                        await self._fail_for_good(step, answer.reason)
                    elif seen.is_news(answer):
                        await self._wait_visibly(step, ask, answer)
        except Rejected as error:
            await self._fail_for_good(step, str(error))
        return None

    async def _wait_visibly(self, step: plan.Attempt, ask: Allocate, answer: Allocated) -> None:
        await self._journal.append(
            partial(
                NodeWaiting,
                node=step.node.id,
                attempt=step.number,
                pool=ask.units[0].pool,
                reason=answer.reason,
                position=answer.position,
            )
        )

    async def _fail_for_good(self, step: plan.Attempt, reason: str) -> None:
        node, number = step.node.id, step.number
        failed = partial(NodeFailed, node=node, attempt=number, error=reason, final=True)
        await self._journal.append(failed)

    @property
    def _has_failed(self) -> bool:
        """Whether nothing more is to be started."""
        return any(node.phase == "failed" for node in self._state.nodes.values())

    def _phase(self, step: plan.Attempt) -> NodePhase:
        node = self._state.nodes.get(step.node.id)
        return "waiting" if node is None else node.phase

    def _retries(self, step: plan.Attempt) -> int:
        retries = self._resolution.value(step.node.id, "retries")
        assert isinstance(retries, int)  # the engine's default is always there
        return retries

    def _job(self, step: plan.Attempt) -> Job:
        request, node = self._request, step.node.id
        return Job(
            execution=request.execution,
            node=node,
            attempt=step.number,
            task=step.node.task,
            inputs=step.inputs,
            module=request.workflow.module,
            environment=environment(request, self._resolution, node, step.number),
        )

    def _ask(self, job: Job) -> Allocate | None:
        """For the token of an attempt; ``None`` where its task names no pool."""
        value = partial(self._resolution.value, job.node)
        pool, weight, priority = value("pool"), value("weight"), value("priority")
        if not isinstance(pool, str) or not isinstance(weight, int):
            return None
        return Allocate(
            pool=pool,
            token=job.name,
            weight=weight,
            project=self._request.project,
            domain=self._request.domain,
            priority=priority if isinstance(priority, int) else 0,
            lease_seconds=self._lease_seconds,
        )

    def _tokens(self, step: plan.Attempt) -> Tokens:
        cohort = self._resolution.value(step.node.id, "cohort")
        return self._cohorts.of(cohort if isinstance(cohort, str) else COHORT)


async def _without(lease: Lease) -> Lost:
    """An attempt whose lease was lost; somebody else may have its units."""
    return Lost(f"the token of {lease.request.units[0].pool} was lost: {await lease.lost()}")


def _first(errors: BaseExceptionGroup[BaseException]) -> str:
    """The first error of a group of groups, as a traceback ends."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
