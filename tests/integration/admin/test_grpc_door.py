"""The gRPC door of admin: authentication, refusals, health, reflection, TLS, status."""

import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import httpx
import pytest
from flyteidl.admin.project_attributes_pb2 import ProjectAttributesGetRequest
from flyteidl.admin.project_pb2 import GetDomainsResponse, ProjectGetRequest
from flyteidl.service import admin_pb2
from flyteidl.service.auth_pb2 import PublicClientAuthConfigResponse
from grpc import StatusCode
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha.reflection_pb2 import (
    ServerReflectionRequest,
    ServerReflectionResponse,
)

from tests.integration.admin.callers import create_token, grant
from tests.integration.admin.certificates import self_signed
from tests.integration.admin.grpc_client import ADMIN, GrpcClient
from tests.integration.admin.running import running, settings_for, until
from tests.servers import PATIENCE_SECONDS, NatsServer, free_port
from trimtab.errors import Invalid, Rejected
from trimtab_admin.app import build, prepare
from trimtab_admin.config import AdminConfig

pytestmark = pytest.mark.usefixtures("grpc_threads")
AUTH = "/flyteidl.service.AuthMetadataService"
HEALTH = "/grpc.health.v1.Health"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


@pytest.fixture
def settings(tmp_path: Path, nats_server: NatsServer) -> AdminConfig:
    return settings_for(tmp_path, nats_server.url, grpc_port=free_port())


@pytest.fixture
async def admin(settings: AdminConfig) -> AsyncIterator[httpx.AsyncClient]:
    async with running(settings) as client:
        yield client


@pytest.fixture
async def door(admin: httpx.AsyncClient, settings: AdminConfig) -> AsyncIterator[GrpcClient]:
    async with GrpcClient(settings.grpc_port) as client:
        yield client


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


async def test_a_client_finds_how_to_authenticate_before_it_has_a_token(door: GrpcClient) -> None:
    response = await door.call(f"{AUTH}/GetPublicClientConfig", metadata=())
    config = PublicClientAuthConfigResponse.FromString(response)
    assert config.authorization_metadata_key == "authorization"
    assert await door.call(f"{AUTH}/GetOAuth2Metadata", metadata=()) == b""


async def test_a_call_carries_its_token_in_the_metadata(door: GrpcClient) -> None:
    response = GetDomainsResponse.FromString(await door.call(f"{ADMIN}/GetDomains"))
    assert [domain.id for domain in response.domains] == ["development", "staging", "production"]


async def test_a_call_without_a_valid_token_is_refused_and_audited(
    door: GrpcClient, admin: httpx.AsyncClient
) -> None:
    for metadata in ((), bearer("wrong")):
        sent = (*metadata, ("x-request-id", "r-1"))
        error = await door.error(f"{ADMIN}/GetDomains", metadata=sent)
        assert error.code() == StatusCode.UNAUTHENTICATED
    # Without any token a client of Flyte only learns that it needs one.
    [entry] = (await admin.get("/audit")).json()
    assert (entry["status"], entry["client"], entry["path"], entry["request_id"]) == (
        401,
        "127.0.0.1",
        f"{ADMIN}/GetDomains",
        "r-1",
    )


async def test_a_call_beyond_the_grants_of_its_token_is_refused_and_audited(
    door: GrpcClient, admin: httpx.AsyncClient
) -> None:
    await admin.post("/projects", json={"name": "shop"})
    token = await create_token(admin, "ci", grant("viewer", project="shop"))
    request = ProjectAttributesGetRequest(project="lab")
    error = await door.error(
        f"{ADMIN}/GetProjectAttributes", request, metadata=bearer(token["secret"])
    )
    assert error.code() == StatusCode.PERMISSION_DENIED
    [entry] = (await admin.get("/audit", params={"status": 403})).json()
    assert (entry["caller"], entry["scope"]) == ("ci", "project lab")


async def test_a_client_with_wrong_tokens_is_throttled(
    tmp_path: Path, nats_server: NatsServer
) -> None:
    settings = settings_for(
        tmp_path, nats_server.url, grpc_port=free_port(), failed_tries_per_minute=2
    )
    async with running(settings), GrpcClient(settings.grpc_port) as door:
        codes = [
            (await door.error(f"{ADMIN}/GetDomains", metadata=bearer("wrong"))).code()
            for _ in range(3)
        ]
        assert codes == [StatusCode.UNAUTHENTICATED] * 2 + [StatusCode.RESOURCE_EXHAUSTED]
        await door.call(f"{ADMIN}/GetDomains")


async def test_an_anonymous_door_has_viewers_without_a_token_and_shows_it(
    tmp_path: Path, nats_server: NatsServer
) -> None:
    settings = settings_for(
        tmp_path, nats_server.url, grpc_port=free_port(), anonymous_doors=("grpc",)
    )
    async with running(settings) as admin, GrpcClient(settings.grpc_port) as door:
        await admin.post("/projects", json={"name": "shop"})
        await door.call(f"{ADMIN}/GetProject", ProjectGetRequest(id="shop"), metadata=())
        refused = await door.error(f"{ADMIN}/UpdateProject", metadata=())
        wrong = await door.error(f"{ADMIN}/GetDomains", metadata=bearer("wrong"))
        assert refused.code() == StatusCode.PERMISSION_DENIED
        assert wrong.code() == StatusCode.UNAUTHENTICATED
        [shown] = [d for d in (await admin.get("/status")).json()["doors"] if d["name"] == "grpc"]
    assert shown == {
        "name": "grpc",
        "port": settings.grpc_port,
        "tls": False,
        "anonymous": "viewer",
    }


async def test_every_method_of_flyte_that_is_not_served_is_refused_in_one_sentence(
    door: GrpcClient,
) -> None:
    names = admin_pb2.DESCRIPTOR.services_by_name["AdminService"].methods_by_name
    texts = {}
    for name in names:
        # No RPC that is served does anything without a token.
        error = await door.error(f"{ADMIN}/{name}", metadata=())
        if error.code() == StatusCode.UNIMPLEMENTED:
            texts[name] = error.details()
        else:
            assert error.code() == StatusCode.UNAUTHENTICATED
    assert len(names) - len(texts) == 16
    for name, text in texts.items():
        assert text.startswith(f"{ADMIN[1:]}/{name} is not served here: Trimtab serves Delete")
        assert "\n" not in text


async def test_unknown_services_and_methods_are_refused_as_gRPC_does(door: GrpcClient) -> None:
    for path, message in (
        (f"{ADMIN}/Nope", "unknown method Nope for service flyteidl.service.AdminService"),
        ("/flyteidl.service.Nope/Get", "unknown service flyteidl.service.Nope"),
    ):
        error = await door.error(path)
        assert (error.code(), error.details()) == (StatusCode.UNIMPLEMENTED, message)


async def test_health_is_that_of_readyz(door: GrpcClient, nats_server: NatsServer) -> None:
    async def status(service: str = "") -> int:
        request = HealthCheckRequest(service=service)
        response = await door.call(f"{HEALTH}/Check", request, metadata=())
        return int(HealthCheckResponse.FromString(response).status)

    async def is_serving() -> bool:
        return await status() == HealthCheckResponse.SERVING

    async def is_not_serving() -> bool:
        return await status() == HealthCheckResponse.NOT_SERVING

    await until(is_serving)
    for name in ("flyteadmin", ADMIN[1:]):
        assert await status(name) == HealthCheckResponse.SERVING
    error = await door.error(f"{HEALTH}/Check", HealthCheckRequest(service="nope"))
    assert (error.code(), error.details()) == (StatusCode.NOT_FOUND, "unknown service")
    nats_server.stop()
    await until(is_not_serving)


async def test_reflection_lists_the_services(door: GrpcClient) -> None:
    request = ServerReflectionRequest(list_services="")
    call = door.channel.stream_stream(REFLECTION)(
        iter([request.SerializeToString()]), timeout=PATIENCE_SECONDS
    )
    [response] = [ServerReflectionResponse.FromString(each) async for each in call]
    names = {service.name for service in response.list_services_response.service}
    assert {ADMIN[1:], AUTH[1:], HEALTH[1:]} <= names


async def test_a_call_is_logged_with_the_request_id_of_its_client(
    door: GrpcClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "trimtab_admin")
    call = door.start(f"{ADMIN}/GetDomains", metadata=(*bearer("t0ken"), ("x-request-id", "abc-1")))
    await call
    assert ("x-request-id", "abc-1") in tuple(await call.trailing_metadata())
    [record] = [each for each in caplog.records if each.getMessage() == "call.done"]
    logged = vars(record)
    assert (logged["path"], logged["id"], logged["status"]) == (
        f"{ADMIN}/GetDomains",
        "abc-1",
        "OK",
    )


async def test_a_certificate_makes_the_port_TLS(tmp_path: Path, nats_server: NatsServer) -> None:
    certificate, key = self_signed(tmp_path)
    settings = settings_for(
        tmp_path,
        nats_server.url,
        grpc_port=free_port(),
        grpc_certificate=certificate,
        grpc_key=key,
    )
    trusted = grpc.ssl_channel_credentials(certificate.read_bytes())
    async with running(settings) as admin:
        async with GrpcClient(settings.grpc_port, trusted) as door:
            await door.call(f"{ADMIN}/GetDomains")
        async with GrpcClient(settings.grpc_port) as plain:
            error = await plain.error(f"{ADMIN}/GetDomains")
            assert error.code() == StatusCode.UNAVAILABLE
        [shown] = [d for d in (await admin.get("/status")).json()["doors"] if d["name"] == "grpc"]
        assert shown["tls"]


async def test_files_that_are_no_certificate_and_key_end_the_start(
    tmp_path: Path, nats_server: NatsServer
) -> None:
    certificate, key = self_signed(tmp_path)
    (tmp_path / "other").mkdir()
    _, other_key = self_signed(tmp_path / "other")
    key_of_another = {"grpc_certificate": certificate, "grpc_key": other_key}
    text = tmp_path / "text"
    text.write_text("not PEM")
    no_file = {"grpc_certificate": tmp_path / "none", "grpc_key": key}
    for files, error in (
        (key_of_another, Invalid),
        ({"grpc_certificate": text, "grpc_key": key}, Invalid),
        ({"grpc_certificate": certificate}, Invalid),
        (no_file, FileNotFoundError),
    ):
        settings = settings_for(tmp_path, nats_server.url, grpc_port=free_port(), **files)
        await prepare(settings)
        with pytest.raises(error):
            build(settings)


async def test_a_port_that_is_taken_ends_the_start(settings: AdminConfig) -> None:
    await prepare(settings)
    with (
        socket.create_server(("127.0.0.1", settings.grpc_port or 0)),
        pytest.raises(Rejected, match="set TRIMTAB_GRPC_PORT to a port that is free"),
    ):
        build(settings)
