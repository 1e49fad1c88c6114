"""``trimtab register FILE``: pools, workflows and launch plans of Python files, and the code."""

from collections.abc import Awaitable, Collection, Sequence
from pathlib import Path

import click

from trimtab import credentials
from trimtab.api.entities import PoolBody
from trimtab.api.executions import LaunchPlanBody, WorkflowBody
from trimtab.cli.commands import dry_run_option, example
from trimtab.cli.scopes import domain_option, project_option
from trimtab.cli.server import Server, with_server
from trimtab.cli.terminal import show, warn
from trimtab.client import Client
from trimtab.errors import Conflict, NotFound
from trimtab.models import Model, parse_model
from trimtab.workflows.code.bundles import Bundle
from trimtab.workflows.code.loader import Module, load_module
from trimtab.workflows.definitions.overrides import Pool


@click.command("files", epilog=example("trimtab register pricing.py -p shop -d development"))
@click.argument(
    "paths", nargs=-1, required=True, metavar="FILE...|DIR", type=click.Path(path_type=Path)
)
@project_option(required=True)
@domain_option(required=True)
@click.option("--version", help="Version of the workflows; default: derived from the code.")
@click.option("--image", help="Upload no code: the tasks run that of this image.")
@dry_run_option
@with_server
def register_files(
    server: Server,
    paths: Sequence[Path],
    project: str,
    domain: str,
    version: str | None,
    image: str | None,
    dry_run: bool,
) -> None:
    """Register the pools, workflows and launch plans of Python FILEs, or of all files of a DIR.

    A FILE that imports other modules of its directory is uploaded with them, and a DIR as a whole,
    without hidden files, secrets and what `.gitignore` lists. Unchanged code is not uploaded again.
    """
    module = load_module(paths, version, image)
    for warning in module.warnings:
        warn(warning)
    workflows, plans = _bodies(module, project, domain)
    new = _new_names(module) if dry_run else frozenset()
    done = "Would register" if dry_run else "Registered"

    async def register_all(client: Client) -> None:
        if module.bundle is not None:
            await _upload(client, project, domain, module.bundle, dry_run)
        for pool in module.pools:
            if await _ensure_pool(client, pool, dry_run):
                show(f"{done} pool {pool.name} with a quota of {pool.quota}")
        for body in workflows:
            await _except_missing(new, client.workflows.create(body, dry_run=dry_run))
            show(f"{done} workflow {body.workflow.name} version {body.workflow.version}")
        for plan in plans:
            await _except_missing(new, client.launch_plans.create(plan, dry_run=dry_run))
            show(f"{done} launch plan {plan.launch_plan.name}")

    server.call(register_all)


def _bodies(
    module: Module, project: str, domain: str
) -> tuple[list[WorkflowBody], list[LaunchPlanBody]]:
    """Return what is sent, and warn of credentials in it. Raises `trimtab.errors.Invalid`."""
    scope = {"project": project, "domain": domain}
    workflows = [parse_model(WorkflowBody, {**scope, "workflow": one}) for one in module.workflows]
    plans = [
        parse_model(LaunchPlanBody, {**scope, "launch_plan": one}) for one in module.launch_plans
    ]
    for body in workflows:
        warn_of_credentials(body.workflow, f"{body.workflow.name}: ")
    for plan in plans:
        warn_of_credentials(plan.launch_plan, f"{plan.launch_plan.name}: ")
    return workflows, plans


async def _upload(client: Client, project: str, domain: str, bundle: Bundle, dry_run: bool) -> None:
    """Store the bundle, unless it is stored."""
    size = f"{len(bundle.files)} files, {len(bundle.content)} bytes"
    if await client.blobs.has(project, domain, bundle.digest):
        show(f"Bundle {bundle.digest[:12]} is unchanged ({size})")
        return
    if not dry_run:
        await client.blobs.put(project, domain, bundle.content)
    show(f"{'Would upload' if dry_run else 'Uploaded'} bundle {bundle.digest[:12]} ({size})")


def warn_of_credentials(written: Model, prefix: str = "") -> None:
    """Warn of likely credentials in everything but inputs and code, which are data of a program."""
    content = written.model_dump(mode="json", exclude_unset=True, exclude={"inputs", "module"})
    for warning in credentials.warnings(content):
        warn(f"{prefix}{warning}")


def _new_names(module: Module) -> Collection[str]:
    """Return the names of what is stored before something refers to it."""
    return {
        *(() if module.bundle is None else (module.bundle.digest,)),
        *(pool.name for pool in module.pools),
        *(workflow.name for workflow in module.workflows),
        *(workflow.version for workflow in module.workflows),
    }


async def _except_missing(new: Collection[str], check: Awaitable[object]) -> None:
    """Await a check, which does not find what a dry run has not stored."""
    try:
        await check
    except NotFound as error:
        if error.object_type in ("project", "domain") or error.name not in new:
            raise


async def _ensure_pool(client: Client, pool: Pool, dry_run: bool) -> bool:
    """Create the pool unless it exists, and return whether it did not.

    Raises `Conflict` where it exists with another quota, which other workflows may depend on.
    """
    assert pool.quota is not None  # a module lists only pools with a quota
    stored = {body.name: body for body in await client.pools.list()}.get(pool.name)
    if stored is None:
        body = parse_model(PoolBody, {"name": pool.name, "quota": pool.quota})
        await (client.pools.dry_put(body) if dry_run else client.pools.put(body))
        return True
    if stored.quota != pool.quota:
        raise Conflict(
            f"pool {pool.name} already has a quota of {stored.quota}; the code sets {pool.quota}"
        )
    return False
