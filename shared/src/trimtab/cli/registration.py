"""``trimtab register project NAME`` and ``trimtab register FILE``."""

from pathlib import Path

import click

from trimtab.api.executions import LaunchPlanBody, WorkflowBody
from trimtab.api.places import PoolBody, ProjectBody
from trimtab.cli.failures import example
from trimtab.cli.groups import Defaulting
from trimtab.cli.places import domain_option, project_option
from trimtab.cli.target import Target, connected
from trimtab.client import Client
from trimtab.errors import Conflict
from trimtab.models import parse_model
from trimtab.workflows.loader import load_module
from trimtab.workflows.overrides import Pool


@click.command("project", epilog=example("trimtab register project store"))
@click.argument("name")
@click.option("--description", default="", help="What it is for.")
@connected
def project(target: Target, name: str, description: str) -> None:
    """Register a project, so that it may have settings and executions."""
    body = parse_model(ProjectBody, {"name": name, "description": description})
    registered = target.call(lambda client: client.projects.create(body))
    click.echo(f"Registered project {registered.name}")


@click.command("files", epilog=example("trimtab register pricing.py -p shop -d development"))
@click.argument("file", type=click.Path(path_type=Path))
@project_option(required=True)
@domain_option(required=True)
@click.option("--version", help="Of the workflows; made from the file's text where absent.")
@connected
def files(target: Target, file: Path, project: str, domain: str, version: str | None) -> None:
    """Register the pools, workflows and launch plans of a Python FILE."""
    module = load_module(file, version)
    place = {"project": project, "domain": domain}
    workflows = [parse_model(WorkflowBody, {**place, "workflow": one}) for one in module.workflows]
    plans = [
        parse_model(LaunchPlanBody, {**place, "launch_plan": one}) for one in module.launch_plans
    ]

    async def register_all(client: Client) -> None:
        for pool in module.pools:
            await _ensure_pool(client, pool)
        for body in workflows:
            await client.workflows.create(body)
            workflow = body.workflow
            click.echo(f"Registered workflow {workflow.name} version {workflow.version}")
        for plan in plans:
            await client.launch_plans.create(plan)
            click.echo(f"Registered launch plan {plan.launch_plan.name}")

    target.call(register_all)


async def _ensure_pool(client: Client, pool: Pool) -> None:
    """Raises `Conflict` where it has another quota, because others may count on that."""
    assert pool.quota is not None  # a module lists only the pools that it gives one
    stored = {body.name: body for body in await client.pools.list()}.get(pool.name)
    if stored is None:
        await client.pools.put(parse_model(PoolBody, {"name": pool.name, "quota": pool.quota}))
        click.echo(f"Registered pool {pool.name} with a quota of {pool.quota}")
    elif stored.quota != pool.quota:
        raise Conflict(
            f"pool {pool.name} has a quota of {stored.quota} already; the file says {pool.quota}"
        )


register = Defaulting(
    "register",
    [project, files],
    default="files",
    help="Register a project, or what a Python FILE defines.",
)
