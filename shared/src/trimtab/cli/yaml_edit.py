"""Changes of one value in a YAML text, which keep its comments. Pure."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from trimtab import yaml_texts
from trimtab.yaml_texts import YamlError


def with_value(text: str, path: Sequence[str], value: object) -> str:
    """Return the text of a mapping in which the keys of the path lead to another value.

    Comments are kept, except within the old value and in a style that cannot be extended. Raises
    `YamlError`.
    """
    expected = _with(yaml_texts.parse_one("", text) or {}, path, value)
    edited = _edited(text, yaml.compose(text), path, expected)
    try:
        is_right = yaml_texts.parse_one("", edited) == expected
    except YamlError:
        is_right = False
    return edited if is_right else _dump(expected)


def _with(content: Mapping[str, Any], path: Sequence[str], value: object) -> dict[str, Any]:
    key, *rest = path
    return {**content, key: _with(content.get(key) or {}, rest, value) if rest else value}


def _edited(text: str, node: Any, path: Sequence[str], expected: Mapping[str, Any]) -> str:
    """Replace the entry that the path leads to, or add it after the others."""
    if node is None or not node.value:
        return text + "\n" * (text[-1:] not in ("", "\n")) + _dump(expected)
    first, *rest = path
    column = node.value[0][0].start_mark.column
    entry = textwrap.indent(_dump({first: expected[first]}), " " * column).strip()
    for key, value in node.value:
        if key.value != first:
            continue
        if rest and _is_block(value):
            return _edited(text, value, rest, expected[first])
        return text[: key.start_mark.index] + entry + text[_end(value) :]
    end = text.find("\n", _end(node))
    end = len(text) if end < 0 else end
    return f"{text[:end]}\n{' ' * column}{entry}{text[end:] or chr(10)}"


def _is_block(node: Any) -> bool:
    return isinstance(node, yaml.MappingNode) and bool(node.value) and not node.flow_style


def _end(node: Any) -> int:
    """Return where the last value of a node ends; a block would end behind its comments."""
    if _is_block(node):
        return _end(node.value[-1][1])
    index: int = node.end_mark.index
    return index


def _dump(content: object) -> str:
    text: str = yaml.dump(content, Dumper=yaml_texts.Dumper, sort_keys=False, allow_unicode=True)
    return text
