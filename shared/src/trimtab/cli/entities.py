"""``trimtab get kinds|records|projects|domains|clusters|pools|workflows|executions|namespaces``."""

from collections.abc import Callable
from typing import Any

import click

from trimtab.api.executions import ExecutionBody, WorkflowBody
from trimtab.api.places import ClusterBody, DomainBody, PoolBody, ProjectBody
from trimtab.api.records import KindBody, RecordBody
from trimtab.cli import changes, known
from trimtab.cli.configuration import Output
from trimtab.cli.failures import example
from trimtab.cli.places import domain_option, project_option
from trimtab.cli.rendering import Columns, output_option, show_list
from trimtab.cli.target import Target, connected
from trimtab.levels import Level
from trimtab.messages.events import NamespaceStatus

_KINDS: Columns[KindBody] = {
    "NOUN": lambda kind: kind.noun,
    "NAME": lambda kind: kind.name,
    "FIELDS": lambda kind: [field.path for field in kind.form if "." not in field.path],
    "LEVELS": lambda kind: kind.levels,
    "FLYTE": lambda kind: kind.flyte_number,
    "SUMMARY": lambda kind: kind.summary,
}
_RECORDS: Columns[RecordBody] = {
    "KIND": lambda record: record.kind,
    "SCOPE": lambda record: changes.scope_of_body(record.scope),
    "VERSION": lambda record: record.version,
    "FIELDS": lambda record: "; ".join([*changes.fields(record.document), *record.warnings]),
    "LABELS": lambda record: [f"{key}={value}" for key, value in record.labels.items()],
}
_PROJECTS: Columns[ProjectBody] = {
    "NAME": lambda project: project.name,
    "STATE": lambda project: project.state,
    "DESCRIPTION": lambda project: project.description,
}
_DOMAINS: Columns[DomainBody] = {"NAME": lambda domain: domain.name}
_CLUSTERS: Columns[ClusterBody] = {
    "NAME": lambda cluster: cluster.name,
    "LABELS": lambda cluster: cluster.labels,
    "WEIGHT": lambda cluster: cluster.weight,
    "ENABLED": lambda cluster: cluster.enabled,
}
_POOLS: Columns[PoolBody] = {
    "NAME": lambda pool: pool.name,
    "QUOTA": lambda pool: pool.quota,
    "PROJECT CAP": lambda pool: pool.project_cap,
    "PROJECT-DOMAIN CAP": lambda pool: pool.project_domain_cap,
    "MAX WEIGHT": lambda pool: pool.max_weight,
    "COHORT": lambda pool: pool.cohort,
    "ACTIVE": lambda pool: pool.active,
}
_WORKFLOWS: Columns[WorkflowBody] = {
    "PROJECT": lambda body: body.project,
    "DOMAIN": lambda body: body.domain,
    "NAME": lambda body: body.workflow.name,
    "VERSION": lambda body: body.workflow.version,
    "HOOKS": lambda body: tuple(body.workflow.hooks),
}
_EXECUTIONS: Columns[ExecutionBody] = {
    "ID": lambda execution: execution.id,
    "PROJECT": lambda execution: execution.project,
    "DOMAIN": lambda execution: execution.domain,
    "WORKFLOW": lambda execution: execution.workflow,
    "VERSION": lambda execution: execution.version,
    "PHASE": lambda execution: execution.phase,
    "CREATED": lambda execution: f"{execution.created_at:%Y-%m-%d %H:%M:%S%z}",
    "ERROR": lambda execution: execution.error,
}
_NAMESPACES: Columns[NamespaceStatus] = {
    "CLUSTER": lambda status: status.cluster,
    "NAMESPACE": lambda status: status.namespace,
    "STATE": lambda status: status.state,
    "REVISION": lambda status: status.revision,
    "OBJECTS": lambda status: status.objects,
    "ERROR": lambda status: status.error,
}


def _in_project(command: Callable[..., Any]) -> Callable[..., Any]:
    command = domain_option("Only of this domain.")(command)
    return project_option("Only of this project.")(command)


_LEVELS = click.Choice([level.label for level in Level])
_NAME = click.argument("name", required=False)


@click.command("kinds", epilog=example("trimtab get kinds"))
@output_option()
@connected
def kinds(target: Target, output: Output) -> None:
    """Kinds of setting that the server has: where each may be set, and the keys of its file."""
    show_list(target.call(lambda client: client.kinds.list()), output, _KINDS)


@click.command("records", epilog=example("trimtab get records -p shop --level project-domain"))
@_in_project
@click.option("--kind", help="Only of this kind or noun.")
@click.option("--level", type=_LEVELS, help="Only of this level.")
@output_option()
@connected
def records(
    target: Target,
    project: str,
    domain: str,
    kind: str | None,
    level: str | None,
    output: Output,
) -> None:
    """All that is stored, of every kind at every level."""
    name = kind and known.find(target, kind).name
    given = {"project": project, "domain": domain, "level": level or ""}
    where = {part: value for part, value in given.items() if value}
    found = target.call(lambda client: client.records.list(name, **where))
    show_list(found, output, _RECORDS)


@click.command("projects", epilog=example("trimtab get projects"))
@_NAME
@output_option()
@connected
def projects(target: Target, name: str | None, output: Output) -> None:
    """Projects, or the one of that NAME."""
    if name is None:
        show_list(target.call(lambda client: client.projects.list()), output, _PROJECTS)
    else:
        show_list([target.call(lambda client: client.projects.get(name))], output, _PROJECTS)


@click.command("domains", epilog=example("trimtab get domains"))
@output_option()
@connected
def domains(target: Target, output: Output) -> None:
    """Domains."""
    show_list(target.call(lambda client: client.domains.list()), output, _DOMAINS)


@click.command("clusters", epilog=example("trimtab get clusters"))
@output_option()
@connected
def clusters(target: Target, output: Output) -> None:
    """Clusters that namespaces are made on."""
    show_list(target.call(lambda client: client.clusters.list()), output, _CLUSTERS)


@click.command("pools", epilog=example("trimtab get pools -o yaml"))
@_NAME
@output_option()
@connected
def pools(target: Target, name: str | None, output: Output) -> None:
    """Quotas of outside resources, or the one of that NAME."""
    if name is None:
        show_list(target.call(lambda client: client.pools.list()), output, _POOLS)
    else:
        show_list([target.call(lambda client: client.pools.get(name))], output, _POOLS)


@click.command("workflows", epilog=example("trimtab get workflows pricing -p shop -d development"))
@_NAME
@_in_project
@output_option()
@connected
def workflows(
    target: Target, name: str | None, project: str | None, domain: str | None, output: Output
) -> None:
    """Registered versions of workflows, or of the one of that NAME."""
    found = target.call(lambda client: client.workflows.list(project, domain))
    show_list([one for one in found if name in (None, one.workflow.name)], output, _WORKFLOWS)


@click.command(
    "executions", epilog=example("trimtab get executions -p shop -d development --limit 5")
)
@click.argument("execution", required=False)
@_in_project
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="At most.")
@output_option()
@connected
def executions(
    target: Target,
    execution: str | None,
    project: str | None,
    domain: str | None,
    limit: int,
    output: Output,
) -> None:
    """Executions, the newest first, or the one of that ID."""
    if execution is None:
        found = target.call(lambda client: client.executions.list(project, domain, limit))
    else:
        found = [target.call(lambda client: client.executions.get(execution))]
    show_list(found, output, _EXECUTIONS)


@click.command("namespaces", epilog=example("trimtab get namespaces"))
@output_option()
@connected
def namespaces(target: Target, output: Output) -> None:
    """What was made of each project and domain on each cluster."""
    show_list(target.call(lambda client: client.namespaces.list()), output, _NAMESPACES)


GET = (kinds, records, projects, domains, clusters, pools, workflows, executions, namespaces)
