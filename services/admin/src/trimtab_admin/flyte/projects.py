"""RPCs of Flyte 1 on projects, domains and the version."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from flyteidl.admin.project_pb2 import (
    Domain,
    GetDomainRequest,
    GetDomainsResponse,
    Project,
    ProjectGetRequest,
    ProjectListRequest,
    ProjectRegisterRequest,
    ProjectRegisterResponse,
    Projects,
    ProjectUpdateResponse,
)
from flyteidl.admin.version_pb2 import GetVersionRequest, GetVersionResponse
from google.rpc.code_pb2 import ALREADY_EXISTS, INVALID_ARGUMENT, NOT_FOUND

from trimtab import texts
from trimtab.api.entities import ProjectBody
from trimtab.errors import Invalid
from trimtab.levels import Scope
from trimtab.messages.events import ProjectChanged
from trimtab.release import VERSION
from trimtab.settings.state import Settings
from trimtab_admin.access.authorization import Caller, Role
from trimtab_admin.access.call import Call
from trimtab_admin.flyte import listing, names
from trimtab_admin.flyte.rpc import Rpc, RpcError, any_caller
from trimtab_admin.settings.entities import PROJECTS
from trimtab_admin.settings.history import History
from trimtab_admin.settings.preconditions import Absent, AnyVersion
from trimtab_admin.settings.requests import DerivedWrites, PutEntity
from trimtab_admin.settings.writing import Writer
from trimtab_admin.storage.database import Sessions
from trimtab_admin.storage.outbox import Author
from trimtab_admin.storage.tree import Tree

_STATES: Mapping[int, Literal["active", "archived"]] = {
    Project.ACTIVE: "active",
    Project.ARCHIVED: "archived",
}
_NUMBERS = {name: number for number, name in _STATES.items()}
_MAX_NAME, _MAX_DESCRIPTION = 64, 300


@dataclass(frozen=True)
class ProjectRpcs:
    """The RPCs, with what reads and writes projects for them."""

    tree: Tree
    reading: Sessions
    writer: Writer
    history: History
    domains: Sequence[str]
    """The domains of the configuration, in its order."""

    def table(self) -> Sequence[Rpc]:
        return (
            Rpc("GetProject", self.get, _viewer),
            Rpc("ListProjects", self.list, any_caller),
            Rpc("RegisterProject", self.register),
            Rpc("UpdateProject", self.update, _admin),
            Rpc("GetDomains", self.get_domains, any_caller),
            Rpc("GetVersion", self.get_version, any_caller),
        )

    async def get(self, call: Call, request: ProjectGetRequest) -> Project:
        if not request.id:
            raise _invalid("missing project_id")
        settings = await self._shown()
        return _message(_find(settings, request.id), self._domains(settings))

    async def list(self, call: Call, request: ProjectListRequest) -> Projects:
        created: Mapping[str, int] = {}
        if listing.needs_creation(request):
            created = await self.history.creations()
        settings = await self._shown()
        domains = self._domains(settings)
        visible = [
            _message(project, domains)
            for project in settings.projects.values()
            if call.caller.may_see_project(project.name)
        ]
        page, token = listing.select(request, visible, listing.Times(created, _updates(settings)))
        return Projects(projects=page, token=token)

    async def register(
        self, call: Call, request: ProjectRegisterRequest
    ) -> ProjectRegisterResponse:
        if not request.HasField("project"):
            raise _invalid("missing project")
        project = request.project
        if not project.name:
            raise _invalid("missing project_name")
        _check(project)
        body = _body(project, {})

        def derive(settings: Settings) -> Sequence[PutEntity]:
            if project.id in settings.projects:
                raise RpcError(ALREADY_EXISTS, f"project [{project.id}] already exists")
            return [PutEntity(PROJECTS, body, Absent())]

        await self.writer.write(DerivedWrites(derive), Author(call.caller, "", call.request_id))
        return ProjectRegisterResponse()

    async def update(self, call: Call, request: Project) -> ProjectUpdateResponse:
        def derive(settings: Settings) -> Sequence[PutEntity]:
            if not request.id and settings.projects:
                raise _invalid("missing project_id")
            stored = _find(settings, request.id)
            _check(request)
            return [PutEntity(PROJECTS, _body(request, PROJECTS.to_document(stored)), AnyVersion())]

        await self.writer.write(DerivedWrites(derive), Author(call.caller, "", call.request_id))
        return ProjectUpdateResponse()

    async def get_domains(self, call: Call, request: GetDomainRequest) -> GetDomainsResponse:
        return GetDomainsResponse(domains=self._domains(await self._shown()))

    async def get_version(self, call: Call, request: GetVersionRequest) -> GetVersionResponse:
        response = GetVersionResponse()
        response.control_plane_version.Version = VERSION
        response.control_plane_version.Build = "trimtab"
        return response

    def _domains(self, settings: Settings) -> Sequence[Domain]:
        """Return the domains in the order of the configuration, then all others by name."""
        ordered = dict.fromkeys([*self.domains, *sorted(settings.domains)])
        return [Domain(id=name, name=name) for name in ordered if name in settings.domains]

    async def _shown(self) -> Settings:
        return await self.tree.shown(self.reading)


def _viewer(caller: Caller, request: ProjectGetRequest) -> None:
    """Require a grant for the project or for anything in it."""
    if request.id and not caller.may_see_project(request.id):
        caller.check(Role.VIEWER, Scope(project=request.id))


def _admin(caller: Caller, request: Project) -> None:
    caller.check(Role.ADMIN, Scope(project=request.id))


def _find(settings: Settings, name: str) -> ProjectChanged:
    try:
        return settings.projects[name]
    except KeyError:
        raise RpcError(NOT_FOUND, f"project [{name}] not found") from None


def _check(project: Project) -> None:
    """Raise `RpcError` in Flyte's words, and `Invalid` on what only Trimtab refuses."""
    if not project.id:
        raise _invalid("missing project_id")
    if problem := names.problem_of_labels(project.labels.values):
        raise _invalid(problem)
    if problem := names.problem_of_id(project.id):
        raise _invalid(problem)
    for field, text, most in (
        ("project_name", project.name, _MAX_NAME),
        ("project_description", project.description, _MAX_DESCRIPTION),
    ):
        if len(text.encode()) > most:
            raise _invalid(f"{field} cannot exceed {most} characters")
    if project.domains:
        raise _invalid(
            "Domains are currently only set system wide. Please retry without domains included in "
            "your request."
        )
    if project.state not in _STATES:
        given = (
            Project.ProjectState.Name(project.state)
            if project.state in Project.ProjectState.values()
            else project.state
        )
        raise Invalid("state", given, "ACTIVE or ARCHIVED")


def _body(project: Project, stored: Mapping[str, object]) -> ProjectBody:
    """Return the project after a write by Flyte's message: an empty text keeps what is stored.

    Raises `Invalid`.
    """
    document = {**stored, "state": _STATES[project.state]}
    if project.name:
        document["display_name"] = project.name
    if project.description:
        document["description"] = project.description
    if project.HasField("labels"):
        document["labels"] = dict(project.labels.values)
    body = PROJECTS.parse(project.id, document)
    texts.check(body)
    return body


def _message(project: ProjectChanged, domains: Sequence[Domain]) -> Project:
    message = Project(
        id=project.name,
        name=project.display_name or project.name,
        domains=domains,
        description=project.description,
        state=_NUMBERS[project.state],
    )
    if project.labels:
        message.labels.values.update(project.labels)
    return message


def _updates(settings: Settings) -> Mapping[str, int]:
    revision_of = settings.digest.revision_of
    return {name: revision_of(PROJECTS.subject(name)) or 0 for name in settings.projects}


def _invalid(message: str) -> RpcError:
    return RpcError(INVALID_ARGUMENT, message)
