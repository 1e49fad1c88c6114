"""Drift is found and described, and repairs that do not last wait."""

from typing import Any

import pytest

from trimtab.errors import Invalid
from trimtab.templates.manifests import Manifest, ObjectKey
from trimtab_clusterres import drift
from trimtab_clusterres.clusters.port import Difference
from trimtab_clusterres.drift import Repairs

KEY = ObjectKey("", "ResourceQuota", "project-quota")


def quota(hard: dict[str, str], annotations: dict[str, Any] | None = None) -> Manifest:
    metadata: dict[str, Any] = {"name": "project-quota"}
    if annotations is not None:
        metadata["annotations"] = annotations
    body: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": metadata,
        "spec": {"hard": hard},
    }
    return Manifest("", "ResourceQuota", "project-quota", body)


def live(hard: dict[str, str], **managers: list[str]) -> dict[str, Any]:
    """Return the quota on a cluster, with the limits that each manager has set."""
    entries = [
        {
            "manager": name.replace("_", "-"),
            "fieldsV1": {"f:spec": {"f:hard": {".": {}} | {f"f:{one}": {} for one in limits}}},
        }
        for name, limits in managers.items()
    ]
    body = quota(hard).body
    metadata = {"name": "project-quota", "resourceVersion": "7", "managedFields": entries}
    return {**body, "metadata": metadata, "status": {"used": {"pods": "3"}}}


def difference(found: dict[str, Any] | None, hard: dict[str, str]) -> Difference:
    return Difference(KEY, found, quota(hard).body)


@pytest.mark.parametrize("policy", ["enforce", "warn", "off"])
def test_the_annotation_of_an_object_wins_over_the_policy_of_its_cluster(policy: str) -> None:
    assert drift.policy_of(quota({}, {drift.ANNOTATION: policy}), "warn") == policy
    assert drift.policy_of(quota({}), "off") == "off"


@pytest.mark.parametrize("value", ["never", "", False])
def test_an_annotation_that_is_no_policy_is_refused_by_name(value: object) -> None:
    with pytest.raises(Invalid, match=r"ResourceQuota/project-quota: annotation trimtab.io/drift"):
        drift.policy_of(quota({}, {drift.ANNOTATION: value}), "enforce")


def test_fields_that_the_server_sets_are_no_drift() -> None:
    assert drift.changed_fields(difference(live({"cpu": "4"}), {"cpu": "4"})) == []


def test_a_marked_manifest_is_recognised_on_the_cluster_until_the_settings_change() -> None:
    marked = drift.marked(quota({"cpu": "4"}, {"team": "a"}))
    edited = drift.without(marked, [("spec", "hard", "cpu")])
    assert drift.is_applied(marked, edited.body)
    assert not drift.is_applied(drift.marked(quota({"cpu": "5"}, {"team": "a"})), edited.body)
    assert not drift.is_applied(marked, quota({"cpu": "4"}).body)


def test_drift_is_described_by_its_fields_and_their_manager_without_values() -> None:
    found = live({"cpu": "99", "limits.cpu": "2"}, trimtab_clusterres=["limits.cpu"], helm=["cpu"])
    text = drift.description(difference(found, {"cpu": "4", "limits.cpu": "2"}))
    assert text == "changed by helm: spec.hard.cpu"
    assert drift.description(difference(None, {})) == "deleted"


def test_a_long_list_of_fields_is_cut() -> None:
    many = {f"count/{number}": "1" for number in range(8)}
    text = drift.description(difference(live({}), many))
    assert text.startswith("changed: spec.hard.count/0, ")
    assert text.endswith("spec.hard.count/4 and 3 more")


def test_only_fields_that_others_alone_have_set_are_left_out_of_an_apply() -> None:
    found = live(
        {"cpu": "9", "pods": "9", "memory": "9"},
        helm=["cpu", "pods"],
        trimtab_clusterres=["pods", "memory"],
    )
    desired = {"cpu": "1", "pods": "1", "memory": "1", "secrets": "1"}
    fields = drift.fields_of_others(difference(found, desired))
    assert fields == [("spec", "hard", "cpu")]
    left = drift.without(quota(desired), fields)
    assert left.body["spec"] == {"hard": {"pods": "1", "memory": "1", "secrets": "1"}}


def test_a_manager_of_the_whole_or_of_a_part_of_a_field_has_set_it() -> None:
    body = quota({}).body
    whole = {"manager": "a", "fieldsV1": {"f:spec": {}}}
    part = {"manager": "b", "fieldsV1": {"f:spec": {"f:hard": {"f:cpu": {}}}}}
    status = {"manager": "c", "subresource": "status", "fieldsV1": {"f:spec": {}}}
    found: Any = {**body, "metadata": {"managedFields": [whole, part, status]}}
    assert drift.other_managers(found, [("spec", "hard", "pods")]) == ["a"]
    assert drift.other_managers(found, [("spec",)]) == ["a", "b"]


def test_the_first_repairs_are_free_and_later_ones_wait_longer_and_longer() -> None:
    repairs = Repairs()
    delays = []
    now = 1000.0
    for _ in range(12):
        repairs = repairs.repaired(now)
        delays.append(repairs.next - now)
        now = repairs.next
    assert delays == [0, 0, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]


def test_a_repair_after_a_quiet_time_is_the_first_again() -> None:
    repairs = Repairs(count=6, last=1000.0)
    assert repairs.repaired(repairs.next + 59).count == 7
    assert repairs.repaired(repairs.next + 61).count == 1
