"""The cells of docs/task-resources.md equal the rule for every resource, and make the page.

``pytest --update-golden tests/unit/propeller/test_decisions.py`` writes the page.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.propeller.building import record, request, resources, settings
from tests.unit.propeller.decisions import (
    BOUNDS,
    GIVEN,
    UNSTORABLE,
    Bounds,
    Decision,
    Given,
    Refused,
    Runs,
    decide,
)
from trimtab import kinds, quantities
from trimtab.errors import Invalid
from trimtab.levels import PLATFORM
from trimtab.resolution.limits import Refusal
from trimtab_propeller.executors.port import Capabilities
from trimtab_propeller.resolution import resolve

PAGE = Path(__file__).parents[3] / "docs" / "task-resources.md"
UNITS = {"cpu": "", "memory": "Gi", "ephemeral_storage": "Gi"}
CLAMP = pytest.mark.parametrize("clamp", [False, True], ids=["refuse", "clamp"])


def resolve_cell(resource: str, given: Given, bounds: Bounds, clamp: bool) -> Decision:
    """Return the decision of the product."""
    unit = UNITS[resource]

    def amounts(amount: int | None) -> dict[str, str]:
        return {} if amount is None else {resource: f"{amount}{unit}"}

    narrow: dict[str, Any] = {"over_limit": "clamp" if clamp else "refuse"}
    narrow |= {"mirror_limits_request": given.mirror}
    narrow |= {"defaults": amounts(given.default), "limits": amounts(bounds.limit)}
    broad = {"ceiling": amounts(bounds.ceiling)}
    kind = kinds.by_name("task_resource")
    if list(kind.validate(kind.schema.flatten(narrow | broad))):
        return UNSTORABLE
    after = settings(record("task_resource", broad, PLATFORM), record("task_resource", narrow))
    wanted = request(task=resources(amounts(given.request), amounts(given.limit)))
    try:
        found = resolve(wanted, after, Capabilities("any"))
    except Refusal as refusal:
        field = {"requests": "request", "limits": "limit"}[refusal.path.split(".")[1]]
        return Refused(field, whole(refusal.value, unit), whole(refusal.limit, unit))
    paths = (f"resources.{group}.{resource}" for group in ("requests", "limits"))
    return Runs(*(whole(found.value("n0", path), unit) for path in paths))


def whole(value: Any, unit: str) -> Any:
    """Return the number before the unit, ``None`` where there is no value."""
    return None if value is None else int(str(value).removesuffix(unit))


@CLAMP
@pytest.mark.parametrize("resource", UNITS)
def test_every_cell_of_the_table_follows_the_rule(resource: str, clamp: bool) -> None:
    for given in GIVEN:
        for bounds in BOUNDS:
            found = resolve_cell(resource, given, bounds, clamp)
            assert found == decide(given, bounds, clamp=clamp), (given, bounds)


@CLAMP
def test_a_default_does_not_apply_where_a_node_sets_an_amount(clamp: bool) -> None:
    for given in GIVEN:
        if given.request is not None or given.limit is not None:
            for default in (1, 2):
                other = Given(given.request, given.limit, default, given.mirror)
                for bounds in BOUNDS:
                    found = resolve_cell("cpu", other, bounds, clamp)
                    assert found == decide(given, bounds, clamp=clamp), (other, bounds)


EXACT = [
    ("cpu", "2", "2000m", True),
    ("cpu", "2", "2001m", False),
    ("cpu", "500m", "0.5", True),
    ("cpu", "500m", "500001u", False),
    ("gpu", "2", "2", True),
    ("gpu", "2", "3", False),
    ("memory", "1Gi", "1024Mi", True),
    ("memory", "1Gi", "1073741825", False),
    ("memory", "1Gi", "1G", True),
    ("ephemeral_storage", "1G", "1Gi", False),
    ("ephemeral_storage", "1e9", "1G", True),
]


@pytest.mark.parametrize(("resource", "limit", "amount", "fits"), EXACT)
def test_amounts_are_compared_exactly(resource: str, limit: str, amount: str, fits: bool) -> None:
    after = settings(record("task_resource", {"limits": {resource: limit}}))
    wanted = request(task=resources({resource: amount}))
    if fits:
        value = resolve(wanted, after, Capabilities("any")).value(
            "n0", f"resources.requests.{resource}"
        )
        assert value == amount
    else:
        with pytest.raises(Refusal):
            resolve(wanted, after, Capabilities("any"))


@pytest.mark.parametrize("amount", ["1500m", "0.5", "1e-1"])
def test_a_fraction_of_a_gpu_is_neither_a_request_nor_a_limit(amount: str) -> None:
    assert quantities.parse(amount) % 1
    with pytest.raises(ValueError, match="whole number of GPUs"):
        resources({"gpu": amount})
    with pytest.raises(Invalid, match="whole number of GPUs"):
        kinds.by_name("task_resource").parse({"limits": {"gpu": amount}}, PLATFORM)


DEVICES = [
    (None, None, "none"),
    (2, None, "2 / 2"),
    (None, 2, "2 / 2"),
    (2, 2, "2 / 2"),
    (1, 2, "refused: resources.requests.gpu 1, limit 2"),
    (2, 1, "refused: resources.requests.gpu 2, limit 1"),
    (5, None, "refused: resources.requests.gpu 5, limit 4"),
]


@pytest.mark.parametrize(("request_", "limit", "decision"), DEVICES)
def test_request_and_limit_of_gpus_are_equal(
    request_: int | None, limit: int | None, decision: str
) -> None:
    after = settings(record("task_resource", {"limits": {"gpu": "4"}}))
    given = [{} if amount is None else {"gpu": str(amount)} for amount in (request_, limit)]
    wanted = request(task=resources(*given))
    if decision.startswith("refused"):
        with pytest.raises(Refusal) as refused:
            resolve(wanted, after, Capabilities("any"))
        found = refused.value
        assert f"refused: {found.path} {found.value}, limit {found.limit}" == decision
        return
    resolution = resolve(wanted, after, Capabilities("any"))
    values = [resolution.value("n0", f"resources.{each}.gpu") for each in ("requests", "limits")]
    assert (" / ".join(str(each) for each in values if each is not None) or "none") == decision


RAISED = [
    ("cpu", False, None, None, "2 / –"),
    ("cpu", True, None, None, "2 / 2"),
    ("cpu", False, 1, None, "2 / –"),
    ("cpu", True, 1, None, "2 / 2"),
    ("cpu", False, 1, 1, "2 / 2"),
    ("cpu", False, 1, 3, "2 / 3"),
    ("cpu", False, None, 1, "2 / 2"),
    ("cpu", False, 3, 3, "3 / 3"),
    ("gpu", False, None, None, "2 / 2"),
    ("gpu", False, 1, None, "2 / 2"),
]


@pytest.mark.parametrize(("resource", "mirror", "request_", "limit", "decision"), RAISED)
def test_a_request_below_the_minimum_is_raised(
    resource: str, mirror: bool, request_: int | None, limit: int | None, decision: str
) -> None:
    document = {"minimum": {resource: "2"}, "mirror_limits_request": mirror}
    given = [{} if amount is None else {resource: str(amount)} for amount in (request_, limit)]
    resolution = resolve(
        request(task=resources(*given)),
        settings(record("task_resource", document)),
        Capabilities("any"),
    )
    values = [
        resolution.value("n0", f"resources.{group}.{resource}") for group in ("requests", "limits")
    ]
    assert " / ".join("–" if each is None else str(each) for each in values) == decision


def test_the_page_is_made_of_the_cells(update_golden: bool) -> None:
    page = "\n".join(_page()) + "\n"
    if update_golden:
        PAGE.write_text(page)
    assert page == PAGE.read_text()


INTRODUCTION = """# Requests and limits of tasks

<!-- Written by `pytest --update-golden tests/unit/propeller/test_decisions.py`, not by hand. -->

The request and the limit of a node are decided for each of `cpu`, `memory`, `ephemeral_storage` and
`gpu` separately. The inputs are the values that the node sets (in its task,
`with_overrides`, hooks and overrides) and its effective `task_resource`:

1. A node that sets neither a request nor a limit gets the default for both. A limit without a
   request is the request too. A request without a limit has no limit, unless
   `mirror_limits_request` makes the request the limit too.
2. A request below the effective `minimum`, or none at all, is raised to it, and so is a limit
   below it; the resolution has a note of an amount that was raised. Other containers of the pod
   have no minimum.
3. Then neither the request nor the limit may exceed the effective `limits` or the `ceiling`, which
   only the platform sets; the lower of the two bounds applies.
4. The request may not exceed the limit of the node.
5. A value over its bound is refused with an error that names the field, the value, the bound and
   the scope that set it. Where `over_limit` is `clamp`, the value is lowered to the bound instead,
   and the resolution has a note.

A write is refused where records contradict each other at any scope: a default or a minimum over a
limit or the ceiling, or a limit over the ceiling. `storage` is Flyte's other name for
`ephemeral_storage`; a record that uses it is accepted with a warning.

## The table

A number is an amount of cores or Gi; the table applies to the first three resources. `1 / 2` is
a node that runs with a request of 1 and a limit of 2; `–` means that there is none. A default
applies only to a node that sets neither."""

MINIMUM = """## The minimum

Here the `minimum` of the settings is 2, with no default. A minimum of GPUs gives as many to every
task.

| resource | request | limit | decision |
|---|---|---|---|"""

GPUS = """## GPUs

Kubernetes does not overcommit devices: request and limit of a container have to be equal. So
a request without a limit is the limit too, and a node that sets two different amounts is refused.
The bounds are those of the other resources; here the limit of the settings is 4, with no default.

| request | limit | decision |
|---|---|---|"""

COMPARISON = """## Comparison of amounts

Amounts are Kubernetes quantities, compared as exact numbers whatever their suffixes. An amount of
GPUs is a whole number: `1500m` can be neither a request nor a limit.

| resource | limit | request | decision |
|---|---|---|---|"""


def _page() -> Iterator[str]:
    yield INTRODUCTION
    for clamp, name in ((False, "refuse"), (True, "clamp")):
        default = "" if clamp else ", which is the default"
        yield f"\n### `over_limit: {name}`{default}\n"
        headings = [f"limit {_amount(b.limit)}, ceiling {_amount(b.ceiling)}" for b in BOUNDS]
        yield "| request | limit | default | " + " | ".join(headings) + " |"
        yield "|" + "---|" * (3 + len(BOUNDS))
        for given in GIVEN:
            cells = [_cell(resolve_cell("cpu", given, bounds, clamp)) for bounds in BOUNDS]
            yield f"| {_given(given)} | {' | '.join(cells)} |"
    yield f"\n{MINIMUM}"
    for resource, mirror, amount, limit, decision in RAISED:
        mirrored = ", mirrored" if mirror else ""
        yield f"| {resource} | {_amount(amount)}{mirrored} | {_amount(limit)} | {decision} |"
    yield f"\n{GPUS}"
    for amount, limit, decision in DEVICES:
        yield f"| {_amount(amount)} | {_amount(limit)} | {decision} |"
    yield f"\n{COMPARISON}"
    for resource, limit, amount, fits in EXACT:
        yield f"| {resource} | {limit} | {amount} | {'runs' if fits else 'over the limit'} |"


def _given(given: Given) -> str:
    request = _amount(given.request) + (", mirrored" if given.mirror else "")
    has_amount = given.request is not None or given.limit is not None
    return f"{request} | {_amount(given.limit)} | {'any' if has_amount else _amount(given.default)}"


def _cell(decision: Decision) -> str:
    match decision:
        case Runs():
            return f"{_amount(decision.request)} / {_amount(decision.limit)}"
        case Refused():
            return f"refused: {decision.field} {decision.value} > {decision.over}"
        case _:
            return decision


def _amount(amount: int | None) -> str:
    return "–" if amount is None else str(amount)
