"""Tests of messages from JSON: what is accepted, and the errors with their places."""

import json
from typing import Any

import pytest
from flyteidl.admin.execution_pb2 import ExecutionCreateRequest
from flyteidl.admin.project_domain_attributes_pb2 import (
    ProjectDomainAttributesDeleteRequest,
    ProjectDomainAttributesUpdateRequest,
)
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct

from trimtab_admin.flyte import protojson
from trimtab_admin.flyte.json_scanning import JsonError, decode

CONFIG = "workflow_execution_config"


def read(text: str | bytes, *, ignore_unknown: bool = False) -> Any:
    message = ProjectDomainAttributesUpdateRequest()
    given = decode(text) if isinstance(text, bytes) else text
    protojson.read(given, message, ignore_unknown=ignore_unknown)
    return message


def config(fields: str) -> str:
    return f'{{"attributes":{{"matching_attributes":{{"{CONFIG}":{fields}}}}}}}'


def error(text: str | bytes, *, ignore_unknown: bool = False) -> str:
    with pytest.raises(JsonError) as caught:
        read(text, ignore_unknown=ignore_unknown)
    return str(caught.value)


@pytest.mark.parametrize("name", ["max_parallelism", "maxParallelism"])
@pytest.mark.parametrize("number", ["7", '"7"', "7.0", "70e-1", '"0.7e1"', "7.000"])
def test_an_integer_has_many_forms(name: str, number: str) -> None:
    message = read(config(f'{{"{name}": {number}}}'))
    assert message.attributes.matching_attributes.workflow_execution_config.max_parallelism == 7


@pytest.mark.parametrize(
    "value", ["7.5", "3000000000", '"abc"', "true", '" 7"', "[", '"7x"', "1e400", "1e999999999999"]
)
def test_another_value_is_no_integer(value: str) -> None:
    text = config(f'{{"max_parallelism":{value}{"]" if value == "[" else ""}}}')
    at = text.index(value) + 1
    assert error(text) == (
        f"proto: (line 1:{at}): invalid value for int32 field maxParallelism: {value}"
    )


def test_null_is_an_unset_field_and_no_item() -> None:
    message = read(config('{"interruptible": null, "labels": null}'))
    parsed = message.attributes.matching_attributes.workflow_execution_config
    assert not parsed.HasField("interruptible")
    assert not parsed.HasField("labels")
    assert "invalid value for string field value: null" in error(
        config('{"labels":{"values":{"a":null}}}')
    )


def test_unknown_fields_are_errors_or_ignored() -> None:
    text = '{"bogus": {"a": [1, {"b": "]"}]}, "attributes": {"project": "p"}}'
    assert error(text) == 'proto: (line 1:2): unknown field "bogus"'
    assert read(text, ignore_unknown=True).attributes.project == "p"


def test_a_name_of_an_enum_that_is_unknown_is_an_error_or_ignored() -> None:
    message = ProjectDomainAttributesDeleteRequest()
    with pytest.raises(JsonError, match='invalid value for enum field resourceType: "NOPE"'):
        protojson.read('{"resource_type": "NOPE"}', message, ignore_unknown=False)
    protojson.read('{"resourceType": "NOPE"}', message, ignore_unknown=True)
    assert message.resource_type == 0
    protojson.read('{"resourceType": 99}', message, ignore_unknown=True)
    assert message.resource_type == 99


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"attributes": {}, "attributes": {}}', '(line 1:20): duplicate field "attributes"'),
        (
            '{"attributes": {"matchingAttributes": {"executionClusterLabel": {},\n'
            ' "cluster_assignment": {}}}}',
            '(line 2:2): error parsing "cluster_assignment", oneof '
            "flyteidl.admin.MatchingAttributes.target is already set",
        ),
        (config('{"labels":{"values":{"a":"","a":""}}}'), '"a"'),
        (config('{"interruptible":{"value":true}}'), "invalid value for bool field value: {"),
        ("null", "syntax error (line 1:1): unexpected token null"),
        ("7", "syntax error (line 1:1): unexpected token 7"),
        ('{"attributes": []}', "syntax error (line 1:16): unexpected token ["),
        (b'{"attributes": {"project": "\xff"}}', "(line 1:28): invalid UTF-8 in string"),
        ('{"attributes": {"project": "\\ud800"}}', "(line 1:28): invalid escape code"),
    ],
)
def test_an_error_names_its_place(text: str | bytes, message: str) -> None:
    found = error(text)
    assert found.startswith("proto: ")
    assert message in found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "unexpected EOF"),
        ('{"a', "unexpected EOF"),
        ("limit=1", "invalid character 'l' looking for beginning of value"),
        ("{a", "invalid character 'a' looking for beginning of object key string"),
        ('{"a",', "invalid character ',' after object key"),
        ('{"a":1 "', "invalid character '\"' after object key:value pair"),
        ('{"a":1,}', "invalid character '}' looking for beginning of object key string"),
        ("[1 2]", "invalid character '2' after array element"),
        ("[1,]", "invalid character ']' looking for beginning of value"),
        ("[01]", "invalid character '1' after array element"),
        ("[-]", "invalid character ']' in numeric literal"),
        ("[1.]", "invalid character ']' after decimal point in numeric literal"),
        ("[1e+]", "invalid character ']' in exponent of numeric literal"),
        ("[1.2.3]", "invalid character '.' after array element"),
        ("[trux]", "invalid character 'x' in literal true (expecting 'e')"),
        ("[nul", "unexpected EOF"),
        ('["\n"]', r"invalid character '\n' in string literal"),
        (r'["\x"]', "invalid character 'x' in string escape code"),
        (r'["\u00g0"]', r"invalid character 'g' in \u hexadecimal character escape"),
        ("'", r"invalid character '\'' looking for beginning of value"),
        (b"\xff", "invalid character 'ÿ' looking for beginning of value"),
        ("[" * 10_001, "exceeded max depth"),
    ],
)
def test_text_that_is_not_json_is_an_error_before_what_it_means(
    text: str | bytes, message: str
) -> None:
    assert error(text) == message


@pytest.mark.parametrize("text", ["", " \n"])
def test_no_value_is_an_empty_message(text: str) -> None:
    assert read(text) == ProjectDomainAttributesUpdateRequest()


def test_text_after_the_first_value_is_ignored() -> None:
    assert read('{"attributes": {"project": "p"}} {"x').attributes.project == "p"


def test_strings_have_escapes() -> None:
    text = json.dumps({"attributes": {"project": '\b"\\/ü😀\n'}})
    assert read(text).attributes.project == '\b"\\/ü😀\n'


@pytest.mark.parametrize(
    ("text", "seconds", "nanos"),
    [("600s", 600, 0), ("-1.5s", -1, -500_000_000), (".000001s", 0, 1000), ("3.s", 3, 0)],
)
def test_a_duration_is_a_text(text: str, seconds: int, nanos: int) -> None:
    message = ExecutionCreateRequest()
    given = {"spec": {"qualityOfService": {"spec": {"queueingBudget": text}}}}
    protojson.read(json.dumps(given), message, ignore_unknown=False)
    budget = message.spec.quality_of_service.spec.queueing_budget
    assert (budget.seconds, budget.nanos) == (seconds, nanos)


@pytest.mark.parametrize("text", ["1", "1_0s", "s", "1.0000000001s", "01s", "1e3s"])
def test_another_text_is_no_duration(text: str) -> None:
    given = {"spec": {"qualityOfService": {"spec": {"queueingBudget": text}}}}
    with pytest.raises(JsonError, match="Duration value"):
        protojson.read(json.dumps(given), ExecutionCreateRequest(), ignore_unknown=False)


def test_any_json_is_a_struct() -> None:
    value = {"a": [1.5, None, "x", {"b": True}], "": {}}
    message = Struct()
    protojson.read(json.dumps(value), message, ignore_unknown=False)
    assert json_format.MessageToDict(message) == value


def test_deep_nesting_is_an_error_and_not_the_end_of_the_stack() -> None:
    text = '{"a":' * 5000 + "1" + "}" * 5000
    with pytest.raises(JsonError, match="exceeded max recursion depth"):
        protojson.read(text, Struct(), ignore_unknown=False)
    unknown = '{"x":' + "[" * 5000 + "]" * 5000 + "}"
    assert read(unknown, ignore_unknown=True) == ProjectDomainAttributesUpdateRequest()


def test_a_message_that_is_read_can_be_sent_and_parsed() -> None:
    for depth in range(20, 60):
        message = Struct()
        try:
            protojson.read('{"a":' * depth + "1" + "}" * depth, message, ignore_unknown=False)
        except JsonError:
            return
        Struct.FromString(message.SerializeToString())
    pytest.fail("no depth is too deep")
