"""The gRPC door: how calls are admitted, served, refused, limited and ended."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from flyteidl.service import auth_pb2
from grpc import StatusCode
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from tests.integration.admin.grpc_client import GrpcClient
from tests.integration.admin.running import running, settings_for, until
from tests.servers import NatsServer, free_port
from trimtab_admin.config import AdminConfig

ADMIN = "/flyteidl.service.AdminService"
AUTH = "/flyteidl.service.AuthMetadataService"
HEALTH = "/grpc.health.v1.Health"


@pytest.fixture
def settings(tmp_path: Path, nats_server: NatsServer) -> AdminConfig:
    return settings_for(tmp_path, nats_server.url, grpc_port=free_port())


@pytest.fixture
async def admin(settings: AdminConfig) -> AsyncIterator[httpx.AsyncClient]:
    async with running(settings) as client:
        yield client


@pytest.fixture
async def door(admin: httpx.AsyncClient, settings: AdminConfig) -> AsyncIterator[GrpcClient]:
    async with GrpcClient(settings) as client:
        yield client


async def test_a_client_finds_how_to_authenticate_before_it_has_a_token(door: GrpcClient) -> None:
    response = await door.call(f"{AUTH}/GetPublicClientConfig", metadata=())
    config = auth_pb2.PublicClientAuthConfigResponse.FromString(response)
    assert config.authorization_metadata_key == "authorization"
    assert await door.call(f"{AUTH}/GetOAuth2Metadata", metadata=()) == b""


async def test_health_is_that_of_readyz(door: GrpcClient, nats_server: NatsServer) -> None:
    async def status(service: str) -> int:
        request = HealthCheckRequest(service=service)
        response = await door.call(f"{HEALTH}/Check", request, metadata=())
        return int(HealthCheckResponse.FromString(response).status)

    async def is_serving() -> bool:
        return await status("") == HealthCheckResponse.SERVING

    await until(is_serving)
    for name in ("flyteadmin", AUTH[1:]):
        assert await status(name) == HealthCheckResponse.SERVING
    error = await door.error(f"{HEALTH}/Check", HealthCheckRequest(service="nope"))
    assert (error.code(), error.details()) == (StatusCode.NOT_FOUND, "unknown service")
    nats_server.stop()

    async def is_not_serving() -> bool:
        return await status("") == HealthCheckResponse.NOT_SERVING

    await until(is_not_serving)
