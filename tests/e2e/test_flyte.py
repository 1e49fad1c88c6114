"""Calls of Flyte's clients reach the containers of admin."""

import grpc
from flyteidl.admin.project_pb2 import ProjectListRequest
from flyteidl.service.admin_pb2_grpc import AdminServiceStub

from tests.e2e.stack import Stack
from tests.servers import PATIENCE_SECONDS


def test_both_replicas_serve_grpc(stack: Stack) -> None:
    stack.trimtab("register", "project", "called")
    bearer = (("authorization", f"Bearer {stack.token}"),)
    for address in stack.grpc_addresses:
        with grpc.insecure_channel(address) as channel:
            projects = AdminServiceStub(channel).ListProjects(
                ProjectListRequest(), metadata=bearer, timeout=PATIENCE_SECONDS
            )
        assert "called" in [project.id for project in projects.projects]
