"""Whether records may be written, judged at every target whose effective value changes. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trimtab.errors import Invalid
from trimtab.kinds import Kind, Problem
from trimtab.levels import Scope
from trimtab.settings.fold import Effective, Record
from trimtab_admin.settings.comparison import Comparison


@dataclass(frozen=True)
class Wrong:
    """What would be wrong, and where."""

    problem: Problem
    effective: Effective

    def error(self, prefix: str = "") -> Invalid:
        """With the scope that sets the bound, which may be far from the one that is written."""
        problem = self.problem
        bound = self.effective.leaves.get(problem.bound)
        said_by = f" by {bound.scope}" if bound else ""
        allowed = f"{problem.allowed}{said_by}, at {self.effective.target}"
        return Invalid(prefix + problem.path, problem.value, allowed)

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """Those that say what does not fit together, the first one the value."""
        leaves = self.effective.leaves
        paths = (self.problem.path, self.problem.bound)
        return tuple(leaves[path].scope for path in paths if path in leaves)


def first_wrong(comparison: Comparison) -> Wrong | None:
    """At the broadest target; ``None`` where all is well.

    What was wrong already, because a release became stricter, must not stop its own repair.
    """
    validate = comparison.kind.validate
    wrong: list[tuple[Scope, Problem]] = []
    for target in comparison.meetings():
        pair = comparison.at(target)
        if problems := list(validate(pair.after)):
            known = list(validate(pair.before))
            wrong += [(target, problem) for problem in problems if problem not in known][:1]
    if not wrong:
        return None
    target, problem = min(wrong, key=lambda found: (found[0].level, str(found[0])))
    return Wrong(problem, comparison.effective(target, after=True))


def check(
    kind: Kind, scope: Scope, stored: Mapping[Scope, Record], document: Mapping[str, Any]
) -> dict[str, Any]:
    """The document as it is to be stored.

    ``stored`` holds the kind's records as they are now. Raises `Invalid` where the document is
    wrong by itself, or where it would make the effective value of any scope wrong.
    """
    normal = kind.to_document(kind.parse(dict(document), scope))
    _check(Comparison(kind, stored, {scope: Record.of(kind, scope, 0, normal)}))
    return normal


def check_deletion(kind: Kind, scope: Scope, stored: Mapping[Scope, Record]) -> None:
    """Raises `Invalid` where some scope's effective value would be wrong without the record."""
    _check(Comparison(kind, stored, {scope: None}))


def _check(comparison: Comparison) -> None:
    wrong = first_wrong(comparison)
    if wrong is not None:
        raise wrong.error()
