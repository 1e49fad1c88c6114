"""Authorization: roles, grants, what each operation requires, and what a caller may see. Pure.

`trimtab_admin.storage.visibility` turns grants into conditions of SQL queries.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from trimtab.errors import Forbidden
from trimtab.levels import PLATFORM, Scope
from trimtab.messages.events import Event, ProjectChanged, PruneChanged, RecordChanged
from trimtab.settings.state import Settings


class Role(IntEnum):
    """A role includes the rights of the roles before it."""

    VIEWER = 1
    """Reads."""
    EDITOR = 2
    """Writes records, registers workflows and launch plans, and starts executions."""
    ADMIN = 3
    """Changes projects, and confirms what is deleted from their namespaces; for the platform also
    changes domains, clusters, pools, queues and API tokens."""

    @property
    def label(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Grant:
    """One role for a scope and everything below it."""

    role: Role
    scope: Scope = PLATFORM
    kinds: frozenset[str] = frozenset()
    """Limits the grant to records of these kinds; empty allows all kinds, and things that are not
    records."""

    def allows(self, role: Role, scope: Scope, kind: str) -> bool:
        """Return whether the grant includes the role; ``kind`` is empty except for records."""
        # The layer of the settings file lies below the platform, and no narrower scope covers it.
        reaches = self.scope == PLATFORM or self.scope.covers(scope)
        return reaches and self.role >= role and (not self.kinds or kind in self.kinds)

    def may_register_in(self, scope: Scope) -> bool:
        """Return whether the grant is for all workflows of a project and domain, or one of them."""
        own = Scope(self.scope.domain or scope.domain, self.scope.project or scope.project)
        is_of_workflow = not self.kinds and not self.scope.launch_plan
        return is_of_workflow and self.role >= Role.EDITOR and own == scope

    def __str__(self) -> str:
        kinds = f" for {', '.join(sorted(self.kinds))}" if self.kinds else ""
        return f"{self.role.label} of {self.scope}{kinds}"


@dataclass(frozen=True)
class Caller:
    """The identity behind a call, with its grants."""

    name: str
    grants: tuple[Grant, ...]
    api_token_id: str = ""
    """The id of the API token that the call carried; empty where it carried none that is stored."""

    def may(self, role: Role, scope: Scope = PLATFORM, kind: str = "") -> bool:
        return any(grant.allows(role, scope, kind) for grant in self.grants)

    def check(self, role: Role, scope: Scope = PLATFORM, kind: str = "") -> None:
        """Raise `Forbidden`, which names the caller's grants, where the caller lacks the role."""
        if self.may(role, scope, kind):
            return
        where = f"{kind} at {_quote(scope)}" if kind else _quote(scope)
        article = "an" if role.label[0] in "aeiou" else "a"
        granted = "; ".join(str(grant) for grant in self.grants) or "nothing"
        message = f'User "{self.name}" is not {article} {role.label} of {where}'
        raise Forbidden(message, str(scope), granted)

    def may_see_project(self, project: str) -> bool:
        """Return whether any grant reaches the project or something in it."""
        return any(grant.scope.project in ("", project) for grant in self.grants)

    def reaches(self, scope: Scope) -> bool:
        """Return whether any grant, of whatever kinds, is for the scope."""
        return any(g.scope == PLATFORM or g.scope.covers(scope) for g in self.grants)

    def check_change(self, settings: Settings, event: Event) -> None:
        """Raise `Forbidden` where the caller may not make this change of these settings."""
        match event:
            case RecordChanged():
                self.check(Role.EDITOR, event.scope, event.kind)
            case ProjectChanged() if event.name in settings.projects:
                self.check(Role.ADMIN, Scope(project=event.name))
            case PruneChanged():
                self.check(Role.ADMIN, Scope(event.domain, event.project))
            case _:
                self.check(Role.ADMIN)


EVERYTHING = (Grant(Role.ADMIN),)
ROOT = Caller("root", EVERYTHING)
"""The caller whose call carries the token of the token file."""
ANONYMOUS = Caller("anonymous", EVERYTHING)
"""Every caller while there is neither a token file nor an API token."""
UNAUTHENTICATED = Caller("", ())
"""The caller of a call that is not authenticated (yet)."""


def anonymous_callers(doors: Iterable[str]) -> Mapping[str, Caller]:
    """Return the caller of calls without credentials, by door.

    A door is given as in the configuration: ``grpc``, or with another role than viewer
    ``grpc:editor``.
    """
    parts = (door.partition(":") for door in doors)
    return {
        name: Caller(ANONYMOUS.name, (Grant(Role[(role or "viewer").upper()]),))
        for name, _, role in parts
    }


Requirement = Callable[[Caller, Mapping[str, str]], None]
"""A requirement of an operation: it raises `Forbidden` unless the caller may make a call with these
parameters. It runs before the body is read, so that a refusal discloses nothing that is stored."""


def any_caller(_caller: Caller, _parameters: Mapping[str, str]) -> None:
    """Require only authentication: the result is public to callers, filtered, or checked later."""


def platform_viewer(caller: Caller, _parameters: Mapping[str, str]) -> None:
    caller.check(Role.VIEWER)


def platform_admin(caller: Caller, _parameters: Mapping[str, str]) -> None:
    caller.check(Role.ADMIN)


def record_viewer(caller: Caller, parameters: Mapping[str, str]) -> None:
    caller.check(Role.VIEWER, _scope(parameters), parameters["kind"])


def record_editor(caller: Caller, parameters: Mapping[str, str]) -> None:
    caller.check(Role.EDITOR, _scope(parameters), parameters["kind"])


def workflow_viewer(caller: Caller, parameters: Mapping[str, str]) -> None:
    scope = Scope(parameters["domain"], parameters["project"], parameters["name"])
    caller.check(Role.VIEWER, scope)


def blob_viewer(caller: Caller, parameters: Mapping[str, str]) -> None:
    caller.check(Role.VIEWER, Scope(parameters["domain"], parameters["project"]))


def blob_editor(caller: Caller, parameters: Mapping[str, str]) -> None:
    """Require the right to register one workflow there: its code may be a bundle."""
    here = Scope(parameters["domain"], parameters["project"])
    if not any(grant.may_register_in(here) for grant in caller.grants):
        caller.check(Role.EDITOR, here)


def launch_plan_viewer(caller: Caller, parameters: Mapping[str, str]) -> None:
    """Require a grant for the project or for anything in it: the launch plan names its workflow."""
    if not caller.may_see_project(parameters["project"]):
        caller.check(Role.VIEWER, Scope(parameters["domain"], parameters["project"]))


def project_viewer(caller: Caller, parameters: Mapping[str, str]) -> None:
    """Require a grant for the project or for anything in it."""
    project = parameters["name"]
    if not caller.may_see_project(project):
        caller.check(Role.VIEWER, Scope(project=project))


def project_admin(caller: Caller, parameters: Mapping[str, str]) -> None:
    caller.check(Role.ADMIN, Scope(project=parameters["name"]))


def _scope(parameters: Mapping[str, str]) -> Scope:
    part = parameters.get
    return Scope(
        part("domain", ""), part("project", ""), part("workflow", ""), part("launch_plan", "")
    )


def _quote(scope: Scope) -> str:
    """Return the scope as messages name it, such as ``project "shop"``."""
    level, _, names = str(scope).partition(" ")
    return f'{level} "{names}"' if names else f"the {level}"
