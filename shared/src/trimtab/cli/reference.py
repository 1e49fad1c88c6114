"""The reference of all commands, made of the commands themselves. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import click

from trimtab.cli.groups import Nouns, Sections

EXAMPLE_OF_KINDS = "task-resource-attribute"
"""The noun whose commands stand for those of every kind."""
_OF_EVERY_COMMAND = frozenset({"server", "data"})


@dataclass(frozen=True)
class Entry:
    """One command."""

    words: tuple[str, ...]
    """Behind ``trimtab``."""
    command: click.Command
    is_of_kinds: bool = False
    """Whether every kind has one like it."""

    @property
    def examples(self) -> Sequence[str]:
        lines = (self.command.epilog or "").splitlines()
        return [line.strip() for line in lines if line.startswith("  trimtab ")]


def entries(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[Entry]:
    """Every command, one for all kinds, in the order of help."""
    for name, command in group.commands.items():
        of_kind = isinstance(group, Nouns) and name in group.kinds
        if isinstance(command, click.Group):
            yield from entries(command, (*words, name))
        elif not of_kind or name == EXAMPLE_OF_KINDS:
            yield Entry((*words, name), command, of_kind)


def page(root: Sections) -> str:
    """Markdown, from the headings of the sections on."""
    found = list(entries(root))
    parts: list[str] = []
    for title, names in root.sections.items():
        parts.append(f"## {title}")
        for name in names:
            parts += [_described(entry) for entry in found if entry.words[0] == name]
    return "\n\n".join(parts) + "\n"


def _described(entry: Entry) -> str:
    command, words = entry.command, " ".join(entry.words)
    title = words.replace(EXAMPLE_OF_KINDS, "NOUN") if entry.is_of_kinds else words
    parts = [f"### trimtab {title}", _help(command)]
    if entry.is_of_kinds:
        parts.append("`trimtab get kinds` lists the nouns. For example:")
    parts.append("```\n" + "\n".join(entry.examples) + "\n```")
    if options := [_option(option) for option in command.params if _is_shown(option)]:
        parts.append("\n".join(["| option | |", "|---|---|", *options]))
    return "\n\n".join(parts)


def _help(command: click.Command) -> str:
    """Paragraphs on one line each; those that click keeps as they are, too."""
    text = command.help or ""
    paragraphs = []
    for paragraph in text.split("\n\n"):
        kept = paragraph.startswith("\b\n")
        lines = paragraph.removeprefix("\b\n")
        paragraphs.append(f"```\n{lines}\n```" if kept else " ".join(lines.split()))
    return "\n\n".join(paragraphs)


def _is_shown(parameter: click.Parameter) -> bool:
    hidden = isinstance(parameter, click.Option) and parameter.hidden
    is_option = isinstance(parameter, click.Option)
    return is_option and not hidden and parameter.name not in _OF_EVERY_COMMAND


def _option(parameter: click.Parameter) -> str:
    assert isinstance(parameter, click.Option)
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    required = " Required." if parameter.required else ""
    return f"| {names} | {(parameter.help or '').replace('|', chr(92) + '|')}{required} |"
