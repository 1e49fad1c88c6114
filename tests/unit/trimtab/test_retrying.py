"""Back-off: the delays grow up to a bound, are jittered, and start again after steady work."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from tests.servers import PATIENCE_SECONDS
from trimtab.errors import Retryable, Unavailable
from trimtab.runtime.retrying import backoff_seconds, raise_if_cancelled
from trimtab.runtime.tasks import keep_running, retry_forever


class Delays:
    """Records the delays that a loop sleeps for, without sleeping, and cancels it at the end."""

    def __init__(self, count: int) -> None:
        self.seconds: list[float] = []
        self._count = count

    async def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)
        if len(self.seconds) == self._count:
            raise asyncio.CancelledError


@pytest.fixture(autouse=True)
def _without_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda _low, high: high)


async def delays_of(
    work: Callable[[], Awaitable[None]], count: int, monkeypatch: pytest.MonkeyPatch
) -> list[float]:
    delays = Delays(count)
    monkeypatch.setattr(asyncio, "sleep", delays.sleep)
    with pytest.raises(asyncio.CancelledError):
        await retry_forever(work, "test.failed", first=0.1, longest=1.0)
    return delays.seconds


async def fail() -> None:
    raise Unavailable("not yet")


def test_the_delay_doubles_up_to_the_longest() -> None:
    delays = [backoff_seconds(failures, first=0.5, longest=3.0) for failures in range(1, 6)]
    assert delays == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_the_delay_stays_bounded_after_any_number_of_failures() -> None:
    assert backoff_seconds(10**9, first=0.1, longest=2.0) == 2.0


def test_half_of_the_delay_is_random(monkeypatch: pytest.MonkeyPatch) -> None:
    ranges: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        ranges.append((low, high))
        return low

    monkeypatch.setattr(random, "uniform", uniform)
    assert backoff_seconds(2, first=1.0, longest=10.0) == 1.0
    assert ranges == [(0.5, 1.0)]


async def test_the_delays_grow_while_work_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await delays_of(fail, 6, monkeypatch) == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


async def test_work_that_returns_is_run_again_after_a_delay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def work() -> None:
        return

    assert await delays_of(work, 3, monkeypatch) == [0.1, 0.2, 0.4]


async def test_the_delays_start_again_after_steady_work(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, runs = asyncio.get_running_loop(), 0
    offset, time = 0.0, loop.time

    async def work() -> None:
        nonlocal offset, runs
        runs += 1
        if runs == 4:
            offset += 6.0
        raise Unavailable("not yet")

    monkeypatch.setattr(loop, "time", lambda: time() + offset)
    assert await delays_of(work, 5, monkeypatch) == [0.1, 0.2, 0.4, 0.1, 0.2]


async def test_a_defect_is_logged_with_its_traceback_and_the_work_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    errors: list[Exception] = [
        Retryable("not yet"),
        ZeroDivisionError(),
        ExceptionGroup("", [OSError()]),
    ]

    async def work() -> None:
        if errors:
            raise errors.pop(0)

    await delays_of(work, 4, monkeypatch)
    assert [(r.levelname, bool(r.exc_info)) for r in caplog.records] == [
        ("WARNING", False),
        ("ERROR", True),
        ("ERROR", True),
    ]


async def test_the_delays_after_a_defect_grow_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        raise ZeroDivisionError

    assert (await delays_of(work, 9, monkeypatch))[4:] == [1.6, 3.2, 6.4, 12.8, 25.6]


async def test_work_that_is_kept_running_ends_when_it_returns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    errors: list[Exception] = [Retryable("not yet"), ZeroDivisionError()]
    delays = Delays(9)
    monkeypatch.setattr(asyncio, "sleep", delays.sleep)

    async def work() -> None:
        if errors:
            raise errors.pop(0)

    await keep_running(work, "test.failed")
    assert (errors, delays.seconds) == ([], [0.1, 0.2])


@pytest.mark.parametrize("moment", ["work", "delay"])
async def test_a_cancellation_ends_the_loop(moment: str) -> None:
    reached = asyncio.Event()

    async def work() -> None:
        reached.set()
        if moment == "work":
            await asyncio.Event().wait()
        raise Unavailable("not yet")

    loop = asyncio.create_task(retry_forever(work, "test.failed", first=60.0, longest=60.0))
    await reached.wait()
    await asyncio.sleep(0)
    loop.cancel()
    await asyncio.wait([loop], timeout=PATIENCE_SECONDS)
    assert loop.cancelled()


async def test_a_cancellation_that_work_swallowed_ends_the_loop() -> None:
    started = asyncio.Event()

    async def work() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise Unavailable("swallowed") from None

    loop = asyncio.create_task(retry_forever(work, "test.failed"))
    await started.wait()
    loop.cancel()
    await asyncio.wait([loop], timeout=PATIENCE_SECONDS)
    assert loop.cancelled()


async def test_only_a_cancelled_task_raises_its_cancellation() -> None:
    raise_if_cancelled()
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        raise_if_cancelled()
    task.uncancel()
    with pytest.raises(asyncio.CancelledError):  # the request to cancel is still pending
        await asyncio.sleep(0)
