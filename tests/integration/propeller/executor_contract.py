"""The contract of `trimtab_propeller.executors.port.Executor`, for every implementation.

A test class for an implementation inherits the tests. It implements how an executor is made, how
its data is broken, and how an attempt is ended from outside.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import JsonValue

from tests.integration.propeller.harness import data_next_to
from tests.servers import PATIENCE_SECONDS
from trimtab.workflows.graphs.targets import Container, Pod
from trimtab_propeller.executors.attempt import Attempt, ProgramKind
from trimtab_propeller.executors.port import (
    Absent,
    AttemptRejected,
    Executor,
    ExecutorUnavailable,
    Failed,
    Interrupted,
    Returned,
    Running,
    Stopped,
)

MODULE = """
import atexit, os, signal, sys, time
from pathlib import Path
from trimtab import task

ENOUGH = 6000  # of 0.02 s, so that a failed test leaves no task behind

def begin(directory):
    with open(directory + "/begun", "a") as begun:
        begun.write("once\\n")

@task
def double(x): return 2 * x

@task
def variable(name): return os.environ.get(name)

@task
def fails(): raise ValueError("no rows")

@task
def gated(directory):
    begin(directory)
    for _ in range(ENOUGH):
        if Path(directory, "go").exists():
            return "went"
        time.sleep(0.02)

class Ended(Exception): pass

def end(*_arguments): raise Ended

def rest(directory):
    begin(directory)
    for _ in range(ENOUGH):
        time.sleep(0.02)

@task
def polite(directory):
    signal.signal(signal.SIGTERM, end)
    try:
        rest(directory)
    except Ended:
        return "finished early"

@task
def fails_at_sigterm(directory):
    signal.signal(signal.SIGTERM, end)
    rest(directory)

@task
def lingers(directory):
    atexit.register(rest, directory)
    return "done"

@task
def marks(directory, mark):
    with open(f"{directory}/marked-{mark}", "a") as file:
        file.write("x")

@task
def stubborn(directory):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    begin(directory)
    for _ in range(ENOUGH):
        time.sleep(0.02)
"""


def attempt(
    task: str, number: int = 0, environment: Mapping[str, str] | None = None, **inputs: JsonValue
) -> Attempt:
    """An attempt of a task of `MODULE`."""
    return Attempt(
        execution="e1",
        node="n0",
        number=number,
        project="shop",
        domain="development",
        workflow="nightly",
        task=task,
        inputs=inputs,
        module=MODULE,
        environment=dict(environment or {}),
        by_platform_admin=True,
    )


PROGRAMS: dict[ProgramKind, Attempt] = {
    "image": attempt("double").model_copy(update={"module": "", "image": "registry/train:1"}),
    "container": attempt("double").model_copy(
        update={"module": "", "target": Container(), "image": "registry/train:1"}
    ),
    "pod": attempt("double").model_copy(update={"module": "", "target": Pod()}),
}
"""Attempts of all kinds of programs that an executor may not be able to run."""


async def begun(directory: Path) -> None:
    """Wait until a task has begun, and written so: the file is empty at first."""
    file = directory / "begun"
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (file.exists() and file.read_text()):
            await asyncio.sleep(0.02)


class ExecutorContract(ABC):
    """The rules that propeller relies on."""

    stop_grace_seconds: float
    """How long `Executor.stop` lets a task end by itself."""

    @abstractmethod
    def make_executor(self, data: Path, shared: Path) -> Executor:
        """Make an instance; all instances over the same data share their attempts.

        Tasks may write to the directory ``shared``.
        """

    @abstractmethod
    def break_data(self, data: Path) -> None:
        """Make executors over this data, which is empty, unable to start attempts."""

    @abstractmethod
    async def kill(self, executor: Executor, running: Attempt) -> None:
        """End everything that a running attempt consists of, as a lost machine would."""

    @pytest.fixture
    def executor(self, tmp_path: Path) -> Executor:
        return self.make_executor(data_next_to(tmp_path), tmp_path)

    @pytest.fixture
    def other(self, tmp_path: Path) -> Executor:
        """A second instance over the same data, such as that of the next propeller."""
        return self.make_executor(data_next_to(tmp_path), tmp_path)

    @pytest.fixture
    def gated(self, tmp_path: Path) -> Attempt:
        """An attempt that ends when the file ``go`` exists."""
        return attempt("gated", directory=str(tmp_path))

    @pytest.fixture
    def stubborn(self, tmp_path: Path) -> Attempt:
        """An attempt that ignores SIGTERM."""
        return attempt("stubborn", directory=str(tmp_path))

    def test_it_has_a_name(self, executor: Executor) -> None:
        assert executor.capabilities.name

    async def test_a_check_fails_exactly_where_no_attempt_can_be_started(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        await executor.check()
        await executor.check()
        broken = data_next_to(tmp_path, "broken")
        self.break_data(broken)
        with pytest.raises(ExecutorUnavailable):
            await self.make_executor(broken, tmp_path).check()

    async def test_an_attempt_is_absent_before_its_start(self, executor: Executor) -> None:
        assert await executor.find(attempt("double", x=1)) == Absent()

    async def test_a_started_attempt_is_running_where_start_reported(
        self, executor: Executor, gated: Attempt, tmp_path: Path
    ) -> None:
        location = await executor.start(gated)
        assert location
        assert await executor.find(gated) == Running(location)
        await begun(tmp_path)
        assert await executor.find(gated) == Running(location)
        (tmp_path / "go").touch()
        assert await executor.wait(gated) == Returned("went")

    async def test_the_value_of_a_task_is_its_outcome(self, executor: Executor) -> None:
        doubled = attempt("double", x=21)
        await executor.start(doubled)
        assert await executor.wait(doubled) == Returned(42)

    async def test_a_task_has_the_variables_of_its_attempt(self, executor: Executor) -> None:
        variable = attempt("variable", environment={"LOG": "info"}, name="LOG")
        await executor.start(variable)
        assert await executor.wait(variable) == Returned("info")

    async def test_attempts_of_a_node_are_independent(self, executor: Executor) -> None:
        first, second = attempt("double", 0, x=1), attempt("double", 1, x=2)
        await executor.start(first)
        assert await executor.wait(first) == Returned(2)
        assert await executor.find(second) == Absent()
        await executor.start(second)
        assert await executor.wait(second) == Returned(4)

    async def test_an_attempt_that_is_started_twice_runs_once(
        self, executor: Executor, other: Executor, gated: Attempt, tmp_path: Path
    ) -> None:
        locations = {await each.start(gated) for each in (executor, executor, other)}
        await begun(tmp_path)
        locations |= {await each.start(gated) for each in (executor, other)}
        (tmp_path / "go").touch()
        outcomes = [await each.wait(gated) for each in (executor, other)]
        assert outcomes == [Returned("went")] * 2
        assert len(locations) == 1
        assert (tmp_path / "begun").read_text() == "once\n"

    async def test_another_instance_adopts_a_running_attempt(
        self, executor: Executor, other: Executor, gated: Attempt, tmp_path: Path
    ) -> None:
        location = await executor.start(gated)
        await begun(tmp_path)
        assert await other.find(gated) == Running(location)
        waiting = asyncio.create_task(other.wait(gated))
        (tmp_path / "go").touch()
        assert await waiting == await executor.wait(gated) == Returned("went")
        assert (tmp_path / "begun").read_text() == "once\n"

    async def test_a_wait_that_is_cancelled_leaves_the_attempt_running(
        self, executor: Executor, gated: Attempt, tmp_path: Path
    ) -> None:
        await executor.start(gated)
        await begun(tmp_path)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await executor.wait(gated)
        (tmp_path / "go").touch()
        assert await executor.wait(gated) == Returned("went")

    async def test_an_outcome_is_kept_after_the_end(
        self, executor: Executor, other: Executor
    ) -> None:
        doubled = attempt("double", x=1)
        await executor.start(doubled)
        outcome = await executor.wait(doubled)
        # A second start with other inputs would have another outcome, if it ran.
        changed = attempt("double", x=100)
        await other.start(changed)
        for each in (executor, other):
            assert await each.find(changed) == outcome
            assert await each.wait(changed) == outcome

    async def test_a_task_that_raises_has_failed(self, executor: Executor) -> None:
        failing = attempt("fails")
        await executor.start(failing)
        outcome = await executor.wait(failing)
        assert isinstance(outcome, Failed)
        assert outcome.error.startswith("ValueError: no rows")

    async def test_a_program_that_it_does_not_run_is_rejected_by_name(
        self, executor: Executor
    ) -> None:
        for kind in PROGRAMS.keys() - executor.capabilities.runs:
            with pytest.raises(AttemptRejected, match=r'task "double" .* executor cannot run; '):
                await executor.start(PROGRAMS[kind])
            assert await executor.find(PROGRAMS[kind]) == Absent()

    async def test_an_attempt_that_takes_longer_than_its_timeout_has_failed(
        self, executor: Executor, other: Executor, stubborn: Attempt, tmp_path: Path
    ) -> None:
        timed = stubborn.model_copy(update={"timeout_seconds": 0.5})
        loop = asyncio.get_running_loop()
        started = loop.time()
        await executor.start(timed)
        # The instance that has started it may have gone.
        async with asyncio.timeout(self.stop_grace_seconds + PATIENCE_SECONDS):
            outcome = await other.wait(timed)
        assert outcome == Failed("timed out after 0.5 s")
        assert loop.time() - started >= 0.5 + self.stop_grace_seconds
        assert await executor.find(timed) == await executor.stop(timed) == outcome

    async def test_a_task_that_returns_before_its_timeout_has_returned(
        self, executor: Executor
    ) -> None:
        timed = attempt("double", x=1).model_copy(update={"timeout_seconds": PATIENCE_SECONDS})
        await executor.start(timed)
        assert await executor.wait(timed) == Returned(2)

    async def test_an_attempt_that_is_killed_from_outside_is_interrupted(
        self, executor: Executor, other: Executor, gated: Attempt, tmp_path: Path
    ) -> None:
        await executor.start(gated)
        await begun(tmp_path)
        await self.kill(executor, gated)
        outcome = await executor.wait(gated)
        assert isinstance(outcome, Interrupted)
        assert await other.find(gated) == outcome
        # An interrupted attempt is not started again; the next one has its own number.
        await other.start(gated)
        assert await other.wait(gated) == outcome
        assert (tmp_path / "begun").read_text() == "once\n"

    async def test_stop_ends_an_attempt_before_the_grace_is_over(
        self, executor: Executor, gated: Attempt, tmp_path: Path
    ) -> None:
        await executor.start(gated)
        await begun(tmp_path)
        loop = asyncio.get_running_loop()
        started = loop.time()
        assert isinstance(await executor.stop(gated), Stopped)
        assert loop.time() - started < self.stop_grace_seconds

    async def test_stop_ends_an_attempt_that_ignores_sigterm_after_the_grace(
        self, other: Executor, executor: Executor, stubborn: Attempt, tmp_path: Path
    ) -> None:
        await executor.start(stubborn)
        await begun(tmp_path)
        loop = asyncio.get_running_loop()
        started = loop.time()
        async with asyncio.timeout(self.stop_grace_seconds + PATIENCE_SECONDS):
            outcome = await other.stop(stubborn)
        assert isinstance(outcome, Stopped)
        assert loop.time() - started >= self.stop_grace_seconds
        assert await executor.wait(stubborn) == outcome

    async def test_stop_returns_the_outcome_of_an_attempt_that_has_ended(
        self, executor: Executor, other: Executor
    ) -> None:
        doubled = attempt("double", x=1)
        await executor.start(doubled)
        await executor.wait(doubled)
        for each in (executor, other):
            assert await each.stop(doubled) == Returned(2)

    async def test_a_requested_stop_of_all_ends_started_and_adopted_attempts(
        self, executor: Executor, other: Executor, tmp_path: Path
    ) -> None:
        attempts = []
        for number in range(2):
            directory = tmp_path / str(number)
            directory.mkdir()
            attempts.append(attempt("gated", number, directory=str(directory)))
            await executor.start(attempts[-1])
            await begun(directory)
        await other.start(attempts[1])
        await other.request_stop_of_all()
        assert isinstance(await other.wait(attempts[1]), Stopped)
        assert isinstance(await executor.find(attempts[0]), Running)
        await executor.request_stop_of_all()
        assert isinstance(await executor.wait(attempts[0]), Stopped)
        # Another instance, such as that of the next propeller, finds the same.
        assert isinstance(await other.find(attempts[0]), Stopped)

    async def test_an_attempt_that_was_stopped_before_its_start_does_not_run(
        self, executor: Executor, other: Executor, gated: Attempt, tmp_path: Path
    ) -> None:
        assert isinstance(await other.stop(gated), Stopped)
        await executor.start(gated)
        assert isinstance(await executor.wait(gated), Stopped)
        assert not (tmp_path / "begun").exists()

    async def test_a_task_that_returns_when_it_is_stopped_has_returned(
        self, executor: Executor, other: Executor, tmp_path: Path
    ) -> None:
        polite = attempt("polite", directory=str(tmp_path))
        await executor.start(polite)
        await begun(tmp_path)
        assert await other.stop(polite) == Returned("finished early")
        assert await executor.wait(polite) == Returned("finished early")

    async def test_a_task_that_has_returned_counts_although_its_process_is_stopped(
        self, executor: Executor, other: Executor, tmp_path: Path
    ) -> None:
        lingering = attempt("lingers", directory=str(tmp_path))
        await executor.start(lingering)
        await begun(tmp_path)
        assert await other.stop(lingering) == Returned("done")

    async def test_a_task_that_fails_because_it_is_stopped_is_stopped(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        fails = attempt("fails_at_sigterm", directory=str(tmp_path))
        await executor.start(fails)
        await begun(tmp_path)
        assert isinstance(await executor.stop(fails), Stopped)

    async def test_an_attempt_that_cannot_be_started_now_raises_unavailable(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        self.break_data(data_next_to(tmp_path))
        with pytest.raises(ExecutorUnavailable):
            await executor.start(attempt("double", x=1))
        assert await executor.find(attempt("double", x=1)) == Absent()
