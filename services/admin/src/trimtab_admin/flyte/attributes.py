"""RPCs of Flyte 1 on matchable attributes: records of projects, project-domains and workflows.

A read returns the nearest record whole, as in Flyte. A write replaces what Flyte's message can
carry, and leaves the rest of the record as it is.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from flyteidl.admin.matchable_resource_pb2 import (
    ListMatchableAttributesRequest,
    ListMatchableAttributesResponse,
    MatchableAttributesConfiguration,
    MatchableResource,
    MatchingAttributes,
)
from flyteidl.admin.project_attributes_pb2 import (
    ProjectAttributes,
    ProjectAttributesDeleteRequest,
    ProjectAttributesDeleteResponse,
    ProjectAttributesGetRequest,
    ProjectAttributesGetResponse,
    ProjectAttributesUpdateRequest,
    ProjectAttributesUpdateResponse,
)
from flyteidl.admin.project_domain_attributes_pb2 import (
    ProjectDomainAttributesDeleteRequest,
    ProjectDomainAttributesDeleteResponse,
    ProjectDomainAttributesGetRequest,
    ProjectDomainAttributesGetResponse,
    ProjectDomainAttributesUpdateRequest,
    ProjectDomainAttributesUpdateResponse,
)
from flyteidl.admin.project_pb2 import InactiveProject
from flyteidl.admin.workflow_attributes_pb2 import (
    WorkflowAttributesDeleteRequest,
    WorkflowAttributesDeleteResponse,
    WorkflowAttributesGetRequest,
    WorkflowAttributesGetResponse,
    WorkflowAttributesUpdateRequest,
    WorkflowAttributesUpdateResponse,
)
from google.protobuf.message import Message
from google.rpc.code_pb2 import INVALID_ARGUMENT, NOT_FOUND

from trimtab.errors import Invalid
from trimtab.flyte import messages
from trimtab.kinds import Kind, workflow_execution_config
from trimtab.levels import Level, Scope
from trimtab.settings import flyte
from trimtab.settings.fold import Record
from trimtab.settings.state import Settings
from trimtab_admin import slices
from trimtab_admin.access.authorization import Caller, Role
from trimtab_admin.access.call import Call
from trimtab_admin.flyte.rpc import Rpc, RpcError, any_caller
from trimtab_admin.settings.drafts import readable_record
from trimtab_admin.settings.preconditions import AnyVersion
from trimtab_admin.settings.requests import DeleteRecord, DerivedWrites, PutRecord
from trimtab_admin.settings.writing import Writer
from trimtab_admin.storage.database import Sessions
from trimtab_admin.storage.outbox import Author
from trimtab_admin.storage.record_index import START, Key, Search
from trimtab_admin.storage.tree import Tree

_LISTED = (
    Level.LAUNCH_PLAN,
    Level.WORKFLOW,
    Level.PROJECT_DOMAIN,
    Level.PROJECT,
    Level.DOMAIN,
)
"""The levels of a list in its order. The platform stands for Flyte's configuration, which is not in
its lists."""
_CACHE_SIZE = 4096
_LARGE_BYTES = 64 * 1024
"""A message of this size is converted in a thread."""


@dataclass(frozen=True)
class _Identity:
    """The parts of a scope, as a request of Flyte has them: any may be empty or wrong."""

    project: str
    domain: str | None = None
    """``None`` in requests on projects."""
    workflow: str | None = None
    """``None`` in requests on projects and project-domains."""

    @property
    def scope(self) -> Scope:
        """The scope, which is that of a broader level where a part is missing."""
        return _scope(self.project, self.domain or "", self.workflow or "")

    @property
    def text(self) -> str:
        """The parts as Flyte joins them in an error."""
        return "-".join(part for part in (self.project, self.domain, self.workflow) if part)


@lru_cache(maxsize=_CACHE_SIZE)
def _scope(project: str, domain: str, workflow: str) -> Scope:
    return Scope(domain, project, workflow if domain and project else "")


_Addressed = Any
"""A request to read or to delete the attributes of a project, a project-domain or a workflow."""
_Update = Any
"""A request to update them."""


@dataclass(frozen=True)
class AttributeRpcs:
    """The RPCs, with what reads and writes records for them."""

    tree: Tree
    reading: Sessions
    writer: Writer
    _built: dict[tuple[type[Message], str, Scope], tuple[Record, Message]] = field(
        default_factory=dict
    )
    """Messages by their class, kind and scope, each with the record that it was built of."""

    def table(self) -> Sequence[Rpc]:
        """Return the RPCs."""
        return (
            Rpc("GetProjectAttributes", self.get_of_project, _viewer),
            Rpc("UpdateProjectAttributes", self.update_of_project, _updater),
            Rpc("DeleteProjectAttributes", self.delete_of_project, _deleter),
            Rpc("GetProjectDomainAttributes", self.get_of_project_domain, _viewer),
            Rpc("UpdateProjectDomainAttributes", self.update_of_project_domain, _updater),
            Rpc("DeleteProjectDomainAttributes", self.delete_of_project_domain, _deleter),
            Rpc("GetWorkflowAttributes", self.get_of_workflow, _viewer),
            Rpc("UpdateWorkflowAttributes", self.update_of_workflow, _updater),
            Rpc("DeleteWorkflowAttributes", self.delete_of_workflow, _deleter),
            Rpc("ListMatchableAttributes", self.list, any_caller),
        )

    async def get_of_project(
        self, call: Call, request: ProjectAttributesGetRequest
    ) -> ProjectAttributesGetResponse:
        settings, identity = await self._shown(), _identity(request)
        if identity.project not in settings.projects:
            raise _invalid(
                f"failed to validate that project [{identity.project}] exists, "
                f"err: [{_no_project(identity.project)}]"
            )
        if request.resource_type == MatchableResource.WORKFLOW_EXECUTION_CONFIG:
            return _with_configuration(settings, identity)
        return self._nearest(settings, request, ProjectAttributesGetResponse)

    async def get_of_project_domain(
        self, call: Call, request: ProjectDomainAttributesGetRequest
    ) -> ProjectDomainAttributesGetResponse:
        settings = await self._shown()
        _check_target(settings, _identity(request))
        return self._nearest(settings, request, ProjectDomainAttributesGetResponse)

    async def get_of_workflow(
        self, call: Call, request: WorkflowAttributesGetRequest
    ) -> WorkflowAttributesGetResponse:
        settings = await self._shown()
        _check_target(settings, _identity(request))
        return self._nearest(settings, request, WorkflowAttributesGetResponse)

    async def update_of_project(
        self, call: Call, request: ProjectAttributesUpdateRequest
    ) -> ProjectAttributesUpdateResponse:
        await self._update(call, request)
        return ProjectAttributesUpdateResponse()

    async def update_of_project_domain(
        self, call: Call, request: ProjectDomainAttributesUpdateRequest
    ) -> ProjectDomainAttributesUpdateResponse:
        await self._update(call, request)
        return ProjectDomainAttributesUpdateResponse()

    async def update_of_workflow(
        self, call: Call, request: WorkflowAttributesUpdateRequest
    ) -> WorkflowAttributesUpdateResponse:
        await self._update(call, request)
        return WorkflowAttributesUpdateResponse()

    async def delete_of_project(
        self, call: Call, request: ProjectAttributesDeleteRequest
    ) -> ProjectAttributesDeleteResponse:
        await self._delete(call, request)
        return ProjectAttributesDeleteResponse()

    async def delete_of_project_domain(
        self, call: Call, request: ProjectDomainAttributesDeleteRequest
    ) -> ProjectDomainAttributesDeleteResponse:
        await self._delete(call, request)
        return ProjectDomainAttributesDeleteResponse()

    async def delete_of_workflow(
        self, call: Call, request: WorkflowAttributesDeleteRequest
    ) -> WorkflowAttributesDeleteResponse:
        await self._delete(call, request)
        return WorkflowAttributesDeleteResponse()

    async def list(
        self, call: Call, request: ListMatchableAttributesRequest
    ) -> ListMatchableAttributesResponse:
        """Return the records that the caller may read, from narrow to broad.

        A record that is not readable is left out.
        """
        kind = messages.kinds_by_number().get(request.resource_type)
        if kind is None:
            raise _invalid("invalid value for resource_type")
        response = ListMatchableAttributesResponse()
        await self._shown()
        for level in _LISTED:
            search = Search(kind=kind.name, level=level.label)
            last: Key | None = START
            while last is not None:
                await slices.turn()
                last = self._add(response, call.caller, kind, search, last)
        return response

    def _add(
        self,
        response: ListMatchableAttributesResponse,
        caller: Caller,
        kind: Kind,
        search: Search,
        after: Key,
    ) -> Key | None:
        """Add the next records that a search finds; return where it goes on."""
        entries, last = self.tree.index.find(search, after, slices.SIZE)
        stored = self.tree.unverified.records.get(kind.name, {})
        for entry in entries:
            record = stored.get(entry.scope)
            if record is None or not messages.is_row(record):
                continue
            if caller.may(Role.VIEWER, entry.scope, kind.name):
                response.configurations.append(self._configuration(record))
        return last

    def _configuration(self, record: Record) -> MatchableAttributesConfiguration:
        message = self._built_of(MatchableAttributesConfiguration, record)
        if message is None:
            scope = record.scope
            message = MatchableAttributesConfiguration(
                attributes=messages.to_message(record.kind, record.document),
                domain=scope.domain,
                project=scope.project,
                workflow=scope.workflow,
                launch_plan=scope.launch_plan,
            )
            self._keep(record, message)
        return message

    def _nearest(self, settings: Settings, request: _Addressed, response: type[Message]) -> Any:
        """Return the nearest record, with the parts of its own scope. Raises `RpcError`."""
        scope, kind = _identity(request).scope, _known_kind(request)
        record = _nearest(settings, kind, scope)
        if record is None:
            type = MatchableResource.Name(request.resource_type)
            raise RpcError(
                NOT_FOUND,
                f"Resource [{{Project:{scope.project} Domain:{scope.domain} "
                f"Workflow:{scope.workflow} LaunchPlan: ResourceType:{type}}}] not found",
            )
        message = self._built_of(response, record)
        if message is None:
            message = response()
            _fill(message, record)
            self._keep(record, message)
        return message

    def _built_of(self, type: type[Message], record: Record) -> Any:
        """Return the message of a class that was built of a record; ``None`` where none was."""
        built = self._built.get((type, record.kind.name, record.scope))
        # A record never changes: a write replaces it.
        return built[1] if built is not None and built[0] is record else None

    def _keep(self, record: Record, message: Message) -> None:
        if len(self._built) >= _CACHE_SIZE:
            self._built.clear()
        self._built[type(message), record.kind.name, record.scope] = record, message

    async def _update(self, call: Call, request: _Update) -> None:
        await self._check(request)
        attributes = request.attributes.matching_attributes
        kind, scope = messages.kind_of(attributes), _identity(request).scope
        assert kind is not None, "the request was checked"
        try:
            written = await _document(attributes, scope)

            def derive(settings: Settings) -> Sequence[PutRecord]:
                _check_update(settings, request)
                stored = readable_record(settings, kind, scope)
                document = messages.revised(kind, stored.document, written) if stored else written
                return [PutRecord(kind, scope, document, AnyVersion())]

            await self.writer.write(DerivedWrites(derive), _author(call))
        except Invalid as error:
            raise messages.in_message(kind, error) from error

    async def _check(self, request: _Update) -> None:
        """Raise `RpcError` as `_check_update`, before the content of the message is parsed."""
        try:
            _check_update(self.tree.unverified, request)
        except RpcError:
            # Other processes may have changed the settings, so that nothing is wrong.
            _check_update(await self._shown(), request)

    async def _delete(self, call: Call, request: _Addressed) -> None:
        """Delete exactly the record of the request's scope."""
        identity = _identity(request)

        def derive(settings: Settings) -> Sequence[DeleteRecord]:
            _check_target(settings, identity)
            return [DeleteRecord(_known_kind(request), identity.scope, AnyVersion())]

        await self.writer.write(DerivedWrites(derive), _author(call))

    async def _shown(self) -> Settings:
        return await self.tree.shown(self.reading)


def _author(call: Call) -> Author:
    return Author(call.caller, request_id=call.request_id)


async def _document(attributes: MatchingAttributes, scope: Scope) -> Mapping[str, Any]:
    """Return the document of a message that is written at a scope. Raises `Invalid`."""
    if attributes.ByteSize() < _LARGE_BYTES:
        return messages.from_message(attributes, scope)[1]
    return (await asyncio.to_thread(messages.from_message, attributes, scope))[1]


def _viewer(caller: Caller, request: _Addressed) -> None:
    _require(caller, Role.VIEWER, _identity(request), _kind(request))


def _deleter(caller: Caller, request: _Addressed) -> None:
    _require(caller, Role.EDITOR, _identity(request), _kind(request))


def _updater(caller: Caller, request: _Update) -> None:
    kind = messages.kind_of(request.attributes.matching_attributes)
    _require(caller, Role.EDITOR, _identity(request), kind)


def _require(caller: Caller, role: Role, identity: _Identity, kind: Kind | None) -> None:
    caller.check(role, identity.scope, kind.name if kind else "")


def _identity(request: _Addressed | _Update) -> _Identity:
    match request:
        case ProjectAttributesUpdateRequest():
            return _Identity(request.attributes.project)
        case ProjectDomainAttributesUpdateRequest():
            return _Identity(request.attributes.project, request.attributes.domain)
        case WorkflowAttributesUpdateRequest():
            one = request.attributes
            return _Identity(one.project, one.domain, one.workflow)
        case ProjectAttributesGetRequest() | ProjectAttributesDeleteRequest():
            return _Identity(request.project)
        case ProjectDomainAttributesGetRequest() | ProjectDomainAttributesDeleteRequest():
            return _Identity(request.project, request.domain)
        case _:
            return _Identity(request.project, request.domain, request.workflow)


def _kind(request: _Addressed) -> Kind | None:
    return messages.kinds_by_number().get(request.resource_type)


def _known_kind(request: _Addressed) -> Kind:
    """Raise `RpcError` where Flyte has no kind of the number."""
    kind = _kind(request)
    if kind is None:
        raise _invalid(
            f"invalid value for resource_type: Flyte has no kind {request.resource_type}; kinds "
            "that only Trimtab has are at /api/v2"
        )
    return kind


def _nearest(settings: Settings, kind: Kind, target: Scope) -> Record | None:
    """Return the record that Flyte would read: not those of broader levels. Raises `Unreadable`."""
    for scope in reversed(target.chain):
        if scope.level < Level.PROJECT:
            return None
        record = readable_record(settings, kind, scope)
        if record is not None and messages.is_row(record):
            return record
    return None


def _fill(response: Any, record: Record) -> None:
    """Set the attributes of a response, and the parts of the scope that it has fields for."""
    attributes: Any = response.attributes
    attributes.matching_attributes.CopyFrom(messages.to_message(record.kind, record.document))
    for part in ("project", "domain", "workflow"):
        if part in attributes.DESCRIPTOR.fields_by_name:
            setattr(attributes, part, getattr(record.scope, part))


def _with_configuration(settings: Settings, identity: _Identity) -> ProjectAttributesGetResponse:
    """Return the record of a project, in which fields of the configuration fill those it lacks.

    The settings file and the record of the platform stand for Flyte's configuration.
    """
    kind = workflow_execution_config.KIND
    document = dict(flyte.effective(settings, kind.name, identity.scope).document)
    record = settings.records.get(kind.name, {}).get(identity.scope)
    # Flyte shows them in a project's record, although nothing else in it reads them.
    if record is not None and (assigned := record.document.get(_ASSIGNMENTS)):
        document[_ASSIGNMENTS] = assigned
    return ProjectAttributesGetResponse(
        attributes=ProjectAttributes(
            project=identity.project, matching_attributes=messages.to_message(kind, document)
        )
    )


_ASSIGNMENTS = "execution_env_assignments"


def _check_update(settings: Settings, request: _Update) -> None:
    """Raise `RpcError` where Flyte would, in its order."""
    if not request.HasField("attributes"):
        raise _invalid("missing attributes")
    identity = _identity(request)
    _check_target(settings, identity)
    if not request.attributes.HasField("matching_attributes"):
        raise _invalid("missing matching_attributes")
    if messages.kind_of(request.attributes.matching_attributes) is None:
        raise _invalid(f"Unrecognized matching attributes type for request {identity.text}")


def _check_target(settings: Settings, identity: _Identity) -> None:
    """Raise `RpcError` unless the project is active, and the domain and the workflow are named.

    An empty project is one that does not exist.
    """
    project, domain = identity.project, identity.domain
    stored = settings.projects.get(project)
    if stored is None:
        of = (
            f"project [{project}] is"
            if domain is None
            else (f"project [{project}] and domain [{domain}] are")
        )
        raise _invalid(f"failed to validate that {of} registered, err: [{_no_project(project)}]")
    if stored.state != "active":
        details = () if domain is None else (InactiveProject(id=project),)
        raise RpcError(INVALID_ARGUMENT, f"project [{project}] is not active", details)
    if domain is not None and domain not in settings.domains:
        raise _invalid(f"domain [{domain}] is unrecognized by system")
    if identity.workflow == "":
        raise _invalid("missing name")


def _no_project(project: str) -> str:
    return f"project [{project}] not found"


def _invalid(message: str) -> RpcError:
    return RpcError(INVALID_ARGUMENT, message)
