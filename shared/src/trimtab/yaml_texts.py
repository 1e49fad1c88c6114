"""YAML that people write, read strictly: one reader for files of every purpose. Pure.

The values are those that JSON has, and the keys of a mapping are text, as they are written. What is
ambiguous is refused, and no text costs more than its length.
"""

import math
import re
from collections.abc import Callable
from typing import Any, Final

import yaml
from yaml.reader import ReaderError

from trimtab.errors import Rejected

MAX_DEPTH: Final = 100
"""Levels of nesting; many more would exceed Python's stack."""
MAX_ALIASED: Final = 10_000
"""Values that the aliases of one document may stand for: aliases of aliases grow as powers do."""
_MAX_DIGITS: Final = 1000
"""More digits than any meaningful number has; Python refuses to parse more than 4300."""
_MAX_PROBLEM: Final = 200
"""Characters of the description of a problem, which quotes the text."""

_TAG: Final = "tag:yaml.org,2002:"
_Mark = Any  # PyYAML has a class of marks for each of its two parsers.


class YamlError(Rejected):
    """A text is not YAML, or YAML that is not accepted; names source, line and column."""

    def __init__(self, source: str, text: str, error: yaml.YAMLError) -> None:
        line, column = _position(text, error)
        if isinstance(error, _Refused):
            where = f"{source}, line {line}, column {column}"
        else:
            where = f"{source} is not YAML in line {line}, column {column}"
        super().__init__(f"{where}: {_problem(error)}")


def parse(source: str, text: str) -> list[Any]:
    """Return every document of a text; ``source`` names it in errors. Raises `YamlError`."""
    try:
        return list(yaml.load_all(text, _Loader))
    except yaml.YAMLError as error:
        raise YamlError(source, text, error) from error


def parse_one(source: str, text: str) -> Any:
    """Return the only document, ``None`` for an empty text. Raises `Rejected`."""
    documents = parse(source, text)
    if len(documents) > 1:
        raise Rejected(f"{source} holds {len(documents)} documents; only one is allowed")
    return documents[0] if documents else None


class _Refused(yaml.MarkedYAMLError):
    """The text is YAML, but is not accepted."""

    def __init__(self, problem: str, mark: _Mark) -> None:
        super().__init__(problem=problem, problem_mark=mark)


class LimitedLoader(yaml.SafeLoader):
    """Limits how deep nodes are nested, and how many values aliases stand for."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._sizes: list[tuple[int, int]] = []
        """The nodes and the levels of each node that is being composed, outermost first."""
        self._anchored: dict[yaml.Node, tuple[int, int]] = {}
        """The nodes and the levels of each node that aliases can refer to."""
        self._aliased = 0
        """The nodes that the aliases of the document stand for."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: yaml.NodeEvent = self.peek_event()  # type: ignore[no-untyped-call]
        if not self._sizes:
            self._aliased = 0
        self._check_depth(1, event.start_mark)
        self._sizes.append((1, 1))
        node = super().compose_node(parent, index)
        nodes, levels = self._sizes.pop()
        if isinstance(event, yaml.AliasEvent):
            nodes, levels = self._size_of_alias(node, event.start_mark)
        elif node is not None and event.anchor is not None:
            self._anchored[node] = (nodes, levels)
        if self._sizes:
            outer_nodes, outer_levels = self._sizes[-1]
            self._sizes[-1] = (outer_nodes + nodes, max(outer_levels, levels + 1))
        return node

    def _size_of_alias(self, node: yaml.Node | None, mark: _Mark) -> tuple[int, int]:
        if node is None or node not in self._anchored:
            raise _Refused("an alias contains itself", mark)
        nodes, levels = self._anchored[node]
        self._check_depth(levels, mark)
        self._aliased += nodes
        if self._aliased > MAX_ALIASED:
            problem = f"the aliases of a document may stand for at most {MAX_ALIASED:,} values"
            raise _Refused(problem, mark)
        return nodes, levels

    def _check_depth(self, levels: int, mark: _Mark) -> None:
        if len(self._sizes) + levels > MAX_DEPTH:
            raise _Refused(f"values are nested more than {MAX_DEPTH} levels deep", mark)


class _Loader(LimitedLoader):
    """Constructs values of JSON."""

    # Not those of YAML 1.1, for which 1:30 is 90 and 2024-01-01 a date: they are text.
    yaml_implicit_resolvers = {}
    yaml_constructors = {}

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        entries = [(_text_key(key), value) for key, value in node.value]
        seen = set()
        for key, _value in entries:
            text = _with_pairs(key.value, "replace")
            if text in seen:
                raise _Refused(f"the key {key.value!r} is given twice", key.start_mark)
            seen.add(text)
        node.value = entries
        return node


class Dumper(yaml.SafeDumper):
    """Quotes the texts that the reader would take for numbers, such as 1e3."""


def _text_key(key: yaml.Node) -> yaml.Node:
    """Return a key as text."""
    if not isinstance(key, yaml.ScalarNode):
        raise _Refused("a key is text, not a list or a mapping", key.start_mark)
    if key.tag == f"{_TAG}merge" or not key.tag.startswith(_TAG):
        return key
    return yaml.ScalarNode(f"{_TAG}str", key.value, key.start_mark, key.end_mark)


def _parse_text(loader: _Loader, node: yaml.ScalarNode) -> str:
    return _with_pairs(str(loader.construct_scalar(node)), "strict")


def _with_pairs(text: str, errors: str) -> str:
    # In JSON, a character outside of the basic plane is written as a pair of escapes.
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", errors)


def _parse_int(loader: _Loader, node: yaml.ScalarNode) -> int:
    if len(node.value) > _MAX_DIGITS:
        raise ValueError
    return int(loader.construct_yaml_int(node))


def _parse_float(loader: _Loader, node: yaml.ScalarNode) -> float:
    number = float(loader.construct_yaml_float(node))
    if not math.isfinite(number):
        raise ValueError
    return number


def _strict(
    parse: Callable[[_Loader, yaml.ScalarNode], object],
) -> Callable[[_Loader, yaml.ScalarNode], object]:
    """Return a constructor of scalars that refuses what the other one cannot parse."""

    def construct(loader: _Loader, node: yaml.ScalarNode) -> object:
        try:
            return parse(loader, node)
        except (ValueError, KeyError) as error:
            what = node.tag.removeprefix(_TAG)
            problem = f"{node.value[:40]!r} is no {what} that can be stored"
            raise _Refused(problem, node.start_mark) from error

    return construct


_BOOL = "yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF"
_INT = "[-+]?(0b[0-1_]+|0x[0-9a-fA-F_]+|0[0-7_]+|0|[1-9][0-9_]*)"
_FLOAT = (
    r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
for _name, _pattern, _first in (
    ("bool", _BOOL, "yYnNtTfFoO"),
    ("int", _INT, "-+0123456789"),
    ("float", _FLOAT, "-+0123456789."),
    ("merge", "<<", "<"),
    ("null", "~|null|Null|NULL|", ("~", "n", "N", "")),
):
    for _class in (_Loader, Dumper):
        _class.add_implicit_resolver(_TAG + _name, re.compile(f"^({_pattern})$"), list(_first))
for _name, _construct in {
    "null": _Loader.construct_yaml_null,
    "bool": _strict(_Loader.construct_yaml_bool),
    "int": _strict(_parse_int),
    "float": _strict(_parse_float),
    "str": _strict(_parse_text),
    "seq": _Loader.construct_yaml_seq,
    "map": _Loader.construct_yaml_map,
    "": _Loader.construct_undefined,
}.items():
    _Loader.add_constructor(_TAG + _name if _name else None, _construct)


def _position(text: str, error: yaml.YAMLError) -> tuple[int, int]:
    """Return line and column, counted from 1."""
    match error:
        case yaml.MarkedYAMLError(problem_mark=yaml.Mark() as mark):
            return mark.line + 1, mark.column + 1
        case ReaderError(position=int() as position):
            line_start = text.rfind("\n", 0, position) + 1
            return text.count("\n", 0, position) + 1, position - line_start + 1
        case _:
            return 1, 1


def _problem(error: yaml.YAMLError) -> str:
    if isinstance(error, ReaderError):
        return f"the character {chr(error.character)!r} is not allowed"
    problem = error.problem if isinstance(error, yaml.MarkedYAMLError) else str(error)
    text = " ".join(str(problem).split())
    return text if len(text) <= _MAX_PROBLEM else f"{text[:_MAX_PROBLEM]}…"
