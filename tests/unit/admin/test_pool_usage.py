"""The list of the pools of all cohorts, from the pages that resmgr has of each."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from trimtab.errors import Invalid, NotFound
from trimtab.tokens.protocol import PoolPage, Pools, PoolUse
from trimtab_admin import paging
from trimtab_admin.maintenance.pool_usage import PoolUsage

COHORTS = {"default": 7, "night": 0, "old": 3}
"""The number of pools in each, of which the settings name none any more."""


def use(cohort: str, number: int) -> PoolUse:
    limits = {"declared": False, "active": True, "declared_quota": None, "quota": None}
    name = f"pool-{number}"
    return PoolUse(pool=name, cohort=cohort, **limits, held=1, holding=1, waiting=0)  # type: ignore[arg-type]


class Resmgr:
    """Has pages of the cohorts, and counts the first ones, for which it reads all names."""

    def __init__(self) -> None:
        self.first_pages: Counter[str] = Counter()

    def of(self, cohort: str) -> Any:
        resmgr = self

        class Client:
            async def request(self, request: Pools, _reply: type[PoolPage]) -> PoolPage:
                if cohort not in COHORTS:
                    raise NotFound("cohort", cohort, "")
                resmgr.first_pages[cohort] += request.after is None
                every = [use(cohort, number) for number in range(COHORTS[cohort])]
                left = [each for each in every if each.pool > (request.after or "")]
                page = tuple(left[: request.limit])
                has_next = len(left) > len(page)
                cohorts = () if request.after else tuple(COHORTS)
                following = page[-1].pool if has_next else None
                return PoolPage(type="redis", pools=page, next=following, cohorts=cohorts)

        return Client()


class NoPools:
    async def entities(self, _type: object) -> list[Any]:
        return []


def usage_of(client_of: Callable[[str], Any]) -> PoolUsage:
    reader: Any = NoPools()
    trail: Any = None  # it is not used
    return PoolUsage(reader, client_of, trail)


async def test_all_pages_have_each_pool_once_and_each_cohort_is_begun_once() -> None:
    resmgr = Resmgr()
    usage, token, found = usage_of(resmgr.of), "", list[tuple[str, str]]()
    while True:
        page = await usage.list("", token, 2)
        found += [(each.cohort, each.pool) for each in page.items]
        if not page.cursor:
            break
        token = page.cursor
    assert found == [
        (cohort, use(cohort, n).pool) for cohort, many in COHORTS.items() for n in range(many)
    ]
    assert (resmgr.first_pages["night"], resmgr.first_pages["old"]) == (1, 1)
    # Its own pages, and the cohorts at the start and at the end of each one.
    assert resmgr.first_pages["default"] == 1 + 1 + len(COHORTS)


async def test_a_list_goes_on_after_a_cohort_that_has_gone_since_the_page_before() -> None:
    page = await usage_of(Resmgr().of).list("", paging.encode(("gone", "")), 2)
    assert list(page.items) == []
    assert paging.decode(page.cursor or "") == ("night", "")


@pytest.mark.parametrize(
    "key",
    [("default > x", ""), ("default.>", ""), ("", "pool-1"), ("default", "a\r\nb"), ("x",), (1, 2)],
)
async def test_a_token_that_no_page_had_is_refused(key: tuple[str | int, ...]) -> None:
    with pytest.raises(Invalid, match="token"):
        await usage_of(Resmgr().of).list("", paging.encode(key), 2)


async def test_a_token_of_another_cohort_is_refused() -> None:
    with pytest.raises(Invalid, match="token"):
        await usage_of(Resmgr().of).list("night", paging.encode(("old", "")), 2)
