"""The settings in memory: the state after a series of changes, the cache, and the digest."""

import random
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.trimtab.strategies import scopes
from trimtab.errors import NotFound, Unreadable
from trimtab.levels import PLATFORM, Scope
from trimtab.messages.events import (
    ClusterChanged,
    DomainChanged,
    Event,
    Heartbeat,
    LaterChange,
    PoolChanged,
    ProjectChanged,
    RecordChanged,
    settings_subject,
)
from trimtab.settings.fold import Source
from trimtab.settings.state import CACHE_SIZE, Digest, Settings
from trimtab.testing import DOMAIN, deleted, record

TARGET = Scope("development", "alpha", "train")

TARGETS = Scope("development", "alpha", "train", "nightly").chain

# Some of the records cannot be parsed, and some are of a kind that is not installed.
records: st.SearchStrategy[Event] = st.builds(
    lambda kind, scope, document: record(document, kind=kind, scope=scope),
    st.sampled_from(["task_resource", "execution_queue", "paint"]),
    scopes,
    st.sampled_from([{}, {"limits": {"cpu": "2"}}, {"unset": ["limits"]}, {"tags": ["a"]}]),
)
changes: st.SearchStrategy[Event] = st.one_of(
    st.builds(lambda scope: record(scope=scope, kind="workflow_priority", document={}), scopes),
    st.builds(lambda scope: deleted("workflow_priority", scope), scopes),
    st.builds(ProjectChanged, name=st.sampled_from("ab"), deleted=st.booleans()),
    st.builds(DomainChanged, name=st.sampled_from("ab"), deleted=st.booleans()),
    st.builds(ClusterChanged, name=st.sampled_from("ab"), deleted=st.booleans()),
    st.builds(PoolChanged, name=st.sampled_from("ab"), deleted=st.booleans()),
)


def settings_of(*events: Event) -> Settings:
    settings = Settings()
    for revision, event in enumerate(events, start=1):
        settings.apply(event, revision)
    return settings


def test_the_effective_value_follows_the_records_that_apply() -> None:
    settings = settings_of(
        record({"limits": {"cpu": "2", "memory": "1Gi"}}, scope=PLATFORM),
        record({"limits": {"cpu": "4"}}, scope=DOMAIN),
        record({"limits": {"cpu": "9"}}, scope=Scope(domain="production")),
    )
    effective = settings.effective("task_resource", TARGET)
    assert effective.document == {"limits": {"cpu": "4", "memory": "1Gi"}}
    assert effective.leaves["limits.cpu"].source == Source(DOMAIN, 2, "4")
    assert settings.revision == 3


def test_a_record_replaces_the_one_before_and_after_a_deletion_the_value_is_inherited() -> None:
    first, second = record({"limits": {"cpu": "1"}}), record({"limits": {"memory": "1Gi"}})
    assert settings_of(first, second).effective("task_resource", TARGET).document == second.document
    after = settings_of(first, second, deleted())
    assert after.effective("task_resource", TARGET).document == {}
    assert after.digest.count == 0


def test_a_deleted_entity_is_not_listed() -> None:
    settings = settings_of(ProjectChanged(name="alpha"), PoolChanged(name="gpus"))
    assert (list(settings.projects), list(settings.pools)) == (["alpha"], ["gpus"])
    settings.apply(ProjectChanged(name="alpha", deleted=True), 3)
    assert settings.projects == {}


def test_an_unknown_pool_is_refused_with_the_names_of_all_pools() -> None:
    settings = settings_of(PoolChanged(name="gpus", quota=2), PoolChanged(name="api"))
    assert settings.pool("gpus").quota == 2
    with pytest.raises(NotFound, match="pool 'tpus' does not exist; there are: api, gpus"):
        settings.pool("tpus")


def test_the_default_pool_applies_to_pools_that_are_not_declared() -> None:
    settings = settings_of(PoolChanged(name="*", quota=3, active=False), PoolChanged(name="gpus"))
    assert settings.pool("tpus") == PoolChanged(name="tpus", quota=3, active=False)
    assert settings.pool("gpus") == PoolChanged(name="gpus")


def test_an_unreadable_record_is_named_and_affects_only_targets_that_it_applies_to() -> None:
    settings = settings_of(record({"limits": {"cpu": "much"}}), record(kind="workflow_priority"))
    with pytest.raises(
        Unreadable, match=r"task_resource record of domain development.*limits\.cpu"
    ):
        settings.effective("task_resource", TARGET)
    assert settings.effective("task_resource", Scope(domain="production")).document == {}
    assert settings.digest.count == 2


def test_a_readable_record_replaces_an_unreadable_one() -> None:
    settings = settings_of(record({"limits": {"cpu": "much"}}), record({"limits": {"cpu": "1"}}))
    assert settings.effective("task_resource", TARGET).flat == {"limits.cpu": "1"}
    settings.apply(record({"limits": {"cpu": "much"}}), 3)
    settings.apply(deleted(), 4)
    assert settings.effective("task_resource", TARGET).flat == {}


def test_a_record_of_a_kind_that_is_not_installed_is_kept_unparsed() -> None:
    unknown = record({"colour": ["red"]}, kind="paint")
    settings = settings_of(unknown)
    assert settings.unknown == {"paint": {DOMAIN: unknown}}
    assert settings.digest.count == 1
    settings.apply(deleted("paint"), 2)
    assert settings.unknown["paint"] == {}


@given(st.lists(st.one_of(records, st.builds(deleted, scope=scopes), changes), max_size=10))
def test_cached_values_equal_newly_folded_ones(events: list[Event]) -> None:
    settings = Settings()
    for number, event in enumerate(events, start=1):
        settings.apply(event, number)
        expected = values(settings_of(*events[:number]))
        # The second request fills the cache, and the third one is answered from it.
        assert [values(settings) for _ in range(3)] == 3 * [expected]


@given(st.lists(st.one_of(records, st.builds(deleted, scope=scopes)), max_size=20))
def test_records_are_grouped_by_their_project_domain_and_workflow(events: list[Event]) -> None:
    settings = settings_of(*events)
    for kind, stored in settings.records.items():
        for (domain, project), found in settings.by_project_domain[kind].items():
            assert found == {
                scope: record
                for scope, record in stored.items()
                if (scope.domain, scope.project) == (domain, project)
            }
        assert sum(map(len, settings.by_project_domain[kind].values())) == len(stored)
        of_launch_plans = {scope for scope in stored if scope.launch_plan}
        grouped = settings.launch_plans.get(kind, {})
        assert of_launch_plans == {scope for found in grouped.values() for scope in found}
        for workflow, found in grouped.items():
            assert all(scope.chain[-2] == workflow for scope in found)
            assert found == {scope: stored[scope] for scope in found}


def test_the_cache_of_effective_values_is_bounded() -> None:
    settings = settings_of(record())
    targets = [Scope("development", f"p{number}") for number in range(2 * CACHE_SIZE)]
    effective_values = [
        settings.effective("task_resource", target) for target in targets for _ in range(2)
    ]
    references = [weakref.ref(effective) for effective in effective_values]
    del effective_values
    assert 0 < sum(reference() is not None for reference in references) <= CACHE_SIZE


def values(settings: Settings) -> list[object]:
    """Return the leaves, or the text of the error, for each kind at each of some targets."""
    found: list[object] = []
    for kind in ("task_resource", "execution_queue", "workflow_priority", "paint"):
        for target in TARGETS:
            try:
                found.append(settings.effective(kind, target).leaves)
            except (NotFound, Unreadable) as error:
                found.append(str(error))
    return found


def test_an_event_that_does_not_change_the_settings_is_refused() -> None:
    with pytest.raises(TypeError, match=r"trimtab\.heartbeat\.v1 is not a change"):
        Settings().apply(Heartbeat(owner="propeller-1"), 1)


@given(st.lists(changes, max_size=20))
def test_the_digest_depends_on_the_live_subjects_and_their_revisions_alone(
    events: list[Event],
) -> None:
    live: dict[str, int] = {}
    for revision, event in enumerate(events, start=1):
        deletes = event.document is None if isinstance(event, RecordChanged) else event.deleted  # type: ignore[attr-defined]
        live.pop(settings_subject(event), None)
        if not deletes:
            live[settings_subject(event)] = revision
    digest, expected = settings_of(*events).digest, Digest()
    for subject in random.Random(1).sample(sorted(live), len(live)):
        expected.put(subject, live[subject])
    assert (digest.count, str(digest)) == (len(live), str(expected))


def test_digests_differ_where_a_subject_or_a_revision_differs() -> None:
    digests = set()
    for entries in ({}, {"a": 1}, {"a": 2}, {"b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 1}):
        digest = Digest()
        for subject, revision in entries.items():
            digest.put(subject, revision)
        digests.add(str(digest))
    assert len(digests) == 6


def test_a_digest_counts_a_subject_once() -> None:
    digest = Digest()
    empty = str(digest)
    digest.put("a", 1)
    digest.put("a", 2)
    assert digest.count == 1
    digest.drop("a")
    digest.drop("a")
    assert (digest.count, str(digest)) == (0, empty)


def test_a_later_change_whose_type_is_not_stored_has_that_of_its_family() -> None:
    """A resync publishes it again: another type would hide it from the release that knows it."""
    record = LaterChange(subject="trimtab.attributes.task_resource.-.-.-.-", text="{}")
    assert record.event_type == RecordChanged.type_of_event()
    assert LaterChange(subject="trimtab.sites.q", text="{}").event_type == "trimtab.site_changed.v1"
