"""Tests of messages as JSON: names, fields that are not set, and the forms of values."""

import json
from typing import Any

import pytest
from flyteidl.admin.execution_pb2 import ExecutionCreateRequest
from flyteidl.admin.matchable_resource_pb2 import MatchingAttributes, PluginOverride
from flyteidl.admin.project_pb2 import InactiveProject, Project
from flyteidl.core.literals_pb2 import Literal, Primitive, Scalar
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import Int64Value
from google.rpc.status_pb2 import Status

from trimtab_admin.flyte import json_writing


def written(message: Message, *, snake_case: bool = True) -> Any:
    return json.loads(json_writing.write(message, snake_case=snake_case))


def test_every_field_is_written_except_for_unset_members_of_oneofs() -> None:
    assert written(Project(id="shop")) == {
        "id": "shop",
        "name": "",
        "domains": [],
        "description": "",
        "labels": None,
        "state": "ACTIVE",
        "org": "",
    }
    assert written(MatchingAttributes()) == {}
    empty = MatchingAttributes()
    empty.cluster_resource_attributes.SetInParent()
    assert written(empty) == {"cluster_resource_attributes": {"attributes": {}}}


@pytest.mark.parametrize(
    ("snake_case", "key"), [(True, "missing_plugin_behavior"), (False, "missingPluginBehavior")]
)
def test_names_are_those_of_the_protos_or_camel_case(snake_case: bool, key: str) -> None:
    override = PluginOverride(missing_plugin_behavior=PluginOverride.USE_DEFAULT)
    assert written(override, snake_case=snake_case)[key] == "USE_DEFAULT"


def test_a_number_that_its_enum_does_not_name_is_a_number() -> None:
    override = PluginOverride(missing_plugin_behavior=9)  # type: ignore[arg-type]
    assert written(override)["missing_plugin_behavior"] == 9


def test_messages_with_forms_of_their_own() -> None:
    request = ExecutionCreateRequest()
    request.spec.interruptible.value = False
    request.spec.quality_of_service.spec.queueing_budget.FromMilliseconds(1500)
    environment = request.spec.execution_env_assignments.add().execution_env
    environment.spec.update({"a": [1, None]})
    spec = written(request)["spec"]
    assert spec["interruptible"] is False
    assert spec["quality_of_service"] == {"spec": {"queueing_budget": "1.500s"}}
    assert spec["execution_env_assignments"][0]["execution_env"]["spec"] == {"a": [1, None]}


def test_large_integers_are_strings_and_bytes_are_base64() -> None:
    assert written(Int64Value(value=2**53)) == str(2**53)
    assert written(Scalar(primitive=Primitive(integer=2**53))) == {
        "primitive": {"integer": str(2**53)}
    }
    literal = Literal(hash="é\u2028<")
    literal.scalar.binary.value = b"\xff"
    assert written(literal)["scalar"]["binary"]["value"] == "/w=="
    assert "é\u2028<".encode() in json_writing.write(literal, snake_case=True)


def test_a_detail_of_an_error_has_its_type() -> None:
    status = Status(code=3, message="no")
    status.details.add().Pack(InactiveProject(id="attic"))
    assert written(status) == {
        "code": 3,
        "message": "no",
        "details": [
            {
                "@type": "type.googleapis.com/flyteidl.admin.InactiveProject",
                "id": "attic",
                "org": "",
            }
        ],
    }
