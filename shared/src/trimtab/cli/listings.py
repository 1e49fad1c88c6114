"""``trimtab get kinds|records|projects|domains|clusters|queues|workflows|executions``."""

from collections.abc import Callable, Mapping
from typing import Any

import click

from trimtab.api.entities import ClusterBody, DomainBody, ProjectBody, QueueBody
from trimtab.api.executions import ExecutionBody, WorkflowBody
from trimtab.api.settings import KindBody, RecordBody
from trimtab.cli import changes
from trimtab.cli.commands import example, limit_option
from trimtab.cli.completion import complete_names
from trimtab.cli.configuration import Output
from trimtab.cli.kinds import find_kind
from trimtab.cli.namespace_statuses import list_namespaces
from trimtab.cli.pool_use import list_pools
from trimtab.cli.scopes import domain_option, project_option, scope_from_body
from trimtab.cli.server import Server, with_server
from trimtab.cli.terminal import Columns, output_option, show_list, warn
from trimtab.errors import NotFound
from trimtab.levels import Level
from trimtab.workflows.graphs.runtimes import RuntimeMetadata

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
    "SCOPE": lambda record: scope_from_body(record.scope),
    "VERSION": lambda record: record.version,
    "FIELDS": lambda record: "; ".join([*changes.field_texts(record.document), *record.warnings]),
    "LABELS": lambda record: _label_texts(record.labels),
}
_PROJECTS: Columns[ProjectBody] = {
    "NAME": lambda project: project.name,
    "STATE": lambda project: project.state,
    "DESCRIPTION": lambda project: project.description,
}
_PROJECTS_WIDE: Columns[ProjectBody] = {
    "DISPLAY NAME": lambda project: project.display_name,
    "LABELS": lambda project: _label_texts(project.labels),
    "VERSION": lambda project: project.version,
}
_DOMAINS: Columns[DomainBody] = {"NAME": lambda domain: domain.name}
_DOMAINS_WIDE: Columns[DomainBody] = {"VERSION": lambda domain: domain.version}
_CLUSTERS: Columns[ClusterBody] = {
    "NAME": lambda cluster: cluster.name,
    "LABELS": lambda cluster: cluster.labels,
    "WEIGHT": lambda cluster: cluster.weight,
    "ENABLED": lambda cluster: cluster.enabled,
}
_CLUSTERS_WIDE: Columns[ClusterBody] = {"VERSION": lambda cluster: cluster.version}
_QUEUES: Columns[QueueBody] = {
    "NAME": lambda queue: queue.name,
    "ATTRIBUTES": lambda queue: queue.attributes,
    "CLUSTERS": lambda queue: queue.clusters,
    "SYSTEM": lambda queue: queue.system,
}
_QUEUES_WIDE: Columns[QueueBody] = {"VERSION": lambda queue: queue.version}
_WORKFLOWS: Columns[WorkflowBody] = {
    "PROJECT": lambda body: body.project,
    "DOMAIN": lambda body: body.domain,
    "NAME": lambda body: body.workflow.name,
    "VERSION": lambda body: body.workflow.version,
    "HOOKS": lambda body: tuple(body.workflow.hooks),
    "RUNTIME": lambda body: _runtime(body.workflow.runtime),
}
_EXECUTIONS: Columns[ExecutionBody] = {
    "ID": lambda execution: execution.id,
    "PROJECT": lambda execution: execution.project,
    "DOMAIN": lambda execution: execution.domain,
    "WORKFLOW": lambda execution: execution.workflow,
    "VERSION": lambda execution: execution.version,
    "PHASE": lambda execution: execution.phase,
    "POSITION": lambda execution: execution.position,
    "CREATED": lambda execution: execution.created_at,
    "REASON": lambda execution: execution.error or execution.reason,
}
_EXECUTIONS_WIDE: Columns[ExecutionBody] = {
    "LAUNCH PLAN": lambda execution: execution.launch_plan,
    "UPDATED": lambda execution: execution.updated_at,
}


def _runtime(runtime: RuntimeMetadata | None) -> str:
    """Return the SDK that a workflow was registered with, such as ``TRIMTAB_SDK Python 0.1.0``."""
    return (
        " ".join(filter(None, (runtime.type, runtime.flavor, runtime.version))) if runtime else ""
    )


def _label_texts(labels: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in labels.items()]


def _filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``-p`` and ``-d`` as filters of a listing."""
    command = domain_option("Only of this domain.")(command)
    return project_option("Only of this project.")(command)


_LEVELS = click.Choice([level.label for level in Level])


@click.command("kinds", epilog=example("trimtab get kinds"))
@output_option()
@with_server
def kinds(server: Server, output: Output) -> None:
    """List the kinds of the server, with their fields and the levels that they can be set at."""
    show_list(server.call(lambda client: client.kinds.list()), output, _KINDS)


@click.command("records", epilog=example("trimtab get records -p shop --level project-domain"))
@_filter_options
@click.option("--kind", help="Only of this kind or noun.")
@click.option("--level", type=_LEVELS, help="Only of this level.")
@output_option()
@with_server
def records(
    server: Server,
    project: str,
    domain: str,
    kind: str | None,
    level: str | None,
    output: Output,
) -> None:
    """List the stored records of every kind at every level."""
    name = kind and find_kind(server, kind).name
    options = {"project": project, "domain": domain, "level": level or ""}
    filters = {option: value for option, value in options.items() if value}
    found = server.call(lambda client: client.records.list(name, **filters))
    show_list(found, output, _RECORDS)


@click.command("projects", epilog=example("trimtab get projects"))
@click.argument("name", required=False, shell_complete=complete_names("projects"))
@output_option()
@with_server
def projects(server: Server, name: str | None, output: Output) -> None:
    """List projects, or show the project NAME."""
    if name is None:
        found = server.call(lambda client: client.projects.list())
    else:
        found = [server.call(lambda client: client.projects.get(name))]
    show_list(found, output, _PROJECTS, _PROJECTS_WIDE)


@click.command("domains", epilog=example("trimtab get domains"))
@output_option()
@with_server
def domains(server: Server, output: Output) -> None:
    """List domains."""
    show_list(server.call(lambda client: client.domains.list()), output, _DOMAINS, _DOMAINS_WIDE)


@click.command("clusters", epilog=example("trimtab get clusters"))
@output_option()
@with_server
def clusters(server: Server, output: Output) -> None:
    """List the clusters that namespaces are made on."""
    show_list(server.call(lambda client: client.clusters.list()), output, _CLUSTERS, _CLUSTERS_WIDE)


@click.command("queues", epilog=example("trimtab get queues"))
@click.argument("name", required=False, shell_complete=complete_names("queues"))
@output_option()
@with_server
def queues(server: Server, name: str | None, output: Output) -> None:
    """List the queues that executions go to by their tags, or show the queue NAME."""
    if name is None:
        found = server.call(lambda client: client.queues.list())
    else:
        found = [server.call(lambda client: client.queues.get(name))]
    show_list(found, output, _QUEUES, _QUEUES_WIDE)


@click.command("workflows", epilog=example("trimtab get workflows pricing -p shop -d development"))
@click.argument("name", required=False, shell_complete=complete_names("workflows"))
@_filter_options
@output_option()
@with_server
def workflows(
    server: Server, name: str | None, project: str | None, domain: str | None, output: Output
) -> None:
    """List the registered versions of workflows, or of the workflow NAME."""
    found = server.call(lambda client: client.workflows.list(project, domain))
    versions = [one for one in found if name in (None, one.workflow.name)]
    if name is not None and not versions:
        registered = sorted({one.workflow.name for one in found})
        warn(str(NotFound.among("workflow", name, registered)))
    show_list(versions, output, _WORKFLOWS)


@click.command(
    "executions", epilog=example("trimtab get executions -p shop -d development --limit 5")
)
@click.argument("execution", required=False, shell_complete=complete_names("executions"))
@_filter_options
@limit_option
@output_option()
@with_server
def executions(
    server: Server,
    execution: str | None,
    project: str | None,
    domain: str | None,
    limit: int,
    output: Output,
) -> None:
    """List executions, newest first, or show the one with an id."""
    if execution is None:
        found = server.call(lambda client: client.executions.list(project, domain, limit))
    else:
        found = [server.call(lambda client: client.executions.get(execution))]
    show_list(found, output, _EXECUTIONS, _EXECUTIONS_WIDE)


LISTINGS = (
    kinds,
    records,
    projects,
    domains,
    clusters,
    list_pools,
    queues,
    workflows,
    executions,
    list_namespaces,
)
