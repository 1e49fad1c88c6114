"""Who is taken to be dead, and when."""

from datetime import UTC, datetime

from trimtab.messages.executions import AnyEvent, Failed, NodeStarting
from trimtab_propeller.claims import Claims

BEAT = 1.0


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
    seen = Claims("me", BEAT)
    for each in events:
        seen.see(each, now=0)
    return seen


def orphans(seen: Claims, now: float, running: tuple[str, ...] = ()) -> list[str]:
    return [claim.execution for claim in seen.orphans(now, running)]


def test_an_owner_has_three_beats_from_when_it_was_first_seen() -> None:
    seen = claims(event("other"))
    assert orphans(seen, now=3) == []
    assert orphans(seen, now=3.1) == ["e1"]


def test_a_heartbeat_gives_three_more() -> None:
    seen = claims(event("other"))
    seen.hear("other", now=2)
    assert orphans(seen, now=5) == []
    assert orphans(seen, now=5.1) == ["e1"]


def test_a_claim_of_mine_that_i_do_not_run_is_an_orphan_though_i_live() -> None:
    seen = claims(event("me"))
    seen.hear("me", now=3)
    assert orphans(seen, now=3.1, running=("e1",)) == []
    assert orphans(seen, now=3.1) == ["e1"]


def test_what_has_ended_is_nobodys() -> None:
    seen = claims(event("other"))
    seen.see(
        Failed(
            execution="e1", index=4, owner="other", epoch=1, at=datetime.now(UTC), node="", error=""
        ),
        now=1,
    )
    assert orphans(seen, now=9) == []


def test_whoever_was_deaf_gives_everybody_three_beats_again() -> None:
    seen = claims(event("other"))
    seen.wake(now=60)
    assert orphans(seen, now=63) == []
    assert orphans(seen, now=63.1) == ["e1"]


def test_a_newer_claim_is_not_dropped_with_an_older_one() -> None:
    seen = claims(event("other"))
    [old] = seen.orphans(9, ())
    seen.see(event("third", epoch=2), now=9)
    seen.drop(old)
    assert orphans(seen, now=13) == ["e1"]


def test_the_oldest_is_taken_over_first() -> None:
    seen = claims(event("other", "new"))
    seen.see(event("other", "old"), now=-1)
    assert orphans(seen, now=9) == ["old", "new"]
