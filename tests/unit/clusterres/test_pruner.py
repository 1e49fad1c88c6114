"""The pruner reads an inventory, carries out the plan, and reports what is left."""

from collections.abc import Collection, Mapping
from typing import Any, cast

import pytest

from trimtab.errors import Unavailable
from trimtab.templates.manifests import ObjectKey
from trimtab_clusterres.clusters.port import Cluster, Entry, Inventory, Outcome, Result
from trimtab_clusterres.pruning.policies import PrunePolicies
from trimtab_clusterres.pruning.pruner import Pruned, Pruner

A, B, C = (ObjectKey("", "ConfigMap", name) for name in "abc")
PRUNE = PrunePolicies(default="prune")


class FakeCluster:
    """A cluster with one namespace, which may refuse to delete an object."""

    def __init__(self, *created: ObjectKey, **outcomes: Outcome) -> None:
        self.entries = {key: Entry(created=True, uid=key.name) for key in created}
        self.outcomes: Mapping[str, Outcome] = outcomes
        self.reads = 0
        self.pruned: list[ObjectKey] = []

    async def read(self, _namespace: str) -> Inventory:
        self.reads += 1
        return Inventory(dict(self.entries))

    async def prune(self, _namespace: str, keys: Collection[ObjectKey]) -> tuple[Result, ...]:
        self.pruned += keys
        results = []
        for key in keys:
            outcome = self.outcomes.get(key.name, "pruned")
            results.append(Result(key, outcome, "no" if outcome == "failed" else ""))
            if key.name not in self.outcomes:
                del self.entries[key]
        return tuple(results)


def pruner(cluster: FakeCluster, policies: PrunePolicies = PRUNE, seconds: float = 60) -> Pruner:
    return Pruner("east", cast(Cluster, cluster), policies, seconds)


def outcomes(pruned: Pruned) -> dict[str, str]:
    return {detail.object: detail.outcome for detail in pruned.details}


async def test_an_object_that_no_template_renders_is_pruned() -> None:
    cluster = FakeCluster(A, B, C)
    pruned = await pruner(cluster).prune("n", {A, B})
    assert outcomes(pruned) == {"ConfigMap/c": "pruned"}
    assert (pruned.error, pruned.digest, set(cluster.entries)) == ("", "", {A, B})


async def test_nothing_is_deleted_that_is_no_longer_due_when_the_cluster_has_answered() -> None:
    cluster = FakeCluster(A, B)
    with pytest.raises(Unavailable, match="project of namespace n has changed meanwhile"):
        await pruner(cluster).prune("n", (), "archived", is_due=lambda: cluster.reads == 0)
    assert cluster.pruned == []


async def test_what_is_kept_and_what_awaits_a_confirmation_is_reported() -> None:
    policies = PrunePolicies(kinds={"ConfigMap": "confirm"})
    cluster = FakeCluster(A, ObjectKey("", "Secret", "s"))
    pruned = await pruner(cluster, policies).prune("n", (), "archived")
    assert outcomes(pruned) == {"ConfigMap/a": "unconfirmed", "Secret/s": "kept"}
    assert pruned.details[0].identity == "ConfigMap/a a"
    assert len(pruned.digest) >= 16
    assert cluster.pruned == []


@pytest.mark.parametrize(
    ("outcome", "error"),
    [("failed", "ConfigMap/c: no"), ("pruned", "ConfigMap/c: it is being deleted")],
)
async def test_an_object_that_still_exists_is_an_error_so_that_it_is_tried_again(
    outcome: Outcome, error: str
) -> None:
    pruned = await pruner(FakeCluster(A, B, C, c=outcome)).prune("n", {A, B})
    assert pruned.error == error


async def test_an_inventory_without_leftovers_is_not_read_again_while_all_is_rendered() -> None:
    cluster = FakeCluster(A, B, C)
    found = pruner(cluster)
    for rendered in ({A, B, C}, {A, B, C}, {A, B, C, ObjectKey("", "ConfigMap", "d")}):
        await found.prune("n", rendered)
    assert cluster.reads == 1
    assert outcomes(await found.prune("n", {A, B, C})) == {}
    assert cluster.reads == 2  # "d" may have been applied
    found.forget("n")
    await found.prune("n", {A, B, C})
    assert cluster.reads == 3


async def test_leftovers_are_looked_at_each_time() -> None:
    cluster = FakeCluster(A, B, C)
    found = pruner(cluster, PrunePolicies())
    assert outcomes(await found.prune("n", {A, B})) == outcomes(await found.prune("n", {A, B}))
    assert cluster.reads == 2


async def test_a_cluster_that_hangs_is_unavailable() -> None:
    class Hanging(FakeCluster):
        async def read(self, _namespace: str) -> Any:
            raise TimeoutError

    with pytest.raises(Unavailable, match="east did not answer within 5 s"):
        await pruner(Hanging(), seconds=5).prune("n", ())
