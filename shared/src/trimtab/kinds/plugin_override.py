"""The kind `plugin_override`: the plugins that run a type of task.

In Flyte's files, ``overrides`` is a list of objects with a ``task_type`` each; in our documents it
is a map by task type, so that records of several levels are merged. ``missing_plugin_behavior`` may
be Flyte's number or the name.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, StringConstraints

from trimtab.kinds import repeats
from trimtab.kinds.flyte import (
    FlyteKind,
    convert_fields,
    enum_name,
    list_of_map,
    map_of_list,
)
from trimtab.kinds.kind import Kind, KindModel, Value
from trimtab.labels import Text
from trimtab.levels import Level

Behavior = Literal["FAIL", "USE_DEFAULT"]
_NAMES: tuple[str, ...] = get_args(Behavior)
"""The names in the order of Flyte's numbers."""
_BEHAVIOR = "missing_plugin_behavior"

TaskType = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.\-]*$"),
]


class Override(KindModel):
    """The plugins of one task type; a narrower record replaces the whole object."""

    plugin_id: Annotated[tuple[Text, ...], repeats.ONCE] | None = Field(default=None, strict=False)
    """Plugins in order of preference; the first installed one runs the tasks."""
    missing_plugin_behavior: Behavior | None = None
    """Whether a task fails (default) or runs by the default plugin where none is installed."""


class PluginOverride(Value):
    """Plugins by task type."""

    overrides: dict[TaskType, Override] | None = None
    """Plugins by type of task."""


def from_file(fields: Mapping[str, Any]) -> dict[str, Any]:
    document = dict(fields)
    if "overrides" in document:
        overrides = map_of_list(
            "overrides", document["overrides"], "task_type", tuple(Override.model_fields)
        )
        document["overrides"] = convert_fields(overrides, {_BEHAVIOR: partial(enum_name, _NAMES)})
    return document


def to_file(document: Mapping[str, Any]) -> dict[str, Any]:
    fields = dict(document)
    if "overrides" in fields:
        entries = {name: _flyte_entry(entry) for name, entry in fields["overrides"].items()}
        fields["overrides"] = list_of_map(entries, "task_type")
    return fields


def _flyte_entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry with Flyte's number, which Flyte's tools leave out where it is 0."""
    numbered = {**entry}
    if _BEHAVIOR in entry:
        numbered[_BEHAVIOR] = _NAMES.index(entry[_BEHAVIOR])
        # An entry with nothing else would have no field left, and so would not be stored.
        if numbered[_BEHAVIOR] == 0 and len(entry) > 1:
            del numbered[_BEHAVIOR]
    return numbered


def _likely_mistakes(document: Mapping[str, Any]) -> Iterator[str]:
    for task_type, entry in (document.get("overrides") or {}).items():
        plugins = (entry or {}).get("plugin_id")
        yield from repeats.warnings(f"overrides.{task_type}.plugin_id", plugins)


KIND = Kind(
    name="plugin_override",
    value=PluginOverride,
    levels=frozenset(Level) - {Level.SETTINGS},
    noun="plugin-override",
    summary="The plugins that run a type of task",
    flyte=FlyteKind(
        number=5,
        message="PluginOverrides",
        # Flyte's API always refuses a plugin override of a project.
        record_levels=(Level.PROJECT_DOMAIN, Level.WORKFLOW),
        configuration_levels=(),
        merged_map="overrides",
    ),
    from_file=from_file,
    to_file=to_file,
    likely_mistakes=_likely_mistakes,
    sample={
        "overrides": {
            "python_task": {
                "plugin_id": ["plugin1", "plugin2"],
                "missing_plugin_behavior": "USE_DEFAULT",
            }
        }
    },
)
