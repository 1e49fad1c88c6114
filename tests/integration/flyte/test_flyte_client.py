"""The client of Flyte 1 against a server with rows in memory."""

import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import trustme
from flyteidl.admin.matchable_resource_pb2 import MatchableAttributesConfiguration
from flyteidl.admin.project_pb2 import Project

from tests.fake_flyte import FakeFlyte, fake_flyte
from tests.servers import free_port
from trimtab import kinds
from trimtab.errors import Invalid, Rejected, Unauthorized, Unavailable
from trimtab.flyte.client import FlyteAdmin, Refused, token_of_command, token_of_file
from trimtab.flyte.rows import FlyteProject

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


@pytest.fixture
def flyte() -> Iterator[FakeFlyte]:
    with fake_flyte() as flyte:
        yield flyte


def admin(flyte: FakeFlyte, **options: object) -> FlyteAdmin:
    return FlyteAdmin(flyte.endpoint, insecure=True, **options)  # type: ignore[arg-type]


async def test_projects_of_all_pages_are_listed_with_archived_ones(flyte: FakeFlyte) -> None:
    flyte.projects = [Project(id=f"p-{number}", state=number % 2) for number in range(450)]
    async with admin(flyte) as client:
        found = await client.projects()
    assert sorted(project.id for project in found) == sorted(p.id for p in flyte.projects)
    assert FlyteProject("p-1", is_archived=True) in found


async def test_a_row_has_the_identity_and_the_values_of_flyte(flyte: FakeFlyte) -> None:
    stored = MatchableAttributesConfiguration(project="shop", domain="staging", workflow="pay")
    stored.attributes.execution_queue_attributes.tags.append("gpu")
    flyte.rows[2] = [stored]
    async with admin(flyte) as client:
        [row] = await client.list_attributes(kinds.by_name("execution_queue"))
    assert str(row.scope) == "workflow shop/staging/pay"
    assert row.message == stored.attributes


async def test_a_list_may_be_longer_than_the_messages_that_grpc_accepts(flyte: FakeFlyte) -> None:
    stored = MatchableAttributesConfiguration(project="shop")
    stored.attributes.cluster_resource_attributes.attributes["text"] = "x" * 1000
    flyte.rows[1] = [stored] * 6000
    async with admin(flyte) as client:
        assert len(await client.list_attributes(kinds.by_name("cluster_resource"))) == 6000


async def test_a_call_is_repeated_where_flyte_is_away_for_a_moment(flyte: FakeFlyte) -> None:
    flyte.failures["GetDomains"] = [UNAVAILABLE, UNAVAILABLE]
    async with admin(flyte) as client:
        assert await client.domains() == flyte.domains
    assert flyte.calls == ["GetDomains"] * 3


async def test_the_error_names_an_endpoint_where_nothing_listens() -> None:
    endpoint = f"127.0.0.1:{free_port()}"
    async with FlyteAdmin(endpoint, insecure=True) as client:
        with pytest.raises(Unavailable, match=f"no Flyte responds at {endpoint}"):
            await client.domains()


async def test_an_error_of_flyte_is_not_repeated(flyte: FakeFlyte) -> None:
    flyte.failures["GetDomains"] = [grpc.StatusCode.INTERNAL]
    async with admin(flyte) as client:
        with pytest.raises(Refused, match="GetDomains: INTERNAL: no GetDomains now") as error:
            await client.domains()
    assert error.value.status == "INTERNAL"
    assert flyte.calls == ["GetDomains"]


async def test_a_token_that_expired_is_read_again(flyte: FakeFlyte, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    flyte.token, flyte.key = "first", "flyte-authorization"
    async with admin(flyte, token=token_of_file(file)) as client:
        await client.domains()
        flyte.token = "second"
        file.write_text("second\n")
        await client.domains()
        flyte.token = "third"
        with pytest.raises(Unauthorized, match="GetDomains: token parse error"):
            await client.domains()


async def test_a_program_prints_the_token(flyte: FakeFlyte) -> None:
    flyte.token = "printed"
    command = [sys.executable, "-c", "print('printed')"]
    async with admin(flyte, token=token_of_command(command)) as client:
        assert await client.domains()


async def test_a_program_that_fails_is_an_error_with_its_text(flyte: FakeFlyte) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('log in first')"]
    async with admin(flyte, token=token_of_command(command)) as client:
        with pytest.raises(Rejected, match="exit code 1: log in first"):
            await client.domains()
    assert flyte.calls == []


@pytest.mark.parametrize("endpoint", ["flyte", "https://flyte:81", "flyte:0", ":81", "flyte:81/x"])
def test_an_endpoint_is_a_host_and_a_port(endpoint: str) -> None:
    with pytest.raises(Invalid, match="HOST:PORT"):
        FlyteAdmin(endpoint)


async def test_an_endpoint_of_flytectls_configuration_is_accepted(flyte: FakeFlyte) -> None:
    async with FlyteAdmin(f"dns:///{flyte.endpoint}", insecure=True) as client:
        assert await client.domains()


async def test_a_certificate_is_checked_with_a_file_or_the_roots_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer, other = trustme.CA(), trustme.CA()
    server = issuer.issue_cert("localhost")
    pair = (server.private_key_pem.bytes(), server.cert_chain_pems[0].bytes())
    authority, stranger = tmp_path / "authority.pem", tmp_path / "stranger.pem"
    issuer.cert_pem.write_to_path(authority)
    other.cert_pem.write_to_path(stranger)
    with fake_flyte(grpc.ssl_server_credentials([pair])) as flyte:
        async with FlyteAdmin(flyte.endpoint, ca_file=authority) as client:
            assert await client.domains()
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        async with FlyteAdmin(flyte.endpoint) as client:
            assert await client.domains()
        flyte.calls.clear()
        for options in ({"ca_file": stranger}, {"insecure": True}):
            async with FlyteAdmin(flyte.endpoint, **options) as client:  # type: ignore[arg-type]
                with pytest.raises(Unavailable):
                    await client.domains()
        assert flyte.calls == []


def test_a_ca_file_is_readable_and_for_tls(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=r"CA file .* cannot be read"):
        FlyteAdmin("flyte:81", ca_file=tmp_path / "none.pem")
    with pytest.raises(Invalid, match="no CA file for a connection without TLS"):
        FlyteAdmin("flyte:81", ca_file=tmp_path / "none.pem", insecure=True)


async def test_a_token_that_expires_during_an_outage_is_read_again(flyte: FakeFlyte) -> None:
    flyte.failures["GetDomains"] = [UNAVAILABLE] * 3 + [grpc.StatusCode.UNAUTHENTICATED]
    command = [sys.executable, "-c", "print('printed')"]
    async with admin(flyte, token=token_of_command(command)) as client:
        assert await client.domains() == flyte.domains


async def test_a_response_that_is_not_flytes_is_an_error() -> None:
    async def garbage(_reader: object, _context: object) -> bytes:
        return b"\x0a\x02\xff\xff"

    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(garbage)
    server.add_generic_rpc_handlers(
        [
            grpc.method_handlers_generic_handler(
                "flyteidl.service.AdminService", {"ListMatchableAttributes": handler}
            )
        ]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with FlyteAdmin(f"127.0.0.1:{port}", insecure=True) as client:
            with pytest.raises(Refused, match=r"ListMatchableAttributes of .* is not Flyte's"):
                await client.list_attributes(kinds.by_name("task_resource"))
    finally:
        await server.stop(None)
