"""Responses: the text of a long body is made in slices and equals that of one made at once."""

import asyncio
import json

import pytest
from pydantic import TypeAdapter

from trimtab.api.settings import ChangeBody, ChangedLeafBody, ChangesBody, DocumentBody, ExportBody
from trimtab_admin import slices
from trimtab_admin.api import responses


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


@pytest.mark.parametrize("is_list", [False, True])
def test_other_tasks_run_while_a_long_text_is_made(is_list: bool) -> None:
    content = body(20 * slices.SIZE)
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def encode() -> None:
        counting = asyncio.create_task(count_turns())
        if is_list:
            adapter = TypeAdapter(tuple[ChangeBody, ...])
            text = await responses._encode(adapter, content.changes)
            assert text == adapter.dump_json(content.changes)
        else:
            await responses._encode(TypeAdapter(ChangesBody), content)
        counting.cancel()

    asyncio.run(encode())
    assert turns >= 20
