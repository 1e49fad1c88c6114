"""Statuses of namespaces as callers get them: filtered, in pages, and only what they may see."""

from typing import Any, cast

import pytest

from trimtab.api.entities import ClusterBody
from trimtab.errors import Invalid, NotFound
from trimtab.levels import Scope
from trimtab.messages.events import NamespaceStatus
from trimtab.testing import AT
from trimtab_admin.access.authorization import ROOT, Caller, Grant, Role
from trimtab_admin.maintenance.namespaces import NamespaceFilter, Namespaces

SHOP = Caller("ci", (Grant(Role.VIEWER, Scope(project="shop")),))


def status(cluster: str, project: str, state: str = "ready") -> NamespaceStatus:
    namespace = f"{project}-staging"
    fields: dict[str, Any] = {"namespace": namespace, "state": state, "project": project}
    return NamespaceStatus(cluster=cluster, domain="staging", revision=1, at=AT, **fields)


STATUSES = (
    status("west", "shop", "failed"),
    status("east", "shop"),
    status("east", "lab"),
    status("east", "old", "removed"),
)


@pytest.fixture
def namespaces() -> Namespaces:
    class Statuses:
        def list(self) -> tuple[NamespaceStatus, ...]:
            return STATUSES

    class Reader:
        async def entities(self, _type: object) -> list[ClusterBody]:
            return [ClusterBody(name=name) for name in ("east", "north", "west")]

    return Namespaces(cast(Any, Statuses()), cast(Any, Reader()), lambda: cast(Any, None))


async def listed(
    namespaces: Namespaces, caller: Caller = ROOT, **filters: str
) -> list[tuple[str, str]]:
    page = await namespaces.list(caller, NamespaceFilter(**filters), "", 10)
    assert page.cursor is None
    return [(status.cluster, status.project) for status in page.items]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, [("east", "lab"), ("east", "shop"), ("west", "shop")]),
        ({"cluster": "west"}, [("west", "shop")]),
        ({"cluster": "north"}, []),  # declared, and nothing was made on it yet
        ({"project": "lab", "domain": "staging"}, [("east", "lab")]),
        ({"domain": "production"}, []),
        ({"namespace": "shop-staging"}, [("east", "shop"), ("west", "shop")]),
        ({"state": "failed"}, [("west", "shop")]),
        ({"state": "removed"}, [("east", "old")]),
        ({"namespace": "old-staging"}, [("east", "old")]),
    ],
)
async def test_a_filter_matches_all_of_its_parts(
    namespaces: Namespaces, filters: dict[str, str], found: list[tuple[str, str]]
) -> None:
    assert await listed(namespaces, **filters) == found


async def test_a_caller_gets_what_it_may_see(namespaces: Namespaces) -> None:
    assert await listed(namespaces, SHOP) == [("east", "shop"), ("west", "shop")]
    with pytest.raises(NotFound, match=r"there are: shop-staging$"):
        await namespaces.get(SHOP, "east", "lab-staging")
    assert await namespaces.get(SHOP, "east", "shop-staging") == STATUSES[1]


async def test_pages_have_each_namespace_once(namespaces: Namespaces) -> None:
    found: list[NamespaceStatus] = []
    token = ""
    for _ in range(3):
        page = await namespaces.list(ROOT, NamespaceFilter(), token, 1)
        found += page.items
        token = page.cursor or ""
    assert not token
    assert found == [STATUSES[2], STATUSES[1], STATUSES[0]]


async def test_a_wrong_name_or_token_is_refused_with_what_is_allowed(
    namespaces: Namespaces,
) -> None:
    with pytest.raises(NotFound, match="did you mean 'west' or 'east'"):
        await listed(namespaces, cluster="esat")
    with pytest.raises(NotFound, match="did you mean 'shop-staging'"):
        await listed(namespaces, namespace="shpo-staging")
    with pytest.raises(NotFound, match="namespace of cluster 'west' 'lab-staging'"):
        await namespaces.difference(ROOT, "west", "lab-staging")
    with pytest.raises(Invalid, match="token"):
        await namespaces.list(ROOT, NamespaceFilter(), "WzFd", 1)
