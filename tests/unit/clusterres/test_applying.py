"""Each drift policy: what is applied, what is left, and what is reported."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from tests.servers import PATIENCE_SECONDS
from trimtab.templates.manifests import Manifest, ObjectKey
from trimtab_clusterres import drift
from trimtab_clusterres.applying import Applier
from trimtab_clusterres.clusters.port import (
    FIELD_MANAGER,
    Cluster,
    Difference,
    Entry,
    Inventory,
    Result,
)
from trimtab_clusterres.drift import Policy
from trimtab_clusterres.queue import WorkQueue

NAMESPACE = "alpha-development"


def manifest(name: str, kind: str = "ConfigMap", policy: str = "", **data: str) -> Manifest:
    metadata: dict[str, Any] = {"name": name}
    if policy:
        metadata["annotations"] = {drift.ANNOTATION: policy}
    body = {"apiVersion": "v1", "kind": kind, "metadata": metadata, "data": data}
    return Manifest("", kind, name, cast(Any, body))


@dataclass
class ScriptedCluster:
    """A cluster of objects without the fields of others, that keeps the calls."""

    live: dict[ObjectKey, dict[str, Any]] = field(default_factory=dict)
    inventory: dict[ObjectKey, Entry] = field(default_factory=dict)
    calls: list[tuple[str, bool]] = field(default_factory=list)

    async def apply(
        self, namespace: str, manifests: Sequence[Manifest], *, repair: bool = False
    ) -> tuple[Result, ...]:
        results = []
        for each in manifests:
            self.calls.append((each.name, repair))
            same = self.live.get(each.key) == each.body
            self.live[each.key] = each.body
            self.inventory[each.key] = Entry(True, "uid")
            results.append(Result(each.key, "unchanged" if same else "applied"))
        return tuple(results)

    async def compare(
        self, namespace: str, manifests: Sequence[Manifest]
    ) -> tuple[Difference, ...]:
        return tuple(
            Difference(each.key, self.live.get(each.key), each.body)
            for each in manifests
            if self.live.get(each.key) != each.body
        )

    async def read(self, namespace: str) -> Inventory:
        return Inventory(self.inventory)

    def edit(self, key: ObjectKey, **data: str) -> None:
        body = self.live[key]
        entries = [
            {"manager": "helm", "fieldsV1": {"f:data": {f"f:{name}": {} for name in data}}},
            {"manager": FIELD_MANAGER, "fieldsV1": {"f:data": {"f:own": {}}}},
        ]
        metadata = {**body["metadata"], "managedFields": entries}
        self.live[key] = {**body, "metadata": metadata, "data": {**body["data"], **data}}


@pytest.fixture
def cluster() -> ScriptedCluster:
    return ScriptedCluster()


@pytest.fixture
def queue() -> WorkQueue:
    return WorkQueue()


def applier(cluster: ScriptedCluster, queue: WorkQueue, policy: Policy = "enforce") -> Applier:
    return Applier("c", cast(Cluster, cluster), queue, policy)


async def outcomes(one: Applier, *manifests: Manifest) -> dict[str, str]:
    return {each.key.name: each.outcome for each in await one.apply(NAMESPACE, manifests)}


async def test_enforce_takes_a_change_back(cluster: ScriptedCluster, queue: WorkQueue) -> None:
    one = applier(cluster, queue)
    a = manifest("a", x="1")
    await one.apply(NAMESPACE, [a])
    cluster.edit(a.key, x="edited")
    assert await outcomes(one, a) == {"a": "applied"}
    assert cluster.live[a.key] == a.body


async def test_repairs_that_do_not_last_wait_and_the_other_manager_is_reported(
    cluster: ScriptedCluster, queue: WorkQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift, "_FIRST_DELAY_SECONDS", 0.05)
    one = applier(cluster, queue)
    a, b = manifest("a", x="1"), manifest("b", x="1")
    await one.apply(NAMESPACE, [a, b])
    for _ in range(3):
        cluster.edit(a.key, x="edited")
        assert await outcomes(one, a, b) == {"a": "applied", "b": "unchanged"}
    cluster.edit(a.key, x="edited")
    cluster.edit(b.key, x="edited")
    fought, repaired = await one.apply(NAMESPACE, [a, b])
    assert (fought.outcome, repaired.outcome) == ("drifted", "applied")
    assert fought.message.startswith("changed by helm: data.x; repaired 3 times in a row")
    async with asyncio.timeout(PATIENCE_SECONDS):
        item = await queue.take()  # marked when the delay is over
    assert item.namespace == NAMESPACE
    assert await outcomes(one, a) == {"a": "applied"}


async def test_a_namespace_that_is_deleted_again_and_again_is_made_again_at_once(
    cluster: ScriptedCluster, queue: WorkQueue
) -> None:
    one = applier(cluster, queue)
    own, a = manifest(NAMESPACE, "Namespace"), manifest("a", x="1")
    await one.apply(NAMESPACE, [own, a])
    for _ in range(5):
        del cluster.live[own.key]
        assert await outcomes(one, own, a) == {NAMESPACE: "applied", "a": "unchanged"}


async def test_a_change_of_the_settings_applies_at_once_during_a_fight(
    cluster: ScriptedCluster, queue: WorkQueue
) -> None:
    one = applier(cluster, queue)
    a = manifest("a", x="1")
    await one.apply(NAMESPACE, [a])
    for _ in range(3):
        cluster.edit(a.key, x="edited")
        await one.apply(NAMESPACE, [a])
    cluster.edit(a.key, x="edited")
    assert await outcomes(one, manifest("a", x="2")) == {"a": "applied"}


@pytest.mark.parametrize(("policy", "reported"), [("warn", "drifted"), ("off", "unchanged")])
async def test_a_change_is_left_also_by_a_new_process(
    cluster: ScriptedCluster, queue: WorkQueue, policy: Policy, reported: str
) -> None:
    a, b = manifest("a", x="1"), manifest("b", x="1")
    assert await outcomes(applier(cluster, queue, policy), a, b) == {"a": "applied", "b": "applied"}
    cluster.edit(a.key, x="edited")
    del cluster.live[b.key]
    cluster.calls.clear()
    for one in (applier(cluster, queue, policy), applier(cluster, queue, policy)):
        assert await outcomes(one, a, b) == {"a": reported, "b": reported}
    assert cluster.calls == []


async def test_a_change_of_the_settings_applies_under_warn_to_what_others_left(
    cluster: ScriptedCluster, queue: WorkQueue
) -> None:
    one = applier(cluster, queue, "warn")
    await one.apply(NAMESPACE, [manifest("a", x="1", own="1")])
    a = manifest("a", x="2", own="2")
    cluster.edit(a.key, x="edited")
    [result] = await one.apply(NAMESPACE, [a])
    assert (result.outcome, result.message) == ("drifted", "changed by helm: data.x")
    assert cluster.live[a.key]["data"] == {"own": "2"}
    assert cluster.calls[-1] == ("a", False)
    del cluster.live[a.key]
    assert await outcomes(one, a) == {"a": "drifted"}


async def test_an_object_that_was_deleted_is_made_again_under_warn_when_the_settings_change(
    cluster: ScriptedCluster, queue: WorkQueue
) -> None:
    one = applier(cluster, queue, "warn")
    a = manifest("a", x="1")
    await one.apply(NAMESPACE, [a])
    del cluster.live[a.key]
    [result] = await one.apply(NAMESPACE, [a])
    assert (result.outcome, result.message) == ("drifted", "deleted")
    assert await outcomes(one, manifest("a", x="2")) == {"a": "applied"}


async def test_the_annotation_of_an_object_is_honoured_and_its_namespace_comes_first(
    cluster: ScriptedCluster, queue: WorkQueue
) -> None:
    one = applier(cluster, queue)
    own = manifest(NAMESPACE, "Namespace", policy="warn")
    free, kept = manifest("free", policy="off", x="1"), manifest("kept", x="1")
    manifests = (kept, own, free)
    assert list(await outcomes(one, *manifests)) == ["kept", NAMESPACE, "free"]
    assert [name for name, _ in cluster.calls] == [NAMESPACE, "free", "kept"]
    cluster.edit(free.key, x="edited")
    cluster.edit(kept.key, x="edited")
    assert await outcomes(one, *manifests) == {
        "kept": "applied",
        NAMESPACE: "unchanged",
        "free": "unchanged",
    }
    assert cluster.live[free.key]["data"] == {"x": "edited"}


async def test_a_policy_that_becomes_warn_changes_nothing_but_the_annotation(
    cluster: ScriptedCluster, queue: WorkQueue
) -> None:
    a = manifest("a", x="1")
    await applier(cluster, queue).apply(NAMESPACE, [a])
    assert await outcomes(applier(cluster, queue, "warn"), a) == {"a": "applied"}
    assert cluster.live[a.key]["data"] == {"x": "1"}


async def test_what_is_remembered_of_a_namespace_can_be_forgotten(
    cluster: ScriptedCluster, queue: WorkQueue
) -> None:
    one = applier(cluster, queue)
    await one.apply(NAMESPACE, [manifest("a")])
    one.forget(NAMESPACE)
    assert one._applied == {}


async def test_what_was_applied_last_costs_no_call_unless_it_may_have_changed(
    cluster: ScriptedCluster, queue: WorkQueue
) -> None:
    one = applier(cluster, queue)
    a = manifest("a", x="1")
    await one.apply(NAMESPACE, [a], verify=False)
    [again] = await one.apply(NAMESPACE, [a], verify=False)
    assert (again.outcome, len(cluster.calls)) == ("unchanged", 1)
    await one.apply(NAMESPACE, [manifest("a", x="2")], verify=False)
    await one.apply(NAMESPACE, [a], verify=False)
    await one.apply(NAMESPACE, [a])
    assert len(cluster.calls) == 4


async def test_only_the_objects_that_the_settings_changed_are_sent(
    cluster: ScriptedCluster, queue: WorkQueue
) -> None:
    one = applier(cluster, queue)
    a, b = manifest("a", x="1"), manifest("b", x="1")
    await one.apply(NAMESPACE, [a, b], verify=False)
    cluster.calls.clear()
    changed = manifest("b", x="2")
    results = await one.apply(NAMESPACE, [a, changed], verify=False)
    assert [(each.key.name, each.outcome) for each in results] == [
        ("a", "unchanged"),
        ("b", "applied"),
    ]
    assert cluster.calls == [("b", True)]
    cluster.edit(a.key, x="edited")
    assert await outcomes(one, a, changed) == {"a": "applied", "b": "unchanged"}


async def test_what_failed_is_applied_again(
    cluster: ScriptedCluster, queue: WorkQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = applier(cluster, queue)
    a = manifest("a", x="1")
    await one.apply(NAMESPACE, [a], verify=False)

    async def fail(*_: object, **__: object) -> tuple[Result, ...]:
        return (Result(a.key, "failed", "quota"),)

    with monkeypatch.context() as patched:
        patched.setattr(cluster, "apply", fail)
        await one.apply(NAMESPACE, [a])
    assert await one.apply(NAMESPACE, [a], verify=False)
    assert len(cluster.calls) == 2
