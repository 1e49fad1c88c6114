"""Behaviour of the client that no command shows."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.servers import free_port
from trimtab.api.entities import DomainBody, PoolBody
from trimtab.client import Client
from trimtab.embedded.directory import Directory
from trimtab.errors import Conflict, Invalid, NotFound, Rejected, Stale, Unauthorized, Unavailable
from trimtab.levels import Scope

KIND = "task_resource"


@pytest.fixture
async def client(data: Path) -> AsyncIterator[Client]:
    directory = Directory(data)
    async with Client(str(directory.url()), directory.api_token()) as client:
        yield client


@pytest.fixture
def scope(project: str) -> Scope:
    return Scope("staging", project)


async def test_a_patch_changes_single_fields_and_null_removes_one(
    client: Client, scope: Scope
) -> None:
    first = await client.records.put(KIND, scope, {"limits": {"cpu": "1", "memory": "1Gi"}})
    second = await client.records.patch(
        KIND, scope, {"limits": {"cpu": "2", "memory": None}}, version=first.version
    )
    assert second.document == {"limits": {"cpu": "2"}}
    assert second.version > first.version


async def test_a_reason_may_have_letters_of_any_script(client: Client, scope: Scope) -> None:
    await client.records.put(KIND, scope, {"limits": {"cpu": "1"}}, reason="für À 数")
    [change] = await client.records.history(KIND, scope)
    assert change.reason == "für À 数"


async def test_a_stale_write_reports_both_versions(client: Client, scope: Scope) -> None:
    stored = await client.records.put(KIND, scope, {"limits": {"cpu": "1"}})
    with pytest.raises(Stale) as caught:
        await client.records.put(KIND, scope, {"limits": {"cpu": "2"}}, version=1)
    assert (caught.value.given, caught.value.stored) == (1, stored.version)
    with pytest.raises(Stale) as caught:
        await client.records.put(KIND, scope, {"limits": {"cpu": "2"}})
    assert (caught.value.given, caught.value.stored) == (None, stored.version)


async def test_errors_carry_the_field_or_the_name(client: Client, scope: Scope) -> None:
    with pytest.raises(Invalid) as invalid:
        await client.records.put(KIND, scope, {"limits": {"cpu": "1x"}}, force=True)
    assert (invalid.value.path, invalid.value.value) == ("limits.cpu", "1x")
    with pytest.raises(NotFound) as unknown:
        await client.records.put(KIND, Scope("nowhere"), {"limits": {"cpu": "1"}}, force=True)
    assert (unknown.value.object_type, unknown.value.name) == ("domain", "nowhere")
    assert "staging" in unknown.value.known


async def test_an_effective_value_has_the_provenance_of_each_field(
    client: Client, scope: Scope
) -> None:
    stored = await client.records.put(KIND, scope, {"limits": {"cpu": "7"}})
    effective = await client.records.effective(KIND, scope)
    [cpu] = [leaf for leaf in effective.leaves if leaf.path == "limits.cpu"]
    assert (cpu.value, cpu.scope, cpu.revision) == ("7", str(scope), stored.version)
    assert cpu.overrode[-1].scope == "settings"


async def test_pools_are_written_with_preconditions(client: Client, project: str) -> None:
    pool = await client.pools.put(PoolBody(name=project, quota=3, project_cap=2))
    with pytest.raises(Stale):
        await client.pools.put(PoolBody(name=project, quota=4))
    changed = await client.pools.put(PoolBody(name=project, quota=4), version=pool.version)
    assert (changed.quota, changed.project_cap) == (4, None)


async def test_creating_an_existing_domain_is_a_conflict(client: Client) -> None:
    with pytest.raises(Conflict):
        await client.domains.create(DomainBody(name="staging"))


async def test_kinds_are_listed_with_noun_and_flyte_number(client: Client) -> None:
    [kind] = [kind for kind in await client.kinds.list() if kind.name == KIND]
    assert (kind.noun, kind.flyte_number) == ("task-resource-attribute", 0)


async def test_a_call_without_an_api_token_is_rejected(data: Path) -> None:
    async with Client(str(Directory(data).url())) as client:
        with pytest.raises(Unauthorized):
            await client.projects.list()


async def test_a_closed_port_is_unavailable() -> None:
    async with Client(f"http://127.0.0.1:{free_port()}") as client:
        with pytest.raises(Unavailable, match="trimtab up"):
            await client.projects.list()


async def test_bundles_are_uploaded_once_into_the_data_directory(
    client: Client, project: str, data: Path
) -> None:
    content = b"a bundle of " + project.encode()
    digest = hashlib.sha256(content).hexdigest()
    assert not await client.blobs.has(project, "staging", digest)
    for _ in range(2):
        assert await client.blobs.put(project, "staging", content) == digest
    assert await client.blobs.has(project, "staging", digest)
    assert (Directory(data).blobs / digest).read_bytes() == content
    with pytest.raises(NotFound, match="project 'nowhere' does not exist"):
        await client.blobs.has("nowhere", "staging", digest)
    with pytest.raises(Rejected, match="at most 16777216 bytes"):
        await client.blobs.put(project, "staging", bytes(16 * 2**20 + 1))
