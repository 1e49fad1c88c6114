"""Settings of Flyte 2 as documents of kinds, and back. Pure.

A message of Flyte 2 has the settings of one scope, each leaf in one of three states: INHERIT is an
absent path of our document, UNSET a path in ``unset``, VALUE a value. One message spans the
documents of `KINDS`; what it cannot carry of them is native, and survives a write.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flyteidl2.settings import settings_definition_pb2 as flyte2
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from pydantic import JsonValue

from trimtab.errors import Invalid
from trimtab.kinds import Kind, task_resource, workflow_execution_config
from trimtab.labels import POD_TEMPLATE
from trimtab.levels import Level, Scope
from trimtab.settings.fold import Effective, Leaf

KINDS = (task_resource.KIND, workflow_execution_config.KIND)
"""The kinds whose fields Flyte 2 has settings for."""

_INHERIT = flyte2.SETTING_STATE_INHERIT
_UNSET = flyte2.SETTING_STATE_UNSET
_VALUE = flyte2.SETTING_STATE_VALUE

_RESOURCES = {"cpu": "cpu", "gpu": "gpu", "memory": "memory", "storage": "ephemeral_storage"}
_PARALLELISM = "run.max_action_concurrency"
_FIELDS: Mapping[str, Mapping[str, str]] = {
    task_resource.KIND.name: {
        **{f"task_resource.min.{name}": f"minimum.{ours}" for name, ours in _RESOURCES.items()},
        **{f"task_resource.max.{name}": f"limits.{ours}" for name, ours in _RESOURCES.items()},
        "task_resource.mirror_limits_request": "mirror_limits_request",
    },
    workflow_execution_config.KIND.name: {
        _PARALLELISM: "max_parallelism",
        "security.service_account": "security_context.run_as.k8s_service_account",
        "storage.raw_data_path": "raw_output_data_config.output_location_prefix",
        "labels": "labels",
        "annotations": "annotations",
        "environment_variables": "envs",
        "pod_template_name": f"annotations.{POD_TEMPLATE}",
    },
}
"""The path in the document of each leaf, by kind and by the leaf's path in the message."""

_REFUSED: Mapping[str, str] = {
    "run.default_queue": "no value: the kind execution_queue selects queues, by their tags",
    "run.run_base_dir": "no value: the configuration of propeller has where executions are stored",
    "task_resource.default_accelerator": (
        "no value: a pod template of propeller selects nodes with an accelerator; "
        "pod_template_name selects the template"
    ),
    "app.disallow_anonymous": "no value: there are no apps here",
    "app.app_dns_strategy": "no value: there are no apps here",
}
"""The leaves that no kind has a field for, with what is used instead."""

_SCOPE_LEVELS: Mapping[Level, int] = {
    Level.SETTINGS: flyte2.SCOPE_LEVEL_ORG,
    Level.PLATFORM: flyte2.SCOPE_LEVEL_ORG,
    Level.DOMAIN: flyte2.SCOPE_LEVEL_DOMAIN,
    # Flyte 2 has no settings of a project in all domains: its nearest level is narrower.
    Level.PROJECT: flyte2.SCOPE_LEVEL_PROJECT,
    Level.PROJECT_DOMAIN: flyte2.SCOPE_LEVEL_PROJECT,
}

Documents = Mapping[str, Mapping[str, Any]]
"""Documents at one scope by the names of their kinds; a kind without a record is absent."""


def scope_of(key: flyte2.SettingsKey) -> Scope:
    """Return the scope of a key; whatever its organization, it is this installation."""
    return Scope(domain=key.domain, project=key.project)


def keys_to(key: flyte2.SettingsKey) -> list[flyte2.SettingsKey]:
    """Return the keys of all scopes that a key covers, broadest first, itself last."""
    keys = [flyte2.SettingsKey(org=key.org)]
    if key.domain:
        keys.append(flyte2.SettingsKey(org=key.org, domain=key.domain))
    return [*keys, key] if key.project else keys


def flyte_path(path: str) -> str:
    """Return the path in the message of a path in a document; any other path unchanged."""
    for leaves in _FIELDS.values():
        for leaf, ours in leaves.items():
            if path == ours:
                return leaf
    for leaf, ours in _FIELDS[workflow_execution_config.KIND.name].items():
        if path.startswith(f"{ours}."):
            return leaf + path.removeprefix(ours)
    return path


def to_message(documents: Documents) -> flyte2.Settings:
    """Return the part of the documents at one scope that a message can carry."""
    message = flyte2.Settings()
    for kind in KINDS:
        document = _Document.of(kind, documents.get(kind.name, {}))
        for leaf, path in _FIELDS[kind.name].items():
            if path in kind.schema.maps:
                entries = document.entries(path)
                if entries or document.is_unset(path):
                    _put(message, leaf, entries or None)
            elif path in document.flat:
                _put(message, leaf, document.flat[path])
            elif document.is_unset(path):
                _put(message, leaf, None)
    return message


def resolved(effective: Mapping[str, Effective]) -> flyte2.Settings:
    """Return the effective values of the kinds at a target, each leaf with its level."""
    message = flyte2.Settings()
    for kind in KINDS:
        leaves = effective[kind.name].leaves
        for leaf, path in _FIELDS[kind.name].items():
            if path in kind.schema.maps:
                found = dict(_entries(leaves, path))
                entries = {key: each.value for key, each in found.items() if each.value is not None}
                sources = [*found.values(), *([leaves[path]] if path in leaves else ())]
                if sources:
                    narrowest = max(source.scope.level for source in sources)
                    _put(message, leaf, entries or None, narrowest)
            elif (source := _leaf(kind, leaves, path)) is not None:
                _put(message, leaf, source.value, source.scope.level)
    return message


def documents(message: flyte2.Settings, stored: Documents, scope: Scope) -> dict[str, Any]:
    """Return the documents at a scope after a message replaces what it can carry of the stored.

    A kind that keeps nothing is absent. Raises `Invalid`, which names the leaf.
    """
    _check_no_unknown(message, "settings")
    for leaf, allowed in _REFUSED.items():
        state, value = _get(message, leaf)
        if state != _INHERIT:
            raise Invalid(leaf, str(value).strip() if state == _VALUE else None, allowed)
    written = {}
    for kind in KINDS:
        before = stored.get(kind.name, {})
        document = _Document.of(kind, before)
        for leaf, path in _FIELDS[kind.name].items():
            document.write(leaf, path, *_get(message, leaf))
        if kind is task_resource.KIND:
            _clamp(document, kind.schema.flatten(before))
        made = document.document(before)
        if made:
            written[kind.name] = made if made == before else _parsed(kind, made, scope)
    return written


@dataclass
class _Document:
    """A document in the form in which single paths are changed."""

    kind: Kind
    flat: dict[str, JsonValue]
    unset: set[str]
    """Paths in ``unset``, with the fields of each group in place of the group."""

    @classmethod
    def of(cls, kind: Kind, document: Mapping[str, Any]) -> "_Document":
        unset = {field for path in document.get("unset", ()) for field in _inside(kind, path)}
        return cls(kind, kind.schema.flatten(document), unset)

    def is_unset(self, path: str) -> bool:
        return any(self.kind.schema.covers(unset, path) for unset in self.unset)

    def entries(self, path: str) -> dict[str, JsonValue]:
        """Return the entries of a map that the leaf of the map carries."""
        return dict(_entries(self.flat, path))

    def write(self, leaf: str, path: str, state: int, value: Any) -> None:
        """Give a path the state of a leaf. Raises `Invalid`."""
        if path in self.kind.schema.maps:
            self._write_map(leaf, path, state, value)
            return
        before = self.flat.pop(path, None)
        self.unset.discard(path)
        if leaf == _PARALLELISM and state == _VALUE:
            if value == 0:
                state = _UNSET  # 0 is no limit there, whatever broader scopes have.
            elif value == 1 != before:
                raise Invalid(leaf, 1, "0 for no limit, or at least 2")
        if state == _VALUE:
            self.flat[path] = value
        elif state == _UNSET and not self.is_unset(path):
            self.unset.add(path)

    def _write_map(self, leaf: str, path: str, state: int, value: Mapping[str, str]) -> None:
        before = self.entries(path)
        for key in before:
            del self.flat[f"{path}.{key}"]
        if state == _VALUE:
            if POD_TEMPLATE in value:
                raise Invalid(f"{leaf}.{POD_TEMPLATE}", value[POD_TEMPLATE], "pod_template_name")
            entries = {f"{path}.{key}": text for key, text in value.items()}
            self.flat |= entries
            self.unset -= entries.keys()
        if state == _UNSET:
            self.unset = {each for each in self.unset if not each.startswith(f"{path}.")} | {path}
        elif state == _INHERIT or not before:
            # A record that unsets a map and has entries of it replaces the map, which is native.
            self.unset.discard(path)

    def document(self, before: Mapping[str, Any]) -> dict[str, Any]:
        """Return the document, with the ``unset`` of the former one where that has not changed."""
        unset: list[str] = before.get("unset", [])
        if self.unset != _Document.of(self.kind, before).unset:
            unset = sorted(self.unset)
        return {**self.kind.schema.nest(self.flat), **({"unset": unset} if unset else {})}


def _inside(kind: Kind, path: str) -> Iterator[str]:
    """Yield the fields and maps of a group; any other path alone."""
    if path not in kind.schema.groups:
        yield path
        return
    for field in (*kind.schema.leaves, *kind.schema.maps):
        if field.startswith(f"{path}."):
            yield field


def _entries(by_path: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    """Yield the keys and values of a map, but the annotation that is a leaf of its own."""
    for known, value in by_path.items():
        if known.startswith(f"{path}.") and known != f"annotations.{POD_TEMPLATE}":
            yield known.removeprefix(f"{path}."), value


def _leaf(kind: Kind, leaves: Mapping[str, Leaf], path: str) -> Leaf | None:
    """Return the leaf of a path, or of the innermost group or map that was unset around it."""
    around = sorted(kind.schema.branches(path), key=len, reverse=True)
    return next((leaves[each] for each in (path, *around) if each in leaves), None)


def _clamp(document: _Document, before: Mapping[str, JsonValue]) -> None:
    """Lower what exceeds new limits, as Flyte 2 does, unless the record has its own rule.

    The rule goes with the last limit.
    """
    limits, former = (
        {path: value for path, value in flat.items() if path.startswith("limits.")}
        for flat in (document.flat, before)
    )
    if limits and limits != former and not document.is_unset("over_limit"):
        document.flat.setdefault("over_limit", "clamp")
    elif former and not limits and document.flat.get("over_limit") == "clamp":
        del document.flat["over_limit"]


def _parsed(kind: Kind, document: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
    """Return a document as it is stored. Raises `Invalid` with the path in the message."""
    try:
        return kind.to_document(kind.parse(document, scope))
    except Invalid as error:
        raise Invalid(flyte_path(error.path), error.value, error.allowed) from error


def _get(message: flyte2.Settings, leaf: str) -> tuple[int, Any]:
    """Return the state of a leaf and its value. Raises `Invalid` on an unknown state."""
    found: Message = message
    for name in leaf.split("."):
        found = getattr(found, name)
    if found.state not in flyte2.SettingState.values():
        states = ", ".join(flyte2.SettingState.keys())
        raise Invalid(f"{leaf}.state", found.state, states)
    value = getattr(found, _value_field(found))
    return found.state, dict(value.entries) if isinstance(value, flyte2.StringMap) else value


def _put(message: flyte2.Settings, leaf: str, value: JsonValue, level: Level | None = None) -> None:
    """Set a leaf; without a value it is UNSET."""
    found: Message = message
    for name in leaf.split("."):
        found = getattr(found, name)
    found.state = _UNSET if value is None else _VALUE
    field = _value_field(found)
    if isinstance(value, dict):
        getattr(found, field).entries.update(value)
    elif value is not None:
        setattr(found, field, value)
    if level is not None:
        found.scope_level = _SCOPE_LEVELS[level]


def _value_field(leaf: Message) -> str:
    return str(leaf.DESCRIPTOR.fields_by_number[2].name)


def _check_no_unknown(message: Message, path: str) -> None:
    """Raise `Invalid` on a setting of a later release of Flyte, which would be lost."""
    for unknown in UnknownFieldSet(message):
        allowed = "the settings that this release has"
        raise Invalid(path, f"field {unknown.field_number}", allowed)
    for field, value in message.ListFields():
        if field.message_type is not None and not field.is_repeated:
            _check_no_unknown(value, f"{path}.{field.name}".removeprefix("settings."))
