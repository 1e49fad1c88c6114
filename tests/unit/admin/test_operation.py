"""Operations: what their handlers' types define, and how the OpenAPI document describes them."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from pydantic import BaseModel

from trimtab_admin.access.authorization import any_caller, platform_admin
from trimtab_admin.access.call import Call
from trimtab_admin.api import openapi
from trimtab_admin.api.operation import Content, Operation, Reply
from trimtab_admin.api.parameters import PageQuery, ReasonHeader
from trimtab_admin.paging import Page


class Body(BaseModel):
    name: str


async def list_things(call: Call, query: PageQuery) -> Page[Body]:
    raise NotImplementedError


async def put_thing(call: Call, name: str, headers: ReasonHeader, body: Body) -> Reply[Body]:
    """Replace a thing."""
    raise NotImplementedError


async def delete_thing(call: Call, name: str) -> Reply[Body] | None:
    raise NotImplementedError


async def watch_things(call: Call) -> AsyncIterator[str]:
    raise NotImplementedError


LIST = Operation("GET", "/things", list_things, any_caller, tag="things")
PUT = Operation("PUT", "/things/{name}", put_thing, tag="things")
DELETE = Operation(
    "DELETE", "/things/{name:path}", delete_thing, status=204, other_status=(200, "Dry run")
)
WATCH = Operation("GET", "/watch", watch_things)


def test_an_operation_that_names_no_requirement_is_for_admins() -> None:
    assert PUT.requires is platform_admin


def test_the_types_of_the_handler_are_the_models_of_the_operation() -> None:
    assert (LIST.query, LIST.headers, LIST.body) == (PageQuery, None, None)
    assert (PUT.query, PUT.headers, PUT.body_type) == (None, ReasonHeader, Body)
    assert list(PUT.path_types) == ["name"]


@pytest.mark.parametrize(
    ("operation", "body", "content"),
    [
        (LIST, [Body(name="a")], b'[{"name":"a"}]'),
        (PUT, Body(name="a"), b'{"name":"a"}'),
        (DELETE, Body(name="a"), b'{"name":"a"}'),
    ],
)
def test_pages_and_replies_are_written_as_their_bodies(
    operation: Operation, body: Body | Sequence[Body], content: bytes
) -> None:
    assert operation.response is not None
    assert operation.response.dump_json(body) == content


def test_a_handler_cannot_take_what_no_request_has() -> None:
    with pytest.raises(TypeError, match="put_thing takes name"):
        Operation("GET", "/things", put_thing)


def test_the_document_describes_parameters_bodies_and_responses() -> None:
    document = openapi.document([LIST, PUT, DELETE, WATCH], [])
    put = document["paths"]["/api/v2/things/{name}"]["put"]
    assert put["operationId"] == "put_thing_api_v2_things__name__put"
    assert put["description"] == "Replace a thing."
    assert names(put) == [("path", "name"), ("header", "x-trimtab-reason")]
    reference = {"$ref": "#/components/schemas/Body"}
    assert put["requestBody"]["content"]["application/json"]["schema"] == reference
    assert put["responses"]["200"]["content"]["application/json"]["schema"] == reference
    listing = document["paths"]["/api/v2/things"]["get"]
    assert names(listing) == [("query", "limit"), ("query", "token")]
    delete = document["paths"]["/api/v2/things/{name}"]["delete"]
    assert "content" not in delete["responses"]["204"]
    assert delete["responses"]["200"]["description"] == "Dry run"
    watch = document["paths"]["/api/v2/watch"]["get"]
    assert list(watch["responses"]["200"]["content"]) == ["text/event-stream"]


async def put_bytes(call: Call, name: str, content: Content) -> Body:
    raise NotImplementedError


def test_an_operation_may_take_bytes_instead_of_json() -> None:
    operation = Operation("PUT", "/bytes/{name}", put_bytes)
    assert operation.takes_content
    assert not PUT.takes_content
    described = openapi.document([operation], [])["paths"]["/api/v2/bytes/{name}"]["put"]
    binary = {"schema": {"type": "string", "format": "binary"}}
    assert described["requestBody"]["content"] == {"application/octet-stream": binary}


def names(operation: dict[str, Any]) -> list[tuple[str, str]]:
    return [(each["in"], each["name"]) for each in operation["parameters"]]


def test_every_operation_may_return_a_problem() -> None:
    document = openapi.document([LIST], [])
    responses = document["paths"]["/api/v2/things"]["get"]["responses"]
    for status in ("400", "401", "403", "404", "429", "503"):
        assert list(responses[status]["content"]) == ["application/problem+json"]
    assert "Retry-After" in responses["429"]["headers"]
    assert "Problem" in document["components"]["schemas"]
