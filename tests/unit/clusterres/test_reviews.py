"""The check of each cluster for permissions that are missing."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import cast

import pytest

from tests.servers import PATIENCE_SECONDS
from trimtab.errors import Rejected, Unavailable
from trimtab.templates.files import TemplateSet
from trimtab.templates.rendering import Source
from trimtab_clusterres.clusters.port import ApiKind, Cluster
from trimtab_clusterres.replies.reviews import ClusterReview, Templates

QUOTA = Source("a.yaml", "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: q}\n")
ROLE = Source("b.yaml", "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {}\n")


class ReviewedCluster:
    """A cluster with a scripted answer."""

    def __init__(self, answer: Callable[[], Awaitable[tuple[str, ...]]]) -> None:
        self._answer = answer
        self.kinds: list[Collection[ApiKind]] = []

    async def missing_permissions(self, kinds: Collection[ApiKind]) -> tuple[str, ...]:
        self.kinds.append(kinds)
        return await self._answer()


async def nothing() -> tuple[str, ...]:
    return ()


async def denied() -> tuple[str, ...]:
    return ("no permission to create roles",)


async def away() -> tuple[str, ...]:
    raise Unavailable("connection refused")


async def hanging() -> tuple[str, ...]:
    await asyncio.Event().wait()
    return ()


async def defect() -> tuple[str, ...]:
    raise KeyError("status")


async def templates() -> TemplateSet:
    return TemplateSet((QUOTA, ROLE))


async def no_templates() -> TemplateSet:
    raise Rejected("templates contain no *.yaml file")


def review(cluster: ReviewedCluster, found: Templates = templates) -> ClusterReview:
    return ClusterReview("east", cast(Cluster, cluster), found, deadline_seconds=0.05)


@pytest.mark.parametrize(
    ("answer", "problems"),
    [
        (away, ["connection refused"]),
        (defect, ["a defect of clusterres: KeyError: 'status'"]),
        (denied, ["no permission to create roles"]),
        (hanging, ["it did not answer within 0.05 s"]),
        (nothing, []),
    ],
)
async def test_each_outcome_is_reported(
    answer: Callable[[], Awaitable[tuple[str, ...]]], problems: list[str]
) -> None:
    made = review(ReviewedCluster(answer))
    async with asyncio.timeout(PATIENCE_SECONDS):
        report = await made.report(0.05)
    assert ([report.error] if report.error else list(report.missing)) == problems
    assert (made.problems, report.objects, report.templates_error) == (problems, 2, "")


@pytest.mark.parametrize(
    ("found", "kinds"),
    [
        (
            templates,
            {
                ApiKind("v1", "ResourceQuota"),
                ApiKind("rbac.authorization.k8s.io/v1", "Role"),
            },
        ),
        (no_templates, set()),
    ],
)
async def test_the_kinds_of_the_templates_are_reviewed(
    found: Templates, kinds: set[ApiKind]
) -> None:
    cluster = ReviewedCluster(nothing)
    async with asyncio.timeout(PATIENCE_SECONDS):
        report = await review(cluster, found).report(1)
    assert cluster.kinds == [kinds]
    assert bool(report.templates_error) == (not kinds)


async def test_a_report_that_was_just_made_is_not_made_again() -> None:
    cluster = ReviewedCluster(denied)
    checks = review(cluster)
    async with asyncio.timeout(PATIENCE_SECONDS):
        first, second = await asyncio.gather(checks.report(1), checks.report(1))
    assert first == second
    assert len(cluster.kinds) == 1


async def test_the_cluster_is_reviewed_at_the_start() -> None:
    reviewed = asyncio.Event()

    async def answer() -> tuple[str, ...]:
        reviewed.set()
        return ()

    checks = review(ReviewedCluster(answer))
    async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
        running = group.create_task(checks.run())
        await reviewed.wait()
        running.cancel()


async def test_a_change_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    sets = [TemplateSet((QUOTA,)), TemplateSet((QUOTA, ROLE))]

    async def changing() -> TemplateSet:
        return sets.pop()

    cluster = ReviewedCluster(denied)
    checks = review(cluster, changing)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await checks.report(1)
        await checks.report(1)
    assert len(cluster.kinds) == 2
    assert [record.message for record in caplog.records] == ["cluster.reviewed"]
