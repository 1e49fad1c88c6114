"""A server of Flyte 1's ``AdminService`` with rows in memory, for tests of its client."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from flyteidl.admin.matchable_resource_pb2 import (
    ListMatchableAttributesResponse,
    MatchableAttributesConfiguration,
)
from flyteidl.admin.project_attributes_pb2 import (
    ProjectAttributesDeleteResponse,
    ProjectAttributesUpdateResponse,
)
from flyteidl.admin.project_domain_attributes_pb2 import (
    ProjectDomainAttributesDeleteResponse,
    ProjectDomainAttributesUpdateResponse,
)
from flyteidl.admin.project_pb2 import (
    Domain,
    GetDomainsResponse,
    Project,
    ProjectRegisterResponse,
    Projects,
    ProjectUpdateResponse,
)
from flyteidl.admin.workflow_attributes_pb2 import (
    WorkflowAttributesDeleteResponse,
    WorkflowAttributesUpdateResponse,
)
from flyteidl.service.admin_pb2_grpc import (
    AdminServiceServicer,
    add_AdminServiceServicer_to_server,
)
from flyteidl.service.auth_pb2 import PublicClientAuthConfigResponse
from flyteidl.service.auth_pb2_grpc import (
    AuthMetadataServiceServicer,
    add_AuthMetadataServiceServicer_to_server,
)


class FakeFlyte(AdminServiceServicer, AuthMetadataServiceServicer):  # type: ignore[misc]
    """It has what a test puts into its attributes, and counts the calls."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.projects: list[Project] = []
        self.domains = ["development", "staging", "production"]
        self.rows: dict[int, list[MatchableAttributesConfiguration]] = {}
        """By the number of the type."""
        self.calls: list[str] = []
        self.failures: dict[str, list[grpc.StatusCode]] = {}
        """The errors of the next calls, by the name of the RPC."""
        self.token = ""
        """The token that calls need; empty where they need none."""
        self.key = "authorization"

    def _begin(self, rpc: str, context: Any) -> None:
        self.calls.append(rpc)
        if failures := self.failures.get(rpc):
            context.abort(failures.pop(0), f"no {rpc} now")
        metadata = dict(context.invocation_metadata())
        if self.token and metadata.get(self.key) != f"Bearer {self.token}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "token parse error")

    def ListProjects(self, request: Any, context: Any) -> Projects:
        self._begin("ListProjects", context)
        is_archived = {"": False, "eq(state,1)": True}[request.filters]
        found = [each for each in self.projects if (each.state == 1) == is_archived]
        start = int(request.token or 0)
        page = found[start : start + request.limit]
        # As in Flyte, a full page has a token although nothing may follow.
        token = str(start + len(page)) if len(page) == request.limit else ""
        return Projects(projects=page, token=token)

    def GetDomains(self, _request: Any, context: Any) -> GetDomainsResponse:
        self._begin("GetDomains", context)
        return GetDomainsResponse(domains=[Domain(id=name, name=name) for name in self.domains])

    def ListMatchableAttributes(
        self, request: Any, context: Any
    ) -> ListMatchableAttributesResponse:
        self._begin("ListMatchableAttributes", context)
        rows: Sequence[Any] = self.rows.get(request.resource_type, ())
        return ListMatchableAttributesResponse(configurations=rows)

    def RegisterProject(self, request: Any, context: Any) -> ProjectRegisterResponse:
        self._begin("RegisterProject", context)
        self.projects.append(request.project)
        return ProjectRegisterResponse()

    def UpdateProject(self, request: Any, context: Any) -> ProjectUpdateResponse:
        self._begin("UpdateProject", context)
        self.projects = [request if each.id == request.id else each for each in self.projects]
        return ProjectUpdateResponse()

    def UpdateProjectAttributes(self, request: Any, context: Any) -> Any:
        self._begin("UpdateProjectAttributes", context)
        self._put(request.attributes, request.attributes.project)
        return ProjectAttributesUpdateResponse()

    def UpdateProjectDomainAttributes(self, request: Any, context: Any) -> Any:
        self._begin("UpdateProjectDomainAttributes", context)
        self._put(request.attributes, request.attributes.project, request.attributes.domain)
        return ProjectDomainAttributesUpdateResponse()

    def UpdateWorkflowAttributes(self, request: Any, context: Any) -> Any:
        self._begin("UpdateWorkflowAttributes", context)
        of = request.attributes
        self._put(of, of.project, of.domain, of.workflow)
        return WorkflowAttributesUpdateResponse()

    def DeleteProjectAttributes(self, request: Any, context: Any) -> Any:
        self._begin("DeleteProjectAttributes", context)
        self._delete(request, request.project)
        return ProjectAttributesDeleteResponse()

    def DeleteProjectDomainAttributes(self, request: Any, context: Any) -> Any:
        self._begin("DeleteProjectDomainAttributes", context)
        self._delete(request, request.project, request.domain)
        return ProjectDomainAttributesDeleteResponse()

    def DeleteWorkflowAttributes(self, request: Any, context: Any) -> Any:
        self._begin("DeleteWorkflowAttributes", context)
        self._delete(request, request.project, request.domain, request.workflow)
        return WorkflowAttributesDeleteResponse()

    def _put(self, request: Any, project: str, domain: str = "", workflow: str = "") -> None:
        message = request.matching_attributes
        number = message.DESCRIPTOR.fields_by_name[message.WhichOneof("target")].number - 1
        rows = self.rows.setdefault(number, [])
        key = (project, domain, workflow)
        rows[:] = [row for row in rows if (row.project, row.domain, row.workflow) != key]
        row = MatchableAttributesConfiguration(
            project=project, domain=domain, workflow=workflow, attributes=message
        )
        rows.append(row)

    def _delete(self, request: Any, *key: str) -> None:
        """Delete a row and, as Flyte does, all narrower ones."""
        rows = self.rows.get(request.resource_type, [])
        rows[:] = [
            row for row in rows if (row.project, row.domain, row.workflow)[: len(key)] != key
        ]

    def GetPublicClientConfig(self, _request: Any, _context: Any) -> PublicClientAuthConfigResponse:
        return PublicClientAuthConfigResponse(authorization_metadata_key=self.key)


@contextmanager
def fake_flyte(tls: grpc.ServerCredentials | None = None) -> Iterator[FakeFlyte]:
    """Serve a Flyte on a port of loopback, in threads of its own."""
    with ThreadPoolExecutor(4) as threads:
        flyte, server = FakeFlyte(), grpc.server(threads)
        add_AdminServiceServicer_to_server(flyte, server)
        add_AuthMetadataServiceServicer_to_server(flyte, server)
        if tls is None:
            flyte.endpoint = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        else:
            flyte.endpoint = f"localhost:{server.add_secure_port('localhost:0', tls)}"
        server.start()
        try:
            yield flyte
        finally:
            server.stop(None).wait()


class _EmptyFlyte2(BaseHTTPRequestHandler):
    """Answers every call of Connect with an empty message: there is nothing."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "application/proto")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Print nothing."""


@contextmanager
def empty_flyte2() -> Iterator[str]:
    """Serve a Flyte 2 without projects, and yield its host and port."""
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), _EmptyFlyte2) as server,
        ThreadPoolExecutor(1) as threads,
    ):
        threads.submit(server.serve_forever)
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
