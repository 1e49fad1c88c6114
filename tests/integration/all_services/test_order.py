"""An execution sees every change that was committed before it was created."""

import asyncio
import random

from tests.integration.all_services.conftest import DOMAIN, PROJECT
from tests.servers import PATIENCE_SECONDS
from trimtab.api.executions import ExecutionBody, ExecutionCreate
from trimtab.api.settings import DocumentBody
from trimtab.client import Client
from trimtab.levels import Scope
from trimtab.messages.executions import ENDED

INTERLEAVINGS = 100
BACKLOG = 250
NOISE = [Scope(), Scope(domain=DOMAIN), Scope(project=PROJECT), Scope("staging", PROJECT)]


async def limit(api: Client, scope: Scope, cpu: int) -> int:
    document = {"limits": {"cpu": str(cpu)}}
    return (await api.records.put("task_resource", scope, document, force=True)).version


async def ended(api: Client, execution: str) -> ExecutionBody:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (body := await api.executions.get(execution)).phase not in ENDED:
            await asyncio.sleep(0.05)
    return body


async def write_other_scopes(api: Client, chance: random.Random) -> None:
    while True:
        await limit(api, chance.choice(NOISE), chance.randint(200, 900))
        await asyncio.sleep(chance.random() / 50)


async def backlog(api: Client, chance: random.Random) -> None:
    """Write so much that the next change is published after the execution is requested."""
    scope = {"kind": "workflow_priority", "domain": "production", "project": PROJECT}
    documents = [
        DocumentBody(**scope, workflow=f"w{n}", document={"priority": chance.randint(1, 100)})
        for n in range(BACKLOG)
    ]
    await api.settings.apply(documents)


async def test_an_execution_sees_each_change_committed_before_it_was_created(api: Client) -> None:
    chance = random.Random(20)
    async with asyncio.TaskGroup() as group:
        writing = group.create_task(write_other_scopes(api, chance))
        expected: dict[str, int] = {}
        for cpu in range(1, INTERLEAVINGS + 1):
            if cpu % 25 == 0:
                await backlog(api, chance)
            await limit(api, Scope(DOMAIN, PROJECT), cpu)
            await asyncio.sleep(chance.choice((0, 0, 0, chance.random() / 50)))
            wanted = ExecutionCreate(project=PROJECT, domain=DOMAIN, workflow="oversized")
            expected[(await api.executions.create(wanted)).id] = cpu
        writing.cancel()
    for execution, cpu in expected.items():
        body = await ended(api, execution)
        # It may see later changes too, if they are committed before it is admitted.
        assert body.phase == "refused"
        assert seen_limit(body) >= cpu


def seen_limit(body: ExecutionBody) -> int:
    """Return the limit that the error names."""
    words = body.error.replace(",", " ").replace(";", " ").split()
    numbers = [int(word) for word in words if word.isdecimal() and word != "1000"]
    return numbers[0]
