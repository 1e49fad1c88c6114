"""The blast radius of a draft: the effective values it changes, the namespaces it renders. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from trimtab.api.settings import EffectBody, RadiusBody
from trimtab.kinds import cluster_resource
from trimtab.levels import PLATFORM, Level, Scope
from trimtab.messages.events import ProjectChanged
from trimtab.settings import namespaces
from trimtab_admin import steps
from trimtab_admin.settings import bodies
from trimtab_admin.settings.comparison import Comparison
from trimtab_admin.settings.drafts import Draft, leaf_changes
from trimtab_admin.settings.entities import DOMAINS, PROJECTS
from trimtab_admin.steps import Steps

MAX_LISTED = 100
"""How many effects and namespaces are listed; the numbers count all of them."""


@dataclass
class _Effects:
    """The effects found so far."""

    numbers: dict[Level, int] = field(default_factory=dict)
    """How many targets of each level change."""
    listed: list[EffectBody] = field(default_factory=list)
    rendered: set[Scope] = field(default_factory=set)
    """Project-domains whose manifests change."""


def compute(draft: Draft, registered: Sequence[Scope], template: str) -> Steps[RadiusBody]:
    """Return the blast radius of a draft.

    ``registered`` holds the scopes of workflows and launch plans; ``template`` names namespaces.
    """
    comparisons = yield from draft.comparisons()
    effects = _Effects()
    targets = (*_entity_targets(draft), *registered) if comparisons else ()
    yield from steps.each(lambda target: _add_effects(effects, comparisons, target), targets)
    rendered = yield from _rendered_namespaces(draft, effects.rendered, template)
    numbers = effects.numbers
    return RadiusBody(
        domains=numbers.get(Level.DOMAIN, 0),
        projects=numbers.get(Level.PROJECT, 0),
        project_domains=numbers.get(Level.PROJECT_DOMAIN, 0),
        workflows=numbers.get(Level.WORKFLOW, 0),
        launch_plans=numbers.get(Level.LAUNCH_PLAN, 0),
        namespaces=len(rendered),
        effects=tuple(effects.listed),
        rendered=tuple(rendered[:MAX_LISTED]),
    )


def _add_effects(effects: _Effects, comparisons: Sequence[Comparison], target: Scope) -> None:
    changed = False
    for comparison in comparisons:
        pair = comparison.at(target)
        if not pair.changed:
            continue
        changed = True
        if comparison.kind is cluster_resource.KIND and target.level is Level.PROJECT_DOMAIN:
            effects.rendered.add(target)
        if len(effects.listed) < MAX_LISTED:
            body = bodies.scope_body(target)
            changes = leaf_changes(pair.before, pair.after)
            effects.listed.append(
                EffectBody(kind=comparison.kind.name, target=body, changes=changes)
            )
    if changed:
        effects.numbers[target.level] = effects.numbers.get(target.level, 0) + 1


def _entity_targets(draft: Draft) -> Iterator[Scope]:
    """Yield every target that is not a workflow or launch plan, broadest first."""
    domains, projects = draft.entities_after(DOMAINS), draft.entities_after(PROJECTS)
    yield PLATFORM
    yield from (Scope(domain=domain) for domain in domains)
    yield from (Scope(project=project) for project in projects)
    yield from (Scope(domain, project) for project in projects for domain in domains)


def _rendered_namespaces(draft: Draft, changed: set[Scope], template: str) -> Steps[list[str]]:
    """Return new namespaces, and those of active projects where values of manifests change."""
    settings = draft.settings
    domains, active = draft.entities_after(DOMAINS), _active_projects(draft)
    was_active = {p.name for p in settings.projects.values() if p.state == "active"}

    def rendered(project: str) -> list[str]:
        return [
            namespaces.name(template, project, domain)
            for domain in domains
            if Scope(domain, project) in changed
            or project not in was_active
            or domain not in settings.domains
        ]

    names = yield from steps.each(rendered, active)
    return sorted({name for some in names for name in some})


def _active_projects(draft: Draft) -> list[str]:
    projects = draft.entities_after(PROJECTS).values()
    return [p.name for p in projects if isinstance(p, ProjectChanged) and p.state == "active"]
