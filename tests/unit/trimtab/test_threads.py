"""Work that blocks holds up neither other threads nor the end of the process."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from tests.servers import PATIENCE_SECONDS
from trimtab.runtime.threads import Threads

STUCK = """
import asyncio, time
from trimtab.runtime.threads import Threads

async def main():
    try:
        await asyncio.wait_for(Threads(1, "stuck").submit(lambda: time.sleep(3600)), 0.01)
    except TimeoutError:
        print("gave up")

asyncio.run(main())
"""


@pytest.fixture
def threads() -> Iterator[Threads]:
    threads = Threads(2, "work")
    yield threads
    threads.close()


async def test_results_and_errors_are_those_of_the_work(threads: Threads) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await threads.submit(lambda: 1) == 1
        with pytest.raises(ZeroDivisionError):
            await threads.submit(lambda: 1 // 0)
        assert await asyncio.gather(*(threads.submit(lambda n=n: n) for n in range(9))) == [
            *range(9)
        ]


async def test_work_that_was_cancelled_before_it_began_is_skipped(threads: Threads) -> None:
    release = threading.Event()
    done: list[str] = []
    blocking = [threads.submit(release.wait) for _ in range(2)]
    skipped = threads.submit(lambda: done.append("skipped"))
    kept = threads.submit(lambda: done.append("kept"))
    skipped.cancel()
    release.set()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.gather(kept, *blocking)
    assert done == ["kept"]


async def test_closing_cancels_what_has_not_begun(threads: Threads) -> None:
    release = threading.Event()
    blocking = [threads.submit(release.wait) for _ in range(2)]
    waiting = threads.submit(lambda: None)
    threads.close()
    release.set()
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await asyncio.gather(*blocking) == [True, True]
        with pytest.raises(asyncio.CancelledError):
            await waiting
    with pytest.raises(RuntimeError, match="closed"):
        threads.submit(lambda: None)


def test_a_process_ends_while_a_thread_is_stuck() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", STUCK],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )
    assert ended.stdout == "gave up\n"
