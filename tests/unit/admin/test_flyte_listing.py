"""Filters, order and pages of lists of projects, and checks of their names, in Flyte's words."""

from typing import Any

import pytest
from flyteidl.admin.project_pb2 import Project, ProjectListRequest
from google.protobuf import json_format
from google.rpc.code_pb2 import INVALID_ARGUMENT

from trimtab_admin.flyte import listing, names
from trimtab_admin.flyte.rpc import RpcError

PROJECTS = [
    Project(id="c", name="Charlie", description="third"),
    Project(id="a", name="alpha"),
    Project(id="b", name="Bravo"),
    Project(id="d", name="Delta", state=Project.ARCHIVED),
]
TIMES = listing.Times({"c": 1, "a": 2, "b": 3, "d": 4}, {"a": 9, "b": 8, "c": 7, "d": 6})


def listed(**request: Any) -> tuple[str, str]:
    """Return the ids of a page, and the token of the next."""
    message = json_format.ParseDict(request, ProjectListRequest())
    page, token = listing.select(message, PROJECTS, TIMES)
    return "".join(project.id for project in page), token


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({}, ("abc", "")),
        ({"limit": 2}, ("ab", "2")),
        ({"limit": 2, "token": "2"}, ("c", "")),
        ({"limit": 3}, ("abc", "3")),
        ({"token": "1"}, ("bc", "")),
        ({"token": "9"}, ("", "9")),
        ({"limit": 2, "token": "9"}, ("", "")),
        ({"sort_by": {"key": "name", "direction": "ASCENDING"}}, ("bca", "")),
        ({"sort_by": {"key": "name"}}, ("acb", "")),
        ({"sort_by": {"key": "created_at", "direction": "ASCENDING"}}, ("cab", "")),
        ({"sort_by": {"key": "updated_at"}}, ("abc", "")),
        ({"filters": "eq(identifier,a)"}, ("a", "")),
        ({"filters": "eq(project.identifier, a)"}, ("a", "")),
        ({"filters": "ne(identifier,a)"}, ("bcd", "")),
        ({"filters": "eq(state,1)"}, ("d", "")),
        ({"filters": "value_in(identifier,a;b)"}, ("ab", "")),
        ({"filters": "value_not_in(identifier,a;b)"}, ("cd", "")),
        ({"filters": "contains(name,ra)"}, ("b", "")),
        ({"filters": "contains(name,a_p)"}, ("a", "")),
        ({"filters": "not_like(name,%a)"}, ("bc", "")),
        ({"filters": "gt(identifier,b)"}, ("cd", "")),
        ({"filters": "lte(identifier,b)+ne(name,Bravo)"}, ("a", "")),
        ({"filters": "eq(labels,x)"}, ("", "0")),
    ],
)
def test_a_request_selects_projects(request_: dict[str, Any], expected: tuple[str, str]) -> None:
    assert listed(**request_) == expected


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"token": "x"}, "invalid pagination token x for ListProjects"),
        ({"token": "-1"}, "invalid pagination token -1 for ListProjects"),
        ({"sort_by": {"key": "nope"}}, "invalid sort key 'nope'"),
        ({"sort_by": {"direction": "ASCENDING"}}, "invalid sort key ''"),
        ({"filters": "garbage"}, "invalid value for filters"),
        ({"filters": "eq(identifier)"}, "invalid value for filters"),
        ({"filters": "bogus(identifier,a)"}, "unrecognized filter function: bogus"),
        ({"filters": "eq(nope,1)"}, "'p.nope' is invalid filter"),
        ({"filters": "eq(workflow.name,x)"}, "'w' entity is not allowed in filters"),
        ({"filters": "eq(state,x)"}, 'invalid input syntax for type integer: "x"'),
    ],
)
def test_a_wrong_request_is_refused(request_: dict[str, Any], message: str) -> None:
    with pytest.raises(RpcError) as error:
        listed(**request_)
    assert (error.value.code, error.value.message) == (INVALID_ARGUMENT, message)


@pytest.mark.parametrize("name", ["a", "1", "a-b", "a" * 63])
def test_an_id_is_a_dns_label(name: str) -> None:
    assert names.problem_of_id(name) == ""


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("a.b", "[must not contain dots]"),
        ("a" * 64, "[must be no more than 63 characters]"),
        ("A", "[a lowercase RFC 1123 label must consist of "),
        ("", "[a lowercase RFC 1123 label must consist of "),
    ],
)
def test_a_wrong_id_is_refused(name: str, problem: str) -> None:
    assert names.problem_of_id(name).startswith(f"invalid project id [{name}]: {problem}")


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        ({"example.com/a": "", "b.c_d": "v"}, ""),
        ({f"k{number}": "v" for number in range(17)}, "labels map cannot exceed 16 entries"),
        ({"a b": "v"}, "invalid label key [a b]: [name part must consist of "),
        ({"/a": "v"}, "invalid label key [/a]: [prefix part must be non-empty]"),
        ({"A_B/a": "v"}, "invalid label key [A_B/a]: [prefix part a lowercase RFC 1123 subdomain"),
        ({"a/": "v"}, "invalid label key [a/]: [name part must be non-empty]"),
        ({"a/b/c": "v"}, "invalid label key [a/b/c]: [a qualified name must consist of "),
        ({"a": "no!"}, "invalid label value [no!]: [a valid label must be an empty string or "),
        (
            {"a": "v" * 64},
            f"invalid label value [{'v' * 64}]: [must be no more than 63 characters]",
        ),
    ],
)
def test_labels_are_those_of_kubernetes(labels: dict[str, str], problem: str) -> None:
    found = names.problem_of_labels(labels)
    assert found.startswith(problem) if problem else not found
