"""Attribute files in flytectl's format; settings as YAML, as a line of JSON and as a diff.

An attribute file is flat: ``project``, ``domain``, ``workflow``, ``launch_plan``, and next to them
the fields of the kind.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from trimtab import yaml_texts
from trimtab.cli import escaping
from trimtab.cli.scopes import SCOPE_KEYS, file_scope_parts
from trimtab.cli.terminal import progress
from trimtab.errors import Invalid, Rejected
from trimtab.kinds import Kind, go_json
from trimtab.levels import Scope

_NO_FOLDING = 2**31
"""Columns of a line of YAML."""


@dataclass(frozen=True)
class AttributeFile:
    """The content of an attribute file."""

    path: Path
    scope_parts: Mapping[str, str]
    """The values of those `SCOPE_KEYS` that the file sets."""
    fields: Mapping[str, Any]
    """All other keys, not validated yet."""

    def merge_flags(self, parts: Mapping[str, Any]) -> dict[str, Any]:
        """Return the scope parts of the file, and those of the command line that it does not set.

        flytectl ignores its flags when it reads a file. Here a flag that contradicts the file
        raises `Invalid`.
        """
        for name, value in self.scope_parts.items():
            if parts.get(name) and parts[name] != value:
                allowed = f"{value!r} as in {self.path}, or no flag"
                raise Invalid(name, parts[name], allowed)
        return {**parts, **self.scope_parts}

    def document(self, kind: Kind, scope: Scope) -> dict[str, Any]:
        """Return the fields in their stored form; warn on stderr of what that form has lost.

        Raises `Invalid` with the file and the field.
        """
        try:
            fields = kind.from_file(go_json.read(kind, self.fields))
            document = kind.to_document(kind.parse(fields, scope))
        except Invalid as error:
            allowed = error.allowed
            if isinstance(error.value, bool | int | float) and "string" in allowed:
                allowed = f'text; write it in quotes: "{str(error.value).lower()}"'
            raise Invalid(f"{self.path}: {error.path}", error.value, allowed) from error
        # The server warns of what the document that it receives still has.
        of_server = kind.warnings(document)
        for warning in kind.warnings(fields):
            if warning not in of_server:
                progress(f"warning: {self.path}: {warning}")
        return document


def read(path: Path, *, domain_wide: bool) -> AttributeFile:
    """Read an attribute file; an empty project beside a domain needs ``domain_wide``.

    Raises `Rejected` where it cannot be read, and `Invalid` where it is not an attribute file.
    """
    documents = yaml_texts.parse(str(path), read_text(path))
    if len(documents) > 1:
        progress(f"warning: {path} holds {len(documents)} documents; only the first one is read")
    content = {} if not documents or documents[0] is None else documents[0]
    return of_content(str(path), content, domain_wide=domain_wide)


def of_content(source: str, content: object, *, domain_wide: bool) -> AttributeFile:
    """Return the attribute file that a document is. Raises `Invalid`, which names the source."""
    if not isinstance(content, dict):
        raise Invalid(source, content, "a mapping: project, domain and the fields of the kind")
    scope, fields = dict[str, Any](), dict[str, Any]()
    for key, value in content.items():
        # As in flytectl, the case of letters does not matter.
        if (name := key.lower()) not in SCOPE_KEYS:
            fields[key] = value
        elif name in scope:
            raise Invalid(f"{source}: {name}", key, "one spelling of the key")
        else:
            scope[name] = value
    parts = file_scope_parts(source, scope, domain_wide=domain_wide)
    return AttributeFile(Path(source), parts, fields)


def read_text(path: Path) -> str:
    """Read a text file. Raises `Rejected`."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Rejected(f"unable to read from {path} yaml file: {_reason(error)}") from error


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "it is not UTF-8"


def to_content(kind: Kind, scope: Scope, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of an attribute file: the scope's parts, then the fields as in Flyte."""
    parts = {name: getattr(scope, name) for name in SCOPE_KEYS if getattr(scope, name)}
    return {**parts, **kind.to_file(document)}


def to_json(kind: Kind, scope: Scope, document: Mapping[str, Any]) -> str:
    """Return flytectl's line: fields in the order of the kind, map keys sorted, HTML escaped."""
    order = [name for name in kind.value.model_fields if name != "unset"] + ["unset"]
    fields = {name: _sort_maps(kind, name, document[name]) for name in order if name in document}
    line = escaping.to_json(to_content(kind, scope, fields), separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        line = line.replace(character, f"\\u{ord(character):04x}")
    return line


def _sort_maps(kind: Kind, path: str, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    names = sorted(value) if path in kind.schema.maps else list(value)
    return {name: _sort_maps(kind, f"{path}.{name}", value[name]) for name in names}


def unified_diff(
    kind: Kind, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
) -> str:
    """Return flytectl's diff of two documents as YAML; empty where only the order of keys differs.

    ``None`` stands for no record.
    """
    lines = difflib.unified_diff(
        _diff_lines(kind, before), _diff_lines(kind, after), "before", "after", lineterm=""
    )
    return "\n".join(lines)


def _diff_lines(kind: Kind, document: Mapping[str, Any] | None) -> list[str]:
    if document is None:
        text = "null\n"
    else:
        title = kind.flyte.message if kind.flyte else kind.value.__name__
        text = to_yaml({title: dict(document)}, indent=4)
    # flytectl appends an empty line to each side.
    return [*text.splitlines(), ""]


def to_yaml(data: Any, indent: int = 2, *, sort_keys: bool = True) -> str:
    """Return YAML that quotes each text which a YAML reader could take for another type."""
    dumper = _IndentedDumper if indent > 2 else _Dumper
    text = yaml.dump(
        data,
        Dumper=dumper,
        indent=indent,
        allow_unicode=True,
        width=_NO_FOLDING,
        sort_keys=sort_keys,
    )
    return escaping.escape_quoted(text)


class _Dumper(yaml.SafeDumper):
    pass


class _IndentedDumper(_Dumper):
    """Indents the items of a list further than its key."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # Plain scalars cannot hold unprintable characters, such as line separators.
    quoted = not text.isprintable() or _looks_like_another_type(dumper, text)
    style = '"' if quoted else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _looks_like_another_type(dumper: yaml.SafeDumper, text: str) -> bool:
    # PyYAML reads 1e3 as text; YAML 1.2 defines it as a number.
    try:
        float(text)
    except ValueError:
        plain = dumper.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
        return bool(plain != "tag:yaml.org,2002:str")
    return True


_Dumper.add_representer(str, _represent_text)
