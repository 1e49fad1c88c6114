"""Resolve an execution: fold its request and the settings into every value it runs with. Pure."""

from trimtab.errors import Invalid, Unreadable
from trimtab.messages.executions import Request
from trimtab.messages.resolutions import Resolution
from trimtab.resolution.limits import Refusal
from trimtab.settings.state import Settings
from trimtab.workflows.graphs.graph import ID, ID_RULE
from trimtab_propeller.executors.port import Capabilities
from trimtab_propeller.resolution import parts, placement, pod_policies
from trimtab_propeller.resolution.execution_values import resolve_part
from trimtab_propeller.resolution.node_values import NodeResolver
from trimtab_propeller.resolution.site import Site

_DEFAULT_SITE = Site()


def resolve(
    request: Request, settings: Settings, executor: Capabilities, site: Site = _DEFAULT_SITE
) -> Resolution:
    """Return every value that the execution and its nodes run with, each with its source.

    Raises `Refusal`.
    """
    _check_requester(request, executor)
    try:
        _check(request)
        return _resolve(request, settings, executor, site)
    except Invalid as error:
        raise Refusal(error.path, error.value, str(error)) from error
    except Unreadable as error:
        raise Refusal("settings", None, str(error)) from error


def _resolve(
    request: Request, settings: Settings, executor: Capabilities, site: Site
) -> Resolution:
    by_name = parts.of(request)
    own = {name: resolve_part(request, part, settings, site) for name, part in by_name.items()}
    for name, part in by_name.items():
        pod_policies.check_part(own[name], own[""], pod_policies.of_part(settings, part))
    shared = tuple(placement.values(request, settings, site))
    resolvers = {
        name: NodeResolver(request, part, settings, executor, shared)
        for name, part in by_name.items()
    }
    nodes = {node.id: resolvers[node.plan].values(node) for node in request.workflow.nodes}
    of_parts = {
        name: tuple(executor.annotate(values[path]) for path in sorted(values))
        for name, values in own.items()
    }
    return Resolution(
        revision=settings.revision,
        executor=executor.name,
        isolation=str(executor.isolation) if executor.isolation.mechanism else "",
        execution=of_parts.pop(""),
        plans=of_parts,
        nodes=nodes,
        pods=site.pods.content,
    )


def _check_requester(request: Request, executor: Capabilities) -> None:
    """Raise `Refusal` where tasks of the requester would have to be isolated, and cannot be."""
    reason = executor.why_admins_only()
    if reason and not request.by_platform_admin:
        raise Refusal("executor", executor.name, reason)


def _check(request: Request) -> None:
    """Repeat admin's checks, because the request came over the network. Raises `Invalid`."""
    workflow = request.workflow
    if unexpanded := (*workflow.workflows, *workflow.references):
        allowed = "an expanded workflow, in which each node calls a task"
        raise Invalid("workflow", unexpanded[0], allowed)
    workflow.check()
    workflow.check_plans()
    workflow.check_hooks("overrides", request.overrides)
    workflow.check_hooks("launch_plan.runtime_override", request.launch_plan.runtime_override)
    if not ID.fullmatch(request.execution):
        raise Invalid("execution", request.execution[:80], ID_RULE)
