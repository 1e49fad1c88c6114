"""The gRPC client of a running Flyte 1: its ``AdminService``, with deadlines and retries.

A call raises `trimtab.errors.Unavailable` where nothing answers, `Refused` for an error of the
server, and `trimtab.errors.Unauthorized` for one that is about the token.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio
from flyteidl.admin.common_pb2 import Labels
from flyteidl.admin.matchable_resource_pb2 import (
    ListMatchableAttributesRequest,
    MatchingAttributes,
)
from flyteidl.admin.project_attributes_pb2 import (
    ProjectAttributesDeleteRequest,
    ProjectAttributesUpdateRequest,
)
from flyteidl.admin.project_domain_attributes_pb2 import (
    ProjectDomainAttributesDeleteRequest,
    ProjectDomainAttributesUpdateRequest,
)
from flyteidl.admin.project_pb2 import (
    GetDomainRequest,
    Project,
    ProjectListRequest,
    ProjectRegisterRequest,
)
from flyteidl.admin.version_pb2 import GetVersionRequest
from flyteidl.admin.workflow_attributes_pb2 import (
    WorkflowAttributesDeleteRequest,
    WorkflowAttributesUpdateRequest,
)
from flyteidl.service.admin_pb2_grpc import AdminServiceStub
from flyteidl.service.auth_pb2 import PublicClientAuthConfigRequest
from flyteidl.service.auth_pb2_grpc import AuthMetadataServiceStub

from trimtab.client.addresses import check_token
from trimtab.errors import Invalid, Rejected, TrimtabError, Unauthorized, Unavailable
from trimtab.flyte.rows import FlyteProject, Row
from trimtab.kinds import Kind
from trimtab.levels import Level, Scope
from trimtab.runtime.retrying import backoff_seconds

CALL_SECONDS = 60.0
"""The deadline of one call. Flyte lists all rows of a type in one response."""
_TRIES = 4
_FIRST_RETRY_SECONDS = 0.25
_LONGEST_RETRY_SECONDS = 2.0
_PAGE = 100
_COMMAND_SECONDS = 60.0
_METADATA_KEY = "authorization"

Token = Callable[[], Awaitable[str]]
"""Returns a token; called again where the server no longer accepts the last one."""


class Refused(Rejected):
    """Flyte answered with an error that a repetition does not change."""

    def __init__(self, message: str, status: str) -> None:
        super().__init__(message)
        self.status = status
        """The name of the code of gRPC, such as ``INVALID_ARGUMENT``."""


class FlyteAdmin:
    """An async context manager; leaving it closes the connection."""

    def __init__(
        self,
        endpoint: str,
        *,
        insecure: bool = False,
        ca_file: Path | None = None,
        token: Token | None = None,
    ) -> None:
        """``endpoint`` is HOST:PORT, optionally after ``dns:///``, as in flytectl's configuration.

        Without a CA file, a server's certificate is checked with the roots of the system. Raises
        `Invalid` and `Rejected`.
        """
        self.endpoint = _checked(endpoint)
        self._token = token
        self._metadata: tuple[tuple[str, str], ...] | None = None if token else ()
        self._tls = _credentials(insecure, ca_file)
        self._channel: grpc.aio.Channel | None = None

    async def __aenter__(self) -> Self:
        # Not made before: it belongs to the running event loop.
        self._channel = _channel(self.endpoint, self._tls)
        self._admin = AdminServiceStub(self._channel)
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        assert self._channel is not None
        await self._channel.close()

    async def version(self) -> str:
        """Return the version of Flyte, such as ``v1.16.8``; empty where it does not have one."""
        found = await self._call("GetVersion", GetVersionRequest())
        return str(found.control_plane_version.Version)

    async def domains(self) -> list[str]:
        """Return the ids of all domains."""
        found = await self._call("GetDomains", GetDomainRequest())
        return [domain.id for domain in found.domains]

    async def projects(self) -> list[FlyteProject]:
        """Return all projects, also archived ones, which a list without a filter lacks."""
        found = [*await self._projects(""), *await self._projects("eq(state,1)")]
        # A project may have been archived between the two.
        return [_project(each) for each in {each.id: each for each in found}.values()]

    async def _projects(self, filters: str) -> list[Project]:
        found: list[Project] = []
        token = ""
        while True:
            request = ProjectListRequest(limit=_PAGE, token=token, filters=filters)
            page = await self._call("ListProjects", request)
            found += page.projects
            token = page.token
            if not token or not page.projects:
                return found

    async def list_attributes(self, kind: Kind) -> list[Row]:
        """Return all rows of a kind that Flyte 1 has."""
        request = ListMatchableAttributesRequest(resource_type=_number(kind))
        found = await self._call("ListMatchableAttributes", request)
        return [
            Row(kind, each.attributes, each.project, each.domain, each.workflow, each.launch_plan)
            for each in found.configurations
        ]

    async def update(self, scope: Scope, message: MatchingAttributes) -> None:
        """Create or replace the row of exactly this scope; plugin overrides are merged into it.

        Raises `Invalid` for a level that Flyte cannot write.
        """
        match scope.level:
            case Level.PROJECT:
                of_project = ProjectAttributesUpdateRequest()
                of_project.attributes.project = scope.project
                of_project.attributes.matching_attributes.CopyFrom(message)
                await self._call("UpdateProjectAttributes", of_project)
            case Level.PROJECT_DOMAIN:
                of_domain = ProjectDomainAttributesUpdateRequest()
                of_domain.attributes.project = scope.project
                of_domain.attributes.domain = scope.domain
                of_domain.attributes.matching_attributes.CopyFrom(message)
                await self._call("UpdateProjectDomainAttributes", of_domain)
            case Level.WORKFLOW:
                of_workflow = WorkflowAttributesUpdateRequest()
                of_workflow.attributes.project = scope.project
                of_workflow.attributes.domain = scope.domain
                of_workflow.attributes.workflow = scope.workflow
                of_workflow.attributes.matching_attributes.CopyFrom(message)
                await self._call("UpdateWorkflowAttributes", of_workflow)
            case _:
                raise _unwritable(scope)

    async def delete(self, scope: Scope, kind: Kind) -> None:
        """Delete the row of a scope, and in Flyte every narrower row of the kind.

        It need not exist. Raises as `update`.
        """
        number = _number(kind)
        match scope.level:
            case Level.PROJECT:
                request = ProjectAttributesDeleteRequest(
                    project=scope.project, resource_type=number
                )
                await self._call("DeleteProjectAttributes", request)
            case Level.PROJECT_DOMAIN:
                of_domain = ProjectDomainAttributesDeleteRequest(
                    project=scope.project, domain=scope.domain, resource_type=number
                )
                await self._call("DeleteProjectDomainAttributes", of_domain)
            case Level.WORKFLOW:
                of_workflow = WorkflowAttributesDeleteRequest(
                    project=scope.project,
                    domain=scope.domain,
                    workflow=scope.workflow,
                    resource_type=number,
                )
                await self._call("DeleteWorkflowAttributes", of_workflow)
            case _:
                raise _unwritable(scope)

    async def register(self, project: FlyteProject) -> None:
        """Create a project. Raises `Refused` with ``ALREADY_EXISTS`` where the id is used."""
        await self._call("RegisterProject", ProjectRegisterRequest(project=_message(project)))

    async def update_project(self, project: FlyteProject) -> None:
        """Replace labels and state of a project, and its name and description unless empty."""
        await self._call("UpdateProject", _message(project))

    async def _call(self, rpc: str, request: Any) -> Any:
        """Call a method of ``AdminService``, again where the server does not respond."""
        is_renewed = False
        tries = 0
        while True:
            try:
                metadata = await self._credentials()
                method = getattr(self._admin, rpc)
                response = await method(request, metadata=metadata, timeout=CALL_SECONDS)
                if response is None:
                    text = f"the response to {rpc} of {self.endpoint} is not Flyte's"
                    raise Refused(text, "INTERNAL")
                return response
            except grpc.aio.AioRpcError as error:
                code = error.code()
                if code is grpc.StatusCode.UNAUTHENTICATED and self._token and not is_renewed:
                    # The token may have expired.
                    is_renewed, self._metadata = True, None
                elif code is grpc.StatusCode.UNAVAILABLE and (tries := tries + 1) < _TRIES:
                    delay = backoff_seconds(
                        tries, first=_FIRST_RETRY_SECONDS, longest=_LONGEST_RETRY_SECONDS
                    )
                    await asyncio.sleep(delay)
                else:
                    raise self._error(rpc, error) from error

    async def _credentials(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata that has the token."""
        if self._metadata is None:
            assert self._token is not None
            token = await self._token()
            check_token(token, "the token for Flyte")
            self._metadata = ((await self._metadata_key(), f"Bearer {token}"),)
        return self._metadata

    async def _metadata_key(self) -> str:
        """Return the key of the token, which the configuration for public clients has."""
        stub = AuthMetadataServiceStub(self._channel)
        try:
            found = await stub.GetPublicClientConfig(
                PublicClientAuthConfigRequest(), timeout=CALL_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                raise
            return _METADATA_KEY
        return str(found.authorization_metadata_key).lower() or _METADATA_KEY

    def _error(self, rpc: str, error: grpc.aio.AioRpcError) -> TrimtabError:
        code, details = error.code(), error.details() or ""
        match code:
            case grpc.StatusCode.UNAVAILABLE:
                return Unavailable(f"no Flyte responds at {self.endpoint}: {details}")
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                return Unavailable(
                    f"Flyte at {self.endpoint} did not answer {rpc} within {CALL_SECONDS:.0f} s"
                )
            case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
                return Unauthorized(
                    f"Flyte at {self.endpoint} refuses {rpc}: {details or code.name}"
                )
            case _:
                text = f"Flyte at {self.endpoint} refuses {rpc}: {code.name}: {details}"
                return Refused(text, code.name)


def token_of_command(command: Sequence[str]) -> Token:
    """Return the token that a program prints, as ``authType: ExternalCommand`` of flytectl does."""

    async def token() -> str:
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
        except OSError as error:
            raise Rejected(f"{command[0]} cannot be started: {error.strerror}") from error
        try:
            output, errors = await asyncio.wait_for(process.communicate(), _COMMAND_SECONDS)
        except TimeoutError as error:
            process.kill()
            await process.wait()
            text = f"{command[0]} printed no token within {_COMMAND_SECONDS:.0f} s"
            raise Unavailable(text) from error
        if process.returncode:
            reason = errors.decode(errors="replace").strip()
            text = f"{command[0]} printed no token: exit code {process.returncode}"
            raise Rejected(f"{text}: {reason}" if reason else text)
        return output.decode(errors="replace").strip()

    return token


def token_of_file(path: Path) -> Token:
    """Return the token in a file, which may be written again while it is used."""

    async def token() -> str:
        try:
            return (await asyncio.to_thread(path.read_text, encoding="utf-8")).strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Rejected(f"the token file {path} cannot be read: {error}") from error

    return token


def _checked(endpoint: str) -> str:
    """Return HOST:PORT. Raises `Invalid`."""
    name = endpoint.removeprefix("dns:///")
    host, colon, port = name.rpartition(":")
    if "/" in name or not (colon and host and port.isdecimal() and 0 < int(port) < 65536):
        allowed = "HOST:PORT of Flyte's gRPC, optionally after dns:///, such as flyte.example:81"
        raise Invalid("endpoint", endpoint, allowed)
    return name


def _credentials(insecure: bool, ca_file: Path | None) -> grpc.ChannelCredentials | None:
    if not insecure:
        return grpc.ssl_channel_credentials(_roots(ca_file))
    if ca_file is not None:
        raise Invalid("ca_file", str(ca_file), "no CA file for a connection without TLS")
    return None


def _channel(endpoint: str, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    # Flyte lists all rows of a type in one message, of whatever size.
    options = (("grpc.max_receive_message_length", -1),)
    if credentials is None:
        return grpc.aio.insecure_channel(endpoint, options)
    return grpc.aio.secure_channel(endpoint, credentials, options)


def _roots(ca_file: Path | None) -> bytes | None:
    """Return the certificates to trust; ``None`` selects those that gRPC has."""
    path = ca_file or ssl.get_default_verify_paths().cafile
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise Rejected(f"the CA file {path} cannot be read: {error.strerror}") from error


def _number(kind: Kind) -> int:
    assert kind.flyte is not None
    return kind.flyte.number


def _project(message: Project) -> FlyteProject:
    is_archived = message.state in (Project.ARCHIVED, Project.SYSTEM_ARCHIVED)
    labels = dict(message.labels.values)
    return FlyteProject(message.id, message.name, message.description, labels, is_archived)


def _message(project: FlyteProject) -> Project:
    return Project(
        id=project.id,
        name=project.name or project.id,
        description=project.description,
        labels=Labels(values=project.labels),
        state=Project.ARCHIVED if project.is_archived else Project.ACTIVE,
    )


def _unwritable(scope: Scope) -> Invalid:
    return Invalid("level", scope.level.label, "project, project-domain or workflow, as in Flyte 1")
