"""The body of an export, read in chunks of any size, also as earlier releases send it."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from trimtab.api.settings import EXPORT_HEAD, EXPORT_TAIL, DocumentBody, ExportBody
from trimtab.client.http import HttpApi, lines_of
from trimtab.client.settings import _exported

DOCUMENTS = tuple(
    DocumentBody(kind="project", name=f"p{number}", document={"description": text})
    for number, text in enumerate(("a\u2028b\x85c", 'quoted "\n" line', "", "ü"))
)
LINES = b",\n".join(body.model_dump_json().encode() for body in DOCUMENTS)
BODIES = {
    "lines": b"\n".join([EXPORT_HEAD, LINES, EXPORT_TAIL]),
    "one line": ExportBody(documents=DOCUMENTS).model_dump_json().encode(),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_every_document_is_read_whatever_the_chunks_are(body: bytes, size: int) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    async def read() -> list[DocumentBody]:
        return [found async for line in lines_of(chunks()) for found in _exported(line)]

    assert tuple(asyncio.run(read())) == DOCUMENTS


def test_a_body_without_documents_has_none() -> None:
    for body in (EXPORT_HEAD + b"\n" + EXPORT_TAIL, EXPORT_HEAD + EXPORT_TAIL):
        assert ExportBody.model_validate_json(body).documents == ()
        assert [found for line in body.split(b"\n") for found in _exported(line)] == []


def test_an_event_with_a_separator_of_lines_in_its_data_is_one_line() -> None:
    data = DOCUMENTS[0].model_dump_json()

    def respond(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=f"event: change\ndata: {data}\n\n".encode())

    async def read() -> list[str]:
        api = HttpApi("http://localhost", "")
        api._http = httpx.AsyncClient(
            base_url="http://localhost", transport=httpx.MockTransport(respond)
        )
        async with api.stream_lines("/watch", {}, 1.0) as lines:
            return [line async for line in lines]

    assert asyncio.run(read()) == ["event: change", f"data: {data}", "", ""]
