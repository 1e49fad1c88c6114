"""``trimtab form``: what an execution can be given, with the defaults and limits that apply."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from trimtab.api.launch_forms import FormField, FormHook, FormInput, LaunchForm
from trimtab.cli.commands import example
from trimtab.cli.completion import complete_names
from trimtab.cli.configuration import Output
from trimtab.cli.escaping import to_json
from trimtab.cli.scopes import domain_option, project_option
from trimtab.cli.server import Server, with_server
from trimtab.cli.tables import Table
from trimtab.cli.terminal import output_option, show, show_data, warn
from trimtab.client import Client
from trimtab.errors import NotFound

_SHOWN_PATHS = 3


@click.command("form", epilog=example("trimtab form pricing -p shop -d development"))
@click.argument("workflow", shell_complete=complete_names("workflows"))
@project_option(required=True)
@domain_option(required=True)
@click.option("--version", help="Version of the workflow; default: the newest.")
@click.option(
    "--launch-plan",
    help="Show the inputs and overrides of this launch plan as defaults.",
    shell_complete=complete_names("launch plans"),
)
@output_option()
@with_server
def form(server: Server, output: Output, **options: Any) -> None:
    """Show what an execution of a WORKFLOW can be given: its inputs, and overrides by hook.

    A field of a hook can be set by `trimtab execute --override HOOK=JSON`; its default is what
    applies otherwise.
    """
    found = server.call(lambda client: _fetch(client, **options))
    for hook in found.hooks:
        for field in hook.fields:
            if field.problem:
                warn(f"{hook.name}: without an override an execution is refused: {field.problem}")
    if output == "table":
        show(*parts(found))
    else:
        show_data(found.model_dump(mode="json"), output)


async def _fetch(
    client: Client,
    *,
    workflow: str,
    project: str,
    domain: str,
    version: str | None,
    launch_plan: str | None,
) -> LaunchForm:
    if launch_plan in (None, workflow):
        return await client.workflows.form(project, domain, workflow, version)
    found = await client.launch_plans.form(project, domain, launch_plan, version)
    if found.workflow != workflow:
        raise NotFound(f"launch plan of workflow {workflow}", launch_plan)
    return found


def parts(form: LaunchForm) -> Iterator[str | Table]:
    """Yield the texts and tables that show a form."""
    plan = "" if form.launch_plan == form.workflow else f" through launch plan {form.launch_plan}"
    yield (
        f"{form.workflow} version {form.version}{plan} in {form.project}/{form.domain}, "
        f"with the settings at revision {form.revision}\n"
    )
    yield _inputs(form.inputs) if form.inputs else "It has no inputs."
    yield "\nthe execution as a whole"
    rows = [(*_row(each)[:-1],) for each in form.execution]
    yield Table(("FIELD", "TYPE", "DEFAULT", "FROM", "SCOPE"), rows)
    for hook in form.hooks:
        yield f"\n{_title(hook)}"
        yield Table(
            ("FIELD", "TYPE", "DEFAULT", "FROM", "SCOPE", "LIMIT"), list(map(_row, hook.fields))
        )
    if not form.hooks:
        yield "\nNo node has a hook, so nothing can be overridden."


def _inputs(inputs: Sequence[FormInput]) -> Table:
    rows = [
        (
            each.name,
            _type(each.json_schema),
            "" if each.required else to_json(each.default),
            each.source or "required",
        )
        for each in inputs
    ]
    return Table(("INPUT", "TYPE", "DEFAULT", "FROM"), rows)


def _title(hook: FormHook) -> str:
    shown, more = hook.paths[:_SHOWN_PATHS], len(hook.paths) - _SHOWN_PATHS
    paths = "" if shown == (hook.name,) else f", for {', '.join(shown)}"
    if more > 0:
        paths += f" and {more} more"
    return f"hook {hook.name}: task {hook.task} of type {hook.task_type}{paths}"


def _row(field: FormField) -> tuple[object, ...]:
    default = field.default
    if field.source and not isinstance(default, str):
        default = to_json(default)
    # The keys of a map are rows of their own.
    if not field.source and isinstance(default, dict):
        default = None
    return (field.path, _type(field.json_schema), default, field.source, field.scope, _limit(field))


def _limit(field: FormField) -> str:
    if not field.limits:
        return ""
    lowest = field.limits[0]
    then = "lowered" if field.over_limit == "clamp" else "refused"
    return f"{lowest.amount}, above it {then}: {lowest.name} of {lowest.scope}"


def _type(schema: Mapping[str, Any]) -> str:
    """Return a type in a few words."""
    if choices := schema.get("anyOf"):
        return " or ".join(dict.fromkeys(map(_type, choices)))
    if "enum" in schema:
        return "one of " + ", ".join(map(to_json, schema["enum"]))
    type_ = schema.get("type", "any")
    text = " or ".join(type_) if isinstance(type_, list) else str(type_)
    if "format" in schema:
        text = str(schema["format"])
    if "minimum" in schema and "maximum" in schema:
        text += f" {schema['minimum']} to {schema['maximum']}"
    return text
