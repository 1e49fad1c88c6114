"""How long a holder may rely on its lease."""

import asyncio

import pytest

from trimtab.tokens.lease import MARGIN, Lease, LeaseLost, now
from trimtab.tokens.protocol import Allocate

REQUEST = Allocate(pool="gpus", token="a", project="shop", domain="development")


def lease(*, seconds: float | None = 60, ago: float = 0) -> Lease:
    """Return the lease of a request that was sent so many seconds ago."""
    return Lease(REQUEST, fence=7, seconds=seconds, sent=now() - ago)


def test_a_lease_counts_from_when_its_request_was_sent_and_ends_early_by_the_margin() -> None:
    left = lease(seconds=100, ago=20).seconds_left
    assert left == pytest.approx(100 * (1 - MARGIN) - 20, abs=1)


def test_an_ended_lease_fails_its_check_and_cannot_be_extended() -> None:
    late = lease(ago=59)
    with pytest.raises(LeaseLost, match="token 'a' of gpus is lost: its lease of 60 s was not"):
        late.check()
    late.extend(now(), 60)
    assert not late.held


def test_an_extended_lease_passes_its_check() -> None:
    renewed = lease(ago=30)
    renewed.extend(now(), 60)
    renewed.check()
    assert renewed.seconds_left > 50


def test_a_lease_of_type_noop_never_ends() -> None:
    assert lease(seconds=None, ago=10**9).held


def test_the_first_reason_of_a_loss_stays() -> None:
    lost = lease()
    lost.mark_lost("an admin released it")
    lost.mark_lost("something else")
    with pytest.raises(LeaseLost, match="an admin released it"):
        lost.check()


async def test_a_cancelled_wait_for_a_loss_does_not_cancel_other_waits() -> None:
    watched = lease()
    impatient, patient = (asyncio.create_task(watched.lost()) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.wait([impatient])
    watched.mark_lost("over")
    assert await patient == "over"
