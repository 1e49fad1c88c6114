"""Records need queues with their tags or clusters with their label, and queues need clusters."""

import pytest

from trimtab import kinds
from trimtab.api.entities import ClusterBody, QueueBody
from trimtab.api.settings import DocumentBody
from trimtab.errors import Invalid
from trimtab.levels import PLATFORM, Scope
from trimtab.messages import subjects
from trimtab.messages.events import (
    ClusterChanged,
    DomainChanged,
    Event,
    LaterChange,
    QueueChanged,
    RecordChanged,
)
from trimtab.settings.state import Settings
from trimtab_admin.access.authorization import ROOT
from trimtab_admin.settings import matching
from trimtab_admin.settings.drafts import Draft
from trimtab_admin.settings.entities import CLUSTERS, QUEUES
from trimtab_admin.settings.preconditions import AnyVersion
from trimtab_admin.settings.requests import (
    ApplyDocuments,
    DeleteEntity,
    PreparedRequest,
    PutEntity,
    PutRecord,
)
from trimtab_admin.settings.writing import make_draft
from trimtab_admin.steps import at_once

BATCH = QueueChanged(name="batch", attributes=("critical", "spot"))
GPU = QueueChanged(name="gpu", attributes=("gpu",), clusters=("east",))
EAST = ClusterChanged(name="east", labels=("fast", "cheap"))
DOMAINS = ("development", "staging")


def after(*events: Event) -> Settings:
    settings = Settings()
    domains = [DomainChanged(name=name) for name in DOMAINS]
    for revision, event in enumerate([*domains, *events], 1):
        settings.apply(event, revision)
    return settings


def tagged(*tags: str, domain: str = "") -> RecordChanged:
    return RecordChanged.at(Scope(domain=domain), "execution_queue", {"tags": list(tags)})


def judged(settings: Settings, request: PreparedRequest) -> Draft:
    draft = at_once(make_draft(settings, request, ROOT))
    at_once(matching.judge(draft))
    return draft


def warnings(settings: Settings, request: PreparedRequest) -> list[str]:
    edits = judged(settings, request).edits
    return [warning for edit in edits for warning in edit.warnings]


def put(kind: str, **document: object) -> PutRecord:
    return PutRecord(kinds.by_name(kind), PLATFORM, document, AnyVersion())


def queue(**fields: object) -> PutEntity:
    return PutEntity(QUEUES, QueueBody.model_validate({"name": "gpu", **fields}), AnyVersion())


def cluster(**fields: object) -> PutEntity:
    body = ClusterBody.model_validate({"name": "east", "labels": ("fast",), **fields})
    return PutEntity(CLUSTERS, body, AnyVersion())


def test_tags_that_one_queue_has_give_no_warning() -> None:
    assert warnings(after(BATCH, GPU), put("execution_queue", tags=["spot", "critical"])) == []


def test_tags_that_only_two_queues_have_together_give_a_warning() -> None:
    [warning] = warnings(after(BATCH, GPU), put("execution_queue", tags=["spot", "gpu"]))
    assert warning == (
        "tags: no queue has all of spot, gpu, so executions go to no queue; attributes of queues: "
        "critical, gpu, spot"
    )


def test_an_unknown_tag_gives_a_warning_with_the_nearest_one() -> None:
    [warning] = warnings(after(BATCH, GPU), put("execution_queue", tags=["critcal"]))
    assert warning.endswith("attributes of queues: critical, gpu, spot; did you mean 'critical'?")
    [warning] = warnings(after(), put("execution_queue", tags=["critical"]))
    assert warning.endswith("attributes of queues: none")


@pytest.mark.parametrize(
    ("kind", "path"),
    [("execution_cluster_label", "value"), ("cluster_assignment", "cluster_pool_name")],
)
def test_a_label_that_no_cluster_has_gives_a_warning(kind: str, path: str) -> None:
    assert warnings(after(EAST), put(kind, **{path: "fast"})) == []
    [warning] = warnings(after(EAST), put(kind, **{path: "fas"}))
    assert warning == (
        f"{path}: no enabled cluster of a positive weight has the label 'fas'; labels of such "
        "clusters: cheap, fast; did you mean 'fast'?"
    )


@pytest.mark.parametrize("change", [{"enabled": False}, {"weight": 0.0}])
def test_the_labels_of_a_cluster_that_gets_no_executions_do_not_count(
    change: dict[str, object],
) -> None:
    settings = after(EAST.model_copy(update=change))
    assert len(warnings(settings, put("execution_cluster_label", value="fast"))) == 1


def test_documents_are_judged_with_the_queues_among_them() -> None:
    documents = (
        DocumentBody(kind="execution_queue", document={"tags": ["new"]}),
        DocumentBody(kind="queue", name="own", document={"attributes": ["new"], "clusters": ["w"]}),
        DocumentBody(kind="cluster", name="w", document={}),
    )
    assert warnings(after(), ApplyDocuments(documents)) == []
    assert len(warnings(after(), ApplyDocuments(documents[:1]))) == 1


def test_of_many_records_only_the_first_have_a_warning_each() -> None:
    names = [f"d{number}" for number in range(30)]
    settings = after(*(DomainChanged(name=name) for name in names))
    documents = [
        DocumentBody(kind="execution_queue", domain=name, document={"tags": ["new"]})
        for name in names
    ]
    found = warnings(settings, ApplyDocuments(tuple(documents)))
    assert len(found) == 21
    assert found[-1] == "10 records need queues or clusters that are not declared"


def test_a_queue_names_only_declared_clusters() -> None:
    with pytest.raises(Invalid, match="did you mean 'east'") as refused:
        judged(after(EAST), queue(clusters=["eats"]))
    assert refused.value.path == "clusters.0"
    later = LaterChange(subject=subjects.cluster("west"), text="{}")
    judged(after(EAST, later), queue(clusters=["east", "west"]))


def test_a_document_of_a_queue_with_an_unknown_cluster_is_named() -> None:
    document = DocumentBody(kind="queue", name="own", document={"clusters": ["w"]})
    with pytest.raises(Invalid) as refused:
        judged(after(), ApplyDocuments((document,)))
    assert refused.value.path == "documents.0.document.clusters.0"


def test_the_deletion_of_a_queue_names_the_records_that_it_leaves_without_one() -> None:
    other = BATCH.model_copy(update={"name": "other"})
    delete = DeleteEntity(QUEUES, "batch", AnyVersion())
    stored = (EAST, BATCH, tagged("spot"), tagged("gpu", domain="staging"))
    assert warnings(after(*stored), delete) == [
        "no queue fits execution_queue of these scopes any more: platform"
    ]
    assert warnings(after(*stored, other), delete) == []


def test_a_change_of_a_queue_or_a_cluster_names_the_records_that_it_leaves_without_one() -> None:
    label = RecordChanged.at(PLATFORM, "execution_cluster_label", {"value": "fast"})
    stored = after(
        EAST, GPU, label, tagged("gpu", domain="staging"), tagged("no", domain=DOMAINS[0])
    )
    assert warnings(stored, queue(attributes=["gpu"])) == []
    assert warnings(stored, queue(attributes=[])) == [
        "no queue fits execution_queue of these scopes any more: domain staging"
    ]
    assert warnings(stored, cluster()) == []
    [warning] = warnings(stored, cluster(enabled=False))
    assert warning == "no cluster fits execution_cluster_label of these scopes any more: platform"


@pytest.mark.parametrize("name", ["Gpu", "a_b", "-a", "", "a.b", "a" * 64])
def test_the_name_of_a_queue_is_a_dns_label(name: str) -> None:
    with pytest.raises(Invalid) as refused:
        QUEUES.parse(name, {})
    assert refused.value.path == "name"


@pytest.mark.parametrize("field", ["attributes", "clusters"])
def test_a_queue_has_each_attribute_and_each_cluster_once(field: str) -> None:
    with pytest.raises(Invalid, match="'a' is repeated") as refused:
        QUEUES.parse("gpu", {field: ["a", "b", "a"]})
    assert refused.value.path == field
