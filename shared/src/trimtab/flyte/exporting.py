"""Documents of settings as flytectl's attribute files, for the way back to Flyte 1. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import json_format

from trimtab import kinds
from trimtab.api.settings import DocumentBody
from trimtab.flyte.messages import target_of, to_message
from trimtab.kinds import Kind, plugin_override, quality_of_service, task_resource
from trimtab.levels import Level, Scope

_LEVELS = frozenset({Level.PROJECT, Level.PROJECT_DOMAIN, Level.WORKFLOW})
_WITHOUT_NOUN = frozenset({quality_of_service.KIND.name, "cluster_assignment"})
"""Kinds that Flyte has, and flytectl has no command for."""


@dataclass(frozen=True)
class AttributeFile:
    """The file of one row: ``flytectl update NOUN --attrFile PATH``."""

    path: str
    """The path in the export, with slashes."""
    noun: str
    content: dict[str, Any]


@dataclass(frozen=True)
class Lost:
    """Something that Flyte cannot hold."""

    what: str
    reason: str


@dataclass
class FlyteFiles:
    """Attribute files in the order of their paths, and everything that they lack."""

    files: list[AttributeFile] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)


def files_of(bodies: Iterable[DocumentBody]) -> FlyteFiles:
    """Return the files of the records that Flyte can hold, and what it cannot."""
    found = FlyteFiles()
    for body in bodies:
        if body.name:
            # Projects and domains have commands of their own; Flyte has no other entities.
            if body.kind not in ("project", "domain"):
                found.lost.append(Lost(f"{body.kind} {body.name}", "Flyte has no such object"))
            continue
        scope = Scope(body.domain, body.project, body.workflow, body.launch_plan)
        what = f"{body.kind} of {scope}"
        kind = kinds.registered().get(body.kind)
        if reason := _refusal(kind, scope):
            found.lost.append(Lost(what, reason))
            continue
        assert kind is not None
        if fields := _fields(kind, body.document):
            found.files.append(_file(kind, scope, fields))
        else:
            found.lost.append(Lost(what, "it sets nothing that a file of flytectl can have"))
        found.lost += [Lost(what, reason) for reason in _losses(kind, body.document)]
    found.files.sort(key=lambda file: file.path)
    return found


def _refusal(kind: Kind | None, scope: Scope) -> str:
    """Return why Flyte has no row for the record; empty where it has one."""
    if kind is None or kind.flyte is None:
        return "Flyte has no such kind"
    if kind.name in _WITHOUT_NOUN:
        return "flytectl has no command for this kind"
    if scope.level not in _LEVELS:
        return f"Flyte has no rows of a {scope.level.label}"
    if kind is plugin_override.KIND and scope.level is Level.PROJECT:
        return "Flyte refuses a plugin override of a project"
    return ""


def _file(kind: Kind, scope: Scope, fields: dict[str, Any]) -> AttributeFile:
    parts = [part for part in (scope.project, scope.domain, scope.workflow) if part]
    # Names of scopes have no character that a path may not have, and begin with no dot.
    path = "/".join([scope.level.label, *parts, f"{kind.noun}.yaml"])
    identity = dict(zip(("project", "domain", "workflow"), parts, strict=False))
    return AttributeFile(path, kind.noun, {**identity, **fields})


def _fields(kind: Kind, document: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of the message, in the shape of flytectl's files."""
    message = getattr(to_message(kind, document), target_of(kind))
    fields: dict[str, Any] = json_format.MessageToDict(
        message, preserving_proto_field_name=True, use_integers_for_enums=True
    )
    if "interruptible" in fields:
        fields["interruptible"] = {"value": fields["interruptible"]}
    return fields


def _losses(kind: Kind, document: dict[str, Any]) -> Iterable[str]:
    """Yield a reason for each part of the document that the row lacks."""
    assert kind.flyte is not None
    for name in sorted(kind.flyte.native_fields & document.keys()):
        if name not in _MESSAGE_FIELDS:
            yield f"Flyte has no field {name}"
    for path in document.get("unset", ()):
        is_quantity = kind is task_resource.KIND and path.partition(".")[0] in (
            "defaults",
            "limits",
        )
        if not is_quantity:
            yield f"Flyte cannot unset {path}"


_MESSAGE_FIELDS = frozenset({"execution_env_assignments"})
"""Fields that Flyte stores and never applies."""
