"""Forms describe the fields of a kind, made from its registration alone."""

import pytest

from trimtab import kinds
from trimtab.kinds import Kind, forms

EVERY_KIND = pytest.mark.parametrize("kind", kinds.registered().values(), ids=lambda k: k.name)


@EVERY_KIND
def test_a_form_has_every_field_of_its_kind_with_title_and_help(kind: Kind) -> None:
    fields = {field.path: field for field in forms.of_kind(kind)}
    assert fields.keys() == kind.schema.paths
    assert all(field.title and field.help for field in fields.values())
    assert {path for path, field in fields.items() if field.input == "group"} == kind.schema.groups
    assert {path for path, field in fields.items() if field.input == "map"} == set(kind.schema.maps)


@pytest.mark.parametrize(
    ("kind", "path", "expected"),
    [
        ("task_resource", "limits.cpu", {"input": "text"}),
        ("task_resource", "over_limit", {"input": "choice", "choices": ("refuse", "clamp")}),
        ("task_resource", "mirror_limits_request", {"input": "switch"}),
        ("workflow_priority", "priority", {"input": "number", "minimum": -1000, "maximum": 1000}),
        ("execution_queue", "tags", {"input": "list", "entry": "text"}),
        ("workflow_execution_config", "labels", {"input": "map", "entry": "text"}),
        ("plugin_override", "overrides", {"input": "map", "entry": "object"}),
        (
            "workflow_execution_config",
            "security_context.run_as.oauth2_client",
            {"input": "object", "title": "Oauth2 client"},
        ),
    ],
)
def test_the_input_of_a_field_follows_from_its_type(
    kind: str, path: str, expected: dict[str, object]
) -> None:
    [field] = [f for f in forms.of_kind(kinds.by_name(kind)) if f.path == path]
    assert field.model_dump(include=set(expected)) == expected
