"""Drive one execution: admit it, run the attempts that its graph allows, and end it.

An execution is ended only when none of its attempts runs any more and their tokens are released.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from functools import partial
from typing import assert_never

from trimtab.blobs.resolutions import UnreadableResolution
from trimtab.messages.executions import Failed, Succeeded
from trimtab.runtime.bus import WrongSequence
from trimtab_propeller import progress, slots
from trimtab_propeller.admission import Admission
from trimtab_propeller.attempts import (
    AttemptRunner,
    RunDependencies,
    stop_without_description,
)
from trimtab_propeller.control import RunControl, unless
from trimtab_propeller.execution_log import ExecutionLog
from trimtab_propeller.queueing_deadline import QueueingDeadline
from trimtab_propeller.slots import Slots

log = logging.getLogger(__name__)

_MAX_REASON = 4000
"""Characters of the reason for which an execution is given up that its log stores."""


class ExecutionDriver:
    """Drives one execution under one claim, to its end or until another propeller claims it."""

    def __init__(
        self, execution_log: ExecutionLog, admission: Admission, dependencies: RunDependencies
    ) -> None:
        self._log = execution_log
        self._admission = admission
        self._dependencies = dependencies
        self._control = RunControl()
        self._queueing = QueueingDeadline(execution_log.state, self._control)
        self._superseded = asyncio.Event()
        self._begun: set[tuple[str, int]] = set()
        self._live: dict[str, AttemptRunner] = {}
        """The attempts that have not ended, by their nodes."""
        self._ended: asyncio.Queue[str] = asyncio.Queue()
        """The nodes of `_live` whose attempts have ended."""
        self._slots: Mapping[str, Slots] | None = None
        """The slots by called launch plan, and under the empty name those of the execution."""

    @property
    def _fields(self) -> dict[str, object]:
        """The fields of the log's records."""
        return {"execution": self._log.state.execution}

    def has_event(self, index: int) -> bool:
        """Return whether the log has an event of this index: another one is foreign."""
        return index < self._log.state.length

    def supersede(self) -> None:
        """Let `run` end, because another propeller has claimed the execution."""
        self._superseded.set()

    async def run(self) -> None:
        """Drive the execution. It raises nothing, so that no execution ends the service."""
        try:
            await self._run()
        except Exception:  # the boundary: this propeller takes it over again, as one without owner
            log.exception("execution.defect", extra=self._fields)

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(self._raise_if_superseded())
                await self._drive(group)
                watching.cancel()
            log.info("execution.ended", extra={**self._fields, "phase": self._log.state.phase})
        except* WrongSequence:
            log.warning("execution.superseded", extra=self._fields)
            await self._leave_to_claimer()

    async def _raise_if_superseded(self) -> None:
        await self._superseded.wait()
        raise WrongSequence(f"{self._log.state.execution} was claimed by another propeller")

    async def _drive(self, group: asyncio.TaskGroup) -> None:
        try:
            if self._log.problem:
                await self._give_up(group, self._log.problem)
            elif await self._is_admitted():
                end = await unless(self._log.full, self._run_nodes(group))
                if end is None:
                    await self._give_up(group, self._log.length_problem)
                else:
                    await self._end(end)
        except WrongSequence:
            raise
        except UnreadableResolution as error:
            await self._give_up(group, str(error))
        except Exception as error:  # the boundary: a defect here must not stop other executions
            log.exception("execution.defect", extra=self._fields)
            await self._give_up(group, f"propeller: {type(error).__name__}: {error}")
        finally:
            self._queueing.cancel()

    async def _is_admitted(self) -> bool:
        """Return whether the execution may run; it is admitted, unless it was before.

        Raises `UnreadableResolution`.
        """
        if not self._log.state.is_admitted:
            return await self._admission.admit()
        await self._admission.load()
        return True

    async def _run_nodes(self, group: asyncio.TaskGroup) -> progress.End:
        """Run the attempts that the graph allows until none can run, and return the end."""
        running = progress.Progress(self._log.request, self._log.state)
        steps = running.first_steps()
        if running.has_failed:
            self._control.close()
        runners = await self._find(steps)
        # What runs was started, even if the log has lost the event that shows it.
        if not any(runner.is_adopted for runner in runners):
            self._queueing.begin()
        self._launch(group, runners)
        while self._live:
            await self._start(group, running.next_steps(await self._next_end()))
        if self._control.stopped.is_set():
            return progress.Fail("", self._control.reason)
        return running.end()

    async def _start(self, group: asyncio.TaskGroup, steps: Iterable[progress.RunAttempt]) -> None:
        """Run attempts, or adopt them where they run already."""
        self._launch(group, await self._find(steps))

    async def _find(self, steps: Iterable[progress.RunAttempt]) -> list[AttemptRunner]:
        """Return the runners of the attempts that this driver has not begun yet.

        All of them are found before any of them runs, so that running ones have slots.
        """
        new = [step for step in steps if (step.node.id, step.number) not in self._begun]
        if self._slots is None:
            plans = self._log.request.workflow.plans
            self._slots = slots.of_parts(self._log.resolution, plans)
        of_parts = self._slots
        runners = [
            AttemptRunner(
                step, self._log, of_parts[step.node.plan], self._control, self._dependencies
            )
            for step in new
        ]
        await asyncio.gather(*(runner.find() for runner in runners))
        return runners

    def _launch(self, group: asyncio.TaskGroup, runners: Iterable[AttemptRunner]) -> None:
        for runner in runners:
            node, number = runner.node_and_number
            self._begun.add((node, number))
            self._live[node] = runner
            task = group.create_task(runner.run())
            task.add_done_callback(partial(self._record_end, node))

    def _record_end(self, node: str, _task: asyncio.Task[None]) -> None:
        self._ended.put_nowait(node)

    async def _next_end(self) -> str:
        """Wait until an attempt has ended, and return its node."""
        node = await self._ended.get()
        del self._live[node]
        return node

    async def _give_up(self, group: asyncio.TaskGroup, reason: str) -> None:
        """Stop every attempt, release the tokens, and then end the execution as failed."""
        self._control.stop(reason)
        state = self._log.state
        for node in [name for name, each in state.nodes.items() if each.is_started]:
            await self._stop_unless_live(group, node)
        while self._live:
            await self._next_end()
        await self._log.append(partial(Failed, node="", error=reason[:_MAX_REASON]))

    async def _stop_unless_live(self, group: asyncio.TaskGroup, node: str) -> None:
        """Stop an attempt that this driver has not adopted yet."""
        number = self._log.state.nodes[node].attempt
        if (node, number) in self._begun:
            return
        try:
            step = progress.adopt(self._log.request, self._log.state, node)
            await self._start(group, [step])
        except WrongSequence:
            raise
        except Exception:  # the boundary: the part of the log that describes it cannot be read
            log.exception("attempt.defect", extra={**self._fields, "node": node})
            executor = self._dependencies.executor
            await stop_without_description(executor, self._log.state.execution, node, number)

    async def _leave_to_claimer(self) -> None:
        """Stop the attempts that the new owner cannot see. It adopts the others."""
        state = await self._log.read()
        is_adopted = state.location in ("", self._log.location) or state.owner == self._log.owner
        if not self._live or (is_adopted and not state.ended):
            return
        fields = {**self._fields, "owner": state.owner, "attempts": len(self._live)}
        log.warning("execution.attempts_stopped", extra=fields)
        await asyncio.gather(*(runner.stop_unrecorded() for runner in self._live.values()))

    async def _end(self, end: progress.End) -> None:
        match end:
            case progress.Succeed():
                await self._log.append(partial(Succeeded, output=end.output))
            case progress.Fail():
                await self._log.append(partial(Failed, node=end.node, error=end.error))
            case _:
                assert_never(end)
