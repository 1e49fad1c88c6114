"""Parses a template file, and fills in values inside its scalars. Pure.

Each ``{{ name }}`` is replaced by an inert sentinel before the file is parsed. Afterwards the
sentinels are replaced by values inside scalar nodes, so a value can never change the structure.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import yaml
from pydantic import JsonValue

from trimtab import yaml_texts
from trimtab.echoes import cut
from trimtab.errors import Rejected
from trimtab.kinds.cluster_resource import PLACEHOLDER_NAME
from trimtab.templates import scalars

PLACEHOLDER = re.compile(rf"\{{\{{ ({PLACEHOLDER_NAME}) \}}\}}")
"""One blank on each side, as in Flyte; any other text in braces is not a placeholder."""
BLANKS = " \t\r\n"
"""YAML ignores them around a scalar without quotes, and so around a value in its place."""

MAX_NODES = 200_000
"""Scalars, lists and mappings of a file; PyYAML composes so many in some seconds."""
MAX_VALUES = 500_000
"""Scalars, lists and mappings of the objects of a file, of which aliases make more than nodes."""
MAX_CHARACTERS = 16 * 1024 * 1024
"""Characters of the objects of a file, of which aliases and placeholders make more than it has."""
_MAX_REASON = 500

_PLAIN = "plain"
"""The tag of a scalar without quotes, whose type follows from its text."""
_TEXT = "tag:yaml.org,2002:str"
_STRUCTURES = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_MERGE = "<<"
_IDENTITY = ("apiVersion", "kind")
_PRIVATE_USE = range(0xE000, 0xF900)


class BadTemplate(Rejected):
    """A template is wrong; the message names the file, the line and the reason."""

    def __init__(self, file: str, reason: str, line: int | None = None) -> None:
        where = file if line is None else f"{file} line {line}"
        super().__init__(f"template {where}: {cut(reason, _MAX_REASON)}")
        self.file = file
        self.reason = reason
        self.line = line


class Unresolved(BadTemplate):
    """A template has placeholders without a value."""

    def __init__(self, file: str, lines: Mapping[str, int]) -> None:
        super().__init__(file, f"no value for {', '.join(lines)}")
        self.lines = lines
        """The line of the first use of each placeholder, by its name."""


@dataclass(frozen=True)
class Template:
    """A parsed file. Renders share its nodes, which never change."""

    file: str
    documents: tuple[yaml.Node, ...]
    placeholders: "_Placeholders"

    def objects(self, values: Mapping[str, str]) -> Iterator[dict[str, JsonValue]]:
        """Return one object per document. Raises `Unresolved` and `BadTemplate`."""
        filling = _Filling(self, values)
        documents = [filling.mapping(node) for node in self.documents]
        if filling.missing:
            raise Unresolved(self.file, filling.missing)
        return iter(documents)

    def split(self) -> list["Template"]:
        """Return a template for each document."""
        return [replace(self, documents=(document,)) for document in self.documents]

    @property
    def kinds(self) -> frozenset[tuple[str, str]]:
        """``apiVersion`` and ``kind`` of the objects, as far as they have both."""
        found = set()
        for node in self.documents:
            scalars_of = {
                key.value: value.value
                for key, value in _entries(node)
                if isinstance(key, yaml.ScalarNode) and isinstance(value, yaml.ScalarNode)
            }
            found.add(tuple(scalars_of.get(key, "") for key in _IDENTITY))
        return frozenset((version, kind) for version, kind in found if version and kind)

    @property
    def names(self) -> frozenset[str]:
        """Names of the placeholders, also of those in comments."""
        return frozenset(self.placeholders.names)


class _Placeholders:
    """Puts a sentinel in place of each placeholder of a text."""

    def __init__(self, text: str, mark: str) -> None:
        """``mark`` is not in the text, so that nothing in it can be mistaken for a sentinel."""
        self.names: list[str] = []
        self.sentinel = re.compile(f"{mark}([0-9]+){mark}")
        self.inert = PLACEHOLDER.sub(lambda match: self._add(mark, match[1]), text)
        shown = f"(?:{mark}|{re.escape(ascii(mark)[1:-1])})"  # as it is, and as repr() shows it
        self._shown = re.compile(f"{shown}(?:([0-9]+){shown})?")

    def _add(self, mark: str, name: str) -> str:
        self.names.append(name)
        return f"{mark}{len(self.names) - 1}{mark}"

    def readable(self, text: str) -> str:
        """Return a text of the parser with the placeholders in place of their sentinels."""

        def placeholder(match: re.Match[str]) -> str:
            return f"{{{{ {self.names[int(match[1])]} }}}}" if match[1] else "{{"

        return self._shown.sub(placeholder, text)


class _Loader(yaml_texts.LimitedLoader):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node | None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise yaml.YAMLError(f"it has more than {MAX_NODES:,} values")
        return super().compose_node(parent, index)

    def scan_to_next_token(self) -> None:
        """Skip tabs where go-yaml skips them too: after a token, and not at the start of a line."""
        super().scan_to_next_token()
        while self.peek() == "\t" and (self.flow_level or not self.allow_simple_key):
            self.forward()
            super().scan_to_next_token()

    def resolve(self, kind: type[yaml.Node], value: str, implicit: tuple[bool, bool]) -> str:
        if kind is yaml.ScalarNode and implicit[0]:
            return _PLAIN
        return str(super().resolve(kind, value, implicit))  # type: ignore[no-untyped-call]


def parse(file: str, text: str) -> Template:
    """Parse a template. Raises `BadTemplate`."""
    found = _parse_once(file, text)
    if isinstance(found, BadTemplate):
        raise BadTemplate(found.file, found.reason, found.line)
    return found


# Cached, because a start renders each file once per namespace, and most of the time is parsing.
@lru_cache(maxsize=1000)
def _parse_once(file: str, text: str) -> Template | BadTemplate:
    mark = next((char for char in map(chr, _PRIVATE_USE) if char not in text), None)
    if mark is None:
        return BadTemplate(file, "contains every character of private use")
    placeholders = _Placeholders(text, mark)
    try:
        found = list(yaml.compose_all(placeholders.inert, Loader=_Loader))
        documents = tuple(node for node in found if not _is_empty(node))
        if not documents:
            raise BadTemplate(file, "contains no object")
        template = Template(file, documents, placeholders)
        for node in documents:
            _check_identity(template, node)
        return template
    except yaml.MarkedYAMLError as error:
        line = None if error.problem_mark is None else error.problem_mark.line + 1
        problem = placeholders.readable(str(error.problem))
        return BadTemplate(file, f"not YAML: {problem}", line)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        problem = placeholders.readable(" ".join(str(error).split()))
        return BadTemplate(file, f"not YAML: {problem}")
    except BadTemplate as error:
        return BadTemplate(file, error.reason, error.line)  # without its traceback


def _check_identity(template: Template, document: yaml.Node) -> None:
    """Raise `BadTemplate` where a value could decide what type of object a document is."""
    for key, value in _entries(document):
        if not (isinstance(key, yaml.ScalarNode) and isinstance(value, yaml.ScalarNode)):
            continue
        if key.value in _IDENTITY and template.placeholders.sentinel.search(value.value):
            raise _bad(template, value, f"{key.value} cannot contain a placeholder")


def _entries(node: yaml.Node) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    """Yield the entries of a mapping, and those that are merged into it."""
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        if key.tag == _PLAIN and key.value == _MERGE:
            for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                yield from _entries(source)
        else:
            yield key, value


def _bad(template: Template, node: yaml.Node, reason: str) -> BadTemplate:
    return BadTemplate(
        template.file, template.placeholders.readable(reason), node.start_mark.line + 1
    )


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == _PLAIN and not node.value


class _Filling:
    """Fills one template with one set of values."""

    def __init__(self, template: Template, values: Mapping[str, str]) -> None:
        self.missing: dict[str, int] = {}
        """The line of the first use of each placeholder without a value."""
        self._template = template
        self._values = values
        self._count = 0
        self._characters = 0

    def mapping(self, node: yaml.Node) -> dict[str, JsonValue]:
        self._count_value(node)
        if not isinstance(node, yaml.MappingNode):
            raise self._bad(node, "an object is a mapping with apiVersion, kind and metadata")
        self._check_tag(node)
        merged: dict[str, JsonValue] = {}
        own: dict[str, JsonValue] = {}
        for key, value in node.value:
            if key.tag == _PLAIN and key.value == _MERGE:
                merged = self._merge(value)
                continue
            name = self._key(key)
            if name in own:
                raise self._bad(key, f"the key {key.value!r} occurs twice with these values")
            own[name] = self._value(value)
        return merged | own

    def _value(self, node: yaml.Node) -> JsonValue:
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node)
        self._count_value(node)
        self._check_tag(node)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item) for item in node.value]
        assert isinstance(node, yaml.ScalarNode)
        text = self._fill(node)
        if node.tag == _TEXT:
            return text
        value = scalars.resolve(text)
        if isinstance(value, float) and not math.isfinite(value):
            raise self._bad(node, "a manifest cannot contain an infinite number or NaN")
        return value

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self._bad(
                node, "a key is text; a placeholder is written {{ name }}, one blank on each side"
            )
        text = self._fill(node)
        if text in _IDENTITY and text != node.value:
            raise self._bad(node, f"a placeholder cannot make the key {text!r}")
        return text

    def _merge(self, node: yaml.Node) -> dict[str, JsonValue]:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        merged: dict[str, JsonValue] = {}
        for source in sources:  # Earlier sources win, as YAML defines.
            merged = self.mapping(source) | merged
        return merged

    def _fill(self, node: yaml.ScalarNode) -> str:
        """Return the text of a scalar; without quotes it has no blanks around it, as in YAML."""
        names = self._template.placeholders.names

        def value(match: re.Match[str]) -> str:
            name = names[int(match[1])]
            if name not in self._values:
                self.missing.setdefault(name, node.start_mark.line + 1)
            text = self._values.get(name, "")
            self._count_characters(node, len(text))
            return text

        self._count_characters(node, len(node.value))
        text = self._template.placeholders.sentinel.sub(value, node.value)
        return text.strip(BLANKS) if node.style is None else text

    def _count_value(self, node: yaml.Node) -> None:
        self._count += 1
        if self._count > MAX_VALUES:
            raise self._bad(node, f"the objects of a file have at most {MAX_VALUES:,} values")

    def _count_characters(self, node: yaml.Node, number: int) -> None:
        self._characters += number
        if self._characters > MAX_CHARACTERS:
            reason = f"the objects of a file have at most {MAX_CHARACTERS:,} characters"
            raise self._bad(node, reason)

    def _check_tag(self, node: yaml.Node) -> None:
        if node.tag not in (_PLAIN, _TEXT, *_STRUCTURES):
            raise self._bad(node, f"the tag {node.tag!r} is not supported; allowed: !!str")

    def _bad(self, node: yaml.Node, reason: str) -> BadTemplate:
        return _bad(self._template, node, reason)
