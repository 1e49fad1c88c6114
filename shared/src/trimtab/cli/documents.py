"""Attribute files in flytectl's format, and settings as YAML and as one line of JSON.

A file is flat: ``project``, ``domain``, ``workflow``, ``launch_plan``, then the kind's own fields.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from trimtab.cli.rendering import progress
from trimtab.errors import Invalid, Rejected
from trimtab.kinds import Kind
from trimtab.levels import Scope

_NO_FOLDING = 2**31
"""Columns."""

PLACES = ("project", "domain", "workflow", "launch_plan")


@dataclass(frozen=True)
class AttributeFile:
    """What a file says: where, and what."""

    path: Path
    places: Mapping[str, str]
    """Those of `PLACES` that are given."""
    fields: Mapping[str, Any]
    """Not yet checked."""

    def joined(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The file's places, and those of the command line that it does not have.

        flytectl ignores its flags beside a file; one that says something else is refused here.
        """
        for name, value in self.places.items():
            if given.get(name) and given[name] != value:
                raise Invalid(name, given[name], f"{value!r}, as {self.path} says, or nothing")
        return {**given, **self.places}

    def document(self, kind: Kind, scope: Scope) -> dict[str, Any]:
        """The fields as they are stored; what is deprecated is told as progress.

        Raises `Invalid`, naming the file and the field.
        """
        try:
            fields = kind.from_file(self.fields)
            for warning in kind.warnings(fields):
                progress(f"warning: {self.path}: {warning}")
            return kind.to_document(kind.parse(fields, scope))
        except Invalid as error:
            allowed = error.allowed
            if isinstance(error.value, bool | int | float) and "string" in allowed:
                allowed = f'text; write it in quotes: "{str(error.value).lower()}"'
            raise Invalid(f"{self.path}: {error.path}", error.value, allowed) from error


def read(path: Path) -> AttributeFile:
    """Raises `Rejected` where it cannot be read, and `Invalid` where it is no attribute file."""
    documents = parsed_yaml(str(path), text_of(path))
    if len(documents) > 1:
        progress(f"warning: {path} holds {len(documents)} documents; only the first one is read")
    content = {} if not documents or documents[0] is None else documents[0]
    if not isinstance(content, dict):
        raise Invalid(str(path), content, "a mapping: project, domain and the fields of the kind")
    places = places_in(str(path), content)
    fields = {str(name): value for name, value in content.items() if name not in PLACES}
    return AttributeFile(path, places, fields)


def text_of(path: Path) -> str:
    """Raises `Rejected`."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Rejected(f"unable to read from {path} yaml file: {_reason(error)}") from error


def parsed_yaml(where: str, text: str) -> list[Any]:
    """Every document of a text. Raises `Rejected`, naming where it stands, and the line."""
    try:
        return list(yaml.load_all(text, _StrictLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise Rejected(f"{where} is not YAML{line}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise Rejected(f"{where} is not YAML: {' '.join(str(error).split())}") from error


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that is given twice, where YAML libraries keep the last one silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _value in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key.value!r} is given twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def places_in(where: str, content: Mapping[str, Any]) -> dict[str, str]:
    """Those of `PLACES` that a document gives. Raises `Invalid`."""
    return {name: _place(where, name, content[name]) for name in PLACES if content.get(name)}


def _place(where: str, name: str, value: object) -> str:
    # A project called 12 needs no quotes, as with flytectl.
    if isinstance(value, str | int) and not isinstance(value, bool):
        return str(value)
    raise Invalid(f"{where}: {name}", value, "a name")


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "it is not UTF-8"


def flat(kind: Kind, scope: Scope, document: Mapping[str, Any]) -> dict[str, Any]:
    """As in a file: the places that are set, then the fields as Flyte's tools write them."""
    places = {name: getattr(scope, name) for name in PLACES if getattr(scope, name)}
    return {**places, **kind.to_file(document)}


def to_json(kind: Kind, scope: Scope, document: Mapping[str, Any]) -> str:
    """flytectl's one line: fields in the order of the kind, map keys sorted, HTML escaped."""
    order = [name for name in kind.value.model_fields if name != "unset"] + ["unset"]
    fields = {name: _sorted_maps(kind, name, document[name]) for name in order if name in document}
    line = json.dumps(flat(kind, scope, fields), separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        line = line.replace(character, f"\\u{ord(character):04x}")
    return line


def _sorted_maps(kind: Kind, path: str, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    names = sorted(value) if path in kind.schema.maps else list(value)
    return {name: _sorted_maps(kind, f"{path}.{name}", value[name]) for name in names}


def to_yaml(data: Any, indent: int = 2, *, sort_keys: bool = True) -> str:
    """Text that another reader could take for a number or a boolean is quoted."""
    dumper = _IndentedDumper if indent > 2 else _Dumper
    return yaml.dump(
        data,
        Dumper=dumper,
        indent=indent,
        allow_unicode=True,
        width=_NO_FOLDING,
        sort_keys=sort_keys,
    )


class _Dumper(yaml.SafeDumper):
    pass


class _IndentedDumper(_Dumper):
    """Items of lists stand further in than their key."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # Plain text may not hold what is no printable character, as a line separator.
    quoted = not text.isprintable() or _looks_different(dumper, text)
    style = '"' if quoted else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _looks_different(dumper: yaml.SafeDumper, text: str) -> bool:
    # PyYAML does not take 1e3 for a number; readers of YAML 1.2 do.
    try:
        float(text)
    except ValueError:
        plain = dumper.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
        return bool(plain != "tag:yaml.org,2002:str")
    return True


_Dumper.add_representer(str, _represent_text)
