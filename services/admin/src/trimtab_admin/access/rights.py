"""Who may do what: roles, bound to prefixes of scopes and to kinds. Pure."""

from dataclasses import dataclass
from enum import IntEnum

from trimtab.errors import Forbidden
from trimtab.levels import PLATFORM, Scope
from trimtab.messages.events import Event, ProjectChanged, RecordChanged
from trimtab.settings.state import Settings


class Role(IntEnum):
    """Each may do what those before it may."""

    VIEWER = 1
    """Reads."""
    EDITOR = 2
    """Writes records, registers what can be executed, and executes."""
    ADMIN = 3
    """Changes projects; for the whole platform also domains, clusters, pools and tokens."""

    @property
    def label(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Grant:
    """One role, for all that lies at a scope and below it."""

    role: Role
    scope: Scope = PLATFORM
    kinds: frozenset[str] = frozenset()
    """Only records of these; empty is those of every kind, and all that is no record."""

    def allows(self, role: Role, scope: Scope, kind: str) -> bool:
        """``kind`` is empty for what is no record."""
        # The layer below the platform is nobody's part of it.
        reaches = self.scope == PLATFORM or self.scope.covers(scope)
        return reaches and self.role >= role and (not self.kinds or kind in self.kinds)

    def __str__(self) -> str:
        kinds = f" for {', '.join(sorted(self.kinds))}" if self.kinds else ""
        return f"{self.role.label} of {self.scope}{kinds}"


@dataclass(frozen=True)
class Caller:
    """Somebody who is known, and what was granted to them."""

    name: str
    grants: tuple[Grant, ...]
    token: str = ""
    """The id of the token that was brought; empty where it was none of those that are stored."""

    def may(self, role: Role, scope: Scope = PLATFORM, kind: str = "") -> bool:
        return any(grant.allows(role, scope, kind) for grant in self.grants)

    def check(self, role: Role, scope: Scope = PLATFORM, kind: str = "") -> None:
        """Raises `Forbidden`, naming what was granted."""
        if not self.may(role, scope, kind):
            what = f"{kind or 'anything'} at {scope}"
            granted = "; ".join(str(grant) for grant in self.grants) or "nothing"
            raise Forbidden(f"{self.name!r} is no {role.label} of {what}", str(scope), granted)

    def knows(self, project: str) -> bool:
        """Whether the project, or anything in it, is theirs to see."""
        return any(grant.scope.project in ("", project) for grant in self.grants)

    def check_knows(self, project: str) -> None:
        """Raises `Forbidden`."""
        if not self.knows(project):
            self.check(Role.VIEWER, Scope(project=project))

    def check_change(self, settings: Settings, event: Event) -> None:
        """Raises `Forbidden` where the change of these settings is not theirs to make."""
        match event:
            case RecordChanged():
                self.check(Role.EDITOR, event.scope, event.kind)
            case ProjectChanged() if event.name in settings.projects:
                self.check(Role.ADMIN, Scope(project=event.name))
            case _:
                self.check(Role.ADMIN)


EVERYTHING = (Grant(Role.ADMIN),)
ROOT = Caller("root", EVERYTHING)
"""Who brings the token of the token file."""
ANONYMOUS = Caller("anonymous", EVERYTHING)
"""Whoever comes where there is neither a token file nor a token."""
