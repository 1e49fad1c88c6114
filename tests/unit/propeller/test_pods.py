"""Pods as a whole: equal each time, shared with nothing; and the names in them."""

import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.golden_pods import CASES, IMAGE, Case
from trimtab.labels import label_value
from trimtab.workflows.graphs.targets import Function
from trimtab_propeller.executors.attempt import Attempt
from trimtab_propeller.executors.port import AttemptRejected
from trimtab_propeller.pods import build_pod
from trimtab_propeller.pods.metadata import pod_name, retry_key, shortened

IDS = st.from_regex(r"[a-cA-C0-1][a-cA-C0-1_.-]{0,70}", fullmatch=True)
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def mutable(value: Any) -> Iterator[int]:
    """Yield the ids of the objects and lists in a value, at every depth."""
    if isinstance(value, dict | list):
        yield id(value)
        for each in value.values() if isinstance(value, dict) else value:
            yield from mutable(each)


@pytest.mark.parametrize("name", CASES)
def test_a_pod_is_the_same_each_time_and_leaves_its_sources_as_they_were(name: str) -> None:
    attempt, defaults = CASES[name].attempt(), CASES[name].pod_defaults
    before = attempt.model_dump(), defaults.model_dump()
    first = build_pod(attempt, defaults)
    kept = copy.deepcopy(first)
    second = build_pod(attempt, defaults)
    assert first == second == kept
    assert (attempt.model_dump(), defaults.model_dump()) == before


@pytest.mark.parametrize("name", CASES)
def test_a_pod_shares_nothing_with_another_one_or_within_itself(name: str) -> None:
    attempt, defaults = CASES[name].attempt(), CASES[name].pod_defaults
    found = list(mutable([build_pod(attempt, defaults), build_pod(attempt, defaults)]))
    assert len(found) == len(set(found))


@pytest.mark.parametrize("name", CASES)
def test_no_container_has_a_variable_twice(name: str) -> None:
    spec = CASES[name].pod()["spec"]
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        names = [variable["name"] for variable in container["env"]]
        assert len(names) == len(set(names))


def test_a_function_without_an_image_has_no_pod() -> None:
    with pytest.raises(AttemptRejected, match=r"has no container image: set its .*function_image"):
        Case(target=Function()).pod()


@given(st.lists(st.tuples(IDS, IDS, st.integers(0, 200)), min_size=2, max_size=2, unique=True))
def test_two_attempts_never_have_pods_of_the_same_name(
    attempts: list[tuple[str, str, int]],
) -> None:
    one, other = (Attempt.unknown(*each) for each in attempts)
    assert NAME.fullmatch(pod_name(one))
    assert pod_name(one) != pod_name(other)
    assert retry_key(one) != retry_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a-b", "c"), ("a", "b-c")),
        (("a-b", "C"), ("a", "b-C")),
        (("a", "B"), ("a", "b")),
        (("a", "b.c"), ("a", "b-c")),
        (("a", 80 * "b" + "c"), ("a", 80 * "b" + "d")),
    ],
)
def test_names_that_look_alike_differ_by_their_hash(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    assert pod_name(Attempt.unknown(*one, 0)) != pod_name(Attempt.unknown(*other, 0))


def test_the_hash_in_a_name_cannot_be_the_node_of_another_attempt() -> None:
    hashed = pod_name(Attempt.unknown("a", "B", 0))
    execution, node, number = hashed.rsplit("-", 2)
    assert pod_name(Attempt.unknown(execution, node, int(number))) != hashed


@given(st.text(max_size=100), st.text(max_size=100))
def test_every_text_is_shortened_to_a_label_of_its_own(one: str, other: str) -> None:
    assert label_value(shortened(one)) == shortened(one)
    assert (shortened(one) == shortened(other)) == (one == other)


def test_a_pod_ends_at_the_earlier_one_of_two_times() -> None:
    def seconds(**config: Any) -> Any:
        return (
            Case(config={"container_image": IMAGE, **config})
            .pod()["spec"]
            .get("activeDeadlineSeconds")
        )

    own = {"pod_template": {"pod_spec": {"activeDeadlineSeconds": 60}}}
    assert seconds() is None
    assert seconds(timeout_seconds=90) == 90
    assert seconds(**own) == seconds(timeout_seconds=90, **own) == 60
    assert seconds(timeout_seconds=30, **own) == 30
