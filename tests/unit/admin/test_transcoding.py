"""Tests of paths, queries and headers of the REST door: what they mean for a message."""

from typing import Any

import pytest
from flyteidl.admin.project_domain_attributes_pb2 import ProjectDomainAttributesUpdateRequest
from flyteidl.admin.project_pb2 import Project, ProjectListRequest
from flyteidl.service import admin_pb2, auth_pb2

from trimtab_admin.flyte import field_values, marshalers
from trimtab_admin.flyte.field_values import FieldError
from trimtab_admin.flyte.transcoding import Bindings

BINDINGS = Bindings(
    [
        admin_pb2.DESCRIPTOR.services_by_name["AdminService"],
        auth_pb2.DESCRIPTOR.services_by_name["AuthMetadataService"],
    ]
)


def rpcs(path: str) -> dict[str, str]:
    return {method: binding.rpc for method, (binding, _) in BINDINGS.methods(path).items()}


def test_a_path_has_the_methods_of_all_its_rpcs() -> None:
    assert rpcs("/api/v1/projects") == {"GET": "ListProjects", "POST": "RegisterProject"}
    assert rpcs("/api/v1/project_domain_attributes/p/d") == {
        "GET": "GetProjectDomainAttributes",
        "PUT": "UpdateProjectDomainAttributes",
        "DELETE": "DeleteProjectDomainAttributes",
    }
    assert rpcs("/config/v1/flyte_client") == {"GET": "GetPublicClientConfig"}


def test_an_rpc_may_have_more_than_one_path() -> None:
    for path in ("/api/v1/tasks/p/d", "/api/v1/tasks/p/d/n"):
        assert rpcs(path)["GET"] == "ListTasks"


def test_a_segment_that_is_literal_elsewhere_may_be_a_variable() -> None:
    binding, values = BINDINGS.methods("/api/v1/executions/relaunch/d/n")["GET"]
    assert (binding.rpc, values) == ("GetExecution", ("relaunch", "d", "n"))
    assert rpcs("/api/v1/executions/relaunch") == {"POST": "RelaunchExecution"}


def test_variables_are_single_segments_and_may_be_empty() -> None:
    binding, values = BINDINGS.methods("/api/v1/projects/")["PUT"]
    assert (binding.variables, values) == ((("id",),), ("",))
    for path in ("/api/v1/projects/a/b", "/api/v1/matchable_attributes/", "/api/v1", "/", ""):
        assert rpcs(path) == {}


def query(text: bytes, message: Any, *of_path: tuple[str, ...]) -> Any:
    field_values.set_parameters(message, field_values.parameters(text), of_path)
    return message


@pytest.mark.parametrize(
    "text",
    [
        b"limit=3&sort_by.key=a+b&sort_by.direction=ASCENDING",
        b"limit=+3&sortBy.key=a%20b&sortBy.direction=1&unknown=1&sort_by.unknown=1&&",
    ],
)
def test_parameters_set_fields(text: bytes) -> None:
    expected = ProjectListRequest(limit=3)
    expected.sort_by.key, expected.sort_by.direction = "a b", 1  # type: ignore[assignment]
    assert query(text.replace(b"=+3", b"=3"), ProjectListRequest()) == expected


def test_the_path_wins_over_parameters() -> None:
    assert query(b"id=other&name=n", Project(id="p"), ("id",)) == Project(id="p", name="n")
    update = ProjectDomainAttributesUpdateRequest()
    query(b"attributes.project=x&attributes.org=o", update, ("attributes", "project"))
    assert (update.attributes.project, update.attributes.org) == ("", "o")


def test_the_work_of_a_parameter_grows_with_its_length() -> None:
    # A search from each bracket to the end would take hours.
    assert query(b"[" * 1_000_000 + b"=1", Project()) == Project()


def test_an_entry_of_a_map_is_a_parameter() -> None:
    assert query(b"labels.values[team]=x", Project()).labels.values == {"team": "x"}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"limit=x", r'parsing field "limit": strconv.ParseUint: parsing "x": invalid syntax'),
        (b"limit=", r'parsing field "limit": strconv.ParseUint: parsing "": invalid syntax'),
        (
            b"limit=4294967296",
            'parsing field "limit": strconv.ParseUint: parsing "4294967296": value out of range',
        ),
        (b"limit=" + b"9" * 5000, "value out of range"),
        (b"limit=1&limit=2", 'too many values for field "limit": 1, 2'),
        (b"sort_by.direction=UP", 'parsing field "direction": "UP" is not a valid value'),
        (b"sort_by.direction=2", 'parsing field "direction": "2" is not a valid value'),
        (b"sort_by=1", 'parsing field "sort_by": unsupported message type: "flyteidl.admin.Sort"'),
        (b"limit.x=1", 'invalid path: "limit" is not a message'),
        (b"token=%zz", 'invalid URL escape "%zz"'),
        (b"a;b", "invalid semicolon separator in query"),
        (b"token=%ff", "the query is not UTF-8"),
    ],
)
def test_wrong_parameters_are_errors(text: bytes, error: str) -> None:
    with pytest.raises(FieldError) as caught:
        query(text, ProjectListRequest())
    assert error in str(caught.value)


@pytest.mark.parametrize(
    ("content_type", "accept", "media_type", "is_snake_case"),
    [
        ("", "", "application/json", False),
        ("", "*/*", "application/json", False),
        ("", "application/json", "application/json", True),
        ("", "application/json, text/plain, */*", "application/json", False),
        ("application/json; charset=utf-8", "", "application/json", True),
        ("application/json", "*", "application/json", False),
        ("text/plain", "APPLICATION/JSON", "application/json", False),
        ("application/octet-stream", "", "application/octet-stream", None),
        ("application/json", "application/octet-stream", "application/octet-stream", None),
    ],
)
def test_headers_choose_the_form_of_the_response(
    content_type: str, accept: str, media_type: str, is_snake_case: bool | None
) -> None:
    given = [[value] if value else [] for value in (content_type, accept)]
    chosen = marshalers.choose(*given).response
    assert chosen.content_type == media_type
    if is_snake_case is not None:
        assert (b"sort_by" in chosen.write(ProjectListRequest())) == is_snake_case


def test_equal_messages_of_different_types_have_different_texts() -> None:
    marshaler = marshalers.choose([], []).response
    assert marshaler.write(Project()) != marshaler.write(ProjectListRequest())
    assert marshaler.write(Project()) == marshaler.write(Project())
