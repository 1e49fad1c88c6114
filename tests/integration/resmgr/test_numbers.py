"""No number in a request or in the settings makes the sums differ from the leases."""

import json
from collections.abc import Iterator

import pytest

from tests.integration.resmgr.direct import Cohort
from tests.integration.resmgr.running import Caller, ErrorReply, eventually
from tests.servers import ValkeyServer
from trimtab.messages.events import PoolChanged
from trimtab.models import MAX_UNITS
from trimtab.tokens.protocol import Recount, Recounted

SCOPE = {"project": "flyte", "domain": "dev"}
ALLOCATE = {**SCOPE, "pool": "gpu", "token": "x", "wait_seconds": 0}
HELD = {"pool": "gpu", "token": "held"}
BODIES: dict[str, dict[str, object]] = {
    "allocate": ALLOCATE,
    "renew": HELD,
    "reassert": {**SCOPE, "pool": "gpu", "token": "x", "fence": 1},
    "release": {"pool": "gpu", "token": "x"},
    "reprioritize": {"pool": "gpu", "token": "waiter", "priority": 0},
    "register": {"pool": "gpu", "quota": 10},
    "batch": {"allocate": [ALLOCATE], "renew": [HELD]},
}
FIELDS = {
    "allocate": (
        *("weight", "priority", "project_cap", "project_domain_cap"),
        *("lease_seconds", "wait_seconds"),
    ),
    "renew": ("fence", "lease_seconds"),
    "reassert": ("weight", "fence", "lease_seconds"),
    "release": ("fence",),
    "reprioritize": ("priority",),
    "register": ("quota",),
    "batch": ("weight", "fence", "lease_seconds"),
}
NUMBERS = (
    *("0", "-1", "1", "2", "1.5", "1e3", "1e400", "-1e400", "NaN", "Infinity", "-Infinity"),
    *("true", "false", '"8"', '"NaN"', "[1]", "{}", str(MAX_UNITS), str(MAX_UNITS + 1)),
    *(str(2**31), str(2**53 - 1), str(2**53), str(2**60), str(2**64), "-" + str(2**60)),
    *("1" + "0" * 400, "5e-324", "0.1e-9", "9007199254740993.0"),
)
MARK = '"the number"'


def bodies(operation: str) -> Iterator[bytes]:
    """Yield a body of the operation for each number in each of its fields."""
    for field in FIELDS[operation]:
        body = json.loads(json.dumps(BODIES[operation]))
        for target in [body, *(item for items in body.values() for item in _items(items))]:
            target[field] = json.loads(MARK)
            text = json.dumps(body)
            del target[field]
            target.update(BODIES[operation] if target is body else {})
            for number in NUMBERS:
                yield text.replace(MARK, number).encode()


def _items(value: object) -> list[dict[str, object]]:
    return value if isinstance(value, list) else []


@pytest.mark.parametrize("quarantined", [False, True])
@pytest.mark.parametrize("operation", list(BODIES))
async def test_sums_equal_the_leases_whatever_number_a_request_has(
    caller: Caller, valkey_server: ValkeyServer, operation: str, quarantined: bool
) -> None:
    await caller.allocate("held", weight=3)
    await caller.allocate("waiter", weight=8, wait_seconds=600)
    if quarantined:
        valkey_server.send(b"HSET trimtab:{default}:state run another\r\n")
    statuses = set()
    for body in bodies(operation):
        try:
            await caller.send(operation, body)
            statuses.add(200)
        except ErrorReply as error:
            statuses.add(error.problem.status)
        await caller.send("release", b'{"pool": "gpu", "token": "x"}')
    assert statuses <= {200, 400, 409}
    recounted = await caller.request(Recounted, Recount(pool="gpu"))
    assert recounted.differences == ()
    await eventually(lambda: equals_its_holders(caller))


async def equals_its_holders(caller: Caller) -> bool:
    """Leases that have ended are counted until a sweep, and not listed."""
    found = await caller.inspect()
    return found.held == sum(holder.weight for holder in found.holders)


async def test_a_reasserted_weight_has_a_bound(caller: Caller, valkey_server: ValkeyServer) -> None:
    await caller.allocate("held")
    valkey_server.flush()
    for weight in (2**60, 10**400, MAX_UNITS + 1):
        body = {**SCOPE, "pool": "gpu", "token": "x", "fence": 1, "weight": weight}
        with pytest.raises(ErrorReply, match="weight"):
            await caller.send("reassert", json.dumps(body).encode())
    assert (await caller.inspect()).held == 0


@pytest.mark.parametrize("number", [-(2**60), -1, 0, 2**31, 2**53 + 1, 2**60, 10**400])
async def test_no_limit_of_a_pool_corrupts_its_sums(cohort: Cohort, number: int) -> None:
    await cohort.allocate("held", weight=3)
    fields = {"quota": number, "project_cap": number, "max_weight": number}
    cohort.declare(PoolChanged.model_validate({"name": "gpu", **fields}))
    await cohort.allocate("x", wait_seconds=0.0)
    await cohort.declare_now("gpu")
    assert (await cohort.renew("held")).status == "held"
    await cohort.release("x")
    assert await cohort.recount() == ()
    assert (await cohort.inspect()).held == 3
