"""The namespaces on each cluster, and those that a change affects."""

import pytest

from trimtab.errors import Unreadable
from trimtab.levels import PLATFORM, SETTINGS_FILE, Scope
from trimtab.messages.events import (
    ClusterChanged,
    DomainChanged,
    Event,
    PoolChanged,
    ProjectChanged,
    PruneChanged,
    RecordChanged,
)
from trimtab.settings.state import Settings
from trimtab_clusterres.namespaces import Layout, Placement

KIND = "cluster_resource"
DEFAULT = "{{ project }}-{{ domain }}"


def settings(*events: Event) -> Settings:
    """Return two projects, two domains and two clusters, followed by these changes."""
    names = ("alpha", "beta")
    found = Settings()
    projects = [ProjectChanged(name=name) for name in names]
    domains = [DomainChanged(name=name) for name in ("development", "production")]
    clusters = [ClusterChanged(name=name) for name in ("east", "west")]
    for revision, event in enumerate([*projects, *domains, *clusters, *events], 1):
        found.apply(event, revision)
    return found


def layout(*events: Event, template: str = DEFAULT) -> Layout:
    return Layout(settings(*events), template, {"east", "west"})


def affected(event: Event) -> set[str]:
    """Return the namespaces that the event affects, each on both clusters."""
    placements = layout().affected(event)
    assert placements == {Placement(c, n) for c in ("east", "west") for _, n in placements}
    return {placement.namespace for placement in placements}


def test_there_is_a_namespace_for_each_project_in_each_domain_on_each_cluster() -> None:
    assert layout().placements == {
        Placement(cluster, f"{project}-{domain}")
        for cluster in ("east", "west")
        for project in ("alpha", "beta")
        for domain in ("development", "production")
    }


def test_archived_projects_and_disabled_clusters_have_none() -> None:
    found = layout(
        ProjectChanged(name="alpha", state="archived"), ClusterChanged(name="east", enabled=False)
    )
    assert found.placements == {
        Placement("west", "beta-development"),
        Placement("west", "beta-production"),
    }
    assert not found.has(Placement("west", "alpha-development"))
    assert not found.has(Placement("east", "beta-production"))


def test_the_namespaces_of_an_archived_project_are_to_be_removed() -> None:
    archived = ProjectChanged(name="alpha", state="archived")
    found = layout(archived, ClusterChanged(name="west", enabled=False))
    assert found.removals == {
        Placement("east", "alpha-development"),
        Placement("east", "alpha-production"),
    }
    assert found.archived["alpha-development"] == Scope("development", "alpha")
    assert found.affected(archived) == found.removals
    assert found.occasion("alpha-development") == "archived at revision 7"
    assert found.missing_reason(Placement("east", "alpha-production")) == (
        "project 'alpha' is archived"
    )
    assert found.occasion("beta-development") == ""


@pytest.mark.parametrize("template", ["{{ domain }}", "all"])
def test_a_namespace_for_several_projects_outlives_the_archive_of_one(template: str) -> None:
    archived = [ProjectChanged(name=name, state="archived") for name in ("alpha", "beta")]
    assert layout(*archived, template=template).archived == {}
    assert layout(archived[0], template=template).removals == set()


def test_the_namespaces_of_a_project_that_vanished_are_looked_at() -> None:
    vanished = ProjectChanged(name="alpha", deleted=True)
    found = layout(vanished)
    assert found.affected(vanished) == {
        Placement(cluster, f"alpha-{domain}")
        for cluster in ("east", "west")
        for domain in ("development", "production")
    }
    assert not found.removals


def test_a_confirmation_affects_its_namespace_alone() -> None:
    confirmed = PruneChanged(cluster="east", namespace="alpha-development", digest="d")
    assert layout().affected(confirmed) == {Placement("east", "alpha-development")}
    assert layout().affected(confirmed.model_copy(update={"cluster": "north"})) == set()


def test_an_enabled_cluster_that_is_not_configured_is_unreachable() -> None:
    found = layout(ClusterChanged(name="north"), ClusterChanged(name="south", enabled=False))
    assert found.clusters == ["east", "west"]
    assert found.unreachable == ["north"]


def test_the_template_gives_the_name() -> None:
    found = layout(template="ns-{{ domain }}-{{ project }}-{{ domain }}")
    assert found.has(Placement("east", "ns-production-alpha-production"))


@pytest.mark.parametrize(
    ("scope", "names"),
    [
        (SETTINGS_FILE, "alpha-development alpha-production beta-development beta-production"),
        (PLATFORM, "alpha-development alpha-production beta-development beta-production"),
        (Scope(domain="production"), "alpha-production beta-production"),
        (Scope(project="beta"), "beta-development beta-production"),
        (Scope("production", "beta"), "beta-production"),
        (Scope("production", "gone"), ""),
    ],
)
def test_a_record_affects_the_namespaces_that_it_applies_to(scope: Scope, names: str) -> None:
    assert affected(RecordChanged.at(scope, KIND, None)) == set(names.split())


def test_projects_and_domains_affect_their_own_namespaces() -> None:
    assert affected(ProjectChanged(name="beta")) == {"beta-development", "beta-production"}
    assert affected(DomainChanged(name="production")) == {"alpha-production", "beta-production"}


def test_a_cluster_affects_every_namespace_on_itself_alone() -> None:
    placements = layout().affected(ClusterChanged(name="east", labels=("new",)))
    assert {placement.cluster for placement in placements} == {"east"}
    assert len(placements) == 4


@pytest.mark.parametrize(
    "event",
    [
        RecordChanged.at(PLATFORM, "task_resource", None),
        PoolChanged(name="gpus"),
        ClusterChanged(name="north"),
    ],
)
def test_a_change_that_templates_do_not_use_affects_nothing(event: Event) -> None:
    assert affected(event) == set()


def test_values_are_folded_from_broad_to_narrow() -> None:
    platform = RecordChanged.at(PLATFORM, KIND, {"attributes": {"a": "1", "b": "1", "c": "1"}})
    narrow = {"attributes": {"b": "2"}, "unset": ["attributes.c"]}
    found = layout(platform, RecordChanged.at(Scope("production", "beta"), KIND, narrow))
    assert found.attributes("beta-production") == {
        Scope("production", "beta"): {"a": "1", "b": "2"}
    }
    assert found.attributes("alpha-production") == {
        Scope("production", "alpha"): {"a": "1", "b": "1", "c": "1"}
    }


def test_a_record_may_replace_all_values_of_broader_ones() -> None:
    platform = RecordChanged.at(PLATFORM, KIND, {"attributes": {"a": "1", "b": "1"}})
    narrow = {"attributes": {"b": "2"}, "unset": ["attributes"]}
    found = layout(platform, RecordChanged.at(Scope("production", "beta"), KIND, narrow))
    assert found.attributes("beta-production") == {Scope("production", "beta"): {"b": "2"}}


def test_an_unreadable_record_fails_the_namespaces_that_need_it_by_name() -> None:
    found = layout(RecordChanged.at(Scope(project="beta"), KIND, {"attributes": {"a": 1}}))
    with pytest.raises(Unreadable, match="cluster_resource record of project beta"):
        found.attributes("beta-production")
    assert found.attributes("alpha-production")


def test_a_name_that_several_projects_share_has_several_targets() -> None:
    found = layout(template="{{ domain }}")
    assert found.targets["production"] == (
        Scope("production", "alpha"),
        Scope("production", "beta"),
    )
