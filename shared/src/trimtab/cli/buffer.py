"""The text that ``trimtab edit`` opens: what a record says, and around it what it does not. Pure.

One ``#`` is a setting that is inherited, or set nowhere: without it the line is valid where it
stands. Two are prose. ``#!`` is what was wrong with the text before.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

from trimtab.api.effective import EffectiveBody
from trimtab.cli.documents import parsed_yaml, to_yaml
from trimtab.errors import Invalid
from trimtab.kinds import Kind
from trimtab.kinds.forms import Field, of_kind
from trimtab.levels import Scope

_ERROR = "#! "
_LONGEST = 60
"""Of a value inside a comment."""


@dataclass(frozen=True)
class Inherited:
    """What a path would be without the record."""

    value: JsonValue
    scope: str


@dataclass(frozen=True)
class Page:
    """What is shown of one record."""

    kind: Kind
    scope: Scope
    version: int | None
    document: Mapping[str, Any]
    above: Mapping[str, Inherited] = field(default_factory=dict)
    """By path, what broader scopes give."""

    def text(self) -> str:
        what = "nothing yet" if self.version is None else f"version {self.version}"
        lines = [
            f"## {self.kind.name} of {self.scope}: what is stored here, {what}.",
            '## Behind one # stands what is inherited, or set nowhere: take "# " away to set it',
            "## here. What is taken away from here inherits again; `unset: [a.b]` says that a.b",
            "## has no value here, whatever broader scopes say.",
            "",
            *_fields(self, of_kind(self.kind), ""),
            *self._unset(),
        ]
        return "\n".join(lines) + "\n"

    def _unset(self) -> Iterator[str]:
        unset = self.document.get("unset", ())
        yield "unset:" if unset else "# unset: []"
        for path in unset:
            gone = self.above.get(path)
            line = to_yaml([path]).rstrip("\n")
            yield line + (f"  # instead of {_of(gone)}" if gone else "")


def above(effective: EffectiveBody, scope: Scope) -> dict[str, Inherited]:
    """What would apply to the scope if nothing were stored there."""
    inherited = {}
    for leaf in effective.leaves:
        said = [(leaf.scope, leaf.value), *((one.scope, one.value) for one in leaf.overrode)]
        broader = [Inherited(value, at) for at, value in said if at != str(scope)]
        if broader and broader[0].value is not None:
            inherited[leaf.path] = broader[0]
    return inherited


def with_error(text: str, error: str) -> str:
    """The text below what is wrong with it, instead of what was wrong before."""
    told = "".join(f"{_ERROR}{line}\n" for line in error.splitlines())
    return f"{told}\n{without_error(text)}"


def without_error(text: str) -> str:
    lines = text.splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith(_ERROR)]
    return "".join(kept).lstrip("\n") if len(kept) < len(lines) else text


def parse(kind: Kind, scope: Scope, text: str) -> dict[str, Any]:
    """The document that the text stands for.

    Raises `Rejected` where it is no YAML, and `Invalid`, naming the field.
    """
    contents = [content for content in parsed_yaml("this", text) if content is not None]
    content = contents[0] if contents else {}
    if len(contents) > 1 or not isinstance(content, dict):
        raise Invalid("this", content, "one mapping with the fields of the kind")
    return kind.to_document(kind.parse(_without_bare(kind, content), scope))


@dataclass(frozen=True)
class Merged:
    """Two edits of one record in one."""

    document: dict[str, Any]
    conflicts: tuple[str, ...]
    """Paths that both changed, each in its own way; the document has mine."""


def merge(
    kind: Kind, base: Mapping[str, Any], mine: Mapping[str, Any], theirs: Mapping[str, Any]
) -> Merged:
    """What both made of the base, path by path."""
    before, own, other = (_said(kind, document) for document in (base, mine, theirs))
    values: dict[str, JsonValue] = {}
    unset: list[str] = []
    conflicts = []
    for path in dict.fromkeys([*other, *own]):
        said = own.get(path)
        if said == before.get(path):
            said = other.get(path)
        elif other.get(path) not in (before.get(path), said):
            conflicts.append(path)
        if said == _UNSET:
            unset.append(path)
        elif said is not None:
            values[path] = said[0]
    document = kind.schema.nest(values) | ({"unset": unset} if unset else {})
    return Merged(document, tuple(conflicts))


_UNSET: tuple[JsonValue, ...] = ()


def _said(kind: Kind, document: Mapping[str, Any]) -> dict[str, tuple[JsonValue, ...]]:
    """What a document says of each path that it speaks of: its value, or that it has none."""
    values = {path: (value,) for path, value in kind.schema.flatten(document).items()}
    return {**values, **dict.fromkeys(document.get("unset", ()), _UNSET)}


def _without_bare(kind: Kind, content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Without headings of groups and maps below which nothing is left."""
    kept = {}
    for name, value in content.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict) and path in kind.schema.groups:
            kept[name] = _without_bare(kind, value, path + ".")
        elif value is not None or not (path == "unset" or kind.schema.is_container(path)):
            kept[name] = value
    return kept


def _fields(page: Page, form: Sequence[Field], prefix: str) -> list[str]:
    """Of one group, its heading left out."""
    lines = []
    for described in form:
        name = described.path.removeprefix(prefix)
        here = not described.levels or page.scope.level.label in described.levels
        if described.path.startswith(prefix) and "." not in name and here:
            lines += _field(page, form, described, name)
    return lines


def _field(page: Page, form: Sequence[Field], described: Field, name: str) -> list[str]:
    path = described.path
    match described.input:
        case "group":
            return _under(name, _fields(page, form, path + "."))
        case "map":
            keys = [key.removeprefix(path + ".") for key in _known(page, path + ".")]
            entries = [line for key in keys for line in _value(page, f"{path}.{key}", key)]
            return _under(name, entries) if entries else [_empty(f"{name}: {{}}", described)]
        case _:
            return _value(page, path, name) or [_empty(f"{name}:", described)]


def _under(name: str, inner: Sequence[str]) -> list[str]:
    """The lines below their heading, which is a comment where all of them are."""
    if all(line.startswith("# ") for line in inner):
        inner = [f"  {line.removeprefix('# ')}" for line in inner]
        return [f"# {line}" for line in (f"{name}:", *inner)]
    return [f"{name}:", *(f"  {line}" for line in inner)]


def _known(page: Page, prefix: str) -> list[str]:
    paths = page.kind.schema.flatten(page.document).keys() | page.above.keys()
    return sorted(path for path in paths if path.startswith(prefix))


def _value(page: Page, path: str, name: str) -> list[str]:
    """The lines of one leaf or map entry; none where nobody gives it."""
    own, inherited = page.kind.schema.flatten(page.document), page.above.get(path)
    if path in own:
        lines = to_yaml({name: own[path]}).splitlines()
        if inherited is None:
            return lines
        same = inherited.value == own[path]
        note = f"as in {inherited.scope}" if same else f"instead of {_of(inherited)}"
        return [f"{lines[0]}  # {note}", *lines[1:]]
    if inherited is None:
        return []
    unset = page.document.get("unset", ())
    gone = any(page.kind.schema.covers(whole, path) for whole in unset)
    note = f"of {inherited.scope}" + ", unset below" * gone
    first, *others = to_yaml({name: inherited.value}).splitlines()
    return [f"# {line}" for line in (f"{first}  # {note}", *others)]


def _empty(line: str, described: Field) -> str:
    return f"# {line}" + (f"  # {_cut(described.help)}" if described.help else "")


def _of(inherited: Inherited) -> str:
    return f"{_cut(json.dumps(inherited.value, ensure_ascii=False))} of {inherited.scope}"


def _cut(text: str) -> str:
    # What YAML does not take in a comment either.
    text = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
