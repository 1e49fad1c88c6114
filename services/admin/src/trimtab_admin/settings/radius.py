"""How far a change reaches: whose effective values differ after it. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from trimtab.api.settings import EffectBody, RadiusBody
from trimtab.kinds import cluster_resource
from trimtab.levels import PLATFORM, Level, Scope
from trimtab.messages.events import ProjectChanged
from trimtab.settings import namespaces
from trimtab_admin.settings import bodies
from trimtab_admin.settings.comparison import Comparison
from trimtab_admin.settings.drafts import Draft, leaf_changes
from trimtab_admin.settings.entities import DOMAINS, PROJECTS

MAX_LISTED = 100
"""More than anybody reads; the numbers tell the rest."""


@dataclass
class _Reached:
    numbers: dict[Level, int] = field(default_factory=dict)
    effects: list[EffectBody] = field(default_factory=list)
    rendered: set[Scope] = field(default_factory=set)
    """Projects in domains whose manifests differ."""


def of(draft: Draft, registered: Sequence[Scope], template: str) -> RadiusBody:
    """``registered`` are workflows and launch plans; ``template`` names namespaces."""
    comparisons = list(draft.comparisons())
    reached = _Reached()
    for target in (*_places(draft), *registered) if comparisons else ():
        _look(reached, comparisons, target)
    rendered = _namespaces(draft, reached.rendered, template)
    numbers = reached.numbers
    return RadiusBody(
        domains=numbers.get(Level.DOMAIN, 0),
        projects=numbers.get(Level.PROJECT, 0),
        project_domains=numbers.get(Level.PROJECT_DOMAIN, 0),
        workflows=numbers.get(Level.WORKFLOW, 0),
        launch_plans=numbers.get(Level.LAUNCH_PLAN, 0),
        namespaces=len(rendered),
        effects=tuple(reached.effects),
        rendered=tuple(rendered[:MAX_LISTED]),
    )


def _look(reached: _Reached, comparisons: Sequence[Comparison], target: Scope) -> None:
    felt = False
    for comparison in comparisons:
        before, after = comparison.at(target)
        if before is after:
            continue
        felt = True
        if comparison.kind is cluster_resource.KIND and target.level is Level.PROJECT_DOMAIN:
            reached.rendered.add(target)
        if len(reached.effects) < MAX_LISTED:
            body = bodies.of_scope(target)
            changes = leaf_changes(before, after)
            reached.effects.append(
                EffectBody(kind=comparison.kind.name, target=body, changes=changes)
            )
    if felt:
        reached.numbers[target.level] = reached.numbers.get(target.level, 0) + 1


def _places(draft: Draft) -> Iterator[Scope]:
    """Every target that there is by itself, broadest first."""
    domains, projects = draft.entities_after(DOMAINS), draft.entities_after(PROJECTS)
    yield PLATFORM
    yield from (Scope(domain=domain) for domain in domains)
    yield from (Scope(project=project) for project in projects)
    yield from (Scope(domain, project) for project in projects for domain in domains)


def _namespaces(draft: Draft, changed: set[Scope], template: str) -> list[str]:
    """Those of active projects whose values change, and those that come to be."""
    settings = draft.settings
    domains, active = draft.entities_after(DOMAINS), _active(draft)
    was_active = {p.name for p in settings.projects.values() if p.state == "active"}
    rendered = {
        namespaces.name(template, project, domain)
        for project in active
        for domain in domains
        if Scope(domain, project) in changed
        or project not in was_active
        or domain not in settings.domains
    }
    return sorted(rendered)


def _active(draft: Draft) -> list[str]:
    projects = draft.entities_after(PROJECTS).values()
    return [p.name for p in projects if isinstance(p, ProjectChanged) and p.state == "active"]
