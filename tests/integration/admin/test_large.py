"""A large installation: more documents than one transaction may write."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests import installation
from tests.integration.admin.running import FORCE, running, settings_for, until
from tests.servers import NatsServer
from trimtab.api.settings import MAX_DOCUMENTS, ExportBody
from trimtab.settings.state import Settings
from trimtab_admin.config import AdminConfig
from trimtab_admin.settings.documents import Snapshot
from trimtab_admin.storage.record_index import RecordIndex

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROJECTS, RECORDS = 20, MAX_DOCUMENTS
DOCUMENTS = len(installation.DOMAINS) + PROJECTS + RECORDS


@pytest.fixture(scope="module")
def large_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdminConfig]:
    directory: Path = tmp_path_factory.mktemp("large")
    with NatsServer(directory / "nats") as server:
        yield settings_for(directory, server.url)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def large(large_settings: AdminConfig) -> AsyncIterator[httpx.AsyncClient]:
    await installation.fill(large_settings.database_url, RECORDS, PROJECTS)
    async with running(large_settings) as client:
        yield client


async def readiness(admin: httpx.AsyncClient) -> dict[str, Any]:
    return dict((await admin.get("http://127.0.0.1/readyz")).json().get("reasons", {}))


async def test_admin_responds_while_it_loads_the_settings_and_is_not_ready_before(
    large: httpx.AsyncClient,
) -> None:
    assert "settings" in await readiness(large)
    assert (await large.get("http://127.0.0.1/healthz")).status_code == 200
    assert "settings" in await readiness(large)

    async def loaded() -> bool:
        return "settings" not in await readiness(large)

    await until(loaded)
    scope = {"project": installation.project_name(1), "domain": "staging"}
    assert (await large.get("/effective/task_resource", params=scope)).status_code == 200


async def test_an_export_has_every_document_once_with_their_number_and_revision(
    large: httpx.AsyncClient,
) -> None:
    answer = await large.get("/export")
    assert answer.status_code == 200
    documents = ExportBody.model_validate_json(answer.content).documents
    assert len(documents) == DOCUMENTS == int(answer.headers["X-Trimtab-Documents"])
    status = (await large.get("/status")).json()
    assert int(answer.headers["X-Trimtab-Revision"]) == status["revision"]
    keys = {(body.kind, body.name, body.domain, body.project, body.workflow) for body in documents}
    assert len(keys) == DOCUMENTS
    # Each line is a document, and all lines together are one JSON text.
    assert len(answer.content.splitlines()) == DOCUMENTS + 2


async def test_pages_of_every_filter_join_to_what_the_filter_selects(
    large: httpx.AsyncClient,
) -> None:
    one = installation.project_name(7)
    everything = [installation.record(number, PROJECTS) for number in range(RECORDS)]
    for params in (
        {"kind": "workflow_priority", "limit": "3000"},
        {"level": "project-domain", "limit": "100"},
        {"project": one, "limit": "300"},
        {"project": one, "domain": "staging", "limit": "100"},
        {"workflow": "workflow-3", "limit": "50"},
        {"domain": "production", "level": "domain"},
        {"workflow": "nothing"},
    ):
        found: list[Any] = []
        path: str | None = str(httpx.URL("/api/v2/records", params=params))
        while path:
            page = await large.get(f"http://127.0.0.1{path}")
            found += page.json()
            path = page.links.get("next", {}).get("url")
        filters = {name: value for name, value in params.items() if name != "limit"}
        assert len({str((body["kind"], body["scope"])) for body in found}) == len(found)
        assert len(found) == sum(
            all(
                {"kind": kind, "level": scope.level.label}.get(name, getattr(scope, name, ""))
                == value
                for name, value in filters.items()
            )
            for kind, scope, _ in everything
        ), params


async def test_exports_at_once_take_their_snapshots_in_different_rounds_of_the_loop(
    large: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is as long as some slices."""
    loop, round, taken_in = asyncio.get_running_loop(), 0, list[int]()
    take = Snapshot.of

    def count_rounds() -> None:
        nonlocal round
        round += 1
        if len(taken_in) < 4:
            loop.call_soon(count_rounds)

    def counted(settings: Settings, index: RecordIndex) -> Snapshot:
        taken_in.append(round)
        return take(settings, index)

    monkeypatch.setattr(Snapshot, "of", counted)
    count_rounds()
    answers = await asyncio.gather(*(large.get("/export") for _ in range(4)))
    assert {len(answer.content) for answer in answers} == {len(answers[0].content)}
    assert len(set(taken_in)) == 4


async def test_a_record_that_is_written_is_in_the_next_page(large: httpx.AsyncClient) -> None:
    scope = {"project": installation.project_name(3), "domain": "staging", "workflow": "new"}
    await large.put("/records/workflow_priority", params=scope | FORCE, json={"priority": 1})
    assert len((await large.get("/records", params={"workflow": "new"})).json()) == 1
    await large.delete("/records/workflow_priority", params=scope | FORCE)
    assert (await large.get("/records", params={"workflow": "new"})).json() == []
