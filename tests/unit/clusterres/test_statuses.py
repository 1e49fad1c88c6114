"""The status of a namespace: what it states, how long it is, and when it is news."""

import json
import os
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.clusterres.test_namespaces import layout
from trimtab.errors import Invalid
from trimtab.levels import Scope
from trimtab.messages.events import ClusterChanged, NamespaceStatus, ObjectStatus, ProjectChanged
from trimtab.templates.manifests import Manifest, ObjectKey
from trimtab.testing import AT
from trimtab_clusterres import hiding, shortening, statuses
from trimtab_clusterres.clusters.port import Entry, Inventory, Outcome, Result
from trimtab_clusterres.namespaces import Placement
from trimtab_clusterres.statuses import Attempt

TARGET = Scope("development", "shop")
QUOTA = ObjectKey("", "ResourceQuota", "quota")
ROLE = ObjectKey("rbac.authorization.k8s.io", "Role", "spark")

characters = st.characters(codec=None)
texts = st.text(characters, max_size=9) | st.text(characters, min_size=1, max_size=3).map(
    lambda text: text * (shortening.MAX_ERROR + 1)
)
details = st.builds(
    ObjectStatus,
    object=texts,
    outcome=st.sampled_from(["applied", "unchanged", "failed", "conflicted", "drifted", "later"]),
    message=texts,
)


def made(attempt: Attempt, *, was_usable: bool = False) -> NamespaceStatus:
    presented = statuses.presentable(attempt)
    return statuses.status("c", "shop-development", TARGET, presented, was_usable=was_usable)


def attempt(*results: Result, **fields: Any) -> Attempt:
    return Attempt(results=results, error=statuses.first_failure(results), **fields)


def secret(**fields: Any) -> Manifest:
    metadata = {"name": "s", "annotations": {"a/last-applied-configuration": "{}", "team": "x"}}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, **fields}
    return Manifest("", "Secret", "s", body)


@settings(max_examples=40)
@given(st.lists(details, max_size=6), texts, st.lists(texts, max_size=6))
def test_any_status_fits_and_is_readable(
    objects: list[ObjectStatus], error: str, names: list[str]
) -> None:
    status = NamespaceStatus.model_construct(
        cluster="c",
        namespace="n",
        project="p",
        domain="d",
        revision=1,
        state="failed",
        objects=tuple(names),
        details=tuple(objects),
        error=error,
        at=AT,
    )
    short = shortening.shortened(status, max_bytes=16_000)
    body = short.body()
    assert len(body) <= 16_000
    assert NamespaceStatus.model_validate_json(body) == short
    texts = [short.error, *short.objects, *(one.object + one.message for one in short.details)]
    assert all(c.isprintable() or c in "\n\t" for text in texts for c in text)
    assert shortening.shortened(short, max_bytes=16_000) == short


def test_of_a_thousand_failures_the_worst_are_listed_and_all_are_counted() -> None:
    def result(number: int) -> Result:
        outcome: Outcome = "failed" if number >= 900 else "unchanged"
        return Result(ObjectKey("", "ConfigMap", f"m{number}"), outcome, "no " * 400)

    status = made(attempt(*map(result, range(1000))))
    short = shortening.shortened(status)
    assert len(short.body()) <= shortening.MAX_BYTES
    assert short.counts == {"failed": 100, "unchanged": 900}
    assert short.details
    assert {detail.outcome for detail in short.details} == {"failed"}
    assert status.error.startswith("ConfigMap/m900: no no")


def test_a_short_status_keeps_the_order_of_application() -> None:
    results = [Result(ROLE, "unchanged"), Result(QUOTA, "failed", "exceeded")]
    status = made(attempt(*results))
    assert shortening.shortened(status) == status
    assert [detail.object for detail in status.details] == ["Role/spark", "ResourceQuota/quota"]
    assert (status.state, status.error) == ("failed", "ResourceQuota/quota: exceeded")


def test_an_error_counts_the_other_objects_that_failed() -> None:
    results = [Result(QUOTA, "failed", "exceeded"), Result(ROLE, "conflicted", "by kubectl")]
    assert made(attempt(*results)).error == "ResourceQuota/quota: exceeded (and 1 more objects)"


def test_a_long_value_in_an_error_leaves_what_is_wrong_with_it() -> None:
    failure = Invalid("spec.hard", "x", "a quantity")
    failure.args = (f"spec.hard: {'9' * 600_000} is not valid; allowed: a quantity",)
    text = statuses.error_text(failure)
    assert len(text) == 2000
    assert text.startswith("spec.hard: 999")
    assert text.endswith("is not valid; allowed: a quantity")


@pytest.mark.parametrize(
    "message",
    [
        'invalid value "hunter2 the second"',
        "illegal base64 data: aHVudGVyMiB0aGUgc2Vjb25k",
        r'got "line\nbreak and more"',
    ],
)
@pytest.mark.parametrize(
    "fields",
    [
        {"stringData": {"a": "hunter2 the second", "b": "line\nbreak and more"}},
        {"data": {"a": "aHVudGVyMiB0aGUgc2Vjb25k"}, "stringData": {"b": "line\nbreak and more"}},
    ],
)
def test_no_message_has_the_value_of_a_secret(message: str, fields: dict[str, Any]) -> None:
    failed = Result(ObjectKey("", "Secret", "s"), "failed", message)
    status = made(attempt(failed, manifests=[secret(**fields)]))
    for text in (status.error, status.details[0].message):
        assert hiding.HIDDEN in text
        assert not any(part in text for part in ("hunter2", "aHVu", "break and"))


def test_a_secret_is_shown_with_hashes_that_only_show_whether_values_differ() -> None:
    key = os.urandom(16)
    fields = {"data": {"a": "aGk=", "b": "aGk=", "c": "bm8="}, "strngData": ["typo"]}
    shown: Any = hiding.without_secrets(secret(**fields).body, key)
    data = shown["data"]
    assert data["a"] == data["b"] != data["c"]
    assert shown["metadata"]["annotations"] == {
        "a/last-applied-configuration": hiding.HIDDEN,
        "team": "x",
    }
    text = json.dumps(shown)
    assert not any(value in text for value in ("aGk=", "bm8=", "typo"))
    assert hiding.without_secrets(secret(**fields).body, os.urandom(16)) != shown


@pytest.mark.parametrize("api_version", ["v1", "v2"])
def test_only_a_secret_of_the_core_group_is_hidden(api_version: str) -> None:
    other = {"apiVersion": f"example.com/{api_version}", "kind": "Secret", "data": {"a": "b"}}
    assert hiding.without_secrets(other, b"k") == other
    assert hiding.without_secrets({**other, "apiVersion": api_version}, b"k") != other


def test_a_check_that_changed_nothing_is_no_news() -> None:
    applied = made(attempt(Result(QUOTA, "applied"), seconds=1.0))
    checked = made(attempt(Result(QUOTA, "unchanged", seconds=0.5), seconds=0.1))
    assert statuses.is_news(applied, None)
    assert not statuses.is_news(checked, applied)
    assert not statuses.is_news(checked, checked)


def test_a_check_after_a_prune_is_no_news() -> None:
    left = made(attempt(Result(QUOTA, "unchanged")))
    gone = (ObjectStatus(object="Role/spark", outcome="pruned", message="no template"),)
    update = {"details": left.details + gone, "counts": {"unchanged": 1, "pruned": 1}}
    pruned = left.model_copy(update=update)
    assert statuses.is_news(pruned, left)
    assert statuses.is_news(pruned, pruned)
    assert not statuses.is_news(left, pruned)


@pytest.mark.parametrize(
    "other",
    [
        attempt(Result(QUOTA, "applied")),
        attempt(Result(QUOTA, "unchanged"), revision=1),
        attempt(Result(QUOTA, "failed", "exceeded")),
        attempt(Result(QUOTA, "unchanged"), Result(ROLE, "unchanged")),
    ],
)
def test_a_repair_a_revision_a_failure_or_another_object_is_news(other: Attempt) -> None:
    assert statuses.is_news(made(other), made(attempt(Result(QUOTA, "unchanged"))))


APPLIED, RECORDED = Entry(created=True, uid="1"), Entry(created=True)


@pytest.mark.parametrize(
    ("inventory", "was_usable", "usable"),
    [
        (None, True, True),  # the cluster does not respond
        (None, False, False),
        (Inventory({QUOTA: APPLIED}), False, True),  # after a restart without the old status
        (Inventory({QUOTA: APPLIED, ROLE: RECORDED}), False, False),
        (Inventory({QUOTA: APPLIED, ROLE: RECORDED}), True, True),  # a new template fails
        (Inventory(), True, False),  # the namespace was deleted
    ],
)
def test_a_namespace_stays_usable_while_what_was_applied_is_there(
    inventory: Inventory | None, was_usable: bool, usable: bool
) -> None:
    failed = replace(attempt(Result(ROLE, "failed", "no")), inventory=inventory)
    assert made(failed, was_usable=was_usable).usable == usable


def test_a_namespace_whose_objects_are_all_applied_is_usable() -> None:
    assert made(attempt(Result(QUOTA, "applied"))).usable


@pytest.mark.parametrize(
    ("placement", "reason"),
    [
        (Placement("east", "alpha-development"), "is disabled"),
        (Placement("west", "beta-development"), "project 'beta' is archived"),
        (Placement("west", "gamma-development"), "no active project"),
        (Placement("west", "alpha-development"), ""),
        (Placement("gone", "alpha-development"), "does not exist any longer"),
        (Placement("other", "never-made"), ""),  # reached by another clusterres
    ],
)
def test_a_namespace_that_the_layout_lost_has_a_reason(placement: Placement, reason: str) -> None:
    found = layout(
        ClusterChanged(name="east", enabled=False),
        ClusterChanged(name="other"),
        ProjectChanged(name="beta", state="archived"),
    )
    missing = found.missing_reason(placement)
    assert (reason in missing) if reason else not missing
