"""A namespace is not pruned for a reason that has passed."""

from typing import Any, cast

from trimtab.messages.events import ClusterChanged, DomainChanged, ProjectChanged
from trimtab.settings.state import Settings
from trimtab.templates.manifests import ObjectKey
from trimtab_clusterres.applying import Applier
from trimtab_clusterres.clusters.port import Entry, Inventory
from trimtab_clusterres.namespaces import Layout
from trimtab_clusterres.pruning.policies import PrunePolicies
from trimtab_clusterres.pruning.pruner import Pruner
from trimtab_clusterres.queue import WorkQueue
from trimtab_clusterres.reconciling import Reconciler


class RestoringCluster:
    """A cluster during whose answer the archived project is restored."""

    def __init__(self) -> None:
        self.settings = Settings()
        events = [DomainChanged(name="dev"), ClusterChanged(name="east")]
        events += [ProjectChanged(name="shop", state="archived")]
        for revision, event in enumerate(events, 1):
            self.settings.apply(event, revision)
        self.layout = Layout(self.settings, "{{ project }}-{{ domain }}", {"east"})
        self.calls: list[str] = []

    async def read(self, _namespace: str) -> Inventory:
        self.calls.append("read")
        self.settings.apply(ProjectChanged(name="shop"), 4)
        self.layout = Layout(self.settings, "{{ project }}-{{ domain }}", {"east"})
        return Inventory({ObjectKey("", "ConfigMap", "a"): Entry(created=True)})

    async def prune(self, *_: object) -> tuple[()]:
        self.calls.append("prune")
        return ()

    async def last(self, _placement: object) -> None:
        return None


async def test_a_project_that_is_restored_before_the_cluster_answers_keeps_its_objects() -> None:
    cluster = RestoringCluster()
    fake = cast(Any, cluster)
    reconciler = Reconciler(
        "east",
        Applier("east", fake, WorkQueue(), "enforce"),
        Pruner("east", fake, PrunePolicies(default="prune"), 60),
        published=fake,
        layout=lambda: cluster.layout,
        templates=fake,
        deadline_seconds=60,
    )
    assert await reconciler.reconcile("shop-dev") is None
    assert cluster.calls == ["read"]
