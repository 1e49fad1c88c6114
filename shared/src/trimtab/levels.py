"""Levels and scopes of settings, and the chain of scopes that applies to a target. Pure."""

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property, lru_cache
from typing import Self

from trimtab.errors import Invalid


class Level(IntEnum):
    """The levels, broadest first: a record at a level with a larger number is narrower and wins."""

    SETTINGS = 0
    """The settings file of the installation: read-only, published by admin."""
    PLATFORM = 1
    DOMAIN = 2
    PROJECT = 3
    PROJECT_DOMAIN = 4
    WORKFLOW = 5
    LAUNCH_PLAN = 6

    @property
    def label(self) -> str:
        """The level as users write it: ``project-domain``."""
        return self.name.lower().replace("_", "-")


@dataclass(frozen=True)
class Scope:
    """A point at one level; parts that are not set are empty.

    Raises `Invalid` where the parts do not name a level: a workflow requires its project and
    domain, and a launch plan requires its workflow.
    """

    domain: str = ""
    project: str = ""
    workflow: str = ""
    launch_plan: str = ""
    settings_file: bool = False
    """Whether the scope is the settings file, the broadest one; no other part may be set then."""

    def __post_init__(self) -> None:
        if self.settings_file and (
            self.domain or self.project or self.workflow or self.launch_plan
        ):
            raise Invalid("scope", str(self), "no other part where settings_file is set")
        if self.workflow and not (self.domain and self.project):
            missing = "domain" if self.project else "project"
            raise Invalid(missing, "", f"the {missing} of workflow {self.workflow!r}")
        if self.launch_plan and not self.workflow:
            raise Invalid("workflow", "", f"the workflow of launch plan {self.launch_plan!r}")

    @cached_property
    def level(self) -> Level:
        if self.settings_file:
            return Level.SETTINGS
        if self.workflow:
            return Level.LAUNCH_PLAN if self.launch_plan else Level.WORKFLOW
        if self.project:
            return Level.PROJECT_DOMAIN if self.domain else Level.PROJECT
        return Level.DOMAIN if self.domain else Level.PLATFORM

    @cached_property
    def chain(self) -> tuple["Scope", ...]:
        """Every scope whose records apply to this target, broadest first, the target last."""
        if self.settings_file:
            return (self,)
        if self.workflow:
            above = _shared(self.domain, self.project, self.workflow if self.launch_plan else "")
            return (*above.chain, self)
        domain, project = Scope(domain=self.domain), Scope(project=self.project)
        return tuple(dict.fromkeys([SETTINGS_FILE, PLATFORM, domain, project, self]))

    def covers(self, target: Self) -> bool:
        """Whether a record at this scope applies to the target."""
        return self in target.chain

    def join(self, other: "Scope") -> "Scope | None":
        """Return the broadest target that both scopes apply to; ``None`` where there is none."""
        if self.settings_file or other.settings_file:
            return other if self.settings_file else self
        pairs = list(zip(self._parts, other._parts, strict=True))
        if any(mine and theirs and mine != theirs for mine, theirs in pairs):
            return None
        domain, project, workflow, launch_plan = (mine or theirs for mine, theirs in pairs)
        return Scope(domain, project, workflow, launch_plan)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        # Cached, because a scope is looked up far more often than it is made.
        return hash((*self._parts, self.settings_file))

    @property
    def _parts(self) -> tuple[str, str, str, str]:
        return (self.domain, self.project, self.workflow, self.launch_plan)

    def __str__(self) -> str:
        """Return the level and its parts: ``project-domain flyteexamples/development``."""
        names = [self.project, self.domain, self.workflow, self.launch_plan]
        return " ".join([self.level.label, "/".join(filter(None, names))]).rstrip()


SETTINGS_FILE = Scope(settings_file=True)
PLATFORM = Scope()


@lru_cache(maxsize=4096)
def _shared(domain: str, project: str, workflow: str) -> Scope:
    """Return one scope object for all targets below it, so that they share its cached chain."""
    return Scope(domain, project, workflow)
