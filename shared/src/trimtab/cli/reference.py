"""The reference of all commands for ``docs/cli.md``, generated from the commands. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import click

from trimtab.cli.groups import SectionedGroup
from trimtab.cli.kinds import KindGroup

EXAMPLE_NOUN = "task-resource-attribute"
"""The noun whose commands stand for those of every kind."""
_COMMON_OPTIONS = frozenset({"server", "data"})


@dataclass(frozen=True)
class CommandEntry:
    """A command of the reference."""

    words: tuple[str, ...]
    """The words after ``trimtab``."""
    command: click.Command
    is_for_every_kind: bool = False
    """Whether every kind has such a command."""

    @property
    def examples(self) -> Sequence[str]:
        lines = (self.command.epilog or "").splitlines()
        return [line.strip() for line in lines if line.startswith("  trimtab ")]


def entries(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[CommandEntry]:
    """Return every command in the order of help, with one command for all kinds."""
    for name, command in group.commands.items():
        is_of_kind = isinstance(group, KindGroup) and name in group.nouns
        if isinstance(command, click.Group):
            yield from entries(command, (*words, name))
        elif not is_of_kind or name == EXAMPLE_NOUN:
            yield CommandEntry((*words, name), command, is_of_kind)


def to_markdown(root: SectionedGroup) -> str:
    """Return a page with the sections of the help."""
    all_entries = list(entries(root))
    parts: list[str] = []
    for title, names in root.sections.items():
        parts.append(f"## {title}")
        for name in names:
            parts += [_entry_text(entry) for entry in all_entries if entry.words[0] == name]
    return "\n\n".join(parts) + "\n"


def _entry_text(entry: CommandEntry) -> str:
    command, words = entry.command, " ".join(entry.words)
    title = words.replace(EXAMPLE_NOUN, "NOUN") if entry.is_for_every_kind else words
    parts = [f"### trimtab {title}", _help_text(command)]
    if entry.is_for_every_kind:
        parts.append("`trimtab get kinds` lists the nouns. For example:")
    parts.append("```\n" + "\n".join(entry.examples) + "\n```")
    if options := [_option_row(option) for option in command.params if _is_shown(option)]:
        parts.append("\n".join(["| option | |", "|---|---|", *options]))
    return "\n\n".join(parts)


def _help_text(command: click.Command) -> str:
    """Return the help with each paragraph on one line, except for preformatted ones."""
    text = command.help or ""
    paragraphs = []
    for paragraph in text.split("\n\n"):
        is_preformatted = paragraph.startswith("\b\n")
        lines = paragraph.removeprefix("\b\n")
        paragraphs.append(f"```\n{lines}\n```" if is_preformatted else " ".join(lines.split()))
    return "\n\n".join(paragraphs)


def _is_shown(parameter: click.Parameter) -> bool:
    is_option = isinstance(parameter, click.Option)
    is_hidden = isinstance(parameter, click.Option) and parameter.hidden
    return is_option and not is_hidden and parameter.name not in _COMMON_OPTIONS


def _option_row(parameter: click.Parameter) -> str:
    assert isinstance(parameter, click.Option)
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    required = " Required." if parameter.required else ""
    return f"| {names} | {(parameter.help or '').replace('|', chr(92) + '|')}{required} |"
