"""The reference of all kinds as Markdown, made from their registrations. Pure."""

import sys
from collections.abc import Iterable, Iterator

from trimtab.kinds import forms
from trimtab.kinds.kind import Kind
from trimtab.levels import Level

_ALL = frozenset(Level) - {Level.SETTINGS}
_INTRODUCTION = """# Kinds

<!-- Written by `python -m trimtab.kinds`, not by hand. -->

Every kind can be in the settings file, beside the levels that are named here."""


def page(kinds: Iterable[Kind]) -> str:
    """A table with a row for each kind, then its fields and the shape of its files."""
    listed = list(kinds)
    return "\n".join([_INTRODUCTION, "", *_table(listed), *_sections(listed)])


def _table(kinds: Iterable[Kind]) -> Iterator[str]:
    yield "| kind | Flyte's number | `trimtab get` | levels | fields |"
    yield "|---|---|---|---|---|"
    for kind in kinds:
        number = "–" if kind.flyte is None else str(kind.flyte.number)
        nouns = ", ".join(f"`{noun}`" for noun in (kind.noun, *kind.other_nouns))
        fields = ", ".join(name for name in kind.value.model_fields if name != "unset")
        levels = _levels(kind.levels)
        yield f"| [{kind.name}](#{kind.name}) | {number} | {nouns} | {levels} | {fields} |"


def _sections(kinds: Iterable[Kind]) -> Iterator[str]:
    for kind in kinds:
        yield f"\n## {kind.name}\n\n{kind.summary}.\n"
        if files := _files(kind):
            yield files + "\n"
        for level, why in sorted(kind.refused_levels.items()):
            yield f"- Not at {level.label}: {why}."
        if kind.alternatives:
            names = _names(sorted(kind.alternatives))
            yield f"- One of {names} at most; saying one unsets the others."
        for old, new in kind.deprecated.items():
            yield f"- `{old}` is deprecated, and taken as `{new}`."
        yield from ["\n| field | what | |", "|---|---|---|"]
        for field in forms.of_kind(kind):
            yield f"| `{field.path}` | {field.help} | {_shape(field)} |"


def _files(kind: Kind) -> str:
    """What the module says of attribute files: everything behind its first paragraph."""
    said = sys.modules[kind.value.__module__].__doc__ or ""
    return said.partition("\n\n")[2].replace("``", "`").strip()


def _shape(field: forms.Field) -> str:
    words = [field.input + (f" of {field.entry}" if field.entry else "")]
    if field.choices:
        words.append(_names(field.choices))
    if field.minimum is not None or field.maximum is not None:
        words.append(f"{_number(field.minimum)} to {_number(field.maximum)}")
    if field.levels:
        words.append(f"at {', '.join(field.levels)} only")
    return "; ".join(words).replace("|", "\\|")


def _number(bound: float | None) -> str:
    return "any" if bound is None else f"{bound:g}" if bound % 1 else str(int(bound))


def _levels(levels: frozenset[Level]) -> str:
    return "all" if levels == _ALL else ", ".join(level.label for level in sorted(levels))


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
