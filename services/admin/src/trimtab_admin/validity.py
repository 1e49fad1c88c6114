"""Whether a record may be written, judged at every scope whose effective value changes. Pure."""

from collections.abc import Collection, Mapping
from typing import Any

from trimtab.errors import Invalid
from trimtab.fold import Effective, Record, fold
from trimtab.kinds import Kind, Problem
from trimtab.levels import Level, Scope


def check(
    kind: Kind, scope: Scope, stored: Mapping[Scope, Record], document: Mapping[str, Any]
) -> dict[str, Any]:
    """The document as it is to be stored.

    ``stored`` holds the kind's records as they are now. Raises `Invalid` where the document is
    wrong by itself, or where it would make the effective value of any scope wrong.
    """
    normal = kind.stored(kind.parse(dict(document), scope))
    after = {**stored, scope: Record.of(kind, scope, 0, normal)}
    _check_affected(kind, scope, stored, after)
    return normal


def check_deletion(kind: Kind, scope: Scope, stored: Mapping[Scope, Record]) -> None:
    """Raises `Invalid` where some scope's effective value would be wrong without the record."""
    after = {at: record for at, record in stored.items() if at != scope}
    _check_affected(kind, scope, stored, after)


def affected(changed: Scope, stored: Collection[Scope]) -> list[Scope]:
    """Scopes at which records meet the changed one in a combination of their own.

    Every other target that the change reaches has the value of one of these. A domain's and a
    project's records meet in a project-domain that may have no record itself.
    """
    joined = {changed, *(both for scope in stored if (both := changed.join(scope)) is not None)}
    domains = [scope for scope in joined if scope.level is Level.DOMAIN]
    projects = [scope for scope in joined if scope.level is Level.PROJECT]
    joined |= {Scope(domain.domain, project.project) for domain in domains for project in projects}
    return sorted(joined, key=lambda scope: (scope.level, str(scope)))


def _check_affected(
    kind: Kind, scope: Scope, before: Mapping[Scope, Record], after: Mapping[Scope, Record]
) -> None:
    for target in affected(scope, after):
        effective = _effective(kind, target, after)
        problems = list(kind.validate(effective.flat))
        if not problems:
            continue
        # What was wrong already, because a release became stricter, must not stop its own repair.
        known = list(kind.validate(_effective(kind, target, before).flat))
        for problem in problems:
            if problem not in known:
                raise Invalid(problem.path, problem.value, _allowed(problem, effective))


def _allowed(problem: Problem, effective: Effective) -> str:
    """With the scope that sets the bound, which may be far from the one that is written."""
    bound = effective.leaves.get(problem.bound)
    said_by = f" by {bound.scope}" if bound else ""
    return f"{problem.allowed}{said_by}, at {effective.target}"


def _effective(kind: Kind, target: Scope, records: Mapping[Scope, Record]) -> Effective:
    return fold(kind, target, [records[at] for at in target.chain if at in records])
