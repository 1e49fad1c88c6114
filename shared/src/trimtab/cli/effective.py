"""``trimtab effective`` and ``trimtab explain KIND``: what applies to a target, and why."""

from collections.abc import Iterator
from typing import Any

import click

from trimtab.api.effective import EffectiveBody, ExplainBody, SetterBody
from trimtab.cli import changes, known
from trimtab.cli.configuration import Output
from trimtab.cli.failures import Failure, example
from trimtab.cli.known import kind_argument
from trimtab.cli.places import place_options, said, scope_of
from trimtab.cli.rendering import cell, output_option, progress, show_data, table
from trimtab.cli.target import Target, connected

_NOTHING = "project and domain are required parameters"


@click.command("effective", epilog=example("trimtab effective -p shop -d development"))
@place_options
@output_option()
@connected
def effective(target: Target, output: Output, **places: Any) -> None:
    """Show what applies to a target, of every kind, and which scope said it."""
    scope = scope_of(**said(places), nothing=_NOTHING)
    body = target.call(lambda client: client.settings.effective(scope))
    for kind, reason in body.unreadable.items():
        progress(f"warning: {kind} cannot be told: {reason}")
    if output != "table":
        show_data(body.model_dump(mode="json"), output)
        return
    rows = [
        (kind, leaf.path, leaf.value, leaf.scope, leaf.revision)
        for kind, found in body.kinds.items()
        for leaf in found.leaves
    ]
    click.echo(table(("KIND", "FIELD", "VALUE", "SCOPE", "REVISION"), rows))


@click.command(
    "kind", epilog=example("trimtab explain task-resource-attribute -p shop -d development")
)
@kind_argument()
@place_options
@click.option("--as-flyte", is_flag=True, help="Also what Flyte 1 gives: its narrowest record.")
@output_option()
@connected
def explain_kind(target: Target, kind: str, as_flyte: bool, output: Output, **places: Any) -> None:
    """Show where each field of a KIND comes from: the chain, who set it, when and why."""
    name = known.find(target, kind).name
    scope = scope_of(**said(places), nothing=_NOTHING)
    body = target.call(lambda client: client.records.explain(name, scope))
    if output != "table":
        left_out = set() if as_flyte else {"as_flyte"}
        show_data(body.model_dump(mode="json", exclude=left_out), output)
        return
    lines = [*_chain(body), *_leaves(body)]
    if as_flyte:
        if body.as_flyte is None:
            raise Failure(f"Flyte 1 has no {name}")
        lines += _compared(body, body.as_flyte)
    click.echo("\n".join(lines))


def _chain(body: ExplainBody) -> Iterator[str]:
    yield f"{what_applies(body)}, at revision {body.revision}"
    yield ""
    rows = [
        (
            changes.scope_of_body(step.scope),
            step.record and step.record.version,
            *_setter(step.setter or SetterBody()),
        )
        for step in body.chain
    ]
    yield table(("SCOPE", "VERSION", "SET BY", "AT", "REASON"), rows)


def _leaves(body: ExplainBody) -> Iterator[str]:
    """Who speaks of each field: the one that decides, and below it those that it overrides."""
    yield ""
    rows: list[tuple[object, ...]] = []
    for leaf in body.leaves:
        for rank, source in enumerate(leaf.sources):
            path = "  instead of" if rank else leaf.path
            value = "unset" if source.value is None else source.value
            rows.append((path, value, source.scope, source.revision, *_setter(source.setter)))
    yield table(("FIELD", "VALUE", "SCOPE", "REVISION", "SET BY", "AT", "REASON"), rows)
    if not rows:
        progress("no record applies")


def _compared(body: ExplainBody, flyte: EffectiveBody) -> Iterator[str]:
    """Only what differs."""
    ours = {leaf.path: leaf.value for leaf in body.leaves if leaf.value is not None}
    theirs = {leaf.path: leaf.value for leaf in flyte.leaves if leaf.value is not None}
    rows = [
        (path, ours.get(path), theirs.get(path))
        for path in sorted(ours.keys() | theirs.keys())
        if ours.get(path) != theirs.get(path)
    ]
    yield ""
    yield table(("FIELD", "HERE", "FLYTE 1"), rows) if rows else "Flyte 1 gives the same."


def _setter(setter: SetterBody) -> tuple[object, ...]:
    at = setter.at and f"{setter.at:%Y-%m-%d %H:%M:%S%z}"
    return (setter.actor, at, setter.reason)


def what_applies(body: ExplainBody) -> str:
    return f"{body.kind} for {cell(changes.scope_of_body(body.target))}"
