"""The text that ``trimtab edit`` opens: the fields of a record, and its inherited values. Pure.

A line behind one ``#`` is a field that is inherited or set nowhere; without the ``#`` it is valid
YAML at its position. ``##`` begins an explanation, and ``#!`` an error of the previous text.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

from trimtab import yaml_texts
from trimtab.api.settings import EffectiveBody
from trimtab.cli.attribute_files import to_yaml
from trimtab.cli.escaping import to_json
from trimtab.errors import Invalid
from trimtab.kinds import Kind
from trimtab.kinds.forms import Field, of_kind
from trimtab.levels import Scope

_ERROR = "#! "
_MAX_COMMENT = 60
"""Characters of a value or help text inside a comment."""


@dataclass(frozen=True)
class InheritedValue:
    """The value that a path has without the record."""

    value: JsonValue
    scope: str


@dataclass(frozen=True)
class EditableRecord:
    """A record with the values that it inherits or overrides."""

    kind: Kind
    scope: Scope
    version: int | None
    """``None`` where no record is stored."""
    document: Mapping[str, Any]
    inherited: Mapping[str, InheritedValue] = field(default_factory=dict)
    """The values of broader scopes by path."""

    def to_text(self) -> str:
        stored = "no record yet" if self.version is None else f"version {self.version}"
        lines = [
            f"## {self.kind.name} of {self.scope}: {stored}.",
            '## A line behind one # is inherited, or set nowhere. Remove "# " to set it here.',
            "## A field that you delete here is inherited again. `unset: [a.b]` means that a.b has",
            "## no value here, or as a map only its keys here, whatever broader scopes set.",
            "",
            *_field_lines(self, of_kind(self.kind), ""),
            *self._unset_lines(),
        ]
        return "\n".join(lines) + "\n"

    def _unset_lines(self) -> Iterator[str]:
        unset = self.document.get("unset", ())
        yield "unset:" if unset else "# unset: []"
        for path in unset:
            overridden = self.inherited.get(path)
            line = to_yaml([path]).rstrip("\n")
            yield line + (f"  # instead of {_value_and_scope(overridden)}" if overridden else "")


def inherited_values(effective: EffectiveBody, scope: Scope) -> dict[str, InheritedValue]:
    """Return the values that would apply to the scope without its own record, by path."""
    inherited = {}
    for leaf in effective.leaves:
        sources = [(leaf.scope, leaf.value), *((one.scope, one.value) for one in leaf.overrode)]
        broader = [InheritedValue(value, at) for at, value in sources if at != str(scope)]
        if broader and broader[0].value is not None:
            inherited[leaf.path] = broader[0]
    return inherited


def prepend_error(text: str, error: str) -> str:
    """Return the text below an error, which replaces an earlier one."""
    lines = "".join(f"{_ERROR}{line}\n" for line in error.splitlines())
    return f"{lines}\n{strip_error(text)}"


def strip_error(text: str) -> str:
    lines = text.splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith(_ERROR)]
    return "".join(kept).lstrip("\n") if len(kept) < len(lines) else text


def parse(kind: Kind, scope: Scope, text: str) -> dict[str, Any]:
    """Return the document that the text contains.

    Raises `Rejected` where it is not YAML, and `Invalid` with the field where a value is wrong.
    """
    contents = [content for content in yaml_texts.parse("the text", text) if content is not None]
    content = contents[0] if contents else {}
    if len(contents) > 1 or not isinstance(content, dict):
        raise Invalid("the text", content, "one mapping with the fields of the kind")
    return kind.to_document(kind.parse(_drop_empty_headings(kind, content), scope))


@dataclass(frozen=True)
class MergedEdit:
    """The result of merging two edits of one record."""

    document: dict[str, Any]
    conflicts: tuple[str, ...]
    """Paths that both edits changed, to different values; the document has mine."""


def merge(
    kind: Kind, base: Mapping[str, Any], mine: Mapping[str, Any], theirs: Mapping[str, Any]
) -> MergedEdit:
    """Merge two edits of the base path by path."""
    before, own, other = (_entries(kind, document) for document in (base, mine, theirs))
    values: dict[str, JsonValue] = {}
    unset: list[str] = []
    conflicts = []
    for path in dict.fromkeys([*other, *own]):
        entry = own.get(path)
        if entry == before.get(path):
            entry = other.get(path)
        elif other.get(path) not in (before.get(path), entry):
            conflicts.append(path)
        if entry == _UNSET:
            unset.append(path)
        elif entry is not None:
            values[path] = entry[0]
    document = kind.schema.nest(values) | ({"unset": unset} if unset else {})
    return MergedEdit(document, tuple(conflicts))


_UNSET: tuple[JsonValue, ...] = ()


def _entries(kind: Kind, document: Mapping[str, Any]) -> dict[str, tuple[JsonValue, ...]]:
    """Return a 1-tuple with the value of each path that is set, and `_UNSET` for an unset path."""
    values = {path: (value,) for path, value in kind.schema.flatten(document).items()}
    return {**values, **dict.fromkeys(document.get("unset", ()), _UNSET)}


def _drop_empty_headings(
    kind: Kind, content: Mapping[str, Any], prefix: str = ""
) -> dict[str, Any]:
    """Drop the headings of groups and maps, and ``unset``, where no entry is left below them."""
    kept = {}
    for name, value in content.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict) and path in kind.schema.groups:
            kept[name] = _drop_empty_headings(kind, value, path + ".")
        elif value is not None or not (path == "unset" or kind.schema.is_branch(path)):
            kept[name] = value
    return kept


def _field_lines(record: EditableRecord, form: Sequence[Field], prefix: str) -> list[str]:
    """Return the lines of one group, without its heading."""
    lines = []
    for description in form:
        name = description.path.removeprefix(prefix)
        levels = description.levels
        is_allowed = not levels or record.scope.level.label in levels
        if description.path.startswith(prefix) and "." not in name and is_allowed:
            lines += _lines_of_field(record, form, description, name)
    return lines


def _lines_of_field(
    record: EditableRecord, form: Sequence[Field], description: Field, name: str
) -> list[str]:
    path = description.path
    match description.input:
        case "group":
            return _with_heading(name, _field_lines(record, form, path + "."))
        case "map":
            keys = [key.removeprefix(path + ".") for key in _known_paths(record, path + ".")]
            entries = [line for key in keys for line in _value_lines(record, f"{path}.{key}", key)]
            if entries:
                return _with_heading(name, entries)
            return [_empty_line(f"{name}: {{}}", description)]
        case _:
            return _value_lines(record, path, name) or [_empty_line(f"{name}:", description)]


def _with_heading(name: str, inner: Sequence[str]) -> list[str]:
    """Return the indented lines below a heading, which is a comment if all of them are."""
    if all(line.startswith("# ") for line in inner):
        inner = [f"  {line.removeprefix('# ')}" for line in inner]
        return [f"# {line}" for line in (f"{name}:", *inner)]
    return [f"{name}:", *(f"  {line}" for line in inner)]


def _known_paths(record: EditableRecord, prefix: str) -> list[str]:
    """Return the paths below the prefix that are set here or inherited."""
    paths = record.kind.schema.flatten(record.document).keys() | record.inherited.keys()
    return sorted(path for path in paths if path.startswith(prefix))


def _value_lines(record: EditableRecord, path: str, name: str) -> list[str]:
    """Return the lines of a leaf or map entry; none where it is neither set nor inherited."""
    own = record.kind.schema.flatten(record.document)
    inherited = record.inherited.get(path)
    if path in own:
        lines = to_yaml({name: own[path]}).splitlines()
        if inherited is None:
            return lines
        is_same = inherited.value == own[path]
        note = (
            f"as in {inherited.scope}" if is_same else f"instead of {_value_and_scope(inherited)}"
        )
        return [f"{lines[0]}  # {note}", *lines[1:]]
    if inherited is None:
        return []
    unset = record.document.get("unset", ())
    is_unset = any(record.kind.schema.covers(whole, path) for whole in unset)
    note = f"of {inherited.scope}" + ", unset below" * is_unset
    first, *others = to_yaml({name: inherited.value}).splitlines()
    return [f"# {line}" for line in (f"{first}  # {note}", *others)]


def _empty_line(line: str, description: Field) -> str:
    return f"# {line}" + (f"  # {_shorten(description.help)}" if description.help else "")


def _value_and_scope(inherited: InheritedValue) -> str:
    return f"{_shorten(to_json(inherited.value))} of {inherited.scope}"


def _shorten(text: str) -> str:
    # YAML allows no unprintable characters in comments either.
    text = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    return text if len(text) <= _MAX_COMMENT else text[: _MAX_COMMENT - 1] + "…"
