"""Resolve an execution: fold its request and the settings into every value it runs with. Pure."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from trimtab.errors import Invalid, Unreadable
from trimtab.messages.executions import Request
from trimtab.messages.resolutions import Resolution, ResolvedValue
from trimtab.resolution.limits import Refusal
from trimtab.settings.state import Settings
from trimtab.workflows.graphs.graph import ID, ID_RULE
from trimtab_propeller.executors.port import Capabilities
from trimtab_propeller.pods.defaults import PodDefaults
from trimtab_propeller.resolution import metadata_checks, parts, placement, pod_checks, pod_policies
from trimtab_propeller.resolution.execution_values import resolve_part
from trimtab_propeller.resolution.node_values import NodeResolver
from trimtab_propeller.resolution.parts import Part
from trimtab_propeller.resolution.site import Site

_DEFAULT_SITE = Site()


@dataclass(frozen=True)
class PreparedResolution:
    """All that a resolution needs. Nothing of it changes, so that a thread can read it."""

    request: Request
    executor: Capabilities
    revision: int
    of_parts: Mapping[str, tuple[ResolvedValue, ...]]
    """The values of each part as a whole, ordered by path."""
    resolvers: Mapping[str, NodeResolver]
    """The resolvers of the nodes by part."""
    pods: PodDefaults
    """The configuration of pods."""

    def resolve(self, pod_of: str = "") -> Resolution:
        """Return every value, each with its source.

        The pod of the node ``pod_of`` is checked even where the executor makes none. Raises
        `Refusal`.
        """
        workflow = self.request.workflow
        with _refusing():
            nodes = {node.id: self.resolvers[node.plan].values(node) for node in workflow.nodes}
            resolution = self._of(nodes)
            with_pods = [
                node for node in workflow.nodes if self.executor.makes_pods or node.id == pod_of
            ]
            policies = {name: each.policies for name, each in self.resolvers.items()}
            pod_checks.check(self.request, resolution, with_pods, self.pods, policies)
            return resolution

    def _of(self, nodes: dict[str, tuple[ResolvedValue, ...]]) -> Resolution:
        isolation = self.executor.isolation
        return Resolution(
            revision=self.revision,
            executor=self.executor.name,
            isolation=str(isolation) if isolation.mechanism else "",
            execution=self.of_parts[""],
            plans={name: own for name, own in self.of_parts.items() if name},
            nodes=nodes,
            pods=self.pods.content,
        )


def resolve(
    request: Request, settings: Settings, executor: Capabilities, site: Site = _DEFAULT_SITE
) -> Resolution:
    """Return every value that the execution and its nodes run with, each with its source.

    Raises `Refusal`.
    """
    check(request, executor)
    return prepare(request, settings, executor, site).resolve()


def prepare(
    request: Request, settings: Settings, executor: Capabilities, site: Site = _DEFAULT_SITE
) -> PreparedResolution:
    """Return what the settings contribute to a request that was checked. Raises `Refusal`."""
    with _refusing():
        by_name = parts.of(request)
        resolved = _Parts(request, by_name[""], settings, executor, site)
        of_parts = {name: resolved.values(part) for name, part in by_name.items()}
        resolvers = {name: resolved.nodes(part) for name, part in by_name.items()}
    return PreparedResolution(request, executor, settings.revision, of_parts, resolvers, site.pods)


def check(request: Request, executor: Capabilities) -> None:
    """Repeat admin's checks, because the request came over the network. Raises `Refusal`."""
    _check_requester(request, executor)
    with _refusing():
        _check(request)


@contextmanager
def _refusing() -> Iterator[None]:
    """Refuse what is not valid."""
    try:
        yield
    except Invalid as error:
        raise Refusal(error.path, error.value, str(error)) from error
    except Unreadable as error:
        raise Refusal("settings", None, str(error)) from error


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
            own = metadata_checks.checked(part, own, execution)
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
    """Raise `Invalid` for a request that admin would not have accepted."""
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
