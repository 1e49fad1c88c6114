"""The configuration file of flyteadmin as records of the platform and of domains. Pure.

It has the values that apply in Flyte where no row does.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from trimtab import kinds, quantities
from trimtab.errors import Invalid
from trimtab.flyte.importing import Given
from trimtab.levels import PLATFORM, Scope
from trimtab.settings.fold import Record

_RESOURCES = {
    "cpu": "cpu",
    "gpu": "gpu",
    "memory": "memory",
    "ephemeralstorage": "ephemeral_storage",
}
"""Names in the configuration, whose letters may be small or large, and ours."""
_DEFAULTS: Mapping[str, Mapping[str, str]] = {
    "defaults": {"cpu": "2", "memory": "200Mi"},
    "limits": {"cpu": "2", "memory": "1Gi", "gpu": "1"},
}
"""The values of flyteadmin for what its configuration does not have."""
_DEFAULT_PARALLELISM = 25


def records(sections: Mapping[str, Any]) -> Iterator[Given]:
    """Yield the records of the top-level sections, with flyteadmin's defaults.

    Raises `Invalid`, which names the section.
    """
    yield from _record("task_resources", "task_resource", PLATFORM, _task_resource(sections))
    document = _execution_config(_section(sections, "flyteadmin"))
    yield from _record("flyteadmin", "workflow_execution_config", PLATFORM, document)
    queues = _section(sections, "queues").get("workflowconfigs") or []
    # Of two entries for a domain, flyteadmin takes the last.
    for domain, tags in {each.get("domain", ""): each.get("tags") for each in queues}.items():
        yield from _record("queues", "execution_queue", Scope(domain), {"tags": tags or []})
    pools = _section(_section(sections, "clusterpools"), "clusterpoolassignments")
    for domain, pool in pools.items():
        name = _section(pools, domain).get("pool", pool)
        document = {"cluster_pool_name": name}
        yield from _record("clusterPools", "cluster_assignment", Scope(domain), document)
    # flyteadmin accepts lists of maps with one key each, whose letters it keeps.
    resources = {
        str(key).lower(): value for key, value in sections.get("cluster_resources", {}).items()
    }
    for domain, variables in _merged(resources.get("customdata")).items():
        attributes = {name: _value(text) for name, text in _merged(variables).items()}
        document = {"attributes": {k: v for k, v in attributes.items() if v is not None}}
        yield from _record("cluster_resources", "cluster_resource", Scope(domain), document)


def _record(section: str, kind: str, scope: Scope, document: dict[str, Any]) -> Iterator[Given]:
    found = kinds.by_name(kind)
    what = f"{kind} of {scope}, of {section} in the configuration"
    try:
        record = Record.of(found, scope, 0, document)
    except Invalid as error:
        raise Invalid(f"{section}: {error.path}", error.value, error.allowed) from error
    if record.flat:
        yield Given(what, record, record)


def _task_resource(sections: Mapping[str, Any]) -> dict[str, Any]:
    given = _section(sections, "task_resources")
    document = {}
    for group, defaults in _DEFAULTS.items():
        amounts: dict[str, Any] = dict(defaults)
        for name, amount in _section(given, group).items():
            if name in _RESOURCES:
                amounts[_RESOURCES[name]] = str(amount)
        # A zero is no value.
        document[group] = {name: text for name, text in amounts.items() if not _is_zero(text)}
    return document


def _execution_config(section: Mapping[str, Any]) -> dict[str, Any]:
    run_as = {
        "iam_role": section.get("assumableiamrole"),
        "k8s_service_account": section.get("k8sserviceaccount"),
    }
    prefix = section.get("outputlocationprefix")
    document = {
        "max_parallelism": section.get("maxparallelism", _DEFAULT_PARALLELISM),
        "security_context": {"run_as": {name: text for name, text in run_as.items() if text}},
        "raw_output_data_config": {"output_location_prefix": prefix} if prefix else {},
        "labels": section.get("labels"),
        "annotations": section.get("annotations"),
        "envs": section.get("envs"),
        "interruptible": section.get("interruptible"),
        "overwrite_cache": section.get("overwritecache"),
    }
    # In Flyte, false, 0 and empty texts of its configuration are no values.
    return {name: value for name, value in document.items() if value}


def _section(holder: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return an inner mapping by its name in small letters; its keys become small too."""
    found = {str(key).lower(): value for key, value in holder.items()}.get(name)
    if not isinstance(found, Mapping):
        return {}
    return {str(key).lower(): value for key, value in found.items()}


def _merged(variables: Any) -> dict[str, Any]:
    """Return variables that may be a map, or a list of maps with one key each."""
    if isinstance(variables, Mapping):
        return dict(variables)
    return {name: value for each in variables or () for name, value in each.items()}


def _value(variable: Any) -> str | None:
    """Return the value of a variable; ``None`` where it is that of another source."""
    value = variable.get("value") if isinstance(variable, Mapping) else variable
    return None if value is None else str(value)


def _is_zero(text: str) -> bool:
    try:
        return quantities.parse(text) == 0
    except quantities.InvalidQuantity:
        return False
