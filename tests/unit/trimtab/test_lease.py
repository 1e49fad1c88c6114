"""How long a holder counts on its lease."""

import asyncio

import pytest

from trimtab.tokens.lease import MARGIN, Lease, LeaseLost, now
from trimtab.tokens.protocol import Allocate

ASK = Allocate(pool="gpus", token="a", project="shop", domain="development")


def lease(*, seconds: float | None = 60, ago: float = 0) -> Lease:
    """Granted to a request that was sent so many seconds ago."""
    return Lease(ASK, fence=7, seconds=seconds, sent=now() - ago)


def test_a_lease_counts_from_when_it_was_asked_for_and_ends_before_it_does() -> None:
    left = lease(seconds=100, ago=20).seconds_left
    assert left == pytest.approx(100 * (1 - MARGIN) - 20, abs=1)


def test_a_lease_that_is_over_is_refused_and_stays_so() -> None:
    late = lease(ago=59)
    with pytest.raises(LeaseLost, match="token 'a' of gpus is lost: its lease of 60 s was not"):
        late.check()
    late.extend(now(), 60)
    assert not late.held


def test_a_renewed_lease_goes_on() -> None:
    renewed = lease(ago=30)
    renewed.extend(now(), 60)
    renewed.check()
    assert renewed.seconds_left > 50


def test_what_resmgr_does_not_keep_never_ends() -> None:
    assert lease(seconds=None, ago=10**9).held


def test_the_first_reason_for_a_loss_stays() -> None:
    lost = lease()
    lost.mark_lost("an admin took it")
    lost.mark_lost("something else")
    with pytest.raises(LeaseLost, match="an admin took it"):
        lost.check()


async def test_everybody_who_waits_hears_of_a_loss_though_one_stops_waiting() -> None:
    watched = lease()
    impatient, patient = (asyncio.create_task(watched.lost()) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.wait([impatient])
    watched.mark_lost("over")
    assert await patient == "over"
