"""Print the reference of the installed kinds as Markdown: ``python -m trimtab.kinds``."""

import sys
from collections.abc import Iterable, Iterator

from trimtab.kinds import forms, registered
from trimtab.kinds.kind import Kind
from trimtab.levels import Level

_ALL_LEVELS = frozenset(Level) - {Level.SETTINGS}
_INTRODUCTION = """# Kinds

<!-- Written by `python -m trimtab.kinds`, not by hand. -->

Each kind may also be set in the settings file, in addition to the levels that are listed here."""


def reference_page(kinds: Iterable[Kind]) -> str:
    """Return a table with a row for each kind, then the fields and the files of each."""
    listed = list(kinds)
    return "\n".join([_INTRODUCTION, "", *_table(listed), *_sections(listed)])


def _table(kinds: Iterable[Kind]) -> Iterator[str]:
    yield "| kind | Flyte's number | `trimtab get` | levels | fields |"
    yield "|---|---|---|---|---|"
    for kind in kinds:
        number = "–" if kind.flyte is None else str(kind.flyte.number)
        nouns = ", ".join(f"`{noun}`" for noun in (kind.noun, *kind.other_nouns))
        fields = ", ".join(name for name in kind.value.model_fields if name != "unset")
        levels = _level_names(kind.levels)
        yield f"| [{kind.name}](#{kind.name}) | {number} | {nouns} | {levels} | {fields} |"


def _sections(kinds: Iterable[Kind]) -> Iterator[str]:
    for kind in kinds:
        yield f"\n## {kind.name}\n\n{kind.summary}.\n"
        if files := _files(kind):
            yield files + "\n"
        for level, reason in sorted(kind.refused_levels.items()):
            yield f"- Not at level {level.label}: {reason}."
        if kind.alternatives:
            names = _code_list(sorted(kind.alternatives))
            yield f"- A record may set only one of {names}; setting one unsets the others."
        if kind.narrowing:
            yield f"- Below the platform, a record can only narrow {_code_list(kind.narrowing)}."
        for old, new in kind.deprecated.items():
            yield f"- `{old}` is deprecated and is read as `{new}`."
        yield from ["\n| field | meaning | input |", "|---|---|---|"]
        for field in forms.of_kind(kind):
            yield f"| `{field.path}` | {_markdown(field.help)} | {_input(field)} |"


def _files(kind: Kind) -> str:
    """Return what the module documents about attribute files: all after its first paragraph."""
    documentation = sys.modules[kind.value.__module__].__doc__ or ""
    return _markdown(documentation.partition("\n\n")[2]).strip()


def _markdown(docstring: str) -> str:
    return docstring.replace("``", "`")


def _input(field: forms.Field) -> str:
    parts = [field.input + (f" of {field.entry}" if field.entry else "")]
    if field.choices:
        parts.append(_code_list(field.choices))
    if field.minimum is not None or field.maximum is not None:
        parts.append(f"{_bound(field.minimum)} to {_bound(field.maximum)}")
    if field.levels:
        parts.append(f"at {', '.join(field.levels)} only")
    return "; ".join(parts).replace("|", "\\|")


def _bound(bound: float | None) -> str:
    return "any" if bound is None else f"{bound:g}" if bound % 1 else str(int(bound))


def _level_names(levels: frozenset[Level]) -> str:
    if levels == _ALL_LEVELS:
        return "all"
    return ", ".join(level.label for level in sorted(levels))


def _code_list(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    sys.stdout.write(reference_page(registered().values()) + "\n")
