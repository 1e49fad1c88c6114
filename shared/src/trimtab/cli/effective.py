"""``trimtab effective`` and ``trimtab explain KIND``: effective values and their provenance."""

from collections.abc import Iterator
from typing import Any

import click

from trimtab.api.settings import EffectiveBody, ExplainBody, SetterBody
from trimtab.cli.commands import Failure, example
from trimtab.cli.configuration import Output
from trimtab.cli.kinds import find_kind, kind_argument
from trimtab.cli.scopes import scope_from_body, scope_options, selected_scope
from trimtab.cli.server import Server, with_server
from trimtab.cli.tables import Table, cell
from trimtab.cli.terminal import output_option, progress, show, show_data, warn


@click.command("effective", epilog=example("trimtab effective -p shop -d development"))
@scope_options
@output_option()
@with_server
def effective(server: Server, output: Output, **options: Any) -> None:
    """Show the effective values of every kind for a target, and the scope that set each."""
    scope = selected_scope(options)
    body = server.call(lambda client: client.settings.effective(scope))
    for kind, reason in body.unreadable.items():
        warn(f"{kind} has no effective value: {reason}")
    if output != "table":
        show_data(body.model_dump(mode="json"), output)
        return
    rows = [
        (kind, leaf.path, leaf.value, leaf.scope, leaf.revision)
        for kind, value in body.kinds.items()
        for leaf in value.leaves
    ]
    show(Table(("KIND", "FIELD", "VALUE", "SCOPE", "REVISION"), rows))


@click.command(
    "kind", epilog=example("trimtab explain task-resource-attribute -p shop -d development")
)
@kind_argument()
@scope_options
@click.option(
    "--as-flyte", is_flag=True, help="Compare with Flyte 1, which uses the narrowest record only."
)
@output_option()
@with_server
def explain_kind(server: Server, kind: str, as_flyte: bool, output: Output, **options: Any) -> None:
    """Show where each field of a KIND comes from: the chain, and who set it, when and why."""
    name = find_kind(server, kind).name
    scope = selected_scope(options)
    body = server.call(lambda client: client.records.explain(name, scope))
    if output != "table":
        excluded = set() if as_flyte else {"as_flyte"}
        show_data(body.model_dump(mode="json", exclude=excluded), output)
        return
    parts = [*_chain_parts(body), *_leaf_parts(body)]
    if as_flyte:
        if body.as_flyte is None:
            raise Failure(f"Flyte 1 has no {name}")
        parts += _comparison_parts(body, body.as_flyte)
    show(*parts)


def _chain_parts(body: ExplainBody) -> Iterator[str | Table]:
    """Return the title, and one row for each scope of the chain with its record, if any."""
    target = cell(scope_from_body(body.target))
    yield f"{body.kind} for {target}, at revision {body.revision}"
    yield ""
    rows = [
        (
            scope_from_body(step.scope),
            step.record and step.record.version,
            *_setter(step.setter or SetterBody()),
        )
        for step in body.chain
    ]
    yield Table(("SCOPE", "VERSION", "SET BY", "AT", "REASON"), rows)


def _leaf_parts(body: ExplainBody) -> Iterator[str | Table]:
    """Return a row for each source of each leaf: the effective one, then those it overrides."""
    yield ""
    rows: list[tuple[object, ...]] = []
    for leaf in body.leaves:
        for rank, source in enumerate(leaf.sources):
            path = "  instead of" if rank else leaf.path
            value = "unset" if source.value is None else source.value
            rows.append((path, value, source.scope, source.revision, *_setter(source.setter)))
    yield Table(("FIELD", "VALUE", "SCOPE", "REVISION", "SET BY", "AT", "REASON"), rows)
    if not rows:
        progress("no record applies")


def _comparison_parts(body: ExplainBody, flyte: EffectiveBody) -> Iterator[str | Table]:
    """Return the leaves whose value differs from Flyte's."""
    ours = {leaf.path: leaf.value for leaf in body.leaves if leaf.value is not None}
    theirs = {leaf.path: leaf.value for leaf in flyte.leaves if leaf.value is not None}
    rows = [
        (path, ours.get(path), theirs.get(path))
        for path in sorted(ours.keys() | theirs.keys())
        if ours.get(path) != theirs.get(path)
    ]
    yield ""
    yield Table(("FIELD", "HERE", "FLYTE 1"), rows) if rows else "Flyte 1 has the same values."


def _setter(setter: SetterBody) -> tuple[object, ...]:
    return (setter.actor, setter.at, setter.reason)
