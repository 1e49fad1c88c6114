"""Which plugin runs a type of task.

Flyte's files have ``overrides`` as a list, each entry with its ``task_type``; here it is a map by
that type, so that records of several levels merge. Flyte's number of a missing plugin's behaviour
is taken for its name.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, StringConstraints

from trimtab.kinds.flyte import FlyteKind, list_of_map, map_of_list
from trimtab.kinds.kind import Kind, Part, Value
from trimtab.labels import Text
from trimtab.levels import Level

Behavior = Literal["FAIL", "USE_DEFAULT"]
_BEHAVIORS: tuple[str, ...] = get_args(Behavior)
"""In the order of Flyte's numbers."""

TaskType = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.\-]*$"),
]


def _once(plugins: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(plugins)) < len(plugins):
        raise ValueError("each plugin once")
    return plugins


class Override(Part):
    """What runs tasks of one type; a narrower record replaces all of it."""

    plugin_id: Annotated[tuple[Text, ...], AfterValidator(_once)] | None = Field(
        default=None, strict=False
    )
    """The first one that is there runs the tasks."""
    missing_plugin_behavior: Behavior | None = None
    """Where none of them is: the task fails (as where nothing is said), or the default runs it."""


class PluginOverride(Value):
    """Plugins by task type."""

    overrides: dict[TaskType, Override] | None = None
    """What runs tasks, by their type."""


def from_file(fields: Mapping[str, Any]) -> dict[str, Any]:
    document = dict(fields)
    if "overrides" in document:
        overrides = map_of_list("overrides", document["overrides"], "task_type")
        document["overrides"] = _each(overrides, _named)
    return document


def to_file(document: Mapping[str, Any]) -> dict[str, Any]:
    fields = dict(document)
    if "overrides" in fields:
        fields["overrides"] = list_of_map(_each(fields["overrides"], _numbered), "task_type")
    return fields


def _each(overrides: Any, change: Callable[[Any], Any]) -> Any:
    """Every entry changed in what it says of a missing plugin."""
    if not isinstance(overrides, Mapping):
        return overrides
    name = "missing_plugin_behavior"
    return {
        task_type: {**entry, name: change(entry[name])}
        if isinstance(entry, Mapping) and name in entry
        else entry
        for task_type, entry in overrides.items()
    }


def _named(behavior: Any) -> Any:
    number = isinstance(behavior, int) and not isinstance(behavior, bool)
    return _BEHAVIORS[behavior] if number and 0 <= behavior < len(_BEHAVIORS) else behavior


def _numbered(behavior: str) -> int:
    return _BEHAVIORS.index(behavior)


KIND = Kind(
    name="plugin_override",
    value=PluginOverride,
    levels=frozenset(Level) - {Level.SETTINGS},
    noun="plugin-override",
    summary="Which plugin runs a type of task",
    flyte=FlyteKind(
        number=5,
        message="PluginOverrides",
        # Flyte's API always refuses a plugin override of a project.
        record_levels=(Level.PROJECT_DOMAIN, Level.WORKFLOW),
        configuration_levels=(),
    ),
    from_file=from_file,
    to_file=to_file,
)
