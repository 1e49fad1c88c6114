"""Drive one execution: admit it, run the attempts that its graph allows, and end it."""

import asyncio
import logging
from functools import partial
from typing import assert_never

from trimtab.errors import Retryable
from trimtab.messages.executions import Admitted, Failed, Refused, Succeeded
from trimtab.runtime.bus import WrongSequence
from trimtab.settings.state import Settings
from trimtab.settings.view import View
from trimtab_propeller import metrics, plan
from trimtab_propeller.attempts import AttemptRunner, RunDependencies
from trimtab_propeller.execution_log import ExecutionLog
from trimtab_propeller.limits import Refusal
from trimtab_propeller.resolution import resolve
from trimtab_propeller.slots import Slots

log = logging.getLogger(__name__)

VIEW_TIMEOUT_SECONDS = 10.0
"""How long to wait for the settings that a request must see, before it is tried again later."""


class ExecutionDriver:
    """Drives one execution under one claim, to its end or until another propeller claims it."""

    def __init__(
        self, execution_log: ExecutionLog, view: View, dependencies: RunDependencies
    ) -> None:
        self._log = execution_log
        self._view = view
        self._dependencies = dependencies
        self._attempt_ended = asyncio.Event()

    async def run(self) -> None:
        """Drive the execution. It raises nothing, so that no execution ends the service."""
        fields = {"execution": self._log.state.execution}
        try:
            await self._drive()
            log.info("execution.ended", extra={**fields, "phase": self._log.state.phase})
        except* WrongSequence:
            log.warning("execution.superseded", extra=fields)
        except* Exception as errors:  # the boundary: a defect here must not stop other executions
            log.exception("execution.defect", extra=fields)
            await self._fail(_first_error(errors))

    async def _drive(self) -> None:
        if self._log.state.resolution is None:
            with metrics.measure_admission():
                is_admitted = await self._admit()
            if not is_admitted:
                return
        await self._run_nodes()

    async def _admit(self) -> bool:
        """Resolve the whole graph, append the result, and return whether the execution may run."""
        settings = await self._settings()
        executor = self._dependencies.executor
        try:
            resolution = resolve(self._log.request, settings, executor.capabilities)
        except Refusal as refusal:
            await self._log.append(
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
        await self._log.append(partial(Admitted, resolution=resolution))
        return True

    async def _settings(self) -> Settings:
        """Wait for the settings of at least the revision that the request must see."""
        while True:
            try:
                with metrics.measure_view_wait():
                    return await self._view.wait_for(
                        self._log.request.revision, VIEW_TIMEOUT_SECONDS
                    )
            except Retryable as error:
                fields = {"execution": self._log.state.execution, "error": str(error)}
                log.warning("execution.settings_awaited", extra=fields)

    async def _run_nodes(self) -> None:
        """Run the attempts that the graph allows until a step ends the execution."""
        slots = Slots(self._log.resolution.max_parallelism)
        tasks: dict[tuple[str, int], asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                self._attempt_ended.clear()
                steps = plan.next_steps(self._log.request, self._log.state)
                if isinstance(steps, list):
                    new = [step for step in steps if (step.node.id, step.number) not in tasks]
                    for step, runner in zip(new, await self._find(new, slots), strict=True):
                        task = group.create_task(runner.run())
                        task.add_done_callback(lambda _task: self._attempt_ended.set())
                        tasks[step.node.id, step.number] = task
                # After a failure, a node that waits for its token is not in the steps, but has a
                # task that may be granted it: the execution ends after all tasks.
                elif all(task.done() for task in tasks.values()):
                    await self._end(steps)
                    return
                await self._attempt_ended.wait()

    async def _find(self, steps: list[plan.RunAttempt], slots: Slots) -> list[AttemptRunner]:
        """Find all of the attempts before any of them runs, so that running ones have slots."""
        runners = [AttemptRunner(step, self._log, slots, self._dependencies) for step in steps]
        await asyncio.gather(*(runner.find() for runner in runners))
        return runners

    async def _end(self, end: plan.End) -> None:
        match end:
            case plan.Succeed():
                await self._log.append(partial(Succeeded, output=end.output))
            case plan.Fail():
                await self._log.append(partial(Failed, node=end.node, error=end.error))
            case _:
                assert_never(end)

    async def _fail(self, reason: str) -> None:
        """End the execution because of a defect of propeller."""
        try:
            await self._log.append(partial(Failed, node="", error=f"propeller: {reason}"))
        except WrongSequence:
            log.warning("execution.superseded", extra={"execution": self._log.state.execution})


def _first_error(errors: BaseExceptionGroup[BaseException]) -> str:
    """Return the first error of nested groups, as the last line of a traceback names it."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
