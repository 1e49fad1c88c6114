"""Select the plugin that runs the tasks of a type. Pure."""

from collections.abc import Sequence

from trimtab.kinds.plugin_override import Override
from trimtab.messages.resolutions import ResolvedValue
from trimtab.resolution.limits import Refusal
from trimtab.settings.fold import Effective
from trimtab_propeller.executors.port import Capabilities
from trimtab_propeller.resolution import records


def value(task_type: str, overrides: Effective, executor: Capabilities) -> ResolvedValue | None:
    """Return the first installed plugin that the settings name for exactly this type of task.

    Return ``None`` where they have no override of the type. Where none of its plugins is installed,
    the default one is returned if the override allows it. Raises `Refusal`.
    """
    path = f"overrides.{task_type}"
    leaf = overrides.leaves.get(path)
    if leaf is None or leaf.value is None:
        return None
    source = f"{overrides.kind.name}.{path}"
    override = Override.model_validate(leaf.value)
    wanted = override.plugin_id or ()
    plugin, note = _select(wanted, executor)
    if not plugin and override.missing_plugin_behavior != "USE_DEFAULT":
        raise Refusal(
            source,
            list(wanted),
            f"none of the plugins {', '.join(wanted)} is installed, which {source} of {leaf.scope} "
            f"names for tasks of type {task_type!r}; the {executor.name} executor has "
            f"{', '.join(executor.plugins) or 'none'}",
            scope=str(leaf.scope),
        )
    selected = records.value("plugin", source, leaf)
    return selected.model_copy(update={"value": plugin or executor.default_plugin, "note": note})


def _select(wanted: Sequence[str], executor: Capabilities) -> tuple[str, str]:
    """Return the plugin, empty where none is installed, and a note on the decision."""
    if not wanted:
        return executor.default_plugin, "the default, as the override names no plugin"
    first = next((index for index, each in enumerate(wanted) if each in executor.plugins), None)
    missing = ", ".join(wanted[:first])
    note = f"not installed: {missing}" if missing else ""
    return ("", f"the default; {note}") if first is None else (wanted[first], note)
