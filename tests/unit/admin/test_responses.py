"""Responses: the text of a long body is made in slices and equals that of one made at once."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import TypeAdapter
from starlette.responses import Response

from trimtab.api.executions import ExecutionBody, NodeBody
from trimtab.api.settings import ChangeBody, ChangedLeafBody, ChangesBody, DocumentBody, ExportBody
from trimtab.errors import TrimtabError, Unauthorized, Unavailable
from trimtab.messages.resolutions import Resolution, ResolvedValue
from trimtab_admin import slices
from trimtab_admin.access.throttling import Throttled
from trimtab_admin.api import responses

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def body(count: int) -> ChangesBody:
    leaf = ChangedLeafBody(path="priority", before=None, after='"changes":[]')
    change = ChangeBody(
        kind="workflow_priority", action="create", version=None, revision=7, changes=(leaf,)
    )
    return ChangesBody(dry_run=False, revision=7, changes=(change,) * count)


@pytest.mark.parametrize("count", [0, 1, slices.SIZE, slices.SIZE + 1, 3 * slices.SIZE])
def test_an_object_with_a_long_list_has_the_same_text_except_for_the_order(count: int) -> None:
    adapter = TypeAdapter(ChangesBody)
    text = asyncio.run(responses._encode(adapter, body(count)))
    assert json.loads(text) == json.loads(adapter.dump_json(body(count)))


def test_an_object_of_one_long_list_has_the_same_text() -> None:
    document = DocumentBody(kind="workflow_priority", document={"priority": 1})
    adapter, content = TypeAdapter(ExportBody), ExportBody(documents=(document,) * 2 * slices.SIZE)
    assert asyncio.run(responses._encode(adapter, content)) == adapter.dump_json(content)


def execution(count: int) -> ExecutionBody:
    value = ResolvedValue(path="retries", value=float("nan"), source="default")
    nodes = {
        f'n"{number}': NodeBody(task="é", phase="waiting", attempt=1) for number in range(count)
    }
    return ExecutionBody(
        id="x",
        project="shop",
        domain="development",
        workflow="w",
        version="1",
        launch_plan="w",
        phase="running",
        inputs={},
        nodes=nodes,
        resolution=Resolution(revision=1, executor="p", nodes=dict.fromkeys(nodes, (value,) * 2)),
        created_at=NOW,
        updated_at=NOW,
    )


@pytest.mark.parametrize("count", [0, 1, slices.SIZE + 1, 3 * slices.SIZE])
def test_an_object_with_long_mappings_at_any_depth_has_the_same_text(count: int) -> None:
    adapter = TypeAdapter(ExecutionBody)
    text = asyncio.run(responses._encode(adapter, execution(count)))
    assert json.loads(text) == json.loads(adapter.dump_json(execution(count)))


LONG_CHANGES = body(20 * slices.SIZE)


@pytest.mark.parametrize(
    ("type", "long", "slices_of"),
    [
        (ChangesBody, LONG_CHANGES, 20),
        (tuple[ChangeBody, ...], LONG_CHANGES.changes, 20),
        (ExecutionBody, execution(20 * slices.SIZE), 40),
    ],
    ids=["changes", "list", "execution"],
)
def test_other_tasks_run_while_a_long_text_is_made(type: Any, long: Any, slices_of: int) -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def encode() -> None:
        counting = asyncio.create_task(count_turns())
        text = await responses._encode(TypeAdapter(type), long)
        assert json.loads(text) == json.loads(TypeAdapter(type).dump_json(long))
        counting.cancel()

    asyncio.run(encode())
    assert turns >= slices_of


@pytest.mark.parametrize(
    ("error", "name", "value"),
    [
        (Unavailable("the database does not respond"), "retry-after", "1"),
        (Throttled(19.2), "retry-after", "20"),
        (Unauthorized("no token"), "www-authenticate", "Bearer"),
    ],
)
def test_an_error_has_the_header_of_its_status(error: TrimtabError, name: str, value: str) -> None:
    assert responses.ProblemResponse.of(error).headers[name] == value


def test_a_warning_is_one_short_line_of_ascii() -> None:
    response = Response()
    responses.add_warnings(response, ["caf\u00e9\r\nX-Other: 1\x00", "x" * 100_000])
    first, second = response.headers.getlist(responses.WARNING_HEADER)
    assert first == "caf\\xe9 X-Other: 1"
    assert second.isascii()
    assert len(second) < 500
