"""What a route needs of its caller, said beside its path; one that says nothing is for admins.

A right is checked before the body is looked at, so that a refusal tells nothing about what is
stored. Routes whose body names the scope, and lists, take the caller (`As`) and check themselves.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request

from trimtab.levels import Scope
from trimtab_admin.access.rights import Caller, Role


def caller(request: Request) -> Caller:
    """Who calls, as the guard has found out."""
    known: Caller = request.state.caller
    return known


# Dependencies that are no coroutines run in a thread, each for itself.
async def _known(request: Request) -> Caller:
    return caller(request)


As = Annotated[Caller, Depends(_known)]


def _of_record(role: Role) -> Callable[[Request], Awaitable[None]]:
    async def right(request: Request) -> None:
        asked = request.query_params.get
        domain, project = asked("domain", ""), asked("project", "")
        scope = Scope(domain, project, asked("workflow", ""), asked("launch_plan", ""))
        caller(request).check(role, scope, request.path_params["kind"])

    return right


async def _of_workflow(request: Request) -> None:
    steps = request.path_params
    caller(request).check(Role.VIEWER, Scope(steps["domain"], steps["project"], steps["name"]))


def _of_project(role: Role) -> Callable[[Request], Awaitable[None]]:
    async def right(request: Request) -> None:
        project = request.path_params["name"]
        if role is Role.VIEWER:
            caller(request).check_knows(project)
        else:
            caller(request).check(role, Scope(project=project))

    return right


def _of_platform(role: Role) -> Callable[[Request], Awaitable[None]]:
    async def right(request: Request) -> None:
        caller(request).check(role)

    return right


ANYONE = Depends(_known)
"""Whoever has a token: what everybody's settings refer to."""
ADMIN = Depends(_of_platform(Role.ADMIN))
VIEWER_OF_ALL = Depends(_of_platform(Role.VIEWER))
VIEWER_OF_RECORD = Depends(_of_record(Role.VIEWER))
EDITOR_OF_RECORD = Depends(_of_record(Role.EDITOR))
VIEWER_OF_WORKFLOW = Depends(_of_workflow)
VIEWER_OF_PROJECT = Depends(_of_project(Role.VIEWER))
ADMIN_OF_PROJECT = Depends(_of_project(Role.ADMIN))

_RIGHTS = frozenset(
    right.dependency
    for right in (
        ANYONE,
        ADMIN,
        VIEWER_OF_ALL,
        VIEWER_OF_RECORD,
        EDITOR_OF_RECORD,
        VIEWER_OF_WORKFLOW,
        VIEWER_OF_PROJECT,
        ADMIN_OF_PROJECT,
    )
)


def says_a_right(calls: list[Callable[..., object] | None]) -> bool:
    """Whether one of a route's own dependencies is a right."""
    return any(call in _RIGHTS for call in calls)
