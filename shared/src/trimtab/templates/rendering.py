"""Renders the objects of one namespace from templates and values. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pydantic import JsonValue

from trimtab.errors import Conflict, Rejected
from trimtab.kinds.cluster_resource import RESERVED
from trimtab.levels import Scope
from trimtab.templates import parsing
from trimtab.templates.manifests import Manifest, ObjectKey
from trimtab.templates.parsing import BadTemplate, Unresolved

_SYSTEM = re.compile(r"\{\{ (" + "|".join(sorted(RESERVED)) + r") \}\}")


class Source(NamedTuple):
    """The name and content of a template file."""

    file: str
    text: str


def render(
    sources: Sequence[Source], namespace: str, attributes: Mapping[Scope, Mapping[str, str]]
) -> list[Manifest]:
    """Return every object of a namespace, in the order of the files.

    ``attributes`` are the values for each project and domain of the namespace: usually one, and
    several where the namespace template leaves the project or the domain out. Then all must render
    to the same objects, or each would overwrite the others. Raises `Rejected`.
    """
    rendered = {
        target: _render_for(target, sources, _values(namespace, target, values))
        for target, values in attributes.items()
    }
    (first, manifests), *others = rendered.items()
    for other, manifests_of_other in others:
        if manifests_of_other != manifests:
            raise Conflict(
                f"namespace {namespace} is shared by {first} and {other}, whose manifests differ"
            )
    return manifests


def _values(namespace: str, target: Scope, attributes: Mapping[str, str]) -> dict[str, str]:
    """Return the values of all placeholders; attributes may themselves use the reserved names."""
    system = {"namespace": namespace, "project": target.project, "domain": target.domain}
    own = {
        name: _SYSTEM.sub(lambda match: system[match[1]], value)
        for name, value in attributes.items()
    }
    return own | system


def _render_for(
    target: Scope, sources: Iterable[Source], values: Mapping[str, str]
) -> list[Manifest]:
    rendered: dict[ObjectKey, tuple[Manifest, str]] = {}
    for file, text in sources:
        try:
            bodies = list(parsing.parse(file, text).objects(values))
        except Unresolved as error:
            raise _missing_values(error, target) from error
        for body in bodies:
            manifest = _manifest(file, body, values["namespace"])
            if manifest.key in rendered:
                _, other = rendered[manifest.key]
                raise BadTemplate(file, f"{manifest} is also an object of {other}")
            rendered[manifest.key] = (manifest, file)
    return [manifest for manifest, _ in rendered.values()]


def _missing_values(error: Unresolved, target: Scope) -> Rejected:
    placeholders = ", ".join(f"{{{{ {name} }}}}" for name in error.names)
    fields = ", ".join(f"attributes.{name}" for name in error.names)
    return BadTemplate(
        error.file,
        f"{placeholders} has no value for {target}; "
        f"set {fields} of cluster_resource there or at a broader level",
    )


def _manifest(file: str, body: dict[str, JsonValue], namespace: str) -> Manifest:
    metadata = body.get("metadata", {})
    if not isinstance(metadata, dict):
        raise BadTemplate(file, "metadata is not a mapping")
    api_version = _text(file, "apiVersion", body.get("apiVersion"))
    kind = _text(file, "kind", body.get("kind"))
    name = _text(file, "metadata.name", metadata.get("name"))
    group = api_version.rpartition("/")[0]
    found = metadata.get("namespace")
    if found is not None and found != namespace:
        raise BadTemplate(file, f"{kind}/{name} is in namespace {found!r}; allowed: {namespace!r}")
    return Manifest(group, kind, name, body)


def _text(file: str, path: str, value: JsonValue) -> str:
    if value is None or value == "":
        raise BadTemplate(file, f"an object needs {path}")
    if not isinstance(value, str):
        raise BadTemplate(file, f"{path} is {value!r}, which is not text; put it in quotes")
    return value
