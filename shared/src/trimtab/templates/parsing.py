"""Parses a template file, and fills in values inside its scalars. Pure.

Each ``{{ name }}`` is replaced by an inert sentinel before the file is parsed. Afterwards the
sentinels are replaced by values inside scalar nodes, so a value can never change the structure.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import yaml
from pydantic import JsonValue

from trimtab import yaml_texts
from trimtab.errors import Rejected
from trimtab.templates import scalars

PLACEHOLDER = re.compile(r"\{\{ (\w[^\s{}]*) \}\}")
"""One blank on each side, as in Flyte; any other text in braces is not a placeholder."""

_PLAIN = "plain"
"""The tag of a scalar without quotes, whose type follows from its text."""
_TEXT = "tag:yaml.org,2002:str"
_STRUCTURES = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_MERGE = "<<"
_PRIVATE_USE = range(0xE000, 0xF900)


class BadTemplate(Rejected):
    """A template is wrong; the message names the file, the line and the reason."""

    def __init__(self, file: str, reason: str, line: int | None = None) -> None:
        where = file if line is None else f"{file} line {line}"
        super().__init__(f"template {where}: {reason}")
        self.file = file


class Unresolved(Rejected):
    """A template has placeholders without a value."""

    def __init__(self, file: str, names: tuple[str, ...]) -> None:
        super().__init__(f"template {file}: no value for {', '.join(names)}")
        self.file = file
        self.names = names


@dataclass(frozen=True)
class Template:
    """A parsed file. Renders share its nodes, which never change."""

    file: str
    documents: tuple[yaml.Node, ...]
    names: tuple[str, ...]
    """Names of the placeholders; a sentinel holds an index into them."""
    sentinel: re.Pattern[str]

    def objects(self, values: Mapping[str, str]) -> Iterator[dict[str, JsonValue]]:
        """Return one object per document. Raises `Unresolved` and `BadTemplate`."""
        filling = _Filling(self, values)
        documents = [filling.mapping(node) for node in self.documents]
        if filling.missing:
            raise Unresolved(self.file, tuple(filling.missing))
        return iter(documents)


class _Loader(yaml_texts.LimitedLoader):
    def resolve(self, kind: type[yaml.Node], value: str, implicit: tuple[bool, bool]) -> str:
        if kind is yaml.ScalarNode and implicit[0]:
            return _PLAIN
        return str(super().resolve(kind, value, implicit))  # type: ignore[no-untyped-call]


# Cached, because a start renders each file once per namespace, and most of the time is parsing.
@lru_cache(maxsize=256)
def parse(file: str, text: str) -> Template:
    """Parse a template. Raises `BadTemplate`."""
    # A character that is not in the file, so that nothing in it can be mistaken for a sentinel.
    mark = next(char for char in map(chr, _PRIVATE_USE) if char not in text)
    names: list[str] = []

    def sentinel(match: re.Match[str]) -> str:
        names.append(match[1])
        return f"{mark}{len(names) - 1}{mark}"

    inert = PLACEHOLDER.sub(sentinel, text)
    try:
        found = list(yaml.compose_all(inert, Loader=_Loader))
    except yaml.MarkedYAMLError as error:
        line = None if error.problem_mark is None else error.problem_mark.line + 1
        raise BadTemplate(file, f"not YAML: {error.problem}", line) from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise BadTemplate(file, f"not YAML: {' '.join(str(error).split())}") from error
    documents = tuple(node for node in found if not _is_empty(node))
    if not documents:
        raise BadTemplate(file, "contains no object")
    return Template(file, documents, tuple(names), re.compile(f"{mark}([0-9]+){mark}"))


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == _PLAIN and not node.value


class _Filling:
    """Fills one template with one set of values."""

    def __init__(self, template: Template, values: Mapping[str, str]) -> None:
        self.missing: dict[str, None] = {}
        self._template = template
        self._values = values

    def mapping(self, node: yaml.Node) -> dict[str, JsonValue]:
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
        self._check_tag(node)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item) for item in node.value]
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
        return self._fill(node)

    def _merge(self, node: yaml.Node) -> dict[str, JsonValue]:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        merged: dict[str, JsonValue] = {}
        for source in sources:  # Earlier sources win, as YAML defines.
            merged = self.mapping(source) | merged
        return merged

    def _fill(self, node: yaml.Node) -> str:
        def value(match: re.Match[str]) -> str:
            name = self._template.names[int(match[1])]
            if name not in self._values:
                self.missing[name] = None
            return self._values.get(name, "")

        return self._template.sentinel.sub(value, node.value)

    def _check_tag(self, node: yaml.Node) -> None:
        if node.tag not in (_PLAIN, _TEXT, *_STRUCTURES):
            raise self._bad(node, f"the tag {node.tag!r} is not supported; allowed: !!str")

    def _bad(self, node: yaml.Node, reason: str) -> BadTemplate:
        return BadTemplate(self._template.file, reason, node.start_mark.line + 1)
