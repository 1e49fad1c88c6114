"""No failure of one namespace leaves it with a worker for good."""

import asyncio
from typing import Any, cast

from tests.servers import PATIENCE_SECONDS
from trimtab.templates.parsing import BadTemplate
from trimtab_clusterres.leadership import Leadership
from trimtab_clusterres.queue import WorkQueue
from trimtab_clusterres.reconciling import Reconciler
from trimtab_clusterres.statuses import error_text
from trimtab_clusterres.worker import Worker


class Active(Leadership):
    """Always active."""

    is_active = True


async def test_a_namespace_whose_update_fails_unexpectedly_is_tried_again() -> None:
    tries: asyncio.Queue[None] = asyncio.Queue()

    def layout() -> Any:
        tries.put_nowait(None)
        raise KeyError("a defect")

    queue = WorkQueue(retry_seconds=0.01)
    missing = cast(Any, None)
    reconciler = Reconciler(
        "c",
        missing,
        missing,
        published=missing,
        layout=layout,
        templates=missing,
        deadline_seconds=1,
    )
    running = asyncio.create_task(Worker(reconciler, queue, Active(5)).run())
    try:
        queue.mark(["a"])
        async with asyncio.timeout(PATIENCE_SECONDS):
            for _ in range(3):
                await tries.get()
    finally:
        running.cancel()
        await asyncio.wait((running,))


def test_an_error_about_a_file_whose_name_is_no_text_can_be_stored() -> None:
    assert error_text(BadTemplate("\udcff.yaml", "is not UTF-8")).isprintable()
