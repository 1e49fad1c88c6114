"""Formats objects as YAML that kubectl reads back as the same values. Pure."""

import re
from typing import Any

import yaml
from pydantic import JsonValue

from trimtab.errors import Invalid
from trimtab.templates import scalars
from trimtab.templates.manifests import Manifest

_QUOTED = re.compile("[\r\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
"""Other line breaks, and characters that a terminal would obey."""
_SIMPLE = re.compile("[ -~]+")
"""Texts that both dumpers write in the same way."""


def dump(manifest: Manifest) -> bytes:
    """Format a manifest as YAML that go-yaml reads back as the same values.

    Raises `Invalid` where it is nested too deeply.
    """
    try:
        dumper = _FastDumper if _is_simple(manifest.body) else _Dumper
        text: str = yaml.dump(
            manifest.body, Dumper=dumper, sort_keys=False, allow_unicode=True, width=1_000_000
        )
    except RecursionError as error:
        raise Invalid("object", str(manifest), "one that is nested less deeply") from error
    return text.encode()


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


class _FastDumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Uses libyaml where it is there: several times faster, and equal for simple values."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _is_simple(value: JsonValue) -> bool:
    match value:
        case str():
            return _SIMPLE.fullmatch(value) is not None
        case dict():
            return all(_is_simple(key) and _is_simple(item) for key, item in value.items())
        case list():
            return all(map(_is_simple, value))
        case _:
            return True


def _represent_text(dumper: Any, text: str) -> yaml.ScalarNode:
    style = None
    if _QUOTED.search(text):
        style = '"'  # PyYAML writes them unescaped in other styles, and a reader folds them.
    elif "\n" in text:
        style = "|"
    elif scalars.resolve(text) is not text:
        style = "'"  # PyYAML quotes only what it would itself read as another type.
    node: yaml.ScalarNode = dumper.represent_scalar("tag:yaml.org,2002:str", text, style)
    return node


for _class in (_Dumper, _FastDumper):
    _class.add_representer(str, _represent_text)
