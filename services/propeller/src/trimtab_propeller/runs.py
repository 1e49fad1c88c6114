"""The executions that this propeller acts for."""

import asyncio
from collections.abc import Callable

from trimtab_propeller.journal import Journal
from trimtab_propeller.run import Run


class Runs:
    """One task each, in the service's task group."""

    def __init__(self, group: asyncio.TaskGroup, make: Callable[[Journal], Run]) -> None:
        self._group = group
        self._make = make
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def __contains__(self, execution: object) -> bool:
        return execution in self._tasks

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, journal: Journal) -> None:
        """Act under a new claim, and no longer under an older one."""
        execution = journal.state.execution
        self.stop(execution)
        task = self._group.create_task(self._make(journal).run(), name=execution)
        self._tasks[execution] = task
        task.add_done_callback(lambda done: self._done(execution, done))

    def stop(self, execution: str) -> None:
        """Act no longer; what the executor runs goes on."""
        task = self._tasks.pop(execution, None)
        if task is not None:
            task.cancel()

    def stop_all(self) -> None:
        for execution in list(self._tasks):
            self.stop(execution)

    def _done(self, execution: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(execution) is task:
            del self._tasks[execution]
