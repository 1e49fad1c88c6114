"""The executions that this propeller owns, and how many it may own at once."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from trimtab_propeller.driver import ExecutionDriver
from trimtab_propeller.execution_log import ExecutionLog


class OwnedExecutions:
    """The executions that this propeller drives, one asyncio task for each."""

    def __init__(
        self,
        group: asyncio.TaskGroup,
        make_driver: Callable[[ExecutionLog], ExecutionDriver],
        bound: int,
    ) -> None:
        """``group`` holds the tasks, so that they end with the service."""
        self.bound = bound
        """How many executions may be owned at once."""
        self._group = group
        self._make_driver = make_driver
        self._drivers: dict[str, tuple[ExecutionDriver, asyncio.Task[None]]] = {}
        self._reserved = 0
        self._kept = 0
        self._leaving: set[asyncio.Task[None]] = set()
        self._has_room = asyncio.Event()
        self._has_room.set()

    def __contains__(self, execution: object) -> bool:
        return execution in self._drivers

    def __len__(self) -> int:
        return len(self._drivers) + len(self._leaving) + self._reserved

    async def wait_for_room(self) -> None:
        """Wait until this propeller may own another execution."""
        await self._has_room.wait()

    @property
    def has_room(self) -> bool:
        """Whether a requested execution may be claimed."""
        return self._has_room.is_set()

    @property
    def has_room_for_orphans(self) -> bool:
        """Whether an execution may be taken over."""
        return len(self) < self.bound

    def keep_room(self, orphans: int) -> None:
        """Claim no requested execution before so many others, which run already, have room."""
        self._kept = orphans
        self._count()

    @contextmanager
    def reserve(self) -> Iterator[None]:
        """Count an execution that is being claimed, until the block ends, as owned."""
        self._reserved += 1
        self._count()
        try:
            yield
        finally:
            self._reserved -= 1
            self._count()

    def start(self, claimed: ExecutionLog) -> None:
        """Drive an execution under a new claim, and no longer under an older one."""
        execution = claimed.state.execution
        self._forget(execution)
        driver = self._make_driver(claimed)
        task = self._group.create_task(driver.run(), name=execution)
        self._drivers[execution] = driver, task
        task.add_done_callback(lambda done: self._remove(execution, done))
        self._count()

    def has_event(self, execution: str, index: int) -> bool:
        """Return whether an execution is driven whose log has an event of this index."""
        return execution in self._drivers and self._drivers[execution][0].has_event(index)

    def supersede(self, execution: str) -> None:
        """Stop driving an execution that another propeller has claimed."""
        if execution not in self._drivers:
            return
        driver, task = self._drivers.pop(execution)
        self._leaving.add(task)
        driver.supersede()
        task.add_done_callback(self._leaving.discard)
        task.add_done_callback(lambda _done: self._count())

    def stop_all(self) -> None:
        """Stop driving, for the end of the service. Running attempts go on."""
        for execution in list(self._drivers):
            self._forget(execution)
        for task in self._leaving:
            task.cancel()

    def _forget(self, execution: str) -> None:
        if execution in self._drivers:
            self._drivers.pop(execution)[1].cancel()

    def _remove(self, execution: str, task: asyncio.Task[None]) -> None:
        if execution in self._drivers and self._drivers[execution][1] is task:
            del self._drivers[execution]
        self._count()

    def _count(self) -> None:
        if len(self) + self._kept < self.bound:
            self._has_room.set()
        else:
            self._has_room.clear()
