"""Attribute files in flytectl's format; settings as YAML, as a line of JSON and as a diff.

An attribute file is flat: ``project``, ``domain``, ``workflow``, ``launch_plan``, and next to them
the fields of the kind.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
import yaml

from trimtab import yaml_texts
from trimtab.cli import escaping
from trimtab.cli.commands import Failure
from trimtab.cli.scopes import SCOPE_KEYS, file_scope_parts
from trimtab.cli.terminal import warn
from trimtab.errors import Code, Invalid, Rejected, UnknownField
from trimtab.kinds import Kind, go_json
from trimtab.levels import Scope

F = TypeVar("F", bound=Callable[..., Any])

STDIN = Path("-")
"""Stands for standard input; for standard output where a file is written."""
_NO_FOLDING = 2**31
"""Columns of a line of YAML."""


def attr_file_option(help: str) -> Callable[[F], F]:
    """Add ``--attrFile``; the command receives it as ``file``."""
    return click.option("--attrFile", "file", type=click.Path(path_type=Path), help=help)


@dataclass(frozen=True)
class AttributeFile:
    """The content of an attribute file."""

    name: str
    """The path, or what it is called in messages."""
    scope_parts: Mapping[str, str]
    """The values of those `SCOPE_KEYS` that the file sets."""
    fields: Mapping[str, Any]
    """All other keys, not validated yet."""

    def merge_flags(self, parts: Mapping[str, Any]) -> dict[str, Any]:
        """Return the scope parts of the file; one without a project takes more from the flags.

        As in flytectl, a file with a project names the whole scope. A warning on stderr lists the
        flags that are ignored.
        """
        is_whole = "project" in self.scope_parts
        ignored = [
            f"{name.replace('_', ' ')} {parts[name]!r}"
            for name in SCOPE_KEYS
            if parts.get(name) and (is_whole or name in self.scope_parts)
            if parts[name] != self.scope_parts.get(name)
        ]
        if ignored:
            scope = ", ".join(f"{name} {part}" for name, part in self.scope_parts.items())
            warn(f"{', '.join(ignored)} of the command line is ignored: {self.name} has {scope}")
        unnamed = dict.fromkeys(SCOPE_KEYS, "") if is_whole else {}
        return {**parts, **unnamed, **self.scope_parts}

    def flytectl_document(self, kind: Kind, scope: Scope) -> dict[str, Any]:
        """Return the `document`; the text for an unknown field begins as flytectl's.

        Raises `Failure` there, and `Invalid`.
        """
        try:
            return self.document(kind, scope)
        except UnknownField as error:
            name = error.path.rpartition(".")[2].rpartition(": ")[2]
            go_text = "error unmarshaling JSON: while decoding JSON: json: unknown field"
            raise Failure(f'{go_text} "{name}"\n{error}', Code.INVALID) from error

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
            raise type(error)(f"{self.name}: {error.path}", error.value, allowed) from error
        # The server warns of what the document that it receives still has.
        of_server = kind.warnings(document)
        for warning in kind.warnings(fields):
            if warning not in of_server:
                warn(f"{self.name}: {warning}")
        return document


def read(path: Path, *, domain_wide: bool) -> AttributeFile:
    """Read an attribute file; an empty project beside a domain needs ``domain_wide``.

    Raises `Rejected` where it cannot be read, and `Invalid` where it is not an attribute file.
    """
    name = source_name(path)
    documents = yaml_texts.parse(name, read_text(path))
    if len(documents) > 1:
        warn(f"{name} holds {len(documents)} documents; only the first one is read")
    content = {} if not documents or documents[0] is None else documents[0]
    return of_content(name, content, domain_wide=domain_wide)


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
    return AttributeFile(source, parts, fields)


def source_name(path: Path) -> str:
    return "standard input" if path == STDIN else str(path)


def read_text(path: Path) -> str:
    """Read a text file, or standard input. Raises `Rejected`; the text begins as flytectl's."""
    try:
        return sys.stdin.read() if path == STDIN else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        name = source_name(path)
        text = f"unable to read from {name} yaml file\n{name}: {_reason(error)}"
        raise Rejected(text) from error


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


def to_yaml(data: Any, *, sort_keys: bool = True) -> str:
    """Return YAML that quotes each text which a YAML reader could take for another type."""
    text = yaml.dump(
        data, Dumper=_Dumper, allow_unicode=True, width=_NO_FOLDING, sort_keys=sort_keys
    )
    return escaping.escape_quoted(text)


class _Dumper(yaml.SafeDumper):
    pass


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # Plain scalars cannot hold unprintable characters, such as line separators.
    quoted = not text.isprintable() or _looks_like_another_type(dumper, text)
    style = '"' if quoted else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _looks_like_another_type(dumper: yaml.SafeDumper, text: str) -> bool:
    # PyYAML reads 1e3 and y as text; YAML 1.2 defines a number, and YAML 1.1 a boolean.
    if text in ("y", "Y", "n", "N"):
        return True
    try:
        float(text)
    except ValueError:
        plain = dumper.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
        return bool(plain != "tag:yaml.org,2002:str")
    return True


_Dumper.add_representer(str, _represent_text)
