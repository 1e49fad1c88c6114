"""Whether a change may be stored, judged at every target whose effective value changes. Pure."""

from dataclasses import dataclass

from trimtab.errors import Invalid
from trimtab.kinds import Problem
from trimtab.levels import Scope
from trimtab.settings.fold import Effective
from trimtab_admin.settings.comparison import Comparison


@dataclass(frozen=True)
class Violation:
    """A problem of the effective value that a target would have after a change."""

    problem: Problem
    effective: Effective

    def error(self, prefix: str = "") -> Invalid:
        """Return an error that names the scope of the bound, which may not be the edited one."""
        problem = self.problem
        bound = self.effective.leaves.get(problem.bound)
        source = f" by {bound.scope}" if bound else ""
        allowed = f"{problem.allowed}{source}, at {self.effective.target}"
        return Invalid(prefix + problem.path, problem.value, allowed)

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """The scopes that set the value and its bound, in this order."""
        leaves = self.effective.leaves
        paths = (self.problem.path, self.problem.bound)
        return tuple(leaves[path].scope for path in paths if path in leaves)


def first_violation(comparison: Comparison) -> Violation | None:
    """Return the new violation at the broadest target; ``None`` where the change is valid.

    Violations that exist already, because a release became stricter, do not count: they must not
    stop their own repair.
    """
    validate = comparison.kind.validate
    found: list[tuple[Scope, Problem]] = []
    for target in comparison.changed_targets():
        pair = comparison.at(target)
        if problems := list(validate(pair.after)):
            known = list(validate(pair.before))
            found += [(target, problem) for problem in problems if problem not in known][:1]
    if not found:
        return None
    target, problem = min(found, key=lambda each: (each[0].level, str(each[0])))
    return Violation(problem, comparison.effective(target, after=True))
