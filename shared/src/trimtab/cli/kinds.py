"""Kinds on the command line: those installed here, and those that only the server has.

For a kind that only the server has, its description names the fields and levels; the server
validates the values.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem
from pydantic import Field as field_of
from pydantic import create_model

from trimtab import kinds
from trimtab.api.settings import KindBody
from trimtab.cli.commands import Failure
from trimtab.cli.completion import complete_nouns, request_quietly
from trimtab.cli.groups import CommandGroup
from trimtab.cli.server import Server, server_in_arguments
from trimtab.errors import NotFound, TrimtabError
from trimtab.kinds import Kind, Value
from trimtab.kinds.forms import Field
from trimtab.kinds.kind import KindModel
from trimtab.kinds.narrowing import ELSEWHERE
from trimtab.levels import Level

F = TypeVar("F", bound=Callable[..., Any])

_LEVELS = {level.label: level for level in Level}
_META = "trimtab.kinds of the server"


def kind_argument(*, required: bool = True) -> Callable[[F], F]:
    """Add the argument KIND, a noun or the name of a kind; the command receives it as ``kind``."""

    def complete(context: click.Context, _parameter: click.Parameter, prefix: str) -> list[str]:
        return complete_nouns(context, prefix)

    return click.argument("kind", required=required, shell_complete=complete)


def find_kind(server: Server, name: str) -> Kind:
    """Return the kind with a name or noun. Raises `NotFound`, which lists all nouns."""
    return KindFinder(server)(name)


class KindFinder:
    """Finds kinds by name or noun; it requests the kinds of the server at most once."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._from_server: Sequence[Kind] | None = None

    def __call__(self, name: str) -> Kind:
        """Return the kind. Raises `NotFound`, which lists all nouns."""
        installed = tuple(kinds.registered().values())
        if (found := _find(name, installed)) is not None:
            return found
        if self._from_server is None:
            self._from_server = server_kinds(self._server)
        if (found := _find(name, self._from_server)) is not None:
            return found
        nouns = dict.fromkeys(kind.noun for kind in (*installed, *self._from_server))
        raise NotFound.among("kind", name, sorted(nouns))


class KindGroup(CommandGroup):
    """A group with one command for each kind, also for kinds that only the server has.

    Installed kinds have their commands from the start. A name that is no command makes the group
    request the kinds of the server, once per run.
    """

    def __init__(
        self,
        name: str,
        make_command: Callable[[Kind], click.Command],
        *,
        plurals: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(name, **options)
        self._make_command = make_command
        self.nouns = frozenset(kind.noun for kind in kinds.registered().values())
        """Names of the commands that belong to an installed kind."""
        for kind in kinds.registered().values():
            self.add_command(make_command(kind))
            for alias in other_names(kind) if plurals else (kind.name, *kind.other_nouns):
                self.add_alias(alias, make_command(kind))

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        from_server: Mapping[str, click.Command] = context.meta.get(_META, {})
        return super().get_command(context, name) or from_server.get(name)

    def list_commands(self, context: click.Context) -> list[str]:
        from_server = {command.name for command in context.meta.get(_META, {}).values()}
        return sorted({*super().list_commands(context), *from_server})

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = arguments[0]
        if self.get_command(context, name) is None and not name.startswith("-"):
            given = [*self.given_flags(context, None), *arguments[1:]]
            self._add_server_kinds(context, name, given)
        return super().resolve_command(context, arguments)

    def shell_complete(self, context: click.Context, incomplete: str) -> list[CompletionItem]:
        items = super().shell_complete(context, incomplete)
        shown = {item.value for item in items}
        nouns = complete_nouns(context, incomplete)
        return [*items, *(CompletionItem(noun) for noun in nouns if noun not in shown)]

    def _add_server_kinds(
        self, context: click.Context, name: str, arguments: Sequence[str]
    ) -> None:
        """Add commands for the kinds of the server. Raises `Failure` where it cannot list them."""
        try:
            found = _kinds_of_arguments(context, arguments)
        except TrimtabError as error:
            known = ", ".join(self.list_commands(context))
            prefix = (
                f"{self.member} {name!r} is not one of {known}; "
                "and the kinds of the server cannot be listed: "
            )
            raise Failure.of(error, prefix) from error
        context.meta[_META] = {
            name: self._make_command(kind)
            for kind in found
            for name in (kind.noun, *other_names(kind))
        }


def _kinds_of_arguments(context: click.Context, arguments: Sequence[str]) -> Sequence[Kind]:
    """Request the kinds of the selected server; none is an error while a shell completes."""
    if not context.resilient_parsing:
        return server_kinds(server_in_arguments(context, arguments))
    return _not_installed(
        request_quietly(
            lambda: server_in_arguments(context, arguments), lambda client: client.kinds.list()
        )
    )


def server_kinds(server: Server) -> Sequence[Kind]:
    """Request the kinds of the server that are not installed here."""
    return _not_installed(server.call(lambda client: client.kinds.list()))


def _not_installed(bodies: Sequence[KindBody]) -> Sequence[Kind]:
    return [kind_from_body(body) for body in bodies if body.name not in kinds.registered()]


def other_names(kind: Kind) -> tuple[str, ...]:
    """Return the names of a kind in addition to its noun.

    flytectl accepts the plural too, except for ``update``.
    """
    return (kind.name, _plural(kind.noun), *kind.other_nouns)


def kind_from_body(body: KindBody) -> Kind:
    """Build a kind from the description that the server returns."""
    title = str(body.json_schema.get("title", body.name))
    return Kind(
        name=body.name,
        value=create_model(title, __base__=Value, **_fields(body.form, "")),
        levels=_levels(body.levels),
        noun=body.noun,
        summary=body.summary,
        other_nouns=body.aliases,
        refused_levels=_by_level(body.refused_levels),
        field_levels={field.path: _levels(field.levels) for field in body.form if field.levels},
        alternatives=frozenset(body.alternatives),
        narrowing=dict.fromkeys(body.narrowing, ELSEWHERE),
        deprecated=body.deprecated,
        sample=body.sample,
    )


def _plural(noun: str) -> str:
    return noun.removesuffix("y") + "ies" if noun.endswith("y") else noun + "s"


def _find(name: str, candidates: Iterable[Kind]) -> Kind | None:
    return next((kind for kind in candidates if name in (kind.noun, *other_names(kind))), None)


def _levels(labels: Iterable[str]) -> frozenset[Level]:
    return frozenset(_LEVELS[label] for label in labels if label in _LEVELS)


def _by_level(reasons: Mapping[str, str]) -> Mapping[Level, str]:
    return {_LEVELS[label]: reason for label, reason in reasons.items() if label in _LEVELS}


def _fields(form: Sequence[Field], prefix: str) -> dict[str, Any]:
    """Return the fields of one group as arguments of `pydantic.create_model`."""
    fields: dict[str, Any] = {}
    for field in form:
        name = field.path.removeprefix(prefix)
        if field.path.startswith(prefix) and "." not in name:
            shape = _shape(field, form) | None
            fields[name] = (shape, field_of(default=None, description=field.help))
    return fields


def _shape(field: Field, form: Sequence[Field]) -> Any:  # a type, or a form of `typing`
    match field.input:
        case "group":
            return create_model(field.title, __base__=KindModel, **_fields(form, field.path + "."))
        case "map":
            return dict[str, Any]
        case _:
            return Any
