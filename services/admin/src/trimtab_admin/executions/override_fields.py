"""The fields of an override, and of an execution as a whole, as a form shows them. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from trimtab.api.launch_forms import FormField
from trimtab.kinds.task_resource import RESOURCES
from trimtab.workflows.graphs.launch_plans import ExecutionConfig
from trimtab.workflows.graphs.node_overrides import NodeOverrides

_FIXED = frozenset({"task_config_type"})
"""Fields that no override can change."""
_GROUPS = frozenset({"resources", "resources.requests", "resources.limits"})
"""Objects whose members are fields of their own."""
_MAPS = frozenset({"annotations", "environment", "labels", "task_config"})
_SHOWN = ("type", "anyOf", "minimum", "maximum", "minLength", "maxLength", "pattern")
_NESTED = ("properties", "additionalProperties")


class OverrideField(NamedTuple):
    """A field, independent of any hook."""

    path: str
    help: str
    json_schema: Mapping[str, Any]

    @property
    def is_map(self) -> bool:
        """Whether it is merged by key."""
        return self.path in _MAPS

    @property
    def resource(self) -> str:
        """The resource that it is an amount of; empty for other fields."""
        name = self.path.rpartition(".")[2]
        return name if self.path.startswith("resources.") and name in RESOURCES else ""

    def entry(self, path: str) -> "OverrideField":
        """Return the field of a key of the map."""
        values = self.json_schema.get("additionalProperties")
        return OverrideField(path, "", values if isinstance(values, Mapping) else {})

    def form_field(self) -> FormField:
        """Return the field without a default."""
        return FormField(path=self.path, help=self.help, json_schema=dict(self.json_schema))


def _fields(model: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[OverrideField]:
    pending = [("", model)]
    while pending:
        prefix, group = pending.pop(0)
        for name, described in group["properties"].items():
            path, shape = prefix + name, _shape(described, definitions)
            if path in _GROUPS:
                pending.append((f"{path}.", shape))
            elif path not in _FIXED:
                text = " ".join(described.get("description", "").split())
                format_ = {"format": "quantity"} if prefix else {}
                yield OverrideField(path, text, {**_bare(shape, definitions), **format_})


def _shape(described: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of the values of a field, without null and references."""
    if reference := described.get("$ref", "").removeprefix("#/$defs/"):
        return _shape(definitions[reference], definitions)
    choices = [each for each in described.get("anyOf", ()) if each.get("type") != "null"]
    if len(choices) == 1:
        return _shape(choices[0], definitions)
    return {**described, "anyOf": choices} if choices else described


def _bare(shape: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords that state which values are allowed, at every depth."""
    bare = {keyword: shape[keyword] for keyword in _SHOWN if keyword in shape}
    for keyword in _NESTED:
        match shape.get(keyword):
            case bool(allowed):
                bare[keyword] = allowed
            case {} as inner if keyword == "properties":
                bare[keyword] = {
                    name: _bare(_shape(each, definitions), definitions)
                    for name, each in inner.items()
                }
            case {} as inner:
                bare[keyword] = _bare(_shape(inner, definitions), definitions)
    return bare


_OVERRIDES = NodeOverrides.model_json_schema()
_EXECUTION = ExecutionConfig.model_json_schema()
FIELDS = tuple(sorted(_fields(_OVERRIDES, _OVERRIDES["$defs"]), key=lambda f: "." not in f.path))
"""The fields of a hook, resources first."""
EXECUTION_FIELDS = tuple(_fields(_EXECUTION, _EXECUTION.get("$defs", {})))
"""The fields of the execution as a whole."""
