"""Kinds that the command line knows: those installed here, and those that only the server has.

What the server tells of a kind is enough to name its fields and their places. Whether a value is
right is then the server's to say.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import click
from pydantic import Field as field_of
from pydantic import create_model

from trimtab import kinds
from trimtab.api.records import KindBody
from trimtab.cli.completion import nouns
from trimtab.cli.target import Target
from trimtab.errors import NotFound
from trimtab.kinds import Kind, Value
from trimtab.kinds.forms import Field
from trimtab.kinds.kind import KindModel
from trimtab.levels import Level

F = TypeVar("F", bound=Callable[..., Any])

_LEVELS = {level.label: level for level in Level}


def kind_argument(*, required: bool = True) -> Callable[[F], F]:
    """Adds the argument KIND, a noun or name, as ``kind``."""

    def complete(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
        return nouns(context, begun)

    return click.argument("kind", required=required, shell_complete=complete)


def find(target: Target, name: str) -> Kind:
    """The kind of that name or noun. Raises `NotFound`, naming the nouns there are."""
    return Finder(target)(name)


class Finder:
    """Finds many, and asks the server once."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._theirs: Sequence[Kind] | None = None

    def __call__(self, name: str) -> Kind:
        """Raises `NotFound`, naming the nouns there are."""
        ours = tuple(kinds.registered().values())
        if (found := _called(name, ours)) is not None:
            return found
        if self._theirs is None:
            self._theirs = of_server(self._target)
        if (found := _called(name, self._theirs)) is not None:
            return found
        known = dict.fromkeys(kind.noun for kind in (*ours, *self._theirs))
        raise NotFound("kind", name, ", ".join(sorted(known)))


def of_server(target: Target) -> Sequence[Kind]:
    """Those that are not installed here."""
    bodies = target.call(lambda client: client.kinds.list())
    return [told(body) for body in bodies if body.name not in kinds.registered()]


def names(kind: Kind) -> tuple[str, ...]:
    """What it is called beside its noun; flytectl takes the plural too, except for ``update``."""
    return (kind.name, plural(kind.noun), *kind.other_nouns)


def plural(noun: str) -> str:
    return noun.removesuffix("y") + "ies" if noun.endswith("y") else noun + "s"


def _called(name: str, among: Iterable[Kind]) -> Kind | None:
    return next((kind for kind in among if name in (kind.noun, *names(kind))), None)


def told(body: KindBody) -> Kind:
    """A kind as the server tells of it."""
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
        deprecated=body.deprecated,
    )


def _levels(labels: Iterable[str]) -> frozenset[Level]:
    return frozenset(_LEVELS[label] for label in labels if label in _LEVELS)


def _by_level(reasons: Mapping[str, str]) -> Mapping[Level, str]:
    return {_LEVELS[label]: reason for label, reason in reasons.items() if label in _LEVELS}


def _fields(form: Sequence[Field], prefix: str) -> dict[str, Any]:
    """As pydantic takes them, of one group."""
    fields: dict[str, Any] = {}
    for field in form:
        name = field.path.removeprefix(prefix)
        if field.path.startswith(prefix) and "." not in name:
            shape = _shape(field, form) | None
            fields[name] = (shape, field_of(default=None, description=field.help))
    return fields


def _shape(field: Field, form: Sequence[Field]) -> Any:  # a type, or one of typing's forms
    match field.input:
        case "group":
            return create_model(field.title, __base__=KindModel, **_fields(form, field.path + "."))
        case "map":
            return dict[str, Any]
        case _:
            return Any
