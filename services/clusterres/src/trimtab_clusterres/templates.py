"""A template file as a node tree, and its objects with values put inside scalars. Pure.

Each ``{{ name }}`` is replaced by an inert sentinel before the file is parsed, and the sentinels
are replaced inside scalar nodes after it. So a value can never change the structure.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import yaml
from pydantic import JsonValue

from trimtab.errors import Rejected
from trimtab_clusterres import scalars

PLACEHOLDER = re.compile(r"\{\{ (\w[^\s{}]*) \}\}")
"""One blank on each side, as in Flyte; any other text in braces is left as it is."""

_PLAIN = "plain"
"""Tag of a scalar without quotes, whose type follows from its text."""
_TEXT = "tag:yaml.org,2002:str"
_STRUCTURES = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_MERGE = "<<"
_PRIVATE_USE = range(0xE000, 0xF900)


class BadTemplate(Rejected):
    """A template cannot be used as it stands: names the file, the line and what is wrong."""

    def __init__(self, file: str, reason: str, line: int | None = None) -> None:
        place = file if line is None else f"{file} line {line}"
        super().__init__(f"template {place}: {reason}")
        self.file = file


class Unresolved(Rejected):
    """A template names values that nothing sets."""

    def __init__(self, file: str, names: tuple[str, ...]) -> None:
        super().__init__(f"template {file}: no value for {', '.join(names)}")
        self.file = file
        self.names = names


@dataclass(frozen=True)
class Template:
    """A parsed file. Nodes are shared between renders and never changed."""

    file: str
    documents: tuple[yaml.Node, ...]
    names: tuple[str, ...]
    """Of the placeholders; a sentinel holds an index into it."""
    sentinel: re.Pattern[str]

    def objects(self, values: Mapping[str, str]) -> Iterator[dict[str, JsonValue]]:
        """One object per document. Raises `Unresolved` and `BadTemplate`."""
        filling = _Filling(self, values)
        try:
            documents = [filling.mapping(node) for node in self.documents]
        except RecursionError as error:
            raise BadTemplate(self.file, "an alias stands for itself") from error
        if filling.missing:
            raise Unresolved(self.file, tuple(filling.missing))
        return iter(documents)


class _Loader(yaml.SafeLoader):
    def resolve(self, kind: type[yaml.Node], value: str, implicit: tuple[bool, bool]) -> str:
        if kind is yaml.ScalarNode and implicit[0]:
            return _PLAIN
        return str(super().resolve(kind, value, implicit))  # type: ignore[no-untyped-call]


@lru_cache(
    maxsize=256
)  # A start renders each file once per namespace, and parsing is the most of it.
def parse(file: str, text: str) -> Template:
    """Raises `BadTemplate`."""
    # A character that the file does not hold, so that nothing in it can be taken for a sentinel.
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
    except RecursionError as error:
        raise BadTemplate(file, "is nested too deeply") from error
    documents = tuple(node for node in found if not _is_empty(node))
    if not documents:
        raise BadTemplate(file, "holds no object")
    return Template(file, documents, tuple(names), re.compile(f"{mark}([0-9]+){mark}"))


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == _PLAIN and not node.value


class _Filling:
    """One template with one set of values."""

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
                merged = self._merged(value)
                continue
            name = self._key(key)
            if name in own:
                raise self._bad(key, f"the key {key.value!r} stands twice with these values")
            own[name] = self._value(value)
        return merged | own

    def _value(self, node: yaml.Node) -> JsonValue:
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node)
        self._check_tag(node)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item) for item in node.value]
        text = self._filled(node)
        if node.tag == _TEXT:
            return text
        value = scalars.resolve(text)
        if isinstance(value, float) and not math.isfinite(value):
            raise self._bad(node, "a manifest cannot hold an infinite number or NaN")
        return value

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self._bad(
                node, "a key is text; a placeholder is written {{ name }}, one blank on each side"
            )
        return self._filled(node)

    def _merged(self, node: yaml.Node) -> dict[str, JsonValue]:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        merged: dict[str, JsonValue] = {}
        for source in sources:  # Earlier sources win, as YAML says.
            merged = self.mapping(source) | merged
        return merged

    def _filled(self, node: yaml.Node) -> str:
        def value(match: re.Match[str]) -> str:
            name = self._template.names[int(match[1])]
            if name not in self._values:
                self.missing[name] = None
            return self._values.get(name, "")

        return self._template.sentinel.sub(value, node.value)

    def _check_tag(self, node: yaml.Node) -> None:
        if node.tag not in (_PLAIN, _TEXT, *_STRUCTURES):
            raise self._bad(node, f"the tag {node.tag!r} is not understood; only !!str is")

    def _bad(self, node: yaml.Node, reason: str) -> BadTemplate:
        return BadTemplate(self._template.file, reason, node.start_mark.line + 1)
