"""Renders the objects of one namespace from templates and values. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pydantic import JsonValue

from trimtab import names
from trimtab.echoes import shown
from trimtab.errors import Conflict
from trimtab.levels import Scope
from trimtab.templates import parsing, variables
from trimtab.templates.manifests import Manifest, ObjectKey
from trimtab.templates.parsing import BadTemplate, Unresolved
from trimtab.templates.values import NOTHING_CONFIGURED, ConfiguredValues, Values, values_of

MAX_NAME = 253
"""Characters of the name of an object, of which most types allow fewer."""


class Source(NamedTuple):
    """The name and content of a template file."""

    file: str
    text: str


def render(
    sources: Sequence[Source],
    namespace: str,
    attributes: Mapping[Scope, Mapping[str, str]],
    configured: ConfiguredValues = NOTHING_CONFIGURED,
) -> list[Manifest]:
    """Return every object of a namespace, in the order of the files.

    ``attributes`` are the values for each project and domain of the namespace: usually one, and
    several where the namespace template leaves the project or the domain out. Then all must render
    to the same objects, or each would overwrite the others. Raises `Rejected`.
    """
    declarations = variables.declared(sources)
    defaults = variables.defaults(declarations)
    rendered = {}
    for target, own in attributes.items():
        values = values_of(namespace, target, own, configured, defaults)
        for wrong in variables.wrong_values(declarations, values):
            raise wrong
        rendered[target] = _render_for(target, sources, values)
    (first, manifests), *others = rendered.items()
    for other, manifests_of_other in others:
        if manifests_of_other != manifests:
            raise Conflict(
                f"namespace {namespace} is shared by {first} and {other}, whose manifests differ"
            )
    return manifests


def _render_for(target: Scope, sources: Iterable[Source], values: Values) -> list[Manifest]:
    texts = {name: value.text for name, value in values.items() if not value.problem}
    rendered: dict[ObjectKey, tuple[Manifest, str]] = {}
    for file, text in sources:
        try:
            bodies = list(parsing.parse(file, text).objects(texts))
        except Unresolved as error:
            raise _missing_values(error, target, values) from error
        for body in bodies:
            manifest = manifest_of(file, body, texts["namespace"])
            if manifest.key in rendered:
                _, other = rendered[manifest.key]
                raise BadTemplate(file, f"{manifest} is also an object of {other}")
            rendered[manifest.key] = (manifest, file)
    return [manifest for manifest, _ in rendered.values()]


def _missing_values(error: Unresolved, target: Scope, values: Values) -> BadTemplate:
    """Return the error for placeholders without a value, or for the first whose source is bad."""
    failed = {name: values[name].problem for name in error.lines if name in values}
    for name, problem in failed.items():
        return BadTemplate(error.file, f"{{{{ {name} }}}}: {problem}", error.lines[name])
    missing = [f"{{{{ {name} }}}} (line {line})" for name, line in error.lines.items()]
    near = names.question(next(iter(error.lines)), values) if len(missing) == 1 else ""
    return BadTemplate(
        error.file,
        f"{names.listed(missing)} has no value for {target} in namespace "
        f"{values['namespace'].text}; set it in the attributes of cluster_resource, in customData "
        f"or in templateData{near}",
    )


def manifest_of(file: str, body: dict[str, JsonValue], namespace: str) -> Manifest:
    """Return the manifest of an object of a file. Raises `BadTemplate`."""
    metadata = body.get("metadata", {})
    api_version = _text(file, "apiVersion", body.get("apiVersion"))
    kind = _text(file, "kind", body.get("kind"))
    if kind == "List" or (kind.endswith("List") and "items" in body):
        raise BadTemplate(file, f"{kind} is a list; write its items as documents, with --- between")
    if not isinstance(metadata, dict):
        raise BadTemplate(file, "metadata is not a mapping")
    if "generateName" in metadata:
        raise BadTemplate(file, f"{kind} has metadata.generateName; an object needs a fixed name")
    name = _text(file, "metadata.name", metadata.get("name"))
    manifest = Manifest(api_version.rpartition("/")[0], kind, name, body)
    _check_place(file, manifest, metadata.get("namespace"), namespace)
    return manifest


def _check_place(file: str, manifest: Manifest, found: JsonValue, namespace: str) -> None:
    if found is not None and found != namespace:
        where = shown("metadata.namespace", found)
        raise BadTemplate(file, f"{manifest} is in namespace {where}; allowed: {namespace!r}")
    if manifest.group == "" and manifest.kind == "Namespace" and manifest.name != namespace:
        raise BadTemplate(file, f"{manifest} is another namespace; allowed: {namespace!r}")


def _text(file: str, path: str, value: JsonValue) -> str:
    if value is None or value == "":
        raise BadTemplate(file, f"an object needs {path}")
    if not isinstance(value, str):
        raise BadTemplate(
            file, f"{path} is {shown(path, value)}, which is not text; put it in quotes"
        )
    if len(value) > MAX_NAME:
        raise BadTemplate(
            file, f"{path} is {shown(path, value)}; allowed are at most {MAX_NAME} characters"
        )
    return value
