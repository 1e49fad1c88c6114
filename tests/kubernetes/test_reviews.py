"""The review of a cluster names each permission that the user of clusterres lacks."""

import asyncio
from pathlib import Path

from tests.kubernetes.adapters import Adapters
from tests.kubernetes.clusters import Cluster
from tests.servers import PATIENCE_SECONDS
from trimtab.templates.files import TemplateSet
from trimtab.templates.rendering import Source
from trimtab_clusterres.replies.reviews import ClusterReview

TEMPLATES = TemplateSet(
    tuple(
        Source(f"{kind}.yaml", f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x}}\n")
        for version, kind in (
            ("v1", "ResourceQuota"),
            ("rbac.authorization.k8s.io/v1", "Role"),
            ("example.org/v1", "Unserved"),
        )
    )
)
RULES = (
    {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["*"]},
    {"apiGroups": [""], "resources": ["resourcequotas"], "verbs": ["get", "list", "watch"]},
)


async def templates() -> TemplateSet:
    return TEMPLATES


async def test_each_missing_permission_and_each_kind_that_is_not_served_is_named(
    adapters: Adapters, cluster: Cluster, prefix: str, tmp_path: Path
) -> None:
    kubeconfig = cluster.user(f"{prefix}reviewed", RULES, tmp_path / "kubeconfig")
    adapter = adapters.open(kubeconfig)
    review = ClusterReview("east", adapter, templates, deadline_seconds=PATIENCE_SECONDS)
    async with asyncio.timeout(2 * PATIENCE_SECONDS):
        report = await review.report(PATIENCE_SECONDS)
    assert report.error == ""
    unserved, quotas, roles = report.missing
    assert "Unserved" in unserved
    assert quotas == "no permission to create, patch, delete resourcequotas in all namespaces"
    assert roles == (
        "no permission to get, list, watch, create, patch, delete "
        "roles.rbac.authorization.k8s.io in all namespaces"
    )
    assert review.problems == list(report.missing)


async def test_a_user_with_all_permissions_has_no_problem(adapters: Adapters) -> None:
    async def served() -> TemplateSet:
        return TemplateSet(TEMPLATES.sources[:2])

    review = ClusterReview("east", adapters.open(), served, deadline_seconds=PATIENCE_SECONDS)
    async with asyncio.timeout(2 * PATIENCE_SECONDS):
        report = await review.report(PATIENCE_SECONDS)
    assert (report.error, report.missing, report.objects) == ("", (), 2)
