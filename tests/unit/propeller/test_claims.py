"""When an owner is regarded as dead, and which executions are taken over."""

from datetime import UTC, datetime

from trimtab.messages.executions import AnyEvent, Failed, NodeStarting
from trimtab_propeller.claims import MISSED_WHERE_NONE_STARTS, Claims

HEARTBEAT_SECONDS = 1.0


def event(owner: str, execution: str = "e1", epoch: int = 1) -> AnyEvent:
    return NodeStarting(
        execution=execution,
        index=3,
        owner=owner,
        epoch=epoch,
        at=datetime.now(UTC),
        node="n0",
        attempt=0,
    )


def claims(*events: AnyEvent) -> Claims:
    """The claims of a propeller called ``me`` after these events at time 0."""
    applied = Claims("me", HEARTBEAT_SECONDS)
    for each in events:
        applied.apply(each, now=0)
    return applied


def orphans(known: Claims, now: float, driven: tuple[str, ...] = ()) -> list[str]:
    return [claim.execution for claim in known.orphans(now, driven)]


def test_an_owner_has_three_heartbeats_from_its_first_event() -> None:
    known = claims(event("other"))
    assert orphans(known, now=3) == []
    assert orphans(known, now=3.1) == ["e1"]


def test_a_propeller_that_can_start_no_attempt_comes_after_others() -> None:
    known = claims(event("other"))
    assert known.orphans(20, (), MISSED_WHERE_NONE_STARTS) == []
    [orphan] = known.orphans(20.1, (), MISSED_WHERE_NONE_STARTS)
    assert orphan.execution == "e1"


def test_a_heartbeat_gives_an_owner_three_more() -> None:
    known = claims(event("other"))
    known.record_heartbeat("other", now=2)
    assert orphans(known, now=5) == []
    assert orphans(known, now=5.1) == ["e1"]


def test_an_own_claim_that_is_not_driven_is_an_orphan_in_spite_of_heartbeats() -> None:
    known = claims(event("me"))
    known.record_heartbeat("me", now=3)
    assert orphans(known, now=3.1, driven=("e1",)) == []
    assert orphans(known, now=3.1) == ["e1"]


def test_an_execution_that_has_ended_is_no_orphan() -> None:
    known = claims(event("other"))
    known.apply(
        Failed(
            execution="e1", index=4, owner="other", epoch=1, at=datetime.now(UTC), node="", error=""
        ),
        now=1,
    )
    assert orphans(known, now=9) == []


def test_restarted_timeouts_give_every_owner_three_heartbeats_again() -> None:
    known = claims(event("other"))
    known.restart_timeouts(now=60)
    assert orphans(known, now=63) == []
    assert orphans(known, now=63.1) == ["e1"]


def test_a_newer_claim_is_not_removed_with_an_older_one() -> None:
    known = claims(event("other"))
    [old] = known.orphans(9, ())
    known.apply(event("third", epoch=2), now=9)
    known.remove_unchanged(old)
    assert orphans(known, now=13) == ["e1"]


def test_the_oldest_orphan_is_first() -> None:
    known = claims(event("other", "new"))
    known.apply(event("other", "old"), now=-1)
    assert orphans(known, now=9) == ["old", "new"]
