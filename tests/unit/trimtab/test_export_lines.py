"""The body of an export, read in chunks of any size, also as earlier releases send it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from trimtab.api.settings import EXPORT_HEAD, EXPORT_TAIL, DocumentBody, ExportBody
from trimtab.client.settings import _exported, _lines

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
        return [found async for line in _lines(chunks()) for found in _exported(line)]

    assert tuple(asyncio.run(read())) == DOCUMENTS


def test_a_body_without_documents_has_none() -> None:
    for body in (EXPORT_HEAD + b"\n" + EXPORT_TAIL, EXPORT_HEAD + EXPORT_TAIL):
        assert ExportBody.model_validate_json(body).documents == ()
        assert [found for line in body.split(b"\n") for found in _exported(line)] == []
