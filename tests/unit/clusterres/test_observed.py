"""Which events of a watch are changes by something else."""

from typing import Any

import pytest

from trimtab_clusterres.clusters.kubernetes.discovery import Kind
from trimtab_clusterres.clusters.kubernetes.observed import Observed, State, is_later, state
from trimtab_clusterres.clusters.port import FIELD_MANAGER

QUOTA = Kind("v1", "ResourceQuota", "resourcequotas", namespaced=True)
PATH = QUOTA.path("alpha", "quota")


def live(
    version: int,
    *,
    uid: str = "u1",
    own: str = "cpu",
    at: str = "12:00:00",
    used: str = "",
    **metadata: str,
) -> dict[str, Any]:
    """Return the quota at a version: the field that we own, and the time of the status."""
    entries = [
        {"manager": FIELD_MANAGER, "operation": "Apply", "time": at, "fieldsV1": {f"f:{own}": {}}},
        {"manager": "controller", "subresource": "status", "time": used},
    ]
    fixed = {"uid": uid, "resourceVersion": str(version), "managedFields": entries}
    return {"metadata": fixed | metadata}


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def observed(clock: Clock) -> Observed:
    """Return what is known after a call has left version 10."""
    observed = Observed(clock)
    observed.saw("alpha", QUOTA, PATH, live(10))
    return observed


def changed(observed: Observed, *events: State) -> list[str]:
    """Return the namespaces that change by these events, in this order."""
    for each in events:
        observed.event(QUOTA, PATH, each)
    found = []
    while (namespace := observed.take_changed()) is not None:
        found.append(namespace)
    return found


@pytest.mark.parametrize(
    "event",
    [
        live(11, own="memory"),
        live(11, at="12:00:07"),
        live(11, uid="u2"),
        live(11, deletionTimestamp="12:00:07"),
    ],
    ids=["a field is taken", "another process", "made again", "to be deleted"],
)
def test_a_change_is_reported_once(observed: Observed, event: dict[str, Any]) -> None:
    assert changed(observed, state(event)) == ["alpha"]
    assert changed(observed, state(event)) == []


def test_a_deletion_is_reported_and_so_is_the_object_of_someone_else(observed: Observed) -> None:
    assert changed(observed, State("11")) == ["alpha"]
    assert changed(observed, State("12")) == []
    assert changed(observed, state(live(13, uid="u2"))) == ["alpha"]


@pytest.mark.parametrize(
    "event",
    [live(11, used="12:00:07"), live(11, labels="theirs"), live(10), live(9, own="memory")],
    ids=["status", "a label of others", "our own write", "older than our own write"],
)
def test_other_events_are_no_change(observed: Observed, event: dict[str, Any]) -> None:
    assert changed(observed, state(event)) == []


def test_versions_of_another_store_are_later_whatever_their_number(observed: Observed) -> None:
    assert observed.newest(QUOTA) == "10"
    observed.start_again(QUOTA)
    assert changed(observed, State("2")) == ["alpha"]
    assert changed(observed, State("1", uid="u2")) == []


def test_a_write_that_nothing_else_explains_is_looked_at_soon_after_a_call(
    observed: Observed, clock: Clock
) -> None:
    assert changed(observed, state(live(11))) == ["alpha"]
    clock.now += 5
    assert changed(observed, state(live(12))) == []


def test_a_call_that_writes_nothing_causes_no_further_look(
    observed: Observed, clock: Clock
) -> None:
    clock.now += 5
    observed.saw("alpha", QUOTA, PATH, live(11, used="12:00:07"))
    assert changed(observed, state(live(12, used="12:00:07"))) == []


def test_events_during_a_call_are_compared_with_what_it_left(observed: Observed) -> None:
    with observed.working_on("alpha"):
        assert changed(observed, state(live(11, own="memory")), state(live(12))) == []
        observed.saw("alpha", QUOTA, PATH, live(12))
    assert changed(observed) == []
    with observed.working_on("alpha"):
        assert changed(observed, state(live(13, own="memory"))) == []
    assert changed(observed) == ["alpha"]


def test_the_version_of_what_was_applied_is_known_until_something_else_changes_it(
    observed: Observed,
) -> None:
    assert observed.version(QUOTA, PATH) == ""
    observed.confirm(QUOTA, PATH)
    assert observed.version(QUOTA, PATH) == "10"
    assert changed(observed, state(live(11, used="12:00:07"))) == []
    assert observed.version(QUOTA, PATH) == "11"
    assert changed(observed, state(live(12, own="memory"))) == ["alpha"]
    assert observed.version(QUOTA, PATH) == ""
    changed(observed, state(live(13, own="memory", used="12:00:08")))
    assert observed.version(QUOTA, PATH) == ""


def test_calls_for_one_namespace_may_overlap(observed: Observed) -> None:
    with observed.working_on("alpha"):
        with observed.working_on("alpha"):
            observed.event(QUOTA, PATH, State("11"))
        assert observed.take_changed() is None
    assert observed.take_changed() == "alpha"


def test_objects_that_are_unknown_or_forgotten_are_not_reported(observed: Observed) -> None:
    observed.event(QUOTA, QUOTA.path("alpha", "foreign"), state(live(11)))
    with observed.working_on("alpha"):
        observed.event(QUOTA, PATH, State("11"))
        observed.forget(QUOTA, PATH)
    assert observed.take_changed() is None
    assert QUOTA not in observed.kinds


def test_each_new_kind_and_each_change_is_news(clock: Clock) -> None:
    observed, news = Observed(clock), []
    observed.on_news = lambda: news.append(1)
    observed.saw("alpha", QUOTA, PATH, live(10))
    observed.saw("beta", QUOTA, QUOTA.path("beta", "quota"), live(10))
    assert len(news) == 1
    observed.event(QUOTA, PATH, State("11"))
    assert len(news) == 2


def test_versions_are_compared_as_numbers_where_they_are_some() -> None:
    assert is_later("10", "9")
    assert not is_later("9", "10")
    assert is_later("b", "a")
    assert not is_later("a", "a")
