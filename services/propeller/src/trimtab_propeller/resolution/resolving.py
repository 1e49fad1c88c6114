"""Resolve an execution: fold its request and the settings into every value it runs with. Pure."""

from collections.abc import Mapping

from trimtab.errors import Invalid, Unreadable
from trimtab.messages.executions import Request
from trimtab.messages.resolutions import Resolution, ResolvedValue
from trimtab.resolution.limits import Refusal
from trimtab.settings.state import Settings
from trimtab.workflows.graphs.graph import ID, ID_RULE
from trimtab_propeller.executors.port import Capabilities
from trimtab_propeller.resolution import metadata, parts, placement, pod_checks, pod_policies
from trimtab_propeller.resolution.execution_values import resolve_part
from trimtab_propeller.resolution.node_values import NodeResolver
from trimtab_propeller.resolution.parts import Part
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
    resolved = _Parts(request, by_name[""], settings, executor, site)
    of_parts = {name: resolved.values(part) for name, part in by_name.items()}
    nodes = {
        node.id: resolved.nodes(by_name[node.plan]).values(node) for node in request.workflow.nodes
    }
    resolution = Resolution(
        revision=settings.revision,
        executor=executor.name,
        isolation=str(executor.isolation) if executor.isolation.mechanism else "",
        execution=of_parts.pop(""),
        plans=of_parts,
        nodes=nodes,
        pods=site.pods.content,
    )
    if executor.makes_pods:
        pod_checks.check(request, resolution, nodes, site.pods)
    return resolution


class _Parts:
    """The values of the parts, each resolved once, however many calls have it."""

    def __init__(
        self, request: Request, whole: Part, settings: Settings, executor: Capabilities, site: Site
    ) -> None:
        self._request = request
        self._whole = whole
        self._settings = settings
        self._executor = executor
        self._site = site
        self._shared = tuple(placement.values(request, settings, site))
        self._own: dict[Part, Mapping[str, ResolvedValue]] = {}
        self._listed: dict[Part, tuple[ResolvedValue, ...]] = {}
        self._resolvers: dict[Part, NodeResolver] = {}

    def values(self, part: Part) -> tuple[ResolvedValue, ...]:
        """Return the values as a whole, ordered by path."""
        if part not in self._listed:
            own, execution = self._values(part), self._values(self._whole)
            pod_policies.check_part(own, execution, pod_policies.of_part(self._settings, part))
            own = metadata.checked(part, own, execution)
            self._listed[part] = tuple(self._executor.annotate(own[path]) for path in sorted(own))
        return self._listed[part]

    def nodes(self, part: Part) -> NodeResolver:
        if part not in self._resolvers:
            self._resolvers[part] = NodeResolver(
                self._request,
                part,
                self._settings,
                self._executor,
                self._shared,
                self._site.pods.gpu_resource,
            )
        return self._resolvers[part]

    def _values(self, part: Part) -> Mapping[str, ResolvedValue]:
        if part not in self._own:
            around = {} if part.parent is None else self._values(part.parent)
            self._own[part] = resolve_part(self._request, part, self._settings, self._site, around)
        return self._own[part]


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
