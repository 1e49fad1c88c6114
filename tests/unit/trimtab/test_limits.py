"""Requests and limits are filled in, refused or lowered."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.propeller.building import record, request, resources, settings
from trimtab import kinds, quantities
from trimtab.levels import PLATFORM
from trimtab.messages.resolutions import Resolution
from trimtab.resolution.limits import Refusal
from trimtab_propeller.executors.port import Capabilities
from trimtab_propeller.resolution import resolve

ANY = Capabilities("any")


def resolve_node(
    amounts: dict[str, str], task_resource: dict[str, Any], ceiling: str | None = None
) -> Resolution:
    """Resolve one node whose task sets the ``request`` and the ``limit`` of cpu."""
    requests = {"cpu": amounts["request"]} if "request" in amounts else {}
    limits = {"cpu": amounts["limit"]} if "limit" in amounts else {}
    records = [record("task_resource", task_resource)]
    if ceiling:
        records.append(record("task_resource", {"ceiling": {"cpu": ceiling}}, PLATFORM))
    wanted = request(task=resources(requests, limits))
    return resolve(wanted, settings(*records), ANY)


def pair(resolution: Resolution) -> tuple[Any, Any]:
    return (
        resolution.value("n0", "resources.requests.cpu"),
        resolution.value("n0", "resources.limits.cpu"),
    )


DEFAULT = {"defaults": {"cpu": "1"}, "limits": {"cpu": "2"}}
CLAMP = {**DEFAULT, "over_limit": "clamp"}
MIRROR = {**DEFAULT, "mirror_limits_request": True}


@pytest.mark.parametrize(
    ("given", "task_resource", "expected"),
    [
        ({}, {}, (None, None)),
        ({}, {"limits": {"cpu": "2"}}, (None, None)),
        ({}, DEFAULT, ("1", "1")),
        ({"limit": "2"}, DEFAULT, ("2", "2")),
        ({"request": "1500m"}, DEFAULT, ("1500m", None)),
        ({"request": "1500m"}, MIRROR, ("1500m", "1500m")),
        ({"request": "0"}, DEFAULT, ("0", None)),
        ({"request": "2", "limit": "2000m"}, DEFAULT, ("2", "2000m")),
        ({"request": "3"}, {}, ("3", None)),
        ({"request": "3"}, CLAMP, ("2", None)),
        ({"limit": "3"}, CLAMP, ("2", "2")),
        ({"request": "1", "limit": "3"}, CLAMP, ("1", "2")),
        ({"request": "2", "limit": "1"}, CLAMP, ("1", "1")),
        ({"request": "3"}, {**CLAMP, **MIRROR}, ("2", "2")),
        ({"request": "3"}, {**CLAMP, "unset": ["limits.cpu"], "limits": {}}, ("3", None)),
    ],
)
def test_requests_and_limits_are_completed(given: Any, task_resource: Any, expected: Any) -> None:
    assert pair(resolve_node(given, task_resource)) == expected


@pytest.mark.parametrize(
    ("given", "path", "value", "limit"),
    [
        ({"request": "3"}, "resources.requests.cpu", "3", "2"),
        ({"request": "2001m"}, "resources.requests.cpu", "2001m", "2"),
        ({"limit": "3"}, "resources.limits.cpu", "3", "2"),
        ({"request": "1", "limit": "3"}, "resources.limits.cpu", "3", "2"),
        ({"request": "3", "limit": "3"}, "resources.requests.cpu", "3", "2"),
        ({"request": "2", "limit": "1"}, "resources.requests.cpu", "2", "1"),
    ],
)
def test_an_amount_over_a_limit_is_refused_with_the_field_that_the_user_set(
    given: Any, path: str, value: str, limit: str
) -> None:
    with pytest.raises(Refusal) as refused:
        resolve_node(given, DEFAULT)
    refusal = refused.value
    assert (refusal.node, refusal.path, refusal.value, refusal.limit) == ("n0", path, value, limit)


def test_a_refusal_names_the_scope_of_the_limit() -> None:
    with pytest.raises(Refusal) as refused:
        resolve_node({"request": "3"}, DEFAULT)
    assert refused.value.scope == "project-domain shop/development"
    assert str(refused.value) == (
        "resources.requests.cpu: 3 (task) is over 2, "
        "the task_resource.limits.cpu of project-domain shop/development"
    )


def test_the_ceiling_applies_where_there_is_no_limit() -> None:
    with pytest.raises(Refusal) as refused:
        resolve_node({"limit": "5"}, {}, ceiling="4")
    assert (refused.value.limit, refused.value.scope) == ("4", "platform")


def test_a_lowered_amount_has_its_former_value_and_the_record_that_lowered_it() -> None:
    [leaf] = [
        leaf
        for leaf in resolve_node({"request": "3"}, CLAMP).nodes["n0"]
        if leaf.path == "resources.requests.cpu"
    ]
    assert (leaf.value, leaf.source, leaf.revision) == ("2", "task_resource.limits.cpu", 1)
    assert leaf.note == "lowered from 3 (task)"


def test_a_raised_amount_has_its_former_value_and_the_record_that_raised_it() -> None:
    rule = {"minimum": {"cpu": "1500m"}}
    leaves = {leaf.path: leaf for leaf in resolve_node({"limit": "1"}, rule).nodes["n0"]}
    request, limit = (leaves[f"resources.{group}.cpu"] for group in ("requests", "limits"))
    assert {(leaf.value, leaf.source, leaf.revision) for leaf in (request, limit)} == {
        ("1500m", "task_resource.minimum.cpu", 1)
    }
    assert (request.note, limit.note) == ("raised from 1 (limit)", "raised from 1 (task)")
    assert request.scope == "project-domain shop/development"


@pytest.mark.parametrize("bound", ["limits", "ceiling"])
def test_a_minimum_over_a_bound_is_a_problem(bound: str) -> None:
    flat = {"minimum.memory": "2Gi", f"{bound}.memory": "1Gi"}
    [problem] = kinds.by_name("task_resource").validate(flat)
    assert (problem.path, problem.bound) == ("minimum.memory", f"{bound}.memory")


amounts = st.sampled_from(["0", "1m", "500m", "1", "1000m", "1.5", "2", "2e3", "3Ki"])


def optional(name: str) -> st.SearchStrategy[dict[str, str]]:
    return st.one_of(st.just({}), amounts.map(lambda amount: {name: amount}))


@given(
    given=st.tuples(optional("request"), optional("limit")).map(lambda two: two[0] | two[1]),
    limit=st.none() | amounts,
    default=st.none() | amounts,
    ceiling=st.none() | amounts,
    over=st.sampled_from(["refuse", "clamp"]),
    mirror=st.booleans(),
)
def test_request_limit_effective_limit_and_ceiling_are_always_in_order(
    given: Any, limit: Any, default: Any, ceiling: Any, over: str, mirror: bool
) -> None:
    document: dict[str, Any] = {"over_limit": over, "mirror_limits_request": mirror}
    document |= {"limits": {"cpu": limit}} if limit else {}
    document |= {"defaults": {"cpu": default}} if default else {}
    try:
        found = pair(resolve_node(given, document, ceiling))
    except Refusal:
        assert over == "refuse"
        return
    bounds = sorted(quantities.parse(bound) for bound in (limit, ceiling) if bound)
    chain = [quantities.parse(value) for value in found if value is not None] + bounds[:1]
    assert chain == sorted(chain)
